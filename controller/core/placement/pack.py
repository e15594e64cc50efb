"""As many whole groups as a fleet holds: which service gets how many in which domain.

Nodes don't matter here. Where sizes divide each other, the pods of one type in one domain fit
exactly when, for every size, those of that size and above need no more slots of it than there
are; so a domain is a few numbers, and trying thousands of ways is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.choose import Ask, is_within
from controller.core.placement.slots import Part, Size, Slots

Roles = tuple[tuple[int, int, tuple[int, ...]], ...]
MOST_AT_ONCE: Final = 4
"""Domains that are emptied and filled anew together."""


@dataclass(slots=True)
class _Room:
    """One domain: slots by type and size, how many are needed, and by which part of which ask."""

    cap: dict[int, list[int]]
    use: dict[int, list[int]] = field(default_factory=dict)
    held: dict[tuple[int, int], dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.use = {kind: [0] * len(slots) for kind, slots in self.cap.items()}


class Packing:
    """How many groups of each ask every domain of a level gets, shape ``(asks, domains)``."""

    def __init__(self, slots: Slots, asks: Sequence[Ask], level: Level) -> None:
        self.level = level
        self.sizes = sorted({Size(1), *_sizes(asks)})
        self._cost = [
            [self.sizes[size].gpus // self.sizes[below].gpus for below in range(size + 1)]
            for size in range(len(self.sizes))
        ]
        self._roles: list[Roles] = [
            tuple(self._role(part) for part in ask.parts if part.pods) for ask in asks
        ]
        self.left = [ask.units for ask in asks]
        self._order = [_largest_first(roles) for roles in self._roles]
        self._gpus = np.array(
            [
                sum(pods * self.sizes[size].gpus for pods, size, _ in roles)
                for roles in self._roles
            ],
            dtype=np.float64,
        )
        self._caps = self._read(slots)
        self._rooms = [_Room(cap) for cap in self._caps]
        self.groups = np.zeros((len(asks), len(self._caps)), np.int64)
        self._may = [self._allowed(ask, slots) for ask in asks]

    def _role(self, part: Part) -> tuple[int, int, tuple[int, ...]]:
        size = self.sizes.index(part.options[0].size)
        return part.pods, size, tuple(option.type for option in part.options)

    def _read(self, slots: Slots) -> list[dict[int, list[int]]]:
        tables = [slots.table(size, self.level) for size in self.sizes]
        kinds, domains = tables[0].shape
        return [
            {
                kind: [int(table[kind, at]) for table in tables]
                for kind in range(kinds)
                if tables[0][kind, at]
            }
            for at in range(domains)
        ]

    def _allowed(self, ask: Ask, slots: Slots) -> list[bool]:
        if ask.within is None:
            return [True] * len(self._caps)
        inside: list[bool] = is_within(slots.topology, self.level, ask.within).tolist()
        return inside

    def solve(self, rng: np.random.Generator, tries: int) -> None:
        """Fill all domains, then empty a few and fill them otherwise, keeping what is no worse."""
        count = len(self._roles)
        self._fill(range(len(self._rooms)), np.argsort(self._gpus, kind="stable").tolist())
        best = int(self.groups.sum())
        for attempt in range(tries):
            if not any(self.left):
                return
            most = min(MOST_AT_ONCE, len(self._rooms))
            chosen = rng.choice(
                len(self._rooms), size=int(rng.integers(1, most + 1)), replace=False
            )
            domains = [int(at) for at in chosen]
            kept = [self._rooms[at] for at in domains], self.groups[:, domains], list(self.left)
            self._empty(domains)
            spread = float(rng.choice((0.1, 0.5, 1.5)))
            key = np.log(self._gpus) + spread * rng.random(count)
            order = rng.permutation(count) if attempt % 3 == 0 else np.argsort(key, kind="stable")
            self._fill(domains, order.tolist())
            found = int(self.groups.sum())
            if found >= best:
                best = found
                continue
            for at, room in zip(domains, kept[0], strict=True):
                self._rooms[at] = room
            self.groups[:, domains], self.left = kept[1], kept[2]

    def types_for(
        self, slots: Slots, domain: int, counts: Sequence[int]
    ) -> list[tuple[int, int, int, int]] | None:
        """Return how ``counts`` groups of each ask still fit into a domain as ``slots`` are now.

        The answer is (ask, part, type, pods); ``None`` where no way was found.
        """
        cap = {
            kind: [int(slots.table(size, self.level)[kind, domain]) for size in self.sizes]
            for kind in self._caps[domain]
        }
        wanted = [ask for ask, count in enumerate(counts) if count]
        dear = sorted(wanted, key=lambda ask: -self._gpus[ask])
        narrow = sorted(
            wanted, key=lambda ask: min(len(kinds) for _, _, kinds in self._roles[ask])
        )
        for order in (dear, narrow, dear[::-1]):
            room = _Room(cap)
            if all(self._put(room, ask) for ask in order for _ in range(counts[ask])):
                return [
                    (ask, part, kind, pods)
                    for (ask, part), held in room.held.items()
                    for kind, pods in held.items()
                    if pods
                ]
        return None

    def _empty(self, domains: Sequence[int]) -> None:
        for at in domains:
            self._rooms[at] = _Room(self._caps[at])
        for ask in range(len(self.left)):
            self.left[ask] += int(self.groups[ask, domains].sum())
        self.groups[:, domains] = 0

    def _fill(self, domains: Sequence[int], order: Sequence[int]) -> None:
        for ask in order:
            for at in domains:
                if not self._may[ask][at]:
                    continue
                while self.left[ask] and self._put(self._rooms[at], ask):
                    self.groups[ask, at] += 1
                    self.left[ask] -= 1

    def _fits(self, room: _Room, kind: int, size: int) -> int:
        """Return how many more pods of a size one type of a domain holds."""
        cap, use = room.cap.get(kind), room.use.get(kind)
        if cap is None or use is None:
            return 0
        costs = self._cost[size]
        return min([(cap[at] - use[at]) // cost for at, cost in enumerate(costs)])

    def _take(self, room: _Room, kind: int, size: int, pods: int) -> None:
        use = room.use[kind]
        for at, cost in enumerate(self._cost[size]):
            use[at] += cost * pods

    def _put(self, room: _Room, ask: int) -> bool:
        """Put one group into a domain; others move to types they may use too if that helps."""
        done: list[tuple[int, int, int, int]] = []
        for part in self._order[ask]:
            pods, size, kinds = self._roles[ask][part]
            left = self._give(room, (ask, part), pods, done)
            if left:
                for kind in kinds:
                    left = self._make_room(room, kind, size, left, ask, part, done)
                    if not left:
                        break
            if left:
                for at, kind, taken, count in done:
                    self._take(room, kind, taken, -count)
                    room.held[ask, at][kind] -= count
                return False
        return True

    def _give(
        self, room: _Room, who: tuple[int, int], pods: int, done: list[tuple[int, int, int, int]]
    ) -> int:
        _, size, kinds = self._roles[who[0]][who[1]]
        there = [kind for kind in kinds if kind in room.cap]
        there.sort(key=lambda kind: room.use[kind][0] - room.cap[kind][0])
        for kind in there:
            count = min(pods, self._fits(room, kind, size))
            if count > 0:
                self._take(room, kind, size, count)
                held = room.held.setdefault(who, {})
                held[kind] = held.get(kind, 0) + count
                done.append((who[1], kind, size, count))
                pods -= count
            if not pods:
                break
        return pods

    def _make_room(  # noqa: PLR0913, PLR0917 - what is wanted, and whose
        self,
        room: _Room,
        kind: int,
        size: int,
        left: int,
        ask: int,
        part: int,
        done: list[tuple[int, int, int, int]],
    ) -> int:
        if kind not in room.cap:
            return left
        for (other, its), held in list(room.held.items()):
            if other == ask:
                # What is given back on failure must still be where it was given.
                continue
            _, its_size, its_kinds = self._roles[other][its]
            for elsewhere in its_kinds:
                if elsewhere == kind or elsewhere not in room.cap:
                    continue
                while left and held.get(kind, 0) and self._fits(room, elsewhere, its_size) > 0:
                    self._take(room, kind, its_size, -1)
                    self._take(room, elsewhere, its_size, 1)
                    held[kind] -= 1
                    held[elsewhere] = held.get(elsewhere, 0) + 1
                    count = min(left, self._fits(room, kind, size))
                    if count > 0:
                        self._take(room, kind, size, count)
                        mine = room.held.setdefault((ask, part), {})
                        mine[kind] = mine.get(kind, 0) + count
                        done.append((part, kind, size, count))
                        left -= count
        return left


def _largest_first(roles: Roles) -> list[int]:
    """Return the places of parts: the largest pods first, then those with the least choice."""
    return sorted(range(len(roles)), key=lambda at: (-roles[at][1], len(roles[at][2])))


def _sizes(asks: Sequence[Ask]) -> set[Size]:
    return {option.size for ask in asks for part in ask.parts for option in part.options}


def can_pack(asks: Sequence[Ask]) -> bool:
    """Return whether domains can be counted by type and size: one size a part, each a multiple."""
    sizes = sorted(_sizes(asks))
    return all(
        one.nodes == 1 and larger.gpus % one.gpus == 0 for one, larger in pairwise(sizes)
    ) and all(
        len({option.size for option in part.options}) == 1
        and all(option.throughput == 1 for option in part.options)
        for ask in asks
        for part in ask.parts
    )
