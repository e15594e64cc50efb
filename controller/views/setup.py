"""The checklist from an empty database to a watched service."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller import wiring
from controller.core.rights import NEEDS
from controller.selectors import node_match
from controller.selectors.setup import read_setup
from controller.services import people
from controller.views import shell


@shell.page("GET")
def page(request: HttpRequest) -> HttpResponse:
    """Show every step and how it stands."""
    return _page(request)


@shell.page("POST")
def match(request: HttpRequest) -> HttpResponse:
    """Ask every Prometheus which nodes report their GPUs, for 5 s at most; changes nothing."""
    people.require(request.user, people.EDIT_SOURCES)
    asked = node_match.sources()
    lines = node_match.lines(wiring.hosts_at(asked)) if asked else ()
    values = {"tested": True, "match": lines, "asked": [row.slug for row in asked]}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "controller/_setup_match.html", values)
    return _page(request, **values)


def _page(request: HttpRequest, **more: Any) -> HttpResponse:  # noqa: ANN401 - values of the page
    now = timezone.now()
    may = request.user.has_perm(people.EDIT_SOURCES)
    values = {
        "setup": read_setup(now),
        "now": now,
        "may_edit": may,
        "needs": NEEDS[people.EDIT_SOURCES],
    }
    return render(request, "controller/setup.html", values | more)
