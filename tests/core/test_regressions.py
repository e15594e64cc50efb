"""What went wrong in other systems, held as tests; numbers are rows of the safety rules, §2."""

import math
from dataclasses import replace

import pytest

from controller.core import guards
from controller.core.cycle import decide_all, look
from controller.core.decide import decide
from controller.core.memory import Memory
from controller.core.outlook import Learnt, Outlook, Started
from controller.core.pairs import smaller
from controller.core.ports import View
from controller.core.reasons import Code
from controller.core.types import (
    SIGNALS,
    Adapt,
    Context,
    Gate,
    History,
    Hold,
    Instances,
    Mode,
    Observation,
    Quality,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Signals,
    Target,
    Wish,
)
from tests.core.build import (
    NOW_S,
    SPEC,
    context,
    graded,
    healthy,
    limits,
    policy,
    refused,
    state,
    valued,
    window,
    wishes,
    without,
)
from tests.core.strategies import ENGINE

FOUR = Instances(2, 4)
TEN = Instances(5, 10)
ADAPTIVE = replace(policy(adapt=Adapt.AUTOMATIC, pd_ratio=1.0), engine=ENGINE)


# 2: low utilisation during bad latency is not idleness (Slack, 4 Jan 2021)


@pytest.mark.parametrize("load", [0.0, 1.0, 500.0, 2000.0])
@pytest.mark.parametrize("late", [{"ttft_s": 1.9}, {"tbt_s": 0.2}], ids=["TTFT", "TBT"])
@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_low_load_during_bad_latency_takes_nothing_away_2(
    spec: ServiceSpec, late: dict[str, float], load: float
) -> None:
    ctx = context(TEN, load, spec=spec, signals=valued(healthy(load, TEN), **late))
    found = decide(ctx)
    assert smaller(found.final, TEN) == TEN


# 8, 11: what can't be read is not idle (KEDA #3065, Dynamo #14765)


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.INVALID, Quality.STALE])
@pytest.mark.parametrize(
    "names",
    [
        ("decode_tps",),
        ("request_rps",),
        ("prefill_tps_uncached", "prefill_tps"),
        tuple(kind.name for kind in SIGNALS),
    ],
    ids=["driver", "requests", "the other role", "everything"],
)
@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_a_failed_read_is_not_idleness_8_11(
    spec: ServiceSpec, names: tuple[str, ...], quality: Quality
) -> None:
    """An idle service of which something can't be read stays at (5, 10) and not at (1, 1)."""
    signals: Signals = healthy(0.0, TEN)
    for name in names:
        signals = graded(signals, name, quality)
    found = decide(context(TEN, 0.0, spec=spec, signals=signals))
    assert found.final == TEN
    assert found.code.name.startswith("METRIC_")


def test_signals_that_are_not_there_at_all_are_not_idleness_8() -> None:
    assert decide(context(TEN, 0.0, signals={})).final == TEN


# 9: specials of floating point never become a count (KEDA #7475)

SPECIALS = [math.nan, math.inf, -math.inf, -1.0, -0.0, 1e308, 1e-320]


@pytest.mark.parametrize("bad", SPECIALS, ids=str)
@pytest.mark.parametrize("name", [kind.name for kind in SIGNALS])
def test_no_special_becomes_a_count_9(name: str, bad: float) -> None:
    """From a window through the whole loop: held, and no figure of it is shown."""
    names = [kind.name for kind in SIGNALS]
    samples: dict[str, list[float | None]] = {each: [0.01] * 4 for each in names}
    samples |= {"decode_tps": [4000.0] * 4, "prefill_tps_uncached": [4000.0] * 4}
    samples[name] = [*samples[name][:3], bad]
    seen = {"chat": Observation(window(samples), state(FOUR))}

    class Source:
        def observe(self, specs: object, *, now_s: float) -> View:  # noqa: ARG002
            return View(seen, (), {})

    first = look([SPEC], Source(), now_s=NOW_S, max_age_s=45.0)
    [found] = decide_all(
        [SPEC], first, recall=lambda _: Memory(), hold_of=lambda _: None
    ).decisions
    assert found.signals[name].value is None
    assert smaller(found.final, FOUR) == FOUR
    assert max(found.final) <= 8
    assert not any(word in found.sentence for word in ("nan", "inf", "922337"))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -5.0], ids=str)
@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_a_special_that_passed_as_ok_is_held_9(spec: ServiceSpec, bad: float) -> None:
    found = decide(
        context(FOUR, 0.0, spec=spec, signals=valued(healthy(4000.0, FOUR), decode_tps=bad))
    )
    assert (found.final, found.code) == (FOUR, Code.METRIC_INVALID)


# 10: the first full observation after a start removes nothing (cluster-autoscaler #446)


def test_the_first_observation_removes_nothing_10() -> None:
    """Everybody reports 0 of everything, five seconds after a start."""
    found = decide(context(TEN, 0.0, history=History()))
    assert (found.final, found.code) == (TEN, Code.FLAP_PREVENTED)


