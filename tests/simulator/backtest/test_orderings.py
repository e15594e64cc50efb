"""Who does better than whom, and why: outcomes that follow from how engines work."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from controller.core.config_check import validate_policy
from controller.core.types import SIGNAL_INDEX, Floats, Instances
from controller.simulator.backtest.answer import Answer, Run
from controller.simulator.backtest.plan import plan
from controller.simulator.capacity import default_policy, demand_of, per_instance_capacity
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.workload import (
    Offered,
    WindowTrace,
    Workload,
    companion_name,
    read_trace,
    with_cache_steps,
)
from controller.simulator.world import World
from tests.simulator.backtest.examples import (
    H100,
    STEADY,
    VALLEY,
    answered,
    by_label,
    minutes,
    question,
)

DAY_S = 86_400.0
GOAL = 0.99

HPA_UTIL = "hpa-util"
DECODE = "proportional"
UNCACHED = "proportional:driver=prefill_tps_uncached"


def attained(one: Run) -> float:
    assert one.score.slo_attainment is not None
    return one.score.slo_attainment


def keeps(one: Run) -> bool:
    return attained(one) >= GOAL


@pytest.fixture(scope="module")
def valley() -> Answer:
    """Four hours from 100 requests/s down to 20 and back."""
    names = ("default", DECODE, "static-peak", "static-mean", HPA_UTIL, "hpa-queue")
    more = ("latency-only", "periodic", "dynamo-style")
    return answered(question(*names, *more, workload=VALLEY, span_s=14_400.0))


@pytest.fixture(scope="module")
def ramp() -> Answer:
    """15 minutes of 20 requests/s, a climb to 100 within 45, half an hour of 100."""
    rates = [*[20.0] * 15, *np.linspace(20, 100, 45).tolist(), *[100.0] * 30]
    names = (DECODE, "latency-only", "hpa-queue", HPA_UTIL, "static-peak")
    return answered(question(*names, workload=minutes(*rates), span_s=5_400.0))


@pytest.fixture(scope="module")
def leap() -> Answer:
    """Half an hour of 20 requests/s, an hour of 60."""
    rates = [*[20.0] * 30, *[60.0] * 60]
    names = (DECODE, "latency-only", "hpa-queue")
    return answered(question(*names, workload=minutes(*rates), span_s=5_400.0))


# Utilisation of decode is high at any load: nothing to scale by.


def test_utilisation_of_decode_alone_never_lets_it_shrink(valley: Answer) -> None:
    runs = by_label(valley)
    counts = runs[HPA_UTIL].series.decode_desired
    assert valley.request_rps.max() > 2 * valley.request_rps[len(counts) // 2]
    assert (np.diff(counts) >= 0).all()
    # The same load, seen in decode TPS, takes less than half at its lowest.
    proportional = runs[DECODE].series.decode_desired
    assert 2 * proportional.min() < proportional.max()


def test_it_costs_more_than_proportional_and_keeps_no_more(valley: Answer) -> None:
    runs = by_label(valley)
    assert runs[HPA_UTIL].score.gpu_hours > 1.5 * runs[DECODE].score.gpu_hours
    assert attained(runs[HPA_UTIL]) <= attained(runs[DECODE]) + 0.001
    assert runs[HPA_UTIL].score.ratio_out_of_tolerance_s > 3_600.0
    assert runs[DECODE].score.ratio_out_of_tolerance_s == 0.0


# Latency is flat up to the cliff: it says too little before it and too much after.


def test_latency_alone_turns_back_and_forth_where_the_load_does_not(ramp: Answer) -> None:
    runs = by_label(ramp)
    assert runs["latency-only"].score.reversals_10min > runs[DECODE].score.reversals_10min
    assert runs["latency-only"].score.overshoot_gpus > 2 * runs[DECODE].score.overshoot_gpus
    assert attained(runs["latency-only"]) < attained(runs[DECODE])


def test_latency_alone_does_not_come_to_rest_at_a_steady_load() -> None:
    load = replace(STEADY, low_rps=60.0, peak_rps=60.0)
    runs = by_label(answered(question(DECODE, "latency-only", workload=load, span_s=7_200.0)))
    last_hour = runs["latency-only"].series.prefill_desired[240:]
    turns = np.diff(np.sign(np.diff(last_hour)[np.diff(last_hour) != 0]))
    assert (turns != 0).sum() >= 3
    assert runs[DECODE].score.actions == 0


# A queue is there when capacity is missing, not before.


@pytest.mark.parametrize("load", ["ramp", "leap"])
def test_queues_are_seen_too_late(load: str, request: pytest.FixtureRequest) -> None:
    runs = by_label(request.getfixturevalue(load))
    assert attained(runs["hpa-queue"]) < attained(runs[DECODE]) - 0.1


# The yardstick


SENSIBLE = (DECODE, "static-peak", "static-mean", "periodic")


def test_a_static_peak_keeps_the_goals_and_costs_most_of_the_sensible_ones(
    valley: Answer,
) -> None:
    """A new service has learnt no margin: within four hours it is hardly cheaper."""
    runs = by_label(valley)
    assert keeps(runs["static-peak"])
    cost = {name: runs[name].score.gpu_hours for name in SENSIBLE}
    assert max(cost, key=cost.__getitem__) == "static-peak"
    assert cost[DECODE] < 0.9 * cost["static-peak"]
    assert runs["default"].score.gpu_hours < 1.1 * cost["static-peak"]
    assert keeps(runs["default"])


@pytest.mark.parametrize("load", ["leap", "ramp", "valley"])
def test_who_keeps_the_goals_costs_no_less_than_the_bound(
    load: str, request: pytest.FixtureRequest
) -> None:
    answer = request.getfixturevalue(load)
    kept = [one for one in answer.runs if keeps(one)]
    assert kept or load == "leap"
    for one in kept:
        assert one.score.gpu_hours_over_clairvoyant is not None
        assert one.score.gpu_hours_over_clairvoyant >= 1.0


def test_who_costs_less_than_the_bound_does_not_keep_the_goals(valley: Answer) -> None:
    cheap = [one for one in valley.runs if (one.score.gpu_hours_over_clairvoyant or 1.0) < 1.0]
    assert [one.policy for one in cheap] == ["dynamo-style"]
    assert not any(keeps(one) for one in cheap)


# Drift of lengths: what one signal sees, the other doesn't.


def drifting(inputs: Floats, outputs: Floats) -> WindowTrace:
    """Return a day of 40 requests/s of 1000 tokens in and 200 out, then windows of these means."""
    before = np.ones(144)
    columns = (
        np.full(144 + len(inputs), 40.0),
        np.concatenate((1_000.0 * before, inputs)),
        np.concatenate((200.0 * before, outputs)),
        np.zeros(144 + len(inputs)),
    )
    return WindowTrace("drifting", 600.0 * np.arange(len(columns[0])), Offered(*columns), 600.0)


def two_hours_later(load: Workload) -> dict[str, Run]:
    """Return both drivers, sized by the first day, in the two hours after it."""
    asked = question(DECODE, UNCACHED, workload=load, start_s=DAY_S, span_s=7_200.0)
    return by_label(answered(asked))


FLAT, DOUBLED = np.ones(12), 1 + np.minimum(np.arange(12) / 6, 1.0)


def test_when_answers_lengthen_decode_tps_sees_it_and_prefill_does_not() -> None:
    runs = two_hours_later(drifting(1_000 * FLAT, 200 * DOUBLED))
    assert keeps(runs[DECODE])
    assert attained(runs[UNCACHED]) < 0.7
    assert runs[UNCACHED].score.gpu_hours < runs[DECODE].score.gpu_hours


def test_when_prompts_lengthen_prefill_sees_it_and_decode_tps_does_not() -> None:
    runs = two_hours_later(drifting(1_000 * DOUBLED, 200 * FLAT))
    assert keeps(runs[UNCACHED])
    assert attained(runs[DECODE]) < 0.7
    assert runs[DECODE].score.gpu_hours < runs[UNCACHED].score.gpu_hours


# A recorded fortnight whose ratio of input to output goes from 1.1 to 27


FIXED = "proportional"
"""The target and ratio of the first day, whatever comes."""


@pytest.fixture(scope="module")
def drifted(shared: Path) -> Workload:
    """ServeGen m-large at a fifth of its rate."""
    name = "servegen_m-large_10min.csv.gz"
    traces, companion = shared / "data" / "traces", companion_name(name)
    assert companion is not None
    quantiles = (traces / companion).read_bytes()
    return read_trace((traces / name).read_bytes(), name, 0.2, quantiles=quantiles)


def knowing(load: Workload, start_s: float, span_s: float) -> str:
    """Return the fixed sizing for the mean lengths of that time, not of the first day."""
    seen = load.rates(start_s + np.arange(0.0, span_s, 600.0), 600.0)
    share = seen.rps / seen.rps.sum()
    demand = replace(
        demand_of(load),
        input_tokens=float(seen.input_tokens @ share),
        output_tokens=float(seen.output_tokens @ share),
    )
    policy = default_policy(per_instance_capacity(H100, H100, demand, tbt_goal_s=0.05))
    return f"{FIXED}:target={policy.target:g},pd_ratio={policy.pd_ratio:g}"


@pytest.mark.parametrize(
    ("day", "hour"),
    [
        pytest.param(5, 20, id="day 6, evening: 15 tokens in per token out"),
        pytest.param(6, 18, id="day 7, evening: 19 tokens in per token out"),
        pytest.param(13, 18, id="day 14, evening: 11 tokens in per token out"),
    ],
)
def test_the_ratio_of_day_1_loses_the_goals_where_prompts_outgrow_answers(
    day: int, hour: int, drifted: Workload
) -> None:
    start_s, span_s = day * DAY_S + 3_600 * hour, 4 * 3_600.0
    told = knowing(drifted, start_s, span_s)
    asked = question(FIXED, told, workload=drifted, start_s=start_s, span_s=span_s)
    runs = by_label(answered(asked))
    assert attained(runs[FIXED]) < attained(runs[told]) - 0.05


def test_the_ratio_of_day_1_costs_more_where_answers_are_long(drifted: Workload) -> None:
    # Day 14, from midnight: 1.9 tokens in per token out.
    start_s, span_s = 13 * DAY_S, 4 * 3_600.0
    told = knowing(drifted, start_s, span_s)
    asked = question(FIXED, told, workload=drifted, start_s=start_s, span_s=span_s)
    runs = by_label(answered(asked))
    assert runs[FIXED].score.gpu_hours > 1.2 * runs[told].score.gpu_hours
    assert keeps(runs[told])


# A prefix cache: raw prefill TPS counts tokens nobody computes.


@pytest.fixture(scope="module")
def switched(shared: Path) -> Workload:
    """Mooncake conversation at twice its rate: 37 % cached for half an hour, then nothing."""
    name = "mooncake_fast25_conversation.csv.gz"
    trace = read_trace((shared / "data" / "traces" / name).read_bytes(), name, 2.0)
    return with_cache_steps(trace, [(1_800.0, 0.0)])


def test_raw_prefill_tps_misjudges_the_work_when_a_prefix_cache_is_lost(
    switched: Workload,
) -> None:
    service = ServiceModel("chat", "here", H100, H100, switched, Instances(16, 8))
    nodes = [NodeSpec(f"n{at}", "here", "h100", "a", "a", 8) for at in range(3)]
    world = World([service], nodes, start_s=0.0, seed=3)
    samples = []
    for now_s in range(15, 3_496, 15):
        world.advance(now_s)
        samples.append(world.windows(["chat"], now_s, 15.0)[0].values[:, -1])
    figures = np.array(samples)
    # Five minutes to fill up, and two after the switch.
    cached, cold = figures[20:120].mean(axis=0), figures[128:].mean(axis=0)
    work = SIGNAL_INDEX["prefill_util"]
    per_work = [
        cold[at] / cold[work] / (cached[at] / cached[work])
        for at in (SIGNAL_INDEX["prefill_tps"], SIGNAL_INDEX["prefill_tps_uncached"])
    ]
    assert cached[work] < 0.5 < cold[work] < 0.8
    # Of 100 raw tokens 63 were computed before and 100 are after.
    assert per_work[0] == pytest.approx(0.63, abs=0.05)
    assert per_work[1] == pytest.approx(1.0, abs=0.05)


def test_raw_prefill_tps_is_refused_as_a_driver_and_the_uncached_one_is_not() -> None:
    policy = plan(question("default")).contestants[0].spec.policy
    (problem,) = validate_policy(replace(policy, driver="prefill_tps"))
    assert "use prefill_tps_uncached" in problem.message
    assert validate_policy(replace(policy, driver="prefill_tps_uncached")) == []


def test_who_does_not_see_a_lost_cache_loses_the_ttft_goal() -> None:
    # 37 % of prompts cached for a day and half an hour, then nothing; rates never change.
    load = replace(STEADY, low_rps=40.0, peak_rps=40.0, input_tokens=3_000.0, cached_frac=0.37)
    runs = two_hours_later(with_cache_steps(load, [(DAY_S + 1_800.0, 0.0)]))
    counts = {name: one.series.prefill_desired for name, one in runs.items()}
    assert counts[DECODE][-1] == counts[DECODE][100]
    # 1 / 0.63 = 1.59 times the work.
    assert counts[UNCACHED][-1] / counts[UNCACHED][100] == pytest.approx(1.59, rel=0.2)
    assert attained(runs[DECODE]) < attained(runs[UNCACHED]) - 0.1


def test_counts_follow_the_load_and_not_the_other_way_round(valley: Answer) -> None:
    # Down to the middle proportional only removes, from there on it only adds.
    counts = by_label(valley)[DECODE].series.decode_desired
    middle = len(counts) // 2
    assert all(after <= before for before, after in pairwise(counts[80 : middle - 20]))
    assert all(after >= before for before, after in pairwise(counts[middle + 20 : -20]))
