"""Places one member after another where all at once is too large to look at."""

from dataclasses import replace
from typing import Final

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.best import best_of
from controller.core.placement.counts import domains_that_may_hold, narrowed, ruled_out
from controller.core.placement.filling import filled
from controller.core.placement.ground import BoolArray, IntArray
from controller.core.placement.quality import cost_of, main_resource, price_of
from controller.core.placement.rules import keeps_rules
from controller.core.placement.tables import Budget, TooLargeError
from controller.core.placement.tree import Group, Part, Tree, members_of, parts_of

MOST_TRIES: Final = 48
"""Times that a request too large for tables may be begun anew, in another domain or order."""

MOST_COMPARED: Final = 4
"""Domains of one level in which a place was found, of which the best is taken."""

MOST_ROUNDS: Final = 2
"""Times that the members of such a request are each placed again beside the others."""


class Steps:
    """One request's tries; each member has a share of the budget of pairs of rows."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs // 16
        self.left = MOST_TRIES

    def placed(self, ask: Ask) -> IntArray | None:
        """Return counts of shape (P, N), or None when the tries are used up."""
        if isinstance(ask.tree, Part):
            pods = filled(ask)
            return pods if pods is not None and keeps_rules(ask, pods) else None
        for scopes in _scopes(ask):
            found = self._some(ask, scopes)
            if found:
                cost = cost_of(ask)
                return min(found, key=lambda pods: price_of(ask, cost, pods))
        return None

    def _some(self, ask: Ask, scopes: list[BoolArray]) -> list[IntArray]:
        """Return what was found in the first few domains that have a place."""
        found: list[IntArray] = []
        for inside in scopes:
            if self.left <= 0 or len(found) == MOST_COMPARED:
                break
            pods = self._within(ask.within(inside[None, :]))
            if pods is not None and keeps_rules(ask, pods):
                found.append(self._improved(ask, pods))
        return found

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

    def _improved(self, ask: Ask, pods: IntArray) -> IntArray:
        """Place each child again beside the others, for the price of the whole."""
        names = [part.name for part in parts_of(ask.tree)]
        for _ in range(MOST_ROUNDS):
            before = pods
            for child in ask.tree.children if isinstance(ask.tree, Group) else ():
                rows = [names.index(part.name) for part in parts_of(child)]
                pods = self._again(ask, pods, rows)
            if np.array_equal(before, pods):
                break
        return pods

    def _again(self, ask: Ask, pods: IntArray, rows: list[int]) -> IntArray:
        others = pods.copy()
        others[rows] = ask.running[rows]
        beside = replace(ask.after(ask, others), running=others)
        try:
            found = best_of(narrowed(beside), Budget(self.pairs))
        except TooLargeError:
            return pods
        return pods if found is None else found

    def _member(self, ask: Ask) -> IntArray | None:
        if ruled_out(ask):
            return None
        try:
            return best_of(ask, Budget(self.pairs))
        except TooLargeError:
            return self.placed(ask)


def _scopes(ask: Ask) -> list[list[BoolArray]]:
    """Return where to try a group: each domain it prefers, then each that it must be in.

    Of equal levels the domain with the least free comes first. A group without a required level
    may go anywhere in the end.
    """
    found: list[list[BoolArray]] = []
    for level in dict.fromkeys((ask.tree.prefer, ask.tree.require)):
        if level is not None:
            rank = ask.ground.rank(level)
            holds = np.flatnonzero(domains_that_may_hold(ask, rank))
            free = ask.ground.total(rank, _main_free(ask))
            nearest = holds[np.argsort(free[holds], kind="stable")]
            found.append([ask.ground.domain[rank] == domain for domain in nearest])
    if ask.tree.require is None:
        found.append([np.ones(len(ask.ground.nodes), dtype=np.bool_)])
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
