"""The page of capacity: what is free, what fits, what services may ask, what is to come."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.charts.clock import Clock
from controller.charts.peak_forecast import sentence
from controller.selectors.capacity import Scope, read_capacity
from controller.selectors.capacity_peaks import pool_peaks
from controller.views import chrome, fragments, shell

LONGEST_SLUG = 63


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show the pools; to htmx only what changes by itself."""
    now = timezone.now()
    scope = Scope(
        request.GET.get("cluster", "")[:LONGEST_SLUG],
        request.GET.get("hardware", "")[:LONGEST_SLUG],
    )
    found = read_capacity(scope, now)
    values: dict[str, Any] = {"capacity": found, "now": now}
    if request.headers.get("HX-Request"):
        state = (scope, found.stocks, found.rooms, found.headroom, found.unobserved, found.stale)
        return fragments.answer(request, "controller/_capacity_found.html", values, state=state)
    clock = Clock.at(chrome.read_chrome(request, now).zone, now.timestamp())
    pools = pool_peaks(scope, now, found.stocks)
    values["forecasts"] = [sentence(pool, clock) for pool in pools]
    return render(request, "controller/capacity.html", values)
