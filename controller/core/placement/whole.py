"""As many whole groups as can be: first how many of each service where, then on which nodes."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.fleet import FleetView, Level, Topology
from controller.core.placement.anneal import anneal
from controller.core.placement.choose import Ask, Choosing, Pod, Share
from controller.core.placement.pack import Group, Packing, can_pack
from controller.core.placement.slots import Option, Part, Slots
from controller.core.types import Floats

LOOKS: Final = 2_400_000
"""Cells to look at in search of more groups: a second or two."""


@dataclass(frozen=True, slots=True)
class WholeGroup:
    """One group of a service: its pods, and the nearest level at which they share a domain."""

    service: str
    level: Level
    pods: tuple[Pod, ...]


def pack_groups(
    view: FleetView, asks: Sequence[Ask], rng: np.random.Generator, looks: int = LOOKS
) -> list[WholeGroup]:
    """Return as many groups as found, each one unit of its ask, in the order of the asks.

    Among ways that place equally many, one that keeps services which neither require nor prefer
    one S1 away from S1s of several types, then one with more groups of the others under one S1,
    then one that spares S2s of several types. Asks may require different levels. Sizes that
    don't divide each other, and instances over several nodes, are placed one service after
    another, in the best of a few orders.
    """
    sizes = {option.size for ask in asks for part in ask.parts for option in part.options}
    pressure = pressure_of(view, asks)
    choosing = Choosing(Slots(view, sizes), pressure)
    if not can_pack(asks):
        return _one_after_another(choosing, asks)
    prices: list[float] = pressure.tolist()
    packing = Packing(choosing.slots, asks, prices)
    groups = anneal(packing, prices, rng, looks)
    groups.sort(key=lambda group: group.ask)
    nodes = _on_nodes(choosing, packing, groups)
    return [
        WholeGroup(
            asks[group.ask].service,
            _level(packing.topology, group),
            tuple(
                Pod(asks[group.ask].parts[one.part].role, next(nodes[one.cell, one.size]).nodes)
                for one in sorted(group.taken)
                for _ in range(one.pods)
            ),
        )
        for group in groups
    ]


def pressure_of(view: FleetView, asks: Sequence[Ask]) -> Floats:
    """Return asked over free GPUs by type; a part that may use several types asks for each share.

    1 is when all that is free is wanted; more is contended.
    """
    kinds = len(view.topology.types)
    usable = np.where(view.usable, view.free, 0)
    free = np.bincount(view.topology.hardware, weights=usable, minlength=kinds)
    # Plain numbers: an array of two types costs more than all that is done with it.
    there = [have + 1e-9 for have in free.tolist()]
    asked = [0.0] * kinds
    for ask in asks:
        for part in ask.parts:
            pods = part.pods * ask.units / sum([there[one.type] for one in part.options] or [1.0])
            for kind, (gpus, nodes), _ in part.options:
                asked[kind] += pods * there[kind] * gpus * nodes
    pressure: Floats = np.array(asked) / np.maximum(free, 1.0)
    return pressure


def _on_nodes(
    choosing: Choosing, packing: Packing, groups: Sequence[Group]
) -> dict[tuple[int, int], Iterator[Pod]]:
    """Return pods on nodes for all that is counted in each cell, by size.

    The largest first, so that no small one stands in the way: then they fit in any case.
    """
    counts: dict[tuple[int, int], int] = defaultdict(int)
    for group in groups:
        for _, cell, size, pods in group.taken:
            counts[cell, size] += pods
    found = {}
    cells = packing.cells
    for (cell, size), pods in sorted(counts.items(), key=lambda one: (one[0][0], -one[0][1])):
        part = Part("", 1, (Option(cells.type[cell], packing.sizes[size]),))
        within = (Level.S1, cells.s1[cell])
        shares = choosing.place(Ask("", (part,), pods, require=Level.S1, within=within))
        found[cell, size] = iter([pod for share in shares for pod in share.pods])
    return found


def _level(topology: Topology, group: Group) -> Level:
    """Return the nearest level at which a group is in one domain."""
    domains = set(group.s1s)
    for level in (Level.S1, Level.S2):
        if len(domains) == 1:
            return level
        domains = {int(topology.up[level][domain]) for domain in domains}
    return Level.CLUSTER


def _one_after_another(choosing: Choosing, asks: Sequence[Ask]) -> list[WholeGroup]:
    """Return what most groups come of among a few orders of the asks."""
    best: list[WholeGroup] = []
    for order in _orders(range(len(asks)), asks, choosing.pressure):
        tried = choosing.copy()
        shares = {asks[at].service: tried.place(asks[at]) for at in order}
        groups = _split(asks, shares)
        if len(groups) > len(best):
            best = groups
    return best


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
