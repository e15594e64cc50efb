"""How many pods of each size every domain holds, kept up to date while GPUs are given away."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from controller.core.fleet import FleetView, Ints, Level, Scarcity
from controller.core.types import Floats

Row = TypeVar("Row", Ints, Floats)

FEW: Final = 4
"""Changed domains up to which a kept row is brought up to date one by one."""


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

    ``Z`` sizes, ``K`` types. The table of S1s has shape ``(Z, K, S1)``; those further out have
    ``(K, domains, R, Z)``, where each of the ``R`` ranks of scarcity counts the S1s up to it, and
    are there once they were asked for. All are kept up to date, so that a query never looks at
    nodes. ``changed`` has the place of every change, the oldest first.
    """

    def __init__(self, view: FleetView, sizes: Collection[Size]) -> None:
        self.topology = view.topology
        self.gpus = view.topology.gpus
        self.free: Ints = np.multiply(view.free, view.usable, dtype=np.int32)
        self.sizes = tuple(sorted({ONE, *sizes}))
        self.at = {size: at for at, size in enumerate(self.sizes)}
        self.changed: list[tuple[int, int, int, int]] = []
        self._whole: dict[int, Ints] = {}
        self._s1 = self._counted()
        self._outer: dict[int, Ints] = {}
        self._rank_of: list[int] = []
        self._changes: dict[tuple[int, int, int], Ints] = {}

    def _counted(self) -> Ints:
        topology = self.topology
        kinds, domains = len(topology.types), len(topology.scarcity)
        tables = np.zeros((len(self.sizes), kinds * domains), np.int32)
        if len(self.free):
            for at, size in enumerate(self.sizes):
                counted = np.add.reduceat(self._fits(size), topology.run_at)
                tables[at][topology.run_cell] = counted
        shaped = tables.reshape(len(self.sizes), kinds, domains)
        for at, size in enumerate(self.sizes):
            if size.nodes > 1:
                self._whole[at] = shaped[at].copy()
                shaped[at] //= size.nodes
        return shaped

    def _fits(self, size: Size) -> Ints:
        """Return how many pods of a size each node holds, or whether it is wholly free."""
        if size == ONE:
            return self.free
        if size.nodes == 1:
            return self.free // size.gpus
        wholly: Ints = ((self.free == self.gpus) & (self.free >= size.gpus)).astype(np.int32)
        return wholly

    def copy(self) -> "Slots":
        """Return a copy to try something on."""
        other = object.__new__(Slots)
        other.topology, other.gpus = self.topology, self.gpus
        other.sizes, other.at = self.sizes, self.at
        other.free, other.changed = self.free.copy(), []
        other._whole = {at: whole.copy() for at, whole in self._whole.items()}
        other._s1 = self._s1.copy()
        other._outer = {level: tables.copy() for level, tables in self._outer.items()}
        other._rank_of, other._changes = self._rank_of, self._changes
        return other

    def tables(self, level: Level, scarcity: int = Scarcity.HIGH) -> Ints:
        """Return the pods each type has in each domain, ``(Z, K, domains)``, in use: don't change.

        Further out than S1 only S1s up to a scarcity are counted.
        """
        if level == Level.S1:
            return self._s1
        ranked = self._ranked(level)
        rank = bisect_right(self.topology.ranks, scarcity) - 1
        if rank < 0:
            return np.zeros((len(self.sizes), *ranked.shape[:2]), np.int32)
        return ranked[:, :, rank].transpose(2, 0, 1)

    def table(self, size: Size, level: Level) -> Ints:
        """Return how many pods of a size each type has in each domain, ``(K, domains)``."""
        found: Ints = self.tables(level)[self.at[size]]
        return found

    def of(self, option: Option, level: Level) -> Ints:
        """Return how many pods of an option each domain of a level holds."""
        found: Ints = self.tables(level)[self.at[option.size], option.type]
        return found

    def _ranked(self, level: Level) -> Ints:
        known = self._outer.get(level)
        if known is None:
            inner = Level(level - 1)
            lower = self._by_rank() if inner == Level.S1 else self._ranked(inner)
            count = len(self.topology.domains[level])
            starts = np.searchsorted(self.topology.up[inner], np.arange(count))
            known = np.add.reduceat(lower, starts, axis=1, dtype=np.int32)
            self._outer[level] = known
        return known

    def _by_rank(self) -> Ints:
        ranks, scarcity = np.array(self.topology.ranks, np.int32), self.topology.scarcity
        self._rank_of = np.searchsorted(ranks, scarcity).tolist()
        spared = scarcity[:, np.newaxis] <= ranks
        return self._s1.transpose(1, 2, 0)[:, :, np.newaxis] * spared[:, :, np.newaxis]

    def take(self, node: int, gpus: int) -> None:
        """Give GPUs of a node away; a negative number gives them back."""
        kind, s1, _, _ = self.topology.places[node]
        before = int(self.free[node])
        self.take_run(kind, s1, [(node, before, before - gpus)])

    def take_run(self, kind: int, s1: int, changes: Sequence[tuple[int, int, int]]) -> None:
        """Set what is free on nodes of one type in one S1: node, free before, free after."""
        if not changes:
            return
        change = self._change(*changes[0])
        for one in changes[1:]:
            change = change + self._change(*one)
        for at, whole in self._whole.items():
            if change[at]:
                change = self._instances(change, at, whole[kind, s1 : s1 + 1])
        place = self.topology.places[changes[0][0]]
        here = self._s1[:, kind, s1]
        here += change
        for level, tables in self._outer.items():
            there = tables[kind, place[1 + level], self._rank_of[s1] :]
            there += change
        self.changed.append(place)

    def _change(self, node: int, before: int, after: int) -> Ints:
        """Set what is free on a node; returns the change by size, in whole nodes for instances."""
        self.free[node] = after
        key = (before, after, int(self.gpus[node]))
        known = self._changes.get(key)
        if known is None:
            known = np.array([_change(size, *key) for size in self.sizes], np.int32)
            self._changes[key] = known
        return known

    def _instances(self, change: Ints, at: int, whole: Ints) -> Ints:
        """Return a change with one of whole nodes as one of instances; counts the nodes."""
        many, had = self.sizes[at].nodes, int(whole[0])
        now = had + int(change[at])
        whole[0] = now
        change = change.copy()
        change[at] = now // many - had // many
        return change


