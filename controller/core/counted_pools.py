"""GPUs of clusters that tell nothing of what runs where: nodes by the inventory, use by counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.ports import Pool

Place = tuple[str, str]
"""Cluster and hardware type."""
_PARTS: Final = ("reserved", "maintenance", "unhealthy", "unknown")


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """GPUs of one node under one S1; ``state`` is ``ok`` or why nothing may start there."""

    place: Place
    s1: str
    gpus: int
    state: str


def counted_pools(nodes: Iterable[NodeGpus], held: Mapping[Place, int]) -> tuple[Pool, ...]:
    """Return the pools; ``held`` are GPUs that instances hold, counted where their metrics are.

    They are taken from what may be used first, so what is free is rather too little than too much.
    How it lies is not known: the largest free group is at most the GPUs of one S1.
    """
    parts: dict[Place, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("ok", *_PARTS), 0))
    domains: dict[Place, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for node in nodes:
        parts[node.place][node.state] += node.gpus
        if node.state == "ok":
            domains[node.place][node.s1] += node.gpus
    return tuple(
        _pool(place, has, held.get(place, 0), max(domains[place].values(), default=0))
        for place, has in sorted(parts.items())
    )


def _pool(place: Place, has: Mapping[str, int], held: int, largest: int) -> Pool:
    busy = min(held, has["ok"])
    free = has["ok"] - busy
    return Pool(
        cluster=place[0],
        hardware=place[1],
        total=sum(has.values()),
        busy=busy,
        held_idle=0,
        free=free,
        largest_free=min(largest, free),
        **{name: has[name] for name in _PARTS},
    )
