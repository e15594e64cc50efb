"""What the need will be when a start of now serves, by which method, and how far off it was."""

from math import pi, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.foresight import FLAT, MEMORY, SEASON, TREND, TRIES, Ahead, foresee
from controller.core.outlook import Guess, Learnt, Outlook, Peak

NOON_S = 40 * 86_400.0 + 43_200.0
AHEAD_S = 240.0


def played(course: object, minutes: int, ahead_s: float = AHEAD_S) -> tuple[Outlook, Ahead]:
    """Return outlook and forecast of decode after this course of needs, a tick each 15 s."""
    outlook, ahead = Outlook(), None
    for tick in range(4 * minutes):
        now_s = NOON_S + 15.0 * tick
        need = course(now_s - NOON_S)  # type: ignore[operator]
        outlook, ahead = foresee(outlook, (1.0, need), now_s, ahead_s)
    assert ahead is not None
    return outlook, ahead[1]


def test_a_steady_need_is_forecast_as_it_is() -> None:
    assert played(lambda _: 8.0, 60)[1] == Ahead(8.0, FLAT, 0.0, 0.0)


def test_a_ramp_is_followed_by_its_trend_once_that_errs_less() -> None:
    """One instance in 10 minutes: 240 s ahead are 0.4 more, the error of the need of now."""
    outlook, ahead = played(lambda s: 10.0 + s / 600.0, 60)
    assert ahead.by == TREND
    now = 10.0 + (3600.0 - 15.0) / 600.0
    assert ahead.need == pytest.approx(now + 0.4, abs=1e-3)
    # Flat until the first five minutes were seen: four errors of a thirtieth among fifty.
    assert ahead.error == pytest.approx(4 * 0.4 / 11.0 / 50.0, rel=0.2)
    assert ahead.flat_error == pytest.approx(0.4 / 13.0, rel=0.1)
    assert outlook.prefill.errors == (0.0, 0.0, 0.0)


def test_nothing_replaces_the_need_of_now_before_it_was_tried() -> None:
    """The first forecast is due after 4 minutes, so 30 of them are judged after 34."""
    assert played(lambda s: 10.0 + s / 600.0, 33)[1].by == FLAT
    assert played(lambda s: 10.0 + s / 600.0, 35)[1].by == TREND
    assert TRIES == 30.0


