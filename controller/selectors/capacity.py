"""What room the fleet has: GPUs by pool and part, groups that fit, and what services may ask."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.db.models import Q, QuerySet

from controller.models import PoolSample
from controller.selectors.fleet_filters import NONE
from controller.selectors.fleet_lines import Line, open_parts, read_lines
from controller.selectors.node_use import node_uses
from controller.selectors.series import Ask
from controller.selectors.services import is_stale
from inventory.capacity import (
    Fit,
    RoleSize,
    Spot,
    fits,
    largest_instance,
    most_free,
    reach,
)
from inventory.gpus import PARTS, Parts, total_of
from inventory.models import Service

MEMORY: Final = timedelta(hours=6)
"""A sample older than this is not told at all."""
MOST_ROOMS: Final = 30

Place = tuple[str, str]
"""A cluster's slug and a hardware type's slug."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which pools are asked for; empty is all."""

    cluster: str = ""
    hardware: str = ""

    @property
    def query(self) -> str:
        """The same as a query string."""
        given = {"cluster": self.cluster, "hardware": self.hardware}
        return urlencode({name: value for name, value in given.items() if value})

    def has(self, place: Place) -> bool:
        """Return whether a pool is asked for."""
        return self.cluster in {"", place[0]} and self.hardware in {"", place[1] or NONE}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the controller counted last of a pool [GPUs]."""

    at: datetime
    is_stale: bool
    total: int
    busy: int
    held_idle: int
    free: int


@dataclass(frozen=True, slots=True)
class Stock:
    """GPUs of one hardware type in one cluster; the six parts add up to the total.

    ``use_unknown`` are those of ``parts.unknown`` that are unknown only because nobody reports
    what runs on them. ``open`` are the parts that are at least so many, see ``open_parts``.
    """

    cluster: str
    hardware: str
    word: str
    nodes: int
    parts: Parts
    use_unknown: int
    most_free: int
    largest_instance: int
    seen: Seen | None
    open: frozenset[str]

    @property
    def busy(self) -> int | None:
        """Held GPUs that work; ``None`` where nobody counted them lately."""
        return None if self.seen is None or self.seen.is_stale else self.seen.busy

    @property
    def held_idle(self) -> int | None:
        """Held GPUs that wait; ``None`` where nobody counted them lately."""
        return None if self.seen is None or self.seen.is_stale else self.seen.held_idle

    @property
    def difference(self) -> str:
        """Where the controller's newest count differs from the inventory; empty where not."""
        if self.seen is None or self.seen.is_stale:
            return ""
        pairs = (
            ("in all", self.seen.total, self.parts.total),
            ("in use", self.seen.busy + self.seen.held_idle, self.parts.in_use),
            ("free", self.seen.free, self.parts.free),
        )
        return ", ".join(
            f"{counted} {word} instead of {here}"
            for word, counted, here in pairs
            if counted != here
        )

    @property
    def usable(self) -> int:
        """GPUs that instances hold or may be placed on."""
        return self.parts.in_use + self.parts.free

    @property
    def links(self) -> tuple[tuple[str, str, int, str], ...]:
        """Each part: its key, word, count, and the query of the nodes that make it up."""
        return tuple(
            (part, part.replace("_", " "), getattr(self.parts, part), self._query(gpus=part))
            for part in PARTS
        )

    @property
    def nodes_query(self) -> str:
        """The query of its nodes."""
        return self._query()

    def _query(self, **also: str) -> str:
        own = {"cluster": self.cluster, "hardware": self.hardware or NONE}
        return urlencode(own | also)


@dataclass(frozen=True, slots=True)
class Room:
    """What is free of one hardware type under one S1; ``s1`` is empty for nodes without one."""

    cluster: str
    s1: str
    word: str
    nodes: int
    whole: int
    free: int
    largest_instance: int

    @property
    def query(self) -> str:
        """The query of its nodes."""
        return urlencode({"cluster": self.cluster, "s1": self.s1 or NONE})