def _change(size: Size, before: int, after: int, gpus: int) -> int:
    if size.nodes == 1:
        return after // size.gpus - before // size.gpus
    return (after == gpus) - (before == gpus) if gpus >= size.gpus else 0


class Kept(Generic[Row]):
    """Rows of one number a domain that follow the slots, one by one where few changed."""

    def __init__(self, slots: Slots) -> None:
        self._changed = slots.changed
        self._rows: dict[Hashable, tuple[Row, int]] = {}

    def row(
        self,
        what: Hashable,
        level: Level,
        *,
        whole: Callable[[], Row],
        one: Callable[[int], float],
    ) -> Row:
        """Return a row of a level as things are now, in use: don't change it.

        ``whole`` counts the row, ``one`` what it has at a domain; both say the same.
        """
        key, changed = (what, level), self._changed
        now = len(changed)
        values, seen = self._rows.get(key, (None, -1 - FEW))
        if values is None or now - seen > FEW:
            values = whole()
        elif now == seen:
            return values
        else:
            for domain in {place[1 + level] for place in changed[seen:]}:
                values[domain] = one(domain)
        self._rows[key] = values, now
        return values


class Bound(NamedTuple):
    """A most of units: the slots of ``terms``, each times its weight, over ``each``."""

    terms: tuple[tuple[Option, float], ...]
    each: int


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """How units of some parts are counted, worked out once: as many as every bound allows.

    ``exact`` is whether the count is more than a bound from above: so it is for one part, and for
    two whose sizes divide each other where they share a type, because a pod of the larger size
    always takes as many of the smaller slots, however a node is filled (placement: Does a group
    fit a domain).
    """

    parts: tuple[Part, ...]
    bounds: tuple[Bound, ...]
    exact: bool

    def units(self, slots: Slots, level: Level, scarcity: int = Scarcity.HIGH) -> Ints:
        """Return how many whole units each domain of a level holds, shape ``(domains,)``.

        Further out than S1 only S1s up to a scarcity are counted.
        """
        tables = slots.tables(level, scarcity)
        if not self.bounds:
            return np.zeros(tables.shape[2], np.int32)
        first, *others = self.bounds
        most = _met(first, tables, slots.at)
        for bound in others:
            most = np.minimum(most, _met(bound, tables, slots.at))
        # What one term counts as it is is the table's own.
        return most if others else most.copy()

    def units_at(
        self, slots: Slots, level: Level, domain: int, scarcity: int = Scarcity.HIGH
    ) -> int:
        """Return what ``units`` has for one domain."""
        column = slots.tables(level, scarcity)[:, :, domain].tolist()
        return min([_met_at(bound, column, slots.at) for bound in self.bounds], default=0)


