"""The rules that let proposals through by themselves: a list, and each with its revisions."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from controller.selectors import approval_rules as selectors
from controller.services import people
from controller.views import shell
from controller.views.chrome import rights_of


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """List the rules in force."""
    may = rights_of(request).somewhere(people.RULE)
    values = {"rules": selectors.in_force(), "may": may, "needs": people.NEEDS[people.RULE]}
    return render(request, "controller/approval_rules.html", values)
