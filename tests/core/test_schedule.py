"""When: windows on the wall clock, through every jump of it, and how rows hold them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.schedule import (
    Occurrence,
    Ruling,
    ScheduleError,
    next_occurrences,
    ruling_at,
    running,
    schedule_from_plain,
    schedule_plain,
    schedule_problems,
    wall_time,
)
from controller.core.types import Instances, Period, PeriodKind, PolicyConfig
from tests.core.build import POLICY

BERLIN, KATHMANDU, CHATHAM = "Europe/Berlin", "Asia/Kathmandu", "Pacific/Chatham"
APIA, ST_JOHNS = "Pacific/Apia", "America/St_Johns"
DAY = Period("day", "08:00", "20:00", Instances(4, 8))


def utc(text: str) -> float:
    """Return a UTC time [s since the epoch]."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def under(*periods: Period, zone: str = "UTC") -> PolicyConfig:
    return replace(POLICY, name="periodic", schedule=periods, time_zone=zone)


def span(begin: str, end: str) -> Period:
    return replace(DAY, begin=begin, end=end)


def is_on(period: Period, zone: str, at: str) -> bool:
    return running(under(period, zone=zone), utc(at)) != ()


@pytest.mark.parametrize(
    ("period", "zone", "at", "on"),
    [
        pytest.param(DAY, "UTC", "2026-11-25 07:59:59", False, id="a second before it begins"),
        pytest.param(DAY, "UTC", "2026-11-25 08:00", True, id="it begins at its first second"),
        pytest.param(DAY, "UTC", "2026-11-25 19:59:59", True, id="its last second"),
        pytest.param(DAY, "UTC", "2026-11-25 20:00", False, id="its end is not part of it"),
        pytest.param(DAY, BERLIN, "2026-11-25 07:00", True, id="Berlin in winter: 8-1=7 UTC"),
        pytest.param(DAY, BERLIN, "2026-07-01 06:00", True, id="Berlin in summer: 8-2=6 UTC"),
        pytest.param(DAY, BERLIN, "2026-07-01 05:59", False, id="Berlin in summer: not 7:59"),
        pytest.param(DAY, KATHMANDU, "2026-11-25 02:15", True, id="+05:45: 8:00 is 2:15 UTC"),
        pytest.param(DAY, KATHMANDU, "2026-11-25 02:14", False, id="+05:45: 7:59 is 2:14 UTC"),
        pytest.param(
            DAY, CHATHAM, "2026-11-24 18:15", True, id="+13:45: 8:00 is 18:15 UTC the day before"
        ),
        pytest.param(
            span("22:00", "06:00"), "UTC", "2026-12-31 23:00", True, id="past midnight: before it"
        ),
        pytest.param(
            span("22:00", "06:00"), "UTC", "2027-01-01 05:59", True, id="past midnight: year end"
        ),
        pytest.param(
            span("22:00", "06:00"), "UTC", "2027-01-01 06:00", False, id="past midnight: over"
        ),
        pytest.param(
            span("00:00", "00:00"), "UTC", "2026-11-25 23:59:59", True, id="00:00 to 00:00 is all"
        ),
        pytest.param(
            replace(span("22:00", "06:00"), days=(5,)),
            "UTC",
            "2026-11-29 05:00",
            True,
            id="Saturday's night is still on on Sunday",
        ),
        pytest.param(
            replace(span("22:00", "06:00"), days=(5,)),
            "UTC",
            "2026-11-29 23:00",
            False,
            id="and Sunday has none of its own",
        ),
        pytest.param(
            replace(DAY, dates=("2028-02-29",)), "UTC", "2028-02-29 09:00", True, id="29 February"
        ),
        pytest.param(
            replace(DAY, dates=("2028-02-29",)), "UTC", "2028-02-28 09:00", False, id="not 28th"
        ),
        pytest.param(
            replace(span("22:00", "06:00"), dates=("2028-02-29",)),
            "UTC",
            "2028-03-01 05:00",
            True,
            id="the night of 29 February ends on 1 March",
        ),
        pytest.param(
            replace(DAY, dates=("2026-12-24",), days=()),
            "UTC",
            "2026-12-24 09:00",
            True,
            id="dates replace days",
        ),
        pytest.param(
            replace(DAY, except_dates=("2026-12-25",)),
            "UTC",
            "2026-12-25 09:00",
            False,
            id="an exception: it does not begin",
        ),
        pytest.param(
            replace(span("22:00", "06:00"), except_dates=("2026-12-25",)),
            "UTC",
            "2026-12-25 05:00",
            True,
            id="the night that began the day before an exception goes on",
        ),
        pytest.param(
            replace(DAY, dates=("2026-12-25",), except_dates=("2026-12-25",)),
            "UTC",
            "2026-12-25 09:00",
            False,
            id="an exception wins over a date",
        ),
    ],
)
def test_a_window_is_in_force_by_the_wall_clock_t02(
    period: Period,
    zone: str,
    at: str,
    on: bool,  # noqa: FBT001 - a column of the table
) -> None:
    assert is_on(period, zone, at) is on


