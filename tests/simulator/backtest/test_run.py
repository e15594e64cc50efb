"""Playing a question: the same again, nobody in another's way, nothing lost, our code as live."""

import json
from dataclasses import replace
from itertools import pairwise
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from controller.core import cycle
from controller.core.types import Context, Decision, Floats
from controller.simulator.arrivals import slowest_prefill_s
from controller.simulator.backtest.answer import Answer, Run, as_plain
from controller.simulator.backtest.contestants import POLICY_NAMES
from controller.simulator.backtest.plan import plan
from controller.simulator.backtest.question import Fidelity, Question, QuestionError
from controller.simulator.backtest.run import _Drive, run
from controller.simulator.workload import RequestTrace, Workload, read_trace
from tests.simulator.backtest.examples import (
    STEADY,
    VALLEY,
    answered,
    by_label,
    minutes,
    question,
)

NAN = float("nan")
HILLY = replace(VALLEY, low_rps=10.0, peak_rps=40.0, day_s=3600.0, noise_frac=0.05)


def text(answer: Answer) -> str:
    return json.dumps(as_plain(answer, series=True), allow_nan=False)


def test_the_same_question_has_the_same_answer_and_another_seed_another() -> None:
    asked = question("default", "hpa-util", "latency-only", workload=HILLY)
    first, again = answered(asked), answered(asked)
    assert text(first) == text(again)
    assert text(answered(replace(asked, seed=1))) != text(first)


@pytest.mark.parametrize(
    ("fidelity", "span_s"),
    [
        pytest.param("fluid", 1800.0, id="half an hour of the fluid"),
        pytest.param("exact", 300.0, id="5 min request by request"),
    ],
)
def test_nobody_is_in_anothers_way(fidelity: str, span_s: float) -> None:
    asked = question("default", "latency-only", workload=HILLY, span_s=span_s, fidelity=fidelity)
    few = by_label(answered(asked))
    crowd = question(*POLICY_NAMES, workload=HILLY, span_s=span_s, fidelity=fidelity)
    many = by_label(answered(crowd))
    assert list(many) == list(POLICY_NAMES)
    for label, alone in few.items():
        assert plain(many[label]) == plain(alone)


@pytest.mark.parametrize(
    ("fidelity", "span_s"),
    [
        pytest.param("fluid", 3600.0, id="an hour of the fluid"),
        pytest.param("exact", 600.0, id="10 min request by request"),
    ],
)
def test_equal_policies_are_equal_whatever_they_are_called(fidelity: str, span_s: float) -> None:
    """0.1 and 4 are what ``default`` has anyway."""
    same = ("default", "default:theta_in=0.1", "default:step_abs=4")
    asked = question(
        *same,
        "hpa-util",
        workload=HILLY,
        span_s=span_s,
        fidelity=fidelity,
        start_up_s=20.0,
    )
    runs = by_label(answered(asked))
    assert runs["default"].score.actions > 0
    first, *others = (plain(runs[label]) | {"label": ""} for label in same)
    assert others == [first, first]
    assert plain(runs["hpa-util"])["series"] != first["series"]


def plain(one: Run) -> dict[str, object]:
    """Return a run for comparison; NaN are null, which equals itself."""
    answer = Answer({}, {}, {}, {}, 0.0, *(np.zeros(0) for _ in range(3)), [one])
    runs = as_plain(answer, series=True)["runs"]
    assert isinstance(runs, list)
    assert isinstance(runs[0], dict)
    return dict(runs[0])


def driven(asked: Question) -> _Drive:
    """Return a run at its end, with its world."""
    drive = _Drive(plan(asked))
    for tick in range(drive.record.ticks):
        drive.tick(tick, lambda: 0.0)
    return drive


SCALING = question("proportional", "latency-only", "hpa-util", workload=HILLY, span_s=1800.0)


def test_every_token_of_an_exact_run_is_made_or_in_flight_through_every_change() -> None:
    drive = driven(replace(SCALING, fidelity="exact"))
    assert min(len(changes) for changes in drive.record.changes) >= 2
    world = drive.world
    requests, tokens = world.in_flight()
    assert world.asked[3].tolist() == (world.made + tokens).tolist()
    assert world.asked[3].min() > 1e7
    assert requests.min() > 0


def test_the_fluid_loses_no_more_than_rounding() -> None:
    drive = driven(replace(SCALING, fidelity="fluid"))
    made = drive.world.made + drive.world.in_flight()[1]
    assert made == pytest.approx(drive.world.asked[3], rel=1e-9)


