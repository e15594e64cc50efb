"""The table of nodes, and what is done to the nodes that are ticked."""

from __future__ import annotations

from typing import Any, Final, cast
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core import phrases
from controller.forms import HOLDS, USUAL_HOLD, FleetChangeForm
from controller.selectors import fleet_change, fleet_export, saved_views
from controller.selectors.fleet import read_fleet
from controller.selectors.fleet_filters import Filters
from controller.services import fleet, people
from controller.services.errors import ConflictError, InvalidError, SteeringError
from controller.views import fragments, shell
from controller.views.chrome import rights_of

CORDON_ACTIONS: Final = (
    ("cordon", "Cordon"),
    ("drain", "Drain"),
    ("maintain", "Maintenance"),
    ("return", "Return"),
    ("reserve", "Reserve"),
    ("unreserve", "End reservation"),
)
EDIT_ACTIONS: Final = (("label", "Label"), ("retire", "Retire"))


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the table; to htmx only the rows."""
    now = timezone.now()
    found = read_fleet(Filters.of(dict(request.GET.lists())), now)
    values: dict[str, Any] = {
        "fleet": found,
        "now": now,
        "may_cordon": rights_of(request).somewhere(people.CORDON),
        "may_edit": rights_of(request).somewhere(people.EDIT_FLEET),
        "needs_cordon": people.NEEDS[people.CORDON],
        "needs_edit": people.NEEDS[people.EDIT_FLEET],
        "cordon_actions": CORDON_ACTIONS,
        "edit_actions": EDIT_ACTIONS,
    }
    if request.headers.get("HX-Request"):
        return fragments.answer(request, "controller/_fleet_found.html", values, state=found.state)
    views = {
        "built_in": saved_views.BUILT_IN,
        "views": saved_views.views_of(cast("int", request.user.pk)),
    }
    return render(request, "controller/fleet.html", values | views)


@shell.page("GET")
def export(request: HttpRequest) -> HttpResponse:
    """Send the nodes that the filters keep as a file: CSV, or YAML with ``format=yaml``."""
    form = "yaml" if request.GET.get("format") == "yaml" else "csv"
    filters, now = Filters.of(dict(request.GET.lists())), timezone.now()
    file = fleet_export.export(filters, form, now)
    response = HttpResponse(file.text, content_type=f"{file.kind}; charset=utf-8")
    name = f"nodes-{now:%Y%m%d-%H%M}.{file.ending}"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@shell.page("POST")
def change(request: HttpRequest) -> HttpResponse:
    """Show what a change of nodes would do; with ``confirm``, do it.

    The first form says which nodes and what; the second has the version of each node as it was
    shown, the reason and, where much is at stake, the number of GPUs.
    """
    form = FleetChangeForm(request.POST)
    if not form.is_valid():
        messages.error(request, " ".join(form.problems()))
        return redirect(form.back_to())
    now = timezone.now()
    asked = fleet.allowed(form.asked(now), request.user)
    seen: dict[UUID, int] = form.cleaned_data["node"]
    if request.POST.get("confirm"):
        return _carry_out(request, form, fleet_change.preview(asked, seen, now))
    chosen = fleet_change.matching(_filters(form), now) if form.cleaned_data["every"] else seen
    try:
        fleet.check_number(len(chosen))
    except InvalidError as fault:
        messages.error(request, f"{fault} Narrow the table first.")
        return redirect(form.back_to())
    return _preview(request, form, fleet_change.preview(asked, chosen, now))


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
    except (InvalidError, ConflictError) as fault:
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
    fault: SteeringError | None = None,
) -> HttpResponse:
    right = fleet.right_for(found.asked)
    values = {
        "found": found,
        "given": form.cleaned_data,
        "back": form.back_to(),
        "may": rights_of(request).somewhere(right),
        "needs": people.NEEDS[right],
        "holds": HOLDS,
        "hours": form.cleaned_data["hours"] if request.POST.get("confirm") else USUAL_HOLD,
        "mistyped": mistyped,
        "fault": fault,
    }
    status = 409 if isinstance(fault, ConflictError) else 400 if mistyped or fault else 200
    return render(request, "controller/fleet_change.html", values, status=status)
