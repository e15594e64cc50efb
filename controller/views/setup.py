"""The checklist from an empty database to a watched service."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.selectors.setup import read_setup
from controller.views import shell


@shell.page("GET")
def page(request: HttpRequest) -> HttpResponse:
    """Show every step and how it stands."""
    now = timezone.now()
    return render(request, "controller/setup.html", {"setup": read_setup(now), "now": now})
