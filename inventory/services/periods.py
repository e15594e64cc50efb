"""Windows of time as the JSON list a row holds."""

from typing import Any

from controller.core.types import Instances, Period, PeriodKind


class ScheduleError(ValueError):
    """A schedule that can't be read; the text says where."""


def schedule_plain(periods: tuple[Period, ...]) -> list[dict[str, Any]]:
    """Return the windows as plain values."""
    return [
        {
            "name": period.name,
            "begin": period.begin,
            "end": period.end,
            "prefill": period.counts.prefill,
            "decode": period.counts.decode,
            "kind": period.kind.value,
            "days": list(period.days),
            "dates": list(period.dates),
            "except_dates": list(period.except_dates),
        }
        for period in periods
    ]


def schedule_from_plain(value: object) -> tuple[Period, ...]:
    """Return plain values as windows. Raises :class:`ScheduleError`."""
    if not isinstance(value, list):
        raise ScheduleError("the schedule is no list of windows")
    return tuple(_period(each, at) for at, each in enumerate(value, 1))


def _period(each: Any, at: int) -> Period:  # noqa: ANN401 - whatever the row holds
    try:
        return Period(
            name=str(each["name"]),
            begin=str(each["begin"]),
            end=str(each["end"]),
            counts=Instances(int(each["prefill"]), int(each["decode"])),
            kind=PeriodKind(each.get("kind", "floor")),
            days=tuple(each.get("days", range(7))),
            dates=tuple(each.get("dates", ())),
            except_dates=tuple(each.get("except_dates", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise ScheduleError(f"window {at} of the schedule can't be read: {fault}") from fault
