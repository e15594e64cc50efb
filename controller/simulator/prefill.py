"""Prefill as a queue of work: exact per request, or as a fluid in 1 s bins."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heappush, heapreplace
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.arrivals import (
    INPUT,
    OUTPUT,
    REQUESTS,
    SERVICE,
    SERVICE2,
    UNCACHED,
    WORK,
    Single,
)

MERGED_TOKENS: Final = 16_384
"""Most prompt tokens one batch merges."""

SMOOTH_S: Final = 30.0
"""Time constant of the work rate behind the stationary wait."""

MOST_LOAD: Final = 0.97
LONGEST_WAIT_S: Final = 3600.0
HORIZON: Final = 1024
"""Bins ahead in which a prompt that starts now can finish; longer prompts finish there."""

TINY: Final = 1e-9

FLOW: Final = (REQUESTS, INPUT, UNCACHED, OUTPUT)
"""What leaves prefill for decode: the first four fields of a block."""


def stationary_wait_s(load: Floats, instances: Floats, first: Floats, second: Floats) -> Floats:
    """Return the mean wait of a queue with ``instances`` servers, Poisson arrivals [s].

    ``first`` and ``second`` are E[S] and E[S^2]; the M/M/c approximation of Sakasegawa times the
    spread of S. Exact for one server.
    """
    c = np.maximum(instances, 1.0)
    share: Floats = load ** (np.sqrt(2 * (c + 1)) - 1) / (c * (1 - load))
    share *= second / np.maximum(2 * first, TINY)
    return share


class FluidPrefill:
    """All services at once: a backlog of work, and the tokens that wait with it.

    ``backlog_s`` [s of work] and ``load`` (smoothed share of capacity) have shape ``(n,)``,
    ``waiting`` (the rows of ``FLOW``) ``(4, n)``. Requests leave in proportion to the work done.
    """

    def __init__(self, fixed_s: Floats, rows: int) -> None:
        """Start empty; merged prompts share ``fixed_s`` of a prompt's time, shape ``(n,)``."""
        self._fixed_s = fixed_s
        self.backlog_s = np.zeros(rows)
        self.load = np.zeros(rows)
        self.waiting = np.zeros((4, rows))

    def run(self, arrivals: Floats, instances: Floats) -> "Prefilled":
        """Advance as many seconds as ``arrivals`` has bins, shape ``(T, FIELDS, n)``.

        ``instances`` are those of each bin, shape ``(T, n)``. What comes out doesn't depend on
        how time is cut into calls.
        """
        some = np.maximum(instances, 1.0)
        work = arrivals[:, WORK]
        if np.count_nonzero(self.backlog_s) or np.count_nonzero(work > instances):
            flow, work, backlog_s = self._queued(arrivals, instances, some)
        else:
            flow, backlog_s = arrivals[:, :4], np.zeros((len(work) + 1, work.shape[1]))
        self._smooth(np.minimum(work / some, 2.0))
        wait_s = (backlog_s[:-1] + backlog_s[1:]) / (2 * some)
        wait_s[instances == 0] = LONGEST_WAIT_S
        return Prefilled(flow, wait_s, (backlog_s[:-1] + work - backlog_s[1:]) / some)

    def _queued(
        self, arrivals: Floats, instances: Floats, some: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Return what leaves, the work after merging, and the backlog around each bin."""
        bins, rows = some.shape
        held = np.empty((bins, 4, rows))
        left = np.empty((bins, 4, rows))
        work = arrivals[:, WORK].copy()
        backlog_s = np.empty((bins + 1, rows))
        backlog_s[0] = self.backlog_s
        fixed_s = arrivals[:, REQUESTS] * self._fixed_s
        waiting = self.waiting
        for at in range(bins):
            total = np.add(waiting, arrivals[at, :4], out=held[at])
            if np.count_nonzero(waiting[REQUESTS] > some[at]):
                work[at] -= fixed_s[at] * self._shared(total, waiting, some[at])
            before = backlog_s[at] + work[at]
            rest = np.maximum(before - instances[at], 0.0, out=backlog_s[at + 1])
            rest *= rest > TINY
            before += before == 0.0
            waiting = np.multiply(total, rest / before, out=left[at])
        self.backlog_s, self.waiting = backlog_s[-1].copy(), waiting.copy()
        return held - left, work, backlog_s

    def _shared(self, total: Floats, waiting: Floats, some: Floats) -> Floats:
        """Return the share of their fixed time that merged prompts save, shape ``(n,)``.

        As many are merged as wait for an instance, up to ``MERGED_TOKENS``: of ``k``, ``1 - 1/k``.
        """
        for_tokens = total[UNCACHED] / (MERGED_TOKENS * np.maximum(total[REQUESTS], TINY))
        left = np.maximum(some / np.maximum(waiting[REQUESTS], TINY), for_tokens)
        saved: Floats = 1.0 - np.minimum(left, 1.0)
        return saved

    def _smooth(self, share: Floats) -> None:
        load = self.load
        share /= SMOOTH_S
        for each in share:
            load *= 1 - 1 / SMOOTH_S
            load += each

    def stationary_s(self, arrivals: Floats, instances: Floats) -> Floats:
        """Return the mean wait without a backlog at the smoothed load, shape ``(n,)`` [s]."""
        load = np.minimum(self.load, MOST_LOAD)
        return stationary_wait_s(load, instances, arrivals[SERVICE], arrivals[SERVICE2])


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What prefill did in each bin: what left, shape ``(T, 4, n)``, and arrays ``(T, n)``.

    ``wait_s`` is the wait of the backlog, ``busy`` the share of the instances' time in work.
    """

    flow: Floats
    wait_s: Floats
    busy: Floats


@dataclass(frozen=True, slots=True)
class Started:
    """Requests by when they arrived and when their prefill ends [s], and their tokens."""

    t_s: Floats
    end_s: Floats
    input_tokens: Floats
    output_tokens: Floats


class ExactPrefill:
    """One service: requests in order of arrival go to the instance that frees first.

    A request starts only when an instance is free, so requests that wait profit from new
    instances and don't suffer from leaving ones. Results don't depend on how running time is cut
    into calls.
    """

    def __init__(self, fixed_s: float) -> None:
        """Start empty, without instances; prompts that wait together share ``fixed_s``."""
        self._fixed_s = fixed_s
        self._free: list[float] = []
        self._t_s: list[float] = []
        self._service_s: list[float] = []
        self._tokens = np.zeros((3, 0))
        self._head = 0
        self._seen = 0
        self._due = np.zeros((HORIZON, len(FLOW)))
        self._started: list[Floats] = []
        self.started_s = 0.0

    @property
    def instances(self) -> int:
        """Instances that take prompts."""
        return len(self._free)

    def offer(self, requests: Single, from_s: float) -> None:
        """Add the requests that arrive at or after ``from_s``."""
        first = int(np.searchsorted(requests.t_s, from_s))
        head = self._head
        self._t_s = self._t_s[head:] + requests.t_s[first:].tolist()
        self._service_s = self._service_s[head:] + requests.service_s[first:].tolist()
        tokens = (requests.input_tokens, requests.uncached_tokens, requests.output_tokens)
        self._tokens = np.concatenate(
            (self._tokens[:, head:], np.array(tokens)[:, first:]), axis=1
        )
        self._seen = max(self._seen - head, 0)
        self._head = 0

    def resize(self, instances: int, now_s: float) -> None:
        """Let instances come, or let those go that finish first."""
        while len(self._free) < instances:
            heappush(self._free, now_s)
        if len(self._free) > instances:
            self._free = sorted(self._free)[len(self._free) - instances :]

    def run(self, until_s: float) -> None:
        """Start every request that can start before ``until_s``."""
        t_s, service_s, free = self._t_s, self._service_s, self._free
        first = head = self._head
        known = len(t_s)
        ends_s: list[float] = []
        while free and head < known and t_s[head] < until_s:
            start_s = t_s[head]
            if free[0] <= start_s:
                took_s = service_s[head]
            else:
                start_s = free[0]
                if start_s >= until_s:
                    break
                took_s = service_s[head] - self._shared_s(head, start_s)
            end_s = start_s + took_s
            heapreplace(free, end_s)
            ends_s.append(end_s)
            self.started_s += took_s
            head += 1
        self._head = head
        if ends_s:
            self._finish(np.array(ends_s), slice(first, head), until_s)

    def _shared_s(self, head: int, start_s: float) -> float:
        """Return what a waiting prompt saves by being merged with those that wait with it [s]."""
        seen, known = max(self._seen, head), len(self._t_s)
        while seen < known and self._t_s[seen] <= start_s:
            seen += 1
        self._seen = seen
        merged = (seen - head) / len(self._free)
        if merged <= 1:
            return 0.0
        most = max(MERGED_TOKENS / float(self._tokens[1, head]), 1.0)
        return self._fixed_s * (1 - 1 / min(merged, most))

    def _finish(self, ends_s: Floats, rows: slice, until_s: float) -> None:
        last = int(np.ceil(until_s)) + HORIZON - 2
        bins = np.minimum(ends_s.astype(np.int64), last) % HORIZON
        self._due[:, REQUESTS] += np.bincount(bins, minlength=HORIZON)
        for field, tokens in zip((INPUT, UNCACHED, OUTPUT), self._tokens, strict=True):
            self._due[:, field] += np.bincount(bins, tokens[rows], HORIZON)
        inputs, _, outputs = self._tokens[:, rows]
        self._started.append(np.array((self._t_s[rows], ends_s, inputs, outputs)))

    def leave(self, bin_s: int) -> Floats:
        """Return what finishes in the second that begins at ``bin_s``, the rows of ``FLOW``."""
        at = bin_s % HORIZON
        flow: Floats = self._due[at].copy()
        self._due[at] = 0.0
        return flow

    def ttft_s(self) -> Floats:
        """Return wait plus prefill of the requests started since the last call to it [s]."""
        started = self.started()
        found: Floats = started.end_s - started.t_s
        return found

    def started(self) -> "Started":
        """Return the requests started since the last call to it or to :meth:`ttft_s`."""
        found = Started(*np.concatenate((*self._started, np.zeros((4, 0))), axis=1))
        self._started.clear()
        return found

    def waiting(self, now_s: float) -> int:
        """Return how many requests have arrived by ``now_s`` and not started."""
        return max(bisect_left(self._t_s, now_s) - self._head, 0)

    def inside(self, now_s: float) -> Floats:
        """Return what has arrived and not left, the rows of ``FLOW``, shape ``(4,)``."""
        rows = self._waiting_rows(now_s)
        total: Floats = self._due.sum(axis=0)
        total[REQUESTS] += rows.stop - rows.start
        total[INPUT:] += self._tokens[:, rows].sum(axis=1)
        return total

    def waiting_tokens(self, now_s: float) -> tuple[float, float]:
        """Return the requests that have arrived and not started, and their output tokens."""
        rows = self._waiting_rows(now_s)
        return float(rows.stop - rows.start), float(self._tokens[2, rows].sum())

    def _waiting_rows(self, now_s: float) -> slice:
        return slice(self._head, self._head + self.waiting(now_s))

    def ahead_s(self, now_s: float) -> float:
        """Return the work started and not finished by ``now_s`` [s]."""
        return sum(max(free_s - now_s, 0.0) for free_s in self._free)

    def dump(self, now_s: float) -> dict[str, Floats]:
        """Return the state at ``now_s`` as arrays; requests still to come aren't part of it."""
        rows = self._waiting_rows(now_s)
        times = np.array((self._t_s[rows], self._service_s[rows]))
        return {
            "free": np.array(self._free),
            "queue": np.concatenate((times, self._tokens[:, rows])),
            "due": self._due,
            "ttft": self._ttft_so_far_s(),
            "started": np.array([self.started_s]),
        }

    def _ttft_so_far_s(self) -> Floats:
        found: Floats = np.concatenate([s[1] - s[0] for s in (*self._started, np.zeros((2, 0)))])
        return found

    def load(self, state: Mapping[str, Floats]) -> None:
        """Take over a state."""
        self._free = state["free"].tolist()
        self._t_s, self._service_s = (row.tolist() for row in state["queue"][:2])
        self._tokens = state["queue"][2:]
        self._head = self._seen = 0
        self._due = state["due"].copy()
        # Nobody asks for more than the TTFT of what had started before.
        self._started = [np.pad(state["ttft"][np.newaxis], ((1, 2), (0, 0)))]
        self.started_s = float(state["started"][0])
