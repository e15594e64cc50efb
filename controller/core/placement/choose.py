"""Which domains and nodes one request gets (HeteroScale §7; placement: Choosing)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import product
from math import ceil
from typing import Final

import numpy as np

from controller.core.fleet import Flags, Ints, Level, Scarcity, Topology
from controller.core.placement.slots import (
    Counting,
    Kept,
    Option,
    Part,
    Size,
    Slots,
    counting_of,
)
from controller.core.types import Floats

_SCARCE: Final = 1e9
_OTHER: Final = 1e12
"""Hardware that is not the first choice costs far more than what is scarce."""

_HOME: Final = 1e-6
"""Less than any difference in left-over GPUs that counts."""


@dataclass(frozen=True, slots=True)
class Home:
    """A group that is there: its name, and its domain at each level where it has but one."""

    group: str
    at: Mapping[Level, int]


@dataclass(frozen=True, slots=True)
class Ask:
    """What one service wants more of: ``units`` times all ``parts``, whole units only.

    Every group lies in one domain of ``require``; one of ``prefer`` is better. ``within`` is the
    domain all of it must be in. With ``joining`` only groups that are there may take more: a role
    alone serves nobody. ``ranked`` is whether the order of a part's hardware is a preference.
    ``caps`` are the most units each domain of a level may take, of shape ``(domains,)``.
    """

    service: str
    parts: tuple[Part, ...]
    units: int
    require: Level = Level.CLUSTER
    prefer: Level | None = None
    within: tuple[Level, int] | None = None
    homes: tuple[Home, ...] = ()
    joining: bool = False
    ranked: bool = True
    caps: tuple[tuple[Level, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Pod:
    """One instance: its role and the GPUs it takes of each node."""

    role: str
    nodes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Units that share a domain; ``group`` is the one they join, ``None`` for a new one."""

    level: Level
    domain: int
    group: str | None
    units: int
    pods: tuple[Pod, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a unit is counted, and the orders in which its parts take their nodes.

    ``first`` counts units on first choices of hardware alone, where there are others.
    """

    counting: Counting
    orders: tuple[tuple[Part, ...], ...]
    first: Counting | None = None


class Choosing:
    """What is free in a cycle, and how contended each type is (asked over free GPUs)."""

    def __init__(self, slots: Slots, pressure: Floats) -> None:
        self.slots = slots
        self.pressure = pressure
        self._weights: list[float] = pressure.tolist()
        self._spared: dict[int, Ints] = {}
        self._costs: dict[Size, list[int]] = {}
        self._plans: dict[tuple[tuple[Part, ...], bool], _Plan] = {}
        self._units: Kept[Ints] = Kept(slots)
        self._pressed: Kept[Floats] = Kept(slots)

    def copy(self) -> "Choosing":
        """Return a copy to try something on."""
        other = Choosing(self.slots.copy(), self.pressure)
        other._costs, other._plans, other._spared = self._costs, self._plans, self._spared
        return other

    def place(self, ask: Ask) -> list[Share]:
        """Place as many units as there is room for, nearest and least scarce first.

        Where what was taken near leaves too little for the others, less is taken near, and in the
        end what is scarce is no longer spared: how many are placed comes before where.
        """
        ranks = self.slots.topology.ranks
        shares = self._nearest_first(ask, ask.units, ranks)
        placed = _units(shares)
        if placed == ask.units or not placed:
            return shares
        self.undo(shares)
        most = self._most(ask)
        for near, spared in (*((near, ranks) for near in _fewer(placed)), (0, ranks[-1:])):
            if placed >= most:
                break
            tried = self._nearest_first(ask, near, spared)
            self.undo(tried)
            if _units(tried) > placed:
                shares, placed = tried, _units(tried)
        self.redo(shares)
        return shares

    def _most(self, ask: Ask) -> int:
        """Return what no choice of domains exceeds: the units counted where they may be at all."""
        level = min([ask.require, *(outer for outer, _ in ask.caps)])
        room = self._room(ask, self._plan(ask), level, Scarcity.HIGH)
        return min(ask.units, int(room.sum()))

    def _nearest_first(self, ask: Ask, near: int, ranks: Sequence[int]) -> list[Share]:
        """Place units nearest and least scarce first, ``near`` at most nearer than required."""
        shares: list[Share] = []
        plan = self._plan(ask)
        left = ask.units
        for levels in _blocks(ask.require, ask.prefer):
            for scarcity, level in product(ranks, levels):
                while most := left if level == ask.require else min(left, near):
                    share = self._one(ask, plan, (level, scarcity), most)
                    if share is None:
                        break
                    shares.append(share)
                    left -= share.units
                    near = max(0, near - share.units)
                    if ask.caps:
                        ask = less(ask, share, self.slots.topology)
                if not left:
                    return shares
                if level == levels[0] and not self._counted(plan, levels[-1]).any():
                    # What is not in the widest domains is in none inside them.
                    break
        return shares

    def room(self, ask: Ask, level: Level, scarcity: int = Scarcity.HIGH) -> Ints:
        """Return how many units each domain of a level may take, of S1s up to a scarcity."""
        return self._room(ask, self._plan(ask), level, scarcity).copy()

    def counting(self, ask: Ask) -> Counting:
        """Return how units of an ask are counted."""
        return self._plan(ask).counting

    def _plan(self, ask: Ask) -> _Plan:
        key = ask.parts, ask.ranked
        known = self._plans.get(key)
        if known is None:
            known = _Plan(counting_of(ask.parts), _orders(ask, self._weights), self._first(ask))
            self._plans[key] = known
        return known

    def _first(self, ask: Ask) -> Counting | None:
        """Return how units on first choices of hardware are counted, if there are others."""
        if not ask.ranked:
            return None
        name = self.slots.topology.hardware_name
        first = []
        for part in ask.parts:
            own = [one for one in part.options if name(one.type) == name(part.options[0].type)]
            first.append(replace(part, options=tuple(own)))
        return None if tuple(first) == ask.parts else counting_of(tuple(first))

    def _counted(self, plan: _Plan, level: Level, scarcity: int = Scarcity.HIGH) -> Ints:
        """Return the units in each domain, further out than S1 only in S1s up to a scarcity."""
        return self._row(plan.counting, level, scarcity)

    def _row(self, counting: Counting, level: Level, scarcity: int) -> Ints:
        slots = self.slots
        return self._units.row(
            (counting, scarcity),
            level,
            whole=lambda: counting.units(slots, level, scarcity),
            one=lambda domain: counting.units_at(slots, level, domain, scarcity),
        )

    def _room(self, ask: Ask, plan: _Plan, level: Level, scarcity: int) -> Ints:
        topology = self.slots.topology
        if level == Level.S1:
            counted = self._counted(plan, level)
            if topology.ranks and scarcity < topology.ranks[-1]:
                counted = counted * self._up_to(scarcity)
        else:
            counted = self._counted(plan, level, scarcity)
        if ask.caps or ask.within is not None or ask.joining:
            return self.allowed(ask, level, counted)
        return counted

    def _up_to(self, scarcity: int) -> Ints:
        """Return 1 for S1s up to a scarcity, 0 for the others, in the type of the counts."""
        known = self._spared.get(scarcity)
        if known is None:
            known = (self.slots.topology.scarcity <= scarcity).astype(np.int32)
            self._spared[scarcity] = known
        return known

    def allowed(self, ask: Ask, level: Level, counted: Ints) -> Ints:
        """Return of the units counted in each domain of a level those that may go there."""
        topology = self.slots.topology
        for outer, most in ask.caps:
            # A share that reaches beyond a failure domain is in none of them.
            inside = _outward(topology, level, outer)
            counted = np.minimum(counted, np.array(most, np.int32)[inside]) * (level <= outer)
        if ask.within is not None:
            counted = counted * is_within(topology, level, ask.within)
        if ask.joining:
            homes = [home.at[level] for home in ask.homes if level in home.at]
            mask = np.zeros(len(counted), np.bool_)
            mask[homes] = True
            counted = counted * mask
        return counted

    def _one(self, ask: Ask, plan: _Plan, where: tuple[Level, int], left: int) -> Share | None:
        """Place units in the best domain of a level: all that are left where one holds them."""
        level, scarcity = where
        room = self._room(ask, plan, level, scarcity)
        while (most := int(room[room.argmax()])) > 0:
            wanted = min(most, left)
            domain = self._best(ask, where, room, wanted)
            pods = self._fill(plan, level, domain, scarcity, wanted)
            if pods is not None:
                group = _joined(ask, self.slots, level, domain) if ask.homes else None
                return Share(level, domain, group, wanted, tuple(pods))
            # The count was a bound: this domain holds fewer.
            room = room.copy()
            room[domain] = wanted - 1
        return None

    def _best(self, ask: Ask, where: tuple[Level, int], room: Ints, wanted: int) -> int:
        """Return the domain that will do: on the hardware preferred, then the tightest (§7)."""
        level, scarcity = where
        key = np.where(room >= wanted, self.left_over(level), np.inf)
        first = self._plan(ask).first
        if first is not None:
            key += _OTHER * (self._row(first, level, scarcity) < wanted)
        for home in ask.homes:
            if level in home.at:
                key[home.at[level]] -= _HOME
        return int(key.argmin())

    def left_over(self, level: Level) -> Floats:
        """Return what is free in each domain, weighted by pressure; scarce S1s cost far more.

        The row is in use: don't change it.
        """
        return self._pressed.row(
            None,
            level,
            whole=lambda: self._all_pressed(level),
            one=lambda domain: self._one_pressed(level, domain),
        )

    def _all_pressed(self, level: Level) -> Floats:
        free = self.slots.tables(level)[_ONE]
        key = np.zeros(free.shape[1])
        for kind, weight in enumerate(self._weights):
            key += free[kind] * weight
        if level == Level.S1:
            key += _SCARCE * self.slots.topology.scarcity
        return key

    def _one_pressed(self, level: Level, domain: int) -> float:
        # In the same order, so that the same numbers come out to the last digit.
        key = 0.0
        free = self.slots.tables(level)[_ONE, :, domain].tolist()
        for have, weight in zip(free, self._weights, strict=True):
            key += have * weight
        if level == Level.S1:
            key += _SCARCE * int(self.slots.topology.scarcity[domain])
        return key

    def _fill(
        self, plan: _Plan, level: Level, domain: int, scarcity: int, wanted: int
    ) -> list[Pod] | None:
        """Take nodes for units in a domain; ``None``, with nothing taken, if they don't fit."""
        for parts in plan.orders:
            pods: list[Pod] = []
            for part in parts:
                if not self._spread(part, part.pods * wanted, (level, domain, scarcity), pods):
                    break
            else:
                return pods
            self._give_back(pods)
        return None

    def _spread(
        self, part: Part, wanted: int, where: tuple[Level, int, int], pods: list[Pod]
    ) -> bool:
        """Add pods of a part to ``pods`` until they do the work of ``wanted``; whether they do."""
        left = float(wanted)
        for option in part.options:
            for s1 in self._fullest_first(option, *where):
                left = self._take_in(part.role, option, s1, left, pods)
                if left <= _NOTHING:
                    return True
        return False

    def _fullest_first(
        self, option: Option, level: Level, domain: int, scarcity: int
    ) -> Sequence[int]:
        """Return the S1s of a domain with room for an option: least scarce, then fullest."""
        if level == Level.S1:
            return (domain,)
        topology = self.slots.topology
        nodes = topology.members(level, domain)
        of = topology.of[Level.S1]
        begin, end = int(of[nodes.start]), int(of[nodes.stop - 1]) + 1
        room = self.slots.of(option, Level.S1)[begin:end]
        ranks = topology.scarcity[begin:end]
        found = np.flatnonzero((room > 0) & (ranks <= scarcity))
        order = np.lexsort((-room[found], ranks[found]))
        places: list[int] = (found[order] + begin).tolist()
        return places

    def _take_in(self, role: str, option: Option, s1: int, left: float, pods: list[Pod]) -> float:
        """Take nodes of one type in one S1; returns what is left to be done."""
        kind, (gpus, many), throughput = option
        begin, end = self.slots.topology.span(kind, s1)
        free = self.slots.free[begin:end].tolist()
        if many > 1:
            return self._take_whole(role, option, (s1, begin), free, left, pods)
        cost = self._cost(option.size)
        fitting = [cost[have] + at for at, have in enumerate(free) if have >= gpus]
        fitting.sort()
        wanted = missing = ceil(left / throughput - _NOTHING)
        changes: list[tuple[int, int, int]] = []
        for key in fitting:
            at = key % _WIDE
            have = free[at]
            count = min(have // gpus, missing)
            changes.append((begin + at, have, have - count * gpus))
            pods += [Pod(role, ((begin + at, gpus),))] * count
            missing -= count
            if not missing:
                break
        self.slots.take_run(kind, s1, changes)
        return left - (wanted - missing) * throughput

    def _take_whole(  # noqa: PLR0913, PLR0917 - of whom, what and where
        self,
        role: str,
        option: Option,
        where: tuple[int, int],
        free: Sequence[int],
        left: float,
        pods: list[Pod],
    ) -> float:
        gpus, many = option.size
        s1, begin = where
        own = self.slots.gpus[begin : begin + len(free)].tolist()
        whole = [
            (begin + at, have)
            for at, (have, all_of_it) in enumerate(zip(free, own, strict=True))
            if have >= gpus and have == all_of_it
        ]
        changes: list[tuple[int, int, int]] = []
        for first in range(0, len(whole) - many + 1, many):
            if left <= _NOTHING:
                break
            nodes = tuple(whole[first : first + many])
            changes += [(node, all_of_it, 0) for node, all_of_it in nodes]
            pods.append(Pod(role, nodes))
            left -= option.throughput
        self.slots.take_run(option.type, s1, changes)
        return left

    def _cost(self, size: Size) -> list[int]:
        """Return by free GPUs what a pod there would break: slots of larger sizes, then room.

        Multiples of ``_WIDE``, so that a node's place can be added.
        """
        known = self._costs.get(size)
        if known is None:
            larger = [one.gpus for one in self.slots.sizes if one.gpus > size.gpus]
            most = int(self.slots.gpus.max(initial=0)) + 1
            known = [
                _WIDE
                * (sum(free // one - (free - size.gpus) // one for one in larger) * most + free)
                for free in range(most)
            ]
            self._costs[size] = known
        return known

    def _give_back(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            for node, gpus in pod.nodes:
                self.slots.take(node, -gpus)

    def redo(self, shares: Sequence[Share]) -> None:
        """Take all that the shares took on a copy of what is free."""
        slots = self.slots
        for share in shares:
            taken: dict[tuple[int, int], dict[int, int]] = {}
            for pod in share.pods:
                for node, gpus in pod.nodes:
                    here = taken.setdefault(slots.topology.places[node][:2], {})
                    here[node] = here.get(node, 0) + gpus
            for (kind, s1), nodes in taken.items():
                free = [(node, int(slots.free[node]), gpus) for node, gpus in nodes.items()]
                slots.take_run(kind, s1, [(node, had, had - gpus) for node, had, gpus in free])

    def undo(self, shares: Sequence[Share]) -> None:
        """Give back all that the shares took."""
        for share in shares:
            self._give_back(share.pods)


_NOTHING: Final = 1e-9
_ONE: Final = 0
"""Where the smallest of all sizes is counted."""
_WIDE: Final = 1 << 24
"""More than the nodes of one type in an S1."""


def _units(shares: Sequence[Share]) -> int:
    return sum([share.units for share in shares])


def _fewer(placed: int) -> list[int]:
    """Return counts from a little below ``placed`` down to none, each step twice the last."""
    return [max(0, placed - (1 << step)) for step in range(placed.bit_length() + 1)]


@cache
def _blocks(require: Level, prefer: Level | None) -> tuple[tuple[Level, ...], ...]:
    """Return the levels to try together: those that meet the preference, then the others."""
    allowed = tuple(level for level in Level if level <= require)
    if prefer is None or prefer >= require:
        return (allowed,)
    near = tuple(level for level in allowed if level <= prefer)
    return near, allowed[len(near) :]


def _orders(ask: Ask, pressure: Sequence[float]) -> tuple[tuple[Part, ...], ...]:
    """Return the orders in which parts take their nodes: the first that works is used.

    First those with the least choice. Where that fails, the larger pods first and away from what
    the others can use, which is how the rooms were counted.
    """
    parts = [part for part in ask.parts if part.pods]
    if not ask.ranked:
        parts = [_by_pressure(part, parts, pressure) for part in parts]
    if len(parts) == 1:
        return (tuple(parts),)
    choice = sorted(parts, key=lambda part: (len(part.options), -_largest(part)))
    size = sorted(parts, key=lambda part: (-_largest(part), len(part.options)))
    apart = tuple(_by_pressure(part, parts, pressure) for part in size)
    return tuple(choice), apart


def _largest(part: Part) -> int:
    return max([option.size.gpus * option.size.nodes for option in part.options], default=0)


def _by_pressure(part: Part, parts: Sequence[Part], pressure: Sequence[float]) -> Part:
    """Order a part's hardware: what no other part can use first, then what is least contended."""
    if len(part.options) == 1:
        return part
    others = {
        option.type for other in parts if other.role != part.role for option in other.options
    }
    ordered = sorted(
        part.options,
        key=lambda option: (option.type in others, pressure[option.type], option.type),
    )
    return replace(part, options=tuple(ordered))


def less(ask: Ask, share: Share, topology: Topology) -> Ask:
    """Return the ask with what a share took counted against the caps of its domains."""
    left = []
    for outer, most in ask.caps:
        domain = int(_outward(topology, share.level, outer)[share.domain])
        taken = (most[domain] - share.units,)
        left.append((outer, most[:domain] + taken + most[domain + 1 :]))
    return replace(ask, caps=tuple(left))


@lru_cache(maxsize=64)
def _outward(topology: Topology, level: Level, outer: Level) -> Ints:
    """Return for each domain of a level the one further out that it lies in; in use."""
    where: Ints = np.arange(len(topology.domains[level]), dtype=np.int32)
    for inner in range(level, outer):
        where = topology.up[Level(inner)][where]
    # Where the other level is not further out no domain is looked up.
    return where if level <= outer else np.zeros(len(where), np.int32)


@lru_cache(maxsize=1024)
def is_within(topology: Topology, level: Level, within: tuple[Level, int]) -> Flags:
    """Return which domains of a level are inside one of the same level or further out; in use."""
    outer, domain = within
    where = _outward(topology, level, outer)
    inside: Flags = where == domain
    return inside if level <= outer else np.zeros(len(where), np.bool_)


def _joined(ask: Ask, slots: Slots, level: Level, domain: int) -> str | None:
    """Return the group whose domain this is, at the level that makes a group."""
    scope = ask.require if ask.prefer is None else max(level, ask.prefer)
    at = domain
    for inner in range(level, scope):
        at = int(slots.topology.up[Level(inner)][at])
    return next((home.group for home in ask.homes if home.at.get(scope) == at), None)
