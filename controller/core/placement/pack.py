"""Which groups lie where, in counts: how many slots each type under each S1 still has.

Where sizes divide each other, the pods of one type under one S1, a *cell*, fit exactly when, for
every size, those of that size and above need no more slots of it than there are (placement: Does
a group fit a domain). So a cell is a few numbers, and trying thousands of ways is cheap.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from controller.core.fleet import Level, Topology
from controller.core.placement.choose import Ask, is_within
from controller.core.placement.slots import ONE, Part, Size, Slots

# What comes first outweighs all that can be had of what comes after it in any fleet.
_GROUP: Final = 10**18
_NEAR: Final = 10**6
_SPARED: Final = (0, 1, 10**12)
"""For each GPU, by scarcity."""

# While the search goes on, what comes first may be given up for a while.
_SOFT_COST: Final = 0.1
_SOFT_NEAR: Final = 0.1
_SOFT_SPARED: Final = (0.0, 0.1, 0.4)
"""For a group that has all its GPUs there, by scarcity."""

Choice = tuple[tuple[int, ...], ...]
"""For each role, cells that its pods may lie in."""


class Taken(NamedTuple):
    """Pods of one part of an ask in one cell."""

    part: int
    cell: int
    size: int
    pods: int


class Group(NamedTuple):
    """One group of an ask, by number: what it takes, the S1s it touches, and what it is worth.

    ``rank`` compares plans: most groups, then the fewest GPUs of high scarcity under services
    that have no use for one S1, then most groups under one S1 where that is wished for, then the
    fewest GPUs of medium scarcity. ``worth`` is the same loosely, and a cheap group is worth more.
    """

    ask: int
    taken: tuple[Taken, ...]
    s1s: frozenset[int]
    rank: int
    worth: float


class Role(NamedTuple):
    """A part with pods: its number in the ask, pods a group, size by number, and types."""

    part: int
    pods: int
    size: int
    types: tuple[int, ...]


class Cells:
    """Slots of each size that are left, by cell; a cell is a type under an S1 with free GPUs."""

    def __init__(self, slots: Slots, sizes: Sequence[Size]) -> None:
        self.gpus = [size.gpus for size in sizes]
        tables = [slots.table(size, Level.S1).tolist() for size in sizes]
        kinds, s1s = slots.table(ONE, Level.S1).shape
        places = [
            (kind, s1) for kind in range(kinds) for s1 in range(s1s) if tables[0][kind][s1] > 0
        ]
        self.at = {place: cell for cell, place in enumerate(places)}
        self.type = [kind for kind, _ in places]
        self.s1 = [s1 for _, s1 in places]
        self.scarcity = [int(slots.topology.scarcity[s1]) for s1 in self.s1]
        self._left = [[table[kind][s1] for table in tables] for kind, s1 in places]
        self.ratio = [1, *(large // small for small, large in pairwise(self.gpus))]
        # Of each size by number: what one pod costs of each, and the ratio to the one before.
        self._steps = [
            [
                (at, gpus // other if other <= gpus else 0, self.ratio[at])
                for at, other in enumerate(self.gpus)
            ]
            for gpus in self.gpus
        ]
        self.fits = [list(left) for left in self._left]

    def take(self, cell: int, size: int, pods: int) -> None:
        """Take room for pods, or give it back where their number is negative."""
        left, fits = self._left[cell], self.fits[cell]
        most = left[0] + abs(pods * self.gpus[size])
        for at, cost, ratio in self._steps[size]:
            room = left[at] = left[at] - cost * pods
            most //= ratio
            # Not min(): a third of the time of a search is spent here.
            most = room if room < most else most  # noqa: FURB136
            fits[at] = most


class Packing:
    """Groups in cells. ``looked`` counts the cells that were looked at: the measure of work.

    ``prices`` are what a GPU of each cell is thought to be worth; ``by_type`` is whether pods far
    apart heed them before the shape of what is left; ``dear`` is what a group of each ask costs.
    """

    def __init__(self, slots: Slots, asks: Sequence[Ask], pressure: Sequence[float]) -> None:
        self.sizes = sizes = sorted({ONE, *_sizes(asks)})
        self.cells = Cells(slots, sizes)
        self.topology = slots.topology
        self.prices = [pressure[kind] for kind in self.cells.type]
        self.by_type = False
        self._none = [0] * len(self.cells.type)
        self.left = [ask.units for ask in asks]
        self.roles = [_roles(ask, sizes) for ask in asks]
        self.wishes = [Level.S1 in {ask.require, ask.prefer} for ask in asks]
        self._level = [ask.require for ask in asks]
        self._outward = {level: _outward(slots.topology, level) for level in Level}
        self._near = [
            self._choices(at, ask, Level.S1) if self.wishes[at] else {}
            for at, ask in enumerate(asks)
        ]
        self._far = [
            self._choices(at, ask, ask.require) if ask.require > Level.S1 else {}
            for at, ask in enumerate(asks)
        ]
        self._gpus = [
            sum(role.pods * self.cells.gpus[role.size] for role in roles) for roles in self.roles
        ]
        costs = [self.cost(at, pressure) for at in range(len(asks))]
        mean = sum(costs) / max(len(costs), 1) or 1.0
        self.dear = [_SOFT_COST * cost / mean for cost in costs]
        self.most = sum(
            units * (_GROUP + _NEAR * wishes)
            for units, wishes in zip(self.left, self.wishes, strict=True)
        )
        self.groups: list[Group] = []
        self.rank, self.worth, self.looked = 0, 0.0, 0

    def cost(self, ask: int, prices: Sequence[float]) -> float:
        """Return what the GPUs of one group cost at least, at a price for each type."""
        return sum(
            role.pods * self.cells.gpus[role.size] * min(prices[kind] for kind in role.types)
            for role in self.roles[ask]
        )

    def place_near(self, ask: int, s1s: Iterable[int], most: int) -> int:
        """Put groups of an ask under one S1 each, if it wishes that; returns how many."""
        return self._place(ask, self._near[ask], s1s, most)

    def place_far(self, ask: int, s1s: Iterable[int], most: int) -> int:
        """Put groups into the required domains around some S1s; returns how many."""
        outward = self._outward[self._level[ask]]
        domains = dict.fromkeys(outward[s1] for s1 in s1s)
        return self._place(ask, self._far[ask], domains, most)

    def empty(self, s1s: Collection[int], asks: Collection[int]) -> list[Group]:
        """Take out all groups that touch some S1s or are of some asks, and return them."""
        kept: list[Group] = []
        gone: list[Group] = []
        for group in self.groups:
            stays = group.ask not in asks and group.s1s.isdisjoint(s1s)
            (kept if stays else gone).append(group)
        for group in gone:
            self._count(group, -1)
        self.groups = kept
        return gone

    def back_to(self, groups: list[Group], gone: Iterable[Group], added: Iterable[Group]) -> None:
        """Have the groups that were, of which some are gone and to which others were added."""
        for group in added:
            self._count(group, -1)
        for group in gone:
            self._count(group, 1)
        self.groups = groups

    def _choices(self, at: int, ask: Ask, level: Level) -> dict[int, Choice]:
        """Return the cells of each role in each domain that holds a group when it is empty."""
        inside = self._inside(ask)
        outward = self._outward[level]
        found: dict[int, list[list[int]]] = {}
        for role_at, role in enumerate(self.roles[at]):
            for (kind, s1), cell in self.cells.at.items():
                if kind in role.types and s1 in inside and self.cells.fits[cell][role.size] > 0:
                    empty: list[list[int]] = [[] for _ in self.roles[at]]
                    found.setdefault(outward[s1], empty)[role_at].append(cell)
        return {
            domain: tuple(map(tuple, cells))
            for domain, cells in sorted(found.items())
            if all(
                sum(self.cells.fits[cell][role.size] for cell in mine) >= role.pods
                for role, mine in zip(self.roles[at], cells, strict=True)
            )
        }

    def _inside(self, ask: Ask) -> Collection[int]:
        if ask.within is None:
            return range(len(self.topology.domains[Level.S1]))
        inside: list[int] = is_within(self.topology, Level.S1, ask.within).nonzero()[0].tolist()
        return set(inside)

    def _place(
        self, ask: int, choices: Mapping[int, Choice], domains: Iterable[int], most: int
    ) -> int:
        placed = 0
        for domain in domains:
            choice = choices.get(domain)
            while choice and placed < most and self._put(ask, choice):
                placed += 1
        return placed

    def _put(self, ask: int, choice: Choice) -> bool:
        """Put one group into cells, or nothing; whether it fitted."""
        if not self._has_room(ask, choice):
            return False
        taken: list[Taken] = []
        fits = self.cells.fits
        for role, cells in zip(self.roles[ask], choice, strict=True):
            left = role.pods
            for cell in self._in_order(ask, role, cells):
                pods = min(left, fits[cell][role.size])
                if pods:
                    self.cells.take(cell, role.size, pods)
                    taken.append(Taken(role.part, cell, role.size, pods))
                    left -= pods
                if not left:
                    break
            if left:
                for _, cell, size, pods in taken:
                    self.cells.take(cell, size, -pods)
                return False
        self._add(ask, tuple(taken))
        return True

    def _in_order(self, ask: int, role: Role, cells: tuple[int, ...]) -> Iterable[int]:
        """Return cells with room, best first: spared, cheap, what holds nothing larger, tight."""
        if len(cells) == 1:
            return cells
        self.looked += len(cells)
        fits, prices, size = self.cells.fits, self.prices, role.size
        scarcity = self._none if self.wishes[ask] else self.cells.scarcity
        first = prices if self.by_type else self._none
        larger = min(size + 1, len(self.cells.ratio) - 1)
        ratio = self.cells.ratio[larger] if larger > size else 0
        found = [
            (
                scarcity[cell],
                first[cell],
                fits[cell][size] <= fits[cell][larger] * ratio,
                prices[cell],
                fits[cell][0],
                cell,
            )
            for cell in cells
            if fits[cell][size]
        ]
        found.sort()
        return [one[-1] for one in found]

    def _has_room(self, ask: int, choice: Choice) -> bool:
        """Return whether each role alone would fit."""
        fits = self.cells.fits
        for role, cells in zip(self.roles[ask], choice, strict=True):
            self.looked += len(cells)
            size = role.size
            if sum([fits[cell][size] for cell in cells]) < role.pods:
                return False
        return True

    def _add(self, ask: int, taken: tuple[Taken, ...]) -> None:
        s1s = frozenset([self.cells.s1[one.cell] for one in taken])
        is_near = self.wishes[ask] and len(s1s) == 1
        rank = _GROUP + _NEAR * is_near
        worth = 1.0 - self.dear[ask] + _SOFT_NEAR * is_near
        if not self.wishes[ask]:
            for _, cell, size, pods in taken:
                scarcity = self.cells.scarcity[cell]
                gpus = pods * self.cells.gpus[size]
                worth -= _SOFT_SPARED[scarcity] * gpus / self._gpus[ask]
                rank -= _SPARED[scarcity] * gpus
        group = Group(ask, taken, s1s, rank, worth)
        self.groups.append(group)
        self.left[ask] -= 1
        self.rank += rank
        self.worth += worth

    def _count(self, group: Group, sign: int) -> None:
        for _, cell, size, pods in group.taken:
            self.cells.take(cell, size, sign * pods)
        self.left[group.ask] -= sign
        self.rank += sign * group.rank
        self.worth += sign * group.worth


def can_pack(asks: Sequence[Ask]) -> bool:
    """Return whether sizes are one a part and each a multiple of the one before."""
    sizes = sorted(_sizes(asks))
    return all(
        one.nodes == 1 and larger.gpus % one.gpus == 0 for one, larger in pairwise([ONE, *sizes])
    ) and all(
        len({option.size for option in part.options}) == 1
        and all(option.size.nodes == 1 and option.throughput == 1 for option in part.options)
        for ask in asks
        for part in ask.parts
    )


def _sizes(asks: Sequence[Ask]) -> set[Size]:
    return {option.size for ask in asks for part in ask.parts for option in part.options}


def _roles(ask: Ask, sizes: Sequence[Size]) -> list[Role]:
    """Return the parts with pods: the largest first, then those with the least choice."""
    roles = [_role(at, part, sizes) for at, part in enumerate(ask.parts) if part.pods]
    return sorted(roles, key=lambda role: (-role.size, len(role.types)))


def _role(at: int, part: Part, sizes: Sequence[Size]) -> Role:
    types = tuple(option.type for option in part.options)
    return Role(at, part.pods, sizes.index(part.options[0].size), types)


def _outward(topology: Topology, level: Level) -> list[int]:
    """Return the domain of a level that each S1 lies in."""
    where = list(range(len(topology.domains[Level.S1])))
    for inner in range(level):
        up = topology.up[Level(inner)].tolist()
        where = [up[domain] for domain in where]
    return where
