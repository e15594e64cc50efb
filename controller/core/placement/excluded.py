"""Which nodes take no further pod of a part, each by its first reason."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.eligible import barrier
from controller.core.placement.ground import BoolArray
from controller.core.placement.tree import Node, Part, members_of, parts_of

_WORDS = {
    "not_ready": "not ready",
    "cordoned": "cordoned",
    "no_domain": "without a place in every level",
    "taint": "with a taint that isn't tolerated",
    "selector": "without the labels selected",
    "outside_required_domain": "outside the domain of the pods that run",
}


def bound_by_running(ask: Ask) -> BoolArray:
    """Return where each part may still go, of shape (P, N), when what runs has to be joined.

    The pods of a member that must be in one domain bind its other pods to theirs.
    """
    names = [part.name for part in parts_of(ask.tree)]
    inside = np.ones(ask.running.shape, dtype=np.bool_)
    for member in members_of(ask.tree):
        rows = [names.index(part.name) for part in parts_of(member)]
        runs = ask.running[rows].sum(axis=0) > 0
        if member.require and runs.any():
            domain = ask.ground.domain[ask.ground.rank(member.require)]
            inside[rows] &= np.isin(domain, domain[runs])
        if isinstance(member, Part):
            inside[rows[0]] &= _broken_packs(ask, member, rows[0])
    return inside


def _broken_packs(ask: Ask, part: Part, row: int) -> BoolArray:
    """Return where the packs that lack pods are, if these take all the pods that are missing."""
    inside = np.ones(ask.running.shape[1], dtype=np.bool_)
    runs = ask.running[row]
    missing = part.pods - int(runs.sum())
    for pack in part.packs:
        rank = ask.ground.rank(pack.level)
        gaps = -ask.ground.total(rank, runs) % (pack.size or 1)
        if missing > 0 and int(gaps.sum()) == missing:
            inside &= gaps[ask.ground.domain[rank]] > 0
    return inside


def excluded_by(ask: Ask, part: Part, inside: BoolArray) -> Mapping[str, int]:
    """Return how many nodes take no further pod of a part, by the first reason of each.

    The reasons in order: the node's state, ``no_domain`` where its place is unknown, ``taint``,
    ``selector``, ``outside_required_domain`` for nodes that aren't ``inside``, and ``resource:``
    with the first resource that is short. So the counts never add up to more than the nodes.
    """
    reasons = [_reason(ask, part, n, inside=bool(inside[n])) for n in range(len(inside))]
    return dict(sorted(Counter(reason for reason in reasons if reason).items()))


def _reason(ask: Ask, part: Part, index: int, *, inside: bool) -> str | None:
    node: Node = ask.ground.nodes[index]
    found = barrier(node, part)
    if not ask.ground.placed[index] and found in {None, "taint", "selector"}:
        return "no_domain"
    if found:
        return found
    if not inside:
        return "outside_required_domain"
    short = np.flatnonzero(ask.each[0] > ask.free[index])
    return f"resource:{ask.resources[int(short[0])]}" if short.size else None


def counted(excluded: Mapping[str, int]) -> str:
    """Return counts of excluded nodes in words."""
    return "; ".join(
        f"{count} {plural('node', count)} {_WORDS.get(reason) or _other(reason)}"
        for reason, count in excluded.items()
    )


def _other(reason: str) -> str:
    kind, _, name = reason.partition(":")
    return f"with too little {name} free" if name else f"in state {kind}"


def plural(word: str, count: int) -> str:
    """Return a word for a count of things."""
    return word if count == 1 else f"{word}s"
