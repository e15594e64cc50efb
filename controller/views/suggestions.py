"""One policy suggestion, and the two answers to it."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import suggestions
from controller.selectors.suggestions import Card
from controller.services import suggestions as answers
from controller.services.errors import ConflictError
from controller.views import shell


@shell.page("GET")
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one suggestion with both answers, or with what became of it."""
    return _render(request, _card(pk))


@shell.page("GET", "POST")
def adopt(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the suggested figures a policy revision; asked any other way, show the suggestion."""
    if request.method != "POST":
        return redirect("suggestion", pk=pk)
    form = forms.AdoptForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), adopt_form=form, status=400)
    try:
        done = answers.adopt(pk, user=request.user, **form.cleaned_data)  # type: ignore[arg-type]
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    messages.success(
        request,
        f"Adopted: revision {done.revision + 1} is in force from the next tick on. "
        f"Revert to revision {done.revision} below to take it back.",
    )
    return redirect("service-policy", slug=done.service.slug)


@shell.page("GET", "POST")
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Dismiss with a reason; asked any other way, show the suggestion."""
    if request.method != "POST":
        return redirect("suggestion", pk=pk)
    form = forms.RejectForm(request.POST)
    if not form.is_valid():
        return _render(request, _card(pk), dismiss_form=form, status=400)
    try:
        answers.dismiss(pk, user=request.user, **form.cleaned_data)  # type: ignore[arg-type]
    except ConflictError as conflict:
        return _render(request, _card(pk), conflict=str(conflict), status=409)
    messages.success(request, "Dismissed: the policy stays. About the same waits for a day.")
    return redirect("suggestion", pk=pk)


def _card(pk: int) -> Card:
    card = suggestions.find(pk, now=timezone.now())
    if card is None:
        raise Http404(f"There is no suggestion {pk}.")
    return card


def _render(
    request: HttpRequest, card: Card, *, status: int = 200, **extra: object
) -> HttpResponse:
    values = {"card": card, "now": card.now} | extra
    return render(request, "controller/suggestion.html", values, status=status)
