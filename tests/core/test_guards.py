"""Each guard alone: what it lets through, what it shortens and what it says."""

from dataclasses import replace

import pytest

from controller.core import guards
from controller.core.decide import decide
from controller.core.reasons import Code
from controller.core.types import (
    Adapt,
    Context,
    History,
    Hold,
    Instances,
    Limits,
    Quality,
    Role,
    Signals,
    Target,
    Wish,
)
from tests.core.build import (
    NOW_S,
    PLENTY,
    SPEC,
    context,
    graded,
    healthy,
    limits,
    policy,
    refused,
    state,
    valued,
    wishes,
    without,
)
from tests.core.test_engine import ENGINE

FOUR = Instances(2, 4)
UP = Instances(3, 6)
DOWN = Instances(1, 2)


def ended(target: Target, ctx: Context) -> tuple[Instances, Code | None]:
    """Return the counts and the code of the last step that moved them."""
    assert [step.before for step in target.steps[1:]] == [s.after for s in target.steps[:-1]]
    assert not target.steps or target.steps[-1].after == target.want
    assert ctx.state.desired is not None
    return target.want, target.steps[-1].code if target.steps else None


# ratio -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "tps", "want"),
    [
        pytest.param(Instances(1, 8), 8000.0, Instances(3, 8), id="0.13: P to ceil(0.375*8)=3"),
        pytest.param(Instances(3, 8), 8000.0, Instances(3, 8), id="0.375: the band's edge is in"),
        pytest.param(Instances(4, 4), 4000.0, Instances(4, 7), id="1.0: D to ceil(4/0.625)=7"),
        pytest.param(Instances(1, 1), 1000.0, Instances(1, 1), id="1.0 of rounding up is in"),
    ],
)
def test_ratio_grows_the_short_role(current: Instances, tps: float, want: Instances) -> None:
    ctx = context(current, tps)
    found = guards.ratio(Target(current), ctx)
    assert found.want == want
    assert all(step.code is Code.RATIO_CORRECTION for step in found.steps)


def test_ratio_stops_at_the_maximum() -> None:
    ctx = context(Instances(1, 8), 8000.0, spec=limits(maximum=Instances(2, 8)))
    assert guards.ratio(Target(Instances(1, 8)), ctx).want == Instances(2, 8)


@pytest.mark.parametrize(
    ("minimum", "current", "tps"),
    [
        pytest.param(Instances(4, 1), Instances(4, 1), 1000.0, id="the floor asks for 4 prefill"),
        pytest.param(Instances(1, 8), Instances(1, 8), 100.0, id="the floor asks for 8 decode"),
    ],
)
def test_ratio_leaves_what_a_floor_holds_l8(
    minimum: Instances, current: Instances, tps: float
) -> None:
    ctx = context(current, tps, spec=limits(minimum=minimum))
    assert guards.ratio(Target(current), ctx).want == current


def test_ratio_needs_a_driver_s7() -> None:
    ctx = context(Instances(1, 8), 0.0, signals=without(healthy(8000.0, FOUR), "decode_tps"))
    assert guards.ratio(Target(Instances(1, 8)), ctx) == Target(Instances(1, 8))


# freshness -------------------------------------------------------------------------------------


def busy(name: str, quality: Quality) -> Signals:
    return graded(healthy(2000.0, FOUR), name, quality)


@pytest.mark.parametrize("quality", [q for q in Quality if q is not Quality.OK])
@pytest.mark.parametrize("name", ["decode_tps", "ttft_s", "tbt_s"])
def test_nothing_shrinks_unless_every_signal_in_use_is_ok_s6(name: str, quality: Quality) -> None:
    ctx = context(FOUR, 0.0, signals=busy(name, quality))
    found = guards.freshness(Target(DOWN), ctx)
    assert ended(found, ctx) == (FOUR, Code(f"METRIC_{quality.name}"))
    assert found.blocked is None


def test_low_load_shrinks_when_all_is_well_s6() -> None:
    ctx = context(FOUR, 2000.0)
    assert guards.freshness(Target(DOWN), ctx) == Target(DOWN)


