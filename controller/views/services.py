"""The table of services, and the page of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.core.words import clean
from controller.selectors import service_page
from controller.selectors.services import Filters, read_services
from controller.views import fragments
from controller.views.chrome import read_chrome
from inventory.models import Service

RANGES: Final = ("1h", "3h", "12h", "24h")
DEFAULT_RANGE: Final = "3h"
MODES: Final = ("automatic", "approve", "observe", "frozen")


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Answer the table, narrowed by the query string; to htmx only the rows."""
    view = _rows if request.htmx else _index  # type: ignore[attr-defined]
    return view(request)


def _narrowed(request: HttpRequest, now: datetime) -> dict[str, Any]:
    given = {
        name: clean(request.GET.get(name, "")).strip()[:100]
        for name in ("text", "mode", "cluster")
    }
    given["mode"] = given["mode"] if given["mode"] in MODES else ""
    return {"now": now, "services": read_services(now, Filters(**given)), "modes": MODES}


@login_required
def _index(request: HttpRequest) -> HttpResponse:
    return render(request, "controller/services.html", _narrowed(request, timezone.now()))


@fragments.signed_in
def _rows(request: HttpRequest) -> HttpResponse:
    values = _narrowed(request, timezone.now())
    return fragments.answer(
        request, "controller/_services_found.html", values, state=values["services"]
    )


Part = Callable[[HttpRequest, Service, datetime], Mapping[str, Any]]


def _now(request: HttpRequest, service: Service, now: datetime) -> Mapping[str, Any]:
    strip = read_chrome(request, now).strip
    if strip is None:
        raise Http404
    return {"here": service_page.read_now(service, strip, now)}


def _decisions(_request: HttpRequest, service: Service, _now: datetime) -> Mapping[str, Any]:
    return {"decisions": service_page.read_decisions(service)}


def _actions(_request: HttpRequest, service: Service, now: datetime) -> Mapping[str, Any]:
    return {"actions": service_page.read_actions(service, now)}


PANELS: Mapping[str, Part] = {"now": _now, "decisions": _decisions, "actions": _actions}


@login_required
@require_safe
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Answer the page of one service over the range the query string names."""
    now, service = timezone.now(), _find(slug)
    values: dict[str, Any] = {
        "now": now,
        "service": service,
        "ranges": RANGES,
        **_chosen_range(request, slug),
    }
    for read in PANELS.values():
        values |= read(request, service, now)
    values["sizing"] = service_page.read_sizing(service, values["here"].row.ratio)
    return render(request, "controller/service.html", values)


@require_safe
@fragments.signed_in
def panel(request: HttpRequest, slug: str, panel: str) -> HttpResponse:
    """Answer one part of the page, or 304 when it is what the browser shows."""
    if panel not in PANELS:
        raise Http404(f"A service has no panel {panel}.")
    now, service = timezone.now(), _find(slug)
    values = PANELS[panel](request, service, now)
    state = values["here"].state if panel == "now" else values
    return fragments.answer(
        request,
        f"controller/_service_{panel}.html",
        {"now": now, "service": service, **values},
        state=state,
    )


def _find(slug: str) -> Service:
    service = service_page.find(slug)
    if service is None:
        raise Http404(f"There is no service {slug}.")
    return service


def _chosen_range(request: HttpRequest, slug: str) -> dict[str, str]:
    """Return the range in use and the query string its figure is asked with."""
    ends = {name: request.GET[name] for name in ("from", "to") if request.GET.get(name)}
    if len(ends) == 2:  # noqa: PLR2004 - a range has two ends
        return {"range": "", "params": urlencode({"service": slug, **ends})}
    chosen = request.GET.get("range", DEFAULT_RANGE)
    chosen = chosen if chosen in RANGES else DEFAULT_RANGE
    return {"range": chosen, "params": urlencode({"service": slug, "range": chosen})}
