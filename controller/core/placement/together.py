"""Moves that bring the pairs of a group under one S1 (placement: Defragmentation)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from heapq import nlargest
from math import inf
from typing import Final, NamedTuple

from controller.core.fleet import Level
from controller.core.pairs import other
from controller.core.placement.choose import Choosing
from controller.core.placement.defragment import Rearranging, Rooms
from controller.core.placement.layout import Fleet, groups_of, is_nested, sizes_of
from controller.core.placement.moving import Disruption, Moving, by_s1, widened
from controller.core.placement.values import Held, Tenant
from controller.core.types import Role

BEST: Final = 3
"""So many proposals are made at once."""

TRIED: Final = 12
"""So many groups with an S1 to go to are tried on a copy, those whose first move is best."""


class _Step(NamedTuple):
    """One move that brings ``pairs`` more of a group under one S1, for so many GPU-seconds."""

    pairs: int
    cost: float
    held: Held
    s1: int


def _rate(pairs: int, cost: float) -> float:
    return pairs / cost if cost else inf


def bring_together(
    choosing: Choosing, fleet: Fleet, tenants: Sequence[Tenant], *, budget: Disruption
) -> list[Rearranging]:
    """Return the three proposals that bring most pairs under one S1 for each GPU-second.

    A proposal is of one group, at most one of a service at a time. Only moves to GPUs that are
    free now are proposed. A service that has not asked for one S1 is not moved to a scarcer one,
    and one whose roles consist of parts stays where it is.
    """
    ground = widened(fleet, choosing, sizes_of(tenants))
    state = Moving(fleet, ground, {tenant.name: tenant for tenant in tenants}, budget)
    tried = [_gathered(state, *key) for key in _promising(state, tenants)]
    ranked = sorted(
        (one for one in tried if one is not None),
        key=lambda one: (-_rate(one[1], one[0].cost), -one[1], one[0].moves[0].service),
    )
    best: dict[str, tuple[Moving, int]] = {}
    for moved, gain in ranked:
        best.setdefault(moved.moves[0].service, (moved, gain))
    rooms = Rooms(fleet, ground, tenants)
    return [
        rooms.rearranging("together", service, gain, moved)
        for service, (moved, gain) in list(best.items())[:BEST]
    ]


def _promising(state: Moving, tenants: Sequence[Tenant]) -> list[tuple[str, str, int]]:
    """Return the groups with an S1 to go to whose first move is best, by service and name.

    Groups are looked at in the order of what they could gain at most, until no other can be
    better than those found.
    """
    firsts: dict[tuple[str, str, int], float] = {}
    enough = 0.0
    for most, service, group, held in sorted(_bounds(state, tenants), key=lambda one: one[:3]):
        if -most < enough:
            break
        for step in _steps(state, state.tenants[service], held):
            key = service, group, step.s1
            firsts[key] = max(firsts.get(key, 0.0), _rate(step.pairs, step.cost))
        if len(firsts) >= TRIED:
            enough = nlargest(TRIED, firsts.values())[-1]
    return sorted(firsts, key=lambda key: (-firsts[key], key))[:TRIED]


def _bounds(
    state: Moving, tenants: Sequence[Tenant]
) -> Iterator[tuple[float, str, str, list[Held]]]:
    """Yield groups with the most one move could gain, negative: all partners of the cheapest."""
    for tenant in tenants:
        if is_nested(tenant):
            continue
        for group, held in groups_of(tenant.held).items():
            count = Counter([one.role for one in held])
            if len(count) == len(Role):
                most = max(
                    _rate(count[other(one.role)], state.budget.price(tenant.name, one))
                    for one in held
                )
                yield -most, tenant.name, group, held


def _gathered(state: Moving, service: str, group: str, s1: int) -> tuple[Moving, int] | None:
    """Return the fleet with what of a group may move to an S1 moved there, and the pairs gained.

    One after another, each time the move with the most pairs for its price.
    """
    state, gain = state.copy(), 0
    stuck: set[str] = set()
    while True:
        tenant = state.tenants[service]
        held = [one for one in tenant.held if one.group == group]
        steps = [
            step
            for step in _steps(state, tenant, held)
            if step.s1 == s1 and step.held.name not in stuck
        ]
        if not steps:
            return (state, gain) if gain else None
        step = min(steps, key=lambda one: (-_rate(one.pairs, one.cost), one.held.name))
        if state.move(service, step.held, state.choosing.copy(), within=(Level.S1, s1)):
            gain += step.pairs
        else:
            stuck.add(step.held.name)


def _steps(state: Moving, tenant: Tenant, held: Sequence[Held]) -> Iterator[_Step]:
    """Yield the moves of one instance of a group that gain pairs and find a slot."""
    here = by_s1(state.fleet, held)
    places = sorted({s1 for counted in here.values() for s1 in counted if s1 >= 0})
    if len(places) == 1:
        return
    of = state.fleet.view.topology.of[Level.S1]
    scarcity = state.fleet.view.topology.scarcity
    for one in held:
        partners = here[other(one.role)]
        from_s1 = int(of[at]) if (at := state.fleet.at.get(one.nodes[0][0])) is not None else -1
        better = [s1 for s1 in places if partners[s1] > partners[from_s1]]
        if not better or from_s1 < 0 or not state.is_movable(tenant.name, one):
            continue
        if not state.allows([(tenant.name, one)]):
            continue
        options = state.options(tenant, one)
        for s1 in better:
            is_scarcer = scarcity[s1] > scarcity[from_s1]
            if is_scarcer and tenant.affinity.level is not Level.S1:
                continue
            if any(state.choosing.slots.of(option, Level.S1)[s1] for option in options):
                gain = partners[s1] - partners[from_s1]
                yield _Step(gain, state.budget.price(tenant.name, one), one, s1)
