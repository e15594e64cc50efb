"""Who goes when a service shrinks: whole units, those first that free what is scarce (§7)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.core.fleet import Level, Scarcity
from controller.core.placement.layout import Fleet, unit_of
from controller.core.placement.values import Held, Removal, Tenant
from controller.core.types import Instances, Role


@dataclass(frozen=True, slots=True)
class _One:
    """One instance with all its pods, and what matters for whether it goes."""

    name: str
    group: str
    role: Role
    pods: tuple[Held, ...]
    trouble: str
    scarcity: int
    s1: frozenset[int]
    s2: frozenset[int]
    since_s: float


Key = tuple[float, ...]


def removals_of(fleet: Fleet, tenant: Tenant, change: Instances) -> list[Removal]:
    """Return the instances that go for a change of counts at most 0 (placement: victims).

    Whole units in the ratio of the change, each of one group: first what is in trouble, then what
    frees scarce S1s, then what leaves fewer S1s and S2s in use and nodes wholly free, then the
    youngest. A group is not left with one role alone while another can give. As many of each role
    go as asked for, or as there are. What goes is not moved, and nothing else is.
    """
    left = [_one(fleet, pods) for pods in _instances(tenant.held)]
    wanted = Instances(*(-min(count, 0) for count in change))
    unit, units = unit_of(wanted)
    removed: list[Removal] = []
    for _ in range(units):
        found = _best(fleet, left, unit)
        for one, why in found:
            left.remove(one)
            removed += [
                Removal(tenant.name, one.group, one.role, pod.name, pod.nodes, why)
                for pod in one.pods
            ]
    return removed


def _instances(held: Iterable[Held]) -> list[tuple[Held, ...]]:
    found: dict[tuple[Role, str], list[Held]] = {}
    for pod in held:
        found.setdefault((pod.role, pod.unit or pod.name), []).append(pod)
    return [tuple(pods) for pods in found.values()]


def _one(fleet: Fleet, pods: tuple[Held, ...]) -> _One:
    topology = fleet.view.topology
    names = sorted({name for pod in pods for name, _ in pod.nodes})
    known = [at for name in names if (at := fleet.at.get(name)) is not None]
    s1 = frozenset(int(topology.of[Level.S1][at]) for at in known)
    return _One(
        name=pods[0].unit or pods[0].name,
        group=pods[0].group,
        role=pods[0].role,
        pods=pods,
        trouble=_trouble(fleet, pods, names),
        scarcity=max((int(topology.scarcity[domain]) for domain in s1), default=0),
        s1=s1,
        s2=frozenset(int(topology.of[Level.S2][at]) for at in known),
        since_s=max(pod.since_s for pod in pods),
    )


def _trouble(fleet: Fleet, pods: Sequence[Held], names: Sequence[str]) -> str:
    for name in names:
        at = fleet.at.get(name)
        if at is None:
            return f"its node {name} is not known"
        if name in fleet.barred or not fleet.view.usable[at]:
            return f"on {name}, which {fleet.barred.get(name, 'may not be used')}"
    return "" if all(pod.is_up for pod in pods) else "not serving yet"


def _best(fleet: Fleet, left: Sequence[_One], unit: Instances) -> list[tuple[_One, str]]:
    """Return the unit to go next, each with why; of several groups where no one has a unit."""
    touched = [
        Counter(at for one in left for at in one.s1),
        Counter(at for one in left for at in one.s2),
    ]
    used = Counter(name for one in left for pod in one.pods for name, _ in pod.nodes)
    offers = []
    for group in sorted({one.group for one in left}):
        mine = [one for one in left if one.group == group]
        chosen = _chosen(mine, unit, touched[0])
        if chosen is not None:
            offers.append((_key(chosen, mine, touched, used), chosen))
    if offers:
        chosen = min(offers, key=lambda offer: offer[0])[1]
    else:
        chosen = [
            one
            for role in Role
            for one in sorted(
                (one for one in left if one.role is role), key=lambda one: _rank(one, touched[0])
            )[: unit.of(role)]
        ]
    return [(one, _why(fleet, one, touched, used)) for one in chosen]


def _chosen(mine: Sequence[_One], unit: Instances, s1_used: Counter[int]) -> list[_One] | None:
    chosen: list[_One] = []
    for role in Role:
        ordered = sorted(
            (one for one in mine if one.role is role), key=lambda one: _rank(one, s1_used)
        )
        if len(ordered) < unit.of(role):
            return None
        chosen += ordered[: unit.of(role)]
    return chosen


def _rank(one: _One, s1_used: Counter[int]) -> tuple[bool, int, int, float, str]:
    alone = min((s1_used[at] for at in one.s1), default=0)
    return not one.trouble, -one.scarcity, alone, -one.since_s, one.name


def _key(
    chosen: Sequence[_One],
    mine: Sequence[_One],
    touched: Sequence[Counter[int]],
    used: Counter[str],
) -> Key:
    roles = {one.role for one in mine}
    stays = {one.role for one in mine if one not in chosen}
    high = sum(one.scarcity == Scarcity.HIGH for one in chosen)
    medium = sum(one.scarcity == Scarcity.MEDIUM for one in chosen)
    freed = Counter(name for one in chosen for pod in one.pods for name, _ in pod.nodes)
    return (
        -sum(bool(one.trouble) for one in chosen),
        bool(stays) and stays != roles,
        -high,
        -medium,
        -_emptied(Counter(at for one in chosen for at in one.s1), touched[0]),
        -_emptied(Counter(at for one in chosen for at in one.s2), touched[1]),
        -sum(used[name] == count for name, count in freed.items()),
        -max(one.since_s for one in chosen),
    )


def _emptied(going: Counter[int], touched: Counter[int]) -> int:
    return sum(touched[at] == count for at, count in going.items())


def _why(fleet: Fleet, one: _One, touched: Sequence[Counter[int]], used: Counter[str]) -> str:
    if one.trouble:
        return one.trouble
    label = fleet.view.topology.label
    if one.scarcity:
        s1 = max(one.s1, key=lambda at: int(fleet.view.topology.scarcity[at]))
        kind = "mixed S1" if one.scarcity == Scarcity.HIGH else "S1 of a mixed S2,"
        return f"frees {kind} {label(Level.S1, s1)}"
    for level, counted, domains in (
        (Level.S1, touched[0], one.s1),
        (Level.S2, touched[1], one.s2),
    ):
        alone = [at for at in sorted(domains) if counted[at] == 1]
        if alone:
            return f"leaves {level.name} {label(level, alone[0])}"
    freed = [name for pod in one.pods for name, _ in pod.nodes if used[name] == 1]
    return f"leaves {freed[0]} wholly free" if freed else "the youngest"
