"""Who goes when a service shrinks: whole units, those first that free what is scarce (§7)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controller.core.fleet import Level, Scarcity
from controller.core.placement.layout import Fleet, unit_of
from controller.core.placement.lone import can_stay_whole
from controller.core.placement.trouble import trouble_of
from controller.core.placement.values import Held, Removal, Tenant
from controller.core.types import Instances, Role


class _One(NamedTuple):
    """One instance with all its pods, and what matters for whether it goes.

    ``nodes`` are those the inventory knows, by number, with the GPUs held there; ``node`` is the
    first of them. ``ordinal`` is its number where its cluster takes the highest first, else -1.
    """

    name: str
    group: str
    role: Role
    pods: tuple[Held, ...]
    trouble: str
    scarcity: int
    s1: tuple[int, ...]
    s2: tuple[int, ...]
    nodes: dict[int, int]
    node: int
    since_s: float
    ordinal: int = -1


Key = tuple[object, ...]
NOWHERE: Final = -1


class _Offer(NamedTuple):
    """What one group gives for a piece: who, how good that is (the least first), what stays.

    ``off`` is how far the group gets off the ratio of all that stays, beyond rounding.
    """

    key: Key
    chosen: list[_One]
    group: str
    stays: Instances
    off: int


def removals_of(fleet: Fleet, tenant: Tenant, change: Instances) -> list[Removal]:
    """Return the instances that go for a change of counts at most 0 (placement: victims).

    Exactly as many of each role as asked for, or as there are, one removal for each instance with
    all its pods. They go in whole units of the change's ratio, each of one group: first what is in
    trouble, then what frees scarce S1s, then what leaves fewer S1s and S2s in use and nodes wholly
    free, then the youngest. A unit is taken from several groups only where from one it would leave
    a role alone or a group off the ratio of all that stays by more than one instance. No group is
    left with one role where another choice keeps both.
    """
    there = tenant.counts
    wanted = Instances(*(min(max(0, -change.of(role)), there.of(role)) for role in Role))
    unit, units = unit_of(wanted)
    rest = Instances(*(there.of(role) - wanted.of(role) for role in Role))
    service = _service_of(fleet, tenant, rest)
    gone = [one for _ in range(units) for one in service.take(unit)]
    return [
        Removal(tenant.name, one.group, one.role, one.name, _nodes_of(one), service.why(one))
        for one in gone
    ]


def _nodes_of(one: _One) -> tuple[tuple[str, int], ...]:
    taken: Counter[str] = Counter()
    for pod in one.pods:
        taken.update(dict(pod.nodes))
    return tuple(taken.items())


@dataclass(slots=True)
class _Service:
    """What is left of a service while it shrinks to the counts of ``rest``.

    ``both`` are the groups that begin with both roles; ``keeps_both`` is whether all of them can
    keep both or go. ``in_s1`` and ``in_s2`` count its instances in each domain, ``used`` the GPUs
    that anybody holds of a node. Orders and offers are kept until a domain of theirs changes.
    """

    fleet: Fleet
    rest: Instances
    left: dict[str, dict[Role, list[_One]]] = field(default_factory=dict)
    both: frozenset[str] = frozenset()
    keeps_both: bool = True
    in_s1: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    in_s2: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    groups_in_s1: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    groups_in_s2: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    used: dict[int, int] = field(default_factory=lambda: {NOWHERE: 0})
    _alike: dict[str, list[Key]] = field(default_factory=dict)
    _ordered: dict[str, set[Role]] = field(default_factory=dict)
    _offers: dict[str, dict[Instances, _Offer | None]] = field(default_factory=dict)

    def add(self, one: _One) -> None:
        """Count one instance."""
        if one.group not in self.left:
            self.left[one.group] = {role: [] for role in Role}
        self.left[one.group][one.role].append(one)
        for at in one.s1:
            self.in_s1[at] += 1
            self.groups_in_s1[at].add(one.group)
        for at in one.s2:
            self.in_s2[at] += 1
            self.groups_in_s2[at].add(one.group)
        view = self.fleet.view
        for at in one.nodes:
            if at not in self.used:
                self.used[at] = int(view.topology.gpus[at]) - int(view.free[at])

    def settle(self) -> None:
        """Note which groups have both roles, once all instances are counted."""
        self.both = frozenset(name for name, mine in self.left.items() if all(mine.values()))
        self.keeps_both = self._can_keep_both("", Instances(0, 0))
        # Groups that give as good a unit differ in what they give next, whatever they are called.
        self._alike = {
            name: sorted(
                [
                    (not one.trouble, -one.scarcity, -one.since_s, one.role.value)
                    for each in mine.values()
                    for one in each
                ]
            )
            for name, mine in self.left.items()
        }

    def take(self, piece: Instances) -> list[_One]:
        """Take a piece of a unit from the group that should give it, or in halves."""
        offers = sorted(
            offer for group in self.left if (offer := self._offer(group, piece)) is not None
        )
        best = next((offer for offer in offers if not self._harms(offer)), None)
        if best is None and sum(piece) == 1:
            best = offers[0]
        if best is not None and (sum(piece) == 1 or not best.off):
            for one in best.chosen:
                self._remove(one)
            return best.chosen
        prefill, decode = piece
        first = Instances(-(-prefill // 2), decode // 2)
        second = Instances(prefill - first.prefill, decode - first.decode)
        return self.take(first) + self.take(second)

    def _offer(self, group: str, piece: Instances) -> _Offer | None:
        known = self._offers.setdefault(group, {})
        if piece not in known:
            known[piece] = self._offered(group, piece)
        return known[piece]

    def _offered(self, group: str, piece: Instances) -> _Offer | None:
        """Return what a group gives for a piece; ``None`` where it has too few."""
        mine = self.left[group]
        had = Instances(len(mine[Role.PREFILL]), len(mine[Role.DECODE]))
        stays = Instances(had.prefill - piece.prefill, had.decode - piece.decode)
        if min(stays) < 0:
            return None
        chosen: list[_One] = []
        for role, count in zip(Role, piece, strict=True):
            if count:
                chosen += self._order(group, role)[:count]
        off = self._off(had, stays)
        return _Offer(self._key(group, chosen, off), chosen, group, stays, off)

    def _order(self, group: str, role: Role) -> list[_One]:
        """Return the instances of a role of a group, those first that go first."""
        mine = self.left[group][role]
        known = self._ordered.setdefault(group, set())
        if role not in known:
            known.add(role)
            in_s1, used = self.in_s1, self.used
            mine.sort(
                key=lambda one: (
                    -one.ordinal,
                    not one.trouble,
                    -one.scarcity,
                    in_s1[one.s1[0]] if one.s1 else 0,
                    used[one.node],
                    -one.since_s,
                    one.name,
                )
            )
        return mine

    def _key(self, group: str, chosen: Sequence[_One], off: int) -> Key:
        freed: dict[int, int] = {}
        for one in chosen:
            for at, gpus in one.nodes.items():
                freed[at] = freed.get(at, 0) + gpus
        scarcity = [one.scarcity for one in chosen]
        return (
            -sum([bool(one.trouble) for one in chosen]),
            off,
            -scarcity.count(Scarcity.HIGH),
            -scarcity.count(Scarcity.MEDIUM),
            -_emptied([at for one in chosen for at in one.s1], self.in_s1),
            -_emptied([at for one in chosen for at in one.s2], self.in_s2),
            -sum([self.used[at] == gpus for at, gpus in freed.items()]),
            -max([one.since_s for one in chosen]),
            self._alike[group],
            group,
        )

    def _off(self, had: Instances, stays: Instances) -> int:
        """Return how far a group gets off the ratio of all that stays, beyond rounding.

        Of one role alone those groups give first that have it to spare, then each at most what
        rounding takes.
        """
        if 0 in self.rest:
            return 0
        before, after = (
            count.prefill * self.rest.decode - count.decode * self.rest.prefill
            for count in (had, stays)
        )
        if had.prefill == stays.prefill:
            return after // self.rest.prefill + 1 if after > 0 else 0
        if had.decode == stays.decode:
            return -after // self.rest.decode + 1 if after < 0 else 0
        # One instance of the role of which fewer stay.
        least = max(self.rest)
        return max(0, after - max(before, least), -after - max(-before, least))

    def _harms(self, offer: _Offer) -> bool:
        """Return whether an offer is the end of what could keep every group whole."""
        if self.keeps_both:
            return not self._can_keep_both(offer.group, offer.stays)
        return offer.group in self.both and 0 in offer.stays and any(offer.stays)

    def _can_keep_both(self, group: str, stays: Instances) -> bool:
        if not any(self.rest):
            return True
        counts = {
            name: Instances(len(mine[Role.PREFILL]), len(mine[Role.DECODE]))
            for name, mine in self.left.items()
        }
        if group:
            counts[group] = stays
        loose = [count for name, count in counts.items() if name not in self.both]
        return can_stay_whole([counts[name] for name in self.both], loose, self.rest)

    def _remove(self, one: _One) -> None:
        self.left[one.group][one.role].remove(one)
        self._offers.pop(one.group, None)
        for at, gpus in one.nodes.items():
            self.used[at] -= gpus
        for at in one.s1:
            self.in_s1[at] -= 1
            for group in self.groups_in_s1[at]:
                self._ordered.pop(group, None)
        for at in one.s2:
            self.in_s2[at] -= 1
            for group in self.groups_in_s2[at]:
                self._offers.pop(group, None)

    def why(self, one: _One) -> str:
        """Return why an instance went, seen from what is left."""
        if one.ordinal >= 0:
            return "has the highest ordinal"
        return one.trouble or self._frees(one) or self._empties(one) or self._is_last(one)

    def _frees(self, one: _One) -> str:
        if not one.scarcity:
            return ""
        topology = self.fleet.view.topology
        s1 = max(one.s1, key=lambda at: int(topology.scarcity[at]))
        label = topology.label(Level.S1, s1)
        is_mixed = one.scarcity == Scarcity.HIGH
        return f"frees mixed S1 {label}" if is_mixed else f"frees S1 {label} of a mixed S2"

    def _empties(self, one: _One) -> str:
        topology = self.fleet.view.topology
        s1 = [f"empties S1 {topology.label(Level.S1, at)}" for at in one.s1 if not self.in_s1[at]]
        s2 = [f"empties S2 {topology.label(Level.S2, at)}" for at in one.s2 if not self.in_s2[at]]
        nodes = [
            f"leaves {self.fleet.told(topology.names[at])} wholly free"
            for at in one.nodes
            if not self.used[at]
        ]
        return next(iter((*s2, *s1, *nodes)), "")

    def _is_last(self, one: _One) -> str:
        stay = self.left[one.group][one.role]
        if all(other.since_s <= one.since_s for other in stay):
            return "youngest"
        label = self.fleet.view.topology.label(Level.S1, one.s1[0])
        return f"in S1 {label}, which is nearest to being empty"


def _emptied(going: Sequence[int], counted: Mapping[int, int]) -> int:
    return sum([counted[at] == going.count(at) for at in set(going)])


def _service_of(fleet: Fleet, tenant: Tenant, rest: Instances) -> _Service:
    service = _Service(fleet, rest)
    for pods in _instances(tenant.held):
        one = _one(fleet, pods)
        if one.role in tenant.ordinal:
            one = one._replace(ordinal=_ordinal(one.name))
        service.add(one)
    service.settle()
    return service


def _ordinal(name: str) -> int:
    """Return the number at the end of a name, -1 where there is none."""
    tail = name.rpartition("-")[2]
    return int(tail) if tail.isdecimal() else -1


def _instances(held: Iterable[Held]) -> list[tuple[Held, ...]]:
    found: dict[tuple[Role, str], list[Held]] = defaultdict(list)
    for pod in held:
        found[pod.role, pod.unit or pod.name].append(pod)
    return [tuple(pods) for pods in found.values()]


def _one(fleet: Fleet, pods: tuple[Held, ...]) -> _One:
    topology = fleet.view.topology
    nodes: dict[int, int] = {}
    for pod in pods:
        for name, gpus in pod.nodes:
            if (at := fleet.at.get(name)) is not None:
                nodes[at] = nodes.get(at, 0) + gpus
    places = [topology.places[at] for at in nodes]
    s1 = tuple({place[1] for place in places})
    return _One(
        name=pods[0].unit or pods[0].name,
        group=pods[0].group,
        role=pods[0].role,
        pods=pods,
        trouble=trouble_of(fleet, pods),
        scarcity=max([int(topology.scarcity[at]) for at in s1], default=0),
        s1=s1,
        s2=tuple({place[2] for place in places}),
        nodes=nodes,
        node=next(iter(nodes), NOWHERE),
        since_s=max([pod.since_s for pod in pods]),
    )
