"""Overrides: what rules, what it makes of a decision, and what no override takes away."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.approval import Basis, fingerprint
from controller.core.decide import decide
from controller.core.overrides import (
    Override,
    OverrideKind,
    ScopeKind,
    digest,
    fault_of,
    ruling,
)
from controller.core.overrides_plain import effects, from_plain, plain_of
from controller.core.pairs import larger, whole_up
from controller.core.reasons import Code
from controller.core.steering import steered
from controller.core.types import (
    Adapt,
    Context,
    Gate,
    History,
    Hold,
    Instances,
    Mode,
    Move,
    Role,
)
from tests.core.build import NOW_S, SPEC, context, limits, policy, without
from tests.core.strategies import contexts
from tests.core.test_properties import MANY

PIN, BOUNDS, RATIO = OverrideKind.PIN, OverrideKind.BOUNDS, OverrideKind.RATIO
OUT, IN = OverrideKind.OUT_ONLY, OverrideKind.IN_ONLY
BY = "ana until 13:56 UTC (load test)"
NOW = Instances(2, 4)


def override(
    kind: OverrideKind,
    key: int = 1,
    *,
    scope: ScopeKind = ScopeKind.SERVICE,
    since_s: float = NOW_S - 60.0,
    values: object = None,
) -> Override:
    return Override(
        key,
        kind,
        scope,
        "chat",
        "ana",
        "load test",
        since_s,
        NOW_S + 600.0,
        values=values or {},  # type: ignore[arg-type]
    )


def pin(prefill: int, decode: int) -> Override:
    return override(PIN, values={"prefill": prefill, "decode": decode})


def bounds(**values: int) -> Override:
    return override(BOUNDS, values=values)


def under(ctx: Context, *overrides: Override) -> Context:
    return replace(ctx, spec=steered(ctx.spec, overrides, ctx.now_s))


def codes(ctx: Context) -> list[Code]:
    return [step.code for step in decide(ctx).steps if step.name == "override"]


@pytest.mark.parametrize(
    ("wide", "narrow", "rules"),
    [
        pytest.param(ScopeKind.FLEET, ScopeKind.SERVICE, 2, id="fleet<service"),
        pytest.param(ScopeKind.REGION, ScopeKind.CLUSTER, 2, id="region<cluster"),
        pytest.param(ScopeKind.SERVICE, ScopeKind.FLEET, 1, id="service>fleet"),
    ],
)
def test_the_narrowest_of_a_kind_rules(wide: ScopeKind, narrow: ScopeKind, rules: int) -> None:
    found = ruling([override(OUT, 1, scope=wide), override(OUT, 2, scope=narrow)], NOW_S)
    assert [one.key for one in found] == [rules]


def test_an_override_rules_from_its_beginning_until_before_its_end() -> None:
    one = override(OUT)
    edges = (one.since_s - 1.0, one.since_s, one.until_s - 1.0, one.until_s)
    assert [len(ruling([one], at_s)) for at_s in edges] == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("values", "minimum", "maximum"),
    [
        pytest.param({"decode_max": 8}, (1, 1), (50, 8), id="max 100→8"),
        pytest.param({"prefill_min": 3}, (3, 1), (50, 100), id="min 1→3"),
        pytest.param({"decode_max": 200}, (1, 1), (50, 100), id="max 200 widens nothing"),
        pytest.param({"prefill_min": 60}, (50, 1), (50, 100), id="min 60 stops at 50"),
        pytest.param({"decode_min": 2, "decode_max": 2}, (1, 2), (50, 2), id="2 to 2"),
    ],
)
def test_bounds_only_narrow_the_limits(
    values: dict[str, int], minimum: tuple[int, int], maximum: tuple[int, int]
) -> None:
    found = steered(SPEC, [bounds(**values)], NOW_S).limits
    assert (found.minimum, found.maximum) == (minimum, maximum)


def test_a_ratio_is_the_middle_of_its_band_and_adapts_to_nothing() -> None:
    spec = policy(adapt=Adapt.AUTOMATIC)
    found = steered(spec, [override(RATIO, values={"min": 0.25, "max": 0.75})], NOW_S).policy
    assert (found.pd_ratio, found.ratio_tolerance, found.adapt) == (0.5, 0.5, Adapt.OFF)


def test_under_a_pin_neither_bounds_nor_ratio_count() -> None:
    narrow = bounds(decode_max=3), override(RATIO, 3, values={"min": 1.0, "max": 1.0})
    found = steered(SPEC, [pin(2, 8), *narrow], NOW_S)
    assert (found.limits, found.policy, len(found.overrides)) == (SPEC.limits, SPEC.policy, 3)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(PIN, {"prefill": 0, "decode": 4}, id="pin 0"),
        pytest.param(PIN, {"prefill": 2}, id="pin without decode"),
        pytest.param(PIN, {"prefill": True, "decode": 4}, id="pin true"),
        pytest.param(PIN, {"prefill": nan, "decode": 4}, id="pin NaN"),
        pytest.param(PIN, [2, 4], id="pin of a list"),
        pytest.param(PIN, "2/4", id="pin of a text"),
        pytest.param(BOUNDS, {}, id="no bound"),
        pytest.param(BOUNDS, {"decode_min": 5, "decode_max": 3}, id="5 > 3"),
        pytest.param(BOUNDS, {"decode_minimum": 5}, id="unknown field"),
        pytest.param(RATIO, {"min": 0.0, "max": 1.0}, id="ratio 0"),
        pytest.param(RATIO, {"min": 2.0, "max": 1.0}, id="2 > 1"),
        pytest.param(RATIO, {"min": nan, "max": 1.0}, id="NaN"),
        pytest.param(RATIO, {"min": 0.5, "max": inf}, id="infinite"),
        pytest.param(RATIO, {"min": 0.001, "max": 1.0}, id="(1-.001)/(1+.001) > .99"),
        pytest.param(OverrideKind.EXCLUDE, {"what": "moon", "name": "x"}, id="no such thing"),
        pytest.param(OverrideKind.EXCLUDE, {"what": "rack", "name": " "}, id="no name"),
        pytest.param(OUT, {"prefill": 2}, id="takes none"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_and_said_a10_s24(
    kind: OverrideKind, values: object
) -> None:
    assert fault_of(kind, values) is not None
    ctx = context(NOW, 6000.0)
    bad = replace(override(kind), values=values)  # type: ignore[arg-type]
    found, usual = decide(under(ctx, bad)), decide(ctx)
    assert found.final == usual.final
    assert found.sentence.startswith(usual.sentence)
    assert f"The {kind} of ana can't be used: " in found.sentence


def test_a_minimum_that_the_budget_cannot_hold_is_left_out() -> None:
    # 20 prefill of 2 GPUs and 1 decode of 4 take 44 of 40.
    spec = limits(max_gpus=40)
    found = decide(under(context(NOW, 4000.0, spec=spec), bounds(prefill_min=20)))
    assert found.final == NOW
    assert "The bounds of ana can't be used: the minimum needs 44 GPUs" in found.sentence


@pytest.mark.parametrize(
    ("wanted", "want", "final"),
    [
        pytest.param(4000.0, pin(2, 6), (2, 6), id="4→6 though 4 suffice"),
        pytest.param(8000.0, pin(2, 4), (2, 4), id="stays at 4 though 8 are wanted"),
        pytest.param(4000.0, pin(1, 1), (1, 1), id="4→1: a step of 4 allows it"),
        pytest.param(4000.0, pin(2, 30), (2, 8), id="30 in steps of 4: 8"),
        pytest.param(4000.0, pin(1, 8), (1, 8), id="1:8 whatever the ratio of 1:2"),
    ],
)
def test_a_pin_takes_the_place_of_the_wish_within_the_largest_step_s3(
    wanted: float, want: Override, final: tuple[int, int]
) -> None:
    found = decide(under(context(NOW, wanted), want))
    assert found.final == final
    assert found.steps[1].code is Code.PINNED
    assert found.steps[1].detail == f"pinned by {BY}"
    assert f"inned by {BY}" in found.sentence


def test_a_pin_waits_for_no_signal_and_no_cooldown() -> None:
    ctx = context(NOW, 4000.0)
    signals = without(ctx.signals, *ctx.signals)
    past = History(last_scale_out_s=NOW_S - 1.0, last_scale_in_s=NOW_S - 1.0)
    found = decide(under(replace(ctx, signals=signals, history=past), pin(1, 2)))
    assert (found.final, found.gate) == (Instances(1, 2), Gate.ACT)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        pytest.param({"hold": Hold("chat", "ben", "incident", 0.0)}, Code.FROZEN, id="freeze"),
        pytest.param(
            {"history": History(in_flight="a1")}, Code.IN_PROGRESS, id="one change at a time"
        ),
        pytest.param(
            {"history": History(changed_from=Instances(2, 5))},
            Code.CHANGED_OUTSIDE,
            id="outside",
        ),
        pytest.param(
            {"gpus_free": {"H800": 0, "H20": 0}}, Code.NO_CAPACITY_SKU, id="no free GPUs"
        ),
    ],
)
def test_what_stops_a_change_stops_a_pin(spoil: dict[str, object], code: Code) -> None:
    ctx = replace(context(NOW, 4000.0), **spoil)  # type: ignore[arg-type]
    found = decide(under(ctx, pin(2, 6)))
    assert (found.final, found.code) == (NOW, code)


def test_at_its_pin_a_service_rests() -> None:
    found = decide(under(context(NOW, 8000.0), pin(2, 4)))
    assert (found.move, found.code) == (Move.HOLD, Code.PINNED)
    assert found.sentence.startswith("Wanted decode 4 → 8")


def test_scale_out_only_holds_what_would_go_and_lets_grow() -> None:
    ban = override(OUT)
    assert decide(under(context(NOW, 1000.0), ban)).final == NOW
    assert codes(under(context(NOW, 1000.0), ban)) == [Code.OUT_ONLY]
    grown = under(context(NOW, 8000.0), ban)
    assert decide(grown).final == decide(context(NOW, 8000.0)).final == Instances(4, 8)


def test_scale_in_only_holds_growth_but_repairs_a_floor_s1() -> None:
    ban = override(IN)
    assert decide(under(context(NOW, 8000.0), ban)).final == NOW
    assert codes(under(context(NOW, 8000.0), ban)) == [Code.IN_ONLY]
    spec = limits(minimum=Instances(3, 6))
    # 8 are wanted, the minimum is 6.
    assert decide(under(context(NOW, 8000.0, spec=spec), ban)).final == (3, 6)


def test_a_ban_holds_for_a_pin_too() -> None:
    assert decide(under(context(NOW, 4000.0), pin(1, 2), override(OUT, 2))).final == NOW


def test_advisory_only_records_and_says_by_whom_s17() -> None:
    found = decide(under(context(NOW, 8000.0), override(OverrideKind.ADVISORY)))
    assert (found.gate, found.mode) == (Gate.RECORD, Mode.OBSERVE)
    assert f"Advisory only, set by {BY}: recorded and not carried out." in found.sentence
    watched = replace(SPEC, mode=Mode.OBSERVE)
    told = decide(under(context(NOW, 8000.0, spec=watched), override(OverrideKind.ADVISORY)))
    assert "Observing: recorded" in told.sentence, "it only observes anyway"


@pytest.mark.parametrize(
    ("one", "tps", "wanted", "held"),
    [
        pytest.param(bounds(decode_max=6), 8000.0, (4, 8), (3, 6), id="8 held at 6"),
        pytest.param(pin(2, 4), 8000.0, (4, 8), (2, 4), id="8 pinned at 4"),
        pytest.param(override(OUT), 1000.0, None, None, id="none goes"),
    ],
)
def test_a_decision_says_what_an_override_held(
    one: Override,
    tps: float,
    wanted: tuple[int, int] | None,
    held: tuple[int, int] | None,
) -> None:
    ctx = under(context(NOW, tps), one)
    (found,) = effects(decide(ctx), ctx.spec.overrides)
    assert found["binding"]
    if wanted is not None and held is not None:
        assert tuple(found["wanted"].values()) == wanted
        assert tuple(found["held"].values()) == held
    (idle,) = effects(decide(under(context(NOW, 4000.0), bounds(decode_max=60))), [one])
    assert not idle["binding"], "what changed nothing binds nothing"


def ratio(low: float, high: float) -> Override:
    return override(RATIO, values={"min": low, "max": high})


def test_a_ratio_is_told_in_a_step_in_the_sentence_and_as_binding() -> None:
    """The policy's own 0.5 per decode asks for 4 prefill at 8 decode, a quarter for 2."""
    ctx = under(context(NOW, 8000.0), ratio(0.25, 0.25))
    found = decide(ctx)
    assert [step.after for step in found.steps[:2]] == [(4, 8), (2, 8)], "by itself, then held"
    assert found.raw == (4, 8)
    assert f"kept in 0.25 to 0.25, set by {BY}" in found.sentence
    (told,) = effects(found, ctx.spec.overrides)
    assert (told["binding"], told["wanted"]["prefill"], told["held"]["prefill"]) == (True, 4, 2)
    like = under(context(NOW, 8000.0), ratio(0.5, 0.5))
    assert not effects(decide(like), like.spec.overrides)[0]["binding"], "0.5 as the policy's"


