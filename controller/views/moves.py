"""One proposal of moves, and the two answers to it."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import moves
from controller.selectors.moves import Card
from controller.services import rearranging
from controller.services.errors import ConflictError
from controller.views import fragments, shell


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one proposal with both answers, or how far it is; the live part when asked again."""
    card = _card(pk)
    if request.headers.get("HX-Request"):
        values = {"card": card, "now": card.now}
        return fragments.answer(request, "controller/_moves_live.html", values, state=card.shown)
    return _render(request, card)


@shell.page("GET", "POST")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    """Approve what the form shows; asked any other way, show the proposal."""
    if request.method != "POST":
        return redirect("moves", pk=pk)
    form = forms.AdoptForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), form=form, status=400)
    try:
        rearranging.approve(pk, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    messages.success(request, "Approved: the moves begin at once, one change a service at a time.")
    return redirect("moves", pk=pk)


@shell.page("GET", "POST")
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    """Reject with a reason; asked any other way, show the proposal."""
    if request.method != "POST":
        return redirect("moves", pk=pk)
    form = forms.RejectForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), reject_form=form, status=400)
    try:
        rearranging.reject(pk, user=request.user, **form.cleaned_data)
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    messages.success(request, "Rejected: nothing moves. The same is not asked for an hour.")
    return redirect("moves", pk=pk)


def _card(pk: int) -> Card:
    card = moves.find(pk, now=timezone.now())
    if card is None:
        raise Http404(f"There is no proposal of moves {pk}.")
    return card


def _render(
    request: HttpRequest, card: Card, *, status: int = 200, **extra: object
) -> HttpResponse:
    values = {"card": card, "now": card.now} | extra
    return render(request, "controller/moves.html", values, status=status)
