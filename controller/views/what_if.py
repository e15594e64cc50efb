"""What would follow if something were otherwise: asked in the address, answered, and not done."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.selectors import what_if
from controller.views import shell
from controller.views.what_if_form import WhatIfForm


@shell.page("GET")
def page(request: HttpRequest) -> HttpResponse:
    """Show the form with its answer; to htmx only the answer and what is said beside fields."""
    begun_s = perf_counter()
    ground = what_if.read_ground()
    form = WhatIfForm(request.GET, ground)
    values: dict[str, Any] = {"form": form, "ground": ground, "now": timezone.now()}
    if form.is_asked:
        values["told"] = what_if.told(ground, form.question(), form.gone_words)
    elif form.is_valid():
        values["fits"] = what_if.read_fits(ground)
    values["took_ms"] = round(1000 * (perf_counter() - begun_s))
    if request.headers.get("HX-Request"):
        # A fault is told in the page, which takes no answer that is a refusal.
        return render(request, "controller/_what_if_asked.html", values)
    status = 200 if form.is_valid() else 400
    return render(request, "controller/what_if.html", values, status=status)
