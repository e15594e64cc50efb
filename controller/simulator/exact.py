"""Decode request by request: every step of every instance, jumped over in closed form."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, inf, isinf, nan, sqrt

import numpy as np

from controller.core.types import Counts, Floats, Instances
from controller.simulator.arrivals import Single
from controller.simulator.prefill import ExactPrefill
from controller.simulator.profiles import Profile
from controller.simulator.workload import Requests

__all__ = ["Bins", "ExactDecode", "Outcome", "Taken", "simulate", "weighted_quantiles"]

SERIAL, DRAINING, START_S, FIRST_STEP_S, GROWTH_S, BATCH, CONTEXT, FROM, TO = range(9)
"""Columns of a piece: steps ``FROM`` to ``TO`` of a run of steps with one batch."""

Piece = tuple[int, int, float, float, float, int, int, int, int]


@dataclass(slots=True)
class _Sequence:
    """One request in decode; context and remaining tokens are those when it last joined."""

    number: int
    asked_s: float
    ready_s: float
    output: int
    context: int
    remaining: int
    first_s: float = nan

    @property
    def need(self) -> int:
        """KV tokens it holds at its end."""
        return self.context + self.remaining


@dataclass(slots=True, eq=False)
class _Engine:
    """One instance. Between two changes of its batch the steps form a *run*.

    Step ``n`` of a run begins at ``start_s + n*first_step_s + growth_s*n*(n-1)``: each step is
    longer than the one before by ``2*growth_s``, the time to read one token more per sequence.
    Counts are those at the start of the run.
    """

    serial: int
    start_s: float
    draining: bool = False
    steps: int = 0
    batch: int = 0
    context: int = 0
    outstanding: int = 0
    reserved: int = 0
    counted: int = 0
    version: int = 0
    first_step_s: float = 0.0
    growth_s: float = 0.0
    leaving: list[tuple[int, int, _Sequence]] = field(default_factory=list)
    fresh: list[_Sequence] = field(default_factory=list)

    def border_s(self, n: int) -> float:
        """Return when step ``n`` of the run begins."""
        return self.start_s + (n * self.first_step_s + self.growth_s * (n * (n - 1)))

    def begun(self, until_s: float) -> int:
        """Return how many steps of the run begin before ``until_s``."""
        span_s = until_s - self.start_s
        if span_s <= 0 or not self.batch:
            return 0
        linear = self.first_step_s - self.growth_s
        n = int(2 * span_s / (linear + sqrt(linear * linear + 4 * self.growth_s * span_s)))
        while self.border_s(n) < until_s:
            n += 1
        while n and self.border_s(n - 1) >= until_s:
            n -= 1
        return n

    def piece(self, until: int) -> Piece:
        """Return the steps of the run up to ``until`` that aren't counted yet."""
        return (
            self.serial,
            int(self.draining),
            self.start_s,
            self.first_step_s,
            self.growth_s,
            self.batch,
            self.context,
            self.counted,
            until,
        )

    def move_on(self, n: int) -> None:
        """Let a new run begin after ``n`` steps of this one."""
        self.start_s = self.border_s(n)
        self.steps += n
        self.context += self.batch * n
        self.outstanding -= self.batch * n
        self.counted = 0

    def join(self, sequence: _Sequence) -> None:
        """Take a sequence at the start of the run."""
        self.batch += 1
        self.context += sequence.context
        self.outstanding += sequence.remaining
        self.reserved += sequence.need
        last = self.steps + sequence.remaining
        heappush(self.leaving, (last, sequence.number, sequence))
        self.fresh.append(sequence)

    def drop(self) -> _Sequence:
        """Give up the sequence that has the fewest tokens to make."""
        last, _, sequence = heappop(self.leaving)
        left = last - self.steps
        self.batch -= 1
        self.context -= sequence.need - left
        self.outstanding -= left
        self.reserved -= sequence.need
        return sequence


