"""As many groups as a fleet holds: parts of it are emptied and filled otherwise, again and again.

What is emptied are one or two S1s, or an S2, with every group that touches them, or all groups
of two services. What is no better is kept now and then, ever more rarely (simulated annealing),
and at the end not at all; the answer is the best seen.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Final

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.pack import Group, Packing

_WARM: Final = (0.3, 0.02)
"""Temperature at the beginning and at the end, in groups."""
_COLD: Final = 0.8
"""Share of the search after which the best is gone on from, and nothing worse is kept."""
_ROUND: Final = 200
"""What a round costs besides the cells it looks at, in cells."""
_REGIONS: Final = (0.3, 0.6, 0.72, 0.85)
"""Shares of rounds that empty one S1, also two of an S2, any two, an S2; else two services."""
_SAME: Final = 0.5
"""Share of rounds that first place as many groups of each service as were there."""
_NEAR_FIRST: Final = 0.75
"""Of the others, those above this first place every service under one S1 each."""
_FAR_FIRST: Final = 0.5
"""Share of rounds that first fill without regard to one S1, at the beginning; later fewer."""
_TRUSTING: Final = 0.6
"""Share of rounds in which prices follow the contention of the whole fleet."""
_TRUST: Final = 0.5
"""How far they do then: the power contention is raised to."""
_SHUFFLED: Final = 0.33
"""Share of rounds in which services come in any order."""
_SPREADS: Final = (0.1, 0.5, 1.5)
"""How far the order of services strays from the cheapest first, in factors of e."""


@dataclass(frozen=True, slots=True)
class _Map:
    """S1s that have free GPUs, and those in the same S2 as each."""

    s1s: tuple[int, ...]
    beside: dict[int, tuple[int, ...]]


def anneal(
    packing: Packing, pressure: Sequence[float], rng: np.random.Generator, looks: int
) -> list[Group]:
    """Return the best groups found while no more than ``looks`` cells are looked at.

    ``pressure`` is what GPUs of each type are worth: asked over free.
    """
    where = _map(packing)
    asks = range(len(packing.left))
    _fill(packing, sorted(asks, key=lambda ask: packing.cost(ask, pressure)), where.s1s)
    best, rank = list(packing.groups), packing.rank
    is_cold = False
    while packing.looked < looks and rank < packing.most and where.s1s:
        done = packing.looked / looks
        if done > _COLD and not is_cold:
            packing.back_to(list(best), best, packing.groups)
            is_cold = True
        _round(packing, pressure, _region(where, len(asks), rng), rng, done)
        if packing.rank > rank:
            best, rank = list(packing.groups), packing.rank
        packing.looked += _ROUND
    return best


def _map(packing: Packing) -> _Map:
    s2 = packing.topology.up[Level.S1].tolist()
    s1s = tuple(sorted(set(packing.cells.s1)))
    return _Map(s1s, {one: tuple(other for other in s1s if s2[other] == s2[one]) for one in s1s})


def _region(where: _Map, asks: int, rng: np.random.Generator) -> tuple[set[int], set[int]]:
    """Return S1s to empty, one, two of one S2, any two, or an S2; or asks whose groups go."""
    alone, pair, any_pair, s2 = _REGIONS
    kind = rng.random()
    if kind >= s2:
        return set(), set(rng.integers(asks, size=2).tolist())
    one = where.s1s[int(rng.integers(len(where.s1s)))]
    beside = where.beside[one]
    if kind < alone:
        return {one}, set()
    if kind < any_pair:
        others = beside if kind < pair else where.s1s
        return {one, others[int(rng.integers(len(others)))]}, set()
    return set(beside), set()


def _round(
    packing: Packing,
    pressure: Sequence[float],
    region: tuple[set[int], set[int]],
    rng: np.random.Generator,
    done: float,
) -> None:
    """Fill a region otherwise; what was there comes back if that is too much worse.

    ``done`` is the share of the search that is over.
    """
    before, rank, worth = packing.groups, packing.rank, packing.worth
    gone = packing.empty(*region)
    kept = len(packing.groups)
    touched = sorted(region[0].union(*[group.s1s for group in gone]))
    s1s = [touched[at] for at in rng.permutation(len(touched)).tolist()]
    order = _repriced(packing, pressure, rng)
    way = rng.random()
    if way < _SAME:
        _same_again(packing, gone, s1s, rng)
    elif way > _NEAR_FIRST:
        for ask in order:
            packing.place_near(ask, s1s, packing.left[ask])
    if rng.random() < _FAR_FIRST * (1.0 - done):
        for ask in order:
            packing.place_far(ask, s1s, packing.left[ask])
    _fill(packing, order, s1s)
    if done > _COLD:
        is_kept = packing.rank >= rank
    else:
        is_kept = packing.worth - worth >= _warm(done) * log(1.0 - rng.random())
    if not is_kept:
        packing.back_to(before, gone, packing.groups[kept:])


def _warm(done: float) -> float:
    first, last = _WARM
    return first * exp(log(last / first) * done / _COLD)


def _repriced(packing: Packing, pressure: Sequence[float], rng: np.random.Generator) -> list[int]:
    """Give the types other prices, as contention differs from domain to domain.

    Returns an order of the asks: mostly the cheapest first.
    """
    trust = _TRUST if rng.random() < _TRUSTING else 0.0
    noise = rng.standard_normal(len(pressure)).tolist()
    prices = [
        max(one, 1e-3) ** trust * exp(other) for one, other in zip(pressure, noise, strict=True)
    ]
    packing.prices = [prices[kind] for kind in packing.cells.type]
    packing.by_type = bool(rng.integers(2))
    count = len(packing.left)
    if rng.random() < _SHUFFLED:
        shuffled: list[int] = rng.permutation(count).tolist()
        return shuffled
    spread = _SPREADS[int(rng.integers(len(_SPREADS)))]
    key = [
        log(packing.cost(ask, prices) + 1e-9) + spread * stray
        for ask, stray in enumerate(rng.random(count).tolist())
    ]
    return sorted(range(count), key=key.__getitem__)


def _same_again(
    packing: Packing, gone: Sequence[Group], s1s: Sequence[int], rng: np.random.Generator
) -> None:
    """Place as many groups of each ask as went: under one S1 first, then the dearest first."""
    counts = Counter(group.ask for group in gone)
    asks = list(counts)
    for at in rng.permutation(len(asks)).tolist():
        counts[asks[at]] -= packing.place_near(asks[at], s1s, counts[asks[at]])
    for ask in sorted(asks, key=lambda ask: -packing.dear[ask]):
        packing.place_far(ask, s1s, counts[ask])


def _fill(packing: Packing, order: Sequence[int], s1s: Sequence[int]) -> None:
    for ask in order:
        packing.place_near(ask, s1s, packing.left[ask])
        packing.place_far(ask, s1s, packing.left[ask])
