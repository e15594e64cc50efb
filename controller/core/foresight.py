"""The need when a start of now would serve: as it is, by its trend, or by yesterday's course."""

from dataclasses import replace
from typing import Final, NamedTuple

from controller.core.outlook import Guess, Learnt, Outlook, Peak
from controller.core.types import Pair

FLAT, TREND, SEASON = "flat", "trend", "season"
METHODS: Final = (FLAT, TREND, SEASON)

MINUTE_S: Final = 60.0
GAP_S: Final = 180.0
"""A longer gap between two needs begins the trend anew."""

MINUTES: Final = 10
FEWEST: Final = 5
"""Needs a trend is taken from, one a minute, at most and at least."""

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
HOURS: Final = 26
"""Hours of which the highest need is kept: a day, and one more on either side."""

FURTHEST: Final = 2.0
"""A forecast is at most this many times the need of now, and at least the inverse."""

TRIES: Final = 30.0
"""Forecasts judged before one may replace the need of now."""

BETTER: Final = 0.95
"""And its mean error is at most this part of the flat one's."""

MEMORY: Final = 1440.0
"""Forecasts, one a minute, over which the mean error is taken: a day."""


class Ahead(NamedTuple):
    """A forecast of one role: the need [instances], how it was made, and mean relative errors.

    ``error`` is that of the method, ``flat_error`` that of taking the need of now; ``None`` before
    the first was judged.
    """

    need: float
    by: str
    error: float | None
    flat_error: float | None


def foresee(
    outlook: Outlook, needs: Pair, now_s: float, ahead_s: float
) -> tuple[Outlook, tuple[Ahead, Ahead] | None]:
    """Return the outlook with these needs, and the forecast for ``ahead_s`` from now per role.

    Trend: the need plus ``ahead_s`` times the median slope of all pairs of the last ten minutes'
    needs (Theil and Sen), where at least three quarters of the slopes have its sign. Season: the
    need times what the highest need of an hour was yesterday at that time over what it was at the
    time of now, hours interpolated. Once a minute all three are noted and judged when they are
    due; the one with the least mean relative error of a day decides, and flat does unless another
    is better by a twentieth. ``None`` while needs are unknown: then nothing is noted either.
    """
    prefill, decode = needs
    if prefill is None or decode is None:
        return outlook, None
    known = prefill, decode
    chosen = tuple(_method(learnt) for learnt in (outlook.prefill, outlook.decode))
    outlook = _judged(outlook, known, now_s)
    outlook, is_new = _noted(outlook, known, now_s)
    flat, trend, season = every = _forecasts(outlook, known, now_s, ahead_s)
    if is_new:
        guess = Guess(now_s + ahead_s, *(round(n, 4) for n in (*flat, *trend, *season)))
        # Starts that take less than before make what was noted for later out of date.
        earlier = tuple(one for one in outlook.guesses if one.due_s < guess.due_s)
        outlook = replace(outlook, guesses=(*earlier, guess))
    ahead = [
        Ahead(every[METHODS.index(by)][role], by, *_errors(learnt, by))
        for role, (by, learnt) in enumerate(
            zip(chosen, (outlook.prefill, outlook.decode), strict=True)
        )
    ]
    return outlook, (ahead[0], ahead[1])


def _method(learnt: Learnt) -> str:
    """Return the method that erred least, by what was known before this look.

    So that a higher need never leads to a lower forecast by way of a worse error.
    """
    if learnt.judged < TRIES or not learnt.errors:
        return FLAT
    flat = learnt.errors[0]
    error, by = min(zip(learnt.errors, METHODS, strict=True))
    return by if error < BETTER * flat else FLAT


def _errors(learnt: Learnt, by: str) -> tuple[float | None, float | None]:
    if not learnt.errors:
        return None, None
    return learnt.errors[METHODS.index(by)], learnt.errors[0]


def _judged(outlook: Outlook, needs: tuple[float, float], now_s: float) -> Outlook:
    """Count the errors of the newest forecast that was made for now or before."""
    due = [guess for guess in outlook.guesses if guess.due_s <= now_s]
    if not due:
        return outlook
    last, kept = due[-1], outlook.guesses[len(due) :]
    if now_s - last.due_s > MINUTE_S:
        return replace(outlook, guesses=kept)
    return replace(
        outlook,
        guesses=kept,
        prefill=_counted(outlook.prefill, last[1::2], needs[0]),
        decode=_counted(outlook.decode, last[2::2], needs[1]),
    )


