"""The planner's arithmetic from tokens to instances, and when it acts."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest

from controller.core.types import Instances, Quality, RoleState
from controller.simulator.profiles import Profile
from controller.simulator.references.dynamo import (
    Corrections,
    Engines,
    Load,
    budgeted,
    corrections,
    mean_latency_s,
    replicas,
)
from controller.simulator.references.port import Seen
from tests.simulator.references.examples import LIMITS, briefing, built, seen, signals, state

# Prefill: 10,000 tokens/s whatever the length. Decode: a step takes 10 ms and 0.1 ms a sequence.
EVEN = replace(
    briefing().prefill,
    a=0.0,
    b=1e-4,
    c=0.0,
    c0=0.01,
    c1=1e-4,
    c2=0.0,
    c3=0.0,
    kv_capacity_tokens=108_900,
    max_seqs=1000,
)
ENGINES = Engines(EVEN, EVEN)
LOAD = Load(rps=20.0, input_tokens=1000.0, output_tokens=200.0, ttft_s=0.1, itl_s=0.02)
UNCORRECTED = Corrections()


def batch_of(point: int, context: float) -> float:
    """Return the sequences at one of the 100 grid points of this engine's cache."""
    return point / 99 * 108_900 / context


@pytest.mark.parametrize(
    ("load", "corrected", "itl_goal_s", "expect"),
    [
        pytest.param(
            LOAD,
            UNCORRECTED,
            1.0,
            Instances(2, 1),
            id="20 × 1000/10,000 = 2; 4000 tok/s of 99/19.9 ms = 4975: 1",
        ),
        pytest.param(
            replace(LOAD, rps=20.1),
            UNCORRECTED,
            1.0,
            Instances(3, 1),
            id="20.1 × 1000/10,000 = 2.01: 3",
        ),
        pytest.param(
            replace(LOAD, rps=40.0),
            UNCORRECTED,
            1.0,
            Instances(4, 2),
            id="40 × 1000/10,000 = 4; 8000 of 4975: 2",
        ),
        pytest.param(
            LOAD,
            Corrections(0.5, 1.0),
            1.0,
            Instances(1, 1),
            id="TTFT half of expected: 2 × 0.5 = 1",
        ),
        pytest.param(
            LOAD,
            Corrections(9.0, 1.0),
            1.0,
            Instances(2, 1),
            id="TTFT nine times as expected: min(1, 9) = 1",
        ),
        pytest.param(
            LOAD,
            UNCORRECTED,
            0.0121,
            Instances(2, 3),
            id="12.1 ms: 21 sequences, 21/12.1 ms = 1736 tok/s: ceil(2.3) = 3",
        ),
        pytest.param(
            LOAD,
            Corrections(1.0, 2.0),
            0.0242,
            Instances(2, 3),
            id="ITL twice as expected: 24.2 ms count as 12.1 ms",
        ),
        pytest.param(
            LOAD,
            Corrections(1.0, 0.0),
            0.0121,
            Instances(2, 3),
            id="no ITL observed: the goal stays",
        ),
        pytest.param(
            LOAD,
            UNCORRECTED,
            0.001,
            Instances(2, 41),
            id="no batch keeps 1 ms: 1/10.1 ms = 99 tok/s each, ceil(40.4) = 41",
        ),
    ],
)
def test_counts_follow_from_tokens(
    load: Load, corrected: Corrections, itl_goal_s: float, expect: Instances
) -> None:
    assert replicas(load, ENGINES, corrected, itl_goal_s) == expect


def test_decode_fills_the_cache_as_far_as_the_goal_allows() -> None:
    # Context 1000 + 200/2 = 1100: 108,900 tokens hold 99 sequences, one a grid point.
    assert LOAD.context == 1100.0
    assert [batch_of(point, 1100.0) for point in (1, 99)] == pytest.approx([1.0, 99.0])
    assert ENGINES.decode_tps(1.0, 1100.0) == pytest.approx(99 / 0.0199)
    assert ENGINES.decode_tps(0.01505, 1100.0) == pytest.approx(50 / 0.015)


