"""The page of all audited events, and its files."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.core.words import clean
from controller.selectors import audit_log
from controller.selectors.audit_log import LARGEST_ID, LONGEST, Filters
from controller.views import shell
from controller.views.chrome import read_chrome

FORMS: Final = {
    "csv": (audit_log.as_csv, "text/csv"),
    "jsonl": (audit_log.as_jsonl, "application/jsonl"),
}


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the log; filters and place stand in the address."""
    now = timezone.now()
    filters, after = _filters(request, now), _after(request)
    listing = audit_log.listing(filters, after)
    values = {
        "filters": filters,
        "listing": listing,
        "chain": audit_log.chain(),
        "is_first": after is None,
        "first": filters.query(),
        "older": filters.query(after=str(listing.after)) if listing.after else "",
        "most": audit_log.MOST_EXPORTED,
        "now": now,
    }
    return render(request, "controller/audit.html", values)


@shell.page("GET")
def export(request: HttpRequest) -> HttpResponse:
    """Send the events that the filters keep as a file: CSV, or ``format=jsonl``."""
    now = timezone.now()
    form = "jsonl" if request.GET.get("format") == "jsonl" else "csv"
    lines, kind = FORMS[form]
    response = StreamingHttpResponse(
        lines(_filters(request, now)), content_type=f"{kind}; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="audit-{now:%Y%m%d-%H%M}.{form}"'
    # A stream is a response to Django, though its types keep the two apart.
    return response  # type: ignore[return-value]


def _filters(request: HttpRequest, now: datetime) -> Filters:
    """Return the filters of the address; a time without zone is one of the reader's zone."""
    asked = {name: clean(request.GET.get(name, ""))[:LONGEST].strip() for name in request.GET}
    kind, _, about = asked.get("object", "").partition(":")
    zone = read_chrome(request, now).zone
    return Filters(
        actor=asked.get("actor", ""),
        verb=asked.get("verb", ""),
        kind=kind,
        about=about,
        service=asked.get("service", ""),
        begin=_moment(asked.get("from", ""), zone),
        end=_moment(asked.get("to", ""), zone),
    )


def _moment(text: str, zone: ZoneInfo) -> datetime | None:
    try:
        # A plus sign that nobody escaped arrives as a space.
        found = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(zone)
    except (ValueError, OverflowError):
        return None


def _after(request: HttpRequest) -> int | None:
    text = request.GET.get("after", "")
    number = int(text) if text.isdecimal() and len(text) <= len(str(LARGEST_ID)) else 0
    return number if 0 < number <= LARGEST_ID else None
