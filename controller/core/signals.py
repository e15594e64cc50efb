"""Samples in, signals out."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import (
    ROLE_INDEX,
    SIGNALS,
    Counts,
    Flags,
    Floats,
    Quality,
    Signal,
    Signals,
    Window,
)

# Clocks of two machines differ by a little; a sample further ahead than this is wrong (M08).
FUTURE_SLACK_S: Final = 5.0
# No reading of a service comes near this; above it a sum could overflow (M06).
LARGEST: Final = 1e15
SMALLEST: Final = float(np.finfo(np.float64).tiny)

_LATENCY_ROWS: Final = np.array([i for i, kind in enumerate(SIGNALS) if kind.unit == "s"])
_ROLE_ROWS: Final = np.array([ROLE_INDEX[kind.role] for kind in SIGNALS])


def summarise(
    window: Window, *, now_s: float, max_age_s: float, coverage_ok_frac: float = 1.0
) -> Signals:
    """Reduce a window to one :class:`Signal` per entry of ``SIGNALS``, keyed by name.

    The window is the evaluation window: each sample in it counts and nothing outside it exists.
    Rates and gauges become the mean of their present samples. Latencies, already percentiles,
    become the mean of the newer half of the window (of all present samples if the newer half has
    none), so that a breach that has ended does not linger.

    Quality, first match wins (HeteroScale §3):

    * missing: no present sample, or no instance expected and none reporting;
    * invalid: a sample in use is not finite, negative, denormal or above ``LARGEST``, or the
      newest one is dated more than ``FUTURE_SLACK_S`` ahead of ``now_s``;
    * stale: the newest present sample is older than ``max_age_s`` [s];
    * partial: fewer than ``coverage_ok_frac`` of the expected instances reported with it;
    * ok: otherwise. A rate of 0 that everyone reports is a value, not an absence.

    ``value`` is ``None`` for missing and invalid. Never raises for what the samples hold.
    """
    if not window.times_s.size:
        return {k.name: Signal(k.name, None, k.unit, None, 0, 0, Quality.MISSING) for k in SIGNALS}
    newest = window.times_s.size - 1 - window.present[:, ::-1].argmax(axis=1)
    values, sound = _means(window)
    return _graded(
        _Columns(
            np.any(window.present, axis=1),
            sound,
            values,
            window.times_s[newest],
            window.reporting[_ROLE_ROWS, newest],
            window.expected[_ROLE_ROWS, newest],
        ),
        now_s=now_s,
        max_age_s=max_age_s,
        coverage_ok_frac=coverage_ok_frac,
    )


@dataclass(frozen=True, slots=True)
class _Columns:
    """What the window says about each signal; arrays of shape ``(len(SIGNALS),)``."""

    seen: Flags
    sound: Flags
    values: Floats
    measured_at_s: Floats
    reporting: Counts
    expected: Counts


def _means(window: Window) -> tuple[Floats, Flags]:
    """Return the mean of the samples in use, and whether all of those are plausible numbers."""
    values = window.values
    used = window.present.copy()
    older = window.times_s.size // 2
    fresh = _LATENCY_ROWS[used[_LATENCY_ROWS, older:].any(axis=1)]
    used[fresh, :older] = False
    # NaN fails every comparison; -0.0 is what a broken subtraction leaves behind.
    plausible = ((values >= SMALLEST) & (values <= LARGEST)) | (
        (values == 0.0) & ~np.signbit(values)
    )
    counted = used & plausible
    count = used.sum(axis=1)
    total = np.where(counted, values, 0.0).sum(axis=1)
    return total / np.maximum(count, 1), np.equal(counted.sum(axis=1), count)


def _graded(
    columns: _Columns, *, now_s: float, max_age_s: float, coverage_ok_frac: float
) -> Signals:
    """Give every signal its quality; plain lists, because 16 scalars are quicker so."""
    signals: dict[str, Signal] = {}
    rows = zip(
        SIGNALS,
        columns.seen.tolist(),
        columns.sound.tolist(),
        columns.values.tolist(),
        columns.measured_at_s.tolist(),
        columns.reporting.tolist(),
        columns.expected.tolist(),
        strict=True,
    )
    for kind, seen, sound, value, at_s, reporting, expected in rows:
        age_s = now_s - at_s
        if not seen or (expected <= 0 and reporting <= 0):
            quality = Quality.MISSING
        elif not sound or not age_s >= -FUTURE_SLACK_S:
            quality = Quality.INVALID
        elif age_s > max_age_s:
            quality = Quality.STALE
        elif reporting < coverage_ok_frac * expected:
            quality = Quality.PARTIAL
        else:
            quality = Quality.OK
        readable = quality is not Quality.MISSING and quality is not Quality.INVALID
        signals[kind.name] = Signal(
            kind.name,
            value if readable else None,
            kind.unit,
            at_s if seen else None,
            reporting,
            expected,
            quality,
        )
    return signals