_ROUNDING: Final = 1e-9


def _met(bound: Bound, tables: Ints, at: Mapping[Size, int]) -> Ints:
    """Return how many units the terms of a bound are enough for in each domain."""
    (kind, size, _), weight = bound.terms[0]
    total: Ints = tables[at[size], kind]
    if weight != 1:
        total = np.multiply(total, weight)
    for (kind, size, _), weight in bound.terms[1:]:
        found = tables[at[size], kind]
        total = np.add(total, found if weight == 1 else np.multiply(found, weight))
    if total.dtype != np.int32:
        total = np.floor(np.add(total, _ROUNDING)).astype(np.int32)
    met: Ints = total if bound.each == 1 else np.floor_divide(total, bound.each)
    return met


def _met_at(bound: Bound, column: Sequence[Sequence[int]], at: Mapping[Size, int]) -> int:
    """Return what ``_met`` has for the domain of a column, ``(Z, K)``."""
    total = sum([column[at[size]][kind] * weight for (kind, size, _), weight in bound.terms])
    return int((total + _ROUNDING) // bound.each)


@lru_cache(maxsize=4096)
def counting_of(parts: tuple[Part, ...]) -> Counting:
    """Return how units of these parts are counted; parts without pods don't count."""
    wanted = tuple(part for part in parts if part.pods)
    if not all(part.options for part in wanted):
        # No node has what a part may use.
        return Counting(wanted, (), exact=True)
    bounds = [Bound(_offered(part), part.pods) for part in wanted]
    for one, other in combinations(wanted, 2):
        bounds += _left(one, other)
    return Counting(wanted, tuple(bounds), _is_exact(wanted))


def _offered(part: Part) -> tuple[tuple[Option, float], ...]:
    """Return what a part may use, in pods of its first choice."""
    # Whole weights are plain integers, so that integers are added wherever they can be.
    return tuple(
        (option, 1 if option.throughput == 1 else option.throughput) for option in part.options
    )


def _left(one: Part, other: Part) -> list[Bound]:
    """Return what two parts that compete for types leave each other, as bounds on their units.

    The larger pods go first to types that the smaller can't use, then to those where one costs
    the fewest small slots: that cost is convex, so each of its pieces is a bound.
    """
    common = {option.type for option in one.options} & {option.type for option in other.options}
    if not common:
        return []
    large, small = sorted((one, other), key=lambda part: -_largest(part, common))
    sizes = {option.type: option.size for option in small.options}
    apart = [option for option in large.options if option.type not in common]
    shared = [
        (option, _price(option.size, sizes[option.type]))
        for option in large.options
        if option.type in common
    ]
    shared.sort(key=lambda pair: pair[1])
    bounds = []
    for _, cost in shared:
        saved = [(option, cost) for option in apart]
        saved += [(option, cost - less) for option, less in shared if less < cost]
        terms = (*_offered(small), *saved)
        bounds.append(Bound(terms, small.pods + cost * large.pods))
    return bounds


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
