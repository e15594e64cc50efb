"""Stopping automatic change, and letting it go on: a page that says what happens, then a POST."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import freezes as selectors
from controller.services import freezes, people
from controller.services.errors import ConflictError
from controller.views import shell
from inventory.models import Service


@shell.page("GET", "POST")
def freeze_fleet(request: HttpRequest) -> HttpResponse:
    """Stop automatic change everywhere."""
    return _freeze(request, None)


@shell.page("GET", "POST")
def freeze_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Stop automatic change of one service."""
    return _freeze(request, _service(slug))


@shell.page("GET", "POST")
def resume_fleet(request: HttpRequest) -> HttpResponse:
    """Let automatic change go on everywhere."""
    return _resume(request, None)


@shell.page("GET", "POST")
def resume_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Let automatic change of one service go on."""
    return _resume(request, _service(slug))


def _service(slug: str) -> Service:
    found = selectors.service_of(slug)
    if found is None:
        raise Http404(f"There is no service {slug}.")
    return found


def _scope(service: Service | None) -> str:
    return service.slug if service else "the fleet"


def _freeze(request: HttpRequest, service: Service | None) -> HttpResponse:
    if request.method != "POST":
        prefilled = forms.FreezeForm(initial={"reason": "incident"})
        return _ask(request, service, "freeze", form=prefilled)
    form = forms.FreezeForm(request.POST)
    if not form.is_valid():
        return _ask(request, service, "freeze", form=form, status=400)
    try:
        freezes.freeze(service=service, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _ask(request, service, "freeze", conflict=str(conflict), status=409)
    messages.success(request, f"Frozen: no new action for {_scope(service)} until it is resumed.")
    return _back(service)


def _resume(request: HttpRequest, service: Service | None) -> HttpResponse:
    if request.method != "POST":
        return _ask(request, service, "resume", form=forms.FreezeForm())
    form = forms.FreezeForm(request.POST)
    if not form.is_valid():
        return _ask(request, service, "resume", form=form, status=400)
    try:
        freezes.resume(service=service, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _ask(request, service, "resume", conflict=str(conflict), status=409)
    messages.success(request, f"Resumed {_scope(service)}: the next tick may change it again.")
    return _back(service)


def _back(service: Service | None) -> HttpResponse:
    return redirect("service", slug=service.slug) if service else redirect("overview")


def _ask(
    request: HttpRequest,
    service: Service | None,
    verb: str,
    *,
    status: int = 200,
    **extra: object,
) -> HttpResponse:
    right = people.FREEZE if verb == "freeze" else people.RESUME
    values = {
        "service": service,
        "scope": _scope(service),
        "freeze": selectors.active(service),
        "fleet_freeze": selectors.fleet_freeze_over(service),
        "host_hold": selectors.host_hold(),
        "outstanding": selectors.requests_outstanding(service),
        "preview": selectors.preview(service) if verb == "resume" else None,
        "may": request.user.has_perm(right),
        "now": timezone.now(),
    }
    return render(request, f"controller/{verb}.html", values | extra, status=status)
