"""How a run is scored: reversals, ratio, attainment, short series, and the JSON of it all."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from controller.core.types import Instances
from controller.simulator.backtest.answer import Answer, Run, Score, Series, as_plain
from controller.simulator.backtest.plan import plan
from controller.simulator.backtest.question import Question
from controller.simulator.backtest.record import FIGURES, Change, Record
from controller.simulator.backtest.score import concluded, reversals
from controller.simulator.world import Setup, World
from tests.simulator.backtest.examples import H100, question

TICK_S = 15.0


def changes(*moves: tuple[float, int, int]) -> list[Change]:
    """Return changes at times [s] to counts, beginning with five of each role."""
    made, before = [], Instances(5, 5)
    for at_s, prefill, decode in moves:
        after = Instances(prefill, decode)
        made.append(Change(int(at_s / TICK_S), before, after))
        before = after
    return made


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        pytest.param([], 0, id="no change"),
        pytest.param([(0, 5, 6)], 0, id="one change has nothing to reverse"),
        pytest.param([(0, 5, 6), (300, 5, 7)], 0, id="up and up"),
        pytest.param([(0, 5, 6), (300, 5, 5)], 1, id="up, down after 300 s"),
        pytest.param([(0, 5, 6), (600, 5, 5)], 1, id="up, down after 600 s: still within"),
        pytest.param([(0, 5, 6), (615, 5, 5)], 0, id="up, down after 615 s: too late"),
        pytest.param(
            [(0, 5, 6), (300, 6, 6), (600, 5, 6)], 1, id="decode up, prefill up and down"
        ),
        pytest.param([(0, 6, 6), (300, 5, 5)], 1, id="both roles turn in one action: 1"),
        pytest.param([(0, 6, 6), (300, 5, 7)], 1, id="one of two roles turns"),
        pytest.param([(0, 6, 5), (300, 6, 4)], 0, id="different roles in different directions"),
        pytest.param(
            [(0, 5, 6), (300, 5, 5), (450, 5, 6), (1_200, 5, 5)],
            2,
            id="down after 300 s, up after 150 s, down after 750 s: 1 + 1 + 0",
        ),
        pytest.param(
            [(0, 5, 6), (450, 6, 6), (750, 6, 5)],
            0,
            id="decode down 750 s after it grew, whatever prefill did between",
        ),
    ],
)
def test_a_reversal_turns_a_role_within_ten_minutes(
    moves: list[tuple[float, int, int]], expected: int
) -> None:
    assert reversals(changes(*moves), TICK_S) == expected


# A record written by hand


def scored(played: Question, /, **figures: list[float]) -> Answer:
    """Return the answer of a record of one contestant; every figure not given is 1 at all ticks.

    What came in is one request a second of 1000 tokens in and 300 out.
    """
    planned = plan(played)
    ticks = len(next(iter(figures.values())))
    record = Record(ticks, 1)
    record.figures[:] = 1.0
    for name, values in figures.items():
        record.figures[:, FIGURES.index(name), 0] = values
    record.offered[:] = 15.0, 15_000.0, 15_000.0, 4_500.0
    world = World(
        planned.services(), planned.nodes(), start_s=0.0, seed=0, setup=Setup(played.fidelity)
    )
    return concluded(planned, world, record, wall_s=0.0)


def score_of(played: Question, /, **figures: list[float]) -> Score:
    return scored(played, **figures).runs[0].score


@pytest.mark.parametrize(
    ("policy", "prefill", "decode", "outside_s"),
    [
        # A target of 0.5 within ± 25 %: 0.375 to 0.625.
        pytest.param("default:pd_ratio=0.5", 2, 4, 0, id="2 of 1.5 to 2.5 for 4"),
        pytest.param("default:pd_ratio=0.5", 3, 4, 0, id="3 is 2.5 rounded up"),
        pytest.param("default:pd_ratio=0.5", 1, 4, 0, id="1 is 1.5 rounded down"),
        pytest.param("default:pd_ratio=0.5", 4, 4, 15, id="4 is above 3"),
        pytest.param("default:pd_ratio=0.5", 2, 8, 15, id="2 is below 3 for 8"),
        pytest.param("default:pd_ratio=0.5", 1, 1, 0, id="one pair is no offence"),
        pytest.param("default:pd_ratio=0.5", 1, 0, 15, id="no decode is one"),
        pytest.param("default:pd_ratio=0.5", 0, 2, 15, id="no prefill is one"),
        pytest.param("default:pd_ratio=0.5,ratio_tolerance=0", 3, 4, 15, id="0 %: 3 is not 2"),
        pytest.param("default:pd_ratio=0.5,ratio_tolerance=0", 2, 3, 0, id="0 %: 1.5 is 1 or 2"),
        # Without a ratio of its own, the 1.33 that loads both equally: 0.9975 to 1.6625.
        pytest.param("hpa-util", 7, 4, 0, id="a reference: 7 is 6.65 rounded up"),
        pytest.param("hpa-util", 8, 4, 15, id="a reference: 8 is above 7"),
        pytest.param("hpa-util", 3, 4, 0, id="a reference: 3 is 3.99 rounded down"),
        pytest.param("hpa-util", 2, 4, 15, id="a reference: 2 is below 3"),
    ],
)
def test_ratio_is_out_of_tolerance_beyond_the_whole_counts_around_it(
    policy: str, prefill: int, decode: int, outside_s: float
) -> None:
    found = score_of(question(policy), prefill_ready=[prefill], decode_ready=[decode])
    assert found.ratio_out_of_tolerance_s == outside_s


def test_attainment_is_a_share_of_requests_and_one_of_tokens() -> None:
    found = score_of(
        question("default"),
        asked=[10, 30, 0],
        ttft_kept=[0.5, 1.0, 0.0],  # 10 * 0.5 + 30 = 35 of 40
        tbt_kept=[1.0, 0.5, 0.0],  # 10 + 30 * 0.5 = 25 of 40
        both_kept=[0.5, 0.5, 0.0],  # 5 + 15 = 20 of 40
        tokens=[300, 100, 0],
        tokens_kept=[0.5, 1.0, 0.0],  # 150 + 100 = 250 of 400
    )
    attained = (
        found.slo_attainment_ttft,
        found.slo_attainment_tbt,
        found.slo_attainment,
        found.slo_attainment_tokens,
    )
    assert attained == (35 / 40, 25 / 40, 20 / 40, 250 / 400)


def test_without_a_request_nothing_is_known_of_attainment() -> None:
    found = score_of(question("default"), asked=[0, 0], tokens=[0, 0])
    assert found.slo_attainment_ttft is None
    assert found.slo_attainment_tbt is None
    assert found.slo_attainment is None
    assert found.slo_attainment_tokens is None


def test_utilisation_is_a_mean_over_instances_of_which_it_is_known() -> None:
    found = score_of(
        question("default"),
        prefill_util=[0.5, 1.0, float("nan")],
        prefill_ready=[3, 1, 7],  # (3 * 0.5 + 1 * 1) / 4
        decode_util=[float("nan")] * 3,
        decode_ready=[1, 1, 1],
    )
    assert (found.prefill_util, found.decode_util) == (2.5 / 4, None)


def test_overshoot_and_peak_are_over_the_whole_run() -> None:
    # A request a second needs one instance of each role: 2 GPUs.
    found = score_of(question("default"), gpus=[2, 9, 4])
    assert (found.overshoot_gpus, found.peak_gpus) == (9 - 2, 9)


def test_nobody_overshoots_below_the_bound() -> None:
    assert score_of(question("default"), gpus=[1, 1]).overshoot_gpus == 0


# Series


def points(ticks: int, **figures: float) -> Series:
    """Return the series of a run of so many ticks whose figures count from 0 at each tick."""
    count = np.arange(ticks, dtype=np.float64)
    given = {name: (first + count).tolist() for name, first in figures.items()}
    return scored(question("default"), **given).runs[0].series


def test_a_short_run_is_drawn_tick_by_tick() -> None:
    found = points(720, gpus=0.0, ttft_p95_s=0.0)
    assert found.gpus.tolist() == list(range(720))
    assert found.ttft_p95_s.tolist() == list(range(720))


def test_a_longer_one_in_means_and_worst_latencies_with_a_last_partial_group() -> None:
    # 1,441 ticks in groups of ceil(1441 / 720) = 3: 480 groups and one of a single tick.
    found = points(1_441, gpus=0.0, ttft_p95_s=0.0, tbt_p95_s=10.0)
    assert len(found.gpus) == 481
    assert found.gpus[:2].tolist() == [1.0, 4.0]  # (0 + 1 + 2) / 3, (3 + 4 + 5) / 3
    assert found.ttft_p95_s[:2].tolist() == [2.0, 5.0]
    assert found.tbt_p95_s[:2].tolist() == [12.0, 15.0]
    assert found.gpus[-1] == found.ttft_p95_s[-1] == 1_440.0


def test_a_group_knows_what_any_of_its_ticks_knows() -> None:
    nan = float("nan")
    ticks = 1_442
    first = [nan, 0.5, 2.0, nan, nan, nan, *([1.0] * (ticks - 6))]
    asked = [10.0, 0.0, 30.0, 0.0, 0.0, 0.0, *([1.0] * (ticks - 6))]
    kept = [1.0, 0.0, 0.5, 0.0, 0.0, 0.0, *([1.0] * (ticks - 6))]
    found = (
        scored(question("default"), ttft_p95_s=first, asked=asked, both_kept=kept).runs[0].series
    )
    assert found.ttft_p95_s[0] == 2.0
    assert found.attained_frac[0] == (10 * 1.0 + 30 * 0.5) / 40
    assert np.isnan(found.ttft_p95_s[1])
    assert np.isnan(found.attained_frac[1])


def test_times_of_a_series_are_where_its_groups_begin() -> None:
    found = scored(question("default"), gpus=[1.0] * 1_441)
    assert found.t_s[:3].tolist() == [0.0, 45.0, 90.0]
    assert len(found.t_s) == len(found.request_rps) == len(found.clairvoyant_gpus) == 481
    assert found.request_rps.tolist() == [1.0] * 481
    assert found.clairvoyant_gpus.tolist() == [2.0] * 481
    assert found.clairvoyant_gpu_hours == pytest.approx(2 * 1_441 * 15 / 3600)


# JSON

RUN_KINDS: dict[str, type | tuple[type, ...]] = {
    "policy": str,
    "label": str,
    "params": dict,
    "gpu_hours": float,
    "gpu_hours_over_clairvoyant": float,
    "slo_attainment_ttft": float,
    "slo_attainment_tbt": float,
    "slo_attainment": float,
    "slo_attainment_tokens": float,
    "prefill_util": float,
    "decode_util": float,
    "actions": int,
    "reversals_10min": int,
    "ratio_out_of_tolerance_s": float,
    "overshoot_gpus": int,
    "peak_gpus": int,
    "wall_s": float,
}
"""Fields of a run as scripts read them: more may come, none may go or change its name."""


def test_a_run_is_plain_under_stable_names() -> None:
    plain = as_plain(scored(question("default"), gpus=[2.0, 3.0]), series=False)
    assert set(plain) == {
        "workload",
        "profile",
        "slo",
        "fidelity",
        "clairvoyant_gpu_hours",
        "runs",
    }
    assert isinstance(plain["clairvoyant_gpu_hours"], float)
    runs = plain["runs"]
    assert isinstance(runs, list)
    (one,) = runs
    assert isinstance(one, dict)
    assert {name: type(value) for name, value in one.items()} == RUN_KINDS


def test_the_facts_are_plain_and_say_what_was_played() -> None:
    plain = as_plain(scored(question("default"), gpus=[2.0, 3.0]), series=False)
    workload, profile = plain["workload"], plain["profile"]
    assert isinstance(workload, dict)
    assert isinstance(profile, dict)
    assert workload["span_s"] == 30.0
    assert profile["prefill"] == {
        "name": H100.name,
        "model": H100.model,
        "hardware": "h100",
        "gpus_per_instance": 1,
        "kind": H100.kind,
    }
    assert set(profile) == {
        *("prefill", "decode", "prefill_rps_per_instance", "decode_tps_per_instance"),
        *("pd_ratio", "start_up_s", "max_gpus"),
    }
    assert plain["slo"] == {"ttft_s": 1.0, "tbt_s": 0.05, "goal": 0.99}
    assert plain["fidelity"] == {"asked": "auto", "used": "fluid", "rule": "a fluid in 1 s bins"}


def test_series_come_only_when_asked_for_and_unknown_is_null() -> None:
    nan = float("nan")
    answer = scored(question("default"), ttft_p95_s=[0.1234567, nan], gpus=[2.0, 3.0])
    plain = as_plain(answer, series=True)
    assert plain["series"] == {
        "t_s": [0.0, 15.0],
        "request_rps": [1.0, 1.0],
        "clairvoyant_gpus": [2.0, 2.0],
    }
    runs = plain["runs"]
    assert isinstance(runs, list)
    (one,) = runs
    assert isinstance(one, dict)
    series = one["series"]
    assert isinstance(series, dict)
    assert set(series) == {f.name for f in fields(Series)}
    assert series["ttft_p95_s"] == [0.123457, None]
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_attainment_of_no_request_is_null_not_zero() -> None:
    answer = scored(question("default"), asked=[0.0], tokens=[0.0])
    run: Run = answer.runs[0]
    plain = as_plain(replace(answer, runs=[run]), series=False)
    runs = plain["runs"]
    assert isinstance(runs, list)
    (one,) = runs
    assert isinstance(one, dict)
    names = [name for name in one if name.startswith("slo_attainment")]
    assert [one[name] for name in names] == [None] * 4
    json.dumps(plain, allow_nan=False)
