"""Finds where a request goes: by tables where they fit the budget, else step by step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from controller.core.placement.ask import Ask
from controller.core.placement.best import best_of
from controller.core.placement.counts import narrowed, ruled_out
from controller.core.placement.ground import IntArray
from controller.core.placement.steps import Steps
from controller.core.placement.tables import MOST_IN_ALL, Budget, TooLargeError

MOST_IN_TURN: Final = 16
"""Sizes of one request that are tried one by one before they are halved."""


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
    if ruled_out(ask):
        return Found(None, proved=True)
    try:
        return Found(best_of(ask, Budget(pairs)), proved=True)
    except TooLargeError:
        return Found(Steps(pairs).placed(ask), proved=False)


def last_that(fits: Callable[[int], bool], count: int) -> int | None:
    """Return the last of ``count`` sizes that fits, or None; they are in ascending order.

    From the largest down for a few, since ceilings come close; then by halves, as what fits
    fits in smaller sizes too.
    """
    for index in range(count - 1, max(count - 1 - MOST_IN_TURN, -1), -1):
        if fits(index):
            return index
    low, high = -1, count - MOST_IN_TURN
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low if low >= 0 else None