@pytest.mark.parametrize(
    ("period", "zone", "day", "begin", "end"),
    [
        pytest.param(
            span("02:30", "04:00"),
            BERLIN,
            "2026-03-29",
            "2026-03-29 01:00",
            "2026-03-29 02:00",
            id="forward: 2:30 is skipped, so from the jump to 4:00: 1 h",
        ),
        pytest.param(
            span("22:00", "06:00"),
            BERLIN,
            "2026-03-28",
            "2026-03-28 21:00",
            "2026-03-29 04:00",
            id="forward: the night has 7 h",
        ),
        pytest.param(
            span("22:00", "06:00"),
            BERLIN,
            "2026-10-24",
            "2026-10-24 20:00",
            "2026-10-25 05:00",
            id="back: the night has 9 h",
        ),
        pytest.param(
            span("02:00", "03:00"),
            BERLIN,
            "2026-10-25",
            "2026-10-25 00:00",
            "2026-10-25 02:00",
            id="back: the doubled hour is 2 h",
        ),
        pytest.param(
            span("01:00", "02:30"),
            BERLIN,
            "2026-10-25",
            "2026-10-24 23:00",
            "2026-10-25 00:30",
            id="back: it ends at the first 2:30",
        ),
        pytest.param(
            span("02:30", "02:45"),
            BERLIN,
            "2026-10-25",
            "2026-10-25 00:30",
            "2026-10-25 00:45",
            id="back: inside the doubled hour it comes once",
        ),
        pytest.param(
            span("03:00", "04:00"),
            CHATHAM,
            "2026-09-27",
            "2026-09-26 14:00",
            "2026-09-26 14:15",
            id="45-minute zone forward from 2:45 to 3:45: 15 min are left",
        ),
        pytest.param(
            span("03:00", "04:00"),
            CHATHAM,
            "2026-04-05",
            "2026-04-04 13:15",
            "2026-04-04 15:15",
            id="45-minute zone back from 3:45 to 2:45: 2 h",
        ),
        pytest.param(
            span("22:00", "06:00"),
            APIA,
            "2011-12-29",
            "2011-12-30 08:00",
            "2011-12-30 10:00",
            id="Samoa skips 30 December: the night ends at the jump, after 2 h",
        ),
        pytest.param(
            span("00:00", "01:00"),
            ST_JOHNS,
            "2009-11-01",
            "2009-11-01 02:30",
            "2009-11-01 04:30",
            id="back over midnight, 00:01 to 23:01: from the first 00:00, 2 h",
        ),
    ],
)
def test_a_window_over_a_jump_of_the_clock_t02(
    period: Period, zone: str, day: str, begin: str, end: str
) -> None:
    only = replace(period, dates=(day,))
    run = Occurrence(only, utc(begin), utc(end))
    config = under(only, zone=zone)
    assert next_occurrences(config, utc(begin) - 1.0, 2) == (run,)
    assert running(config, utc(begin) - 1.0) == ()
    assert running(config, utc(begin)) == (run,)
    assert running(config, utc(end) - 1.0) == (run,)
    assert running(config, utc(end)) == ()


@pytest.mark.parametrize(
    ("period", "zone", "day"),
    [
        pytest.param(span("02:15", "02:45"), BERLIN, "2026-03-29", id="Berlin skips 2:00 to 3:00"),
        pytest.param(span("08:00", "20:00"), APIA, "2011-12-30", id="Samoa skips the day"),
    ],
)
def test_a_window_the_clock_skips_does_not_occur_t02(period: Period, zone: str, day: str) -> None:
    only = under(replace(period, dates=(day,)), zone=zone)
    assert next_occurrences(only, utc(f"{day} 00:00") - 200_000.0, 2) == ()


