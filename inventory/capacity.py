"""How much room there is: which groups fit where, and what services may come to ask for."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

LARGEST: Final = 4_096
"""Groups above this many GPUs are not asked about."""


@dataclass(frozen=True, slots=True)
class Spot:
    """What one node offers: ``free`` of its ``gpus``; ``s1`` is empty where it is not known."""

    cluster: str
    hardware: str
    s1: str
    node: str
    gpus: int
    free: int

    @property
    def pool(self) -> tuple[str, str]:
        """The GPUs that may stand in for one another."""
        return self.cluster, self.hardware

    @property
    def place(self) -> tuple[str, str, str, str]:
        """The domain its group stays in: its S1, or where none is known the node itself."""
        return self.cluster, self.hardware, self.s1, "" if self.s1 else self.node

    @property
    def is_whole(self) -> bool:
        """Whether all its GPUs are free."""
        return 0 < self.gpus == self.free


@dataclass(frozen=True, slots=True)
class Fit:
    """How many groups of ``size`` GPUs fit, and how many as many free GPUs would allow."""

    size: int
    fitting: int
    allowed: int

    @property
    def lost_frac(self) -> float:
        """The share of groups that fragmentation costs, 0 where none would fit anyway."""
        return 1 - self.fitting / self.allowed if self.allowed else 0.0


def fitting(spots: Iterable[Spot], size: int) -> int:
    """Return how many groups of ``size`` GPUs of one type fit, each within one S1.

    A group that a node could hold stays on one node; a larger one takes whole free nodes of one
    size under one S1 (HeteroScale, §7).
    """
    inside = 0
    whole: Counter[tuple[object, int]] = Counter()
    for spot in spots:
        if size <= spot.gpus:
            inside += spot.free // size
        elif spot.is_whole:
            whole[spot.place, spot.gpus] += 1
    return inside + sum(count // -(-size // gpus) for (_, gpus), count in whole.items())


def allowed(spots: Iterable[Spot], size: int) -> int:
    """Return how many groups the free GPUs of each pool would make, wherever they are."""
    free: Counter[tuple[str, str]] = Counter()
    for spot in spots:
        free[spot.pool] += spot.free
    return sum(count // size for count in free.values())


def fits(spots: Sequence[Spot]) -> tuple[Fit, ...]:
    """Return the groups of 1, 2, 4, … GPUs, up to the first size that not even all would make."""
    found = []
    size = 1
    while size <= LARGEST and (could := allowed(spots, size)):
        found.append(Fit(size, fitting(spots, size), could))
        size *= 2
    return tuple(found)


def most_free(spots: Iterable[Spot]) -> int:
    """Return the most free GPUs of one type under one S1: what one deployment group may take."""
    free: Counter[tuple[str, str, str, str]] = Counter()
    for spot in spots:
        free[spot.place] += spot.free
    return max(free.values(), default=0)


def largest_instance(spots: Iterable[Spot]) -> int:
    """Return the GPUs of the largest instance that fits: on one node, or on whole nodes."""
    best = 0
    whole: Counter[tuple[object, int]] = Counter()
    for spot in spots:
        best = max(best, spot.free)
        whole[spot.place, spot.gpus] += spot.is_whole
    return max([best, *(count * gpus for (_, gpus), count in whole.items())])


@dataclass(frozen=True, slots=True)
class RoleSize:
    """One role: its hardware type, the GPUs of an instance, floor and ceiling [instances]."""

    role: str
    hardware: str
    gpus: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class Reach:
    """The fewest and the most GPUs of one type that a service may take."""

    least: int
    most: int


def reach(roles: Sequence[RoleSize], most_gpus: int) -> Mapping[str, Reach]:
    """Return for each hardware type what a service may take of it within its GPU budget.

    The budget goes to one type after the roles on other types have their minimum.
    """
    floors = [(one.hardware, one.minimum * one.gpus) for one in roles]
    found = {}
    for hardware in dict.fromkeys(one.hardware for one in roles):
        own = [one for one in roles if one.hardware == hardware]
        least = sum(one.minimum * one.gpus for one in own)
        elsewhere = sum(gpus for other, gpus in floors if other != hardware)
        ceiling = sum(one.maximum * one.gpus for one in own)
        found[hardware] = Reach(least, max(least, min(ceiling, most_gpus - elsewhere)))
    return found