def test_an_engine_runs_no_more_sequences_than_it_may() -> None:
    small = Engines(EVEN, replace(EVEN, max_seqs=10))
    assert small.decode_tps(1.0, 1100.0) == pytest.approx(10 / 0.011)


@pytest.mark.parametrize(
    ("in_flight", "expect_s"),
    [
        pytest.param(50.0, 0.015, id="50 sequences: 10 + 5 ms"),
        pytest.param(50.4, 0.015, id="50.4: the nearest point is 50"),
        pytest.param(500.0, 0.0199, id="more than fit: a full cache, 99"),
        pytest.param(0.1, 0.0101, id="hardly any: one"),
    ],
)
def test_the_expected_itl_is_that_of_the_nearest_grid_point(
    in_flight: float, expect_s: float
) -> None:
    assert ENGINES.itl_s(in_flight, 1100.0) == pytest.approx(expect_s)


def test_corrections_compare_what_was_seen_with_the_profile() -> None:
    load = Load(rps=20.0, input_tokens=1000.0, output_tokens=200.0, ttft_s=0.2, itl_s=0.0240)
    # 20 × (0.2 + 200 × 0.024) = 100 in flight over 5: 20 each, 12 ms expected; TTFT 100 ms.
    assert load.in_flight == pytest.approx(100.0)
    assert corrections(load, ENGINES, 5) == Corrections(pytest.approx(2.0), pytest.approx(2.0))


@pytest.mark.parametrize(
    ("want", "max_gpus", "expect"),
    [
        pytest.param(Instances(4, 8), 40, Instances(4, 8), id="4 × 2 + 8 × 4 = 40: fits"),
        pytest.param(
            Instances(8, 8), 24, Instances(4, 4), id="48 of 24: 8 × 0.5 = 4, (24 - 8)/4 = 4"
        ),
        pytest.param(
            Instances(8, 8), 26, Instances(4, 4), id="8 × 26/48 = 4.3: 4, 18/4 = 4.5 rounds to 4"
        ),
        pytest.param(
            Instances(8, 8), 28, Instances(5, 4), id="8 × 28/48 = 4.7: 5, 18/4 = 4.5 rounds to 4"
        ),
        pytest.param(Instances(1, 30), 8, Instances(1, 2), id="never below one: 1, 6/4 = 1.5: 2"),
        pytest.param(Instances(0, 0), 8, Instances(1, 1), id="no load: one of each"),
    ],
)
def test_a_budget_scales_prefill_down_and_gives_decode_the_rest(
    want: Instances, max_gpus: int, expect: Instances
) -> None:
    assert budgeted(want, Instances(2, 4), max_gpus, least=1) == expect


@pytest.mark.parametrize(
    ("median_s", "p95_s", "expect_s"),
    [
        pytest.param(0.2, 0.2, 0.2, id="no spread: the median"),
        pytest.param(0.2, 0.1, 0.2, id="out of order: the median"),
        pytest.param(0.0, 0.3, 0.0, id="a median of 0 stays 0"),
        pytest.param(
            0.2, 0.4, 0.2 * exp((log(2) / 1.6449) ** 2 / 2), id="p95 twice the median: + 9 %"
        ),
        pytest.param(0.01, 10.0, 10.0, id="wide apart: at most the 95th percentile"),
    ],
)
def test_means_are_those_of_a_log_normal(median_s: float, p95_s: float, expect_s: float) -> None:
    assert mean_latency_s(median_s, p95_s) == pytest.approx(expect_s)


def engine_in_use(engine: Profile = EVEN, max_gpus: int = 128) -> Instances:
    """Return what the planner asks for after three minutes of 40 req/s, without corrections."""
    told = replace(
        briefing(), prefill=engine, decode=engine, limits=replace(LIMITS, max_gpus=max_gpus)
    )
    policy = built("dynamo-style", told, correction=0.0)
    found = Instances(0, 0)
    for now_s in np.arange(0.0, 181.0, 15.0):
        load = {"request_rps": 40.0, "prefill_tps": 40_000.0, "decode_tps": 8_000.0}
        found = policy.want(seen(float(now_s), **load))
    return found


def test_it_reads_tokens_per_request_off_the_rates() -> None:
    # 40 req/s × 1000/10,000 = 4; 8000 tok/s of 4975 = 1.6: 2.
    assert engine_in_use() == Instances(4, 2)