def _tiles(cuts: Sequence[int]) -> tuple[Period, ...]:
    """Return windows that adjoin on the wall clock and cover a day; cuts are minutes of it."""
    clock = [f"{cut // 60:02d}:{cut % 60:02d}" for cut in sorted({0, *cuts})]
    ends = [*clock[1:], "00:00"]
    return tuple(replace(DAY, begin=a, end=b) for a, b in zip(clock, ends, strict=True))


JUMPS = (
    (BERLIN, "2026-03-29"),
    (BERLIN, "2026-10-25"),
    (CHATHAM, "2026-04-05"),
    (CHATHAM, "2026-09-27"),
    ("Australia/Lord_Howe", "2026-04-05"),
    (ST_JOHNS, "2009-11-01"),
    (APIA, "2011-12-30"),
    (KATHMANDU, "2028-02-29"),
)


@pytest.mark.parametrize(("zone", "day"), JUMPS, ids=[f"{z} {d}" for z, d in JUMPS])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 24 * 60 - 1), max_size=6), st.integers(-1440, 2880))
def test_each_minute_belongs_to_one_of_adjoining_windows_t02(
    zone: str, day: str, cuts: list[int], minute: int
) -> None:
    midnight = datetime.combine(date.fromisoformat(day), datetime.min.time(), ZoneInfo(zone))
    config = under(*_tiles([*cuts, 150, 165]), zone=zone)
    assert len(running(config, midnight.timestamp() + 60.0 * minute)) == 1


ZONES = st.sampled_from(sorted({zone for zone, _ in JUMPS} | {"UTC", "America/Sao_Paulo"}))
TIMES = st.integers(0, 24 * 60 - 1).map(lambda cut: f"{cut // 60:02d}:{cut % 60:02d}")
NOWS = st.integers(int(utc("2008-01-01")), int(utc("2032-01-01"))).map(float)


@settings(max_examples=60, deadline=None)
@given(TIMES, TIMES, st.sets(st.integers(0, 6), min_size=1), ZONES, NOWS)
def test_the_next_are_the_ones_that_come(
    begin: str, end: str, days: set[int], zone: str, now_s: float
) -> None:
    config = under(replace(span(begin, end), days=tuple(sorted(days))), zone=zone)
    coming = next_occurrences(config, now_s, 3)
    assert len(coming) == 3
    assert [run.begin_s for run in coming] == sorted(run.begin_s for run in coming)
    at_s = now_s
    for run in coming:
        assert at_s < run.begin_s < run.end_s
        assert run in running(config, run.begin_s)
        assert run not in running(config, run.begin_s - 1.0)
        at_s = run.begin_s
    halfway_s = (now_s + coming[0].begin_s) / 2.0
    assert all(run.begin_s <= now_s for run in running(config, halfway_s))


def test_the_next_leave_out_exceptions_and_end_with_the_last_date() -> None:
    weekly = replace(DAY, days=(2,), except_dates=("2026-11-25", "2026-12-09"))
    once = replace(DAY, name="once", dates=("2026-12-02", "2020-01-01"))
    found = next_occurrences(under(weekly, once), utc("2026-11-24 12:00"), 3)
    assert [(run.period.name, run.begin_s) for run in found] == [
        ("day", utc("2026-12-02 08:00")),
        ("once", utc("2026-12-02 08:00")),
        ("day", utc("2026-12-16 08:00")),
    ]
    assert next_occurrences(under(once), utc("2026-12-02 08:00"), 3) == ()
    assert next_occurrences(under(), utc("2026-12-02 08:00"), 3) == ()


NOON = utc("2026-11-25 12:00")
NIGHT = Period("night", "10:00", "14:00", Instances(6, 2))
FIXED = Period("fixed", "11:00", "13:00", Instances(1, 1), PeriodKind.TARGET)
LATER = Period("later", "11:30", "13:00", Instances(9, 9), PeriodKind.TARGET)


def run_of(period: Period) -> Occurrence:
    return Occurrence(period, utc(f"2026-11-25 {period.begin}"), utc(f"2026-11-25 {period.end}"))


def least(counts: Instances, *by: Occurrence) -> Ruling:
    return Ruling(counts, fixed=False, by=by)


def exactly(counts: Instances, *by: Occurrence) -> Ruling:
    return Ruling(counts, fixed=True, by=by)


