"""Which signals follow the load of a service: the study behind the choice of a driver (§3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, nan
from typing import Final

import numpy as np

from controller.core.types import (
    ROLE_INDEX,
    SIGNAL_INDEX,
    SIGNALS,
    Counts,
    Flags,
    Floats,
    Role,
    SignalKind,
)

STUDIED: Final = (
    *("decode_tps", "prefill_tps_uncached", "prefill_util", "prefill_sm"),
    *("prefill_tps", "decode_util", "decode_sm", "tbt_s", "ttft_s"),
)
"""Those fit to drive first, the usual one before all."""

LOAD: Final = "request_rps"
TOKENS: Final = {Role.PREFILL: "prefill_tps_uncached", Role.DECODE: "decode_tps"}

WINDOWS_S: Final = (60.0, 300.0, 600.0)
"""Lengths of a window [s]; a day is studied in windows of ten minutes."""

MOST_WINDOWS: Final = 72
"""More of them than this, and the next longer window is taken."""

PER_WINDOW: Final = 4
"""Samples a window holds at the least, so that their scatter can be told."""

LEAST_WINDOWS: Final = 24
LEAST_SWING: Final = 1.25
"""The busiest quarter over the quietest, below which what goes with the load is chance."""

FOLLOWS: Final = 0.8
LOOSELY: Final = 0.6
LEAST_GAIN: Final = 0.5
READ_FRAC: Final = 0.9
AS_GOOD: Final = 0.05
"""A difference of r that is a tie: the driver in force stays, else the first of ``STUDIED``."""

DRIFT_FRAC: Final = 0.25

ROUNDING: Final = 1e-9
"""Of a value the share below which a difference is what arithmetic leaves."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of a service, oldest first.

    ``times_s`` has shape ``(T,)`` [s]; ``values`` maps signals to shape ``(T,)``, NaN where
    nothing was reported; ``ready``, ``reporting`` and ``expected`` have shape ``(2, T)``.
    """

    times_s: Floats
    values: Mapping[str, Floats]
    ready: Counts
    reporting: Counts
    expected: Counts


@dataclass(frozen=True, slots=True)
class Quarters:
    """Means over the quietest and over the busiest quarter of the windows; NaN where unknown."""

    quiet: float
    busy: float

    @property
    def swing(self) -> float:
        """The busy mean over the quiet one; NaN where that says nothing."""
        return self.busy / self.quiet if self.quiet > 0.0 else nan


@dataclass(frozen=True, slots=True)
class Studied:
    """How one signal went with the load; what can't be known is NaN.

    ``r_load`` and ``r_tokens`` are Pearson's r of its means over windows with the requests and
    with the tokens of its own role; a token rate has no ``r_tokens`` with itself. ``noise`` is
    how far those means spread over how far samples scatter around them. ``read_frac`` is the
    share of samples that had a value, ``covered_frac`` the share that enough instances reported
    with. ``quarters`` are its means where its load was ``load``.
    """

    kind: SignalKind
    r_load: float
    r_tokens: float
    noise: float
    read_frac: float
    covered_frac: float
    quarters: Quarters
    load: Quarters

    @property
    def gain(self) -> float:
        """Its own relative rise over that of its load: 1 in proportion, 0 flat, NaN unknown."""
        rise = self.load.swing - 1.0
        return (self.quarters.swing - 1.0) / rise if rise > 0.0 else nan

    @property
    def follows(self) -> bool:
        """Whether it rises with the load, in step and by at least half as much."""
        return self.r_load >= FOLLOWS and self.gain >= LEAST_GAIN


@dataclass(frozen=True, slots=True)
class Drift:
    """Tokens per request of a role: the 10th, 50th and 90th percentile of the windows."""

    low: float
    middle: float
    high: float

    @property
    def is_large(self) -> bool:
        """Whether the number of requests alone says little of the work of this role."""
        return self.low > 0.0 and self.high / self.low - 1.0 > DRIFT_FRAC


@dataclass(frozen=True, slots=True)
class Study:
    """What samples say of signals.

    ``starts_s`` has shape ``(N,)``, the beginnings of the windows [s]; ``means`` maps signals to
    shape ``(N,)`` and ``loads`` to the requests each is compared with, shape ``(N,)``: those of
    the service for a rate, per ready instance of its role for a share or a latency, which an
    autoscaler keeps level. ``lacking`` says what advice would take, empty where nothing lacks.
    """

    window_s: float
    samples: int
    starts_s: Floats
    means: Mapping[str, Floats]
    loads: Mapping[str, Floats]
    signals: tuple[Studied, ...]
    tokens: Mapping[Role, Drift]
    lacking: str

    def advised(self, driver: str) -> Studied | None:
        """Return the driver to use: linear, well read and close to the load; ``None`` if none is.

        ``driver`` is the one in force: it stays where no other is better by more than a tie.
        """
        fit = [
            each
            for each in self.signals
            if each.kind.linear and each.read_frac >= READ_FRAC and each.follows
        ]
        if self.lacking or not fit:
            return None
        top = max(each.r_load for each in fit)
        tied = [each for each in fit if each.r_load >= top - AS_GOOD]
        return next((each for each in tied if each.kind.name == driver), tied[0])


def study(samples: Samples, *, coverage_frac: float) -> Study:
    """Return how each signal went with the load over the samples; never raises for their values.

    ``coverage_frac`` is the share of instances that must report with a sample.
    """
    window_s = window_length_s(samples.times_s)
    begin = np.floor(samples.times_s / window_s)
    places, at = np.unique(begin, return_inverse=True)
    means = {name: _means(_values(samples, name), at, len(places))[0] for name in (*STUDIED, LOAD)}
    ready = [_means(np.where(each > 0, each, nan), at, len(places))[0] for each in samples.ready]
    loads = {name: _load(_kind(name), means[LOAD], ready) for name in STUDIED}
    return Study(
        window_s=window_s,
        samples=len(samples.times_s),
        starts_s=places * window_s,
        means=means,
        loads=loads,
        signals=tuple(
            _studied(_kind(name), samples, at, (means, loads[name], ready), coverage_frac)
            for name in STUDIED
        ),
        tokens={role: _drift(means[TOKENS[role]], means[LOAD]) for role in Role},
        lacking=_lacking(means[LOAD], window_s),
    )


def window_length_s(times_s: Floats) -> float:
    """Return the length of a window [s]: short for a short stretch, and never with few samples."""
    if len(times_s) < 2:  # noqa: PLR2004 - a stretch has two ends
        return WINDOWS_S[0]
    span_s, step_s = float(times_s[-1] - times_s[0]), float(np.median(np.diff(times_s)))
    shortest = max(span_s / MOST_WINDOWS, PER_WINDOW * step_s)
    found = next((each for each in WINDOWS_S if each >= shortest), WINDOWS_S[-1])
    return max(found, PER_WINDOW * step_s)


def correlation(one: Floats, other: Floats) -> float:
    """Return Pearson's r where both are known; NaN below three pairs or if one never moves."""
    known = np.isfinite(one) & np.isfinite(other)
    first, second = one[known], other[known]
    if len(first) < 3 or _level(first) or _level(second):  # noqa: PLR2004 - two always agree
        return nan
    return float(np.corrcoef(first, second)[0, 1])