def test_everybody_is_asked_the_same() -> None:
    for fidelity in ("fluid", "exact"):
        asked = driven(replace(SCALING, span_s=300.0, fidelity=fidelity)).world.asked
        assert (asked == asked[:, :1]).all()


def test_requests_that_are_late_and_unfinished_have_missed() -> None:
    load = replace(STEADY, low_rps=60.0, peak_rps=60.0)
    asked = question("static-peak", workload=load, max_gpus=2, span_s=120.0, fidelity="exact")
    drive = driven(asked)
    late = drive.world.late("static-peak")
    ended, in_time = (drive.record.of(name)[:, 0] for name in ("asked", "ttft_kept"))
    score = answered(asked).runs[0].score
    assert late > 1_000
    assert score.slo_attainment_ttft == pytest.approx(ended @ in_time / (ended.sum() + late))


# GPU-hours. 20 requests/s need 20 / 10.45 = 1.91 prefill and 20 / 13.9 = 1.44 decode: everybody
# begins with ceil(1.25 * 1.91) = 3 and ceil(1.25 * 1.44) = 2.


def test_counts_that_stay_cost_counts_times_hours() -> None:
    found = by_label(answered(question("static-mean:factor=1.25")))["static-mean:factor=1.25"]
    assert (found.score.actions, found.score.gpu_hours) == (0, 3 + 2)
    assert found.score.peak_gpus == 5
    assert set(found.series.gpus.tolist()) == {5.0}


def test_starting_instances_cost_from_the_first_second() -> None:
    # At the first tick to ceil(2 * 1.91) = 4 and ceil(2 * 1.44) = 3.
    found = by_label(answered(question("static-mean:factor=2")))["static-mean:factor=2"]
    assert found.score.actions == 1
    assert found.score.gpu_hours == pytest.approx((15 * 5 + 3585 * 7) / 3600)
    begin = [
        float(figure[0])
        for figure in (found.series.gpus, found.series.prefill_ready, found.series.decode_ready)
    ]
    assert begin == [7.0, 3.0, 2.0]
    assert found.series.prefill_ready[-1] == 4.0


def test_draining_instances_cost_to_their_last_second() -> None:
    # At the first tick to ceil(1.91) = 2 and 2: one prefill drains for its slowest prompt.
    asked = question("static-peak")
    found = by_label(answered(asked))["static-peak"]
    drain_s = ceil(slowest_prefill_s(plan(asked).services()[0]))
    assert found.score.actions == 1
    assert found.score.gpu_hours == pytest.approx((15 * 5 + drain_s + 3585 * 4) / 3600)


# Progress


def test_progress_begins_at_nothing_and_never_goes_back() -> None:
    told: list[float] = []
    run(question("default"), clock=lambda: 0.0, progress=told.append)
    # 240 ticks of 15 s in an hour, told after each.
    assert told == [tick / 240 for tick in range(240)]


class CancelledError(Exception):
    """Somebody wants no answer any more."""


def test_what_progress_raises_ends_the_run() -> None:
    told: list[float] = []

    def stop(done: float) -> None:
        told.append(done)
        if done >= 0.5:
            raise CancelledError

    with pytest.raises(CancelledError):
        run(question("default"), clock=lambda: 0.0, progress=stop)
    assert told[-1] == 0.5
    assert len(told) == 121


def test_computing_time_is_shared_out() -> None:
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += 1.0
        return now_s[0]

    asked = question("default", "proportional", "hpa-util", span_s=150.0)
    answer = run(asked, clock=clock, progress=lambda _: None)
    # Between the first and the last look are 10 ticks of four looks: ours together, then theirs.
    assert sum(one.score.wall_s for one in answer.runs) == pytest.approx(10 * 4 + 1)
    ours = [one.score.wall_s for one in answer.runs[:2]]
    assert ours[0] == ours[1]


# A load with a hole


def with_hole(rps: float) -> Workload:
    """Return 20 minutes of 60 requests/s, 30 of ``rps``, and 10 of 60 again."""
    return minutes(*[60.0] * 20, *[rps] * 30, *[60.0] * 10)


def test_ours_holds_while_nothing_is_known_and_shrinks_where_nothing_comes() -> None:
    hole, idle = (
        answered(question("default:hold_s=300", workload=with_hole(rps))).runs[0].series
        for rps in (NAN, 0.0)
    )
    # From two minutes into it to its end, and from ticks of 15 s.
    quiet = slice(4 * 22, 4 * 50)
    for role in ("prefill_desired", "decode_desired"):
        held = getattr(hole, role)[quiet]
        assert set(held.tolist()) == {getattr(hole, role)[4 * 20]}
        assert getattr(idle, role)[quiet][-1] < held[-1]