@pytest.mark.parametrize(
    ("quality", "grows"),
    [
        pytest.param(Quality.OK, True, id="ok"),
        pytest.param(Quality.PARTIAL, True, id="partial: what reports already asks for more"),
        pytest.param(Quality.STALE, False, id="stale"),
        pytest.param(Quality.INVALID, False, id="invalid"),
        pytest.param(Quality.MISSING, False, id="missing"),
    ],
)
def test_growth_needs_its_driver_m10(quality: Quality, grows: bool) -> None:  # noqa: FBT001
    signals = graded(healthy(6000.0, FOUR), "decode_tps", quality)
    ctx = context(FOUR, 0.0, signals=signals)
    assert guards.freshness(Target(UP), ctx).want == (UP if grows else FOUR)


def test_growth_does_not_wait_for_latencies_s6() -> None:
    ctx = context(FOUR, 0.0, signals=without(healthy(6000.0, FOUR), "ttft_s", "tbt_s"))
    assert guards.freshness(Target(UP), ctx).want == UP


@pytest.mark.parametrize("want", [UP, DOWN])
def test_a_pair_half_unseen_is_held_m09(want: Instances) -> None:
    signals = without(healthy(6000.0, FOUR), "prefill_tps_uncached", "prefill_tps")
    ctx = context(FOUR, 0.0, signals=signals)
    assert ended(guards.freshness(Target(want), ctx), ctx) == (FOUR, Code.METRIC_MISSING)


def test_a_pair_half_unseen_is_held_the_other_way_round_m09() -> None:
    spec = policy(driver="prefill_tps_uncached")
    ctx = context(FOUR, 0.0, spec=spec, signals=without(healthy(6000.0, FOUR), "decode_tps"))
    assert ended(guards.freshness(Target(UP), ctx), ctx) == (FOUR, Code.METRIC_MISSING)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"request_rps": 3.0}, "requests stand at 3", id="requests still come"),
        pytest.param({"decode_waiting": 7.0}, "7 requests", id="requests still wait"),
        pytest.param({"ttft_s": 1.9}, "1.9 s is above the 1 s SLO", id="TTFT is breached"),
        pytest.param({"tbt_s": 0.2}, "0.2 s is above the 0.05 s SLO", id="TBT is breached"),
    ],
)
def test_zero_throughput_that_something_contradicts_is_held_m15(
    values: dict[str, float], words: str
) -> None:
    ctx = context(FOUR, 0.0, signals=valued(healthy(0.0, FOUR), **values))
    found = guards.freshness(Target(DOWN), ctx)
    assert ended(found, ctx) == (FOUR, Code.METRIC_INVALID)
    assert words in found.steps[0].detail


def test_low_load_during_bad_latency_is_not_idleness() -> None:
    ctx = context(FOUR, 0.0, signals=valued(healthy(2000.0, FOUR), ttft_s=1.9))
    assert ended(guards.freshness(Target(DOWN), ctx), ctx) == (FOUR, Code.METRIC_INVALID)


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.STALE, Quality.INVALID])
def test_an_idle_service_has_no_latencies_l8(quality: Quality) -> None:
    signals: Signals = healthy(0.0, FOUR)
    if quality is Quality.STALE:
        signals = valued(signals, ttft_s=0.2, tbt_s=0.01)
    for name in ("ttft_s", "tbt_s"):
        signals = graded(signals, name, quality)
    assert guards.freshness(Target(DOWN), context(FOUR, 0.0, signals=signals)).want == DOWN


def test_idleness_must_be_seen_s7() -> None:
    ctx = context(FOUR, 0.0, signals=without(healthy(0.0, FOUR), "request_rps"))
    assert ended(guards.freshness(Target(DOWN), ctx), ctx) == (FOUR, Code.METRIC_MISSING)


@pytest.mark.parametrize(("reporting", "want"), [(18, DOWN), (17, Instances(10, 20))], ids=str)
def test_what_is_graded_ok_elsewhere_still_needs_its_coverage_m10(
    reporting: int, want: Instances
) -> None:
    """18 of 20 are 90 %, 17 are 85 %: a document may say ok of both."""
    current = Instances(10, 20)
    signals = healthy(4000.0, current)
    signals["decode_tps"] = replace(signals["decode_tps"], reporting=reporting)
    ctx = context(current, 0.0, signals=signals)
    assert guards.freshness(Target(DOWN), ctx).want == want


