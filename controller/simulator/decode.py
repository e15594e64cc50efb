"""Decode as processor sharing with a memory limit: a fluid in 1 s bins, all services at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.profiles import Profile

TINY: Final = 1e-9
SEQUENCES, REMAINING, CONTEXT = range(3)
SERVING, DRAINING = range(2)


class StepTimes:
    """The step-time parameters of many services as arrays of shape ``(n,)``."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.c0 = np.array([p.c0 for p in profiles])
        self.c1 = np.array([p.c1 for p in profiles])
        self.c2 = np.array([p.c2 for p in profiles])
        self.c3 = np.array([p.c3 for p in profiles])
        self.log_miss = np.array([log(p.miss_frac) if p.experts else 0.0 for p in profiles])
        self.max_seqs = np.array([float(p.max_seqs) for p in profiles])
        self.capacity = np.array([float(p.kv_capacity_tokens) for p in profiles])
        self.moe = bool(self.c3.any())

    def step_s(self, batch: Floats, context: Floats) -> Floats:
        """Return the step time for ``batch`` sequences of ``context`` tokens each [s].

        Shapes ``(..., n)``.
        """
        step_s: Floats = self.c0 + batch * (self.c1 + self.c2 * context)
        if self.moe:
            step_s = step_s + self.c3 * (1 - np.exp(self.log_miss * batch))
        return step_s

    def limit(self, held: Floats) -> Floats:
        """Return the most sequences per instance with ``held`` tokens each, shape ``(n,)``."""
        limit: Floats = np.minimum(self.max_seqs, self.capacity / np.maximum(held, 1.0))
        return limit


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decode did in each bin, arrays of shape ``(T, n)``.

    ``made`` are tokens made by all instances; ``step_s``, ``batch``, ``context`` (tokens per
    sequence) and ``limit`` (most sequences) are of one serving instance; ``queued`` and
    ``admitted`` are sequences.
    """

    made: Floats
    step_s: Floats
    batch: Floats
    context: Floats
    limit: Floats
    queued: Floats
    admitted: Floats


class FluidDecode:
    """Sequences, tokens still to come and context tokens of every service.

    ``pool`` has shape ``(3, 2, n)``: what serving and what draining instances hold; ``queue``
    ``(3, n)``: what waits in front. A step takes the mean batch's time; sequences end at the rate
    of tokens made over tokens remaining, which is exact for geometric output lengths.

    Among those that run, long answers are more frequent than among those that come: with the
    spread ``v = E[out^2] / E[out]^2`` a running sequence holds ``in + v/2 * out`` tokens on
    average and ``in + v * out`` at its end, which memory is set aside for. Here geometric lengths,
    whose ``v`` is 2, make ``context`` the former and ``remaining`` one ``out``.
    """

    def __init__(self, times: StepTimes, rows: int) -> None:
        """Start empty, with geometric lengths."""
        self._times = times
        self.expect(np.full(rows, 2.0))
        self._c0, self._c3, self._log_miss = (
            np.tile(row, 2) for row in (times.c0, times.c3, times.log_miss)
        )
        self.pool = np.zeros((3, 2, rows))
        self.queue = np.zeros((3, rows))
        self.step_s = times.c0.copy()
        self.batch = np.zeros(rows)

    def expect(self, spread: Floats) -> None:
        """Take output lengths of this spread from now on, shape ``(n,)``."""
        times, rows = self._times, len(spread)
        longer = np.maximum(spread / 2 - 1, 0.0)
        self._slopes = np.tile(np.array((times.c1, times.c2 * longer, times.c2)), 2)
        self._aside = np.array((np.zeros(rows), np.maximum(spread - 1, 0.0), np.ones(rows)))
        self._most = np.array((times.max_seqs, times.capacity))

    def run(self, arrivals: Floats, instances: Floats) -> Decoded:
        """Advance as many seconds as ``arrivals`` has bins, shape ``(T, 3, n)``.

        Arrivals are sequences, their output and their input tokens; ``instances``, shape
        ``(T, 2, n)``, are the (serving, draining) counts of each bin. What comes out doesn't
        depend on how time is cut into calls. Sets ``step_s`` and ``batch`` to the last bin's.
        """
        bins, _, rows = arrivals.shape
        # Serving and draining instances are columns side by side: one pass for both.
        held = np.zeros((bins, 3, 2 * rows))
        held[:, :, :rows] = arrivals
        steps_s, made = np.empty((2, bins, 2 * rows))
        queued, admitted = np.zeros((bins, rows)), arrivals[:, SEQUENCES].copy()
        counts = np.maximum(instances, 1.0).reshape(bins, -1)
        alive = (instances > 0).reshape(bins, -1).astype(np.float64)
        room = instances[:, SERVING, np.newaxis] * self._most
        state = self.pool.reshape(3, 2 * rows)
        waits = bool(self.queue[SEQUENCES].any())
        for at in range(bins):
            now = np.add(held[at], state, out=held[at])
            if waits or self._is_full(now[:, :rows], room[at]):
                now[:, :rows] = state[:, :rows]
                admitted[at] = self._admit(arrivals[at], now[:, :rows], instances[at, SERVING])
                queued[at] = self.queue[SEQUENCES]
                waits = bool(np.count_nonzero(queued[at]))
            state = self._next(now, (counts[at], alive[at]), steps_s[at], made[at])
        self.pool = state.reshape(3, 2, rows)
        made = made[:, :rows] + made[:, rows:]
        return self._decoded(
            held[:, :, :rows], counts[:, :rows], (made, steps_s[:, :rows], queued, admitted)
        )

    def _is_full(self, serving: Floats, room: Floats) -> bool:
        """Return whether somebody has more sequences, or sets more memory aside, than there is."""
        if np.count_nonzero(serving[SEQUENCES] > room[0]):
            return True
        return bool(np.count_nonzero(np.add.reduce(serving * self._aside) > room[1]))

    def _next(
        self, now: Floats, served: tuple[Floats, Floats], step_s: Floats, made: Floats
    ) -> Floats:
        """Write step time and tokens made of a second; return the state after it.

        Sequences end in the share of their remaining tokens that is made, and who leaves takes
        along what it made: without sequences no context is left. A lone sequence is a batch of
        one.
        """
        counts, alive = served
        sequences = np.maximum(now[SEQUENCES], TINY)
        np.add.reduce(now * self._slopes, out=step_s)
        step_s /= np.minimum(sequences, counts)
        step_s += self._c0
        if self._times.moe:
            batch = np.maximum(sequences / counts, 1.0)
            step_s += self._c3 * (1.0 - np.exp(self._log_miss * batch))
        share = now[SEQUENCES] / (step_s * np.maximum(now[REMAINING], TINY))
        np.minimum(share, alive, out=share)
        np.multiply(now[REMAINING], share, out=made)
        state = now.copy()
        state[CONTEXT] += made
        state *= np.subtract(1.0, share, out=share)
        return state

    def _decoded(
        self, held: Floats, counts: Floats, rest: tuple[Floats, Floats, Floats, Floats]
    ) -> Decoded:
        made, step_s, queued, admitted = rest
        sequences = held[:, SEQUENCES]
        batch = sequences / counts
        context = held[:, CONTEXT] / np.maximum(sequences, TINY)
        self.step_s, self.batch = step_s[-1].copy(), batch[-1].copy()
        aside = (held * self._aside).sum(axis=1) / np.maximum(sequences, TINY)
        limit = self._times.limit(aside)
        return Decoded(made, step_s, batch, context, limit, queued, admitted)

    def _admit(self, coming: Floats, inside: Floats, serving: Floats) -> Floats:
        """Let in what there is room for; return the sequences, shape ``(n,)``."""
        queue = self.queue + coming
        waiting = np.maximum(queue[SEQUENCES], TINY)
        each = np.maximum(np.add.reduce(queue * self._aside), waiting)
        free = serving * self._times.capacity - np.add.reduce(inside * self._aside)
        share = np.minimum(
            (serving * self._times.max_seqs - inside[SEQUENCES]) / waiting, free / each
        )
        moved = queue * np.minimum(np.maximum(share, 0.0), 1.0)
        self.queue = queue - moved
        inside += moved
        admitted: Floats = moved[SEQUENCES]
        return admitted

    def drain(self, row: int, share: float) -> None:
        """Give ``share`` of what serving instances hold to the draining ones."""
        moved = self.pool[:, SERVING, row] * share
        self.pool[:, SERVING, row] -= moved
        self.pool[:, DRAINING, row] += moved

    def give_back(self, row: int, share: float) -> None:
        """Give ``share`` of what draining instances hold back to the serving ones."""
        moved = self.pool[:, DRAINING, row] * share
        self.pool[:, DRAINING, row] -= moved
        self.pool[:, SERVING, row] += moved

    def release(self, row: int) -> None:
        """Put what the last draining instance didn't finish back in front (recomputed)."""
        self.queue[:, row] += self.pool[:, DRAINING, row]
        self.pool[:, DRAINING, row] = 0.0

    def inside(self) -> Floats:
        """Return sequences, remaining and context tokens held or waiting, shape ``(3, n)``."""
        total: Floats = self.queue + self.pool.sum(axis=1)
        return total
