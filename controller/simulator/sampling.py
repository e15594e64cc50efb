"""Samples every 15 s: from bins of engine state to the signals a collector would report."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import ROLE_INDEX, SIGNAL_INDEX, SIGNALS, Counts, Flags, Floats, Window
from controller.simulator.arrivals import stream_key
from controller.simulator.decode import StepTimes
from controller.simulator.exact_service import (
    ASKED,
    BOTH_KEPT,
    TBT_KEPT,
    TOKENS,
    TOKENS_KEPT,
    TTFT_KEPT,
    Measured,
)
from controller.simulator.meters import Latencies
from controller.simulator.model import Fault, ServiceModel
from controller.simulator.workload import LEVELS, NODES, NORMAL, Lengths

NOISE_FRAC: Final = 0.01
"""Spread of real counters around what they count."""

NOISE_SAMPLES: Final = 240
"""Samples of noise drawn at once."""

SM_PREFILL_FRAC: Final = 0.85
SM_DECODE: Final = (0.25, 0.35)
"""SM activity: of a busy prefill engine; of a busy decode engine idle and at its batch limit."""

UNEVEN: Final = 0.5
"""Spread of the batch over instances, in units of its square root: least-tokens routing is better
than the 1.0 of random routing."""

LONGEST_WAIT_S: Final = 3600.0
FEW: Final = 0.01
"""Fewer waiting sequences than this, on average, are none."""

TINY: Final = 1e-9

PERCENTILES: Final = (NODES // 2, NODES * 95 // 100, NODES * 99 // 100)

RATES: Final = tuple(
    SIGNAL_INDEX[name]
    for name in ("decode_tps", "prefill_tps", "prefill_tps_uncached", "request_rps")
)
GAUGES: Final = (SIGNAL_INDEX["prefill_waiting"], SIGNAL_INDEX["decode_waiting"])
SHARES: Final = tuple(i for i, kind in enumerate(SIGNALS) if kind.unit == "share")
DIRECT: Final = [
    SIGNAL_INDEX[name]
    for name in (
        *("decode_tps", "prefill_tps", "prefill_tps_uncached", "request_rps"),
        *("prefill_util", "prefill_sm", "decode_util", "decode_sm"),
        *("prefill_waiting", "decode_waiting"),
    )
]
"""Signals that are no percentiles, in the order in which they are taken."""

BUSY: Final = SIGNAL_INDEX["decode_util"]
TTFT: Final = tuple(SIGNAL_INDEX[name] for name in ("ttft_p50_s", "ttft_s", "ttft_p99_s"))
TBT: Final = tuple(SIGNAL_INDEX[name] for name in ("tbt_p50_s", "tbt_s", "tbt_p99_s"))
RATE_ROLES: Final = [ROLE_INDEX[SIGNALS[at].role] for at in RATES]
ROLES: Final = np.array([ROLE_INDEX[kind.role] for kind in SIGNALS])

# Two fixed shuffles: lengths and waits of the requests of a sample vary independently.
_ORDERS: Final = np.random.default_rng(20_250_801).permuted(
    np.tile(np.arange(NODES), (2, 1)), axis=1
)
_EXPONENTIAL: Final = -np.log1p(-LEVELS)[_ORDERS[1]]

# Batches in units of their spread around the mean: at the percentiles, then equally likely ones.
_BATCH_NODES: Final = np.concatenate((NORMAL[list(PERCENTILES)], NORMAL[5::10]))[:, np.newaxis]


class Record:
    """Engine state of the bins since the last sample, one row of shape ``(n,)`` per figure."""

    FIGURES: Final = (
        "requests",
        "wait_s",
        "prefilled",
        "computed",
        "busy",
        "made",
        "step_s",
        "batch",
        "context",
        "limit",
        "queued",
        "admitted",
        "known",
    )

    def __init__(self, longest: int, rows: int) -> None:
        self.rows = np.zeros((longest, len(self.FIGURES), rows))
        self.count = 0

    def add(self, figures: Sequence[Floats | Flags]) -> None:
        """Add bins, the figures in the order of ``FIGURES``, each of shape ``(bins, n)``."""
        rows = self.rows[self.count : self.count + len(figures[0])]
        for at, figure in enumerate(figures):
            rows[:, at] = figure
        self.count += len(rows)

    def of(self, figure: str) -> Floats:
        """Return one figure of every bin, shape ``(bins, n)``."""
        return self.rows[: self.count, self.FIGURES.index(figure)]


@dataclass(frozen=True, slots=True)
class Now:
    """What a sample needs besides the bins, arrays of shape ``(n,)`` unless said otherwise.

    ``ready`` are instances ``(2, n)`` and ``young`` those of them that have no rate yet;
    ``stationary_s`` the prefill wait without a backlog, ``per_token_s`` the transfer time per
    prompt token, ``waiting`` requests waiting for prefill, ``tokens`` the output tokens asked for
    since the last sample; ``ttft_s`` and ``busy`` what exact
    prefill measured, and ``measured`` what services simulated exactly throughout did, by row.
    """

    at_s: float
    index: int
    ready: Floats
    young: Floats
    stationary_s: Floats
    per_token_s: Floats
    waiting: Floats
    tokens: Floats
    ttft_s: Mapping[int, Floats]
    busy: Mapping[int, float]
    measured: Mapping[int, Measured]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at every service.

    ``values`` and ``present`` have shape ``(n, signals)``, ``reporting`` and ``expected``
    ``(n, 2)``; ``held``, shape ``(n,)``, is False where none was taken.
    """

    at_s: float
    values: Floats
    present: Flags
    reporting: Counts
    expected: Counts
    held: Flags