def test_nor_does_the_second_one_10() -> None:
    memory = History(wishes=(Wish(NOW_S - 15.0, Instances(1, 1)),))
    assert decide(context(TEN, 0.0, history=memory)).final == TEN


# 12: idle is a positive observation, and then the floor is reached (Dynamo #3131, #6985, #7067)


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.INVALID, Quality.STALE])
def test_idle_service_whose_latencies_are_0_by_0_goes_to_its_floor_12(quality: Quality) -> None:
    signals: Signals = valued(healthy(0.0, FOUR), ttft_s=0.2, tbt_s=0.01)
    for name in ("ttft_s", "tbt_s", "ttft_p50_s", "tbt_p50_s"):
        signals = graded(signals, name, quality)
    assert decide(context(FOUR, 0.0, signals=signals)).final == Instances(1, 1)


@pytest.mark.parametrize(
    ("worse", "final"),
    [
        pytest.param((), Instances(1, 1), id="counter there, rate 0, all report"),
        pytest.param(("decode_tps",), FOUR, id="the counter is not there"),
        pytest.param(("request_rps",), FOUR, id="requests are not counted"),
    ],
)
def test_idle_is_a_positive_observation_12(worse: tuple[str, ...], final: Instances) -> None:
    assert decide(context(FOUR, 0.0, signals=without(healthy(0.0, FOUR), *worse))).final == final


@pytest.mark.parametrize("name", ["decode_tps", "request_rps", "prefill_tps_uncached"])
def test_idle_needs_full_coverage_12(name: str) -> None:
    signals = graded(healthy(0.0, FOUR), name, Quality.PARTIAL)
    assert decide(context(FOUR, 0.0, signals=signals)).final == (
        # Half of the prefill instances report 0 uncached tokens, all report 0 with hits.
        Instances(1, 1) if name == "prefill_tps_uncached" else FOUR
    )


# 13: a rebalance over the budget waits with its growth, whichever write comes first (#12428)


@pytest.mark.parametrize("max_gpus", [24, 28, 40])
def test_no_order_of_two_writes_is_over_the_budget_13(max_gpus: int) -> None:
    """(4, 4) at 2 and 4 GPUs hold 24 and the ratio asks for (3, 5) or (2, 6)."""
    ctx = context(Instances(8, 2), 6000.0, spec=limits(max_gpus=max_gpus))
    found = decide(ctx)
    for between in (
        Instances(found.final.prefill, found.current.decode),
        Instances(found.current.prefill, found.final.decode),
        found.final,
    ):
        assert between.gpus(SPEC.gpus_per_instance) <= max_gpus


# 14: the ceiling clamp grew decode, (10P, 1D) to (2P, 4D) and (12P, 1D) to (3P, 8D) (#13064)


@pytest.mark.parametrize("current", [Instances(10, 1), Instances(12, 1)], ids=str)
@pytest.mark.parametrize("max_gpus", [10, 14, 20, 24, 28, 32, 64])
@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_a_ceiling_never_grows_a_role_14(
    spec: ServiceSpec, max_gpus: int, current: Instances
) -> None:
    bounded = replace(spec, limits=replace(spec.limits, max_gpus=max_gpus))
    ctx = context(current, 1000.0, spec=bounded, gpus_free={"H800": 0, "H20": 0})
    for want in (current, Instances(12, 1), Instances(12, 9), Instances(2, 4), Instances(3, 8)):
        for guard in (guards.gpu_budget, guards.capacity):
            found = guard(Target(want), ctx).want
            assert smaller(found, want) == found
    assert smaller(decide(ctx).final, current) == decide(ctx).final


# 16: a pod that never starts does not freeze the service (Dynamo #14251, #10527)


def stuck(desired: Instances, ready: Instances) -> ServiceState:
    """Return a state in which what isn't ready has been starting for ever."""
    prefill, decode = (
        RoleState(desired.of(r), ready.of(r), starting=desired.of(r) - ready.of(r)) for r in Role
    )
    return ServiceState(prefill, decode, "7")


def at(ctx: Context, found: ServiceState) -> Context:
    return replace(ctx, state=found)


def test_a_pod_that_never_starts_does_not_stop_growth_16() -> None:
    ctx = at(context(FOUR, 6000.0), stuck(FOUR, Instances(2, 3)))
    assert decide(ctx).final == Instances(3, 6)


def test_nor_does_it_stop_scale_in_after_the_load_is_gone_16() -> None:
    """Its own place is given back; those that serve keep one for it meanwhile."""
    ctx = at(context(TEN, 5000.0), stuck(TEN, Instances(5, 9)))
    found = decide(ctx)
    assert found.final.decode < 10
    assert found.move.name == "SCALE_IN"


def late(desired: Instances, ready: Instances, age_s: float) -> tuple[ServiceState, Outlook]:
    """Return a stuck state and what was learnt: its starts were asked for so long ago."""
    found = stuck(desired, ready)
    prefill, decode = (
        Learnt(
            waits=(Started(NOW_S - age_s, desired.of(r) - ready.of(r)),),
            wished=desired.of(r),
            ready=ready.of(r),
        )
        for r in Role
    )
    return found, Outlook(at_s=NOW_S - 15.0, prefill=prefill, decode=decode)