def test_noise_without_direction_is_no_trend() -> None:
    """Up and down by 1 each minute: a quarter of the slopes and more have another sign."""
    outlook, ahead = played(lambda s: 10.0 + (s // 60.0) % 2, 60)
    assert outlook.decode.slope == 0.0
    assert ahead.by == FLAT


def test_one_wild_sample_does_not_turn_a_trend() -> None:
    ramp = [Peak(60.0 * k, 1.0, 10.0 + 0.1 * k) for k in range(9)]
    ramp[4] = ramp[4]._replace(decode=90.0)
    outlook, _ = foresee(Outlook(minutes=tuple(ramp)), (1.0, 10.9), 540.0, AHEAD_S)
    assert outlook.decode.slope == pytest.approx(0.1 / 60.0)


def test_yesterdays_course_is_followed_where_it_errs_less() -> None:
    """A day's sine of ± 50 %, seen an hour ahead, at the steepest: 2π / 24 · 5 = 1.3 an hour."""
    day = 86_400.0
    outlook, ahead = Outlook(), None
    for minute in range(2 * 24 * 60):
        now_s = NOON_S + 60.0 * minute
        need = 10.0 + 5.0 * sin(2 * pi * (now_s - NOON_S) / day)
        # Fast changes within the hour hide the trend and not the season.
        need *= 1.0 + 0.04 * sin(2 * pi * minute / 7.0)
        outlook, ahead = foresee(outlook, (1.0, need), now_s, 3600.0)
    assert ahead is not None
    decode = ahead[1]
    assert decode.by == SEASON
    assert decode.error is not None
    assert decode.flat_error is not None
    assert decode.error < 0.7 * decode.flat_error
    # What will be there in an hour is the mean course, give or take the fast changes.
    assert decode.need == pytest.approx(10.0 + 5.0 * sin(2 * pi / 24.0), rel=0.1)


@pytest.mark.parametrize(
    ("hours", "want"),
    [
        pytest.param({11: 6.0, 12: 8.0, 13: 12.0}, 12.5, id="12:00 (6 + 8) / 2, 13:00 10: · 1.43"),
        pytest.param({11: 1.0, 12: 8.0, 13: 12.0}, 17.5, id="12:00 4.5, 13:00 10: at most 2 ·"),
        pytest.param({12: 8.0, 13: 12.0}, 8.75, id="11 o'clock is not known: as now"),
        pytest.param({11: 12.0, 12: 0.0, 13: 0.0}, 8.75, id="nothing then: no course"),
    ],
)
def test_the_season_is_what_the_need_became_yesterday(
    hours: dict[int, float], want: float
) -> None:
    midnight_s = NOON_S - 43_200.0 - 86_400.0
    known = tuple(Peak(midnight_s + 3600.0 * hour, 1.0, need) for hour, need in hours.items())
    tried = Learnt(judged=100.0, errors=(0.2, 0.2, 0.1))
    outlook = Outlook(hours=known, decode=tried)
    _, ahead = foresee(outlook, (1.0, 8.75), NOON_S, 3600.0)
    assert ahead is not None
    assert ahead[1].by == SEASON
    assert ahead[1].need == pytest.approx(want)


def test_a_gap_begins_the_trend_anew() -> None:
    outlook, _ = played(lambda s: 10.0 + s / 600.0, 60)
    assert outlook.decode.slope > 0.0
    after, _ = foresee(outlook, (1.0, 40.0), NOON_S + 3600.0 + 600.0, AHEAD_S)
    assert [peak.decode for peak in after.minutes] == [40.0]
    assert after.decode.slope == 0.0
    # Nobody looked when the forecasts were due, so none is judged.
    assert after.decode.errors == outlook.decode.errors
    assert len(after.guesses) == 1


def test_unknown_needs_are_no_forecast_and_teach_nothing() -> None:
    outlook, _ = played(lambda _: 8.0, 10)
    assert foresee(outlook, (None, 8.0), NOON_S + 900.0, AHEAD_S) == (outlook, None)


def test_what_is_kept_does_not_grow() -> None:
    outlook, _ = played(lambda s: 8.0 + s / 9000.0, 30 * 60, 900.0)
    kept = len(outlook.minutes), len(outlook.hours), len(outlook.guesses)
    assert kept == (10, 26, 15)
    assert outlook.decode.judged == MEMORY


@pytest.mark.parametrize(
    ("trend", "by"),
    [
        pytest.param(0.0949, TREND, id="9.49 % is under 95 % of 10 %"),
        pytest.param(0.0951, FLAT, id="9.51 % is not"),
    ],
)
def test_another_replaces_the_need_of_now_only_where_it_errs_a_twentieth_less(
    trend: float, by: str
) -> None:
    tried = Learnt(judged=100.0, errors=(0.1, trend, 0.1), slope=0.01)
    minutes = tuple(Peak(NOON_S - 60.0 * k, 1.0, 10.0 - 0.6 * k) for k in range(9, -1, -1))
    _, ahead = foresee(Outlook(decode=tried, minutes=minutes), (1.0, 10.0), NOON_S, AHEAD_S)
    assert ahead is not None
    assert ahead[1].by == by
    # 0.01 an instance a second for 240 s.
    assert ahead[1].need == pytest.approx(12.4 if by == TREND else 10.0)


ERRORS = st.just(()) | st.tuples(*[st.floats(0.0, 1.0)] * 3)
NEEDS = st.floats(0.0, 100.0)


@given(
    needs=st.tuples(NEEDS, NEEDS),
    errors=ERRORS,
    slopes=st.lists(st.floats(0.0, 50.0), min_size=9, max_size=9),
    age_s=st.sampled_from([15.0, 60.0, 75.0]),
    guess=NEEDS,
)
def test_a_higher_need_is_never_forecast_lower(
    needs: tuple[float, float],
    errors: tuple[float, ...],
    slopes: list[float],
    age_s: float,
    guess: float,
) -> None:
    low, high = sorted(needs)
    newest_s = NOON_S - age_s
    minutes = tuple(Peak(newest_s - 60.0 * k, 1.0, n) for k, n in enumerate(slopes[::-1]))[::-1]
    past = Outlook(
        minutes=minutes,
        guesses=(Guess(NOON_S - 1.0, *[guess] * 6),),
        decode=Learnt(judged=100.0, errors=errors, slope=0.01),
    )
    one, two = (foresee(past, (1.0, need), NOON_S, AHEAD_S)[1] for need in (low, high))
    assert one is not None
    assert two is not None
    assert one[1].need <= two[1].need + 1e-9
    assert one[1].by == two[1].by
