"""Windows of time on a zone's wall clock: which are in force, which come, and how rows hold them.

A wall time stands for the first second at which the zone's clock shows it or a later one. So a
time that the clock skips is the moment of the jump, one that comes twice is the first of the two,
and windows that adjoin on the wall clock adjoin on every day of the year.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache, reduce
from itertools import islice
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from controller.core.pairs import MOST_INSTANCES, larger
from controller.core.raw_values import shown, text_of
from controller.core.types import Instances, Period, PeriodKind, PolicyConfig, Role
from controller.core.words import clean

_DAY: Final = timedelta(days=1)
_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
_LONGEST_NAME: Final = 60
_DAYS: Final = range(7)


class ScheduleError(ValueError):
    """An entry that can't be used: ``field`` says which, the text also what to give instead."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Occurrence(NamedTuple):
    """One run of a window, in force from ``begin_s`` until before ``end_s`` [s since epoch]."""

    period: Period
    begin_s: float
    end_s: float


class Ruling(NamedTuple):
    """The counts a schedule asks for, whether it is exactly these, and the windows that do."""

    counts: Instances
    fixed: bool
    by: tuple[Occurrence, ...]


def running(config: PolicyConfig, now_s: float) -> tuple[Occurrence, ...]:
    """Return the windows in force, in the order of the schedule.

    The configuration must be one that :mod:`controller.core.config_check` finds nothing wrong in.
    """
    if not config.schedule:
        return ()
    zone = ZoneInfo(config.time_zone)
    today = _wall(now_s, zone).date()
    # Where the clock is put back over midnight, a window of tomorrow has begun already.
    days = (today - _DAY, today, today + _DAY)
    runs = (run for period in config.schedule for run in _runs(period, days, zone))
    return tuple(run for run in runs if run.begin_s <= now_s < run.end_s)


def ruling_at(config: PolicyConfig, now_s: float) -> Ruling | None:
    """Return what the schedule asks for at a time, or ``None`` while no window is in force.

    A target wins over floors, and the first target over later ones. Of floors the larger count of
    each role holds, and the windows that give one are named.
    """
    found = running(config, now_s)
    if not found:
        return None
    for run in found:
        if run.period.kind == PeriodKind.TARGET:
            return Ruling(run.period.counts, fixed=True, by=(run,))
    least = reduce(larger, (run.period.counts for run in found))
    by = tuple(run for run in found if any(run.period.counts.of(r) == least.of(r) for r in Role))
    return Ruling(least, fixed=False, by=by)


def next_occurrences(config: PolicyConfig, now_s: float, n: int) -> tuple[Occurrence, ...]:
    """Return the next ``n`` windows that begin after ``now_s``, or as many as still come.

    Those that begin together are in the order of the schedule; a window that the clock skips as a
    whole doesn't occur. The configuration must be a sound one, as for :func:`running`.
    """
    zone = ZoneInfo(config.time_zone)
    today = _wall(now_s, zone).date()
    coming = (
        run
        for period in config.schedule
        for run in islice(_after(_runs(period, _days_ahead(period, today, n), zone), now_s), n)
    )
    return tuple(sorted(coming, key=lambda run: run.begin_s)[:n])


def wall_time(at_s: float, config: PolicyConfig) -> str:
    """Return a time as the service's zone reads it, ``2026-11-25 20:00 Europe/Berlin``."""
    shown_s = _wall(at_s, ZoneInfo(config.time_zone))
    return f"{shown_s:%Y-%m-%d %H:%M} {config.time_zone}"


def _after(runs: Iterable[Occurrence], now_s: float) -> Iterator[Occurrence]:
    return (run for run in runs if now_s < run.begin_s < run.end_s)


def _days_ahead(period: Period, today: date, n: int) -> Iterable[date]:
    if period.dates:
        return sorted({date.fromisoformat(text) for text in period.dates})
    # A week has at least one of its days; an exception or a jump of the clock may cost that one.
    weeks = 2 * (n + len(period.except_dates) + 1)
    return (today + k * _DAY for k in range(-1, 7 * weeks))


def _runs(period: Period, days: Iterable[date], zone: ZoneInfo) -> Iterator[Occurrence]:
    begin, end = time.fromisoformat(period.begin), time.fromisoformat(period.end)
    for day in days:
        if _begins_on(period, day):
            last = day if end > begin else day + _DAY
            yield Occurrence(
                period,
                _instant(datetime.combine(day, begin), zone),
                _instant(datetime.combine(last, end), zone),
            )


def _begins_on(period: Period, day: date) -> bool:
    if day.isoformat() in period.except_dates:
        return False
    return day.isoformat() in period.dates if period.dates else day.weekday() in period.days


# The same few instants are asked for at every tick, of every service with the same windows.
@lru_cache(maxsize=8192)
def _instant(wall: datetime, zone: ZoneInfo) -> float:
    """Return the first second [s since the epoch] whose wall time is ``wall`` or later."""
    found = int(wall.replace(tzinfo=zone).timestamp())
    if _wall(found, zone) == wall:
        return float(found)
    # The clock skips it: the two offsets lead to either side of the jump, which lies between.
    before = int(wall.replace(tzinfo=zone, fold=1).timestamp())
    span = range(before, found)
    return float(before + bisect_left(span, wall, key=lambda at_s: _wall(at_s, zone)))


