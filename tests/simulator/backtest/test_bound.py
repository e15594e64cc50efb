"""The clairvoyant bound: sums by hand, and what must hold of it at any load."""

from dataclasses import replace
from math import exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.types import Instances, Slo
from controller.simulator.backtest.bound import (
    CHUNK,
    Engines,
    Load,
    fewest_decode,
    fewest_gpus,
    fewest_prefill,
)
from controller.simulator.capacity import largest_batch
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.offered import lognormal
from controller.simulator.workload import Generator
from controller.simulator.world import Setup, World
from tests.simulator.backtest.examples import H100, STEADY, answered, by_label, question

SLO = Slo(1.0, 0.05)
# A token a millisecond: prompts of 100 tokens take 0.1 s.
PLAIN = replace(H100, a=0.0, b=0.001, c=0.0)
ALIKE = Engines(PLAIN, H100, np.ones(1), 1.0)
FIRST_STEP_S = float(H100.step_s(1.0, 0.0))


def load(rps: float, tokens: float = 100.0, output: float = 300.0) -> Load:
    """Return one bin."""
    return Load(*(np.array([value]) for value in (rps, tokens, tokens, output)))


def missed(rps: float) -> float:
    """Return the share that waits too long for one instance: M/D/1, an exponential wait."""
    wait_s = 0.1 * rps * 0.1 / (2 * (1 - 0.1 * rps))
    return exp(-(1.0 - 0.1 - FIRST_STEP_S) / wait_s)


def test_one_prefill_suffices_as_long_as_the_wait_of_an_m_d_1_queue_allows() -> None:
    # At 7 requests/s of 0.1 s: wait 0.7 * 0.1 / (2 * 0.3) = 0.117 s on average; more than the
    # 0.89 s there are waits e^(-0.89 / 0.117) = 0.05 %. At 9: wait 0.45 s, 14 %.
    assert missed(7.0) < 0.01 < missed(9.0)
    assert fewest_prefill(load(7.0), ALIKE, SLO).tolist() == [1.0]
    assert fewest_prefill(load(9.0), ALIKE, SLO).tolist() == [2.0]


@pytest.mark.parametrize(
    ("goal_frac", "expected"),
    [
        # At 8.5 requests/s: wait 0.85 * 0.1 / (2 * 0.15) = 0.283 s; e^(-0.89 / 0.283) = 4.4 %.
        pytest.param(0.95, 1.0, id="4.4 % of 5 % may miss"),
        pytest.param(0.96, 2.0, id="4.4 % of 4 % may miss"),
        pytest.param(0.01, 1.0, id="nearly all may miss"),
    ],
)
def test_the_share_that_must_be_kept_decides(goal_frac: float, expected: float) -> None:
    assert 0.04 < missed(8.5) < 0.05
    assert fewest_prefill(load(8.5), ALIKE, replace(SLO, goal_frac=goal_frac)) == expected


def test_a_queue_must_not_be_full_whatever_may_miss() -> None:
    # 25 requests/s of 0.1 s are 2.5 instances' work.
    assert fewest_prefill(load(25.0), ALIKE, replace(SLO, goal_frac=0.01)) >= 3.0


def test_a_prompt_too_long_for_the_goal_is_left_aside() -> None:
    # 2 s of prefill for a goal of 1 s: no count helps, so only the work of 0.4 counts.
    assert fewest_prefill(load(0.2, tokens=2_000.0), ALIKE, SLO).tolist() == [1.0]


def test_of_mixed_prompts_the_short_ones_must_be_kept() -> None:
    # Half take 0.1 s, half 1.9 s. The latter are late even alone; the former wait for them: at
    # 0.8 requests/s with one instance 0.8 * (0.01 + 3.61) / 2 / (2 * 0.2) = 3.6 s.
    mixed = replace(ALIKE, prompts=np.array([0.1, 1.9]))
    assert fewest_prefill(load(0.8, tokens=1_000.0), mixed, SLO) > 1.0
    assert fewest_prefill(load(0.8, tokens=1_000.0), mixed, replace(SLO, goal_frac=0.5)) == 1.0


def test_decode_is_throughput_over_that_of_the_largest_batch() -> None:
    # Half way through its answer a sequence has 1000 + 300 / 2 tokens, at its end 1300.
    context, held = np.array([1_150.0]), np.array([1_300.0])
    batch = largest_batch(H100, context, held, 0.05)
    sustained_tps = float((batch / H100.step_s(batch, batch * context))[0])
    for count in (1, 2, 7):
        rps = count * sustained_tps / 300
        bins = [load(share * rps, tokens=1_000.0) for share in (0.999, 1.001)]
        found = [float(fewest_decode(one, ALIKE, SLO)[0]) for one in bins]
        assert found == [count, count + 1]