@dataclass(frozen=True, slots=True)
class Claim:
    """What one service may take of a pool [GPUs]."""

    service: str
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Headroom:
    """A pool against its services: what it has, and what all of them may ask of it."""

    cluster: str
    hardware: str
    word: str
    usable: int
    in_use: int
    use_unknown: int
    claims: tuple[Claim, ...]

    @property
    def least(self) -> int:
        """All services at their minimum."""
        return sum(claim.least for claim in self.claims)

    @property
    def most(self) -> int:
        """All services at their maximum."""
        return sum(claim.most for claim in self.claims)

    @property
    def lacking(self) -> int:
        """GPUs that all maxima together want beyond all that work, those of unknown use too."""
        return max(0, self.most - self.usable - self.use_unknown)

    @property
    def is_open(self) -> bool:
        """Whether it depends on GPUs whose use nobody reports."""
        return not self.lacking and self.most > self.usable

    @property
    def spare(self) -> int:
        """GPUs left when every service is at its maximum."""
        return max(0, self.usable - self.most)

    @property
    def lacking_least(self) -> int:
        """GPUs that even the minima lack."""
        return max(0, self.least - self.usable - self.use_unknown)


@dataclass(frozen=True, slots=True)
class Capacity:
    """Everything the page of capacity shows."""

    now: datetime
    scope: Scope
    stocks: tuple[Stock, ...]
    rooms: tuple[Room, ...]
    further_rooms: int
    headroom: tuple[Headroom, ...]
    clusters: tuple[str, ...]
    hardware: tuple[tuple[str, str], ...]
    unobserved: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def total(self) -> Parts:
        """All pools together."""
        return total_of(stock.parts for stock in self.stocks)

    @property
    def open(self) -> frozenset[str]:
        """The parts of all pools that are at least so many."""
        return frozenset[str]().union(*(stock.open for stock in self.stocks))

    @property
    def short(self) -> tuple[Headroom, ...]:
        """The pools that could not give every service its maximum, the shortest first."""
        found = [one for one in self.headroom if one.lacking]
        return tuple(sorted(found, key=lambda one: -one.lacking))

    @property
    def is_short_of_minima(self) -> bool:
        """Whether a pool could not even give every service its minimum."""
        return any(one.lacking_least for one in self.headroom)


def read_capacity(scope: Scope, now: datetime) -> Capacity:
    """Read every node, then what the scope keeps; six queries for any fleet."""
    uses = node_uses(now)
    everything = read_lines(uses)
    lines = [line for line in everything if scope.has((line.cluster, line.hardware))]
    clusters = sorted({line.cluster for line in everything})
    words = {line.hardware or NONE: line.gpu_model or "unknown type" for line in everything}
    stocks = _stocks(lines, _seen(now))
    rooms = _rooms(lines)
    held = {line.cluster for line in lines}
    return Capacity(
        now=now,
        scope=scope,
        stocks=stocks,
        rooms=tuple(rooms[:MOST_ROOMS]),
        further_rooms=max(0, len(rooms) - MOST_ROOMS),
        headroom=_headroom(stocks, scope),
        clusters=tuple(clusters),
        hardware=tuple(sorted(words.items())),
        unobserved=tuple(sorted(held - uses.observed)),
        stale=tuple(sorted(held & uses.stale)),
    )


def read_stocks(now: datetime, narrowed: Q | None = None) -> tuple[Stock, ...]:
    """Read the pools that nodes make, without what was counted of them; four queries."""
    return _stocks(read_lines(node_uses(now), narrowed), {})


@dataclass(frozen=True, slots=True)
class Fits:
    """Groups by size as of ``now_s`` [s]; ``unknown`` GPUs may be free, but nobody says so."""

    now_s: float
    fits: tuple[Fit, ...]
    free: int
    unknown: int


def read_fits(ask: Ask) -> Fits:
    """Read which groups fit into the pools that are asked for; four queries."""
    lines = read_lines(node_uses(ask.now), _narrowed(Scope(ask.cluster, ask.hardware)))
    spots = spots_of(lines)
    return Fits(
        now_s=ask.now.timestamp(),
        fits=fits(spots),
        free=sum(spot.free for spot in spots),
        unknown=sum(line.use_unknown for line in lines),
    )


@dataclass(frozen=True, slots=True)
class Headrooms:
    """Pools against their services, as of ``now_s`` [s]."""

    now_s: float
    pools: tuple[Headroom, ...]


def read_headroom(ask: Ask) -> Headrooms:
    """Read the pools that are asked for against the maxima of their services; six queries."""
    scope = Scope(ask.cluster, ask.hardware)
    stocks = read_stocks(ask.now, _narrowed(scope))
    return Headrooms(ask.now.timestamp(), _headroom(stocks, scope))


