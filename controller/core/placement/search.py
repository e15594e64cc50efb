"""Finds where a request goes: by tables where they fit the budget, else step by step."""

from dataclasses import dataclass

from controller.core.placement.ask import Ask
from controller.core.placement.best import best_of
from controller.core.placement.counts import narrowed, ruled_out
from controller.core.placement.ground import IntArray
from controller.core.placement.steps import Steps
from controller.core.placement.tables import MOST_IN_ALL, Budget, TooLargeError


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
