"""Who asks for what: offered load as a function of load time, generated or from a trace."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import IO, Final, Protocol

import numpy as np

from controller.core.types import Counts, Flags, Floats
from controller.simulator.tracefile import CACHED_COLUMN, Table, TraceError, read_table

__all__ = [
    "Generator",
    "Lengths",
    "Offered",
    "RequestTrace",
    "Requests",
    "TraceError",
    "WindowTrace",
    "Workload",
    "read_trace",
]

NODES: Final = 200
"""Equally likely points that stand for a distribution: the 99th percentile is the second last."""

LEVELS: Final[Floats] = (np.arange(NODES) + 0.5) / NODES
NORMAL: Final[Floats] = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


@dataclass(frozen=True, slots=True)
class Lengths:
    """Shape of request lengths: ``NODES`` equally likely multiples of the mean, ascending."""

    input: Floats
    output: Floats


@dataclass(frozen=True, slots=True)
class Offered:
    """Load per bin, arrays of shape ``(n,)``: requests/s, mean tokens, share of cached input.

    All four are NaN where the source doesn't know: missing is never zero.
    """

    rps: Floats
    input_tokens: Floats
    output_tokens: Floats
    cached_frac: Floats


@dataclass(frozen=True, slots=True)
class Requests:
    """Single requests in order of arrival: load time [s] and tokens, arrays of one length."""

    t_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    cached_tokens: Floats


class Workload(Protocol):
    """Offered load; a pure function of load time, so a restart sees the same load."""

    @property
    def name(self) -> str:
        """What an operator calls it; another name is another workload."""
        ...

    @property
    def lengths(self) -> Lengths:
        """How single requests spread around the mean lengths."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether the single requests are known, not drawn."""
        ...

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the average over ``[load_s, load_s + step_s)`` for each entry, shape ``(n,)``."""
        ...

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Return the requests of ``[start_s, end_s)``, each kept with chance ``keep_frac``.

        Above 1 a request comes more than once. Recorded requests are used as they are, others
        are drawn: Poisson arrivals, lengths from :attr:`lengths`.
        """
        ...


def lognormal(sigma: float) -> Floats:
    """Return a log-normal shape of mean 1, cut at the outermost nodes, shape ``(NODES,)``."""
    shape: Floats = np.exp(sigma * NORMAL)
    shape /= shape.mean()
    return shape


def _empirical(values: Floats) -> Floats:
    shape: Floats = np.quantile(values, LEVELS)
    return shape / max(float(shape.mean()), 1e-9)


def _uniform(seed: int, stream: int, index: Counts) -> Floats:
    """Return numbers in [0, 1) that depend on the arguments only (SplitMix64), shape as given."""
    key = np.uint64((seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03) % 2**64)
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**64


def _wander(seed: int, stream: int, load_s: Floats, knot_s: float) -> Floats:
    """Return smooth noise in [-1, 1] with a new random knot every ``knot_s``."""
    at = load_s / knot_s
    knot = np.floor(at)
    part = at - knot
    index = knot.astype(np.int64)
    left, right = _uniform(seed, stream, index), _uniform(seed, stream, index + 1)
    ease = part * part * (3 - 2 * part)
    return 2 * (left + (right - left) * ease) - 1


_RATE, _INPUT, _OUTPUT, _CACHED, _BURST_AT, _BURST_GAIN = range(6)