@pytest.mark.parametrize(
    ("periods", "ruling"),
    [
        pytest.param((), None, id="no window"),
        pytest.param((span("13:00", "14:00"),), None, id="none in force"),
        pytest.param((DAY,), least(Instances(4, 8), run_of(DAY)), id="one floor"),
        pytest.param(
            (DAY, NIGHT),
            least(Instances(6, 8), run_of(DAY), run_of(NIGHT)),
            id="floors: larger of 4 and 6, larger of 8 and 2",
        ),
        pytest.param(
            (replace(NIGHT, counts=Instances(1, 1)), DAY),
            least(Instances(4, 8), run_of(DAY)),
            id="a floor below the other is not named",
        ),
        pytest.param(
            (DAY, FIXED), exactly(Instances(1, 1), run_of(FIXED)), id="target over floor"
        ),
        pytest.param(
            (DAY, LATER, FIXED),
            exactly(Instances(9, 9), run_of(LATER)),
            id="the first target of two",
        ),
    ],
)
def test_what_overlapping_windows_ask_for(
    periods: tuple[Period, ...], ruling: Ruling | None
) -> None:
    assert ruling_at(under(*periods), NOON) == ruling


def test_a_time_is_read_as_the_zone_reads_it() -> None:
    config = under(zone=KATHMANDU)
    assert wall_time(utc("2026-12-31 18:15"), config) == "2027-01-01 00:00 Asia/Kathmandu"


def plain(**fields: object) -> dict[str, Any]:
    entry = {"name": "day", "begin": "08:00", "end": "20:00", "prefill": 4, "decode": 8}
    return {**entry, **fields}


FULL = plain(
    kind="target", days=[0, 4], dates=["2028-02-29"], except_dates=["2026-12-25", "2026-12-26"]
)


def test_windows_are_kept_plain_and_come_back_equal() -> None:
    periods = schedule_from_plain([FULL, plain()])
    assert periods == (
        Period(
            "day",
            "08:00",
            "20:00",
            Instances(4, 8),
            PeriodKind.TARGET,
            (0, 4),
            ("2028-02-29",),
            ("2026-12-25", "2026-12-26"),
        ),
        DAY,
    )
    every = list(range(7))
    assert schedule_plain(periods) == [
        FULL,
        plain(kind="floor", days=every, dates=[], except_dates=[]),
    ]
    assert schedule_from_plain([]) == ()


@pytest.mark.parametrize(
    ("value", "field", "message"),
    [
        pytest.param(None, "schedule", "schedule is empty; give a list of windows", id="null"),
        pytest.param({}, "schedule", "schedule is {}; give a list of windows", id="an object"),
        pytest.param(
            [plain(), 7], "schedule[1]", "schedule[1] is 7; give a window", id="a number in it"
        ),
        pytest.param(
            [{}],
            "schedule[0].name",
            "schedule[0].name is empty; give a name of at most 60 characters on one line",
            id="nothing given",
        ),
        pytest.param(
            [plain(), plain(), plain(begin="24:00")],
            "schedule[2].begin",
            "schedule[2].begin is '24:00'; give a time from 00:00 to 23:59",
            id="a third window at 24:00",
        ),
        pytest.param(
            [plain(colour="red")],
            "schedule[0]",
            "schedule[0] has no field 'colour'; leave it out",
            id="a field too many",
        ),
    ],
)
def test_a_list_that_holds_no_windows_is_refused_with_entry_and_field(
    value: object, field: str, message: str
) -> None:
    with pytest.raises(ScheduleError) as caught:
        schedule_from_plain(value)
    assert (caught.value.field, str(caught.value)) == (field, message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
ENTRIES = st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(FULL), JSON)).map(
    lambda given_fields: {**plain(), **given_fields}
)


@settings(max_examples=100, deadline=None)
@given(JSON | st.lists(JSON | ENTRIES, max_size=3))
def test_whatever_a_row_holds_is_windows_or_a_named_refusal(value: object) -> None:
    refusals = list(schedule_problems(value))
    assert all(refusal.field.startswith("schedule") for refusal in refusals)
    if refusals:
        with pytest.raises(ScheduleError, match=re.escape(str(refusals[0]))):
            schedule_from_plain(value)
        return
    periods = schedule_from_plain(value)
    assert schedule_from_plain(schedule_plain(periods)) == periods
    assert len(next_occurrences(under(*periods), NOON, 2)) <= 2