def _level(values: Floats) -> bool:
    """Return whether values differ by no more than rounding leaves."""
    return bool(np.ptp(values) <= ROUNDING * np.abs(values).max())


def _kind(name: str) -> SignalKind:
    return SIGNALS[SIGNAL_INDEX[name]]


def _values(samples: Samples, name: str) -> Floats:
    """Return a signal's samples, NaN where there is none or none that can be."""
    given = samples.values.get(name)
    if given is None:
        return np.full(len(samples.times_s), nan)
    usable: Floats = np.where(np.isfinite(given) & (given >= 0.0), given, nan)
    return usable


def _means(values: Floats, at: Counts, windows: int) -> tuple[Floats, Floats]:
    """Return mean and scatter of the known samples of each window, NaN where there are none.

    ``at`` has shape ``(T,)``, the window of each sample. The scatter is a standard deviation,
    NaN below two samples.
    """
    known = np.isfinite(values)
    where, what = at[known], values[known]
    count = np.bincount(where, minlength=windows).astype(np.float64)
    total = np.bincount(where, what, windows)
    mean = np.divide(total, count, out=np.full(windows, nan), where=count > 0)
    square = np.bincount(where, (what - mean[where]) ** 2, windows)
    spread = np.divide(square, count - 1.0, out=np.full(windows, nan), where=count > 1)
    return mean, np.sqrt(spread)


