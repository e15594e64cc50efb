"""The study's findings: what follows the load, where the tent has its top, what hardware costs."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.study.hardware import EVEN, PRICES, Load, cost_rows, premium_rows
from benchmarks.study.ratio import Case, formula_rps, kept_frac, ratio_rows, sustained_rps, tent
from benchmarks.study.recordings import (
    AZURE,
    LANGUAGE,
    MOONCAKE,
    REASONING,
    SUMMARIES,
    measured_transfers,
    recording,
)
from benchmarks.study.signals import Day, SignalRow, correlation, day_of, signal_rows, steady
from benchmarks.study.transfer import LoadRow, load_rows, size_rows
from controller.core.types import Instances
from controller.simulator.workload import WindowTrace

H100 = "qwen3-32b-fp8/h100"
H200 = "qwen3-32b-fp8/h200"
L40S = "qwen3-8b/l40s"
SPEED = 5.0

# Signals


@pytest.fixture(scope="module")
def trace(shared: Path) -> WindowTrace:
    made = recording(shared, LANGUAGE, 0.5)
    assert isinstance(made, WindowTrace)
    return made


@pytest.fixture(scope="module")
def day(trace: WindowTrace) -> Day:
    return day_of(trace, speed=SPEED)


@pytest.fixture(scope="module")
def found(day: Day) -> dict[str, SignalRow]:
    return {row.signal: row for row in signal_rows(day, speed=SPEED)}


def test_the_fixed_fleet_serves_the_day_within_its_goals(day: Day) -> None:
    assert day.kept_frac("ttft_s", 1.0) > 0.99
    assert day.kept_frac("tbt_s", 0.05) > 0.99


@pytest.mark.parametrize(
    ("signal", "least"),
    [
        ("decode_tps", 0.98),
        ("prefill_tps_uncached", 0.98),
        ("prefill_util", 0.95),
        ("prefill_sm", 0.95),
    ],
)
def test_a_linear_signal_follows_the_tokens_of_its_role(
    found: dict[str, SignalRow], signal: str, least: float
) -> None:
    assert found[signal].r_tokens > least
    assert found[signal].r_tokens_in_a_minute > least
    assert found[signal].swing > 4


def test_decode_utilisation_says_nothing_of_the_load(found: dict[str, SignalRow]) -> None:
    row = found["decode_util"]
    assert max(abs(row.r_requests), abs(row.r_tokens)) < 0.3
    assert row.swing == pytest.approx(1.0, abs=0.01)


def test_decode_throughput_does_not_follow_requests_while_lengths_drift(
    day: Day, found: dict[str, SignalRow]
) -> None:
    # In the first day outputs get shorter while requests get more.
    assert correlation(day.requests, day.output) < 0
    assert found["decode_tps"].r_requests < 0
    assert found["prefill_tps_uncached"].r_requests < 0.95


def test_with_lengths_held_every_linear_signal_follows_requests(trace: WindowTrace) -> None:
    rows = {
        row.signal: row for row in signal_rows(day_of(steady(trace), speed=SPEED), speed=SPEED)
    }
    linear = ("decode_tps", "prefill_tps_uncached", "prefill_util", "prefill_sm")
    assert min(rows[name].r_requests for name in linear) > 0.98
    assert abs(rows["decode_util"].r_requests) < 0.3


# P/D ratio


@pytest.mark.parametrize(
    ("name", "engines", "goal_ms", "expect"),
    [
        pytest.param(AZURE, (H100, H100), 50, 2.3, id="chat, H100 and H100"),
        pytest.param(AZURE, (H100, H200), 50, 4.0, id="chat, H100 and H200"),
        pytest.param(AZURE, (L40S, L40S), 30, 0.62, id="chat, L40S, 30 ms"),
        pytest.param(AZURE, (L40S, L40S), 50, 1.06, id="chat, L40S, 50 ms"),
        pytest.param(AZURE, ("qwen3-8b/h100", "qwen3-8b/a100"), 50, 1.0, id="chat, H100 and A100"),
        pytest.param(MOONCAKE, (H100, H100), 50, 1.6, id="long prompts, H100 and H100"),
        pytest.param(MOONCAKE, (H100, H200), 50, 3.5, id="long prompts, H100 and H200"),
        pytest.param(REASONING, (H100, H100), 50, 0.21, id="long outputs, H100 and H100"),
        pytest.param(REASONING, (H100, H200), 50, 0.4, id="long outputs, H100 and H200"),
    ],
)
def test_each_trace_and_pair_has_a_ratio_of_its_own(
    shared: Path, name: str, engines: tuple[str, str], goal_ms: float, expect: float
) -> None:
    (row,) = ratio_rows([Case.of(name, recording(shared, name), engines, goal_ms)])
    assert row.prefill_per_decode == pytest.approx(expect, rel=0.1)


def test_a_wrong_ratio_costs_a_quarter_of_the_throughput(shared: Path) -> None:
    chat = Case.of("chat", recording(shared, AZURE), (H100, H100), 50)
    rows = {row.prefill: row for row in tent(chat, 24, (), seconds=0.0)}
    top = max(rows, key=lambda prefill: rows[prefill].formula_rps)
    assert top in {16, 17}
    assert rows[16].formula_rps == pytest.approx(146, abs=1)
    assert rows[12].of_best_frac == pytest.approx(0.75, abs=0.01)
    assert rows[2].formula_rps == pytest.approx(18, abs=1)


def test_request_by_request_the_tent_has_its_top_there_too(shared: Path) -> None:
    # A quarter of 24 GPUs: 4 and 2 are 16 and 8, 3 and 3 are 12 and 12.
    chat = Case.of("chat", recording(shared, AZURE), (H100, H100), 50)
    rates = {
        split: sustained_rps(chat, Instances(*split), seconds=100.0)
        for split in ((3, 3), (4, 2), (5, 1))
    }
    assert max(rates, key=lambda split: rates[split]) == (4, 2)
    assert rates[3, 3] < 0.95 * rates[4, 2]
    assert rates[5, 1] < 0.7 * rates[4, 2]
    # The formula leaves a fifth of prefill time free; goals of 1 s and 50 ms need less.
    assert rates[4, 2] > 0.95 * 36.6


def test_long_answers_reserve_more_than_the_mean_and_want_more_decode(shared: Path) -> None:
    long = replace(
        Case.of("reasoning", recording(shared, REASONING), (H100, H100), 50), ttft_goal_s=5.0
    )
    tokens, reserved = long.held()
    # Sequences of mean length 2,800 come, of 6,700 run: 22 fit instead of 54.
    assert tokens > 2 * 2_800
    assert reserved.pd_ratio < 0.5 * long.capacity().pd_ratio
    # Seven decode instances: 10.8 requests/s by the mean, 4.5 by what is reserved.
    split = Instances(3, 7)
    assert formula_rps(long.capacity(), split) == pytest.approx(10.8, abs=0.1)
    assert 3.5 < sustained_rps(long, split, seconds=1_200.0) < 5.5


def test_overload_breaks_the_goals_and_light_load_keeps_them(shared: Path) -> None:
    chat = Case.of("chat", recording(shared, AZURE), (H100, H100), 50)
    light, heavy = (kept_frac(chat, Instances(2, 1), rps, (100.0, 1)) for rps in (9.0, 27.0))
    assert light > 0.99
    assert heavy < 0.5


# Hardware


@pytest.fixture(scope="module")
def loads(shared: Path) -> list[Load]:
    goals = {AZURE: 2.0, MOONCAKE: 60.0, REASONING: 4.0, SUMMARIES: 4.0}
    return [Load(name, recording(shared, name), ttft, 0.06) for name, ttft in goals.items()]


def test_matched_hardware_beats_either_type_alone(loads: list[Load]) -> None:
    types = {name: PRICES[name] for name in ("h100", "h20")}
    rows = premium_rows(["Qwen/Qwen3-30B-A3B"], loads, types)
    assert {row.best_pair for row in rows} == {"h100 + h20"}
    least = [row.best_single_premium for row in rows]
    # 41 % is within what a pool of one type costs above the pair: 6 to 30 % of the better type,
    # 47 to 95 % of the worse.
    assert 0.25 < max(least) < 0.41 < min(row.worst_single_premium for row in rows)


def test_hardware_is_matched_by_price(loads: list[Load]) -> None:
    # At one price for all the largest memory wins both roles.
    rows = premium_rows(["Qwen/Qwen3-8B"], loads, EVEN)
    assert {row.best_pair for row in rows} == {"h200 + h200"}


def test_a_pair_costs_what_its_instances_cost_at_the_best_ratio(loads: list[Load]) -> None:
    rows = cost_rows("Qwen/Qwen3-8B", loads[0], {"h100": 1.0})
    # 0.8 / 29.4 ms = 27.2 requests/s a prefill, 38.5 a decode instance, 211 tokens each:
    # (1/27.2 + 1/38.5) / 3600 / 211 x 1e6 = 0.083 hours of an H100.
    assert [(row.prefill, row.decode) for row in rows] == [("qwen3-8b/h100", "qwen3-8b/h100")]
    one = Case.of("chat", loads[0].workload, ("qwen3-8b/h100", "qwen3-8b/h100"), 60).capacity()
    hours = (1 / one.prefill_rps + 1 / one.decode_rps) / 3600 / 210.8 * 1e6
    assert rows[0].cost == pytest.approx(hours, rel=1e-3)


# KV transfer


def test_the_way_across_s2_takes_a_quarter_longer_and_is_a_hundredth_of_ttft(shared: Path) -> None:
    rows = size_rows(measured_transfers(shared))
    longest = rows[-1]
    # 4,608 MiB at 145 GB/s are 33.3 ms, at 0.8 of it 41.7.
    assert longest.same_s1 == pytest.approx(33.7, rel=0.03)
    assert longest.across_s2 / longest.same_s1 == pytest.approx(1.25, abs=0.01)
    assert max(row.across_of_ttft_frac for row in rows) < 0.02
    assert all(row.same_s1 == pytest.approx(row.measured, rel=0.08) for row in rows)


@pytest.fixture(scope="module")
def at_load(shared: Path) -> dict[tuple[str, float], LoadRow]:
    chat = Case.of("chat", recording(shared, AZURE), (H100, H100), 50)
    rows = load_rows(chat, 16, 1.0, (1.0, 4.0, 8.0), seconds=60.0)
    return {(row.place, row.oversubscription): row for row in rows}


def test_with_uplinks_as_wide_as_the_cards_distance_hardly_shows_in_ttft(
    at_load: dict[tuple[str, float], LoadRow],
) -> None:
    near, far = at_load["same S1", 1.0], at_load["across S2", 1.0]
    assert far.transfer_p50 / near.transfer_p50 > 1.15
    assert far.ttft_p95 == pytest.approx(near.ttft_p95, rel=0.03)


def test_eightfold_oversubscription_makes_transfers_the_bottleneck(
    at_load: dict[tuple[str, float], LoadRow],
) -> None:
    near, thin = at_load["same S1", 1.0], at_load["across S2", 8.0]
    # 146 requests/s of 303 MB are 44 GB/s, of 400 / 8 = 50 GB/s into the one node that decodes.
    assert thin.fullest == pytest.approx(0.88, abs=0.03)
    assert thin.transfer_p95 > 5 * near.transfer_p95
    assert thin.ttft_p95 > 1.2 * near.ttft_p95
    assert at_load["across S2", 4.0].ttft_p95 < 1.1 * near.ttft_p95


def test_longer_goals_never_sustain_less(shared: Path) -> None:
    chat = Case.of("chat", recording(shared, AZURE), (H100, H100), 50)
    patient = replace(chat, ttft_goal_s=5.0)
    split = Instances(2, 1)
    rates = [sustained_rps(one, split, seconds=100.0) for one in (chat, patient)]
    assert rates[1] >= rates[0] > 0
