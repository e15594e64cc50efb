"""The list of decisions, one decision explained, and two beside each other."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.core.reasons import Code
from controller.core.types import Mode, Move
from controller.selectors import decision_compare, decisions
from controller.selectors.decision_filters import GATES, Filters, filters_of, written
from controller.selectors.preferences import read_preferences
from controller.selectors.ranges import BadAskError
from controller.views import shell

NUMBER: Final = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
RANGES: Final = ("1h", "6h", "24h", "7d")


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the list; filters and place stand in the address."""
    try:
        zone = read_preferences(cast("int", request.user.pk)).zone
        filters = filters_of(dict(request.GET.lists()), zone)
        after = _number(request, "after")
    except BadAskError as refusal:
        return render(
            request, "controller/decisions_refused.html", {"refusal": refusal}, status=400
        )
    now = timezone.now()
    listing = decisions.listing(filters, after, now)
    older = [*filters.params, ("after", str(listing.after))]
    values: dict[str, Any] = {
        "filters": filters,
        "listing": listing,
        "is_first": after is None,
        "older": urlencode(older) if listing.after else "",
        "permalink": f"?{filters.absolute(now)}",
        "figures": filters.drawn(now),
        "figures_of": filters.span.drawn_words(now, zone),
        "since": _shown(filters.span.since),
        "until": _shown(filters.span.until),
        "choices": _choices(filters, listing),
        "ranges": [(text, urlencode(_ranged(filters, text))) for text in RANGES],
        "now": now,
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


@shell.page("GET")
def compare(request: HttpRequest) -> HttpResponse:
    """Show two decisions beside each other, with what differs told in words."""
    try:
        asked = {name: _number(request, name) for name in ("a", "b")}
    except BadAskError as refusal:
        return render(
            request, "controller/decisions_refused.html", {"refusal": refusal}, status=400
        )
    found = decision_compare.compared(asked["a"], asked["b"])
    status = 404 if found.missing else 200
    values = {"found": found, "asked": asked}
    return render(request, "controller/decisions_compared.html", values, status=status)


def _number(request: HttpRequest, name: str) -> int | None:
    text = request.GET.get(name, "").strip()
    if text and not NUMBER.fullmatch(text):
        raise BadAskError(name, "Use the number of a decision, as in the address of its page.")
    return int(text) if text else None


def _shown(at: datetime | None) -> str:
    return "" if at is None else written(at)


Choice = tuple[str, str, bool]


def _choices(filters: Filters, listing: decisions.Listing) -> list[tuple[str, str, list[Choice]]]:
    """Return each list of the form: its parameter, its word, and (value, word, chosen)."""
    offered: dict[str, tuple[str, dict[str, str]]] = {
        "service": ("Service", {slug: slug for slug in listing.services}),
        "cluster": ("Cluster", {slug: slug for slug in listing.clusters}),
        "move": ("Move", {move.value: move.value.replace("_", "-") for move in Move}),
        "gate": ("Outcome", dict(GATES)),
        "code": ("Reason", {code.value: code.value for code in Code}),
        "mode": ("Mode", {mode.value: mode.value for mode in Mode}),
    }
    return [
        (
            name,
            word,
            [(value, said, value in filters.of(name)) for value, said in values.items()],
        )
        for name, (word, values) in offered.items()
    ]


def _ranged(filters: Filters, text: str) -> list[tuple[str, str]]:
    """Return the filters with another range."""
    kept = [pair for pair in filters.params if pair[0] not in ("from", "to", "range")]
    return [*kept, ("range", text)]
