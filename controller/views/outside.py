"""Counts that somebody else changed: what happened, and a person's answer to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from controller.core.wording import duration
from controller.forms import OutsideForm
from controller.selectors import by_hand, outside
from controller.selectors.scopes import Scope
from controller.services import outside_answers, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.outside_answers import PINNED_FOR
from controller.views import shell
from controller.views.changes import Look
from controller.views.chrome import rights_of


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer to choose: what it would do, what stands against it, and whether one may."""

    key: str
    title: str
    what: str
    may: bool
    needs: str
    against: str = ""


Act = Callable[..., object]
ACTS: Final[Mapping[str, tuple[Act, str, str]]] = {
    "adopt": (outside_answers.adopt, people.OVERRIDE, "Pinned: the new counts stay for an hour."),
    "restore": (
        partial(outside_answers.restore, look=by_hand.ground),
        people.PROPOSE,
        "Proposed: it waits for another person to approve it.",
    ),
    "freeze": (outside_answers.freeze, people.FREEZE, "Frozen: nothing changes by itself."),
}
"""What each answer does, the right it needs, and what is said once it is done."""


@shell.page("GET", "POST")
def page(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    """Show one change from outside with its three answers, or give the one a person chose."""
    found = outside.find(slug, pk)
    if found is None:
        raise Http404(f"There is no change from outside {pk} of {slug}.")
    if request.method == "POST":
        return _answer(request, found)
    return _page(request, found, OutsideForm())


def _answer(request: HttpRequest, found: outside.Row) -> HttpResponse:
    row, form = found.change, OutsideForm(request.POST)
    if not form.is_valid():
        return _page(request, found, form, status=400)
    act, _, done = ACTS[form.cleaned_data["answer"]]
    try:
        act(row.pk, user=request.user, reason=form.cleaned_data["reason"])
    except InvalidError as fault:
        form.add_error(fault.field if fault.field in form.fields else None, str(fault))
        return _page(request, found, form, status=400)
    except ConflictError as conflict:
        now = outside.find(row.service.slug, row.pk) or found
        return _page(request, now, form, status=409, conflict=str(conflict))
    messages.success(request, done)
    # There all three show: the pin, the proposal that waits, and the freeze.
    return redirect(row.service)


def _page(
    request: HttpRequest,
    found: outside.Row,
    form: OutsideForm,
    *,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    choices = _choices(request, found) if found.is_open else []
    values = {
        "row": found,
        "change": found.change,
        "service": found.change.service,
        "form": form,
        "conflict": conflict,
        "choices": choices,
        "may": any(one.may for one in choices),
        "roles": [
            (role, *counts)
            for role, *counts in zip(("Prefill", "Decode"), *found.change.ends, strict=True)
        ],
    }
    return render(request, "controller/outside.html", values, status=status)


def _choices(request: HttpRequest, found: outside.Row) -> list[Choice]:
    service = found.change.service
    where, rights = Scope(service).where, rights_of(request)

    def choice(key: str, title: str, what: str, against: str = "") -> Choice:
        may = rights.may(ACTS[key][1], service)
        return Choice(key, title, what, may, f"needs Operator{where}", against)

    after = found.change.ends[1]
    look = _look(found)
    approval = look.needs.get("needs", 1)
    people_needed = "another person approves" if approval == 1 else f"{approval} others approve"
    return [
        choice(
            "adopt",
            "Keep it",
            f"Pins {after} for {duration(PINNED_FOR.total_seconds())}: the controller leaves the "
            "counts, and afterwards goes on by its policy.",
        ),
        choice(
            "restore",
            "Go back",
            f"Proposes {found.back}: nothing is sent until {people_needed} it.",
            " ".join([look.fault, *look.refusals]).strip(),
        ),
        choice(
            "freeze",
            "Freeze",
            "Stops automatic change until a person resumes it. The counts stay.",
        ),
    ]


def _look(found: outside.Row) -> Look:
    service = found.change.service
    try:
        return Look(service, by_hand.preview(service, found.change.ends[0]))
    except LookupError as fault:
        return Look(service, fault=str(fault))
