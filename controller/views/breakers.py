"""A breaker that opened: why, and the form that resets it."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import forms
from controller.selectors import breakers as selectors
from controller.selectors import freezes
from controller.selectors.scopes import Scope
from controller.services import breakers, people
from controller.services.errors import ConflictError
from controller.views import freezes as freeze_views
from controller.views import fresh, shell


@shell.page("GET", "POST")
@fresh.needed
def reset(request: HttpRequest, pk: int) -> HttpResponse:
    """Say why the controller stopped itself, and let a person end that."""
    found = selectors.find(pk)
    if found is None:
        raise Http404(f"There is no breaker {pk}.")
    form = forms.ResumeForm(request.POST or None)
    conflict, status = "", 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                breakers.reset(pk, user=request.user, **form.cleaned_data)
            except ConflictError as refusal:
                conflict, status = str(refusal), 409
            else:
                goes_on = freeze_views.goes_on(**form.cleaned_data)
                messages.success(request, f"Reset the breaker of {found.scope}: {goes_on}")
                return redirect(Scope(found.about).home)
    values = {
        "breaker": found,
        "scope": Scope(found.about),
        "form": form,
        "conflict": conflict,
        "preview": freezes.preview(found.about),
        "may": people.may(request.user, people.RESUME, found.about),
        "now": timezone.now(),
    }
    return render(request, "controller/breaker.html", values, status=status)
