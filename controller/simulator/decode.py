"""Decode as processor sharing with a memory limit: a fluid in 1 s bins, all services at once."""

from collections.abc import Sequence
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
        self._log_miss = np.array([log(p.miss_frac) if p.experts else 0.0 for p in profiles])
        self.max_seqs = np.array([float(p.max_seqs) for p in profiles])
        self.capacity = np.array([float(p.kv_capacity_tokens) for p in profiles])
        self._moe = bool(self.c3.any())

    def step_s(self, batch: Floats, context: Floats) -> Floats:
        """Return the step time for ``batch`` sequences of ``context`` tokens each [s].

        Shapes ``(..., n)``.
        """
        step_s: Floats = self.c0 + batch * (self.c1 + self.c2 * context)
        if self._moe:
            step_s = step_s + self.c3 * (1 - np.exp(self._log_miss * batch))
        return step_s

    def limit(self, context: Floats) -> Floats:
        """Return the most sequences per instance at ``context`` tokens each, shape ``(n,)``."""
        limit: Floats = np.minimum(self.max_seqs, self.capacity / np.maximum(context, 1.0))
        return limit


class FluidDecode:
    """Sequences, tokens still to come and context tokens of every service.

    ``pool`` has shape ``(3, 2, n)``: what serving and what draining instances hold; ``queue``
    ``(3, n)``: what waits in front. A step takes the mean batch's time; sequences end at the rate
    of tokens made over tokens remaining, which is exact for geometric output lengths.
    """

    def __init__(self, times: StepTimes, rows: int) -> None:
        self._times = times
        self.pool = np.zeros((3, 2, rows))
        self.queue = np.zeros((3, rows))
        self.step_s = times.c0.copy()
        self.batch = np.zeros(rows)
        self.context = np.zeros(rows)
        self.limit = times.max_seqs.copy()
        self.admitted = np.zeros(rows)

    def step(self, arrivals: Floats, instances: Floats) -> Floats:
        """Advance one second; return tokens made by (serving, draining), shape ``(2, n)``.

        ``arrivals`` are sequences, their output and their input tokens, shape ``(3, n)``;
        ``instances`` the (serving, draining) counts, shape ``(2, n)``. Sets ``batch``,
        ``context``, ``step_s``, ``limit`` (all of one serving instance) and ``admitted``.
        """
        self._admit(arrivals, instances[SERVING])
        sequences, remaining, context = self.pool
        batch = sequences / np.maximum(instances, 1.0)
        each = context / np.maximum(sequences, TINY)
        step_s = self._times.step_s(np.maximum(batch, 1.0), each)
        made = np.minimum(sequences / step_s, remaining)
        made[instances == 0] = 0.0
        ended = np.minimum(sequences * made / np.maximum(remaining, TINY), sequences)
        context += made - ended * each
        sequences -= ended
        remaining -= made
        np.maximum(self.pool, 0.0, out=self.pool)
        self.batch, self.context, self.step_s = batch[SERVING], each[SERVING], step_s[SERVING]
        return made

    def _admit(self, arrivals: Floats, serving: Floats) -> None:
        queue = self.queue + arrivals
        inside = self.pool[:, SERVING]
        total = queue + inside
        self.limit = self._times.limit(total[CONTEXT] / np.maximum(total[SEQUENCES], TINY))
        room = np.maximum(serving * self.limit - inside[SEQUENCES], 0.0)
        moved = queue * np.minimum(room / np.maximum(queue[SEQUENCES], TINY), 1.0)
        self.queue = queue - moved
        inside += moved
        self.admitted = moved[SEQUENCES]

    def drain(self, row: int, share: float) -> None:
        """Give ``share`` of what serving instances hold to the draining ones."""
        moved = self.pool[:, SERVING, row] * share
        self.pool[:, SERVING, row] -= moved
        self.pool[:, DRAINING, row] += moved

    def release(self, row: int) -> None:
        """Put what the last draining instance didn't finish back in front (recomputed)."""
        self.queue[:, row] += self.pool[:, DRAINING, row]
        self.pool[:, DRAINING, row] = 0.0

    def inside(self) -> Floats:
        """Return sequences, remaining and context tokens held or waiting, shape ``(3, n)``."""
        total: Floats = self.queue + self.pool.sum(axis=1)
        return total