def _counted(learnt: Learnt, guesses: tuple[float, ...], need: float) -> Learnt:
    weight = max(1.0 / (learnt.judged + 1.0), 1.0 / MEMORY)
    # Below one instance nothing can be short: there is always one.
    found = [abs(guess - need) / max(need, 1.0) for guess in guesses]
    past = learnt.errors or (0.0,) * len(METHODS)
    errors = (old + weight * (new - old) for old, new in zip(past, found, strict=True))
    judged = min(learnt.judged + 1.0, MEMORY)
    return replace(learnt, judged=judged, errors=tuple(round(e, 5) for e in errors))


def _noted(outlook: Outlook, needs: tuple[float, float], now_s: float) -> tuple[Outlook, bool]:
    """Return the outlook with the needs of this minute and hour, and whether a minute began."""
    prefill, decode = (round(need, 4) for need in needs)
    hour_s, hours = now_s // HOUR_S * HOUR_S, outlook.hours
    last = hours[-1] if hours else Peak(0.0, 0.0, 0.0)
    if last.since_s != hour_s:
        hours = (*hours, Peak(hour_s, prefill, decode))[-HOURS:]
    elif prefill > last.prefill or decode > last.decode:
        top = Peak(hour_s, max(last.prefill, prefill), max(last.decode, decode))
        hours = (*hours[:-1], top)
    if hours is not outlook.hours:
        outlook = replace(outlook, hours=hours)
    minutes = outlook.minutes
    since_s = now_s - minutes[-1].since_s if minutes else GAP_S + 1.0
    if 0.0 <= since_s < MINUTE_S:
        return outlook, False
    if not 0.0 <= since_s <= GAP_S:
        minutes = ()
    minutes = (*minutes, Peak(now_s, prefill, decode))[-MINUTES:]
    slopes = _slope(minutes, 1), _slope(minutes, 2)
    return replace(
        outlook,
        minutes=minutes,
        prefill=replace(outlook.prefill, slope=slopes[0]),
        decode=replace(outlook.decode, slope=slopes[1]),
    ), True


def _slope(minutes: tuple[Peak, ...], at: int) -> float:
    """Return the median slope [instances/s] of all pairs, 0 where a quarter has another sign."""
    if len(minutes) < FEWEST:
        return 0.0
    slopes = sorted(
        (two[at] - one[at]) / (two.since_s - one.since_s)
        for index, one in enumerate(minutes)
        for two in minutes[index + 1 :]
    )
    low, median, high = (slopes[len(slopes) * part // 4] for part in (1, 2, 3))
    return median if low > 0.0 or high < 0.0 else 0.0


def _forecasts(
    outlook: Outlook, needs: tuple[float, float], now_s: float, ahead_s: float
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return what each of ``METHODS`` says of (prefill, decode)."""
    slopes = outlook.prefill.slope, outlook.decode.slope
    trend = tuple(
        _within(need + slope * ahead_s, need) for need, slope in zip(needs, slopes, strict=True)
    )
    season = tuple(
        _within(need * _course(outlook.hours, role, now_s - DAY_S, ahead_s), need)
        for role, need in enumerate(needs, start=1)
    )
    return needs, trend, season


def _within(forecast: float, need: float) -> float:
    return min(max(forecast, need / FURTHEST), need * FURTHEST)


def _course(hours: tuple[Peak, ...], role: int, then_s: float, ahead_s: float) -> float:
    """Return the need ``ahead_s`` after a time over the need at it; 1 where one isn't known."""
    if not hours or hours[0].since_s > then_s:
        return 1.0
    before, after = _at(hours, role, then_s), _at(hours, role, then_s + ahead_s)
    return after / before if before and after else 1.0


def _at(hours: tuple[Peak, ...], role: int, time_s: float) -> float | None:
    """Return the highest need of the hour around a time, between the middles of two hours."""
    first_s = (time_s - HOUR_S / 2) // HOUR_S * HOUR_S
    found = {peak.since_s: peak[role] for peak in hours}
    before, after = found.get(first_s), found.get(first_s + HOUR_S)
    if before is None or after is None:
        return None
    part = (time_s - HOUR_S / 2 - first_s) / HOUR_S
    return before + part * (after - before)
