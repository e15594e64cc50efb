"""Overrides: the list with the kill switch, one with its history, and what people do with it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core.consequences import consequence
from controller.core.override_words import ABOUT, PRECEDENCE, TITLES
from controller.core.overrides import OverrideKind
from controller.selectors import freezes, overrides, scopes, standings
from controller.selectors.overrides import TABS, Filters, Row
from controller.services import overriding, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.overriding import Scope
from controller.views import fragments, fresh, shell
from controller.views.chrome import read_chrome, rights_of
from controller.views.freezes import goes_on
from controller.views.override_form import VALUES, EndForm, ExtendForm, OverrideForm

WORDS: Final = {"active": "Active", "upcoming": "Upcoming", "past": "Past"}


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one tab of the list; to htmx only that."""
    now = timezone.now()
    listing, rights = overrides.listing(_filters(request), now), rights_of(request)
    values: dict[str, Any] = {
        "now": now,
        "listing": listing,
        "may": rights.somewhere(people.OVERRIDE),
    }
    if request.headers.get("HX-Request"):
        return fragments.answer(
            request, "controller/_override_list.html", values, state=listing.shown
        )
    values |= {
        "tabs": [(tab, WORDS[tab], listing.counts[tab]) for tab in TABS],
        "host_hold": freezes.host_hold(),
        "scopes": scopes.choices(),
        "kinds": [(kind.value, word) for kind, word in TITLES.items()],
        "precedence": PRECEDENCE,
        "may_freeze": rights.somewhere(people.FREEZE),
    }
    return render(request, "controller/overrides.html", values)


def _filters(request: HttpRequest) -> Filters:
    """Return what the address narrows the list to; what it can't mean narrows nothing."""
    tab, kind, scope = (request.GET.get(name, "") for name in ("tab", "kind", "scope"))
    tab = tab if tab in TABS else TABS[0]
    kind = kind if kind in list(OverrideKind) else ""
    try:
        about = scopes.find(scope) if scope else None
    except scopes.UnknownScopeError:
        scope, about = "", None
    return Filters(tab, kind, scope, about)


class Change(NamedTuple):
    """What an override would change of one service."""

    service: str
    sentence: str


