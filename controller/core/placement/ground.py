"""Nodes sorted so that each domain is a slice, and each level an array of offsets."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from controller.core.placement.tree import Node

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """The domains of a fleet of N nodes; what is free is kept apart.

    ``starts[level]`` are the offsets at which the domains of a level begin, ``domain[level]``
    has shape (N,) and tells each node's domain, and ``placed`` whether a node has a domain of
    every level. A domain is told by its whole path, so the same name under two parents is two.
    """

    levels: tuple[str, ...]
    nodes: tuple[Node, ...]
    starts: tuple[IntArray, ...]
    domain: tuple[IntArray, ...]
    placed: BoolArray

    def rank(self, level: str) -> int:
        """Return a level's position, 0 outermost."""
        return self.levels.index(level)

    def slices(self, level: int) -> tuple[tuple[int, int], ...]:
        """Return where each domain of a level begins and ends among the nodes."""
        return tuple(pairwise((*self.starts[level].tolist(), len(self.nodes))))

    def total(self, level: int, values: IntArray) -> IntArray:
        """Return sums over the domains of a level; the last axis of ``values`` is nodes."""
        return np.add.reduceat(values, self.starts[level], axis=-1)

    def name(self, level: int, index: int) -> str:
        """Return what a domain is called."""
        node = self.nodes[int(self.starts[level][index])]
        outer = self.levels[level]
        return node.name if level == len(self.levels) - 1 else node.at.get(outer, "none")


def ground_of(levels: Sequence[str], nodes: Sequence[Node]) -> Ground:
    """Return the domains of one node or more; ``levels`` end with that of nodes."""
    outer = tuple(levels[:-1])
    paths = {node.name: tuple(node.at.get(level, "") for level in outer) for node in nodes}
    kept = tuple(sorted(nodes, key=lambda node: (paths[node.name], node.name)))
    starts, domain = [], []
    for depth in range(len(levels)):
        keys = [(*paths[node.name][: depth + 1], *_own_name(node, depth, outer)) for node in kept]
        fresh = np.array([True, *(a != b for a, b in pairwise(keys))])
        starts.append(np.flatnonzero(fresh).astype(np.int64))
        domain.append(np.cumsum(fresh).astype(np.int64) - 1)
    placed = np.array([all(level in node.at for level in outer) for node in kept], dtype=np.bool_)
    return Ground(tuple(levels), kept, tuple(starts), tuple(domain), placed)


def _own_name(node: Node, depth: int, outer: tuple[str, ...]) -> tuple[str, ...]:
    return (node.name,) if depth == len(outer) else ()