def test_spread_answers_hold_more_memory_and_need_more_decode() -> None:
    spread = replace(ALIKE, output_spread=3.0)
    heavy = load(100.0, tokens=1_000.0, output=2_000.0)
    assert fewest_decode(heavy, spread, SLO) > fewest_decode(heavy, ALIKE, SLO)


def test_without_load_one_of_each_and_where_it_is_unknown_nobody_knows() -> None:
    nan = float("nan")
    bins = Load(
        np.array([0.0, nan, 1.0]),
        np.array([0.0, nan, 100.0]),
        np.array([0.0, nan, 100.0]),
        np.array([0.0, nan, 100.0]),
    )
    found = fewest_gpus(bins, replace(ALIKE, decode=replace(H100, tp=2)), SLO)
    assert found[[0, 2]].tolist() == [3.0, 3.0]  # 1 * 1 GPU + 1 * 2 GPUs
    assert np.isnan(found[1])


def test_bins_stand_alone_however_many_there_are() -> None:
    rps = np.linspace(0.0, 60.0, CHUNK + 5)
    flat = np.full_like(rps, 1_000.0)
    engines = Engines(H100, H100, lognormal(0.8)[::4], 1.9)
    found = fewest_gpus(Load(rps, flat, flat, flat), engines, SLO)
    for at in (0, 7, CHUNK - 1, CHUNK, CHUNK + 4):
        one = Load(*(values[at : at + 1] for values in (rps, flat, flat, flat)))
        assert fewest_gpus(one, engines, SLO).tolist() == [found[at]]
    assert fewest_gpus(load(1.0), engines, SLO).shape == (1,)
    assert (np.diff(found) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(
    rps=st.floats(0.0, 200.0),
    more=st.floats(1.0, 3.0),
    tokens=st.floats(1.0, 4_000.0),
    output=st.floats(1.0, 3_000.0),
    sigma=st.floats(0.0, 1.2),
)
def test_more_load_never_needs_fewer_and_looser_goals_never_more(
    rps: float, more: float, tokens: float, output: float, sigma: float
) -> None:
    shape = lognormal(sigma)
    engines = Engines(H100, H100, shape[::4], float(np.mean(shape**2)))
    rates = rps * np.array([1.0, more])
    bins = Load(rates, *(np.full(2, value) for value in (tokens, tokens, output)))
    strict = fewest_gpus(bins, engines, SLO)
    assert strict[1] >= strict[0] >= 2
    loose = replace(SLO, goal_frac=0.9)
    assert (fewest_gpus(bins, engines, loose) <= strict).all()
    slow_step = replace(SLO, tbt_s=0.1)
    assert (fewest_decode(bins, engines, slow_step) <= fewest_decode(bins, engines, SLO)).all()


@pytest.mark.parametrize("rps", [30.0, 60.0])
def test_what_the_bound_says_keeps_the_goals_and_one_less_does_not(rps: float) -> None:
    load_ = replace(STEADY, low_rps=rps, peak_rps=rps)
    shape = load_.lengths
    engines = Engines(H100, H100, shape.input[::4], float(np.mean(shape.output**2)))
    bin_ = load(rps, tokens=1_000.0)
    prefill, decode = (
        int(fewest(bin_, engines, SLO)[0]) for fewest in (fewest_prefill, fewest_decode)
    )
    assert kept(load_, Instances(prefill, decode)) >= SLO.goal_frac
    assert kept(load_, Instances(prefill - 1, decode)) < 0.5
    assert kept(load_, Instances(prefill, decode - 1)) < 0.5


def kept(load_: Generator, counts: Instances) -> float:
    """Return the share of requests within the goals in 15 minutes after 5 to fill up, exact."""
    service = ServiceModel("chat", "here", H100, H100, load_, counts)
    nodes = [NodeSpec(f"n{at}", "here", "h100", "a", "a", 8) for at in range(2)]
    world = World([service], nodes, start_s=0.0, seed=3, setup=Setup("exact"))
    world.judge({"chat": (SLO.ttft_s, SLO.tbt_s)})
    ended = []
    for now_s in range(15, 1_201, 15):
        world.advance(now_s)
        if now_s > 300:
            ended.append(world.kept[[0, 3], 0])
    requests, both = np.array(ended).T
    return float(requests @ both / (requests.sum() + world.late("chat")))


def test_on_a_steady_load_a_peak_sized_by_hand_is_little_more() -> None:
    load_ = replace(STEADY, low_rps=60.0, peak_rps=60.0)
    answer = answered(question("static-peak", workload=load_, span_s=1_800.0))
    # 60 / 10.45 = 5.7 prefill and 60 / 13.9 = 4.3 decode, in whole ones.
    assert by_label(answer)["static-peak"].series.gpus[-1] == 6 + 5
    assert 0.6 * 11 < answer.clairvoyant_gpus.max() <= 11
