"""Stopping automatic change, and letting it go on: a page that says what happens, then a POST."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller import forms
from controller.selectors import freezes as selectors
from controller.selectors import scopes
from controller.selectors.scopes import Scope
from controller.selectors.stops import outstanding_words
from controller.services import freezes, people
from controller.services.errors import ConflictError
from controller.services.overriding import WATCH
from controller.views import fragments, fresh, shell
from controller.views.chrome import rights_of


@shell.page("GET", "POST")
def freeze(request: HttpRequest) -> HttpResponse:
    """Stop automatic change of the scope in the address, by default everywhere.

    Who may freeze only parts is asked about the widest of them; what is sent is never guessed.
    """
    if request.method != "POST" and "scope" not in request.GET:
        key, _ = next(iter(_permitted(request)), (scopes.FLEET, ""))
        return _freeze(request, _found(key))
    return _freeze(request, _scope(request))


@shell.page("GET", "POST")
def freeze_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Stop automatic change of one service."""
    return _freeze(request, _found(f"service:{slug}"))


@shell.page("GET", "POST")
@fresh.needed
def resume(request: HttpRequest) -> HttpResponse:
    """Let automatic change of the scope in the address go on; a POST has to name it (S21)."""
    named = request.GET.get("scope", request.POST.get("scope"))
    if request.method == "POST" and named is None:
        text = "scope: name what is resumed, everything is ?scope=fleet. Nothing was resumed."
        return HttpResponseBadRequest(text, content_type="text/plain; charset=utf-8")
    return _resume(request, _found(scopes.FLEET if named is None else named))


@shell.page("GET", "POST")
@fresh.needed
def resume_service(request: HttpRequest, slug: str) -> HttpResponse:
    """Let automatic change of one service go on."""
    return _resume(request, _found(f"service:{slug}"))


@require_safe
@fragments.signed_in
def state(request: HttpRequest) -> HttpResponse:
    """Answer how far a freeze is, for the poll of its page."""
    values = _state(_scope(request))
    return fragments.answer(request, "controller/_freeze_now.html", values, state=values)


def _scope(request: HttpRequest) -> Scope:
    return _found(request.GET.get("scope", scopes.FLEET))


def _permitted(request: HttpRequest) -> list[tuple[str, str]]:
    return scopes.choices(partial(rights_of(request).may, people.FREEZE))


def _found(key: str) -> Scope:
    try:
        return Scope(scopes.find(key))
    except scopes.UnknownScopeError as fault:
        raise Http404(str(fault)) from fault


def _freeze(request: HttpRequest, scope: Scope) -> HttpResponse:
    if request.method != "POST":
        prefilled = forms.FreezeForm(initial={"reason": "incident"})
        return _ask(request, scope, "freeze", form=prefilled)
    form = forms.FreezeForm(request.POST)
    if not form.is_valid():
        return _ask(request, scope, "freeze", form=form, status=400)
    try:
        freezes.freeze(about=scope.about, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _ask(request, scope, "freeze", conflict=str(conflict), status=409)
    how_far = outstanding_words(selectors.requests_outstanding(scope.about))
    messages.success(
        request,
        f"Frozen: no new action for {scope.name} until it is resumed. {how_far.capitalize()}.",
    )
    return redirect(f"{reverse('freeze')}?{urlencode({'scope': scope.key})}")


def _resume(request: HttpRequest, scope: Scope) -> HttpResponse:
    if request.method != "POST":
        return _ask(request, scope, "resume", form=forms.ResumeForm())
    form = forms.ResumeForm(request.POST)
    if not form.is_valid():
        return _ask(request, scope, "resume", form=form, status=400)
    try:
        freezes.resume(about=scope.about, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _ask(request, scope, "resume", conflict=str(conflict), status=409)
    goes = selectors.still_frozen(scope.about) or goes_on(**form.cleaned_data)
    messages.success(request, f"Resumed {scope.name}: {goes[0].lower()}{goes[1:]}")
    return redirect(scope.home)


def goes_on(*, watch_first: bool, **_rest: object) -> str:
    """Return how what a person lets go on begins, for the message."""
    if not watch_first:
        return "the next tick may change it again."
    minutes = WATCH.total_seconds() / 60
    return f"it is only watched for {minutes:.0f} min, then it acts. Overrides ends that earlier."


def _state(scope: Scope) -> dict[str, Any]:
    freeze = selectors.active(scope.about)
    outstanding = selectors.requests_outstanding(scope.about)
    return {
        "scope": scope,
        "freeze": freeze,
        "outstanding": outstanding,
        "outstanding_words": outstanding_words(outstanding),
        "called_off": selectors.called_off(freeze) if freeze else [],
    }


def _ask(
    request: HttpRequest, scope: Scope, verb: str, *, status: int = 200, **extra: object
) -> HttpResponse:
    right = people.FREEZE if verb == "freeze" else people.RESUME
    values = _state(scope) | {
        "others": selectors.others(scope.about),
        "host_hold": selectors.host_hold(),
        "may": people.may(request.user, right, scope.about),
        "now": timezone.now(),
    }
    if verb == "freeze":
        own = (scope.key, scope.name)
        choices = _permitted(request) or scopes.choices()
        choices = choices if own in choices else [own, *choices]
        values |= {"choices": choices, "unsent": selectors.unsent(scope.about)}
    else:
        values["preview"] = selectors.preview(scope.about)
    return render(request, f"controller/{verb}.html", values | extra, status=status)
