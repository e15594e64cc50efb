"""Whether counts keep to the levels and packs of a request."""

from controller.core.placement.ask import Ask
from controller.core.placement.ground import IntArray
from controller.core.placement.tree import Part, members_of, parts_of


def keeps_rules(ask: Ask, pods: IntArray) -> bool:
    """Return whether counts of shape (P, N) lie in single domains and whole packs as asked."""
    names = [part.name for part in parts_of(ask.tree)]
    for member in members_of(ask.tree):
        rows = [names.index(part.name) for part in parts_of(member)]
        if member.require:
            rank = ask.ground.rank(member.require)
            if (ask.ground.total(rank, pods[rows].sum(axis=0)) > 0).sum() > 1:
                return False
        if isinstance(member, Part) and not _packs_whole(ask, member, pods[rows[0]]):
            return False
    return True


def _packs_whole(ask: Ask, part: Part, pods: IntArray) -> bool:
    return all(
        not (ask.ground.total(ask.ground.rank(pack.level), pods) % (pack.size or 1)).any()
        for pack in part.packs
    )