@dataclass(frozen=True, slots=True)
class Generator:
    """Day and night, bursts and drifting lengths, all functions of (seed, load time).

    The rate swings between ``low_rps`` and ``peak_rps`` once in ``day_s``, lowest at ``-phase``
    days; ``sharpness`` above 1 makes the peak narrow. Bursts come suddenly, one in each slot of
    ``day_s / bursts_per_day``, and last ``burst_s`` [load s].
    """

    name: str
    seed: int
    low_rps: float
    peak_rps: float
    input_tokens: float
    output_tokens: float
    cached_frac: float = 0.0
    day_s: float = 7200.0
    phase: float = 0.0
    sharpness: float = 1.0
    bursts_per_day: float = 3.0
    burst_frac: float = 0.3
    burst_s: float = 240.0
    noise_frac: float = 0.04
    drift_frac: float = 0.12
    input_sigma: float = 0.8
    output_sigma: float = 0.8
    scale: float = 1.0
    lengths: Lengths = field(init=False, compare=False, repr=False)
    recorded: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        shape = Lengths(lognormal(self.input_sigma), lognormal(self.output_sigma))
        object.__setattr__(self, "lengths", shape)

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the load at the middle of each step (see :class:`Workload`)."""
        t = load_s + step_s / 2
        day = 0.5 - 0.5 * np.cos(2 * np.pi * (t / self.day_s + self.phase))
        base = self.low_rps + (self.peak_rps - self.low_rps) * day**self.sharpness
        noise = 1 + self.noise_frac * _wander(self.seed, _RATE, t, 90.0)
        rps = self.scale * base * noise * (1 + self._burst(t))
        drift_s = self.day_s / 4
        share = self.cached_frac * (1 + 0.5 * self.drift_frac * self._drift(_CACHED, t, drift_s))
        return Offered(
            rps,
            self.input_tokens * (1 + self.drift_frac * self._drift(_INPUT, t, drift_s)),
            self.output_tokens * (1 + self.drift_frac * self._drift(_OUTPUT, t, drift_s)),
            np.clip(share, 0.0, 0.95),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Draw the requests of the interval (see :class:`Workload`)."""
        return _drawn(self, (start_s, end_s), keep_frac, rng)

    def parameters(self) -> dict[str, str | float]:
        """Return what makes this load again: ``Generator(**parameters)``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def _drift(self, stream: int, t: Floats, knot_s: float) -> Floats:
        return _wander(self.seed, stream, t, knot_s)

    def _burst(self, t: Floats) -> Floats:
        """Return the extra share of load: up within a tenth of ``burst_s``, down in a third."""
        if not self.bursts_per_day:
            return np.zeros_like(t)
        slot_s = self.day_s / self.bursts_per_day
        index = np.floor(t / slot_s).astype(np.int64)
        begin_s = slot_s * index + _uniform(self.seed, _BURST_AT, index) * max(
            slot_s - self.burst_s, 0.0
        )
        part = (t - begin_s) / self.burst_s
        pulse = np.clip(part / 0.1, 0, 1) * np.clip((1 - part) / 0.3, 0, 1)
        gain = self.burst_frac * (0.5 + _uniform(self.seed, _BURST_GAIN, index))
        return gain * pulse


def _drawn(
    workload: Workload, span_s: tuple[float, float], keep_frac: float, rng: np.random.Generator
) -> Requests:
    seconds = np.arange(np.floor(span_s[0]), np.ceil(span_s[1]), dtype=np.float64)
    offered = workload.rates(seconds)
    mean = np.nan_to_num(offered.rps) * keep_frac
    counts = rng.poisson(mean)
    at = np.repeat(np.arange(len(seconds)), counts)
    t_s = np.sort(seconds[at] + rng.random(len(at)))
    shape = workload.lengths
    pick = rng.integers(NODES, size=(2, len(at)))
    inputs = np.maximum(np.rint(offered.input_tokens[at] * shape.input[pick[0]]), 1.0)
    outputs = np.maximum(np.rint(offered.output_tokens[at] * shape.output[pick[1]]), 1.0)
    cached = np.floor(inputs * offered.cached_frac[at])
    inside = (t_s >= span_s[0]) & (t_s < span_s[1])
    return Requests(t_s[inside], inputs[inside], outputs[inside], cached[inside])


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Recorded requests; begins again when it ends, one mean gap after the last arrival."""

    name: str
    arrivals: Requests
    scale: float = 1.0
    recorded: bool = field(init=False, default=True)
    lengths: Lengths = field(init=False, compare=False, repr=False)
    _sums: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        seen = self.arrivals
        uncached = np.maximum(seen.input_tokens - seen.cached_tokens, 1.0)
        shape = Lengths(_empirical(uncached), _empirical(seen.output_tokens))
        object.__setattr__(self, "lengths", shape)
        rows = (np.ones_like(seen.t_s), seen.input_tokens, seen.output_tokens, seen.cached_tokens)
        sums = np.concatenate((np.zeros((4, 1)), np.cumsum(rows, axis=1)), axis=1)
        object.__setattr__(self, "_sums", sums)

    @property
    def span_s(self) -> float:
        """Length of one pass [s]."""
        t_s = self.arrivals.t_s
        return float(t_s[-1]) + max(float(t_s[-1]) / max(len(t_s) - 1, 1), 1e-3)

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return what arrived in each step; mean lengths are the trace's where nothing did."""
        count, inputs, outputs, cached = self._until(load_s + step_s) - self._until(load_s)
        whole = self._sums[:, -1]
        some = np.maximum(count, 1.0)
        return Offered(
            self.scale * count / step_s,
            np.where(count > 0, inputs / some, whole[1] / whole[0]),
            np.where(count > 0, outputs / some, whole[2] / whole[0]),
            np.where(inputs > 0, cached / np.maximum(inputs, 1.0), whole[3] / max(whole[1], 1.0)),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Return the recorded requests of the interval (see :class:`Workload`).

        A second copy of a request arrives at another time of the interval, so that copies don't
        form clumps.
        """
        index, t_s = self._between(start_s, end_s)
        copies = np.floor(keep_frac * self.scale + rng.random(len(index))).astype(np.int64)
        first = np.repeat(np.cumsum(copies) - copies, copies)
        again = np.arange(len(first)) > first
        shift = np.where(again, rng.random(len(first)) * (end_s - start_s), 0.0)
        t_s = start_s + (np.repeat(t_s, copies) - start_s + shift) % (end_s - start_s)
        order = np.argsort(t_s, kind="stable")
        index = np.repeat(index, copies)[order]
        seen = self.arrivals
        return Requests(
            t_s[order],
            seen.input_tokens[index],
            seen.output_tokens[index],
            seen.cached_tokens[index],
        )

    def _between(self, start_s: float, end_s: float) -> tuple[Counts, Floats]:
        span_s = self.span_s
        rows: list[Counts] = []
        times: list[Floats] = []
        for turn in range(int(start_s // span_s), int(end_s // span_s) + 1):
            begin_s = turn * span_s
            low, high = np.searchsorted(self.arrivals.t_s, (start_s - begin_s, end_s - begin_s))
            rows.append(np.arange(low, high))
            times.append(begin_s + self.arrivals.t_s[low:high])
        return np.concatenate(rows), np.concatenate(times)

    def _until(self, load_s: Floats) -> Floats:
        turn, rest_s = np.divmod(load_s, self.span_s)
        seen = np.searchsorted(self.arrivals.t_s, rest_s)
        sums: Floats = self._sums[:, seen] + turn * self._sums[:, -1:]
        return sums


@dataclass(frozen=True, slots=True)
class WindowTrace:
    """Rates and mean lengths per window of a recording; begins again when it ends.

    A window without a figure, and the time between windows that don't touch, is unknown (NaN).
    How requests spread around the means isn't in such files: a log-normal is assumed.
    """

    name: str
    t_s: Floats
    offered: Offered
    width_s: float = 600.0
    scale: float = 1.0
    recorded: bool = field(init=False, default=False)
    lengths: Lengths = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", Lengths(lognormal(1.0), lognormal(0.9)))

    @property
    def span_s(self) -> float:
        """Length of one pass [s]."""
        return float(self.t_s[-1] - self.t_s[0]) + self.width_s

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the figures of the window each step begins in (see :class:`Workload`)."""
        del step_s
        t = self.t_s[0] + load_s % self.span_s
        at = np.searchsorted(self.t_s, t, side="right") - 1
        known: Flags = t < self.t_s[at] + self.width_s
        return Offered(
            np.where(known, self.offered.rps[at] * self.scale, np.nan),
            np.where(known, self.offered.input_tokens[at], np.nan),
            np.where(known, self.offered.output_tokens[at], np.nan),
            np.where(known, self.offered.cached_frac[at], np.nan),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Draw the requests of the interval; none where the rate is unknown."""
        return _drawn(self, (start_s, end_s), keep_frac, rng)


def read_trace(stream: IO[bytes] | IO[str] | bytes, name: str, scale: float = 1.0) -> Workload:
    """Return the workload in a trace file, told by its columns.

    ``t_s, input_tokens, output_tokens`` (optionally ``cached_tokens_ideal``) are single requests,
    ``t_s, rate_rps, mean_input_tokens, mean_output_tokens`` are windows. ``scale`` multiplies the
    rate. Raises :class:`TraceError` with line and column when the file can't be used.
    """
    table = read_table(stream, name)
    build: Callable[[Table, float], Workload] = (
        _windows if table.has("rate_rps") and not table.has("input_tokens") else _requests
    )
    return build(table, scale)


def _requests(table: Table, scale: float) -> RequestTrace:
    columns = table.columns
    inputs = columns["input_tokens"]
    cached = columns.get(CACHED_COLUMN, np.zeros_like(inputs))
    given = {"input_tokens": inputs, "output_tokens": columns["output_tokens"]}
    for column, values in (*given.items(), (CACHED_COLUMN, cached)):
        for at in np.flatnonzero(np.isnan(values)):
            raise table.fail(column, int(at), "is empty")
    for at in np.flatnonzero(cached > inputs):
        problem = f"{cached[at]:g} cached tokens of {inputs[at]:g} input tokens"
        raise table.fail(CACHED_COLUMN, int(at), problem)
    t_s = columns["t_s"] - columns["t_s"][0]
    return RequestTrace(table.name, Requests(t_s, inputs, columns["output_tokens"], cached), scale)


def _windows(table: Table, scale: float) -> WindowTrace:
    t_s = table.columns["t_s"]
    gaps = np.diff(t_s)
    for at in np.flatnonzero(gaps == 0):
        raise table.fail("t_s", int(at) + 1, "the window is there twice")
    width_s = float(np.median(gaps)) if len(gaps) else 600.0
    rps, inputs, outputs = (
        table.columns[name] for name in ("rate_rps", "mean_input_tokens", "mean_output_tokens")
    )
    known = (rps == 0) | ~np.isnan(rps + inputs + outputs)
    offered = Offered(
        np.where(known, rps, np.nan),
        np.where(known, np.nan_to_num(inputs), np.nan),
        np.where(known, np.nan_to_num(outputs), np.nan),
        np.where(known, 0.0, np.nan),
    )
    return WindowTrace(table.name, t_s, offered, width_s, scale)