def test_gpus_per_instance_count_against_the_budget() -> None:
    # (4 + 2) × 2 = 12 of 8 GPUs: prefill 4 × 8/12 = 2.7: 3, decode (8 - 6)/2 = 1.
    assert engine_in_use(replace(EVEN, tp=2), max_gpus=8) == Instances(3, 1)


def test_it_adjusts_every_three_minutes_and_leaves_the_counts_alone_between() -> None:
    policy = built("dynamo-style", correction=0.0)
    changes = [
        now_s
        for now_s in np.arange(0.0, 541.0, 15.0)
        if policy.want(seen(float(now_s), Instances(9, 9))) != Instances(9, 9)
    ]
    assert changes == [180.0, 360.0, 540.0]


def test_an_interval_counts_with_the_mean_of_what_was_seen_in_it() -> None:
    told = replace(briefing(), prefill=EVEN, decode=EVEN)
    policy = built("dynamo-style", told, correction=0.0, interval_s=30.0)
    found = Instances(0, 0)
    for now_s, rps in ((0.0, 10.0), (15.0, 30.0), (30.0, 80.0)):
        load = {"request_rps": rps, "prefill_tps": 1000 * rps, "decode_tps": 200 * rps}
        found = policy.want(seen(now_s, **load))
    # (10 + 30 + 80)/3 = 40 req/s.
    assert found == Instances(4, 2)


NINE = Instances(9, 9)


@pytest.mark.parametrize(
    ("values", "expect"),
    [
        pytest.param(
            {"request_rps": 0.0, "ttft_p50_s": None, "ttft_s": None},
            NINE,
            id="no request came: nothing is known, nothing changes",
        ),
        pytest.param({"request_rps": None}, Instances(1, 1), id="no request count: it is 0"),
        pytest.param({"prefill_tps": None}, Instances(1, 1), id="no tokens: prompts of none"),
        pytest.param(
            {"ttft_p50_s": None, "ttft_s": None},
            Instances(1, 1),
            id="no TTFT: it is 0, so is the need for prefill",
        ),
    ],
)
def test_an_absent_series_is_zero_and_a_quotient_by_zero_is_not_acted_on(
    values: dict[str, float | None], expect: Instances
) -> None:
    policy = built("dynamo-style", interval_s=15.0)
    assert policy.want(Seen(15.0, signals(**values), state(9, 9))) == expect


def test_one_invalid_sample_spoils_the_interval() -> None:
    policy = built("dynamo-style", interval_s=30.0)
    policy.want(Seen(15.0, signals(quality=Quality.INVALID), state(9, 9)))
    assert policy.want(Seen(30.0, signals(), state(9, 9))) == NINE


@pytest.mark.parametrize("quality", [Quality.STALE, Quality.PARTIAL])
def test_age_and_coverage_are_not_looked_at(quality: Quality) -> None:
    found = [
        built("dynamo-style", interval_s=15.0).want(Seen(15.0, signals(quality=kind), state(9, 9)))
        for kind in (quality, Quality.OK)
    ]
    assert found[0] == found[1] != NINE


def test_without_a_ready_decode_instance_it_cannot_correct_and_does_nothing() -> None:
    waiting = state(9, RoleState(desired=9, ready=0, starting=9))
    corrected = built("dynamo-style", interval_s=15.0)
    plain = built("dynamo-style", interval_s=15.0, correction=0.0)
    look = Seen(15.0, signals(), waiting)
    assert corrected.want(look) == NINE
    assert plain.want(look) != NINE


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        pytest.param("interval_s", 0.0, "interval_s is 0: enter a figure at least 1", id="0 s"),
        pytest.param("min_endpoint", 0.0, "min_endpoint is 0: .* at least 1", id="none"),
        pytest.param("min_endpoint", 1.5, "min_endpoint is 1.5: enter a whole number", id="half"),
        pytest.param(
            "correction", 2.0, "correction is 2: .* from 0 to 1", id="neither on nor off"
        ),
    ],
)
def test_figures_that_cannot_be_are_refused(field: str, value: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        built("dynamo-style", **{field: value})
