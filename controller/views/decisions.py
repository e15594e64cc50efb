"""The list of decisions, and one decision explained."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.selectors import decisions
from controller.selectors.decisions import Cursor, Filters
from controller.views import shell

SLUG: Final = re.compile(r"[-a-zA-Z0-9_]{1,63}\Z")


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the list; filters and place stand in the address."""
    filters = _filters(request)
    listing = decisions.listing(filters, Cursor.parse(request.GET.get("after", "")))
    values = {
        "filters": filters,
        "listing": listing,
        "is_first": "after" not in request.GET,
        "first": _query(filters),
        "older": _query(filters, after=str(listing.after)) if listing.after else "",
        "moves": decisions.moves(),
        "codes": decisions.codes(),
        "now": timezone.now(),
    }
    return render(request, "controller/decisions.html", values)


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one decision with everything it rests on and what became of it."""
    now = timezone.now()
    found = decisions.explained(pk, now)
    if found is None:
        raise Http404(f"There is no decision {pk}.")
    values = {
        "found": found,
        "decision": found.decision,
        "params": f"decision={found.decision.pk}",
        "now": now,
    }
    return render(request, "controller/decision.html", values)


def _filters(request: HttpRequest) -> Filters:
    """Return the filters of the address; a value that can't match anything is kept as text."""
    asked = request.GET
    service = asked.get("service", "")
    move, code = asked.get("move", ""), asked.get("code", "")
    return Filters(
        service=service if SLUG.match(service) else "",
        move=move if move in decisions.moves() else "",
        code=code if code in decisions.codes() else "",
        changes=asked.get("changes") == "1",
    )


def _query(filters: Filters, **more: str) -> str:
    given = {
        "service": filters.service,
        "move": filters.move,
        "code": filters.code,
        "changes": "1" if filters.changes else "",
    } | more
    return urlencode({name: value for name, value in given.items() if value})
