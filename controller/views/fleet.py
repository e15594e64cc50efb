"""The table of nodes, and what is done to the nodes that are ticked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core import phrases
from controller.forms import FleetChangeForm
from controller.selectors import fleet_change
from controller.selectors.fleet import Filters, read_fleet
from controller.services import fleet, people
from controller.services.errors import InvalidError
from controller.views import fragments, shell


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the table; to htmx only the rows."""
    now = timezone.now()
    found = read_fleet(Filters.of(dict(request.GET.lists())), now)
    values: dict[str, Any] = {
        "fleet": found,
        "now": now,
        "may_cordon": request.user.has_perm(people.CORDON),
        "may_edit": request.user.has_perm(people.EDIT_FLEET),
    }
    if request.headers.get("HX-Request"):
        return fragments.answer(request, "controller/_fleet_found.html", values, state=found.state)
    return render(request, "controller/fleet.html", values)


@shell.page("POST")
def change(request: HttpRequest) -> HttpResponse:
    """Show what a change of nodes would do; with ``confirm``, do it.

    The first form says which nodes and what; the second has the version of each node as it was
    shown, the reason and, where much is at stake, the number of GPUs.
    """
    form = FleetChangeForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(form.problems()))
        return redirect("fleet")
    asked, now = form.asked(), timezone.now()
    seen: dict[UUID, int] = form.cleaned_data["node"]
    if not request.POST.get("confirm"):
        chosen = fleet_change.matching(_filters(form), now) if form.cleaned_data["every"] else seen
        return _preview(request, form, fleet_change.preview(asked, chosen, now))
    return _carry_out(request, form, fleet_change.preview(asked, seen, now))


def _carry_out(
    request: HttpRequest, form: FleetChangeForm, found: fleet_change.Preview
) -> HttpResponse:
    given, asked = form.cleaned_data, found.asked
    if found.must_type and given["typed"] != found.gpus:
        return _preview(request, form, found, mistyped=True)
    try:
        done = fleet.change(
            asked, given["node"], barred=found.barred, user=request.user, reason=given["reason"]
        )
    except InvalidError as fault:
        return _preview(request, form, found, fault=fault)
    if done.refused:
        values = {"done": done, "asked": asked, "back": form.back_to()}
        return render(request, "controller/fleet_changed.html", values, status=409)
    nodes = phrases.plural(len(done.changed), "node")
    messages.success(request, f"{nodes} {asked.done}. {found.effect}")
    return redirect(form.back_to())


def _filters(form: FleetChangeForm) -> Filters:
    query = QueryDict(form.cleaned_data["query"])
    return Filters.of(dict(query.lists()))


def _preview(
    request: HttpRequest,
    form: FleetChangeForm,
    found: fleet_change.Preview,
    *,
    mistyped: bool = False,
    fault: InvalidError | None = None,
) -> HttpResponse:
    values = {
        "found": found,
        "given": form.cleaned_data,
        "back": form.back_to(),
        "may": request.user.has_perm(fleet.right_for(found.asked)),
        "mistyped": mistyped,
        "fault": fault,
    }
    status = 400 if mistyped or fault else 200
    return render(request, "controller/fleet_change.html", values, status=status)