def test_a_ratio_that_lets_the_counts_be_binds_where_the_policys_own_would_not() -> None:
    """2 per 8 is below the 0.5 less its tolerance, which asks for 3; a quarter leaves the 2."""
    ctx = under(context(Instances(2, 8), 8000.0), ratio(0.25, 0.25))
    found = decide(ctx)
    assert found.final == (2, 8)
    (told,) = effects(found, ctx.spec.overrides)
    assert (told["binding"], told["wanted"]["prefill"], told["held"]["prefill"]) == (True, 3, 2)
    assert f"set by {BY}" in found.sentence


def test_an_adapting_policy_is_told_by_its_own_ratio_too() -> None:
    spec = policy(adapt=Adapt.AUTOMATIC)
    ctx = under(context(NOW, 8000.0, spec=spec), ratio(0.25, 0.25))
    assert ctx.spec.policy_set is spec.policy
    assert decide(ctx).steps[0].after == decide(context(NOW, 8000.0, spec=spec)).steps[0].after


def test_in_a_freeze_a_pin_holds_nothing() -> None:
    """8 wanted and 6 pinned while the freeze leaves 4: nothing is held at 6."""
    stop = Hold("eu-1-a", "olga", "incident", NOW_S - 60.0)
    ctx = under(context(NOW, 8000.0, hold=stop), pin(3, 6))
    (told,) = effects(decide(ctx), ctx.spec.overrides)
    assert (told["binding"], told["frozen"], told["held"]) == (False, True, None)


