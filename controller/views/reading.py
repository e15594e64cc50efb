"""Who reads the queue, and the proposal they read about."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.selectors import proposals, standing
from controller.selectors.proposals import Card
from controller.selectors.standing import Reader
from controller.services import people
from controller.views.chrome import rights_of


def reader_of(request: HttpRequest) -> Reader:
    """Return who reads, with their rights; one query."""
    rights = rights_of(request)
    return Reader(
        user=cast("User", request.user),
        may=rights.may,
        somewhere=rights.somewhere(people.APPROVE),
        decides=rights.reach(people.APPROVE),
    )


def card_of(request: HttpRequest, pk: int) -> Card:
    """Return the card of a proposal as this person reads it; raises 404 without one."""
    found = proposals.find(pk, now=timezone.now(), reader=reader_of(request))
    if found is None:
        raise Http404(f"There is no proposal {pk}.")
    return found


def proposal(request: HttpRequest, pk: int, *, status: int = 200, **extra: object) -> HttpResponse:
    """Answer the page of one proposal, with the forms that were refused and why."""
    card = card_of(request, pk)
    values: dict[str, Any] = {
        "card": card,
        "now": card.now,
        "comments": proposals.comments_of(pk),
        "history": proposals.history_of(pk),
        "approvers": who_may(card),
    }
    return render(request, "controller/approval.html", values | extra, status=status)


def who_may(*cards: Card) -> str:
    """Return who decides, where the reader of any of the cards may not; at most one query."""
    barred = any(card.standing and not card.standing.may_reject for card in cards)
    return standing.approvers() if barred else ""
