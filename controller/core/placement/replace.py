"""What is lost with its node comes back beside its partners (§7; placement: Failed node)."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controller.core.fleet import Level
from controller.core.placement.choose import Ask, Choosing, Pod, Share, less
from controller.core.placement.layout import Fleet, caps_of, groups_of, is_nested, parts_of
from controller.core.placement.nested import place_nested
from controller.core.placement.slots import Part
from controller.core.placement.values import Held, Move, RoleForm, RoleNeed, Tenant, Unplaced
from controller.core.placement.why import WORDS
from controller.core.reasons import Code
from controller.core.types import Instances, Role

Domain = tuple[Level, int]

NAMED: Final = 3
"""So many lost nodes are named."""


@dataclass(frozen=True, slots=True)
class Replacing:
    """What comes back and where, what has no room, and whole groups that could move instead.

    ``whole_group`` is an offer: nothing is taken for it, and together its moves have room beside
    ``moves``.
    """

    moves: tuple[Move, ...] = ()
    refused: tuple[Unplaced, ...] = ()
    whole_group: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class _Lost:
    """Instances of one role of a group that come back together: ``units`` times ``parts``.

    Each unit must lie under one domain of ``require``, in one of ``bounds``, the first that will
    do; ``None`` is anywhere.
    """

    role: Role
    held: tuple[Held, ...]
    parts: tuple[Part, ...]
    units: int
    require: Level
    bounds: tuple[Domain | None, ...]


def lost_of(fleet: Fleet, tenants: Iterable[Tenant]) -> Mapping[str, tuple[Held, ...]]:
    """Return by service what it holds on nodes that are not known or may not be used.

    What drains is lost too: its replacement comes first. Services that lost nothing are left out;
    the others come by priority, the highest first.
    """
    found = {
        tenant.name: tuple(one for one in tenant.held if _lost_nodes(fleet, [one]))
        for tenant in sorted(tenants, key=lambda tenant: -tenant.priority)
    }
    return {name: lost for name, lost in found.items() if lost}


def replacements(
    choosing: Choosing, fleet: Fleet, tenant: Tenant, lost: Sequence[Held]
) -> Replacing:
    """Place what a service lost, each in the domain its group's survivors fix.

    That is the nearest they share, and from there outwards as far as the affinity allows. One
    instance replaces one, whatever its throughput, so that the counts are as decided; what the
    lost ones hold is not given away. A group of which nothing is left begins anew, whole or not
    at all. What is placed is taken from ``choosing``, which must count the sizes of the service.
    """
    tenant = _one_for_one(tenant)
    stays = tuple(one for one in tenant.held if one not in lost)
    moves: list[Move] = []
    refused: list[Unplaced] = []
    stuck: list[str] = []
    for group, gone in groups_of(lost).items():
        mine = [one for one in stays if one.group == group]
        left = replace(tenant, held=stays)
        if mine:
            done, missing = _beside(choosing, fleet, left, (mine, gone))
            stuck += [group] if missing else []
        else:
            done = _anew(choosing, fleet, left, gone, required=False)
            missing = [] if done else [_nowhere(fleet, tenant, gone)]
        moves += done
        refused += missing
        to = {move.instance: move.to_nodes for move in done}
        stays += tuple(replace(one, nodes=to[one.name]) for one in gone if one.name in to)
    trial = choosing.copy()
    offers = []
    for group in stuck:
        rest = replace(tenant, held=tuple(one for one in stays if one.group != group))
        whole = [one for one in tenant.held if one.group == group]
        offers += _anew(trial, fleet, rest, whole, required=True)
    return Replacing(tuple(moves), tuple(refused), tuple(offers))


def _one_for_one(tenant: Tenant) -> Tenant:
    """Return a service whose hardware is all as fast: one pod for each that was lost."""
    roles = {
        role: replace(
            form,
            need=form.need and _as_fast(form.need),
            parts=tuple(replace(part, need=_as_fast(part.need)) for part in form.parts),
        )
        for role, form in tenant.roles.items()
    }
    return replace(tenant, roles=roles)


def _as_fast(need: RoleNeed) -> RoleNeed:
    return replace(need, hardware=tuple(replace(one, throughput=1.0) for one in need.hardware))


def _beside(
    choosing: Choosing, fleet: Fleet, tenant: Tenant, group: tuple[Sequence[Held], Sequence[Held]]
) -> tuple[list[Move], list[Unplaced]]:
    """Place what a group lost beside its survivors; ``tenant`` holds what the service has."""
    mine, gone = group
    bounds = _bounds(fleet, mine, _farthest(tenant)) or (fleet.cluster_of(tenant),)
    moves: list[Move] = []
    came: dict[Role, set[str]] = {role: set() for role in Role}
    for wanted in _wanted(fleet, tenant, group, bounds):
        done = _moves(fleet, tenant, wanted.held, _placed(choosing, fleet, tenant, wanted))
        came[wanted.role].update(_instances(wanted.held, {move.instance for move in done}))
        moves += done
    missing = []
    for role in Role:
        asked = [one for one in gone if one.role is role]
        if len(came[role]) < len(_instances(asked)):
            missing.append(_unplaced(fleet, tenant, asked, len(came[role]), bounds[-1]))
    return moves, missing


def _farthest(tenant: Tenant) -> Level:
    """Return how far apart a group may lie: what is only preferred gives way to being there."""
    return tenant.affinity.level if tenant.affinity.required else Level.CLUSTER


def _bounds(fleet: Fleet, held: Iterable[Held], level: Level) -> tuple[Domain, ...]:
    """Return the domains that instances share, from the nearest to one of ``level``.

    Where they share none that near the nearest they do share; nothing where one is unknown.
    """
    nodes = {name for one in held for name, _ in one.nodes}
    shared = [
        (each, domain) for each in Level if (domain := fleet.domain_of(nodes, each)) is not None
    ]
    return tuple(one for one in shared if one[0] <= level) or tuple(shared[:1])


def _wanted(
    fleet: Fleet,
    tenant: Tenant,
    group: tuple[Sequence[Held], Sequence[Held]],
    bounds: tuple[Domain | None, ...],
) -> list[_Lost]:
    """Return what a group lost, those first that have the least choice, then the largest."""
    mine, gone = group
    found: list[_Lost] = []
    for role, form in tenant.roles.items():
        held = tuple(sorted((one for one in gone if one.role is role), key=lambda one: one.name))
        if form.need is not None and held:
            parts = (Part(role.value, 1, fleet.options(form.need)),)
            found.append(_Lost(role, held, parts, len(held), Level.CLUSTER, bounds))
        elif held:
            found += _units(fleet, (role, form), (mine, held), bounds)
    return sorted(
        (one for one in found if one.parts and all(part.options for part in one.parts)),
        key=lambda one: (
            min(len(part.options) for part in one.parts),
            -max(part.options[0].size.gpus for part in one.parts),
        ),
    )


def _units(
    fleet: Fleet,
    form: tuple[Role, RoleForm],
    group: tuple[Sequence[Held], Sequence[Held]],
    bounds: tuple[Domain | None, ...],
) -> Iterator[_Lost]:
    """Yield what was lost of each instance in parts, to come back beside the rest of it."""
    role, shape = form
    mine, gone = group
    units: dict[str, list[Held]] = defaultdict(list)
    for one in gone:
        units[one.unit or one.name].append(one)
    for unit, held in units.items():
        rest = [one for one in mine if one.role is role and one.unit == unit]
        parts = tuple(
            Part(part.name, count, fleet.options(part.need))
            for part in shape.parts
            if (count := sum(one.part == part.name for one in held))
        )
        near = _bounds(fleet, rest, shape.level) if rest else ()
        yield _Lost(role, tuple(held), parts, 1, shape.level, near or bounds)


def _placed(choosing: Choosing, fleet: Fleet, tenant: Tenant, wanted: _Lost) -> list[Share]:
    """Place as many units as there is room for, in the first of the bounds that has any."""
    unit = Instances(*(int(role is wanted.role) for role in Role))
    shares: list[Share] = []
    ask = Ask(
        service=tenant.name,
        parts=wanted.parts,
        units=wanted.units,
        caps=caps_of(fleet, tenant, unit, wanted.units),
    )
    for within in wanted.bounds:
        require = min(wanted.require, within[0]) if within else wanted.require
        ask = replace(ask, within=within, require=require)
        found = choosing.place(ask) if ask.units else []
        for share in found:
            ask = less(ask, share, choosing.slots.topology)
        ask = replace(ask, units=ask.units - sum(share.units for share in found))
        shares += found
    return shares


def _anew(
    choosing: Choosing, fleet: Fleet, tenant: Tenant, held: Sequence[Held], *, required: bool
) -> list[Move]:
    """Place all of a group in one domain, in one of the affinity if that is ``required``.

    Nothing is taken and nothing returned where there is none; ``tenant`` holds the rest.
    """
    counts = _counts(held)
    affinity = tenant.affinity
    required = required or affinity.required
    ask = Ask(
        service=tenant.name,
        parts=parts_of(fleet, tenant, counts),
        units=1,
        require=affinity.level if required else Level.CLUSTER,
        prefer=None if required else affinity.level,
        within=fleet.cluster_of(tenant),
        caps=caps_of(fleet, tenant, counts, 1),
    )
    if not all(part.options for part in ask.parts):
        return []
    if is_nested(tenant):
        shares = place_nested(fleet, choosing, tenant, ask, counts)
    else:
        shares = choosing.place(ask)
    moves = _moves(fleet, tenant, held, shares)
    if len(moves) < len(held):
        choosing.undo(shares)
        return []
    return moves


def _moves(
    fleet: Fleet, tenant: Tenant, held: Sequence[Held], shares: Sequence[Share]
) -> list[Move]:
    """Return who goes to which of the pods: each to one of its role and part."""
    waiting: dict[tuple[str, ...], list[Held]] = defaultdict(list)
    for one in sorted(held, key=lambda one: (one.unit, one.name)):
        waiting[one.role.value, one.part].append(one)
    topology = fleet.view.topology
    moves = []
    for share in shares:
        for pod in share.pods:
            goes = _next(waiting, pod)
            if goes is not None:
                hardware = int(topology.hardware[pod.nodes[0][0]])
                moves.append(
                    Move(
                        service=tenant.name,
                        role=goes.role,
                        instance=goes.name,
                        group=goes.group,
                        from_nodes=goes.nodes,
                        to_nodes=tuple((topology.names[node], gpus) for node, gpus in pod.nodes),
                        hardware=topology.hardware_name(hardware),
                        where=fleet.where(share.level, share.domain),
                    )
                )
    return moves


def _next(waiting: Mapping[tuple[str, ...], list[Held]], pod: Pod) -> Held | None:
    """Return the next to go to a pod, whose role reads "role", "part" or "role/part/number"."""
    first, _, rest = pod.role.partition("/")
    part = rest.partition("/")[0]
    for role, name in ((first, part), *((kind.value, first) for kind in Role)):
        if waiting.get((role, name)):
            return waiting[role, name].pop(0)
    return None


def _instances(held: Iterable[Held], named: set[str] | None = None) -> set[str]:
    """Return the instances that pods are, or are of; only of those named, if any are."""
    return {one.unit or one.name for one in held if named is None or one.name in named}


def _counts(held: Sequence[Held]) -> Instances:
    return Instances(*(len(_instances(one for one in held if one.role is role)) for role in Role))


def _unplaced(
    fleet: Fleet, tenant: Tenant, lost: Sequence[Held], came: int, bound: Domain | None
) -> Unplaced:
    """Return why instances of one role don't come back where their group is, with the numbers."""
    role = lost[0].role
    count = len(_instances(lost))
    where = fleet.where(*bound).label if bound is not None else "the fleet"
    room = f"room for {came} of them" if count > 1 else "no room for it"
    said = f"{_are_lost(fleet, lost)}; {where} has {room}."
    more = count - came
    return Unplaced(
        service=tenant.name,
        asked=_of(role, count),
        placed=_of(role, came),
        code=Code.NO_CAPACITY_DOMAIN,
        sentence=said,
        would_fit_if=f"room for {_instances_of(more, role, 'more ')} in {where}",
    )


