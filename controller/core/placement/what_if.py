"""What would follow if services grew, new ones came or nodes went (placement: What-if)."""

from collections.abc import Sequence
from dataclasses import dataclass

from controller.core.placement.advice import USUAL, Advice, helping
from controller.core.placement.cycle import choosing_of
from controller.core.placement.fitting import Fitting, fitting, unit_for
from controller.core.placement.fragments import Fragmentation, Shape, common_shapes, measured
from controller.core.placement.layout import unit_of
from controller.core.placement.losing import Losing, losing
from controller.core.placement.moving import Disruption
from controller.core.placement.preview import Situation
from controller.core.placement.supposing import Changes, after, with_services, without_nodes
from controller.core.placement.values import Plan, Request, Tenant
from controller.core.types import Instances


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A question: services that do not exist, changes of these and others, nodes that are gone."""

    added: tuple[Tenant, ...] = ()
    changes: tuple[Request, ...] = ()
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What would follow: the cycle's plan, the most that fits, what would help, what is lost.

    ``most`` is by service that grows. ``before`` and ``ended`` are how broken up the free GPUs
    are now and once all of it is done.
    """

    plan: Plan
    most: tuple[Fitting, ...]
    helps: tuple[Advice, ...]
    lost: Losing | None
    before: Fragmentation
    ended: Fragmentation


def consequences(situation: Situation, question: WhatIf, budget: Disruption = USUAL) -> Answer:
    """Return what would follow, by the functions of the next cycle on a copy; nothing changes.

    Nodes are gone first, then a cycle serves the changes, then what was lost comes back. What
    would help is as proposals would have it: moves within ``budget``, or lower priorities that
    shrink. Changes of services that nobody knows are left out.
    """
    known = with_services(situation, question.added)
    supposed = without_nodes(known, question.gone)
    changes = [one for one in question.changes if one.service in supposed.tenants]
    plan = supposed.plan(changes) if changes else Plan()
    placed = after(supposed, Changes(plan.placements, plan.removals))
    lost = losing(placed, question.gone) if question.gone else None
    shapes = common_shapes(known.fleet, list(known.tenants.values()))
    return Answer(
        plan=plan,
        most=tuple(_most(supposed, changes)),
        helps=tuple(_helps(placed, plan, budget)),
        lost=lost,
        before=_broken_up(known, shapes),
        ended=_broken_up(lost.ended if lost else placed, shapes),
    )


def _most(situation: Situation, changes: Sequence[Request]) -> list[Fitting]:
    """Return the most that fits of each growth, also in the service's own ratio if none does."""
    found = []
    for one in changes:
        tenant = situation.tenants[one.service]
        unit, units = unit_of(Instances(*(max(0, count) for count in one.change)))
        if units:
            found.append(fitting(situation.fleet, tenant, unit))
            own = unit_for(tenant)
            if all(unit) and own != unit and not found[-1].units:
                found.append(fitting(situation.fleet, tenant, own))
    return found


def _helps(placed: Situation, plan: Plan, budget: Disruption) -> list[Advice]:
    """Return what would make fit what the plan did not place."""
    missing = [
        Request(
            one.service,
            Instances(*(asked - came for asked, came in zip(one.asked, one.placed, strict=True))),
        )
        for one in plan.unplaced
    ]
    return helping(placed, missing, budget=budget) if missing else []


def _broken_up(situation: Situation, shapes: Sequence[Shape]) -> Fragmentation:
    return measured(choosing_of(situation.fleet, []), situation.fleet, shapes)
