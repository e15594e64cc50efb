"""The GPUs held in each of the next hours: those of yesterday, at the level of now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

HOUR_S: Final = 3600
DAY: Final = 24
"""Hours."""

AHEAD: Final = 12
"""Hours that are foreseen."""

LEVEL: Final = 3
"""Newest hours whose ratio to yesterday's is the level of now."""

FURTHEST: Final = 2.0
"""The level is at most this many times yesterday's, and at least the inverse."""

FEWEST: Final = 12
"""Earlier forecasts of the same distance or less, judged before a band is told."""

LOW, HIGH = 0.1, 0.9
"""Shares of the errors of earlier forecasts between which the band lies."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour foreseen, from ``since_s`` [s] on: its peak, and a band where one is known."""

    since_s: int
    peak: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The next hours, or in ``lacking`` why nothing is told of them.

    ``level`` is how many times yesterday's the newest hours were, ``None`` where that is not
    known and yesterday is taken as it was; ``judged`` how many earlier forecasts the band is from.
    """

    hours: tuple[Hour, ...] = ()
    level: float | None = None
    judged: int = 0
    lacking: str = ""

    @property
    def highest(self) -> Hour | None:
        """The hour with the highest peak; the first of several."""
        return max(self.hours, key=lambda hour: hour.peak, default=None)


def forecast(peaks: Mapping[int, float], now_s: float) -> Forecast:
    """Return the peaks of the next hours; ``peaks`` has that of each hour by its begin [s].

    Each is what the same hour had yesterday times the level of now: the median ratio of the
    newest whole hours to the same of yesterday. The band is where the middle four fifths of what
    this would have said of the last day went wrong. Of hours that yesterday does not have nothing
    is told.
    """
    this_s = int(now_s // HOUR_S) * HOUR_S
    level = _level(peaks, this_s)
    wrong = _errors(peaks, this_s)
    band = _band(wrong) if len(wrong) >= FEWEST else None
    hours = []
    for ahead in range(1, AHEAD + 1):
        at_s = this_s + ahead * HOUR_S
        before = peaks.get(at_s - DAY * HOUR_S)
        if before is None:
            continue
        peak = before * (level or 1.0)
        low, high = (peak * band[0], peak * band[1]) if band else (None, None)
        hours.append(Hour(at_s, peak, low, high))
    if not hours:
        return Forecast(lacking=_lacking(peaks, this_s))
    return Forecast(tuple(hours), level, len(wrong))


def _lacking(peaks: Mapping[int, float], this_s: int) -> str:
    """Return in a sentence why nothing can be said."""
    have = (this_s - min(peaks, default=this_s)) // HOUR_S
    if have < DAY:
        return f"Not enough history yet: {max(0, have)} of {DAY} hours."
    return "The same hours of yesterday were not measured."


def _level(peaks: Mapping[int, float], this_s: int) -> float | None:
    """Return the median ratio of the newest whole hours to yesterday's, ``None`` if unknown."""
    ratios = sorted(
        peaks[at_s] / before
        for back in range(1, LEVEL + 1)
        if (at_s := this_s - back * HOUR_S) in peaks
        and (before := peaks.get(at_s - DAY * HOUR_S, 0.0)) > 0
    )
    if not ratios:
        return None
    return min(max(ratios[len(ratios) // 2], 1 / FURTHEST), FURTHEST)


def _errors(peaks: Mapping[int, float], this_s: int) -> list[float]:
    """Return what was over what would have been said of it, for the whole hours of a day."""
    found = []
    for back in range(1, DAY + 1):
        at_s = this_s - back * HOUR_S
        before = peaks.get(at_s - DAY * HOUR_S)
        # As seen half the distance ahead: the middle of what is foreseen now.
        level = _level(peaks, at_s - AHEAD // 2 * HOUR_S)
        if level is not None and before and at_s in peaks:
            found.append(peaks[at_s] / (before * level))
    return found


def _band(errors: Sequence[float]) -> tuple[float, float]:
    """Return the factors of the band; they take in the forecast itself."""
    ordered = sorted(errors)
    last = len(ordered) - 1
    return min(1.0, ordered[round(LOW * last)]), max(1.0, ordered[round(HIGH * last)])
