"""One answer to several proposals: a page that lists each, then what became of each."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import proposals
from controller.services import approvals
from controller.views import reading, shell

ALONE = "is decided on its own page: it takes a typed confirmation"


@shell.page("GET", "POST")
def bulk(request: HttpRequest) -> HttpResponse:
    """Ask about the ticked proposals, or answer them; asked any other way, show the queue."""
    if request.method != "POST":
        return redirect("approvals")
    form = forms.BulkForm(request.POST)
    is_valid = form.is_valid()
    if is_valid and "confirm" in request.POST:
        return _answer(request, form)
    return _ask(request, form, status=200 if is_valid else 400)


def _ask(request: HttpRequest, form: forms.BulkForm, *, status: int) -> HttpResponse:
    given, verb = form.cleaned_data.get("items", []), form.cleaned_data.get("verb", "approve")
    keys = [pk for pk, *_ in given]
    cards = proposals.found_of(keys, now=timezone.now(), reader=reading.reader_of(request))
    rows = [(card, _barred(card, verb)) for card in cards]
    values = {"rows": rows, "verb": verb, "form": form}
    return render(request, "controller/bulk.html", values, status=status)


def _barred(card: proposals.Card, verb: str) -> str:
    """Return why a proposal is not ticked; empty where it may be answered with others."""
    if not card.is_pending or card.standing is None:
        return card.word
    if verb == "reject":
        return "" if card.standing.may_reject else f"needs Approver on {card.service.slug}"
    return card.standing.why_not or (ALONE if card.must_type else "")


def _answer(request: HttpRequest, form: forms.BulkForm) -> HttpResponse:
    verb, reason = form.cleaned_data["verb"], form.cleaned_data["reason"]
    given = {pk: approvals.Item(pk, *seen) for pk, *seen in form.cleaned_data["items"]}
    reader = reading.reader_of(request)
    before = proposals.found_of(list(given), now=timezone.now(), reader=reader)
    alone = {card.proposal.pk for card in before if verb == "approve" and card.must_type}
    asked = [item for pk, item in given.items() if pk not in alone]
    told = {
        one.pk: one for one in approvals.bulk(asked, user=reader.user, verb=verb, reason=reason)
    }
    told |= {pk: approvals.Result(pk, is_done=False, text=f"It {ALONE}.") for pk in alone}
    names = {card.proposal.pk: card for card in before}
    rows = [(names.get(pk), told[pk]) for pk in sorted(told)]
    return render(request, "controller/bulk_done.html", {"rows": rows, "verb": verb})