@dataclass(frozen=True, slots=True)
class Bins:
    """Sums per bin of 1 s; a step counts, with its whole length, in the bin it begins in.

    ``made`` are tokens, ``sequence_s`` sequences times seconds (over 1 s and the instances it is
    the mean batch, over ``made`` the mean TBT of a token), ``busy_s`` the seconds of all steps,
    ``context`` the context tokens read, summed over steps (over ``made`` the mean context of a
    sequence): of serving and of draining instances, shape ``(2, bins)``. ``admitted`` are
    requests and ``queued`` those waiting at the end of the bin, shape ``(bins,)``.
    """

    made: Counts
    sequence_s: Floats
    busy_s: Floats
    context: Counts
    admitted: Counts
    queued: Counts


@dataclass(frozen=True, slots=True)
class Taken:
    """What happened since the last look.

    ``started`` are the numbers of requests whose first step began, with ``ttft_s`` since they
    were asked and ``waited_s`` from ready to their first step; ``finished`` those whose last
    step began, with ``done_s`` and ``tbt_s``, the mean time between their tokens (NaN for a
    single token); both in order of number. ``step_s`` and ``tokens`` are step lengths and the
    tokens that saw them.
    """

    bins: Bins
    started: Counts
    ttft_s: Floats
    waited_s: Floats
    finished: Counts
    done_s: Floats
    tbt_s: Floats
    step_s: Floats
    tokens: Counts


def weighted_quantiles(values: Floats, weights: Counts, levels: Sequence[float]) -> Floats:
    """Return the quantiles at ``levels`` of values that count ``weights`` times each.

    So ``step_s`` and ``tokens`` of :class:`Taken` give TBT over tokens [s]. NaN of no values.
    """
    if not len(values):
        return np.full(len(levels), np.nan)
    order = np.argsort(values, kind="stable")
    share = np.cumsum(weights[order]) / weights.sum()
    found: Floats = values[order][np.minimum(np.searchsorted(share, levels), len(order) - 1)]
    return found


