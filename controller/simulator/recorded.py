"""The load a live service had, out of the signals it reported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.signals import LARGEST
from controller.core.types import SIGNAL_INDEX, SIGNALS, Counts, Flags, Floats
from controller.simulator.offered import Offered
from controller.simulator.traces import WindowTrace

RATES: Final = ("request_rps", "prefill_tps", "prefill_tps_uncached", "decode_tps")
WAITING: Final = ("prefill_waiting", "decode_waiting")
COVERAGE: Final = ("prefill_reporting", "prefill_expected", "decode_reporting", "decode_expected")

WINDOW_S: Final = 60.0
OUTPUT_WINDOW_S: Final = 300.0
"""Tokens come out until a request ends, mostly within a minute of its arrival. Averaged over five,
a burst and its tokens are in the same average; a load that doubles in an hour, 30 s before its
tokens, is off by 1 %."""

BACKLOG_FRAC: Final = 0.05
"""Waiting requests above this share of a window's arrivals: so far off may what was served be."""

LENGTHS_HOLD_S: Final = 1800.0
"""How far from a backlog its lengths may come from; the mix of requests moves over hours."""

LEAST_KNOWN_S: Final = 600.0
LEAST_KNOWN_FRAC: Final = 0.5
LEAST_SAMPLES_FRAC: Final = 0.5
"""Share of a window's samples that must be there for the window to be known."""

SLOWEST_S: Final = 30.0
"""Apart so far may measurements be that are recorded more often; what stays longer is stuck."""

PER_MIN: Final = 60.0


class TooLittleRecordedError(ValueError):
    """A recording with too many holes to be played; the text says what is known of it."""