class Sampler:
    """Turns the bins since the last sample into signals, percentiles and noise included."""

    def __init__(self, services: Sequence[ServiceModel], times: StepTimes, seed: int) -> None:
        self._times = times
        self._seeds = [[seed, 1, s.seed, stream_key(s.drawn_by)] for s in services]
        self._noise = np.ones((0, len(services), len(SIGNALS)))
        self._noise_block = -1
        self._prefill = np.array([(s.prefill.a, s.prefill.b, s.prefill.c) for s in services])
        self._shape = np.array([s.workload.lengths.input for s in services])
        self._shape = self._shape.reshape(-1, NODES)[:, _ORDERS[0]]
        self._setup_s = np.array([s.transfer.setup_s for s in services])
        self._goals_s = np.full((2, len(services)), np.inf)
        self._figures: Mapping[str, Floats] | None = None
        self._utilisation = np.zeros((2, len(services)))
        self.attained = np.zeros((6, len(services)))
        self._latencies: Latencies | None = None

    @property
    def latencies(self) -> Latencies:
        """What the requests of the newest sample saw, without noise.

        Raises ``IndexError`` before the first.
        """
        if self._latencies is None:
            raise IndexError("no sample was taken yet")
        return self._latencies

    def expect(self, row: int, shape: Lengths) -> None:
        """Take prompts that spread so from now on."""
        self._shape[row] = shape.input[_ORDERS[0]]

    def judge(self, goals_s: Floats) -> None:
        """Count from now on what keeps the goals of (TTFT, TBT), shape ``(2, n)`` [s]."""
        self._goals_s = goals_s

    def take(self, record: Record, now: Now) -> Sample:
        """Return the sample of the bins in ``record``; at least one bin is there.

        Also sets ``attained``, shape ``(6, n)``: what of the requests that came was kept within
        the goals (the rows of ``Measured.kept``).
        """
        values = np.full((len(self._setup_s), len(SIGNALS)), np.nan)
        mean = np.add.reduce(record.rows[: record.count]) / record.count
        figures = dict(zip(Record.FIGURES, mean, strict=True))
        for row, busy in now.busy.items():
            figures["busy"][row] = busy
        batch, limit = figures["batch"], np.maximum(figures["limit"], 1.0)
        batches = record.of("batch")
        active = 1 - np.add.reduce(np.exp(-batches)) / record.count
        varied = np.maximum(np.add.reduce(batches * batches) / record.count - batch * batch, 0.0)
        values[:, DIRECT] = np.array(
            (
                figures["made"],
                figures["prefilled"],
                figures["computed"],
                figures["requests"],
                figures["busy"],
                SM_PREFILL_FRAC * figures["busy"],
                active,
                active * (SM_DECODE[0] + SM_DECODE[1] * np.minimum(batch / limit, 1.0)),
                now.waiting,
                record.of("queued")[-1],
            )
        ).T
        values[:, TTFT], ttft = self._ttft(record, figures, now)
        values[:, TBT], tbt_s = self._tbt(figures, varied)
        self._latencies = Latencies(
            *ttft,
            tbt_s=tbt_s,
            requests=figures["requests"] * record.count,
            tokens=figures["made"] * record.count,
            admitted=figures["admitted"] * record.count,
        )
        kept = self.attained
        kept[ASKED], kept[TOKENS] = figures["requests"] * record.count, now.tokens
        kept[BOTH_KEPT] = kept[TOKENS_KEPT] = kept[TTFT_KEPT] * kept[TBT_KEPT]
        for row, seen in now.measured.items():
            values[row, TTFT] = np.nan
            if len(seen.ttft_s):
                at = [len(seen.ttft_s) * place // NODES for place in PERCENTILES]
                values[row, TTFT] = seen.ttft_s[at]
            values[row, TBT] = seen.tbt_s
            values[row, BUSY] = seen.busy_frac
            kept[:, row] = seen.kept
        self._figures = figures
        return self._reported(values, figures, now)

    def _reported(self, values: Floats, figures: Mapping[str, Floats], now: Now) -> Sample:
        """Apply what a collector sees: counters of young instances have no rate yet, noise."""
        expected = (now.ready - now.young).T
        if np.count_nonzero(now.young):
            seen_frac = expected / np.maximum(now.ready.T, 1.0)
            values[:, RATES] *= seen_frac[:, RATE_ROLES]
        values *= self._noise_of(now.index)
        values[:, GAUGES] = np.rint(values[:, GAUGES])
        values[:, SHARES] = np.minimum(values[:, SHARES], 1.0)
        # Engines without instances report nothing, and percentiles of no request don't exist.
        counts = expected.astype(np.int64)
        present = (counts > 0)[:, ROLES]
        present &= (figures["known"] == 1)[:, np.newaxis]
        present &= values == values  # noqa: PLR0124 - NaN is the one that differs from itself
        values[~present] = np.nan
        return Sample(
            now.at_s,
            values,
            present,
            counts,
            counts.copy(),
            np.ones(len(values), dtype=np.bool_),
        )

    def _noise_of(self, index: int) -> Floats:
        block, at = divmod(index, NOISE_SAMPLES)
        if block != self._noise_block:
            shape = (NOISE_SAMPLES, len(SIGNALS))
            drawn = [np.random.default_rng([*s, block]).normal(size=shape) for s in self._seeds]
            self._noise = 1 + NOISE_FRAC * np.stack(drawn, axis=1)
            # One figure for the percentiles of a latency: none comes out below a smaller one.
            for triple in (TTFT, TBT):
                self._noise[:, :, triple] = self._noise[:, :, triple[:1]]
            self._noise[:, :, GAUGES] = 1.0
            self._noise_block = block
        noise: Floats = self._noise[at]
        return noise

    def _ttft(
        self, record: Record, figures: Mapping[str, Floats], now: Now
    ) -> tuple[Floats, tuple[Floats, Mapping[int, Floats], Floats]]:
        """Return TTFT p50, p95, p99, shape ``(n, 3)`` [s], NaN where no request came; and of what.

        The latter is the TTFT of ``NODES`` requests of each row, those of rows where every one
        was measured, and the part of it that is decode's.

        Waiting, prefill, transfer, wait for decode, first step. The requests of a sample are
        ``NODES`` equally likely ones: from the bins in proportion to arrivals, with the lengths
        and (without a backlog) exponential waits shuffled over them.
        """
        wait_s = _shared_out(record.of("requests"), record.of("wait_s"))
        wait_s = np.maximum(wait_s, now.stationary_s[:, np.newaxis] * _EXPONENTIAL)
        mean = figures["computed"] / np.maximum(figures["requests"], TINY)
        tokens = np.minimum(mean, 1e7)[:, np.newaxis] * self._shape
        a, b, c = self._prefill.T[:, :, np.newaxis]
        after_s = self._after_prefill_s(figures)
        moved = figures["prefilled"] / np.maximum(figures["computed"], 1.0)
        carried_s = (now.per_token_s * moved)[:, np.newaxis]
        ttft_s = wait_s + tokens * (b + carried_s + c * tokens) + (a + after_s[:, np.newaxis])
        self.attained[TTFT_KEPT] = _share_of(ttft_s <= self._goals_s[0, :, np.newaxis], 1)
        ttft_s.partition(PERCENTILES, axis=1)
        found: Floats = ttft_s[:, PERCENTILES]
        found[figures["requests"] == 0] = np.nan
        seen_s: dict[int, Floats] = {}
        for row, measured in now.ttft_s.items():
            found[row] = np.nan
            seen_s[row] = measured
            if len(measured):
                length = figures["prefilled"][row] / max(figures["requests"][row], TINY)
                whole_s = np.sort(measured) + (after_s[row] + now.per_token_s[row] * length)
                seen_s[row] = whole_s
                found[row] = whole_s[[len(whole_s) * place // NODES for place in PERCENTILES]]
                self.attained[TTFT_KEPT, row] = (whole_s <= self._goals_s[0, row]).mean()
        return found, (ttft_s, seen_s, after_s - self._setup_s)

    def _after_prefill_s(self, figures: Mapping[str, Floats]) -> Floats:
        """Return all behind prefill but the time per token of the transfer, shape ``(n,)``."""
        wait_s = figures["queued"] / np.maximum(figures["admitted"], TINY)
        wait_s = np.where(figures["queued"] > FEW, np.minimum(wait_s, LONGEST_WAIT_S), 0.0)
        after_s: Floats = self._setup_s + wait_s + figures["step_s"]
        return after_s

    def _tbt(self, figures: Mapping[str, Floats], varied: Floats) -> tuple[Floats, Floats]:
        """Return TBT p50, p95, p99, shape ``(n, 3)`` [s], NaN where no token came; and of what.

        The latter are equally likely ones, shape ``(values, n)``.

        The batch of an instance is normal: it varies over the bins (``varied``, its variance)
        and, by routing, over the instances.
        """
        batch = figures["batch"]
        spread = np.sqrt(varied + UNEVEN**2 * batch)
        most = np.maximum(figures["limit"], 1.0)
        uneven = np.clip(batch + spread * _BATCH_NODES, 1.0, most)
        step_s = self._times.step_s(uneven, figures["context"])
        self.attained[TBT_KEPT] = _share_of(step_s[3:] <= self._goals_s[1], 0)
        found = step_s[:3].T
        found[figures["made"] == 0] = np.nan
        return found, step_s[3:]

    @property
    def utilisation(self) -> Floats:
        """Shares of the newest sample, shape ``(2, n)``.

        Of prefill the time in work, of decode throughput over that at the batch limit. Worked out
        when somebody asks.
        """
        if self._figures is not None:
            self._utilisation[:] = self._used(self._figures)
            self._figures = None
        return self._utilisation

    def _used(self, figures: Mapping[str, Floats]) -> Floats:
        limit = np.maximum(figures["limit"], 1.0)
        best = limit / self._times.step_s(limit, figures["context"])
        now = figures["batch"] / np.maximum(figures["step_s"], TINY)
        return np.array((figures["busy"], np.minimum(now / np.maximum(best, TINY), 1.0)))


def _share_of(flags: Flags, axis: int) -> Floats:
    share: Floats = np.add.reduce(flags, axis=axis, dtype=np.float64) / flags.shape[axis]
    return share


def _shared_out(requests: Floats, values: Floats) -> Floats:
    """Return the value of the bin that each of ``NODES`` requests of a row comes in, ascending.

    ``requests`` and ``values`` have shape ``(bins, n)``, the result ``(n, NODES)``. Requests are
    shared out in proportion; of nobody's, all come last.
    """
    until = np.cumsum(requests, axis=0)
    until *= NODES / np.maximum(until[-1], TINY)
    until += 0.5
    counts = until.astype(np.int64)
    counts[-1] = NODES
    counts[1:] -= counts[:-1].copy()
    return np.repeat(values.T.ravel(), counts.T.ravel()).reshape(-1, NODES)


def damaged(sample: Sample, faults: Mapping[int, Fault]) -> Sample:
    """Return the sample as a broken collector would report it; ``faults`` are by row."""
    if not faults:
        return sample
    values, present = sample.values.copy(), sample.present.copy()
    reporting, held = sample.reporting.copy(), sample.held.copy()
    for row, fault in faults.items():
        if fault is Fault.MISSING:
            values[row], present[row], reporting[row] = np.nan, False, 0
        elif fault is Fault.STALE:
            held[row] = False
        elif fault is Fault.RESET:
            values[row, RATES] = -values[row, RATES]
        elif fault is Fault.PARTIAL:
            silent = -(-sample.expected[row] // 3)
            reporting[row] = sample.expected[row] - silent
            share = reporting[row] / np.maximum(sample.expected[row], 1)
            values[row, RATES] *= share[ROLES[list(RATES)]]
            present[row] &= (reporting[row] > 0)[ROLES]
    return Sample(sample.at_s, values, present, reporting, sample.expected, held)


def window(
    samples: deque[Sample], rows: Sequence[int], span_s: tuple[float, float]
) -> list[Window]:
    """Return the window of each row: its samples in ``(span[0], span[1]]``, oldest first."""
    inside = [s for s in samples if span_s[0] < s.at_s <= span_s[1]]
    count = len(inside)
    if not count:
        return [_EMPTY for _ in rows]
    times_s = np.array([s.at_s for s in inside])
    values = np.stack([s.values for s in inside], axis=-1)
    present = np.stack([s.present for s in inside], axis=-1)
    reporting = np.stack([s.reporting for s in inside], axis=-1)
    expected = np.stack([s.expected for s in inside], axis=-1)
    held = np.stack([s.held for s in inside], axis=-1)
    found = []
    for row in rows:
        at: slice | Flags = slice(None) if held[row].all() else held[row]
        found.append(
            Window(
                times_s[at],
                values[row][:, at],
                present[row][:, at],
                reporting[row][:, at],
                expected[row][:, at],
            )
        )
    return found


_EMPTY: Final = Window(
    np.zeros(0),
    np.zeros((len(SIGNALS), 0)),
    np.zeros((len(SIGNALS), 0), dtype=np.bool_),
    np.zeros((2, 0), dtype=np.int64),
    np.zeros((2, 0), dtype=np.int64),
)
