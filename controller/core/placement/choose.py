"""Which domains and nodes one request gets (HeteroScale §7; placement: Choosing)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.fleet import Flags, Ints, Level, Scarcity, Topology
from controller.core.placement.slots import (
    ONE,
    Counting,
    Option,
    Part,
    Size,
    Slots,
    counting_of,
)
from controller.core.types import Floats

_SCARCE: Final = 1e9
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


@dataclass(slots=True)
class Choosing:
    """What is free in a cycle, and how contended each type is (asked over free GPUs)."""

    slots: Slots
    pressure: Floats
    _cost: dict[Size, list[int]] = field(default_factory=dict)
    _countings: dict[tuple[Part, ...], Counting] = field(default_factory=dict)

    def copy(self) -> "Choosing":
        """Return a copy to try something on."""
        return Choosing(self.slots.copy(), self.pressure, self._cost, self._countings)

    def place(self, ask: Ask) -> list[Share]:
        """Place as many units as there is room for, nearest and least scarce first."""
        shares: list[Share] = []
        left = ask.units
        for levels in _blocks(ask):
            for scarcity in self.slots.topology.ranks:
                for level in levels:
                    while left:
                        share = self._one(ask, level, scarcity, left)
                        if share is None:
                            break
                        shares.append(share)
                        left -= share.units
                        if ask.caps:
                            ask = less(ask, share, self.slots.topology)
                    if not left:
                        return shares
        return shares

    def room(self, ask: Ask, level: Level, scarcity: int = Scarcity.HIGH) -> Ints:
        """Return how many units each domain of a level may take, of S1s up to a scarcity."""
        topology = self.slots.topology
        counting = self.counting(ask)
        if scarcity >= topology.ranks[-1]:
            counted = counting.units(self.slots, level)
        elif level is Level.S1:
            counted = counting.units(self.slots, level) * (topology.scarcity <= scarcity)
        else:
            spared = self.slots.only(topology.scarcity <= scarcity)
            counted = counting.units(spared, level)
        return self.allowed(ask, level, counted)

    def counting(self, ask: Ask) -> Counting:
        """Return how units of an ask are counted."""
        known = self._countings.get(ask.parts)
        if known is None:
            known = self._countings[ask.parts] = counting_of(ask.parts)
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
            counted = np.where(mask, counted, 0)
        return counted

    def _one(self, ask: Ask, level: Level, scarcity: int, left: int) -> Share | None:
        """Place units in the best domain of a level: all that are left where one holds them."""
        room = self.room(ask, level, scarcity)
        most = int(room.max(initial=0))
        while most > 0:
            wanted = min(most, left)
            domain = self._best(ask, level, room, wanted)
            share = self._fill(ask, level, domain, scarcity, wanted)
            if share is not None:
                return share
            # The count was a bound: this domain holds fewer.
            room[domain] = wanted - 1
            most = int(room.max())
        return None

    def _best(self, ask: Ask, level: Level, room: Ints, wanted: int) -> int:
        topology = self.slots.topology
        key: Floats = self.pressure @ self.slots.table(ONE, level)
        if level is Level.S1:
            key += _SCARCE * topology.scarcity
        for home in ask.homes:
            if level in home.at:
                key[home.at[level]] -= _HOME
        return int(np.where(room >= wanted, key, np.inf).argmin())

    def _fill(
        self, ask: Ask, level: Level, domain: int, scarcity: int, wanted: int
    ) -> Share | None:
        """Take nodes for units in a domain; ``None``, with nothing taken, if they don't fit."""
        places = self._places(level, domain, scarcity)
        for parts in _orders(ask, self.pressure):
            pods: list[Pod] = []
            if all(self._spread(part, part.pods * wanted, places, pods) for part in parts):
                group = _joined(ask, self.slots, level, domain)
                return Share(level, domain, group, wanted, tuple(pods))
            self._give_back(pods)
        return None

    def _places(self, level: Level, domain: int, scarcity: int) -> list[int]:
        """Return the S1s of a domain that may be used, the least scarce first."""
        if level is Level.S1:
            return [domain]
        topology = self.slots.topology
        nodes = topology.members(level, domain)
        of = topology.of[Level.S1]
        inside = range(int(of[nodes.start]), int(of[nodes.stop - 1]) + 1)
        ranks = topology.scarcity[inside.start : inside.stop].tolist()
        found = [s1 for s1, rank in zip(inside, ranks, strict=True) if rank <= scarcity]
        return sorted(found, key=lambda s1: ranks[s1 - inside.start])

    def _spread(self, part: Part, wanted: int, places: Sequence[int], pods: list[Pod]) -> bool:
        """Add pods of a part to ``pods`` until they do the work of ``wanted``; whether they do."""
        left = float(wanted)
        for option in part.options:
            for s1 in self._fullest_first(option, places):
                left = self._take_in(part.role, option, s1, left, pods)
                if left <= _NOTHING:
                    return True
        return left <= _NOTHING

    def _fullest_first(self, option: Option, places: Sequence[int]) -> Sequence[int]:
        """Return the S1s with room for an option, those with most of it first."""
        if len(places) == 1:
            return places
        room = self.slots.of(option, Level.S1)
        ranks = self.slots.topology.scarcity
        known = [(int(ranks[s1]), -int(room[s1]), s1) for s1 in places if room[s1] > 0]
        return [s1 for _, _, s1 in sorted(known)]

    def _take_in(self, role: str, option: Option, s1: int, left: float, pods: list[Pod]) -> float:
        """Take nodes of one type in one S1; returns what is left to be done."""
        begin, end = self.slots.topology.span(option.type, s1)
        gpus, many = option.size
        free = self.slots.free[begin:end].tolist()
        if many > 1:
            return self._take_whole(role, option, begin, free, left, pods)
        cost = self._costs(option.size)
        fitting = [(cost[have], at) for at, have in enumerate(free) if have >= gpus]
        fitting.sort()
        changes: list[tuple[int, int, int]] = []
        for _, at in fitting:
            have = free[at]
            count = min(have // gpus, _ceiling(left / option.throughput))
            changes.append((begin + at, have, have - count * gpus))
            pods += [Pod(role, ((begin + at, gpus),))] * count
            left -= count * option.throughput
            if left <= _NOTHING:
                break
        self.slots.take_run(option.type, s1, changes)
        return left

    def _take_whole(  # noqa: PLR0913, PLR0917 - of whom, what and where
        self,
        role: str,
        option: Option,
        begin: int,
        free: Sequence[int],
        left: float,
        pods: list[Pod],
    ) -> float:
        gpus, many = option.size
        own = self.slots.gpus
        whole = [
            begin + at
            for at, have in enumerate(free)
            if have >= gpus and have == int(own[begin + at])
        ]
        for first in range(0, len(whole) - many + 1, many):
            if left <= _NOTHING:
                break
            nodes = tuple((node, int(own[node])) for node in whole[first : first + many])
            for node, all_of_it in nodes:
                self.slots.take(node, all_of_it)
            pods.append(Pod(role, nodes))
            left -= option.throughput
        return left

    def _costs(self, size: Size) -> list[int]:
        """Return by free GPUs what a pod there would break: slots of larger sizes, then room."""
        known = self._cost.get(size)
        if known is None:
            larger = [one.gpus for one in self.slots.sizes if one.gpus > size.gpus]
            most = int(self.slots.gpus.max(initial=0)) + 1
            known = [
                sum(free // one - (free - size.gpus) // one for one in larger) * most + free
                for free in range(most)
            ]
            self._cost[size] = known
        return known

    def _give_back(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            for node, gpus in pod.nodes:
                self.slots.take(node, -gpus)

    def undo(self, shares: Sequence[Share]) -> None:
        """Give back all that the shares took."""
        for share in shares:
            self._give_back(share.pods)


_NOTHING: Final = 1e-9


def _ceiling(value: float) -> int:
    return -int(-(value - _NOTHING) // 1)


def _blocks(ask: Ask) -> list[list[Level]]:
    """Return the levels to try together: those that meet the preference, then the others."""
    allowed = [level for level in Level if level <= ask.require]
    if ask.prefer is None or ask.prefer >= ask.require:
        return [allowed]
    near = [level for level in allowed if level <= ask.prefer]
    return [near, allowed[len(near) :]]


def _orders(ask: Ask, pressure: Floats) -> list[list[Part]]:
    """Return the orders in which parts take their nodes: the first that works is used.

    First those with the least choice. Where that fails, the larger pods first and away from what
    the others can use, which is how the rooms were counted.
    """
    parts = [part for part in ask.parts if part.pods]
    if not ask.ranked:
        parts = [_by_pressure(part, parts, pressure) for part in parts]
    if len(parts) == 1:
        return [parts]
    choice = sorted(parts, key=lambda part: (len(part.options), -_largest(part)))
    size = sorted(parts, key=lambda part: (-_largest(part), len(part.options)))
    apart = [_by_pressure(part, parts, pressure) for part in size]
    return [choice, apart]


def _largest(part: Part) -> int:
    return max(option.size.gpus * option.size.nodes for option in part.options)


def _by_pressure(part: Part, parts: Sequence[Part], pressure: Floats) -> Part:
    """Order a part's hardware: what no other part can use first, then what is least contended."""
    if len(part.options) == 1:
        return part
    others = {
        option.type for other in parts if other.role != part.role for option in other.options
    }
    ordered = sorted(
        part.options,
        key=lambda option: (option.type in others, float(pressure[option.type]), option.type),
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


def _outward(topology: Topology, level: Level, outer: Level) -> Ints:
    """Return for each domain of a level the one further out that it lies in."""
    where: Ints = np.arange(len(topology.domains[level]), dtype=np.int32)
    for inner in range(level, outer):
        where = topology.up[Level(inner)][where]
    # Where the other level is not further out no domain is looked up.
    return where if level <= outer else np.zeros(len(where), np.int32)


def is_within(topology: Topology, level: Level, within: tuple[Level, int]) -> Flags:
    """Return which domains of a level are inside one of the same level or further out."""
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
