"""Tiers of switches, and cycles among them."""

from collections.abc import Hashable, Iterable
from typing import TypeVar

_H = TypeVar("_H", bound=Hashable)


def tier_of(near: Iterable[_H], cables: Iterable[tuple[_H, _H]]) -> dict[_H, int]:
    """Return the tier of each switch: 0 for those in ``near``, then by steps away from these.

    ``cables`` join switches and may hold cycles; a switch that nothing joins to a node has none.
    """
    beside: dict[_H, set[_H]] = {}
    for one, other in cables:
        beside.setdefault(one, set()).add(other)
        beside.setdefault(other, set()).add(one)
    tiers = dict.fromkeys(near, 0)
    edge, tier = set(tiers), 0
    while edge:
        tier += 1
        edge = {other for one in edge for other in beside.get(one, ()) if other not in tiers}
        tiers.update(dict.fromkeys(edge, tier))
    return tiers


def cycle_in(uplinks: Iterable[tuple[str, str]]) -> list[str]:
    """Return switches of which each stands above the one before, and the first above the last.

    ``uplinks`` are (lower, upper). Empty when there is no such cycle.
    """
    below: dict[str, set[str]] = {}
    above: dict[str, set[str]] = {}
    for lower, upper in uplinks:
        below.setdefault(upper, set()).add(lower)
        above.setdefault(lower, set()).add(upper)
    # What has nothing below it is in no cycle; what is left when these are gone is in one, or
    # above one.
    left = {*below, *above}
    free = [one for one in left if not below.get(one)]
    while free:
        gone = free.pop()
        left.discard(gone)
        for upper in above.get(gone, ()):
            below[upper].discard(gone)
            if not below[upper]:
                free.append(upper)
    if not left:
        return []
    # Every switch left has one below it that is left too, so going down must come back.
    path: dict[str, int] = {}
    now = min(left)
    while now not in path:
        path[now] = len(path)
        now = min(below[now] & left)
    cycle = list(path)[path[now] :][::-1]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]