def test_overrides_come_back_from_plain_values() -> None:
    given = pin(2, 4), bounds(decode_max=6), override(OUT, 3)
    assert from_plain([plain_of(one) for one in given]) == given
    assert from_plain([{"id": 1}, None, 3]) == from_plain("x") == ()


def test_an_approval_rests_on_the_overrides_a03() -> None:
    def told(*overrides: Override) -> str:
        basis = Basis("chat", "7", NOW, 1, None, Mode.APPROVE, digest(overrides))
        return fingerprint(basis, Instances(2, 6))

    one, freeze = pin(2, 6), override(OverrideKind.FREEZE, 9)
    longer = replace(one, version=2)
    assert len({told(), told(one), told(longer), told(one, bounds(decode_max=8))}) == 4
    assert told(freeze) == told(), "freezes are asked for apart"


COUNTS = st.integers(1, 70)
ANY_OVERRIDES = st.lists(
    st.one_of(
        st.builds(pin, COUNTS, COUNTS),
        st.builds(
            lambda low, more: bounds(prefill_min=low, prefill_max=low + more), COUNTS, COUNTS
        ),
        st.builds(lambda high: bounds(decode_max=high), COUNTS),
        st.builds(
            lambda low, more: override(RATIO, values={"min": low, "max": low + more}),
            st.floats(0.1, 4.0),
            st.floats(0.0, 4.0),
        ),
        st.sampled_from([override(OUT), override(IN), override(OverrideKind.ADVISORY)]),
    ),
    max_size=4,
)


