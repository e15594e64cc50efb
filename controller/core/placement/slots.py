"""How many pods of each size every domain holds, kept up to date while GPUs are given away."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np

from controller.core.fleet import Flags, FleetView, Ints, Level


class Size(NamedTuple):
    """GPUs of a pod on one node, and how many whole nodes an instance spans."""

    gpus: int
    nodes: int = 1


ONE: Final = Size(1)


class Option(NamedTuple):
    """One hardware type a role may run on, by index, the size there, and what a pod counts.

    ``throughput`` is relative to the role's first choice (HeteroScale §7).
    """

    type: int
    size: Size
    throughput: float = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """Pods of one role that go together: ``pods`` a unit, on any of ``options``, best first."""

    role: str
    pods: int
    options: tuple[Option, ...]


class Slots:
    """What is free in a cycle: per node, and per type and domain for every size in use.

    A table of S1 domains per size is kept up to date, shape ``(K, S1)``, so that a query never
    looks at nodes; those further out are summed when they are asked for.
    """

    def __init__(self, view: FleetView, sizes: Collection[Size]) -> None:
        self.topology = view.topology
        self.gpus = view.topology.gpus
        self.free = np.where(view.usable, view.free, 0).astype(np.int32)
        self.sizes = tuple(sorted({ONE, *sizes}))
        self._s1: dict[Size, Ints] = {}
        self._whole: dict[Size, Ints] = {}
        self._outer: dict[tuple[Size, Level], Ints] = {}
        for size in self.sizes:
            self._count(size)

    def _count(self, size: Size) -> None:
        topology = self.topology
        shape = (len(topology.types), len(topology.domains[Level.S1]))
        if size.nodes == 1:
            fits = self.free // size.gpus
        else:
            fits = ((self.free == self.gpus) & (self.free >= size.gpus)).astype(np.int32)
        table = np.zeros(shape[0] * shape[1], np.int32)
        if len(fits):
            table[topology.run_cell] = np.add.reduceat(fits, topology.run_at)
        table = table.reshape(shape)
        if size.nodes > 1:
            self._whole[size] = table
            table = table // size.nodes
        self._s1[size] = table

    def copy(self) -> "Slots":
        """Return a copy to try something on."""
        other = object.__new__(Slots)
        other.topology, other.gpus, other.sizes = self.topology, self.gpus, self.sizes
        other.free = self.free.copy()
        other._s1 = {size: table.copy() for size, table in self._s1.items()}
        other._whole = {size: whole.copy() for size, whole in self._whole.items()}
        other._outer = dict(self._outer)
        return other

    def only(self, keep: Flags) -> "Slots":
        """Return the counts of some S1 domains alone, to be read and not to be changed."""
        other = object.__new__(Slots)
        other.topology, other.gpus, other.sizes = self.topology, self.gpus, self.sizes
        other.free = self.free
        other._s1 = {size: np.where(keep, table, 0) for size, table in self._s1.items()}
        other._whole, other._outer = self._whole, {}
        return other

    def table(self, size: Size, level: Level) -> Ints:
        """Return how many pods of a size each type has in each domain, ``(K, domains)``."""
        if level is Level.S1:
            return self._s1[size]
        known = self._outer.get((size, level))
        if known is None:
            inner = Level(level - 1)
            topology = self.topology
            lower = self.table(size, inner)
            known = _summed(lower, topology.up[inner], len(topology.domains[level]))
            self._outer[size, level] = known
        return known

    def of(self, option: Option, level: Level) -> Ints:
        """Return how many pods of an option each domain of a level holds."""
        counted: Ints = self.table(option.size, level)[option.type]
        return counted

    def take(self, node: int, gpus: int) -> None:
        """Give GPUs of a node away; a negative number gives them back."""
        kind, s1, _, _ = self.topology.places[node]
        before = int(self.free[node])
        self.take_run(kind, s1, [(node, before, before - gpus)])

    def take_run(self, kind: int, s1: int, changes: Sequence[tuple[int, int, int]]) -> None:
        """Set what is free on nodes of one type in one S1: node, free before, free after."""
        for node, _, after in changes:
            self.free[node] = after
        for size in self.sizes:
            gpus = size.gpus
            if size.nodes == 1:
                change = sum([after // gpus - before // gpus for _, before, after in changes])
            else:
                change = self._whole_change(size, kind, s1, changes)
            if change:
                self._s1[size][kind, s1] += change
        self._outer.clear()

    def _whole_change(
        self, size: Size, kind: int, s1: int, changes: Sequence[tuple[int, int, int]]
    ) -> int:
        whole = self._whole[size]
        had = int(whole[kind, s1])
        now = had
        for node, before, after in changes:
            all_of_it = int(self.gpus[node])
            if all_of_it >= size.gpus:
                now += (after == all_of_it) - (before == all_of_it)
        whole[kind, s1] = now
        return now // size.nodes - had // size.nodes


def _summed(lower: Ints, up: Ints, count: int) -> Ints:
    """Return the sums of domains one level further out; ``up`` is in order."""
    if not lower.shape[1]:
        return np.zeros((lower.shape[0], count), np.int32)
    starts = np.searchsorted(up, np.arange(count))
    summed: Ints = np.add.reduceat(lower, starts, axis=1, dtype=np.int32)
    return summed


@dataclass(frozen=True, slots=True)
class _Rival:
    """How two parts that compete for types are counted: the small one, the large one's options.

    ``apart`` are types the small part can't use; ``shared`` options with how many of the smaller
    slots one of the larger takes, the cheapest first.
    """

    small: Part
    large: Part
    apart: tuple[Option, ...]
    shared: tuple[tuple[Option, int], ...]


@dataclass(frozen=True, slots=True)
class Counting:
    """How units of some parts are counted, worked out once.

    ``exact`` is whether the count is more than a bound from above: so it is for one part, and for
    two whose sizes divide each other where they share a type, because a pod of the larger size
    always takes as many of the smaller slots, however a node is filled (placement: Does a group
    fit a domain).
    """

    parts: tuple[Part, ...]
    rivals: tuple[_Rival, ...]
    exact: bool

    def units(self, slots: Slots, level: Level) -> Ints:
        """Return how many whole units each domain of a level holds, shape ``(domains,)``."""
        counted = [_offered(slots, part, level) // part.pods for part in self.parts]
        for rival in self.rivals:
            counted += _left(slots, rival, level)
        most = counted[0]
        for one in counted[1:]:
            most = np.minimum(most, one)
        return most


def counting_of(parts: Sequence[Part]) -> Counting:
    """Return how units of these parts are counted; parts without pods don't count."""
    wanted = tuple(part for part in parts if part.pods)
    rivals = [_rival(one, other) for one, other in combinations(wanted, 2)]
    return Counting(wanted, tuple(one for one in rivals if one), _is_exact(wanted))


