"""Samples in, signals out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from controller.core.types import (
    ROLE_INDEX,
    SIGNAL_INDEX,
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

_GRADES: Final = (
    Quality.OK,
    Quality.PARTIAL,
    Quality.STALE,
    Quality.INVALID,
    Quality.MISSING,
)
_OK: Final = 0


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
    * partial: fewer than ``coverage_ok_frac`` of the expected instances reported with it, or
      who answered says that series are missing;
    * ok: otherwise. A rate of 0 that everyone reports is a value, not an absence.

    ``value`` is ``None`` for missing and invalid. Never raises for what the samples hold.
    """
    return summarise_all([(window, coverage_ok_frac)], now_s=now_s, max_age_s=max_age_s)[0]


def summarise_all(
    windows: Sequence[tuple[Window, float]], *, now_s: float, max_age_s: float
) -> list[Signals]:
    """Return the signals of many windows, each with its ``coverage_ok_frac``, in their order.

    The same as :func:`summarise` for each of them, in one pass over those of equal length.
    Raises ``ValueError`` when arrays of a window don't have its shapes.
    """
    found: list[Signals] = [_NOTHING] * len(windows)
    by_length: dict[int, list[int]] = {}
    for at, (window, _) in enumerate(windows):
        by_length.setdefault(window.times_s.size, []).append(at)
    by_length.pop(0, None)
    for members in by_length.values():
        group = [windows[at][0] for at in members]
        coverage = np.array([[windows[at][1]] for at in members], dtype=np.float64)
        graded = _graded(group, coverage, now_s=now_s, max_age_s=max_age_s)
        for at, signals in zip(members, graded, strict=True):
            found[at] = signals
    return found


Columns = tuple[
    Sequence[Quality],
    Sequence[float | None],
    Sequence[float | None],
    Sequence[float | None],
    Sequence[int],
    Sequence[int],
]


class SignalTable(Mapping[str, Signal]):
    """Signals made when somebody asks: a decision reads four of sixteen."""

    __slots__ = ("_columns", "_made")

    def __init__(self, columns: Columns) -> None:
        """Take quality, value, newest sample, time, reporting, expected, as ``SIGNALS`` are."""
        self._columns = columns
        self._made: dict[str, Signal] = {}

    def __getitem__(self, name: str) -> Signal:
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self._make(SIGNAL_INDEX[name])
        return made

    def _make(self, at: int) -> Signal:
        kind = SIGNALS[at]
        quality, value, newest, at_s, reporting, expected = self._columns
        return Signal(
            kind.name,
            value[at],
            kind.unit,
            at_s[at],
            reporting[at],
            expected[at],
            quality[at],
            newest[at],
        )

    def __iter__(self) -> Iterator[str]:
        return iter(SIGNAL_INDEX)

    def __len__(self) -> int:
        return len(SIGNAL_INDEX)


_NOTHING: Final[Signals] = {
    kind.name: Signal(kind.name, None, kind.unit, None, 0, 0, Quality.MISSING) for kind in SIGNALS
}


def plausible(values: Floats) -> Flags:
    """Return which values can be readings: M05 and M06 name those that can't."""
    # NaN fails every comparison; -0.0 is what a broken subtraction leaves behind.
    nothing: Flags = (values == 0.0) & ~np.signbit(values)
    return nothing | ((values >= SMALLEST) & (values <= LARGEST))


def _means(values: Floats, present: Flags, times_s: Floats) -> tuple[Floats, Flags]:
    """Return the mean of the samples in use, and whether all of those are plausible numbers.

    Of samples of one time the last counts, so that one delivered twice changes nothing (M12).
    """
    used = present.copy()
    again = (times_s[:, 1:] == times_s[:, :-1])[:, np.newaxis, :]
    used[:, :, :-1] &= ~(again & present[:, :, 1:])
    middle_s = 0.5 * (times_s[:, :1] + times_s[:, -1:])
    newer: Flags = used[:, _LATENCY_ROWS] & (times_s >= middle_s)[:, np.newaxis, :]
    fresh: Flags = np.any(newer, axis=2)
    used[:, _LATENCY_ROWS] &= newer | ~fresh[:, :, np.newaxis]
    counted = used & plausible(values)
    count = used.sum(axis=2)
    total = np.where(counted, values, 0.0).sum(axis=2)
    return total / np.maximum(count, 1), np.equal(counted.sum(axis=2), count)


def _heard(window: Window) -> Counts:
    return window.reporting[_ROLE_ROWS] if window.heard is None else window.heard


def _taken(window: Window) -> Floats:
    if window.at_s is not None:
        return window.at_s
    return np.broadcast_to(window.times_s, (len(SIGNALS), window.times_s.size))


def _partly(windows: Sequence[Window]) -> Flags:
    nothing = np.zeros(len(SIGNALS), dtype=np.bool_)
    return np.stack([nothing if w.partly is None else w.partly for w in windows])


def _graded(
    windows: Sequence[Window], coverage_ok_frac: Floats, *, now_s: float, max_age_s: float
) -> Iterator[SignalTable]:
    """Give every signal its value and quality; all windows have the same number of samples."""
    rows = np.arange(len(windows))[:, np.newaxis]
    present = np.stack([window.present for window in windows])
    newest = present.shape[2] - 1 - present[:, :, ::-1].argmax(axis=2)
    seen: Flags = np.any(present, axis=2)
    times_s = np.stack([window.times_s for window in windows])
    at_s = np.stack([_taken(w) for w in windows])[rows, np.arange(len(SIGNALS)), newest]
    expected = np.stack([w.expected for w in windows])[rows, _ROLE_ROWS, newest]
    reporting = np.stack([_heard(w) for w in windows])[rows, np.arange(len(SIGNALS)), newest]
    samples = np.stack([window.values for window in windows])
    values, sound = _means(samples, present, times_s)
    last = samples[rows, np.arange(len(SIGNALS)), newest]
    age_s = now_s - at_s
    grade = np.full(seen.shape, _OK)
    partly = (reporting < coverage_ok_frac * expected) | _partly(windows)
    grade[partly] = _GRADES.index(Quality.PARTIAL)
    grade[age_s > max_age_s] = _GRADES.index(Quality.STALE)
    grade[~sound | ~(age_s >= -FUTURE_SLACK_S)] = _GRADES.index(Quality.INVALID)
    grade[~seen | ((expected <= 0) & (reporting <= 0))] = _GRADES.index(Quality.MISSING)
    return _tables(seen, grade, (values, last, at_s, reporting, expected))


def _tables(
    seen: Flags, grade: Counts, columns: tuple[Floats, Floats, Floats, Counts, Counts]
) -> Iterator[SignalTable]:
    """Yield the signals of each row; plain lists, because scalars are quicker so."""
    values, last, times_s, reporting, expected = columns
    readable = grade < _GRADES.index(Quality.INVALID)
    lists = (
        [[_GRADES[g] for g in row] for row in grade.tolist()],
        _or_none(values, readable),
        _or_none(last, readable),
        _or_none(times_s, seen),
        reporting.tolist(),
        expected.tolist(),
    )
    return (SignalTable(row) for row in zip(*lists, strict=True))


def _or_none(values: Floats, known: Flags) -> list[list[float | None]]:
    if known.all():
        return values.tolist()  # type: ignore[no-any-return]
    return np.where(known, values, None).tolist()  # type: ignore[no-any-return, call-overload]
