"""One placement cycle: who gets which GPUs, who gives some back, and why (HeteroScale §7)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from typing import Final

from controller.core.fleet import Level
from controller.core.placement.choose import Ask, Choosing, Share
from controller.core.placement.layout import Fleet, ask_of, is_nested, unit_of
from controller.core.placement.nested import place_nested
from controller.core.placement.planned import Answers, planned
from controller.core.placement.slots import Slots
from controller.core.placement.values import Plan, Removal, Request, Tenant
from controller.core.placement.victims import removals_of
from controller.core.placement.whole import pressure_of
from controller.core.placement.why import candidates, refusal
from controller.core.types import Floats, Instances, Role

STARVING: Final = 3
"""Cycles in a row after which a refused request goes first in its priority."""

NOTHING: Final = Instances(0, 0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The growth of one service: its change, the smallest unit of that, and the ask for it.

    ``other`` is the same in the service's own ratio, where that may be placed in part and the
    change itself may not.
    """

    tenant: Tenant
    change: Instances
    unit: Instances
    ask: Ask
    refused: int = 0
    other: "Wanted | None" = None

    def placed(self, shares: Sequence[Share]) -> Instances:
        """Return how many instances shares are of those asked for."""
        units = sum(share.units for share in shares)
        return Instances(*(units * count for count in self.unit))


@dataclass(slots=True)
class Placed:
    """What an order of requests led to, in counts of its own."""

    choosing: Choosing
    found: list[tuple[Wanted, Wanted, list[Share]]] = field(default_factory=list)

    def add(self, fleet: Fleet, wanted: Wanted) -> tuple[Wanted, list[Share]]:
        """Place one service's growth, whole if it can be, else the most of its ratio."""
        used, shares = wanted, _shares(fleet, self.choosing, wanted)
        if wanted.other is not None and wanted.placed(shares) != wanted.change:
            self.choosing.undo(shares)
            used = wanted.other
            shares = _shares(fleet, self.choosing, used)
        self.found.append((wanted, used, shares))
        return used, shares

    @property
    def score(self) -> tuple[int, int]:
        """Whole units placed, and those of them that are as near as was preferred."""
        units = [
            (share.units, share.level <= _near(used.ask))
            for _, used, shares in self.found
            for share in shares
        ]
        return sum(count for count, _ in units), sum(count for count, is_near in units if is_near)


def _near(ask: Ask) -> Level:
    """Return how near a service prefers its groups to be."""
    return ask.require if ask.prefer is None else ask.prefer


def plan_cycle(fleet: Fleet, tenants: Sequence[Tenant], requests: Sequence[Request]) -> Plan:
    """Place what grows, choose what goes, and say why; the same input gives the same plan.

    Requests are served by priority; within one priority three orders are tried and the plan with
    most whole units kept, then most as near as preferred (placement: Choosing, one cycle). What
    is freed is not given away in this cycle. A request is placed whole, or reduced to the largest
    whole multiple of its ratio, or refused with the reason and what would make it fit.

    Raises :class:`KeyError` for a request of a service that is not among the tenants.
    """
    of = {tenant.name: tenant for tenant in tenants}
    asked = [(of[request.service], request) for request in requests]
    wanted = [one for tenant, request in asked if (one := wanted_of(fleet, tenant, request))]
    choosing = choosing_of(fleet, [one.ask for one in wanted])
    answers = Answers(fleet, choosing)
    ranked = sorted(wanted, key=lambda one: -one.tenant.priority)
    for _, same in groupby(ranked, key=lambda one: one.tenant.priority):
        for one, used, shares in best_order(fleet, choosing, list(same)).found:
            # Told as it is placed: later every domain looks fuller than it was.
            choosing.redo(shares)
            placed = used.placed(shares)
            answers.add(
                one.tenant, used.ask, shares, candidates(fleet, choosing, used.ask, shares)
            )
            if placed != one.change:
                left = ask_of(fleet, one.tenant, *unit_of(_less(one.change, placed)))
                told = (one.change, placed)
                answers.unplaced.append(refusal(fleet, choosing, one.tenant, left, told))
    return planned(answers, tenants, requests, _removals(fleet, asked))


