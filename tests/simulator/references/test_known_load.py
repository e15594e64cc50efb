"""References that know the load: fixed counts and the timetable."""

from dataclasses import replace

import numpy as np
import pytest

from controller.core.types import Instances, Slo
from controller.simulator.references.periodic import DAY_S, lesson_s
from controller.simulator.references.port import Briefing
from controller.simulator.references.sizing import bins_s, needs
from controller.simulator.workload import Workload
from tests.simulator.references.examples import LIMITS, STEADY, briefing, built, seen, windows

HOUR_S = 3600.0
# A prefill instance carries 0.8 / (1000 × 0.1 ms) = 8 req/s; a decode instance holds
# 24,000 / 1200 = 20 sequences of 200 tokens and takes 10 ms a step: 10 req/s.
ROUND = replace(
    briefing().prefill,
    a=0.0,
    b=1e-4,
    c=0.0,
    c0=0.01,
    c1=0.0,
    c2=0.0,
    c3=0.0,
    kv_capacity_tokens=24_000,
)


def told(load: Workload, span_s: tuple[float, float]) -> Briefing:
    """Return a briefing with that engine."""
    return replace(briefing(load, span_s), prefill=ROUND, decode=ROUND)


def test_what_a_bin_needs_follows_its_own_rate_and_lengths() -> None:
    load = windows([10.0, 40.0, 40.0], 600.0)
    longer = replace(
        load, offered=replace(load.offered, input_tokens=np.array([1000.0, 1000.0, 2200.0]))
    )
    found = needs(told(longer, (0.0, 1800.0)), np.array([0.0, 600.0, 1200.0]))
    # 2200 tokens: 0.8 / 0.22 s = 3.64 req/s of prefill; 10 sequences fit, 5 req/s of decode.
    assert pytest.approx(np.array([[1.25, 1.0], [5.0, 4.0], [11.0, 8.0]])) == found.T


def test_cached_tokens_are_not_computed_again() -> None:
    load = windows([40.0], 600.0)
    half = replace(load, offered=replace(load.offered, cached_frac=np.array([0.5])))
    assert needs(told(half, (0.0, 600.0)), np.array([0.0]))[:, 0] == pytest.approx([2.5, 4.0])


def test_an_unknown_bin_needs_nobody_knows_what() -> None:
    found = needs(told(windows([10.0, np.nan], 600.0), (0.0, 1200.0)), np.array([0.0, 600.0]))
    assert np.isnan(found).tolist() == [[False, True], [False, True]]


def test_prompts_too_long_for_the_goal_are_served_at_the_pace_of_one_alone() -> None:
    slow = replace(ROUND, c1=1e-4)
    load = windows([10.0], 600.0)
    hasty = replace(told(load, (0.0, 600.0)), decode=slow, slo=Slo(1.0, 0.005))
    # 200 tokens at 10.1 ms: 0.495 req/s, 10 req/s take 20.2.
    assert needs(hasty, np.array([0.0]))[:, 0] == pytest.approx([1.25, 20.2])


@pytest.mark.parametrize(
    ("name", "params", "expect"),
    [
        pytest.param("static-peak", {}, Instances(10, 8), id="78 req/s: 9.75, 7.8"),
        pytest.param(
            "static-peak", {"percentile": 50.0}, Instances(2, 1), id="10 req/s: 1.25, 1.0"
        ),
        pytest.param("static-mean", {}, Instances(4, 3), id="16.8 req/s × 1.5: 3.15, 2.52"),
        pytest.param("static-mean", {"factor": 1.0}, Instances(3, 2), id="16.8 req/s: 2.1, 1.68"),
    ],
)
def test_fixed_counts_come_from_the_whole_span(
    name: str, params: dict[str, float], expect: Instances
) -> None:
    load = windows([10.0] * 9 + [78.0], 600.0)
    policy = built(name, told(load, (0.0, 6000.0)), **params)
    assert [policy.want(seen(now_s)) for now_s in (0.0, 5990.0)] == [expect, expect]


def test_a_peak_of_one_minute_in_a_thousand_is_not_sized_for() -> None:
    load = windows([10.0] * 999 + [500.0], 60.0)
    policy = built("static-peak", told(load, (0.0, 60_000.0)))
    assert policy.want(seen(0.0)) == Instances(2, 1)


def test_unknown_minutes_are_left_out() -> None:
    load = windows([np.nan] * 9 + [78.0], 600.0)
    policy = built("static-mean", told(load, (0.0, 6000.0)), factor=1.0)
    assert policy.want(seen(0.0)) == Instances(10, 8)


def test_fixed_counts_stay_within_the_limits() -> None:
    few = replace(LIMITS, minimum=Instances(1, 9), maximum=Instances(5, 9))
    load = windows([78.0], 600.0)
    policy = built("static-peak", replace(told(load, (0.0, 600.0)), limits=few))
    assert policy.want(seen(0.0)) == Instances(5, 9)


