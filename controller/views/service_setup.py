"""A service out of what runs in a cluster: its workloads are picked, the rest is proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from controller import wiring
from controller.core.kube.errors import KubeError
from controller.core.kube.offers import pairs
from controller.core.rights import NEEDS
from controller.core.types import ROLES, Role
from controller.selectors import service_proposal, service_sizing
from controller.services import people, service_setup
from controller.services.errors import ConflictError, InvalidError
from controller.views import clusters, shell
from controller.views.service_setup_form import ServiceForm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.core.kube.offers import Offer, Offered
    from inventory.models import Cluster

UNREACHABLE: Final = 502
LONGEST_KEY: Final = 700


@shell.page("GET", "POST")
def new(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what runs there, or what two of it would be as a service, or set that up."""
    cluster = clusters.find(slug)
    if request.method == "POST":
        people.require(request.user, people.SET_UP)
    try:
        offered = wiring.offers_of(cluster)
        given = request.POST if request.method == "POST" else request.GET
        keys = {role: given.get(role.value, "")[:LONGEST_KEY] for role in ROLES}
        known = {offer.key: offer for offer in offered.offers}
        chosen = {role: known[key] for role, key in keys.items() if key in known}
        if len(chosen) < len(ROLES):
            return _pick(request, cluster, offered, keys)
        return _form(request, cluster, chosen)
    except KubeError as fault:
        status = UNREACHABLE if request.method == "POST" else 200
        return _pick(request, cluster, None, {}, fault=fault.text, status=status)


def _form(request: HttpRequest, cluster: Cluster, offers: Mapping[Role, Offer]) -> HttpResponse:
    proposed = service_proposal.propose(
        cluster, _name(offers), offers, {role: _under(cluster, offers[role]) for role in ROLES}
    )
    known = service_sizing.engines(proposed.values, offers)
    proposed = service_sizing.with_engines(proposed, known)
    choices = service_proposal.choices()
    values = {"cluster": cluster, "offers": _by_name(offers), "basis": proposed.basis}
    if request.method != "POST":
        filled = service_sizing.reckoned(proposed, known, offers)
        form = ServiceForm(choices, known, filled)
        return _show(request, values | {"form": form, "basis": filled.basis})
    form, status = ServiceForm(choices, known, proposed, request.POST), 400
    if form.is_valid() and "reckon" in request.POST:
        typed = form.over(proposed)
        known = service_sizing.engines(typed.values, offers)
        filled = service_sizing.reckoned(typed, known, offers)
        form = ServiceForm(choices, known, filled)
        return _show(request, values | {"form": form, "basis": filled.basis})
    if form.is_valid():
        try:
            made = service_setup.set_up(cluster, form.wish(offers), user=request.user)
        except InvalidError as fault:
            form.refuse(fault.field, str(fault))
        except ConflictError as fault:
            form.refuse("", str(fault))
            status = 409
        else:
            messages.success(
                request, f"{made.slug} is observed: what would be done is recorded, nothing is."
            )
            return redirect(made)
    return _show(request, values | {"form": form}, status=status)


def _under(cluster: Cluster, offer: Offer) -> Mapping[str, int]:
    """Return the pods of a workload by node; what can't be listed is not needed for this."""
    try:
        return wiring.nodes_under(cluster, offer)
    except KubeError:
        return {}


def _name(offers: Mapping[Role, Offer]) -> str:
    decode = offers[Role.DECODE]
    return (decode.stem or decode.namespace)[:60].replace(".", "-")


def _by_name(offers: Mapping[Role, Offer]) -> dict[str, Offer]:
    return {role.value: offers[role] for role in ROLES}


def _pick(  # noqa: PLR0913 - one page with what was chosen and why nothing can be
    request: HttpRequest,
    cluster: Cluster,
    offered: Offered | None,
    keys: Mapping[Role, str],
    *,
    fault: str = "",
    status: int = 200,
) -> HttpResponse:
    offers = offered.offers if offered else ()
    values: dict[str, Any] = {
        "cluster": cluster,
        "offers": offers,
        "told": offered.told if offered else (),
        "pairs": pairs(offers),
        "picked": {role.value: keys.get(role) or _guessed(offers, role) for role in ROLES},
        "fault": fault,
    }
    return render(request, "controller/service_pick.html", values, status=status)


def _guessed(offers: Iterable[Offer], role: Role) -> str:
    return next((offer.key for offer in offers if offer.role is role), "")


def _show(request: HttpRequest, values: dict[str, Any], *, status: int = 200) -> HttpResponse:
    may = {"may_set_up": request.user.has_perm(people.SET_UP), "needs": NEEDS[people.SET_UP]}
    return render(request, "controller/service_new.html", values | may, status=status)
