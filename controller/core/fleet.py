"""The topology as arrays: every domain is a slice, names stay outside (placement: How, Values)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import accumulate, chain, pairwise, repeat
from operator import attrgetter, itemgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Flags = NDArray[np.bool_]


class Level(IntEnum):
    """How near nodes are to each other, the nearest first."""

    S1 = 0
    S2 = 1
    CLUSTER = 2


class Scarcity(IntEnum):
    """Priority of the RDMA subgroup an S1 belongs to (HeteroScale §6)."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One machine as the snapshot knows it; an empty S1 or S2 is one nobody named.

    ``free`` are GPUs that nothing holds, counted already where the node may not be used.
    ``variant`` tells nodes of one hardware type apart that not every service may use: it counts
    as a type of its own wherever types are counted, and not for what is scarce.
    """

    name: str
    cluster: str
    s2: str
    s1: str
    rack: str
    hardware: str
    gpus: int
    free: int
    usable: bool = True
    variant: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Topology:
    """Nodes sorted by cluster, S2, S1, hardware, rack and name, so that domains are slices.

    ``N`` nodes, ``K`` hardware types, ``S1``, ``S2`` and ``C`` domains. ``starts[level]`` has
    the first node of each domain and ``N`` at the end; ``of[level]`` the domain of each node;
    ``up[level]`` the domain one level further out of each domain; ``ranks`` are the scarcities
    there are, the least first. A *run* is the nodes of one type in one S1: ``run_at`` their first
    node, ``run_cell`` where they count in a ``(K, S1)`` table, ``spans`` their slice by that cell.
    ``places`` are type, S1, S2 and cluster of each node as plain numbers. A node whose S1 nobody
    named is an S1 of its own, without a name. A type is a hardware type, or one variant of it;
    ``base`` has for each type the number of its hardware.
    """

    names: tuple[str, ...]
    types: tuple[str, ...]
    base: Ints
    racks: tuple[str, ...]
    domains: Mapping[Level, tuple[str, ...]]
    hardware: Ints
    gpus: Ints
    starts: Mapping[Level, Ints]
    of: Mapping[Level, Ints]
    up: Mapping[Level, Ints]
    scarcity: Ints
    ranks: tuple[int, ...]
    run_at: Ints
    run_cell: Ints
    places: tuple[tuple[int, int, int, int], ...]
    spans: Mapping[int, tuple[int, int]]

    def type_of(self, name: str, variant: str = "") -> int | None:
        """Return the index of a variant of a hardware type; ``None`` when no node has it."""
        full = type_name(name, variant)
        return self.types.index(full) if full in self.types else None

    def hardware_name(self, kind: int) -> str:
        """Return the hardware type of a type, whichever variant of it."""
        return _hardware(self.types[kind])

    def members(self, level: Level, domain: int) -> slice:
        """Return the nodes of a domain."""
        starts = self.starts[level]
        return slice(int(starts[domain]), int(starts[domain + 1]))

    def span(self, kind: int, s1: int) -> tuple[int, int]:
        """Return the first node of a type in an S1, and the one after the last."""
        return self.spans.get(kind * len(self.domains[Level.S1]) + s1, (0, 0))

    def label(self, level: Level, domain: int) -> str:
        """Return the name of a domain, or of its first node where it has none."""
        return self.domains[level][domain] or self.names[int(self.starts[level][domain])]


@dataclass(frozen=True, slots=True, eq=False)
class FleetView:
    """The topology with what is free now, both of shape ``(N,)``, in the order of the nodes."""

    topology: Topology
    free: Ints
    usable: Flags


UNNAMED: Final = "\x00"


Place = tuple[str, str, str, str]
"""Cluster, S2, S1 and type of a node, as they are sorted."""


def view_of(rows: Iterable[NodeRow]) -> FleetView:
    """Return rows as arrays; the order they come in does not matter."""
    runs = _runs(rows)
    ordered = [row for _, run in runs for row in run]
    free = np.array([row.free for row in ordered], dtype=np.int32)
    usable = np.array([row.usable for row in ordered], dtype=np.bool_)
    return FleetView(_topology(runs, ordered), free, usable)


def _runs(rows: Iterable[NodeRow]) -> list[tuple[Place, list[NodeRow]]]:
    """Return the nodes of one type in one S1 together, sorted; far fewer to sort than nodes."""
    found: defaultdict[Place, list[NodeRow]] = defaultdict(list)
    for row in rows:
        # What has no name stands alone: under its node's own.
        s1 = row.s1 or UNNAMED + row.name
        kind = type_name(row.hardware, row.variant) if row.variant else row.hardware
        found[row.cluster, row.s2 or UNNAMED + s1, s1, kind].append(row)
    for run in found.values():
        run.sort(key=_RACK_AND_NAME)
    return sorted(found.items(), key=itemgetter(0))


_RACK_AND_NAME: Final = attrgetter("rack", "name")


def type_name(hardware: str, variant: str) -> str:
    """Return what a variant of a hardware type is called among the types."""
    return f"{hardware}{UNNAMED}{variant}" if variant else hardware


def _topology(
    runs: Sequence[tuple[Place, Sequence[NodeRow]]], rows: Sequence[NodeRow]
) -> Topology:
    within, domains = _numbered([place for place, _ in runs])
    types = tuple(sorted({place[3] for place, _ in runs}))
    index = {name: at for at, name in enumerate(types)}
    kinds = np.array([index[place[3]] for place, _ in runs], dtype=np.int32)
    known = {name: at for at, name in enumerate(dict.fromkeys(map(_hardware, types)))}
    base = np.array([known[_hardware(name)] for name in types], dtype=np.int32)
    counts = [len(run) for _, run in runs]
    run_at = np.array([0, *accumulate(counts)], dtype=np.int32)
    cells = (kinds * len(domains[Level.S1]) + within[Level.S1]).tolist()
    first = {level: _firsts(numbers, len(domains[level])) for level, numbers in within.items()}
    up = {
        Level.S1: within[Level.S2][first[Level.S1]],
        Level.S2: within[Level.CLUSTER][first[Level.S2]],
    }
    scarcity = _scarcity(base[kinds], within[Level.S1], up[Level.S1])
    places = zip(kinds.tolist(), *(within[level].tolist() for level in Level), strict=True)
    return Topology(
        names=tuple([row.name for row in rows]),
        types=types,
        base=base,
        racks=tuple([row.rack for row in rows]),
        domains={level: tuple(names) for level, names in domains.items()},
        hardware=np.repeat(kinds, counts),
        gpus=np.array([row.gpus for row in rows], dtype=np.int32),
        starts={level: np.append(run_at[first[level]], run_at[-1:]) for level in Level},
        of={level: np.repeat(within[level], counts) for level in Level},
        up=up,
        scarcity=scarcity,
        ranks=tuple(sorted(set(scarcity.tolist()))),
        run_at=run_at[:-1],
        run_cell=np.array(cells, dtype=np.int32),
        spans=dict(zip(cells, pairwise(run_at.tolist()), strict=True)),
        places=tuple(chain.from_iterable(map(repeat, places, counts))),
    )


def _firsts(numbers: Ints, count: int) -> NDArray[np.intp]:
    """Return where each domain begins among sorted numbers of domains."""
    return np.searchsorted(numbers, np.arange(count))


def _numbered(places: Sequence[Place]) -> tuple[dict[Level, Ints], dict[Level, list[str]]]:
    """Return for sorted places the number of each one's domains, and what these are called."""
    depths = {Level.CLUSTER: 0, Level.S2: 1, Level.S1: 2}
    of: dict[Level, list[int]] = {level: [] for level in depths}
    names: dict[Level, list[str]] = {level: [] for level in depths}
    before: Place = ("", "", "", "")
    for place in places:
        is_new = not names[Level.CLUSTER]
        for level, depth in depths.items():
            is_new = is_new or place[depth] != before[depth]
            if is_new:
                name = place[depth]
                names[level].append("" if name.startswith(UNNAMED) else name)
            of[level].append(len(names[level]) - 1)
        before = place
    return {level: np.array(numbers, dtype=np.int32) for level, numbers in of.items()}, names


def _hardware(name: str) -> str:
    return name.partition(UNNAMED)[0]


def _scarcity(run_type: Ints, run_s1: Ints, s2_of_s1: Ints) -> Ints:
    """Return the scarcity of each S1: several types in it, several in its S2, or neither."""
    here = np.unique(np.stack((run_s1, run_type)), axis=1)
    in_s1 = np.bincount(here[0], minlength=len(s2_of_s1))
    pairs = np.unique(np.stack((s2_of_s1[run_s1], run_type)), axis=1)
    in_s2 = np.bincount(pairs[0], minlength=int(s2_of_s1.max(initial=-1)) + 1)
    high, medium = in_s1 > 1, in_s2[s2_of_s1] > 1
    return np.where(high, Scarcity.HIGH, np.where(medium, Scarcity.MEDIUM, 0)).astype(np.int32)