@pytest.mark.parametrize("quality", [q for q in Quality if q is not Quality.OK])
def test_by_measured_need_the_requests_must_be_read_too_s6(quality: Quality) -> None:
    """Needs rest on what comes as much as on what is made; by its driver alone it may shrink."""
    adaptive = replace(policy(adapt=Adapt.AUTOMATIC), engine=ENGINE)
    signals = busy("request_rps", quality)
    held = guards.freshness(Target(DOWN), context(FOUR, 0.0, spec=adaptive, signals=signals))
    assert held.want == FOUR
    free = guards.freshness(Target(DOWN), context(FOUR, 0.0, signals=signals))
    assert free.want == DOWN


def test_coverage_in_words_m10() -> None:
    current = Instances(9, 18)
    signals = graded(healthy(9000.0, current), "decode_tps", Quality.PARTIAL)
    found = guards.freshness(Target(FOUR), context(current, 0.0, signals=signals))
    assert found.steps[0].detail == (
        "only 9 of 18 decode instances (50 %) report decode throughput; scale-in needs 90 %"
    )


# starting and slo ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starting", "want", "result"),
    [
        pytest.param(2, 7, 9, id="7 wanted and 2 starting: 9 of 10 stay"),
        pytest.param(5, 7, 10, id="7 wanted and 5 starting: all 10 stay"),
        pytest.param(0, 7, 7, id="nothing starts"),
        pytest.param(2, 12, 12, id="growth is none of its business"),
    ],
)
def test_what_starts_cannot_stand_in_yet(starting: int, want: int, result: int) -> None:
    ctx = context(Instances(5, 10), 7000.0)
    decode = replace(ctx.state.decode, ready=10 - starting, starting=starting)
    ctx = replace(ctx, state=replace(ctx.state, decode=decode))
    found = guards.starting(Target(Instances(5, want)), ctx)
    assert found.want == Instances(5, result)
    assert [step.code for step in found.steps] == ([] if result == want else [Code.STARTING])


@pytest.mark.parametrize(
    ("want", "result"),
    [
        pytest.param(5, 5, id="5: 30 · (0.5 + 0.5 · 8/5) = 39 ms"),
        pytest.param(4, 4, id="4: 45 ms, just what is allowed"),
        pytest.param(3, 4, id="3 would be 55 ms: 4"),
        pytest.param(1, 4, id="1 would be 135 ms: 4"),
    ],
)
def test_nothing_goes_that_would_break_the_slo(want: int, result: int) -> None:
    """TBT is 30 ms with 8 decode instances, and its goal of 50 ms less 10 % is 45 ms."""
    eight = Instances(4, 8)
    ctx = context(eight, 4000.0, signals=valued(healthy(4000.0, eight), tbt_s=0.03))
    found = guards.slo(Target(Instances(4, want)), ctx)
    assert found.want == Instances(4, result)
    assert [step.code for step in found.steps] == ([] if result == want else [Code.SLO_AT_RISK])


# damping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "want", "result"),
    [
        pytest.param(8, 13, 11, id="8 + ceil(0.5 · 5)"),
        pytest.param(8, 9, 9, id="one instance at least"),
        pytest.param(8, 3, 5, id="8 - ceil(0.5 · 5)"),
        pytest.param(2, 6, 6, id="a floor of 6 is repaired whole"),
    ],
)
def test_damping_takes_a_part_and_never_of_a_floor_repair_s1(
    current: int, want: int, result: int
) -> None:
    least = Instances(1, 6 if current < 6 else 1)
    spec = replace(limits(minimum=least), policy=replace(SPEC.policy, damp_frac=0.5))
    ctx = context(Instances(4, current), 8000.0, spec=spec)
    assert guards.damping(Target(Instances(4, want)), ctx).want == Instances(4, result)


# limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "result", "codes"),
    [
        pytest.param(Instances(0, 0), Instances(1, 1), [Code.AT_MIN], id="0/0: floor 1/1"),
        pytest.param(Instances(3, 6), Instances(3, 6), [], id="3/6: inside"),
        pytest.param(Instances(5, 10), Instances(5, 8), [Code.AT_MAX], id="10 of 8: P 5 of 5"),
        pytest.param(Instances(8, 16), Instances(5, 8), [Code.AT_MAX], id="16 of 8: P to 0.625*8"),
        pytest.param(Instances(0, 16), Instances(1, 8), [Code.AT_MIN, Code.AT_MAX], id="both"),
    ],
)
def test_limits_s1_s2(want: Instances, result: Instances, codes: list[Code]) -> None:
    ctx = context(FOUR, 4000.0, spec=limits(maximum=Instances(20, 8)))
    found = guards.limits(Target(want), ctx)
    assert (found.want, [step.code for step in found.steps]) == (result, codes)


def test_with_prefill_at_its_maximum_decode_still_scales_l4() -> None:
    """Three prefill suit at most 3 / 0.375 = 8 decode: the ninth is an exception that is told."""
    ctx = context(FOUR, 9000.0, spec=limits(maximum=Instances(3, 100)))
    found = guards.limits(Target(Instances(5, 9)), ctx)
    assert (found.want, found.steps[-1].code) == (Instances(3, 9), Code.RATIO_EXCEPTION)


def test_full_prefill_hardware_does_not_freeze_decode_l4() -> None:
    ctx = context(FOUR, 9000.0, gpus_free={"H800": 0, "H20": 100})
    found = guards.capacity(Target(Instances(5, 9)), ctx)
    assert (found.want, found.steps[-1].code) == (Instances(2, 9), Code.RATIO_EXCEPTION)


def test_overload_is_answered_where_the_ratio_is_lost_already_l4() -> None:
    ctx = context(Instances(1, 8), 12_000.0, spec=limits(maximum=Instances(1, 100)))
    assert guards.limits(Target(Instances(6, 12)), ctx).want == Instances(1, 12)


def test_a_lowered_maximum_shrinks_only_what_is_seen_s6() -> None:
    spec = limits(maximum=Instances(50, 3))
    assert guards.limits(Target(FOUR), context(FOUR, 4000.0, spec=spec)).want == Instances(2, 3)
    blind = context(FOUR, 0.0, spec=spec, signals={})
    assert guards.limits(Target(FOUR), blind).want == FOUR
    assert guards.limits(Target(UP), blind).want == Instances(2, 4)


def test_a_budget_never_grows_a_role_s8() -> None:
    ctx = context(Instances(10, 1), 1000.0, spec=limits(max_gpus=8))
    for guard in guards.GUARDS[2:]:
        assert guard(Target(Instances(10, 1)), ctx).want == Instances(10, 1)


# step ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "want", "result"),
    [
        pytest.param(FOUR, Instances(4, 8), Instances(4, 8), id="+4 of max(4, ceil(1))=4"),
        pytest.param(FOUR, Instances(6, 12), Instances(4, 8), id="+8: D 8, P ideal(8)=4"),
        pytest.param(Instances(20, 40), Instances(30, 60), Instances(25, 50), id="25 % of 40"),
        pytest.param(Instances(20, 40), Instances(5, 10), Instances(15, 30), id="-25 % of 40"),
        pytest.param(Instances(4, 40), Instances(1, 10), Instances(4, 30), id="P waits for D"),
        pytest.param(Instances(15, 14), Instances(5, 10), Instances(11, 14), id="D waits for P"),
    ],
)
def test_step_s3(current: Instances, want: Instances, result: Instances) -> None:
    ctx = context(current, 1000.0 * current.decode)
    found = guards.step(Target(want), ctx)
    assert found.want == result
    assert [step.code for step in found.steps] == [Code.STEP_LIMITED] * (want != result)


def test_a_floor_repair_is_not_stepped_s1() -> None:
    ctx = context(FOUR, 4000.0, spec=limits(minimum=Instances(10, 20)))
    assert guards.step(Target(Instances(10, 20)), ctx).want == Instances(10, 20)


# stabilisation ---------------------------------------------------------------------------------


def remembering(*found: Wish) -> History:
    return History(wishes=found)