def _offered(slots: Slots, part: Part, level: Level) -> Ints:
    """Return what a part finds in each domain, in pods of its first choice."""
    first, *others = part.options
    if not others and first.throughput == 1:
        return slots.of(first, level)
    if all(option.throughput == 1 for option in part.options):
        found: Ints = slots.of(first, level)
        for option in others:
            found = np.add(found, slots.of(option, level))
        return found
    each = [slots.of(option, level) * option.throughput for option in part.options]
    whole: Ints = np.floor(np.add.reduce(each) + 1e-9).astype(np.int32)
    return whole


def _left(slots: Slots, rival: _Rival, level: Level) -> list[Ints]:
    """Return what two parts leave each other, as bounds on their units.

    The larger pods go first to types that the smaller can't use, then to those where one costs
    the fewest small slots: that cost is convex, so each of its pieces is a bound.
    """
    offered = _offered(slots, rival.small, level)
    before: Ints | int = 0
    for option in rival.apart:
        before = before + slots.of(option, level)
    spent: Ints | int = 0
    found: list[Ints] = []
    for option, cost in rival.shared:
        each = rival.small.pods + cost * rival.large.pods
        found.append((offered + cost * before - spent) // each)
        there = slots.of(option, level)
        before, spent = before + there, spent + cost * there
    return found


def _rival(one: Part, other: Part) -> _Rival | None:
    common = {option.type for option in one.options} & {option.type for option in other.options}
    if not common:
        return None
    large, small = sorted((one, other), key=lambda part: -_largest(part, common))
    sizes = {option.type: option.size for option in small.options}
    shared = [
        (option, _price(option.size, sizes[option.type]))
        for option in large.options
        if option.type in common
    ]
    apart = tuple(option for option in large.options if option.type not in common)
    return _Rival(small, large, apart, tuple(sorted(shared, key=lambda pair: pair[1])))


def _largest(part: Part, types: Collection[int]) -> int:
    return max(
        option.size.gpus * option.size.nodes for option in part.options if option.type in types
    )


def _price(large: Size, small: Size) -> int:
    """Return how many of the smaller slots one of the larger takes."""
    if small.nodes == 1:
        return large.nodes * (large.gpus // small.gpus)
    # Slots of several nodes don't fill up evenly: rather too few of them than a false refusal.
    return max(1, large.nodes // small.nodes)


def _is_exact(parts: Sequence[Part]) -> bool:
    if any(option.throughput != 1 for part in parts for option in part.options):
        return False
    if len(parts) > 2:  # noqa: PLR2004 - pairs are counted exactly
        kinds = [frozenset(option.type for option in part.options) for part in parts]
        return sum(map(len, kinds)) == len(frozenset().union(*kinds))
    return all(_divides(one, other) for one, other in combinations(parts, 2))


def _divides(one: Part, other: Part) -> bool:
    sizes = {option.type: option.size for option in one.options}
    shared = [
        (sizes[option.type], option.size) for option in other.options if option.type in sizes
    ]
    return (
        all(mine.nodes == its.nodes == 1 for mine, its in shared)
        and all(max(pair).gpus % min(pair).gpus == 0 for pair in shared)
        and (all(mine >= its for mine, its in shared) or all(mine <= its for mine, its in shared))
    )