def _nowhere(fleet: Fleet, tenant: Tenant, lost: Sequence[Held]) -> Unplaced:
    """Return why a group of which nothing is left has no place."""
    level = _farthest(tenant)
    counts = _counts(lost)
    wanted = _and(_instances_of(counts.of(role), role) for role in Role if counts.of(role))
    return Unplaced(
        service=tenant.name,
        asked=counts,
        placed=Instances(0, 0),
        code=Code.NO_CAPACITY_DOMAIN,
        sentence=f"{_are_lost(fleet, lost)}; no {WORDS[level]} has room for all of them.",
        would_fit_if=f"room for {wanted} in one {WORDS[level]}",
    )


def _of(role: Role, count: int) -> Instances:
    return Instances(*(count if kind is role else 0 for kind in Role))


def _are_lost(fleet: Fleet, lost: Sequence[Held]) -> str:
    counts = _counts(lost)
    what = _and(_instances_of(counts.of(role), role) for role in Role if counts.of(role))
    gone = _lost_nodes(fleet, lost) or sorted({name for one in lost for name, _ in one.nodes})
    nodes = [fleet.told(name) for name in gone]
    rest = len(nodes) - NAMED
    named = [*nodes[:NAMED], f"{rest} more nodes" if rest > 1 else nodes[-1]][: len(nodes)]
    return f"{what} of {lost[0].group} {'is' if sum(counts) == 1 else 'are'} lost on {_and(named)}"


def _instances_of(count: int, role: Role, more: str = "") -> str:
    return f"{count} {more}{role.value} instance{'s' if count > 1 else ''}"


def _and(texts: Iterable[str]) -> str:
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _lost_nodes(fleet: Fleet, held: Iterable[Held]) -> list[str]:
    names = sorted({name for one in held for name, _ in one.nodes})
    return [name for name in names if name in fleet.lost]