@pytest.mark.parametrize(
    ("days", "expect"),
    [
        pytest.param(0.5, 0.5, id="half a day is learned whole"),
        pytest.param(1.4, 1.4, id="1.4 days are learned whole"),
        pytest.param(1.5, 1.0, id="of 1.5 days the first"),
        pytest.param(14.0, 1.0, id="of two weeks the first day"),
    ],
)
def test_the_timetable_is_learned_from_the_first_day(days: float, expect: float) -> None:
    start_s = 1000.0
    learned = lesson_s((start_s, start_s + days * DAY_S))
    assert learned == (start_s, start_s + expect * DAY_S)


def test_the_timetable_has_a_pair_for_each_hour_and_repeats() -> None:
    first = [10.0 * (1 + hour % 2) for hour in range(24)]
    load = windows(first + [500.0] * 24, HOUR_S)
    policy = built("periodic", told(load, (0.0, 2 * DAY_S)), headroom=1.0)
    found = [policy.want(seen(hour * HOUR_S)) for hour in range(48)]
    # 10 and 20 req/s: 1.25 and 2.5 prefill, 1 and 2 decode instances.
    assert found == [Instances(2, 1), Instances(3, 2)] * 24


@pytest.mark.parametrize(
    ("headroom", "expect"),
    [
        pytest.param(1.1, Instances(3, 3), id="2.5 × 1.1 = 2.75, 2 × 1.1 = 2.2"),
        pytest.param(3.0, Instances(8, 6), id="2.5 × 3 = 7.5, 2 × 3 = 6"),
    ],
)
def test_headroom_multiplies_the_need(headroom: float, expect: Instances) -> None:
    assert (
        built("periodic", told(STEADY, (0.0, HOUR_S)), headroom=headroom).want(seen(0.0)) == expect
    )


def test_the_hour_of_day_counts_from_load_time_not_from_the_start_of_the_run() -> None:
    load = windows([10.0] * 6 + [78.0] + [10.0] * 41, HOUR_S)
    policy = built("periodic", told(load, (5 * HOUR_S, 41 * HOUR_S)), headroom=1.0)
    found = [policy.want(seen(at * HOUR_S)) for at in (0.0, 0.99, 1.0, 2.0, 25.0)]
    assert found == [
        Instances(2, 1),
        Instances(2, 1),
        Instances(10, 8),
        Instances(2, 1),
        Instances(10, 8),
    ]


def test_an_hour_without_load_is_as_the_hour_before() -> None:
    load = windows([78.0, np.nan, 10.0] + [np.nan] * 21, HOUR_S)
    policy = built("periodic", told(load, (0.0, DAY_S)), headroom=1.0)
    found = [policy.want(seen(hour * HOUR_S)).prefill for hour in (0, 1, 2, 3, 23)]
    assert found == [10, 10, 2, 2, 2]


def test_hours_before_the_first_known_one_are_as_the_last_known_of_the_day() -> None:
    load = windows([np.nan] * 10 + [78.0] + [10.0] * 13, HOUR_S)
    policy = built("periodic", told(load, (0.0, DAY_S)), headroom=1.0)
    found = [policy.want(seen(hour * HOUR_S)).prefill for hour in (0, 9, 10, 11)]
    assert found == [2, 2, 10, 2]


@pytest.mark.parametrize("name", ["static-peak", "static-mean", "periodic"])
def test_a_load_nobody_knows_is_refused(name: str) -> None:
    lost = briefing(windows([np.nan], HOUR_S, "lost"), (0.0, HOUR_S))
    with pytest.raises(ValueError, match="'lost' is unknown from 0 to 3600 s: choose a span_s"):
        built(name, lost)


@pytest.mark.parametrize("name", ["static-peak", "static-mean", "periodic"])
def test_an_empty_span_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="span_s is 60 to 60 s: let it end after it begins"):
        built(name, briefing(STEADY, (60.0, 60.0)))


@pytest.mark.parametrize(
    ("name", "field", "value", "text"),
    [
        pytest.param("static-peak", "percentile", 101.0, "percentile is 101: .* 0 to 100", id="%"),
        pytest.param(
            "static-mean", "factor", 0.0, "factor is 0: .* from 0.01 to 1000", id="factor"
        ),
        pytest.param("periodic", "slot_s", 10.0, "slot_s is 10: .* 60 to 86400", id="slot"),
        pytest.param("periodic", "headroom", -1.0, "headroom is -1: .* 0.01", id="headroom"),
    ],
)
def test_figures_that_cannot_be_are_refused(
    name: str, field: str, value: float, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        built(name, **{field: value})


def test_bins_are_a_minute() -> None:
    assert bins_s((30.0, 200.0)).tolist() == [30.0, 90.0, 150.0]
