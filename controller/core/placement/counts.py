"""How many pods a domain holds at the most: sums and floors, without a search."""

from dataclasses import replace
from itertools import combinations, pairwise
from typing import Final

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.ground import BoolArray, IntArray
from controller.core.placement.tree import Part, Tree, members_of, parts_of

MOST_TOGETHER: Final = 6
"""Parts up to which every set of them is weighed against what is free."""


def new_slots(ask: Ask) -> IntArray:
    """Return how many new pods each node takes of each part alone, of shape (P, N).

    No more than the part wants, and none where it shrinks.
    """
    count = len(ask.ground.nodes)
    slots = np.repeat(np.maximum(ask.pods - ask.running.sum(axis=1), 0)[:, None], count, axis=1)
    for resource in range(len(ask.resources)):
        taken = ask.each[:, resource]
        room = ask.free[:, resource][None, :] // np.maximum(taken, 1)[:, None]
        slots = np.where(taken[:, None] > 0, np.minimum(slots, room), slots)
    return np.where(ask.allowed, slots, 0)


def ceilings(ask: Ask) -> list[IntArray]:
    """Return for each level the most pods of each part in each domain, of shape (P, domains).

    Pods that run are among them. Packs are rounded down at their level and then summed upward,
    so for a part alone the figures are exact when each pack is a multiple of the next inner one.
    """
    sums = new_slots(ask) + ask.running
    parts = parts_of(ask.tree)
    found: list[IntArray] = []
    for level in reversed(range(len(ask.ground.levels))):
        if found:
            inner = ask.ground.starts[level + 1]
            sums = np.add.reduceat(sums, np.searchsorted(inner, ask.ground.starts[level]), axis=1)
        sizes = np.array([_size(part, ask.ground.levels[level]) for part in parts])
        sums = sums // sizes[:, None] * sizes[:, None]
        found.append(sums)
    return found[::-1]


def _size(part: Part, level: str) -> int:
    return next((pack.size or 1 for pack in part.packs if pack.level == level), 1)


def narrowed(ask: Ask) -> Ask:
    """Return the request without the domains that can't hold a group which must be in one.

    Nothing is lost: only domains fall away that hold too little by the counts. Where no domain
    is left for a group, its parts are allowed nowhere.
    """
    for member in reversed(tuple(members_of(ask.tree))):
        if member.require:
            ask = _narrowed_by(ask, member, ask.ground.rank(member.require))
    return ask


def _narrowed_by(ask: Ask, member: Tree, level: int) -> Ask:
    names = [part.name for part in parts_of(ask.tree)]
    rows = [names.index(part.name) for part in parts_of(member)]
    holds = domains_that_may_hold(ask.for_member(member), level)
    allowed = ask.allowed.copy()
    allowed[rows] &= holds[ask.ground.domain[level]]
    return replace(ask, allowed=allowed)


def domains_that_may_hold(ask: Ask, level: int) -> BoolArray:
    """Return which domains of a level aren't ruled out for the whole request by counts."""
    holds: BoolArray = np.logical_and.reduce(ceilings(ask)[level] >= ask.pods[:, None], axis=0)
    stays = ask.running[~ask.shrinks]
    holds &= ask.ground.total(level, stays).sum(axis=0) == stays.sum()
    return holds & _fits_together(ask, ask.ground.starts[level])


def _fits_together(ask: Ask, starts: IntArray) -> BoolArray:
    """Weigh every set of parts in slices of nodes: slots of their smallest size, and units."""
    rows = range(len(ask.each))
    sizes = range(2, len(rows) + 1) if len(rows) <= MOST_TOGETHER else (len(rows),)
    new = np.maximum(ask.pods - ask.running.sum(axis=1), 0)
    holds = np.ones(len(starts), dtype=np.bool_)
    for size in sizes:
        for chosen in combinations(rows, size):
            some = list(chosen)
            open_to = any_of(ask.allowed[some])
            for resource in range(len(ask.resources)):
                taken = ask.each[some, resource]
                unit = _unit(taken)
                free = ask.free[:, resource]
                if _is_chain(taken):
                    # Where only larger pods may go the rest of a node is of no use.
                    least = np.where(ask.allowed[some], taken[:, None], taken.max()).min(axis=0)
                    free = free // least * least
                room = np.where(open_to, free // unit, 0)
                holds &= np.add.reduceat(room, starts) >= int(new[some] @ taken) // unit
    return holds


def any_of(allowed: BoolArray) -> BoolArray:
    """Return the nodes that take a new pod of some part, of shape (N,)."""
    found: BoolArray = np.logical_or.reduce(allowed, axis=0)
    return found


def _unit(taken: IntArray) -> int:
    """Return the size in which a set of parts is counted: the smallest, if it divides all."""
    smallest = int(taken.min())
    return smallest if smallest > 0 and not (taken % smallest).any() else 1


def _is_chain(taken: IntArray) -> bool:
    """Return whether each size divides the next larger one."""
    sizes = sorted(set(taken.tolist()))
    return sizes[0] > 0 and all(more % less == 0 for less, more in pairwise(sizes))


def ruled_out(ask: Ask) -> bool:
    """Return whether counts alone say that some part, or all together, can't fit."""
    alone = ceilings(ask)[0].sum(axis=1) >= ask.pods
    everywhere = np.zeros(1, dtype=np.int64)
    return not (bool(alone.all()) and bool(_fits_together(ask, everywhere)[0]))