@pytest.mark.parametrize(
    ("history", "want"),
    [
        pytest.param(History(wishes=wishes(DOWN)), DOWN, id="300 s of the same wish"),
        pytest.param(History(), FOUR, id="no memory: nothing shrinks"),
        pytest.param(History(wishes=wishes(DOWN, over_s=120.0)), FOUR, id="120 of 300 s watched"),
        pytest.param(
            remembering(*wishes(DOWN), Wish(NOW_S - 5, Instances(2, 3))),
            Instances(2, 3),
            id="3 was wanted 5 s ago",
        ),
        pytest.param(
            remembering(Wish(NOW_S - 305, Instances(2, 4)), *wishes(DOWN)),
            DOWN,
            id="305 s is past",
        ),
        pytest.param(
            remembering(Wish(NOW_S - 20, DOWN, since_s=NOW_S - 900)), DOWN, id="one row for 900 s"
        ),
        pytest.param(
            remembering(Wish(NOW_S - 295, DOWN), Wish(NOW_S - 20, DOWN)), FOUR, id="a gap of 275 s"
        ),
        pytest.param(
            remembering(*wishes(DOWN), Wish(NOW_S - 5, Instances(9, 9))), FOUR, id="never grows"
        ),
    ],
)
def test_scale_in_waits_for_the_highest_wish_s9(history: History, want: Instances) -> None:
    ctx = context(FOUR, 2000.0, history=history)
    found = guards.stabilisation(Target(DOWN), ctx)
    assert ended(found, ctx) == (want, None if want == DOWN else Code.FLAP_PREVENTED)


def test_scale_out_does_not_wait() -> None:
    assert guards.stabilisation(Target(UP), context(FOUR, 6000.0, history=History())).want == UP


def test_a_lowered_maximum_is_not_held_by_old_wishes() -> None:
    spec = limits(maximum=Instances(50, 3))
    ctx = context(FOUR, 4000.0, spec=spec, history=History(wishes=wishes(FOUR)))
    assert guards.stabilisation(Target(Instances(2, 3)), ctx).want == Instances(2, 3)


# cooldown --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out_ago_s", "in_ago_s", "want", "result"),
    [
        pytest.param(59.0, None, UP, FOUR, id="out 59 s of 60 s after out"),
        pytest.param(60.0, None, UP, UP, id="out 60 s of 60 s after out"),
        pytest.param(None, 1.0, UP, UP, id="out never waits for a scale-in"),
        pytest.param(299.0, None, DOWN, FOUR, id="in 299 s of 300 s after out"),
        pytest.param(None, 299.0, DOWN, FOUR, id="in 299 s of 300 s after in"),
        pytest.param(300.0, 300.0, DOWN, DOWN, id="in 300 s of 300 s after both"),
        pytest.param(10.0, None, Instances(3, 2), FOUR, id="both directions wait"),
        pytest.param(100.0, None, Instances(3, 2), Instances(3, 4), id="only the way in waits"),
    ],
)
def test_cooldown_s9(
    out_ago_s: float | None, in_ago_s: float | None, want: Instances, result: Instances
) -> None:
    history = History(
        last_scale_out_s=None if out_ago_s is None else NOW_S - out_ago_s,
        last_scale_in_s=None if in_ago_s is None else NOW_S - in_ago_s,
    )
    ctx = context(FOUR, 4000.0, history=history)
    found = guards.cooldown(Target(want), ctx)
    assert ended(found, ctx) == (result, None if want == result else Code.COOLDOWN)


def test_a_floor_repair_does_not_cool_down_l3() -> None:
    spec = limits(minimum=Instances(2, 5))
    ctx = context(FOUR, 6000.0, spec=spec, history=History(last_scale_out_s=NOW_S - 1.0))
    assert guards.cooldown(Target(UP), ctx).want == Instances(2, 5)


# budget and capacity ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_gpus", "want"),
    [
        # A prefill instance holds 2 GPUs, a decode instance 4: (2, 4) hold 20.
        pytest.param(30, UP, id="30: (3, 6) holds 30"),
        pytest.param(29, Instances(3, 5), id="29: (3, 5) holds 26"),
        pytest.param(25, Instances(2, 5), id="25: (2, 5) holds 24, ratio 0.4"),
        pytest.param(23, Instances(2, 4), id="23: one more decode needs 24"),
        pytest.param(10, FOUR, id="10: already over, nothing grows or shrinks"),
    ],
)
def test_budget_s2(max_gpus: int, want: Instances) -> None:
    ctx = context(FOUR, 6000.0, spec=limits(max_gpus=max_gpus))
    found = guards.gpu_budget(Target(UP), ctx)
    assert ended(found, ctx) == (want, None if want == UP else Code.BUDGET_EXHAUSTED)


