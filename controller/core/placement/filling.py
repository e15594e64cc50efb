"""One part too large for tables, from the widest level down: best fit, else the roomiest first."""

from dataclasses import replace

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.counts import ceilings
from controller.core.placement.eligible import scarcity
from controller.core.placement.ground import IntArray
from controller.core.placement.tree import Part, parts_of


def filled(ask: Ask) -> IntArray | None:
    """Return counts of shape (1, N) for a request of one part, or None where none were found.

    Whether levels and packs hold is for the caller to see: pods that run may break them already,
    and packs whose sizes don't divide each other may. Packs beside pods that run are beyond it.
    """
    part = parts_of(ask.tree)[0]
    runs = int(ask.running.sum())
    if (part.packs and runs) or runs > part.pods:
        return None
    pods = _Filling(ask, part).run(part.pods - runs)
    return None if pods is None else ask.running + pods[None, :]


class _Filling:
    """Walks down the levels with a number of new pods still to be placed."""

    def __init__(self, ask: Ask, part: Part) -> None:
        self.ground = ask.ground
        self.part = part
        new = ask if not ask.running.any() else _as_new(ask)
        self.room = [level[0] for level in ceilings(new)]
        ranks = scarcity(ask.ground)
        self.rank = [
            np.maximum.reduceat(ranks, starts) if len(starts) else ranks
            for starts in ask.ground.starts
        ]
        self.pods = np.zeros(len(ask.ground.nodes), dtype=np.int64)

    def run(self, wanted: int) -> IntArray | None:
        """Return new pods per node, in one domain of the preferred or required level if any."""
        for level in dict.fromkeys((self.part.prefer, self.part.require)):
            if level is not None:
                rank = self.ground.rank(level)
                domains = np.arange(len(self.room[rank]))
                fitting = domains[self.room[rank] >= wanted]
                if fitting.size:
                    self._down(rank, self._tightest(rank, fitting), wanted)
                    return self.pods
        if self.part.require is not None:
            return None
        left = self._over(0, np.arange(len(self.room[0])), wanted)
        return self.pods if left == 0 else None

    def _down(self, level: int, domain: int, wanted: int) -> None:
        if level == len(self.room) - 1:
            self.pods[self.ground.starts[level][domain]] = wanted
            return
        begin, end = self.ground.slices(level)[domain]
        inner = np.searchsorted(self.ground.starts[level + 1], (begin, end))
        self._over(level + 1, np.arange(inner[0], inner[1]), wanted)

    def _over(self, level: int, domains: IntArray, wanted: int) -> int:
        """Place pods over sibling domains; return how many found no room."""
        left, open_to = wanted, domains
        while left and open_to.size:
            room = self.room[level][open_to]
            fitting = open_to[room >= left]
            chosen = (
                self._tightest(level, fitting) if fitting.size else int(open_to[np.argmax(room)])
            )
            taken = min(left, int(self.room[level][chosen]))
            if taken == 0:
                break
            self._down(level, chosen, taken)
            left -= taken
            open_to = open_to[open_to != chosen]
        return left

    def _tightest(self, level: int, domains: IntArray) -> int:
        order = np.lexsort((self.room[level][domains], self.rank[level][domains]))
        return int(domains[order[0]])


def _as_new(ask: Ask) -> Ask:
    """Return the request as if nothing ran, which leaves what is free as it is."""
    return replace(ask, running=np.zeros_like(ask.running))
