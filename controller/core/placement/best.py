"""The best placement by tables, with preferences of levels kept wherever they can be."""

from dataclasses import replace

from controller.core.placement.ask import Ask
from controller.core.placement.counts import narrowed, ruled_out
from controller.core.placement.exact import best_counts
from controller.core.placement.ground import IntArray
from controller.core.placement.quality import outranks_nearness
from controller.core.placement.tables import Budget
from controller.core.placement.tree import NODE, Tree, members_of, with_wishes_required


def best_of(ask: Ask, budget: Budget) -> IntArray | None:
    """Return the best counts, (P, N); preferred levels that can be had are as good as required.

    That takes a search of its own only where scarcity or labels could be had for a preference.
    If not all can be had, the outermost level's goes first, then the one written first. Raises
    :class:`~controller.core.placement.tables.TooLargeError` beyond the budget.
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
    return None if ruled_out(kept) else best_counts(kept, budget)