@shell.page("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, say what it would change, or set the override a person confirmed."""
    now, given = timezone.now(), request.POST if request.method == "POST" else request.GET
    kind = given.get("kind", "")
    choices = scopes.choices()
    if request.method != "POST":
        initial = _clone(request, now) or {"scope": _scope_key(request)}
        kind = initial.pop("kind", kind)
        known = OverrideKind(kind) if kind in list(OverrideKind) else OverrideKind.PIN
        return _form(request, OverrideForm(known, choices, initial=initial | _given(request)))
    if kind not in list(OverrideKind):
        raise Http404(f"There is no kind {kind}.")
    form = OverrideForm(OverrideKind(kind), choices, request.POST)
    with timezone.override(read_chrome(request, now).zone):
        is_valid = form.is_valid()
    if not is_valid:
        return _form(request, form, status=400)
    about = scopes.find(form.cleaned_data["scope"])
    return _answer(request, form, about, now)


def _scope_key(request: HttpRequest) -> str:
    """Return the scope an address names: a key, or a service by its slug."""
    service = request.GET.get("service", "")
    return f"service:{service}" if service else request.GET.get("scope", "")


def _given(request: HttpRequest) -> dict[str, Any]:
    """Return the values an address begins with."""
    known = {name for fields in VALUES.values() for name in fields} | {"reason"}
    return {name: request.GET[name][:253] for name in known if name in request.GET}


def _clone(request: HttpRequest, now: datetime) -> dict[str, Any] | None:
    """Return what a form begins with that repeats another override."""
    pk = request.GET.get("from", "")
    found = overrides.find(int(pk), now) if pk.isdecimal() and len(pk) < 19 else None  # noqa: PLR2004
    if found is None:
        return None
    row = found.override
    values = row.values if isinstance(row.values, dict) else {}
    scope = scopes.Scope(found.about).key
    return {"kind": row.kind, "scope": scope, "reason": row.reason, **values}


def _changes(form: OverrideForm, about: Scope, now: datetime) -> dict[str, Any]:
    told, count = standings.read_standings(about)
    found = [Change(one.service, consequence(form.kind, form.values(), one)) for one in told]
    starts = form.cleaned_data["starts"]
    return {
        "told": found,
        "more": count - len(found),
        "count": count,
        "starts": starts if starts and starts > now else None,
    }


def _answer(request: HttpRequest, form: OverrideForm, about: Scope, now: datetime) -> HttpResponse:
    """Set it, or say what it would change; what can't be set is refused either way."""
    is_set = request.POST.get("step") == "set"
    try:
        made = (overriding.place if is_set else overriding.check)(
            form.kind,
            about,
            form.values(),
            starts_at=form.cleaned_data["starts"],
            ends_at=form.end(form.begin(now)),
            reason=form.cleaned_data["reason"],
            user=request.user,
        )
    except InvalidError as fault:
        form.refuse(fault)
        return _form(request, form, status=400)
    except ConflictError as conflict:
        return _form(request, form, status=409, conflict=str(conflict))
    if not is_set:
        return _form(request, form, changes=_changes(form, about, now))
    messages.success(request, f"Set: {TITLES[form.kind]} of {made.scope}. It ends by itself.")
    return redirect(made)


def _form(
    request: HttpRequest,
    form: OverrideForm,
    *,
    status: int = 200,
    **extra: Any,  # noqa: ANN401
) -> HttpResponse:
    key = str(form["scope"].value() or "")
    about = _about(key)
    values = {
        "form": form,
        "kind": form.kind,
        "title": TITLES[form.kind],
        "what": ABOUT[form.kind],
        "kinds": [(kind.value, word) for kind, word in TITLES.items()],
        "scope": key,
        "may": rights_of(request).may(people.OVERRIDE, about)
        if key
        else rights_of(request).somewhere(people.OVERRIDE),
        "where": scopes.Scope(about).where if key else "",
        "precedence": PRECEDENCE,
    }
    return render(request, "controller/override_new.html", values | extra, status=status)


def _about(key: str) -> Scope:
    try:
        return scopes.find(key) if key else None
    except scopes.UnknownScopeError:
        return None


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one override with its history and what may be done with it."""
    return _page(request, _find(pk))


@shell.page("GET", "POST")
def extend(request: HttpRequest, pk: int) -> HttpResponse:
    """Let one end later; asked any other way, show it."""
    if request.method != "POST":
        return redirect("override", pk=pk)
    found = _find(pk)
    form = ExtendForm(request.POST)
    with timezone.override(read_chrome(request, found.now).zone):
        is_valid = form.is_valid()
    if not is_valid:
        return _page(request, found, status=400, extend_form=form)
    return _extend(request, found, form)


def _extend(request: HttpRequest, found: Row, form: ExtendForm) -> HttpResponse:
    pk, given = found.override.pk, form.cleaned_data
    try:
        overriding.extend(
            pk,
            version=given["version"],
            # A length is counted from the present end: "2 h" more.
            ends_at=form.end(found.override.ends_at),
            reason=given["reason"],
            user=request.user,
        )
    except InvalidError as fault:
        form.refuse(fault)
        return _page(request, found, status=400, extend_form=form)
    except ConflictError as conflict:
        return _page(request, _find(pk), status=409, extend_form=form, conflict=str(conflict))
    messages.success(request, "Extended.")
    return redirect("override", pk=pk)


@shell.page("GET", "POST")
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """End one now, with a fresh proof if it is a freeze; asked any other way, show it."""
    if request.method != "POST":
        return redirect("override", pk=pk)
    found = _find(pk)
    is_freeze = found.override.kind == OverrideKind.FREEZE
    return (fresh.require_fresh(request) if is_freeze else None) or _end(request, found)


def _end(request: HttpRequest, found: Row) -> HttpResponse:
    form = EndForm(request.POST)
    if not form.is_valid():
        return _page(request, found, status=400, end_form=form)
    pk, given = found.override.pk, form.cleaned_data
    try:
        ended = overriding.end(
            pk, version=given["version"], reason=given["reason"], user=request.user
        )
    except ConflictError as conflict:
        return _page(request, _find(pk), status=409, end_form=form, conflict=str(conflict))
    on = "automatic change goes on from here, a step at a time."
    if ended.kind == OverrideKind.FREEZE:
        on = goes_on(watch_first=True)
    messages.success(request, f"Ended: {on}")
    return redirect("override", pk=pk)


def _find(pk: int) -> Row:
    found = overrides.find(pk, timezone.now())
    if found is None:
        raise Http404(f"There is no override {pk}.")
    return found


def _page(
    request: HttpRequest,
    row: Row,
    *,
    status: int = 200,
    **extra: Any,  # noqa: ANN401
) -> HttpResponse:
    scope, rights = scopes.Scope(row.about), rights_of(request)
    # To end a timed freeze is to resume.
    is_freeze = row.override.kind == OverrideKind.FREEZE
    ending = people.RESUME if is_freeze else people.OVERRIDE
    values = {
        "now": row.now,
        "row": row,
        "scope": scope,
        "history": overrides.history(row.override.pk),
        "extend_form": ExtendForm(initial={"version": row.override.version}),
        "end_form": None,
        "may": rights.may(people.OVERRIDE, row.about),
        "may_end": rights.may(ending, row.about),
        "ending_needs": "Approver" if ending == people.RESUME else "Operator",
    }
    return render(request, "controller/override.html", values | extra, status=status)