def test_draining_instances_count_against_the_budget_s2() -> None:
    ctx = context(FOUR, 6000.0, spec=limits(max_gpus=30))
    drained = replace(ctx, state=state(FOUR, draining=Instances(1, 0)))
    assert guards.gpu_budget(Target(UP), drained).want == Instances(3, 5)


def test_what_shrinks_gives_no_room_in_the_same_action_s2() -> None:
    ctx = context(Instances(4, 4), 4000.0, spec=limits(max_gpus=24))
    assert guards.gpu_budget(Target(Instances(2, 5)), ctx).want == Instances(2, 4)


@pytest.mark.parametrize(
    ("free", "want"),
    [
        pytest.param({"H800": 2, "H20": 8}, UP, id="2 and 8 free: +1 P needs 2, +2 D need 8"),
        pytest.param({"H800": 2, "H20": 7}, Instances(3, 5), id="7 H20: one decode of 4"),
        pytest.param({"H800": 99, "H20": 3}, FOUR, id="3 H20: no decode, so no prefill"),
        pytest.param({"H800": 99}, FOUR, id="H20 can't be read"),
        pytest.param({"H800": 99, "H20": -5}, FOUR, id="a negative figure is none"),
        pytest.param({}, FOUR, id="no pool can be read"),
    ],
)
def test_capacity(free: dict[str, int], want: Instances) -> None:
    ctx = context(FOUR, 6000.0, gpus_free=free)
    found = guards.capacity(Target(UP), ctx)
    assert ended(found, ctx) == (want, None if want == UP else Code.NO_CAPACITY_SKU)


@pytest.mark.parametrize(
    ("free", "want"),
    [
        pytest.param(10, UP, id="10: +1 P and +2 D take 2 + 8"),
        pytest.param(9, Instances(3, 5), id="9: +1 P and +1 D take 6"),
        pytest.param(5, Instances(2, 5), id="5: +1 D takes 4, ratio 0.4"),
    ],
)
def test_roles_that_share_a_pool_share_its_gpus(free: int, want: Instances) -> None:
    spec = replace(SPEC, hardware={Role.PREFILL: "H20", Role.DECODE: "H20"})
    ctx = context(FOUR, 6000.0, spec=spec, gpus_free={"H20": free})
    assert guards.capacity(Target(UP), ctx).want == want


def test_capacity_names_what_is_short() -> None:
    ctx = context(FOUR, 6000.0, gpus_free={"H20": 3})
    detail = guards.capacity(Target(UP), ctx).steps[0].detail
    assert detail == "only 3 H20 GPUs are free and the H800 pool cannot be read"


# people and actions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("want", "stands"),
    [
        pytest.param(UP, True, id="the same body"),
        pytest.param(Instances(2, 5), True, id="less of the same"),
        pytest.param(Instances(4, 7), False, id="more than was rejected"),
        pytest.param(DOWN, False, id="the other direction"),
    ],
)
def test_what_a_person_rejected_stays_rejected(want: Instances, stands: bool) -> None:  # noqa: FBT001
    ctx = context(FOUR, 6000.0, history=refused(UP))
    found = guards.refusal(Target(want), ctx)
    assert ended(found, ctx) == ((FOUR, Code.REJECTED) if stands else (want, None))


def test_a_refusal_ends() -> None:
    ctx = context(FOUR, 6000.0, history=refused(UP, left_s=0.0))
    assert guards.refusal(Target(UP), ctx).want == UP


def test_what_somebody_else_changed_is_left_for_a_tick_s25() -> None:
    ctx = context(FOUR, 6000.0, history=History(changed_from=Instances(5, 5)))
    found = guards.outside(Target(UP), ctx)
    assert ended(found, ctx) == (FOUR, Code.CHANGED_OUTSIDE)
    assert "from prefill 5" in found.steps[0].detail or "decode 5" in found.steps[0].detail