def overloaded(name: str, age_s: float) -> Instances:
    """Return what is decided where 5 of 10 decode serve at a TTFT five times its goal.

    They make 6,500 tok/s, which 7 are needed for; the others have been starting for so long.
    """
    serving = Instances(5, 5)
    found, outlook = late(TEN, serving, age_s)
    signals = valued(healthy(6500.0, serving), ttft_s=5.0)
    history = History(outlook=outlook)
    ctx = context(serving, 0.0, spec=policy(name=name), signals=signals, history=history)
    return decide(at(ctx, found)).final


@pytest.mark.parametrize("name", ["proportional", "latency", "proportional+latency"])
def test_pods_that_never_start_do_not_leave_an_overload_unanswered_16(name: str) -> None:
    assert overloaded(name, 60.0) == TEN
    assert overloaded(name, 3600.0).decode > 10


def test_once_the_load_is_gone_a_stuck_pod_holds_nothing_16() -> None:
    """Dynamo stood for over an hour: 1 is wanted and ready, and 2 never start."""
    found, outlook = late(Instances(1, 3), Instances(1, 1), 3600.0)
    history = History(wishes=wishes(Instances(1, 1)), outlook=outlook)
    ctx = context(Instances(1, 1), 800.0, history=history)
    assert decide(at(ctx, found)).final == Instances(1, 1)


# 18: windows may delay a change and never turn it round (HPA #98174, #16275)


@pytest.mark.parametrize("past", [Instances(9, 18), Instances(40, 80), FOUR], ids=str)
@pytest.mark.parametrize("load", [0.0, 1000.0, 2000.0, 3000.0])
def test_with_low_metrics_no_window_scales_out_18(load: float, past: Instances) -> None:
    history = History(
        wishes=wishes(past), last_scale_in_s=NOW_S - 5.0, last_scale_out_s=NOW_S - 5.0
    )
    found = decide(context(FOUR, load, history=history))
    assert smaller(found.final, FOUR) == found.final


@pytest.mark.parametrize("past", [Instances(1, 1), FOUR], ids=str)
def test_with_high_metrics_no_window_scales_in_18(past: Instances) -> None:
    found = decide(context(FOUR, 9000.0, history=History(wishes=wishes(past))))
    assert smaller(found.final, FOUR) == FOUR


def test_a_hold_does_not_begin_the_cooldown_anew_18() -> None:
    """HPA's status update reset its clock: a decision to hold leaves the times as they are."""
    found = decide(context(FOUR, 4000.0, history=History(last_scale_in_s=NOW_S - 200.0)))
    assert not found.changes
    history = History(wishes=wishes(Instances(1, 2)), last_scale_in_s=NOW_S - 301.0)
    assert decide(context(FOUR, 2000.0, history=history)).final == Instances(1, 2)


# §1.3: the floor is kept in an outage of the metrics (Dynamo lost it, PR 14575)


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.INVALID, Quality.STALE])
@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_a_pool_below_its_floor_is_repaired_in_an_outage(
    spec: ServiceSpec, quality: Quality
) -> None:
    signals: Signals = healthy(4000.0, FOUR)
    for kind in SIGNALS:
        signals = graded(signals, kind.name, quality)
    floored = replace(spec, limits=replace(spec.limits, minimum=Instances(3, 6)))
    found = decide(context(FOUR, 0.0, spec=floored, signals=signals))
    assert (found.final, found.code) == (Instances(3, 6), Code.AT_MIN)


# a role at its maximum does not hold the other one up (L4)


@pytest.mark.parametrize("spec", [SPEC, ADAPTIVE], ids=["by driver", "by measured need"])
def test_with_prefill_at_its_maximum_decode_still_scales(spec: ServiceSpec) -> None:
    signals = valued(healthy(90_000.0, FOUR), request_rps=900.0, prefill_tps_uncached=400_000.0)
    full = replace(spec, limits=replace(spec.limits, maximum=Instances(2, 100)))
    found = decide(context(FOUR, 0.0, spec=full, signals=signals))
    assert found.final.prefill == 2
    assert found.final.decode > 4


# 1, 19: who switched it off keeps it off; a rejection is not asked again at once (Reddit)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_rejected_change_is_not_tried_again_in_any_mode_1(mode: Mode) -> None:
    ctx = context(FOUR, 6000.0, spec=replace(SPEC, mode=mode), history=refused(Instances(3, 6)))
    assert decide(ctx).final == FOUR


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("load", [0.0, 2000.0, 40_000.0])
@pytest.mark.parametrize("current", [Instances(0, 1), FOUR])
def test_what_a_person_stopped_stays_stopped_whatever_the_load_1(
    mode: Mode, load: float, current: Instances
) -> None:
    hold = Hold("all", "ana", "moving the registry", NOW_S - 60.0)
    found = decide(context(current, load, spec=replace(SPEC, mode=mode), hold=hold))
    assert (found.final, found.gate) == (current, Gate.NONE)