class ExactDecode:
    """One service: its decode instances, and one queue in front of all of them.

    A sequence joins at a step border and makes all its output tokens here, the first of them in
    its first step. It is admitted, first come first served, when an instance has room for it and
    for the KV tokens it will have at its end; among instances with room the one with the fewest
    outstanding tokens takes it. A request larger than a whole memory is admitted alone. A step
    that has begun counts as made. Results don't depend on how running time is cut into calls.
    """

    def __init__(self, profile: Profile) -> None:
        """Start empty, without instances."""
        self._profile = profile
        batches = np.arange(profile.max_seqs + 1, dtype=np.float64)
        self._step_s: list[float] = profile.step_s(batches, 0.0).tolist()
        self._engines: dict[int, _Engine] = {}
        self._serving: list[_Engine] = []
        self._events: list[tuple[float, int, int]] = []
        self._coming: deque[_Sequence] = deque()
        self._queue: deque[_Sequence] = deque()
        self._numbers = self._serials = self._queued = 0
        self._since_s = self._run_s = self._last_s = 0.0
        self.oversized = self.recomputed = 0
        self._forget()

    def _forget(self) -> None:
        self._pieces: list[Piece] = []
        self._started: list[tuple[int, float, float]] = []
        self._finished: list[tuple[int, float, float]] = []
        self._admitted_s: list[float] = []
        self._arrived_s: list[float] = []

    @property
    def instances(self) -> tuple[int, int]:
        """Instances that serve, and those that drain and still have sequences."""
        return len(self._serving), len(self._engines) - len(self._serving)

    def offer(
        self, ready_s: Floats, asked_s: Floats, input_tokens: Floats, output_tokens: Floats
    ) -> None:
        """Add requests, numbered on in the order given, that come in any order of ``ready_s``.

        ``ready_s`` is when the KV cache has arrived, not before the time run so far; ``asked_s``
        when the user asked. A request makes at least one token.
        """
        first = self._numbers
        self._numbers += len(ready_s)
        inputs = np.rint(input_tokens).astype(np.int64).tolist()
        outputs = np.maximum(np.rint(output_tokens), 1.0).astype(np.int64).tolist()
        rows = zip(asked_s.tolist(), ready_s.tolist(), inputs, outputs, strict=True)
        new = [
            _Sequence(number, asked, ready, output, context, output)
            for number, (asked, ready, context, output) in enumerate(rows, start=first)
        ]
        self._coming = deque(sorted((*self._coming, *new), key=lambda s: s.ready_s))

    def resize(self, serving: int, now_s: float) -> None:
        """Let instances come, or those with the fewest outstanding tokens drain.

        A draining instance takes nothing new, finishes what it has and is gone.
        """
        self.run(now_s)
        while len(self._serving) < serving:
            engine = _Engine(self._serials, now_s)
            self._serials += 1
            self._engines[engine.serial] = engine
            self._serving.append(engine)
        surplus = len(self._serving) - serving
        if surplus > 0:
            by_load = sorted(self._serving, key=lambda e: e.outstanding - e.batch * e.begun(now_s))
            for engine in by_load[:surplus]:
                self._drain(engine, now_s)
        self._admit(now_s)

    def _drain(self, engine: _Engine, now_s: float) -> None:
        self._serving.remove(engine)
        del self._engines[engine.serial]
        if engine.batch:
            self._turn(engine, now_s, draining=True)

    def _turn(self, engine: _Engine, now_s: float, *, draining: bool) -> None:
        """Let an instance with sequences drain, or serve again; it counts as the latest."""
        self._move_on(engine, engine.begun(now_s))
        engine.draining = draining
        self._restart(engine)
        self._engines[engine.serial] = engine

    def give_back(self, count: int, now_s: float) -> None:
        """Let the ``count`` instances that began to drain last serve again, with all they hold.

        Those that have finished are gone: :meth:`resize` brings them back empty.
        """
        self.run(now_s)
        draining = [engine for engine in self._engines.values() if engine.draining]
        for engine in draining[max(len(draining) - count, 0) :]:
            del self._engines[engine.serial]
            self._turn(engine, now_s, draining=False)
            self._serving.append(engine)
        self._admit(now_s)

    def release(self, now_s: float, keep: int = 0) -> None:
        """Take all draining instances away but the ``keep`` that began to drain last.

        What they haven't finished goes back to the front of the queue with the tokens it still
        has to make, and is counted in ``recomputed``.
        """
        self.run(now_s)
        draining = [engine for engine in self._engines.values() if engine.draining]
        back: list[_Sequence] = []
        for engine in draining[: len(draining) - keep]:
            self._move_on(engine, engine.begun(now_s))
            for last, _, sequence in engine.leaving:
                left = last - engine.steps
                sequence.context, sequence.remaining = sequence.need - left, left
                back.append(sequence)
            del self._engines[engine.serial]
        self.recomputed += len(back)
        self._arrived_s.extend([now_s] * len(back))
        self._queue.extendleft(sorted(back, key=lambda s: s.number, reverse=True))
        self._admit(now_s)

    def run(self, until_s: float) -> None:
        """Begin every step that begins before ``until_s``; infinity means until all is made."""
        while True:
            arrival_s = self._coming[0].ready_s if self._coming else inf
            leave_s = self._events[0][0] if self._events else inf
            if min(arrival_s, leave_s) >= until_s:
                break
            if leave_s < arrival_s:
                self._end_run(leave_s)
            else:
                self._queue.append(self._coming.popleft())
                self._arrived_s.append(arrival_s)
                self._admit(arrival_s)
        self._run_s = max(self._run_s, self._last_s if isinf(until_s) else until_s)

    def _end_run(self, now_s: float) -> None:
        """Let the sequences leave whose last step begins at ``now_s``."""
        _, serial, version = heappop(self._events)
        engine = self._engines.get(serial)
        if engine is None or engine.version != version:
            return
        self._move_on(engine, engine.leaving[0][0] - engine.steps)
        done_s = self._last_s = engine.start_s
        while engine.leaving and engine.leaving[0][0] == engine.steps:
            sequence = engine.drop()
            gaps = sequence.output - 1
            tbt_s = (done_s - sequence.first_s) / gaps if gaps else nan
            self._finished.append((sequence.number, done_s, tbt_s))
        if engine.draining and not engine.batch:
            del self._engines[serial]
        self._restart(engine)
        self._admit(now_s)

    def _admit(self, now_s: float) -> None:
        """Move waiting requests to instances while the first of them fits somewhere."""
        while self._queue:
            sequence = self._queue[0]
            found = self._roomiest(sequence.need, now_s)
            if found is None:
                return
            engine, n = found
            if engine.batch:
                self._move_on(engine, n)
            else:
                engine.start_s = max(engine.start_s, now_s)
                self.oversized += sequence.need > self._profile.kv_capacity_tokens
            engine.join(self._queue.popleft())
            self._admitted_s.append(now_s)
            self._restart(engine)

    def _roomiest(self, need: int, now_s: float) -> tuple[_Engine, int] | None:
        """Return where a request goes, and the steps begun there; None without room."""
        most, capacity = self._profile.max_seqs, self._profile.kv_capacity_tokens
        found, least = None, inf
        for engine in self._serving:
            batch = engine.batch
            if batch and (batch >= most or engine.reserved + need > capacity):
                continue
            n = engine.begun(now_s)
            left = engine.outstanding - batch * n
            if left < least:
                found, least = (engine, n), left
        return found

    def _move_on(self, engine: _Engine, n: int) -> None:
        if n == 0:
            return
        if n > engine.counted:
            self._pieces.append(engine.piece(n))
        self._note_first(engine)
        engine.move_on(n)

    def _note_first(self, engine: _Engine) -> None:
        """Note the first tokens of what joined at the start of a run that has begun."""
        first_s = engine.border_s(1)
        for sequence in engine.fresh:
            if sequence.first_s != sequence.first_s:  # NaN: not a recomputed one
                sequence.first_s = first_s
                waited_s = engine.start_s - sequence.ready_s
                self._started.append((sequence.number, first_s - sequence.asked_s, waited_s))
        engine.fresh.clear()

    def _restart(self, engine: _Engine) -> None:
        """Time the steps of a run that begins, and note when its last one does."""
        engine.version += 1
        if not engine.batch:
            return
        c2 = self._profile.c2
        engine.first_step_s = self._step_s[engine.batch] + c2 * engine.context
        engine.growth_s = c2 * engine.batch / 2
        last = engine.leaving[0][0] - engine.steps - 1
        heappush(self._events, (engine.border_s(last), engine.serial, engine.version))

    def take(self) -> Taken:
        """Return what happened from the last call to it to the time run so far.

        That is one bin at least; the last is a part of a second when that isn't a whole number
        of seconds.
        """
        for engine in self._engines.values():
            n = engine.begun(self._run_s)
            if n > engine.counted:
                self._pieces.append(engine.piece(n))
                engine.counted = n
            if n:
                self._note_first(engine)
        count = max(ceil(self._run_s - self._since_s), 1)
        parts = _parts(self._pieces, self._since_s, count)
        bins = self._bins(parts, count)
        started = np.array(sorted(self._started)).reshape(-1, 3)
        finished = np.array(sorted(self._finished)).reshape(-1, 3)
        self._queued = int(bins.queued[-1])
        self._since_s = self._run_s
        self._forget()
        return Taken(
            bins,
            started[:, 0].astype(np.int64),
            started[:, 1],
            started[:, 2],
            finished[:, 0].astype(np.int64),
            finished[:, 1],
            finished[:, 2],
            parts.length_s / np.maximum(parts.steps, 1),
            np.rint(parts.tokens).astype(np.int64),
        )

    def _bins(self, parts: "_Parts", count: int) -> Bins:
        cells = parts.draining * count + parts.bin

        def per_bin(weights: Floats) -> Floats:
            sums = np.zeros(2 * count)
            np.add.at(sums, cells, weights)
            return sums.reshape(2, count)

        def events(times_s: Sequence[float]) -> Counts:
            at = np.minimum((np.array(times_s) - self._since_s).astype(np.int64), count - 1)
            return np.bincount(at, minlength=count)

        admitted = events(self._admitted_s)
        return Bins(
            np.rint(per_bin(parts.tokens)).astype(np.int64),
            per_bin(parts.length_s * parts.batch),
            per_bin(parts.length_s),
            np.rint(per_bin(parts.context)).astype(np.int64),
            admitted,
            self._queued + np.cumsum(events(self._arrived_s) - admitted),
        )

    def unstarted(self, asked_s: float) -> int:
        """Return the requests asked before ``asked_s`` [s] that wait for their first step."""
        waiting = (*self._queue, *self._coming)
        # One that was put back to be recomputed has had its first token.
        return sum(s.asked_s < asked_s and s.first_s != s.first_s for s in waiting)

    def longest_s(self, now_s: float) -> float:
        """Return about how long the sequence with the most tokens to make still takes [s]."""
        return max(
            (
                (last - engine.steps - engine.begun(now_s)) * engine.first_step_s
                for engine in self._engines.values()
                for last, _, _ in engine.leaving
            ),
            default=0.0,
        )

    def inside(self) -> Counts:
        """Return what isn't finished at the time run so far, shape ``(3, 3)``.

        Rows: sequences, tokens still to make, context tokens. Columns: with an instance, waiting,
        offered but not ready yet.
        """
        total = np.zeros((3, 3), dtype=np.int64)
        for engine in self._engines.values():
            made = engine.batch * engine.begun(self._run_s)
            total[:, 0] += engine.batch, engine.outstanding - made, engine.context + made
        for column, waiting in ((1, self._queue), (2, self._coming)):
            for sequence in waiting:
                total[:, column] += 1, sequence.remaining, sequence.context
        return total


