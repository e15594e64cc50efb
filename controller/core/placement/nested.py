"""Services whose roles consist of parts: attention and FFN share an S1, P and D an S2 (§8)."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.choose import Ask, Choosing, Pod, Share, less
from controller.core.placement.layout import Fleet
from controller.core.placement.slots import Part
from controller.core.placement.values import RoleForm, Tenant
from controller.core.types import Instances, Role


def place_nested(
    fleet: Fleet, choosing: Choosing, tenant: Tenant, ask: Ask, unit: Instances
) -> list[Share]:
    """Place units of a service whose roles have parts; both ratios hold in each share.

    The pods of one instance of such a role lie under one domain of the role's level, in the parts'
    own ratio; all of a share in one domain of the affinity. A pod's role reads
    "role/part/instance", counted within its share.
    """
    shares: list[Share] = []
    left = ask.units
    for level in _levels(ask):
        while left:
            share = _one(fleet, choosing, tenant, replace(ask, units=left), (unit, level))
            if share is None:
                break
            shares.append(share)
            left -= share.units
            if ask.caps:
                ask = less(ask, share, choosing.slots.topology)
    return shares


def _levels(ask: Ask) -> list[Level]:
    near = ask.require if ask.prefer is None else ask.prefer
    return [level for level in Level if near <= level <= ask.require]


def _one(
    fleet: Fleet, choosing: Choosing, tenant: Tenant, ask: Ask, what: tuple[Instances, Level]
) -> Share | None:
    """Place as many units as go into the best domain of a level; a bound orders the domains."""
    unit, level = what
    room = np.minimum(choosing.room(ask, level), ask.units)
    homes = {home.at[level] for home in ask.homes if level in home.at}
    # Of those that hold as many: a group's own, then the one that is left with least.
    over = choosing.left_over(level).tolist()
    order = sorted(
        np.flatnonzero(room).tolist(),
        key=lambda at: (-int(room[at]), at not in homes, over[at], at),
    )
    for domain in order:
        for count in _fewer(int(room[domain])):
            pods = _fill(fleet, choosing, tenant, ask, ((level, domain), unit, count))
            if pods is not None:
                group = next((h.group for h in ask.homes if h.at.get(level) == domain), None)
                return Share(level, domain, group, count, tuple(pods))
    return None


def _fewer(count: int) -> Iterator[int]:
    """Yield a count and fewer: half as many each time, the last is one."""
    while count:
        yield count
        count //= 2


def _fill(
    fleet: Fleet,
    choosing: Choosing,
    tenant: Tenant,
    ask: Ask,
    what: tuple[tuple[Level, int], Instances, int],
) -> list[Pod] | None:
    within, unit, count = what
    done: list[Share] = []
    pods: list[Pod] = []
    # What must lie nearest together goes first: the rest fits around it.
    roles = [role for role in Role if role in tenant.roles]
    for role in sorted(roles, key=lambda role: not tenant.roles[role].parts):
        wanted = unit.of(role) * count
        if not wanted:
            continue
        form = tenant.roles[role]
        one = Ask(
            service=ask.service,
            parts=_parts(fleet, role, form),
            units=wanted,
            require=form.level if form.parts else within[0],
            within=within,
        )
        shares = choosing.place(one)
        done += shares
        if sum(share.units for share in shares) < wanted:
            choosing.undo(done)
            return None
        pods += _named(role, form, shares)
    return pods


def _parts(fleet: Fleet, role: Role, form: RoleForm) -> tuple[Part, ...]:
    if form.need is not None:
        return (Part(role.value, 1, fleet.options(form.need)),)
    return tuple(Part(part.name, part.pods, fleet.options(part.need)) for part in form.parts)


def _named(role: Role, form: RoleForm, shares: list[Share]) -> Iterator[Pod]:
    """Yield the pods of a role, those of parts with the number of the instance they make up."""
    number = 0
    for share in shares:
        if not form.parts:
            yield from share.pods
            continue
        for part in form.parts:
            mine = [pod for pod in share.pods if pod.role == part.name]
            each = -(-len(mine) // share.units)
            for at, pod in enumerate(mine):
                yield Pod(f"{role.value}/{part.name}/{number + at // each}", pod.nodes)
        number += share.units