@MANY
@given(contexts(), ANY_OVERRIDES)
def test_whatever_is_overridden_the_hard_limits_hold_s1_s2_s3_s8(
    ctx: Context, overrides: list[Override]
) -> None:
    """Against the configured limits, which overrides never widen."""
    steered_ctx = under(ctx, *overrides)
    found, current, set_limits = decide(steered_ctx), ctx.state.desired, ctx.spec.limits
    per, config = ctx.spec.gpus_per_instance, steered_ctx.spec.policy
    floor = larger(current, steered_ctx.spec.limits.minimum)
    for role in Role:
        low = min(current.of(role), set_limits.minimum.of(role))
        high = max(current.of(role), set_limits.maximum.of(role))
        assert low <= found.final.of(role) <= high
        out = max(config.step_abs, whole_up(config.step_out_frac * current.of(role)))
        into = max(config.step_abs, whole_up(config.step_frac * current.of(role)))
        assert found.final.of(role) <= max(current.of(role) + out, floor.of(role))
        assert found.final.of(role) >= current.of(role) - into
    both = larger(found.final, current).gpus(per)
    assert both <= max(set_limits.max_gpus, current.gpus(per))


@MANY
@given(contexts(), ANY_OVERRIDES)
def test_bans_let_nothing_through_the_other_way(ctx: Context, overrides: list[Override]) -> None:
    kinds = {one.kind for one in overrides}
    steered_ctx = under(ctx, *overrides)
    found, current = decide(steered_ctx), ctx.state.desired
    floor = larger(current, steered_ctx.spec.limits.minimum)
    for role in Role:
        if OUT in kinds:
            assert found.final.of(role) >= current.of(role)
        if IN in kinds:
            overdue = found.forecast.overdue if found.forecast else (0, 0)
            assert found.final.of(role) <= floor.of(role) + Instances(*overdue).of(role)