def spots_of(lines: Iterable[Line]) -> list[Spot]:
    """Return what each node offers."""
    return [
        Spot(
            cluster=line.cluster,
            hardware=line.hardware,
            s1=line.s1,
            node=line.name,
            gpus=line.facts.gpus or 0,
            free=line.parts.free,
        )
        for line in lines
    ]


def _narrowed(scope: Scope) -> Q:
    found = Q()
    if scope.cluster:
        found &= Q(cluster__slug=scope.cluster)
    if scope.hardware:
        none = scope.hardware == NONE
        found &= Q(hardware=None) if none else Q(hardware__slug=scope.hardware)
    return found


def _seen(now: datetime) -> dict[Place, Seen]:
    """Return the newest sample of each pool."""
    rows = (
        PoolSample.objects.filter(at__gt=now - MEMORY, at__lte=now)
        .order_by("cluster_id", "hardware_id", "-at")
        .distinct("cluster_id", "hardware_id")
        .values_list("cluster__slug", "hardware__slug", "at", "total", "busy", "held_idle", "free")
    )
    return {
        (cluster, hardware): Seen(at, is_stale(at, now), *counts)
        for cluster, hardware, at, *counts in rows
    }


def _stocks(lines: Sequence[Line], seen: Mapping[Place, Seen]) -> tuple[Stock, ...]:
    pools: dict[Place, list[Line]] = defaultdict(list)
    for line in lines:
        if line.facts.exists:
            pools[line.cluster, line.hardware].append(line)
    return tuple(_stock(place, own, seen.get(place)) for place, own in sorted(pools.items()))


def _stock(place: Place, lines: Sequence[Line], seen: Seen | None) -> Stock:
    spots = spots_of(lines)
    return Stock(
        cluster=place[0],
        hardware=place[1],
        word=lines[0].gpu_model or "unknown type",
        nodes=len(lines),
        parts=total_of(line.parts for line in lines),
        use_unknown=sum(line.use_unknown for line in lines),
        most_free=most_free(spots),
        largest_instance=largest_instance(spots),
        seen=seen,
        open=open_parts(lines),
    )


def _rooms(lines: Iterable[Line]) -> list[Room]:
    """Return what is free under each S1, most first; nodes without an S1 are one line."""
    places: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line.facts.exists:
            places[line.cluster, line.s1, line.gpu_model].append(line)
    found = []
    for (cluster, s1, word), own in places.items():
        spots = spots_of(own)
        found.append(
            Room(
                cluster=cluster,
                s1=s1,
                word=word or "unknown type",
                nodes=len(own),
                whole=sum(spot.is_whole for spot in spots),
                free=sum(spot.free for spot in spots),
                largest_instance=largest_instance(spots),
            )
        )
    some = (room for room in found if room.free)
    return sorted(some, key=lambda room: (-room.free, room.cluster, room.s1, room.word))


def _headroom(stocks: Sequence[Stock], scope: Scope) -> tuple[Headroom, ...]:
    """Return each pool that services use or that has nodes, with what they may take of it."""
    claims: dict[Place, list[Claim]] = defaultdict(list)
    words: dict[str, str] = {}
    for service in _services():
        specs = list(service.roles.all())
        roles = [
            RoleSize(
                one.role,
                one.hardware.slug,
                one.gpus_per_instance,
                one.minimum,
                one.maximum,
            )
            for one in specs
        ]
        words |= {one.hardware.slug: str(one.hardware) for one in specs}
        for hardware, span in reach(roles, service.max_gpus).items():
            claims[service.cluster.slug, hardware].append(
                Claim(service.slug, span.least, span.most)
            )
    there = {(stock.cluster, stock.hardware): stock for stock in stocks}
    return tuple(
        _against(place, there.get(place), words, claims.get(place, []))
        for place in sorted(there.keys() | claims.keys())
        if scope.has(place)
    )


def _services() -> QuerySet[Service]:
    return (
        Service.objects.select_related("cluster")
        .prefetch_related("roles__hardware")
        .only("slug", "max_gpus", "cluster__slug")
        .order_by("slug")
    )


def _against(
    place: Place, stock: Stock | None, words: Mapping[str, str], claims: Sequence[Claim]
) -> Headroom:
    return Headroom(
        cluster=place[0],
        hardware=place[1],
        word=stock.word if stock else words.get(place[1], place[1]),
        usable=stock.usable if stock else 0,
        in_use=stock.parts.in_use if stock else 0,
        use_unknown=stock.use_unknown if stock else 0,
        claims=tuple(sorted(claims, key=lambda claim: (-claim.most, claim.service))),
    )
