"""Peaks of the next hours: yesterday's at the level of now, and silence where nothing is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.peaks import AHEAD, DAY, FURTHEST, HOUR_S, forecast

NOON_S = 1_772_366_400
NOW_S = NOON_S + 600.0


def course(hours: int, *, level: float = 1.0) -> dict[int, float]:
    """Return hours of days that go from 100 to 123; the newest six are times ``level``."""
    return {
        NOON_S - back * HOUR_S: (100.0 + (-back) % DAY) * (level if back <= 6 else 1.0)
        for back in range(hours + 1)
    }


def test_a_day_like_yesterday_goes_on_like_yesterday() -> None:
    found = forecast(course(30), NOW_S)
    assert [hour.since_s for hour in found.hours] == [
        NOON_S + ahead * HOUR_S for ahead in range(1, AHEAD + 1)
    ]
    assert [hour.peak for hour in found.hours] == [100.0 + ahead for ahead in range(1, AHEAD + 1)]
    assert found.level == 1.0
    assert found.highest == found.hours[-1]


def test_the_level_of_now_lifts_what_yesterday_had() -> None:
    found = forecast(course(30, level=1.2), NOW_S)
    assert found.level == pytest.approx(1.2)
    assert found.hours[0].peak == pytest.approx(101.0 * 1.2)


@pytest.mark.parametrize("hours", [0, 1, 5, 10])
def test_too_little_history_is_said_and_nothing_invented(hours: int) -> None:
    found = forecast(course(hours), NOW_S)
    assert found.hours == ()
    assert found.lacking == f"Not enough history yet: {hours} of 24 hours."
    assert forecast({}, NOW_S).lacking == "Not enough history yet: 0 of 24 hours."


def test_a_day_without_two_hours_to_compare_is_taken_as_it_was() -> None:
    found = forecast(course(DAY - 1), NOW_S)
    assert found.level is None
    assert found.hours[0].peak == 101.0


def test_without_a_judged_day_there_is_no_band() -> None:
    assert all(
        hour.low is None and hour.high is None for hour in forecast(course(30), NOW_S).hours
    )


def test_the_band_is_what_such_forecasts_got_wrong() -> None:
    peaks = course(60)
    steady = forecast(peaks, NOW_S)
    assert steady.judged == DAY
    assert all(hour.low == hour.peak == hour.high for hour in steady.hours)
    # Each third hour of the last day is a fifth above what yesterday says.
    for back in range(1, DAY + 1, 3):
        peaks[NOON_S - back * HOUR_S] *= 1.2
    wild = forecast(peaks, NOW_S)
    assert all((hour.high or 0) > hour.peak >= (hour.low or 0) for hour in wild.hours)


def test_hours_nobody_measured_yesterday_are_left_out() -> None:
    peaks = course(60)
    del peaks[NOON_S - (DAY - 3) * HOUR_S]
    found = forecast(peaks, NOW_S)
    assert len(found.hours) == AHEAD - 1
    for back in range(DAY - AHEAD, DAY):
        peaks.pop(NOON_S - back * HOUR_S, None)
    assert forecast(peaks, NOW_S).lacking == "The same hours of yesterday were not measured."


@given(
    st.lists(st.none() | st.integers(0, 500), max_size=71),
    st.integers(0, HOUR_S - 1),
)
def test_whatever_was_measured_the_band_holds_the_peak(
    newest_first: list[int | None], into_s: int
) -> None:
    peaks = {
        NOON_S - back * HOUR_S: float(peak)
        for back, peak in enumerate(newest_first)
        if peak is not None
    }
    found = forecast(peaks, NOON_S + into_s)
    assert bool(found.hours) != bool(found.lacking)
    for hour in found.hours:
        before = peaks[hour.since_s - DAY * HOUR_S]
        assert before / FURTHEST <= hour.peak * (1 + 1e-9)
        assert hour.peak <= before * FURTHEST * (1 + 1e-9)
        if hour.low is not None and hour.high is not None:
            assert hour.low <= hour.peak <= hour.high