def test_gpu_hours_of_a_hole_do_not_count_against_the_bound() -> None:
    answer = answered(question("static-mean:factor=1.25", workload=with_hole(NAN)))
    score = answer.runs[0].score
    assert np.isnan(answer.clairvoyant_gpus).sum() == 4 * 30
    assert np.isnan(answer.request_rps).sum() == 4 * 30
    bound_hours = float(np.nansum(answer.clairvoyant_gpus)) * 15 / 3600
    assert answer.clairvoyant_gpu_hours == pytest.approx(bound_hours)
    # Half of the hour is known, and counts stay.
    assert score.actions == 0
    over = score.gpu_hours / 2 / bound_hours
    assert score.gpu_hours_over_clairvoyant == pytest.approx(over)


ODD: dict[str, Workload] = {
    "nobody comes": minutes(*[0.0] * 15),
    "somebody comes at last": minutes(*[0.0] * 10, *[20.0] * 5),
    "the hole comes first": minutes(*[NAN] * 10, *[20.0] * 5),
    "the hole comes last": minutes(*[20.0] * 10, *[NAN] * 5),
    "a request in three hours": replace(STEADY, low_rps=1e-4, peak_rps=1e-4),
    "prompts and answers of one token": minutes(*[1.0] * 15, tokens=(1.0, 1.0)),
}


@pytest.mark.parametrize("fidelity", ["auto", "exact"])
@pytest.mark.parametrize("load", sorted(ODD))
def test_odd_loads_have_an_answer_for_every_policy(load: str, fidelity: Fidelity) -> None:
    asked = question(*POLICY_NAMES, workload=ODD[load], span_s=900.0, fidelity=fidelity)
    answer = answered(asked)
    assert text(answer)
    assert answer.clairvoyant_gpu_hours >= 2 * 5 * 60 / 3600
    for one in answer.runs:
        assert one.score.gpu_hours >= 2 * 15 / 60
        shares = (one.score.slo_attainment, one.score.slo_attainment_tokens)
        assert all(share is None or 0.0 <= share <= 1.0 for share in shares)
        assert (shares == (None, None)) == (load == "nobody comes")


@pytest.mark.parametrize(
    ("span_s", "ticks"),
    [
        pytest.param(1.0, 1, id="a second is a tick of 15 s"),
        pytest.param(29.0, 1, id="29 s are one tick"),
        pytest.param(60.0, 4, id="a minute is four"),
    ],
)
def test_a_run_is_whole_ticks_and_says_so(span_s: float, ticks: int) -> None:
    answer = answered(question("default", span_s=span_s))
    assert answer.workload["span_s"] == 15.0 * ticks
    assert answer.t_s.tolist() == [15.0 * tick for tick in range(ticks)]


# The decision code is the one that runs live: its guards show in what comes out.


def moves(desired: Floats) -> list[tuple[int, int, int]]:
    """Return the changes of a role: tick, count before, count after."""
    counts = desired.astype(int).tolist()
    return [
        (tick, before, after)
        for tick, (before, after) in enumerate(pairwise(counts), 1)
        if before != after
    ]


SURGE = minutes(*[20.0] * 20, *[200.0] * 40, *[10.0] * 60)


@pytest.mark.parametrize(
    ("policy", "step", "share", "out_s", "in_s"),
    [
        pytest.param(
            "default:hold_s=300,step_out_frac=0.25,cooldown_out_s=60",
            *(4, 0.25, 60, 300),
            id="4 or a quarter, 60 s out, 300 s in",
        ),
        pytest.param(
            "default:hold_s=300,step_abs=1,step_frac=0,step_out_frac=0,cooldown_out_s=60",
            *(1, 0.0, 60, 300),
            id="one at a time, 60 s out",
        ),
        pytest.param(
            "default:hold_s=300,step_abs=2,step_frac=0.5,step_out_frac=0.5,cooldown_out_s=180,cooldown_in_s=600",
            *(2, 0.5, 180, 600),
            id="2 or a half, 180 s out, 600 s in",
        ),
    ],
)
def test_steps_and_cooldowns_bound_every_change(
    policy: str, step: int, share: float, out_s: float, in_s: float
) -> None:
    asked = question(policy, workload=SURGE, span_s=7200.0)
    found = answered(asked).runs[0].series
    grew_s = shrank_s = -1e9
    by_tick: dict[int, list[tuple[int, int]]] = {}
    for role in (found.prefill_desired, found.decode_desired):
        for tick, before, after in moves(role):
            by_tick.setdefault(tick, []).append((before, after))
    directions = set()
    for tick, changed in sorted(by_tick.items()):
        now_s = 15.0 * tick
        for before, after in changed:
            assert abs(after - before) <= max(step, ceil(share * before))
        grows = any(after > before for before, after in changed)
        directions.add(grows)
        assert now_s - grew_s >= (out_s if grows else in_s)
        assert grows or now_s - shrank_s >= in_s
        grew_s, shrank_s = (now_s, shrank_s) if grows else (grew_s, now_s)
    assert directions == {True, False}