def wanted_of(fleet: Fleet, tenant: Tenant, request: Request) -> Wanted | None:
    """Return what a request wants more of; ``None`` when it grows no role."""
    change = Instances(*(max(count, 0) for count in request.change))
    unit, units = unit_of(change)
    if not units:
        return None
    ask = ask_of(fleet, tenant, unit, units)
    return Wanted(
        tenant, change, unit, ask, request.refused, _in_own_ratio(fleet, tenant, change, units)
    )


def _in_own_ratio(fleet: Fleet, tenant: Tenant, change: Instances, units: int) -> Wanted | None:
    """Return the growth in units of the service's ratio, if the change itself has no smaller ones.

    The unit is the ratio's best fraction that is no larger than the change.
    """
    ratio = tenant.pd_ratio
    if units > 1 or not ratio or 0 in change or max(change) == 1:
        return None
    unit = min(
        (
            Instances(prefill, decode)
            for decode in range(1, change.decode + 1)
            if 0 < (prefill := round(ratio * decode)) <= change.prefill
        ),
        key=lambda pair: (abs(pair.prefill / pair.decode / ratio - 1) > _NEAR, sum(pair)),
        default=None,
    )
    if unit is None or unit == change:
        return None
    count = min(change.prefill // unit.prefill, change.decode // unit.decode)
    whole = Instances(unit.prefill * count, unit.decode * count)
    return Wanted(tenant, whole, unit, ask_of(fleet, tenant, unit, count))


_NEAR: Final = 0.05
"""Share by which a unit of whole instances may be off the ratio."""


def choosing_of(fleet: Fleet, asks: Sequence[Ask]) -> Choosing:
    """Return what is free, counted for the sizes of some asks."""
    sizes = {option.size for ask in asks for part in ask.parts for option in part.options}
    return Choosing(Slots(fleet.view, sizes), pressure_of(fleet.view, asks))


def best_order(fleet: Fleet, choosing: Choosing, wanted: list[Wanted]) -> Placed:
    """Return what the order of requests of one priority leads to that places most whole units.

    As given, the cheapest first and the dearest first are tried on copies, each behind those that
    were refused so often that it is their turn; no other order where no order can place more.
    """
    given = sorted(wanted, key=lambda one: -one.refused if one.refused >= STARVING else 0)
    first = [one for one in given if one.refused >= STARVING]
    rest = given[len(first) :]
    best = _in_order(fleet, choosing, given)
    if len(rest) < 2 or best.score == _most(choosing, given):  # noqa: PLR2004 - one has no order
        return best
    cheap = sorted(rest, key=lambda one: _cost(one.ask, choosing.pressure))
    for order in (first + cheap, first + cheap[::-1]):
        tried = _in_order(fleet, choosing, order)
        if tried.score > best.score:
            best = tried
    return best


def _in_order(fleet: Fleet, choosing: Choosing, order: Sequence[Wanted]) -> Placed:
    tried = Placed(choosing.copy())
    for one in order:
        tried.add(fleet, one)
    return tried


def _most(choosing: Choosing, wanted: Sequence[Wanted]) -> tuple[int, int]:
    """Return a score no order exceeds: each request placed as if it were alone."""
    near = 0
    for one in wanted:
        room = choosing.room(one.ask, _near(one.ask))
        near += min(one.ask.units, int(room.sum()))
    return sum(one.ask.units for one in wanted), near


def _cost(ask: Ask, pressure: Floats) -> float:
    """Return the GPUs of an ask, each weighted by how contended its type is."""
    return ask.units * sum(
        part.pods
        * min(
            (pressure[one.type] * one.size.gpus * one.size.nodes for one in part.options),
            default=inf,
        )
        for part in ask.parts
    )


def _shares(fleet: Fleet, choosing: Choosing, wanted: Wanted) -> list[Share]:
    if any(not part.options for part in wanted.ask.parts):
        return []
    if is_nested(wanted.tenant):
        return place_nested(fleet, choosing, wanted.tenant, wanted.ask, wanted.unit)
    return choosing.place(wanted.ask)


def _less(asked: Instances, placed: Instances) -> Instances:
    return Instances(*(asked.of(role) - placed.of(role) for role in Role))


def _removals(fleet: Fleet, asked: Sequence[tuple[Tenant, Request]]) -> list[Removal]:
    removed: list[Removal] = []
    for tenant, request in asked:
        change = Instances(*(min(count, 0) for count in request.change))
        if change != NOTHING:
            removed += removals_of(fleet, tenant, change)
    return removed
