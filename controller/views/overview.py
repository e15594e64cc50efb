"""The overview: what needs a person, every service, the capacity and what was decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.selectors import overview
from controller.selectors.setup import read_setup
from controller.services import people
from controller.views import fragments
from controller.views.chrome import read_chrome, rights_of

Reader = Callable[[HttpRequest, datetime], Mapping[str, Any]]


def _state(request: HttpRequest, now: datetime) -> overview.State:
    strip = read_chrome(request, now).strip
    if strip is None:
        raise Http404
    decides = partial(rights_of(request).may, people.APPROVE)
    return overview.read_state(strip, now, decides)


def _attention(request: HttpRequest, now: datetime) -> Mapping[str, Any]:
    return {"attention": _state(request, now).attention}


def _services(request: HttpRequest, now: datetime) -> Mapping[str, Any]:
    return {"services": _state(request, now).services}


def _pools(_request: HttpRequest, now: datetime) -> Mapping[str, Any]:
    return {"pools": overview.read_pools(now)}


def _decisions(_request: HttpRequest, _now: datetime) -> Mapping[str, Any]:
    return {"decisions": overview.read_recent_decisions()}


PANELS: Mapping[str, Reader] = {
    "attention": _attention,
    "services": _services,
    "pools": _pools,
    "decisions": _decisions,
}


@login_required
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Answer the whole overview; without any service it is the checklist of what to do first."""
    now = timezone.now()
    state = _state(request, now)
    values = {"now": now, "attention": state.attention, "services": state.services}
    if not state.services.total:
        values["setup"] = read_setup(now)
    return render(
        request,
        "controller/overview.html",
        {**values, **_pools(request, now), **_decisions(request, now)},
    )


@require_safe
@fragments.signed_in
def panel(request: HttpRequest, panel: str) -> HttpResponse:
    """Answer one part of the overview, or 304 when it is what the browser shows."""
    if panel not in PANELS:
        raise Http404(f"The overview has no panel {panel}.")
    now = timezone.now()
    values = PANELS[panel](request, now)
    template = f"controller/_overview_{panel}.html"
    return fragments.answer(request, template, {"now": now, **values}, state=values)