def _load(kind: SignalKind, requests: Floats, ready: list[Floats]) -> Floats:
    return requests if _is_rate(kind) else requests / ready[ROLE_INDEX[kind.role]]


def _is_rate(kind: SignalKind) -> bool:
    return kind.unit not in {"share", "s"}


def _studied(
    kind: SignalKind,
    samples: Samples,
    at: Counts,
    seen: tuple[Mapping[str, Floats], Floats, list[Floats]],
    coverage_frac: float,
) -> Studied:
    means, load, ready = seen
    values, own = _values(samples, kind.name), means[kind.name]
    tokens = _load(kind, means[TOKENS[kind.role]], ready)
    role = ROLE_INDEX[kind.role]
    asked = samples.expected[role] > 0
    heard = asked & (samples.reporting[role] >= coverage_frac * samples.expected[role])
    known = np.isfinite(values)
    quarters, of_load = _quarters(own, load)
    return Studied(
        kind=kind,
        r_load=correlation(own, load),
        r_tokens=nan if kind.name == TOKENS[kind.role] else correlation(own, tokens),
        noise=_noise(own, _means(values, at, len(own))[1]),
        read_frac=_share(known),
        covered_frac=_share(known & heard),
        quarters=quarters,
        load=of_load,
    )


def _share(flags: Flags) -> float:
    return float(np.mean(flags)) if len(flags) else nan


def _noise(means: Floats, scatter: Floats) -> float:
    known = np.isfinite(scatter)
    if known.sum() < 3:  # noqa: PLR2004 - fewer have no spread to speak of
        return nan
    spread, noise = float(np.std(means[known])), float(np.sqrt(np.mean(scatter[known] ** 2)))
    least = ROUNDING * float(np.abs(means[known]).max())
    if noise > least:
        return spread / noise
    return inf if spread > least else nan


def _quarters(values: Floats, load: Floats) -> tuple[Quarters, Quarters]:
    known = np.isfinite(values) & np.isfinite(load)
    what, how_much = values[known], load[known]
    if len(what) < 4:  # noqa: PLR2004 - a quarter is one window at the least
        return Quarters(nan, nan), Quarters(nan, nan)
    order, quarter = np.argsort(how_much, kind="stable"), len(what) // 4
    quiet, busy = order[:quarter], order[-quarter:]
    return (
        Quarters(float(what[quiet].mean()), float(what[busy].mean())),
        Quarters(float(how_much[quiet].mean()), float(how_much[busy].mean())),
    )


def _drift(tokens: Floats, requests: Floats) -> Drift:
    known = np.isfinite(tokens) & (requests > 0.0)
    if not known.any():
        return Drift(nan, nan, nan)
    each = tokens[known] / requests[known]
    return Drift(*(float(q) for q in np.quantile(each, (0.1, 0.5, 0.9))))


def _lacking(requests: Floats, window_s: float) -> str:
    """Return what advice would take in words, empty if there is enough of it."""
    windows = int(np.isfinite(requests).sum())
    if not windows:
        return "No request rate was reported: without it nobody can tell what follows the load."
    if windows < LEAST_WINDOWS:
        return (
            f"There are {windows} windows of {window_s / 60:g} min with a request rate; "
            f"{LEAST_WINDOWS} are needed."
        )
    _, load = _quarters(requests, requests)
    if load.busy >= LEAST_SWING * load.quiet and load.busy > 0.0:
        return ""
    return (
        f"The load hardly moved: {load.busy:.3g} requests/s in its busiest quarter, "
        f"{load.quiet:.3g} in its quietest; {LEAST_SWING:g} times as many are needed. "
        "Choose a longer time."
    )
