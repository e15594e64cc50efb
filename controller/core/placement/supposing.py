"""Copies of a situation in which something is otherwise; what they were made of stays as it is."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controller.core.placement.preview import Situation
from controller.core.placement.values import Held, Move, Placement, Removal, Tenant

GONE: Final = "taken away"
"""Why nothing may be placed on a node that is supposed to be gone."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Instances that come, go and change their place."""

    placements: Sequence[Placement] = ()
    removals: Sequence[Removal] = ()
    moves: Sequence[Move] = ()


def with_services(situation: Situation, added: Sequence[Tenant]) -> Situation:
    """Return the situation with services that don't exist; one of a known name takes its place."""
    if not added:
        return situation
    tenants = {**situation.tenants, **{tenant.name: tenant for tenant in added}}
    return replace(situation, tenants=tenants, fleets={})


def without_nodes(situation: Situation, gone: Collection[str]) -> Situation:
    """Return the situation as it is when nodes can't be used: what they hold is lost.

    They stay in their domains, as a node that failed does, so that scarcity is as it was.
    """
    if not gone:
        return situation
    rows = tuple(replace(row, usable=False) if row.name in gone else row for row in situation.rows)
    barred = {**situation.facts.barred, **dict.fromkeys(sorted(gone), GONE)}
    facts = replace(situation.facts, barred=barred, lost=situation.facts.lost | {*gone})
    return replace(situation, rows=rows, facts=facts, fleets={})


def after(situation: Situation, changes: Changes) -> Situation:
    """Return the situation once changes are carried out; what came does not serve yet."""
    taken = Counter[str]()
    for came in changes.placements:
        taken.update(dict(came.nodes))
    for left in changes.removals:
        taken.subtract(dict(left.nodes))
    for move in changes.moves:
        taken.update(dict(move.to_nodes))
        taken.subtract(dict(move.from_nodes))
    if not taken:
        return situation
    rows = tuple(
        replace(row, free=min(row.gpus, max(0, row.free - taken[row.name])))
        if taken.get(row.name)
        else row
        for row in situation.rows
    )
    touched = {one.service for one in changes.placements}
    touched |= {one.service for one in changes.removals}
    touched |= {one.service for one in changes.moves}
    tenants = {
        name: replace(tenant, held=_held(tenant, changes)) if name in touched else tenant
        for name, tenant in situation.tenants.items()
    }
    return replace(situation, rows=rows, tenants=tenants, fleets={})


def _held(tenant: Tenant, changes: Changes) -> tuple[Held, ...]:
    gone = {one.instance for one in changes.removals if one.service == tenant.name}
    moved = {one.instance: one for one in changes.moves if one.service == tenant.name}
    stays = (one for one in tenant.held if (one.unit or one.name) not in gone)
    return (
        *(
            replace(one, nodes=moved[one.name].to_nodes, is_up=False) if one.name in moved else one
            for one in stays
        ),
        *map(_came, (one for one in changes.placements if one.service == tenant.name)),
    )


def _came(one: Placement) -> Held:
    unit = one.instance if one.part else ""
    return Held(
        one.instance, one.role, one.group, one.nodes, is_up=False, part=one.part, unit=unit
    )


def names_of(held: Iterable[Held]) -> set[str]:
    """Return the instances that pods are, or are of."""
    return {one.unit or one.name for one in held}
