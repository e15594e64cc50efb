"""Which places of a node's GPUs are free, and which of them an instance gets."""

from collections.abc import Iterable
from operator import itemgetter

Range = tuple[int, int]
"""Places from the first up to the one after the last."""


def gaps(count: int, taken: Iterable[Range]) -> list[Range]:
    """Return what is free of a node's first ``count`` places, the lowest first."""
    free: list[Range] = []
    at = 0
    for first, end in sorted(taken):
        if first > at:
            free.append((at, min(first, count)))
        at = max(at, end)
        if at >= count:
            break
    if at < count:
        free.append((at, count))
    return free


def places(free: Iterable[Range], gpus: int) -> list[Range] | None:
    """Return the free places that ``gpus`` GPUs get; ``None`` where there are too few.

    As few ranges as can be, and of those the lowest.
    """
    left = list(free)
    if sum(end - first for first, end in left) < gpus:
        return None
    chosen: list[Range] = []
    while gpus:
        fits = [one for one in left if one[1] - one[0] >= gpus]
        # No single one will do: the widest leave the fewest to be added.
        first, end = min(fits) if fits else max(left, key=lambda one: (one[1] - one[0], -one[0]))
        left.remove((first, end))
        end = min(end, first + gpus)
        chosen.append((first, end))
        gpus -= end - first
    return sorted(chosen, key=itemgetter(0))
