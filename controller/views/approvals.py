"""The queue of proposals and policy suggestions, one proposal, and the answers to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.core.lifecycle import ProposalState
from controller.core.words import clean
from controller.selectors import moves, proposals, suggestions
from controller.selectors.proposals import TABS, Filters
from controller.services import approvals, people
from controller.services.errors import ConflictError, InvalidError
from controller.views import fragments, fresh, reading, shell
from controller.views.chrome import rights_of

if TYPE_CHECKING:
    from controller.models import Proposal

TAB_WORDS: Final = (
    ("mine", "Mine to decide"),
    ("requests", "My requests"),
    ("open", "All open"),
    ("decided", "Decided"),
)


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one tab of the queue; the list alone when the page asks again by itself."""
    reader, now = reading.reader_of(request), timezone.now()
    given = {
        name: clean(request.GET.get(name, "")).strip()[:100] for name in ("service", "cluster")
    }
    only = Filters(**given)
    tab = _tab(request, "mine" if reader.somewhere else "open")
    queue = proposals.queue(tab, reader=reader, now=now, only=only)
    is_whole = tab != "requests" and not any(given.values())
    adopts = rights_of(request).reach(people.EDIT_POLICY)
    cards = suggestions.of_tab(tab, mine=adopts, now=now) if is_whole else []
    moving = moves.of_tab(tab, mine=reader.decides, now=now) if is_whole else []
    values = {
        "queue": queue,
        "tab": tab,
        "tabs": TAB_WORDS,
        "only": only,
        "query": "".join(f"&{urlencode({name: text})}" for name, text in given.items() if text),
        "suggestions": cards,
        "moves": moving,
        "now": now,
        "approvers": reading.who_may(*queue.cards),
    }
    if request.headers.get("HX-Request"):
        shown = (*(card.shown for card in cards), *(card.shown for card in moving))
        state = (tab, queue.state, *shown)
        return fragments.answer(request, "controller/_proposal_list.html", values, state=state)
    return render(request, "controller/approvals.html", values)


def _tab(request: HttpRequest, usual: str) -> str:
    asked = request.GET.get("tab", "mine" if request.GET.get("mine") else "")
    return asked if asked in TABS else usual


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one proposal with every answer, or with what became of it."""
    if not request.headers.get("HX-Request"):
        return reading.proposal(request, pk)
    card = reading.card_of(request, pk)
    return fragments.answer(
        request,
        "controller/_proposal_live.html",
        {"card": card, "now": card.now},
        state=(
            card.state,
            card.proposal.version,
            card.proposal.evidence_at,
            card.drift,
            card.progress,
            card.placed,
            card.standing and card.standing.words,
        ),
    )


@shell.page("GET", "POST")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """Approve what the form shows; asked any other way, show the proposal."""
    if request.method != "POST":
        return redirect("approval", pk=pk)
    form, before = forms.ApproveForm(request.POST), reading.card_of(request, pk)
    try:
        done = _given(form, pk, user=request.user) if form.is_valid() else None
    except ConflictError as conflict:
        return reading.proposal(request, pk, conflict=str(conflict), status=409)
    if done is None:
        return reading.proposal(request, pk, form=form, status=400)
    if done.state == ProposalState.PENDING:
        text = f"Your approval counts: one of {done.needs}. Another person approves it too."
    elif before.proposal.decided_at is not None:
        text = f"You had approved this already, at {done.decided_at:%H:%M:%S} UTC: it counts once."
    else:
        text = f"Approved {before.change} for {before.service.slug}."
    messages.success(request, text)
    return redirect("approval", pk=pk)


def _given(form: forms.ApproveForm, pk: int, **said: object) -> Proposal | None:
    """Return the proposal as approved; ``None`` where the form tells what lacks."""
    try:
        return approvals.approve(pk, **form.said() | said)
    except InvalidError as refusal:
        form.add_error(refusal.field, str(refusal))
        return None


@shell.page("GET", "POST")
@fresh.needed
def break_glass(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a proposal through without waiting for others; asked any other way, show it."""
    if request.method != "POST":
        return redirect("approval", pk=pk)
    form, card = forms.BreakGlassForm(request.POST), reading.card_of(request, pk)
    may = card.standing is not None and card.standing.may_break and card.is_pending
    try:
        done = None
        if form.is_valid() or not may:
            done = _given(form, pk, user=request.user, break_glass=True)
    except ConflictError as conflict:
        return reading.proposal(request, pk, conflict=str(conflict), status=409)
    if done is None:
        return reading.proposal(request, pk, break_form=form, status=400)
    messages.success(
        request, f"{card.change} for {card.service.slug} goes through on your word alone."
    )
    return redirect("approval", pk=pk)


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer in words alone: its form, under which name the page shows it, and what it does."""

    form: type[forms.RejectForm | forms.CommentForm]
    shown_as: str
    give: Callable[..., object]
    said: str


_REJECT: Final = _Answer(
    forms.RejectForm,
    "reject_form",
    approvals.reject,
    "Rejected: nothing changes. The controller keeps watching.",
)
_WITHDRAW: Final = _Answer(
    forms.RejectForm, "withdraw_form", approvals.withdraw, "Withdrawn: nothing changes."
)
_COMMENT: Final = _Answer(
    forms.CommentForm,
    "comment_form",
    approvals.comment,
    "Your comment is there for whoever decides.",
)


@shell.page("GET", "POST")
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Reject with a reason; asked any other way, show the proposal."""
    return _answered(request, pk, _REJECT)


@shell.page("GET", "POST")
def withdraw(request: HttpRequest, pk: int) -> HttpResponse:
    """Take back what a person proposed; asked any other way, show the proposal."""
    return _answered(request, pk, _WITHDRAW)


@shell.page("GET", "POST")
def comment(request: HttpRequest, pk: int) -> HttpResponse:
    """Say something about a proposal without deciding; asked any other way, show it."""
    return _answered(request, pk, _COMMENT)


def _answered(request: HttpRequest, pk: int, answer: _Answer) -> HttpResponse:
    if request.method != "POST":
        return redirect("approval", pk=pk)
    form = answer.form(request.POST)
    if not form.is_valid():
        return reading.proposal(request, pk, status=400, **{answer.shown_as: form})
    try:
        answer.give(pk, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return reading.proposal(request, pk, conflict=str(conflict), status=409)
    messages.success(request, answer.said)
    return redirect("approval", pk=pk)
