"""The queue of proposals and policy suggestions, one proposal, and the two answers to it."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import moves, proposals, suggestions
from controller.selectors.proposals import Card
from controller.services import approvals, people
from controller.services.errors import ConflictError
from controller.views import fragments, shell
from controller.views.chrome import rights_of

TABS: Final = ("mine", "open", "decided")


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one tab of the queue; the list alone when the page asks again by itself."""
    rights = rights_of(request)
    may, mine = rights.somewhere(people.APPROVE), rights.reach(people.APPROVE)
    asked = request.GET.get("tab", "")
    tab = asked if asked in TABS else TABS[0] if may else TABS[1]
    now = timezone.now()
    queue = proposals.queue(tab, mine=mine, may_decide=may, now=now)
    cards = suggestions.of_tab(tab, mine=rights.reach(people.EDIT_POLICY), now=now)
    moving = moves.of_tab(tab, mine=mine, now=now)
    values = {"queue": queue, "tab": tab, "suggestions": cards, "moves": moving, "now": now}
    if request.headers.get("HX-Request"):
        shown = (*(card.shown for card in cards), *(card.shown for card in moving))
        state = (tab, queue.state, *shown)
        return fragments.answer(request, "controller/_proposal_list.html", values, state=state)
    return render(request, "controller/approvals.html", values)


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one proposal with both answers, or with what became of it."""
    card = _card(pk)
    if request.headers.get("HX-Request"):
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
            ),
        )
    return _render(request, card)


@shell.page("GET", "POST")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """Approve what the form shows; asked any other way, show the proposal."""
    if request.method != "POST":
        return redirect("approval", pk=pk)
    form = forms.ApproveForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), form=form, status=400)
    before = _card(pk)
    try:
        done = approvals.approve(pk, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    repeated = before.proposal.decided_at is not None
    messages.success(
        request,
        f"You had approved this already, at {done.decided_at:%H:%M:%S} UTC: it counts once."
        if repeated
        else f"Approved {before.change} for {before.service.slug}.",
    )
    return redirect("approval", pk=pk)


@shell.page("GET", "POST")
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Reject with a reason; asked any other way, show the proposal."""
    if request.method != "POST":
        return redirect("approval", pk=pk)
    form = forms.RejectForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), reject_form=form, status=400)
    try:
        approvals.reject(pk, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    messages.success(request, "Rejected: nothing changes. The controller keeps watching.")
    return redirect("approval", pk=pk)


def _card(pk: int) -> Card:
    card = proposals.find(pk, now=timezone.now())
    if card is None:
        raise Http404(f"There is no proposal {pk}.")
    return card


def _render(
    request: HttpRequest, card: Card, *, status: int = 200, **extra: object
) -> HttpResponse:
    values = {"card": card, "now": card.now} | extra
    return render(request, "controller/approval.html", values, status=status)
