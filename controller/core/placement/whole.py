"""As many whole groups as can be: first how many of each service where, then on which nodes."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.fleet import FleetView, Level
from controller.core.placement.choose import Ask, Choosing, Pod, Share
from controller.core.placement.pack import Packing, can_pack
from controller.core.placement.slots import Option, Part, Slots
from controller.core.types import Counts, Floats

TRIES: Final = 800
NEARER: Final = 60
"""Tries to bring more groups under one S1 each."""
MOST_MOVED: Final = 8
"""Groups that make way for one that then is in one S1."""


@dataclass(frozen=True, slots=True)
class WholeGroup:
    """One group of a service: its pods, and the nearest level at which they share a domain."""

    service: str
    level: Level
    pods: tuple[Pod, ...]


def pack_groups(
    view: FleetView, asks: Sequence[Ask], rng: np.random.Generator, tries: int = TRIES
) -> list[WholeGroup]:
    """Return as many groups as found, each one unit of its ask, in the order of the asks.

    Among ways that place equally many, one with more of them under one S1. All asks need the same
    ``require``.
    """
    sizes = {option.size for ask in asks for part in ask.parts for option in part.options}
    choosing = Choosing(Slots(view, sizes), pressure_of(view, asks))
    if not asks or not can_pack(asks):
        return _split(asks, {ask.service: choosing.place(ask) for ask in asks})
    level = asks[0].require
    packing = Packing(choosing.slots, asks, level)
    packing.solve(rng, tries)
    near = _nearest(choosing, packing, asks, rng)
    placed, choosing, counts = near.placed, near.choosing, near.counts
    shares: dict[str, list[Share]] = defaultdict(list)
    for at, share in placed:
        shares[asks[at].service].append(share)
    for domain in range(counts.shape[1]):
        left = counts[:, domain].tolist()
        for at, found in _spread(choosing, packing, asks, (level, domain), left):
            shares[asks[at].service] += found
    return _split(asks, shares)


def pressure_of(view: FleetView, asks: Sequence[Ask]) -> Floats:
    """Return asked over free GPUs by type; a part that may use several types asks for each share.

    1 is when all that is free is wanted; more is contended.
    """
    kinds = len(view.topology.types)
    usable = np.where(view.usable, view.free, 0)
    free = np.bincount(view.topology.hardware, weights=usable, minlength=kinds)
    asked = np.zeros(kinds)
    for ask in asks:
        for part in ask.parts:
            types = [option.type for option in part.options]
            there = free[types] + 1e-9
            gpus = [option.size.gpus * option.size.nodes for option in part.options]
            asked[types] += there / there.sum() * gpus * part.pods * ask.units
    pressure: Floats = asked / np.maximum(free, 1.0)
    return pressure


def _nearest(
    choosing: Choosing, packing: Packing, asks: Sequence[Ask], rng: np.random.Generator
) -> "_Near":
    """Return the way found that has most groups in one S1: several orders, then parts anew."""
    best: _Near | None = None
    for order in _orders(range(len(asks)), asks, choosing.pressure):
        tried = _Near(choosing.copy(), packing, asks, packing.groups.copy())
        tried.place(order)
        if best is None or len(tried.placed) > len(best.placed):
            best = tried
    if best is None:
        return _Near(choosing, packing, asks, packing.groups.copy())
    domains = packing.groups.shape[1]
    for _ in range(NEARER):
        if not best.counts.any():
            break
        count = int(rng.integers(1, min(3, domains) + 1))
        tried = best.without({int(at) for at in rng.choice(domains, size=count, replace=False)})
        tried.place(rng.permutation(len(asks)).tolist())
        if len(tried.placed) >= len(best.placed):
            best = tried
    return best


def _outer(slots: Slots, share: Share, level: Level) -> int:
    """Return the domain of a level in which a share of an S1 is."""
    at = share.domain
    for inner in range(share.level, level):
        at = int(slots.topology.up[Level(inner)][at])
    return at


@dataclass(slots=True)
class _Near:
    """Puts groups into one S1 each, as long as all that is left still fits somewhere.

    ``counts`` are groups by ask and domain that have no nodes yet, counted down.
    """

    choosing: Choosing
    packing: Packing
    asks: Sequence[Ask]
    counts: Counts
    placed: list[tuple[int, Share]] = field(default_factory=list)

    def place(self, order: Sequence[int]) -> None:
        """Put groups of the asks into S1s, in this order."""
        for at in order:
            # Where it was counted first: nothing else has to move for it there.
            domains = np.argsort(-self.counts[at], kind="stable").tolist()
            for domain in domains:
                while self.counts[at].any():
                    share = self._one(at, domain)
                    if share is None:
                        break
                    self.placed.append((at, share))

    def without(self, domains: Collection[int]) -> "_Near":
        """Return a copy whose groups in these domains wait for nodes again."""
        level = self.packing.level
        other = _Near(self.choosing.copy(), self.packing, self.asks, self.counts.copy())
        for at, share in self.placed:
            domain = _outer(self.choosing.slots, share, level)
            if domain in domains:
                other.choosing.undo([share])
                other.counts[at, domain] += 1
            else:
                other.placed.append((at, share))
        return other

    def _one(self, at: int, domain: int) -> Share | None:
        ask, level = self.asks[at], self.packing.level
        one = replace(ask, units=1, within=(level, domain), require=Level.S1, prefer=None)
        shares = self.choosing.place(one)
        if not shares:
            return None
        kept = self.counts.copy()
        mine = domain if self.counts[at, domain] else int(self.counts[at].argmax())
        self.counts[at, mine] -= 1
        if self._settle(domain):
            return shares[0]
        self.counts[:] = kept
        self.choosing.undo(shares)
        return None

    def _settle(self, domain: int) -> bool:
        """Move groups out of a domain until the rest fits; whether all of them found room."""
        moved: list[int] = []
        while not self._fits(domain):
            there = np.flatnonzero(self.counts[:, domain])
            if len(moved) == MOST_MOVED or not len(there):
                return False
            out = int(there[len(moved) % len(there)])
            self.counts[out, domain] -= 1
            moved.append(out)
        return all(self._elsewhere(out, domain) for out in moved)

    def _elsewhere(self, at: int, domain: int) -> bool:
        for other in range(self.counts.shape[1]):
            if other == domain:
                continue
            self.counts[at, other] += 1
            if self._fits(other):
                return True
            self.counts[at, other] -= 1
        return False

    def _fits(self, domain: int) -> bool:
        left = self.counts[:, domain].tolist()
        return self.packing.types_for(self.choosing.slots, domain, left) is not None


def _orders(wanted: Sequence[int], asks: Sequence[Ask], pressure: Floats) -> list[list[int]]:
    """Return orders to try: cheapest first, dearest first, least choice first."""
    cost = {at: _cost(asks[at], pressure) for at in wanted}
    choice = {at: min(len(part.options) for part in asks[at].parts) for at in wanted}
    cheap = sorted(wanted, key=lambda at: cost[at])
    return [cheap, cheap[::-1], sorted(wanted, key=lambda at: (choice[at], -cost[at]))]


def _cost(ask: Ask, pressure: Floats) -> float:
    return sum(
        part.pods
        * min(float(pressure[one.type]) * one.size.gpus * one.size.nodes for one in part.options)
        for part in ask.parts
    )


def _spread(
    choosing: Choosing,
    packing: Packing,
    asks: Sequence[Ask],
    where: tuple[Level, int],
    counts: Sequence[int],
) -> list[tuple[int, list[Share]]]:
    """Return shares with each pod on the type it was counted on: that fits in any case.

    The largest pods of all services first, so that no small one stands in the way.
    """
    level, domain = where
    pods: dict[int, list[Pod]] = defaultdict(list)
    held = packing.types_for(choosing.slots, domain, counts) or []
    size = {(at, part): asks[at].parts[part].options[0].size for at, part, _, _ in held}
    for at, part, kind, count in sorted(held, key=lambda one: -size[one[:2]].gpus):
        only = Part(asks[at].parts[part].role, 1, (Option(kind, size[at, part]),))
        ask = Ask(asks[at].service, (only,), count, require=level, within=where)
        pods[at] += [pod for share in choosing.place(ask) for pod in share.pods]
    return [
        (at, [Share(level, domain, None, count, tuple(pods[at]))])
        for at, count in enumerate(counts)
        if count
    ]


def _split(asks: Sequence[Ask], shares: dict[str, list[Share]]) -> list[WholeGroup]:
    """Return each unit of the shares as a group of its own."""
    groups = []
    for ask in asks:
        for share in shares.get(ask.service, ()):
            by_role: dict[str, list[Pod]] = defaultdict(list)
            for pod in share.pods:
                by_role[pod.role].append(pod)
            for unit in range(share.units):
                pods = [
                    pod
                    for part in ask.parts
                    for pod in by_role[part.role][unit * part.pods : (unit + 1) * part.pods]
                ]
                groups.append(WholeGroup(ask.service, share.level, tuple(pods)))
    return groups
