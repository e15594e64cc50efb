"""Why a request went where it did, or nowhere, and what would make it fit (placement: why)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.fleet import Ints, Level, Scarcity
from controller.core.placement.choose import Ask, Choosing, Share, is_within
from controller.core.placement.layout import SUBGROUPS, Fleet, needs_of
from controller.core.placement.slots import ONE, Part
from controller.core.placement.values import Candidate, Tenant, Unplaced
from controller.core.reasons import Code
from controller.core.types import Flags, Floats, Instances, Role

MOST_CANDIDATES: Final = 4
WORDS: Final = {Level.S1: "S1", Level.S2: "S2", Level.CLUSTER: "cluster"}


def candidates(
    fleet: Fleet, choosing: Choosing, ask: Ask, shares: Sequence[Share]
) -> tuple[Candidate, ...]:
    """Return the domains looked at for what was placed first, the winner in front.

    ``choosing`` is as it was left: only the domains taken have changed since. Beside the winner
    there are the next best of its level, and of each nearer level the one that came closest.
    """
    if not shares:
        return ()
    won = shares[0]
    level = won.level
    room = choosing.room(ask, level)
    for share in shares:
        if share.level is level:
            room[share.domain] += share.units
    order = np.lexsort((choosing.left_over(level), -np.minimum(room, won.units)))
    others = [at for at in order[:MOST_CANDIDATES].tolist() if at != won.domain and room[at] > 0]
    looked = [(level, won.domain, int(room[won.domain]), "")]
    rank = _rank(choosing, level, won.domain)
    for at in others[: MOST_CANDIDATES - 1]:
        lost = _lost(won.units, int(room[at]), _rank(choosing, level, at), rank)
        looked.append((level, at, int(room[at]), lost))
    for nearer in map(Level, range(level)):
        near = choosing.room(ask, nearer)
        best = int(near.argmax())
        lost = f"has room for {near[best]} of {won.units}, no {WORDS[nearer]} for more"
        looked.append((nearer, best, int(near[best]), lost))
    return tuple(_candidate(fleet, choosing, ask, one) for one in looked)


def _rank(choosing: Choosing, level: Level, domain: int) -> int:
    return int(choosing.slots.topology.scarcity[domain]) if level == Level.S1 else 0


def _lost(wanted: int, room: int, rank: int, winners: int) -> str:
    if room < wanted:
        return f"has room for {room} of {wanted}"
    if rank > winners:
        return f"is scarcer: {SUBGROUPS[Scarcity(rank)]} priority"
    if rank < winners:
        return "is less scarce, but not where the group is"
    return "would have left more GPUs over, or comes later"


def _candidate(
    fleet: Fleet, choosing: Choosing, ask: Ask, looked: tuple[Level, int, int, str]
) -> Candidate:
    level, domain, units, lost = looked
    types = {option.type for part in ask.parts for option in part.options}
    have = choosing.slots.table(ONE, level)[:, domain].tolist()
    free = sum([have[kind] for kind in types])
    joined = next((home.group for home in ask.homes if home.at.get(level) == domain), "")
    scarcity = _rank(choosing, level, domain)
    return Candidate(fleet.where(level, domain), units, scarcity, free, joined, lost)


@dataclass(frozen=True, slots=True)
class Shortage:
    """What one part lacks: pods wanted, of so many GPUs, and what the fleet has for them."""

    part: Part
    names: str
    pods: int
    slots: int
    free: int

    @property
    def gpus(self) -> int:
        """GPUs the pods take together."""
        first = self.part.options[0].size
        return self.pods * first.gpus * first.nodes


def refusal(
    fleet: Fleet, choosing: Choosing, tenant: Tenant, ask: Ask, told: tuple[Instances, Instances]
) -> Unplaced:
    """Return why what is left of an ask has no room, and the smallest change that would give it.

    ``ask.units`` are those left, ``told`` what was asked for and what was placed. ``choosing`` is
    as the cycle left it, so that what is said holds beside all that was placed before.
    """
    code, sentence, would = _reason(fleet, choosing, tenant, ask)
    asked, placed = told
    return Unplaced(
        tenant.name,
        asked,
        placed,
        code,
        f"{sentence} {_nodes(fleet, choosing, tenant, ask)}",
        would,
    )


def _reason(fleet: Fleet, choosing: Choosing, tenant: Tenant, ask: Ask) -> tuple[Code, str, str]:
    nowhere = _nowhere(tenant, ask)
    if nowhere:
        return Code.NO_CAPACITY_SKU, *nowhere
    short = [_shortage(fleet, choosing, part, ask) for part in ask.parts]
    would = _would_fit(fleet, choosing, ask)
    for one in short:
        if one.free < one.gpus:
            said = f"{one.gpus} {one.names} GPUs are wanted and {one.free} are free."
            return Code.NO_CAPACITY_SKU, said, would
    for one in short:
        if one.slots < one.pods:
            return Code.FRAGMENTED, _fragmented(one), would
    return _no_domain(fleet, choosing, ask, would)


def _nowhere(tenant: Tenant, ask: Ask) -> tuple[str, str] | None:
    """Return what is said of the first part no node can take at all; ``None`` if there is none."""
    for part in ask.parts:
        if part.options:
            continue
        role, _, name = part.role.partition("/")
        form = tenant.roles.get(Role(role))
        if form is None:
            return f"The service has no role {role}.", f"it is given the role {role}"
        need = form.need or next(one.need for one in form.parts if one.name == name)
        types = " or ".join(choice.type for choice in need.hardware)
        would = f"nodes with {types} are added, or another hardware type is allowed"
        return f"No node that may be used has {types}.", would
    return None


def _in_reach(by_cluster: Ints, ask: Ask) -> int:
    """Return the sum over the clusters a service may run in."""
    if ask.within is None:
        return int(by_cluster.sum())
    return int(by_cluster[ask.within[1]]) if ask.within[1] >= 0 else 0


def _shortage(fleet: Fleet, choosing: Choosing, part: Part, ask: Ask) -> Shortage:
    slots = choosing.slots
    types = {option.type for option in part.options}
    free = sum(_in_reach(slots.table(ONE, Level.CLUSTER)[kind], ask) for kind in types)
    offered = sum(
        int(_in_reach(slots.of(option, Level.CLUSTER), ask) * option.throughput)
        for option in part.options
    )
    return Shortage(part, _names(fleet, part), part.pods * ask.units, offered, free)


def _names(fleet: Fleet, part: Part) -> str:
    topology = fleet.view.topology
    return " or ".join(
        dict.fromkeys(topology.hardware_name(option.type) for option in part.options)
    )


def _fragmented(one: Shortage) -> str:
    size = one.part.options[0].size
    each = f"{size.nodes} whole nodes" if size.nodes > 1 else f"{size.gpus} GPUs on one node"
    return (
        f"{one.free} {one.names} GPUs are free, but in pieces: {one.slots} of {one.pods}"
        f" {one.part.role} instances find {each}."
    )


def _no_domain(fleet: Fleet, choosing: Choosing, ask: Ask, would: str) -> tuple[Code, str, str]:
    level = ask.require
    free = choosing.counting(ask).units(choosing.slots, level)
    if ask.within is not None:
        free = free * is_within(choosing.slots.topology, level, ask.within)
    if ask.caps and int(free.max(initial=0)):
        outer = ask.caps[0][0]
        said = (
            f"The {WORDS[outer]} domains that have room hold their share of the service already."
        )
        return Code.NO_CAPACITY_DOMAIN, said, f"the service is spread over fewer {WORDS[outer]}"
    if ask.joining and int(free.max(initial=0)):
        said = f"None of its groups has room for one role alone in its {WORDS[level]}."
        return Code.NO_CAPACITY_DOMAIN, said, would
    offered = (_shortage(fleet, choosing, part, ask) for part in ask.parts)
    # Roles on the same hardware are offered the same GPUs.
    total = " and ".join(dict.fromkeys(f"{one.free} {one.names} GPUs" for one in offered))
    unit = " and ".join(f"{part.pods} {part.role}" for part in ask.parts)
    said = f"{total} are free, but no {WORDS[level]} has room for {unit} together."
    return Code.NO_CAPACITY_DOMAIN, said, would


def _would_fit(fleet: Fleet, choosing: Choosing, ask: Ask) -> str:
    """Return the smallest change that makes all of an ask fit, in the domain that lacks least."""
    level = ask.require
    slots, topology = choosing.slots, choosing.slots.topology
    lacks = np.zeros(len(topology.domains[level]), np.float64)
    for part in ask.parts:
        lacks += deficit(choosing, part, level, ask.units) * gpus_of(part)
    if ask.within is not None:
        lacks = np.where(is_within(topology, level, ask.within), lacks, np.inf)
    if ask.joining:
        mine = [home.at[level] for home in ask.homes if level in home.at]
        outside = np.ones(len(lacks), np.bool_)
        outside[mine] = False
        lacks = np.where(outside, np.inf, lacks)
    if not len(lacks) or not np.isfinite(lacks.min()):
        return "its cluster has nodes" if not ask.homes else "its groups lie in one domain each"
    domain = int(lacks.argmin())
    missing = [
        (part, lacking)
        for part in ask.parts
        if (lacking := int(deficit(choosing, part, level, ask.units)[domain]))
    ]
    needs = _more_nodes(fleet, missing)
    where = topology.label(level, domain)
    if not needs:
        # Each part alone has room: they want the same nodes.
        worst = max(ask.parts, key=gpus_of)
        needs = _more_nodes(fleet, [(worst, worst.pods)])
    return f"{' and '.join(needs)} under {where}" if slots.gpus.size else "nodes are added"


def gpus_of(part: Part) -> int:
    """Return the GPUs a pod of a part takes of its first choice."""
    first = part.options[0].size
    return first.gpus * first.nodes


def deficit(choosing: Choosing, part: Part, level: Level, units: int) -> Floats:
    """Return how many pods of a part each domain lacks for all units."""
    offered = np.zeros(len(choosing.slots.topology.domains[level]))
    for option in part.options:
        offered += choosing.slots.of(option, level) * option.throughput
    return np.maximum(np.ceil(part.pods * units - offered), 0.0)


def _more_nodes(fleet: Fleet, missing: Sequence[tuple[Part, int]]) -> list[str]:
    """Return the free nodes that pods of the parts' first hardware take, in words.

    Pods of parts that run on the same hardware share its nodes.
    """
    topology = fleet.view.topology
    gpus: Counter[int] = Counter()
    nodes: Counter[int] = Counter()
    largest: dict[int, int] = {}
    for part, pods in missing:
        kind, size, _ = part.options[0]
        if size.nodes > 1:
            nodes[kind] += pods * size.nodes
            continue
        own = topology.gpus[topology.hardware == kind]
        largest[kind] = max(int(own.max(initial=size.gpus)), size.gpus)
        # What does not divide a node leaves a rest on each.
        gpus[kind] += pods * (largest[kind] // (largest[kind] // size.gpus))
    for kind, wanted in gpus.items():
        nodes[kind] += -(-wanted // largest[kind])
    return [
        f"{count} more free {topology.hardware_name(kind)} node{'s' if count > 1 else ''}"
        for kind, count in nodes.items()
    ]


def _nodes(fleet: Fleet, choosing: Choosing, tenant: Tenant, ask: Ask) -> str:
    """Return how many nodes are ruled out by what; the figures add up to all nodes."""
    view, slots = fleet.view, choosing.slots
    topology = view.topology
    wanted = np.zeros(len(topology.types), np.bool_)
    least = np.full(len(topology.types), np.iinfo(np.int32).max, np.int64)
    for part in ask.parts:
        for option in part.options:
            wanted[option.type] = True
            least[option.type] = min(least[option.type], option.size.gpus)
    code = np.where(
        ~view.usable,
        0,
        np.where(
            ~wanted[topology.hardware], 1, np.where(slots.free < least[topology.hardware], 2, 3)
        ),
    )
    mine = slice(None) if ask.within is None else _members(fleet, ask.within[1])
    barred, other, full, room = np.bincount(code[mine], minlength=4).tolist()
    names = topology.names[mine]
    reasons = (
        Counter(fleet.barred[name] for name in names if name in fleet.barred)
        if barred
        else Counter[str]()
    )
    known = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
    told = f"{barred} may not be used" + (f" ({known})" if known else "")
    excluded = _excluded(fleet, names, (code == 1)[mine] & _alike(fleet, tenant)[mine])
    other -= excluded.total()
    parts = [
        (barred, told),
        *((count, f"{count} {_have(count, 'is')} {why}") for why, count in excluded.items()),
        (other, f"{other} {_have(other)} other hardware, labels or taints"),
        (full, f"{full} {_have(full)} too few free GPUs"),
        (room, f"{room} {_have(room)} room"),
    ]
    said = ", ".join(text for count, text in parts if count)
    return f"Of {len(names)} node{'s' if len(names) != 1 else ''} {said or 'none is there'}."


def _members(fleet: Fleet, cluster: int) -> slice:
    """Return the nodes of a cluster; none of one that is not known."""
    return fleet.view.topology.members(Level.CLUSTER, cluster) if cluster >= 0 else slice(0, 0)


def _alike(fleet: Fleet, tenant: Tenant) -> Flags:
    """Return which nodes are of a hardware the service may run on, labels and taints aside."""
    topology = fleet.view.topology
    named = {choice.type for need in needs_of(tenant) for choice in need.hardware}
    kinds = range(len(topology.types))
    alike = np.array([topology.hardware_name(kind) in named for kind in kinds], np.bool_)
    return alike[topology.hardware]


def _excluded(fleet: Fleet, names: Sequence[str], is_out: Flags) -> Counter[str]:
    """Return how many of the nodes that are out a person excluded, by whom."""
    if not fleet.excluded:
        return Counter()
    others = (name for name, out in zip(names, is_out.tolist(), strict=True) if out)
    found = Counter(fleet.excluded[name] for name in others if name in fleet.excluded)
    return Counter(dict(sorted(found.items())))


def _have(count: int, one: str = "has") -> str:
    several = {"has": "have", "is": "are"}
    return one if count == 1 else several[one]