@pytest.mark.parametrize(
    ("name", "ctx"),
    [
        pytest.param(
            "starting",
            replace(
                context(Instances(5, 10), 5000.0),
                state=replace(
                    state(Instances(5, 10)),
                    decode=replace(state(Instances(5, 10)).decode, ready=8, starting=2),
                ),
            ),
            id="starting",
        ),
        pytest.param(
            "slo",
            context(
                Instances(4, 8),
                3000.0,
                signals=valued(healthy(3000.0, Instances(4, 8)), tbt_s=0.04),
            ),
            id="slo",
        ),
        pytest.param(
            "outside", context(FOUR, 6000.0, history=History(changed_from=UP)), id="outside"
        ),
    ],
)
def test_a_decision_passes_each_of_these_guards(name: str, ctx: Context) -> None:
    """A guard that is no longer in the row would change nothing, and no other one says so."""
    assert name in [step.name for step in decide(ctx).steps]


def test_one_action_at_a_time() -> None:
    ctx = context(FOUR, 6000.0, history=History(in_flight="a1"))
    assert ended(guards.in_flight(Target(UP), ctx), ctx) == (FOUR, Code.IN_PROGRESS)


@pytest.mark.parametrize(
    ("until_s", "frozen"),
    [
        pytest.param(None, True, id="until resumed"),
        pytest.param(NOW_S + 1.0, True, id="for another second"),
        pytest.param(NOW_S, False, id="it has ended"),
    ],
)
def test_freeze(until_s: float | None, frozen: bool) -> None:  # noqa: FBT001
    hold = Hold("everything", "ana", "incident", NOW_S - 60.0, until_s)
    ctx = context(FOUR, 6000.0, hold=hold)
    found = guards.freeze(Target(UP), ctx)
    assert ended(found, ctx) == ((FOUR, Code.FROZEN) if frozen else (UP, None))


# the whole row ---------------------------------------------------------------------------------


def test_a_blocked_target_is_left_alone() -> None:
    ctx = context(FOUR, 6000.0, gpus_free={}, history=History(in_flight="a1"))
    blocked = Target(UP).blocked_at(Instances(9, 9), "capacity", Code.NO_CAPACITY_SKU, "none")
    for guard in guards.GUARDS:
        assert guard(blocked, ctx) == blocked


@pytest.mark.parametrize(
    ("want", "code"),
    [
        pytest.param(Instances(0, 4), Code.AT_MIN, id="below the minimum of 1"),
        pytest.param(Instances(51, 4), Code.AT_MAX, id="above the maximum of 50"),
        pytest.param(Instances(3, 6), Code.BUDGET_EXHAUSTED, id="30 GPUs of 20"),
        pytest.param(FOUR, None, id="20 GPUs of 20"),
    ],
)
def test_the_last_look_at_the_limits_s8(want: Instances, code: Code | None) -> None:
    spec = replace(SPEC, limits=Limits(Instances(1, 1), Instances(50, 100), 20))
    found = guards.hard_limits(Target(want), context(FOUR, 4000.0, spec=spec, gpus_free=PLENTY))
    assert (found.want, found.blocked.code if found.blocked else None) == (FOUR, code)


# starting --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ready", "held", "said"),
    [
        pytest.param(8, 0, "2 decode instances are still starting and", id="8 ready, 2 starting"),
        pytest.param(8, 1, "2 decode instances are still starting or held back and", id="1 held"),
        pytest.param(8, 2, "2 decode instances are still starting or held back and", id="2 held"),
    ],
)
def test_who_does_not_serve_yet_stands_in_for_nobody(ready: int, held: int, said: str) -> None:
    ten = Instances(4, 10)
    seen = state(ten)
    decode = replace(seen.decode, ready=ready, starting=2 - held, held=held)
    ctx = replace(context(ten, 7000.0), state=replace(seen, decode=decode))
    found = guards.starting(Target(Instances(4, 7)), ctx)
    # 7 wanted and 2 that do not serve: 9.
    assert ended(found, ctx) == (Instances(4, 9), Code.STARTING)
    assert said in found.steps[-1].detail