@dataclass(frozen=True, slots=True)
class _Parts:
    """Pieces cut at the borders of bins: arrays of one length, instance by instance."""

    draining: Counts
    bin: Counts
    batch: Floats
    steps: Floats
    length_s: Floats
    context: Floats

    @property
    def tokens(self) -> Floats:
        """Tokens made."""
        return self.steps * self.batch


def _parts(pieces: Sequence[Piece], since_s: float, count: int) -> _Parts:
    """Return the steps of each piece in each of the ``count`` bins it touches."""
    table = np.array(pieces, dtype=np.float64).reshape(-1, 9)
    table = table[np.argsort(table[:, SERIAL], kind="stable")]
    ends = np.stack((table[:, FROM], table[:, TO] - 1))
    first, last = np.minimum((_begin_s(table, ends) - since_s).astype(np.int64), count - 1)
    touched = last - first + 1
    at = np.repeat(np.arange(len(table)), touched)
    begin = np.cumsum(touched) - touched
    bins = first[at] + np.arange(len(at)) - begin[at]
    rows = table[at]
    low = np.where(bins == first[at], rows[:, FROM], _begun(rows, since_s + bins))
    high = np.where(bins == last[at], rows[:, TO], _begun(rows, since_s + bins + 1))
    steps = high - low
    pairs = high * (high - 1) - low * (low - 1)
    context = steps * rows[:, CONTEXT] + rows[:, BATCH] * pairs / 2
    return _Parts(
        rows[:, DRAINING].astype(np.int64),
        bins,
        rows[:, BATCH],
        steps,
        steps * rows[:, FIRST_STEP_S] + rows[:, GROWTH_S] * pairs,
        context,
    )


