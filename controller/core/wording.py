"""Values as an operator reads them: durations, rates, latencies and ratios, always with a unit."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final, TypeGuard
from zoneinfo import ZoneInfo

UNKNOWN: Final = "—"

_MINUTE_S: Final = 60
_HOUR_S: Final = 3_600
_DAY_S: Final = 86_400


def _known(value: float | None) -> TypeGuard[float]:
    """Return whether there is a figure: one was given, and it is a number."""
    return value is not None and math.isfinite(value)


def duration(seconds: float | None) -> str:
    """Return a length of time in its two largest units: "8 s", "4 min", "1 h 20 min", "2 d 3 h".

    Below a minute only seconds are told, below ten minutes minutes with their seconds when there
    are any; an unknown length is a dash.
    """
    if not _known(seconds):
        return UNKNOWN
    total = max(0, round(seconds))
    for unit, inner, unit_s, inner_s in (
        ("d", "h", _DAY_S, _HOUR_S),
        ("h", "min", _HOUR_S, _MINUTE_S),
    ):
        if total >= unit_s:
            rest = total % unit_s // inner_s
            return f"{total // unit_s} {unit}" + (f" {rest} {inner}" if rest else "")
    minutes, rest = divmod(total, _MINUTE_S)
    if not minutes:
        return f"{total} s"
    return f"{minutes} min" + (f" {rest} s" if rest and minutes < 10 else "")  # noqa: PLR2004


def age(seconds: float | None) -> str:
    """Return how long ago something was, to the precision a reader needs: "41 min ago"."""
    if not _known(seconds):
        return UNKNOWN
    return f"{coarse(seconds)} ago"


def coarse(seconds: float | None) -> str:
    """Return a length of time without the seconds of whole minutes: "5 min", "3 h 2 min"."""
    if not _known(seconds):
        return UNKNOWN
    if seconds >= _MINUTE_S:
        seconds -= seconds % _MINUTE_S
    return duration(seconds)


def number(value: float | None) -> str:
    """Return a number with thousands separators and no more digits than it deserves."""
    if not _known(value):
        return UNKNOWN
    digits = 0 if value == round(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def rate(value: float | None, unit: str = "tok/s") -> str:
    """Return a rate in whole units: "3,900 tok/s"."""
    return UNKNOWN if not _known(value) else f"{value:,.0f} {unit}"


def latency(seconds: float | None) -> str:
    """Return a latency in the unit it is spoken in: "47 ms" below 100 ms, "1.9 s" above."""
    if not _known(seconds):
        return UNKNOWN
    if seconds < 0.1:  # noqa: PLR2004
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def precise(seconds: float) -> str:
    """Return a latency with three digits, for what is compared: "35.2 ms", "1.04 s"."""
    return f"{seconds * 1000:.3g} ms" if seconds < 0.1 else f"{seconds:.3g} s"  # noqa: PLR2004


def against(value_s: float | None, goal_s: float) -> str:
    """Return a latency and its goal in one unit, that of the goal: "47 / 50 ms"."""
    if goal_s < 0.1:  # noqa: PLR2004
        shown = UNKNOWN if value_s is None else f"{value_s * 1000:.0f}"
        return f"{shown} / {goal_s * 1000:.0f} ms"
    shown = UNKNOWN if value_s is None else f"{value_s:.2f}" if value_s < 1 else f"{value_s:.1f}"
    goal = f"{goal_s:.2f}".rstrip("0") if goal_s < 1 else f"{goal_s:.1f}"
    return f"{shown} / {goal} s"


def ratio(value: float | None) -> str:
    """Return prefill instances per decode instance with two or three useful digits."""
    if not _known(value):
        return UNKNOWN
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"  # noqa: PLR2004


def percent(share: float | None) -> str:
    """Return a share as a whole percentage: "97 %"."""
    return UNKNOWN if not _known(share) else f"{share * 100:.0f} %"


def zone_name(at: datetime) -> str:
    """Return the short name of the zone a time is in; an offset where the zone has no letters."""
    name = at.tzname() or "UTC"
    return f"UTC{name}" if name[:1] in "+-" else name


def clock(at: datetime, zone: ZoneInfo, now: datetime | None = None) -> str:
    """Return a time of day with its zone, and the date when it is not today: "03:08:12 UTC"."""
    local = at.astimezone(zone)
    return f"{_day(local, now)}{local:%H:%M:%S} {zone_name(local)}"


def hour(at: datetime, zone: ZoneInfo, now: datetime | None = None) -> str:
    """Return a time as :func:`clock` does, without its seconds: "03:40 UTC"."""
    local = at.astimezone(zone)
    return f"{_day(local, now)}{local:%H:%M} {zone_name(local)}"


def _day(local: datetime, now: datetime | None) -> str:
    if now is not None and now.astimezone(local.tzinfo).date() == local.date():
        return ""
    known = now is None or now.year == local.year
    return f"{local.day} {local:%b} " if known else f"{local.day} {local:%b %Y} "