def _wall(at_s: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, zone).replace(tzinfo=None)


def schedule_plain(periods: Sequence[Period]) -> list[dict[str, object]]:
    """Return windows as JSON holds them, counts as ``prefill`` and ``decode``."""
    return [
        {
            "name": period.name,
            "begin": period.begin,
            "end": period.end,
            "prefill": period.counts.prefill,
            "decode": period.counts.decode,
            "kind": str(period.kind),
            "days": list(period.days),
            "dates": list(period.dates),
            "except_dates": list(period.except_dates),
        }
        for period in periods
    ]


def schedule_from_plain(plain: object) -> tuple[Period, ...]:
    """Return the windows of a list as :func:`schedule_plain` gives it.

    ``kind``, ``days``, ``dates`` and ``except_dates`` may be absent. Raises
    :class:`ScheduleError` for the first entry and field that can't be used.
    """
    for problem in schedule_problems(plain):
        raise problem
    return tuple(_period(_entry(entry) or {}) for entry in _listed(plain))


def schedule_problems(schedule: object) -> Iterator[ScheduleError]:
    """Yield what can't be used of a list of windows, plain or not; never raises.

    Fields are named like ``schedule[2].begin``, counted from 0.
    """
    if not isinstance(schedule, list | tuple):
        yield ScheduleError("schedule", f"schedule is {shown(schedule)}; give a list of windows")
        return
    for at, given in enumerate(schedule):
        entry = _entry(given)
        if entry is None:
            field = f"schedule[{at}]"
            yield ScheduleError(field, f"{field} is {shown(given)}; give a window")
        else:
            yield from _entry_problems(f"schedule[{at}]", entry)


def _listed(plain: object) -> Sequence[object]:
    return plain if isinstance(plain, list | tuple) else ()


def _entry(given: object) -> Mapping[str, object] | None:
    """Return a window as its fields, what may be absent filled in; ``None`` for no window."""
    if isinstance(given, Mapping):
        return {**_MAY_BE_ABSENT, **given}
    if not isinstance(given, Period):
        return None
    fields = {name: getattr(given, name) for name in _FIELDS if name not in set(Role)}
    return {**fields, **{role.value: getattr(given.counts, role.value, None) for role in Role}}


def _entry_problems(where: str, entry: Mapping[str, object]) -> Iterator[ScheduleError]:
    for name, read in _FIELDS.items():
        value = entry.get(name)
        try:
            read(value)
        except ValueError as fix:
            field = f"{where}.{name}"
            yield ScheduleError(field, f"{field} is {shown(value)}; {fix}")
    if not entry.get("days") and not entry.get("dates"):
        yield ScheduleError(f"{where}.days", f"{where} begins on no day; give days or dates")
    for key in entry:
        if key not in _FIELDS:
            yield ScheduleError(where, f"{where} has no field {shown(key)}; leave it out")


def _period(entry: Mapping[str, object]) -> Period:
    return Period(
        name=_name(entry.get("name")),
        begin=_clock(entry.get("begin")),
        end=_clock(entry.get("end")),
        counts=Instances(_count(entry.get("prefill")), _count(entry.get("decode"))),
        kind=_kind(entry.get("kind")),
        days=_weekdays(entry.get("days")),
        dates=_dates(entry.get("dates")),
        except_dates=_dates(entry.get("except_dates")),
    )


def _name(value: object) -> str:
    name = text_of(value)
    if not name or len(name) > _LONGEST_NAME or clean(name) != name:
        raise ValueError(f"give a name of at most {_LONGEST_NAME} characters on one line")
    return name


def _clock(value: object) -> str:
    if not isinstance(value, str) or not _CLOCK.fullmatch(value):
        raise ValueError("give a time from 00:00 to 23:59")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_INSTANCES:
        raise ValueError(f"give a whole number from 1 to {MOST_INSTANCES:,} instances")
    return value


def _kind(value: object) -> PeriodKind:
    for kind in PeriodKind:
        if value == kind:
            return kind
    raise ValueError(f"choose from {', '.join(PeriodKind)}")


def _weekdays(value: object) -> tuple[int, ...]:
    days = tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(
        isinstance(day, int) and not isinstance(day, bool) and day in _DAYS for day in days
    ):
        raise ValueError("give days from 0 for Monday to 6 for Sunday")
    return days


def _dates(value: object) -> tuple[str, ...]:
    given = tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(text, str) and _is_date(text) for text in given):
        raise ValueError("give dates such as 2026-12-24")
    return given


def _is_date(text: str) -> bool:
    """Return whether this is a date that exists, in the one form that compares equal."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return False
    return day.isoformat() == text and day < date.max


_FIELDS: Final[Mapping[str, Callable[[object], object]]] = {
    "name": _name,
    "begin": _clock,
    "end": _clock,
    "prefill": _count,
    "decode": _count,
    "kind": _kind,
    "days": _weekdays,
    "dates": _dates,
    "except_dates": _dates,
}
_MAY_BE_ABSENT: Final[Mapping[str, object]] = {
    "kind": PeriodKind.FLOOR,
    "days": tuple(_DAYS),
    "dates": (),
    "except_dates": (),
}
