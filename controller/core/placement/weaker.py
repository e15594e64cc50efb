"""Instances on other hardware than their role's first choice: how many, and what they do (§7)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from controller.core.fleet import NodeRow
from controller.core.pairs import whole_up
from controller.core.placement.values import Placement, Plan, Tenant
from controller.core.types import Instances, Limits, Role

Speeds = Mapping[Role, Mapping[str, float]]
"""Throughput by type, of the roles that may run on several."""

NO_SPEEDS: Final[Mapping[str, float]] = {}


def speeds_of(tenant: Tenant) -> Speeds:
    """Return what an instance does on each type over one on its role's first choice."""
    return {
        role: {one.type: one.throughput for one in form.need.hardware}
        for role, form in tenant.roles.items()
        if form.need is not None and len(form.need.hardware) > 1
    }


def handicaps(tenants: Iterable[Tenant], rows: Iterable[NodeRow]) -> dict[str, Instances]:
    """Return by service how many instances fewer those it holds do the work of, rounded up.

    Rounded up, since what is taken for more than it does would be let go. One that does more
    counts as one: which goes first is not known when it is decided how many go. Services whose
    instances all do as much as on the first are left out.
    """
    several = [(one, speeds) for one in tenants if (speeds := speeds_of(one))]
    hardware = {row.name: row.hardware for row in rows} if several else {}
    found = {
        tenant.name: Instances(*(_lacking(tenant, role, speeds, hardware) for role in Role))
        for tenant, speeds in several
    }
    return {service: pair for service, pair in found.items() if any(pair)}


def _lacking(tenant: Tenant, role: Role, speeds: Speeds, hardware: Mapping[str, str]) -> int:
    own = speeds.get(role, NO_SPEEDS)
    return whole_up(
        sum(
            max(1.0 - own.get(hardware.get(one.nodes[0][0], ""), 1.0), 0.0)
            for one in tenant.held
            if one.role is role and one.nodes
        )
    )


def placed_of(plan: Plan, service: str) -> list[Placement]:
    """Return the first pod of each instance a plan adds to a service, in the plan's order."""
    found: dict[str, Placement] = {}
    for one in plan.placements:
        if one.service == service:
            found.setdefault(one.instance, one)
    return list(found.values())


def counts_of(placed: Iterable[Placement]) -> Instances:
    """Return how many instances of each role those are."""
    counted = Counter(one.role for one in placed)
    return Instances(*(counted[role] for role in Role))


def within(plan: Plan, tenant: Tenant, base: Instances, limits: Limits) -> Plan:
    """Return the plan without the instances beyond a service's limits, the weakest left out first.

    ``base`` are the counts they come to. GPUs are those of the nodes that are held and planned:
    an instance may take more of them on one type than on another (S2).
    """
    placed, speeds = placed_of(plan, tenant.name), speeds_of(tenant)
    room = Instances(*(max(limits.maximum.of(role) - base.of(role), 0) for role in Role))
    kept = _fastest(placed, speeds, room)
    spare = limits.max_gpus - sum(one.gpus for one in tenant.held)
    while kept and sum(map(_gpus, kept)) > spare:
        kept.remove(min(reversed(kept), key=lambda one: _speed(one, speeds)))
    return _only(plan, tenant.name, kept)


def trimmed(plan: Plan, tenant: Tenant, most: Instances) -> Plan:
    """Return the plan with at most so many instances of each role added, the fastest of them."""
    kept = _fastest(placed_of(plan, tenant.name), speeds_of(tenant), most)
    return _only(plan, tenant.name, kept)


def is_other(plan: Plan, tenant: Tenant) -> bool:
    """Return whether a plan puts instances of a service where they do more or less than usual."""
    speeds = speeds_of(tenant)
    return any(_speed(one, speeds) != 1.0 for one in placed_of(plan, tenant.name))


def work(placed: Iterable[Placement], tenant: Tenant) -> str:
    """Return in words what instances on other hardware than the first do."""
    speeds = speeds_of(tenant)
    counted = Counter((one.role, one.hardware) for one in placed)
    told = [
        f"{count} {role.value} on {kind} do the work of {round(count * speeds[role][kind], 2):g}"
        f" on {next(iter(speeds[role]))}"
        for (role, kind), count in sorted(counted.items())
        if speeds.get(role, NO_SPEEDS).get(kind, 1.0) != 1.0
    ]
    return " and ".join(told)


def _fastest(placed: list[Placement], speeds: Speeds, most: Instances) -> list[Placement]:
    ranked = sorted(placed, key=lambda one: -_speed(one, speeds))
    left = {role: most.of(role) for role in Role}
    kept = set()
    for one in ranked:
        if left[one.role] > 0:
            left[one.role] -= 1
            kept.add(one.instance)
    return [one for one in placed if one.instance in kept]


def _speed(one: Placement, speeds: Speeds) -> float:
    return speeds.get(one.role, NO_SPEEDS).get(one.hardware, 1.0)


def _gpus(one: Placement) -> int:
    return sum(gpus for _, gpus in one.nodes)


def _only(plan: Plan, service: str, kept: Iterable[Placement]) -> Plan:
    names = {one.instance for one in kept}
    placements = [
        one for one in plan.placements if one.service != service or one.instance in names
    ]
    return replace(plan, placements=placements)