def _begin_s(rows: Floats, n: Floats) -> Floats:
    begin_s: Floats = rows[:, START_S] + (
        n * rows[:, FIRST_STEP_S] + rows[:, GROWTH_S] * (n * (n - 1))
    )
    return begin_s


def _begun(rows: Floats, until_s: Floats) -> Floats:
    """Return how many steps of each run begin before ``until_s``, as the engines count them."""
    span_s = np.maximum(until_s - rows[:, START_S], 0.0)
    linear = rows[:, FIRST_STEP_S] - rows[:, GROWTH_S]
    n = np.floor(2 * span_s / (linear + np.sqrt(linear**2 + 4 * rows[:, GROWTH_S] * span_s)))
    n += _begin_s(rows, n) < until_s
    n -= (n > 0) & (_begin_s(rows, n - 1) >= until_s)
    return n


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each request, in their order, and of the service as a whole.

    ``ttft_s`` is from arrival to first token, ``tbt_s`` the mean time between the tokens of a
    request, ``done_s`` when its last token came; NaN for what didn't happen. ``taken`` has the
    figures over time, ``inside`` what was left.
    """

    ttft_s: Floats
    tbt_s: Floats
    done_s: Floats
    prefill_s: Floats
    taken: Taken
    inside: Counts
    oversized: int
    recomputed: int


def simulate(
    requests: Requests,
    prefill: Profile,
    decode: Profile,
    plan: Sequence[tuple[float, Instances]],
    *,
    transfer_s: Floats | float = 0.0,
) -> Outcome:
    """Serve requests with the instances of ``plan``, until nothing more can be done.

    ``plan`` are times [s] and the counts from then on, in order of time; ``transfer_s`` is how
    long the KV cache travels, one figure or one per request. ``prefill_s`` of the outcome is
    wait plus prefill.
    """
    uncached = np.maximum(requests.input_tokens - requests.cached_tokens, 1.0)
    single = Single(
        requests.t_s,
        prefill.prefill_s(uncached),
        requests.input_tokens,
        uncached,
        requests.output_tokens,
    )
    prefill_s = _prefilled_s(single, prefill.a, plan)
    served = slice(0, len(prefill_s))
    engine = ExactDecode(decode)
    ready_s = single.t_s[served] + prefill_s + np.broadcast_to(transfer_s, len(single.t_s))[served]
    engine.offer(
        ready_s, single.t_s[served], single.input_tokens[served], single.output_tokens[served]
    )
    for from_s, instances in plan:
        engine.resize(instances.decode, from_s)
    engine.run(inf)
    return _outcome(engine, prefill_s, len(single.t_s))


def _prefilled_s(
    single: Single, fixed_s: float, plan: Sequence[tuple[float, Instances]]
) -> Floats:
    """Return wait plus prefill of the requests that were started, in order of arrival [s]."""
    queue = ExactPrefill(fixed_s)
    queue.offer(single, 0.0)
    for from_s, instances in plan:
        queue.run(from_s)
        queue.resize(instances.prefill, from_s)
    # One instance, one after the other: none starts later than that.
    latest_s = max(plan[-1][0], float(single.t_s.max(initial=0.0)))
    queue.run(latest_s + float(single.service_s.sum()) + 1.0)
    return queue.ttft_s()


def _outcome(engine: ExactDecode, prefill_s: Floats, asked: int) -> Outcome:
    taken = engine.take()

    def of_each(numbers: Counts, values: Floats) -> Floats:
        column = np.full(asked, np.nan)
        column[numbers] = values
        return column

    return Outcome(
        ttft_s=of_each(taken.started, taken.ttft_s),
        tbt_s=of_each(taken.finished, taken.tbt_s),
        done_s=of_each(taken.finished, taken.done_s),
        prefill_s=of_each(np.arange(len(prefill_s)), prefill_s),
        taken=taken,
        inside=engine.inside(),
        oversized=engine.oversized,
        recomputed=engine.recomputed,
    )
