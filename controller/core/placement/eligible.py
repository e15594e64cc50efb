"""Which nodes may take a part's pods, and the first reason of each that may not."""

from collections.abc import Mapping

import numpy as np

from controller.core.placement.ground import BoolArray, Ground, IntArray
from controller.core.placement.tree import READY, Node, Part


def barrier(node: Node, part: Part) -> str | None:
    """Return why no pod of a part may go to a node, or None: state, taint, then label."""
    if node.state != READY:
        return node.state
    if any(
        taint not in part.tolerate and taint.split("=")[0] not in part.tolerate
        for taint in node.taints
    ):
        return "taint"
    if any(node.labels.get(key) not in wanted for key, wanted in part.select.items()):
        return "selector"
    return None


def eligible(ground: Ground, part: Part) -> BoolArray:
    """Return whether each node may take pods of a part, whatever is free."""
    allowed = [barrier(node, part) is None for node in ground.nodes]
    return np.array(allowed, dtype=np.bool_) & ground.placed


def label_score(node: Node, part: Part) -> int:
    """Return what a pod of a part is worth on a node by the labels it wishes for."""
    return sum(
        wish.weight
        for wish in part.wishes
        if all(node.labels.get(key) in wanted for key, wanted in wish.match.items())
    )


def scarcity(ground: Ground) -> IntArray:
    """Return each node's rank of scarcity: 2 where its S1 has several GPU types, 1 its S2 only.

    All are 0 where a node's type, or the levels S1 and S2, aren't known.
    """
    count = len(ground.nodes)
    types = [node.labels.get("hw") for node in ground.nodes]
    known = None not in types and {"s1", "s2"} <= set(ground.levels) and bool(ground.placed.all())
    if not known:
        return np.zeros(count, dtype=np.int64)
    mixed = {
        level: _mixed(ground.domain[ground.rank(level)], types, count) for level in ("s1", "s2")
    }
    return np.where(mixed["s1"], 2, np.where(mixed["s2"], 1, 0)).astype(np.int64)


def _mixed(domain: IntArray, types: list[str | None], count: int) -> BoolArray:
    seen: Mapping[int, set[str | None]] = {int(d): set() for d in domain}
    for index in range(count):
        seen[int(domain[index])].add(types[index])
    return np.array([len(seen[int(d)]) > 1 for d in domain], dtype=np.bool_)