def test_a_budget_is_kept_while_instances_start_and_drain() -> None:
    asked = question("default", "proportional:step_abs=50", workload=SURGE, max_gpus=20)
    for one in answered(replace(asked, span_s=7200.0)).runs:
        assert one.score.peak_gpus <= 20
        assert one.series.gpus.max() == 20


# Fidelity


@pytest.fixture(scope="module")
def azure(shared: Path) -> RequestTrace:
    """Azure conversation, twelve times as fast."""
    name = "azure_llm_2023_conv.csv.gz"
    trace = read_trace((shared / "data" / "traces" / name).read_bytes(), name)
    assert isinstance(trace, RequestTrace)
    return replace(trace, arrivals=replace(trace.arrivals, t_s=trace.arrivals.t_s / 12))


def test_exact_and_fluid_agree_on_five_minutes_of_a_recorded_load(azure: RequestTrace) -> None:
    asked = question(
        *("static-peak", "default", "static-mean:factor=1"), workload=azure, span_s=285.0
    )
    exact, fluid = (answered(replace(asked, fidelity=fidelity)) for fidelity in ("exact", "fluid"))
    assert (exact.fidelity["used"], fluid.fidelity["used"]) == ("exact", "fluid")
    assert fluid.clairvoyant_gpu_hours == pytest.approx(exact.clairvoyant_gpu_hours, rel=0.02)
    for one, other in zip(exact.runs, fluid.runs, strict=True):
        assert one.score.gpu_hours == pytest.approx(other.score.gpu_hours, rel=0.02)
        assert one.score.slo_attainment == pytest.approx(other.score.slo_attainment, abs=0.02)
        assert one.score.prefill_util == pytest.approx(other.score.prefill_util, rel=0.05)
        # As validated: TTFT within 20 %, TBT within 5 %.
        for name, limit in (("ttft_p95_s", 0.20), ("tbt_p95_s", 0.05)):
            means = [float(np.nanmean(getattr(run.series, name))) for run in (one, other)]
            assert means[1] == pytest.approx(means[0], rel=limit)


@pytest.mark.parametrize(
    ("workload", "asked", "used"),
    [
        pytest.param(STEADY, "auto", "fluid", id="short prompts: the fluid"),
        pytest.param(
            replace(STEADY, input_tokens=4000.0, low_rps=2.0, peak_rps=2.0),
            *("auto", "exact prefill"),
            id="prompts of 4000 tokens, room for 34: exact prefill",
        ),
        pytest.param(
            replace(STEADY, input_tokens=6000.0, low_rps=2.0, peak_rps=2.0),
            *("auto", "exact"),
            id="prompts of 6000 tokens, room for 24: exact throughout",
        ),
        pytest.param(STEADY, "exact", "exact", id="exact when asked for"),
        pytest.param(
            replace(STEADY, input_tokens=6000.0, low_rps=2.0, peak_rps=2.0),
            *("fluid", "fluid"),
            id="the fluid when asked for",
        ),
    ],
)
def test_an_answer_says_how_it_was_simulated(
    workload: Workload, asked: Fidelity, used: str
) -> None:
    answer = answered(question("default", workload=workload, span_s=60.0, fidelity=asked))
    said = answer.fidelity
    assert (said["asked"], said["used"]) == (asked, used)
    assert said["rule"]


def test_a_policy_that_fails_is_not_praised_for_holding_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(ctx: Context) -> Decision:
        raise ZeroDivisionError(ctx.spec.key)

    monkeypatch.setattr(cycle, "decide", broken)
    with pytest.raises(QuestionError, match=r"default: .*ZeroDivisionError") as refusal:
        run(question("default"), clock=lambda: 0.0, progress=lambda _: None)
    assert refusal.value.code == "decision_failed"