def workload_of(times_s: Floats, signals: Mapping[str, Floats], *, name: str) -> WindowTrace:
    """Return the load behind the samples of one service, in windows of about ``WINDOW_S``.

    ``times_s`` [s, shape ``(T,)``, oldest first] and the arrays of ``signals`` belong together,
    NaN where nothing was reported: the four ``RATES``, and if there the ``WAITING`` and
    ``COVERAGE`` of each sample. Load time 0 is one sample period before the first sample.

    The rate is that of arrivals, input tokens are prefill tokens per request, the cached share is
    what prefill did not compute, output tokens are decode tokens per request over
    ``OUTPUT_WINDOW_S``. What engines *served* says too little of what was *asked* while requests
    pile up, so in a window with a backlog the rate is kept and the lengths are those of the
    nearest window without one, ``LENGTHS_HOLD_S`` away at most.

    A window is unknown (NaN) when fewer than half of its samples are sound in any rate: a sample
    is unsound where it is missing, no plausible number, the one before once more, or from fewer
    instances than expected. Of a source that measures less often than samples are kept, up to
    ``SLOWEST_S`` apart, half of its measurements are enough. A rate of zero is one that was
    reported as zero. Raises :class:`TooLittleRecordedError` when less than ``LEAST_KNOWN_S`` or
    less than half of the span is known.
    """
    if len(times_s) < 2:  # noqa: PLR2004 - one sample has no span
        raise TooLittleRecordedError(f"{name}: {len(times_s)} samples are no recording")
    # Zeros are alike however often they are measured, and tell nothing of it.
    busy = np.any(np.stack([signals[rate] for rate in RATES]) > 0, axis=0)
    grid = _Grid.of(times_s, times_s[busy & ~_repeated(signals)])
    sound = _sound(signals)
    rates = {rate: grid.mean(sound[rate]) for rate in RATES}
    offered = _offered(grid, rates, signals)
    known_s = grid.total_s(~np.isnan(offered.rps))
    if known_s < max(LEAST_KNOWN_S, LEAST_KNOWN_FRAC * grid.count * grid.width_s):
        raise _too_little(name, grid, rates, known_s)
    return WindowTrace(
        name,
        grid.width_s * np.arange(grid.count, dtype=np.float64),
        offered,
        grid.width_s,
        kind="recorded signals",
        cache_known=True,
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Windows of ``width_s``, whole sample periods each, and the window of every sample."""

    width_s: float
    count: int
    at: Counts
    least: float

    @classmethod
    def of(cls, times_s: Floats, measured_s: Floats) -> "_Grid":
        period_s = max(float(np.rint(np.median(np.diff(times_s)))), 1.0)
        periods = float(np.ceil(WINDOW_S / period_s))
        width_s = period_s * periods
        # A rate says what happened since the sample before it.
        at = np.floor((times_s - times_s[0] + period_s / 2) / width_s).astype(np.int64)
        count = max(int((times_s[-1] - times_s[0] + period_s) // width_s), 1)
        apart_s = float(np.median(np.diff(measured_s))) if len(measured_s) > 1 else period_s
        apart_s = min(max(apart_s, period_s), max(SLOWEST_S, period_s))
        return cls(width_s, count, at, LEAST_SAMPLES_FRAC * width_s / apart_s)

    def total_s(self, windows: Flags) -> float:
        """Return the time in the windows that are marked [s]."""
        return float(windows.sum()) * self.width_s

    def mean(self, values: Floats) -> Floats:
        """Return the mean of the known samples per window, NaN where they are too few."""
        known = ~np.isnan(values) & (self.at < self.count)
        at = self.at[known]
        samples = np.bincount(at, minlength=self.count)
        sums = np.bincount(at, values[known], self.count)
        mean: Floats = np.where(samples >= self.least, sums / np.maximum(samples, 1), np.nan)
        return mean


def _sound(signals: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the rates, NaN where a sample can't be relied on."""
    values = np.stack([signals[rate] for rate in RATES])
    # -0.0 is what a broken subtraction leaves behind.
    sound: Flags = (values >= 0) & (values <= LARGEST) & ~np.signbit(values)
    sound &= ~_repeated(signals)
    for row, rate in enumerate(RATES):
        sound[row] &= _covered(rate, signals)
    return dict(zip(RATES, np.where(sound, values, np.nan), strict=True))


def _repeated(signals: Mapping[str, Floats]) -> Flags:
    """Return where four rates are the same to the last bit: one measurement, read once more."""
    values = np.stack([signals[rate] for rate in RATES])
    same = np.all(values[:, 1:] == values[:, :-1], axis=0) & np.any(values[:, 1:] > 0, axis=0)
    return np.concatenate([[False], same])


def _covered(rate: str, signals: Mapping[str, Floats]) -> Flags:
    """Return where every instance that should report a rate did, and there was one."""
    role = SIGNALS[SIGNAL_INDEX[rate]].role.value
    names = f"{role}_reporting", f"{role}_expected"
    if not all(name in signals for name in names):
        return np.ones(len(signals[rate]), dtype=np.bool_)
    reporting, expected = (signals[name] for name in names)
    covered: Flags = (reporting >= expected) & (reporting > 0)
    return covered


def _offered(grid: _Grid, rates: Mapping[str, Floats], signals: Mapping[str, Floats]) -> Offered:
    rps, prefill, uncached, decode = (rates[name] for name in RATES)
    behind = [_backlog(grid, rps, signals.get(name)) for name in WAITING]
    served = (rps > 0) & (prefill > 0) & ~np.isnan(uncached)
    inputs = np.where(served, prefill / np.where(rps > 0, rps, 1.0), np.nan)
    share = 1 - uncached / np.where(prefill > 0, prefill, 1.0)
    cached = np.where(served, np.clip(share, 0.0, 1.0), np.nan)
    # A backlog anywhere changes what comes out per request that goes in.
    late = behind[0] | behind[1]
    outputs = _per_request(grid, rps, decode, late)
    inputs, cached = _held(inputs, behind[0], grid), _held(cached, behind[0], grid)
    outputs = _held(outputs, late, grid)
    reported = ~np.isnan(rps + prefill + uncached + decode)
    known = reported & ((rps == 0) | ~np.isnan(inputs + outputs + cached))
    return Offered(*(np.where(known, values, np.nan) for values in (rps, inputs, outputs, cached)))


def _backlog(grid: _Grid, rps: Floats, waiting: Floats | None) -> Flags:
    """Return the windows at whose beginning or end requests had piled up."""
    if waiting is None:
        return np.zeros(grid.count, dtype=np.bool_)
    behind = grid.mean(waiting) > BACKLOG_FRAC * rps * grid.width_s
    behind[1:] |= behind[:-1].copy()
    return behind


def _per_request(grid: _Grid, rps: Floats, decode: Floats, late: Flags) -> Floats:
    """Return decode tokens per request over the windows around each, without the late ones."""
    # An odd number, so that the windows lie evenly around each, and no more than there are.
    around = min(max(round(OUTPUT_WINDOW_S / grid.width_s), 1), grid.count)
    ones = np.ones(around - (around + 1) % 2)
    usable = ~np.isnan(rps + decode) & ~late
    count = np.convolve(usable, ones, mode="same")
    made = np.convolve(np.where(usable, decode, 0.0), ones, mode="same")
    asked = np.convolve(np.where(usable, rps, 0.0), ones, mode="same")
    enough = (count >= LEAST_SAMPLES_FRAC * len(ones)) & (asked > 0) & (made > 0)
    per_request: Floats = np.where(enough & ~late, made / np.where(asked > 0, asked, 1.0), np.nan)
    return per_request


def _held(values: Floats, behind: Flags, grid: _Grid) -> Floats:
    """Return the values with those of windows with a backlog from the nearest one without."""
    usable = np.flatnonzero(~np.isnan(values) & ~behind)
    held = np.where(behind, np.nan, values)
    wanted = np.flatnonzero(behind)
    if not len(usable) or not len(wanted):
        return held
    after = np.minimum(np.searchsorted(usable, wanted), len(usable) - 1)
    before = np.maximum(after - 1, 0)
    closer = wanted - usable[before] <= np.abs(usable[after] - wanted)
    nearest = np.where(closer, usable[before], usable[after])
    close = np.abs(nearest - wanted) * grid.width_s <= LENGTHS_HOLD_S
    held[wanted[close]] = values[nearest[close]]
    return held


def _too_little(
    name: str, grid: _Grid, rates: Mapping[str, Floats], known_s: float
) -> TooLittleRecordedError:
    span_s = grid.count * grid.width_s
    reported_s = grid.total_s(~np.isnan(sum(rates.values())))
    shares = ", ".join(
        f"{rate} {100 * grid.total_s(~np.isnan(values)) / span_s:.0f} %"
        for rate, values in rates.items()
    )
    return TooLittleRecordedError(
        f"{name}: the load is known for {known_s / PER_MIN:.0f} of {span_s / PER_MIN:.0f} min,"
        f" and {LEAST_KNOWN_S / PER_MIN:.0f} min and {100 * LEAST_KNOWN_FRAC:.0f} % are needed."
        f" Known of the time: {shares}; for {(reported_s - known_s) / PER_MIN:.0f} min more the"
        " rate is known and the lengths are not, since requests had piled up or none were served."
        " Choose a time with fewer holes and backlogs, or a longer one."
    )
