"""Finds where a request goes: by tables where they fit the budget, else step by step."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.counts import ceilings, domains_that_may_hold, narrowed
from controller.core.placement.exact import best_counts
from controller.core.placement.filling import filled
from controller.core.placement.ground import BoolArray, IntArray
from controller.core.placement.quality import main_resource, outranks_nearness
from controller.core.placement.tables import MOST_IN_ALL, Budget, TooLargeError
from controller.core.placement.tree import (
    NODE,
    Group,
    Part,
    Tree,
    members_of,
    parts_of,
    with_wishes_required,
)

MOST_TRIES: Final = 48
"""Times that a request too large for tables may be begun anew, in another domain or order."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What a search came to.

    ``pods`` has shape (P, N), or is None where nothing was found. ``proved`` says that nothing
    better, or nothing at all, exists; otherwise the search ended at its budget.
    """

    pods: IntArray | None
    proved: bool


def search(ask: Ask, *, pairs: int = MOST_IN_ALL) -> Found:
    """Return the best placement of a request within a budget of pairs of rows."""
    ask = narrowed(ask)
    if _ruled_out(ask):
        return Found(None, proved=True)
    try:
        return Found(_best(ask, Budget(pairs)), proved=True)
    except TooLargeError:
        return Found(_Steps(pairs).placed(ask), proved=False)


def _ruled_out(ask: Ask) -> bool:
    """Return whether counts alone say that some part, or all together, can't fit."""
    if bool(ask.shrinks.any()):
        return False
    return bool((ceilings(ask)[0].sum(axis=1) < ask.pods).any())


def _best(ask: Ask, budget: Budget) -> IntArray | None:
    """Return the best counts; preferred levels that can be had are as good as required.

    That takes a search of its own only where scarcity or labels could be had for a preference.
    If not all can be had, the outermost level's goes first, then the one written first.
    """
    wished = _preferring(ask)
    if not wished or bool(ask.shrinks.any()) or not outranks_nearness(ask):
        return best_counts(ask, budget)
    best = _best_with(ask, wished, budget)
    if best is not None:
        return best
    kept: list[Tree] = []
    for member in wished if len(wished) > 1 else ():
        found = _best_with(ask, [*kept, member], budget)
        if found is not None:
            best, kept = found, [*kept, member]
    return best_counts(ask, budget) if best is None else best


def _preferring(ask: Ask) -> list[Tree]:
    """Return the members with a preference, outermost level first."""
    members = [member for member in members_of(ask.tree) if member.prefer]
    return sorted(members, key=lambda member: ask.ground.rank(member.prefer or NODE))


def _best_with(ask: Ask, members: list[Tree], budget: Budget) -> IntArray | None:
    tree = with_wishes_required(ask.tree, members, ask.ground.levels)
    kept = narrowed(replace(ask, tree=tree))
    return None if _ruled_out(kept) else best_counts(kept, budget)


class _Steps:
    """Places one member after another where all at once is too large to look at."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs // 16
        self.left = MOST_TRIES

    def placed(self, ask: Ask) -> IntArray | None:
        """Return counts of shape (P, N), or None when the tries are used up."""
        if isinstance(ask.tree, Part):
            return filled(ask)
        for inside in _scopes(ask):
            pods = self._within(ask.within(inside[None, :]))
            if pods is not None:
                return pods
            if self.left <= 0:
                break
        return None

    def _within(self, ask: Ask) -> IntArray | None:
        """Place the children in turn, hardest first; one that fails goes first next time."""
        if not isinstance(ask.tree, Group):
            raise TypeError("a part has no children")
        order = sorted(ask.tree.children, key=lambda child: _hardness(ask.for_member(child)))
        for _ in range(len(order) + 1):
            if self.left <= 0:
                return None
            self.left -= 1
            pods, failed = self._in_order(ask, order)
            if failed is None:
                return pods
            if failed is order[0]:
                return None
            order = [failed, *(child for child in order if child is not failed)]
        return None

    def _in_order(self, ask: Ask, order: list[Tree]) -> tuple[IntArray, Tree | None]:
        names = [part.name for part in parts_of(ask.tree)]
        pods = ask.running.copy()
        for child in order:
            member = narrowed(ask.for_member(child))
            found = self._member(member)
            if found is None:
                return pods, child
            pods[[names.index(part.name) for part in parts_of(child)]] = found
            ask = ask.after(member, found)
        return pods, None

    def _member(self, ask: Ask) -> IntArray | None:
        if _ruled_out(ask):
            return None
        try:
            return _best(ask, Budget(self.pairs))
        except TooLargeError:
            return self.placed(ask)


def _scopes(ask: Ask) -> list[BoolArray]:
    """Return where to try a group: in each domain it prefers, then in each it must be in.

    Of equal levels the domain with the least free comes first. A group without either may go
    anywhere.
    """
    found: list[BoolArray] = []
    for level in dict.fromkeys((ask.tree.prefer, ask.tree.require)):
        if level is not None:
            rank = ask.ground.rank(level)
            holds = np.flatnonzero(domains_that_may_hold(ask, rank))
            free = ask.ground.total(rank, _main_free(ask))
            nearest = holds[np.argsort(free[holds], kind="stable")]
            found += [ask.ground.domain[rank] == domain for domain in nearest]
    if ask.tree.require is None:
        found.append(np.ones(len(ask.ground.nodes), dtype=np.bool_))
    return found


def _main_free(ask: Ask) -> IntArray:
    main = main_resource(ask)
    if main is None:
        return np.zeros(len(ask.ground.nodes), dtype=np.int64)
    return ask.free[:, ask.resources.index(main)]


def _hardness(ask: Ask) -> tuple[float, int, str]:
    """Return a key that puts first what has the least choice: share of what is free, level."""
    need = np.maximum(ask.pods - ask.running.sum(axis=1), 0) @ ask.each
    room = ask.free[ask.allowed.any(axis=0)].sum(axis=0)
    share = float((need / np.maximum(room, 1)).max(initial=0.0))
    levels = [ask.ground.rank(m.require) for m in members_of(ask.tree) if m.require]
    return -share, -max(levels, default=-1), ask.tree.name
