"""GPUs that move from one role to the other: one decision in two halves (S2, S3, S5, S8, S23)."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.core import guards
from controller.core.approval import Basis, fingerprint
from controller.core.decide import decide
from controller.core.decision_plain import record_of, stage_from, stage_plain
from controller.core.exchange import DRAIN_S, approval_of, kept_gpus, lasts, stage_of
from controller.core.guards import exchange
from controller.core.memory import Memory, remember
from controller.core.pairs import larger, smaller
from controller.core.reasons import Code
from controller.core.types import (
    Context,
    Decision,
    Gate,
    Hold,
    Instances,
    Mode,
    Move,
    Period,
    PeriodKind,
    Role,
    ServiceSpec,
    Stage,
    Target,
)
from tests.core.build import NOW_S, SPEC, context, state
from tests.core.strategies import contexts, pairs

SHARED = {Role.PREFILL: "H20", Role.DECODE: "H20"}
APART = {Role.PREFILL: "H800", Role.DECODE: "H20"}
FULL = 10 * 8 + 2 * 8


def scheduled(
    want: Instances, *, mode: Mode = Mode.AUTOMATIC, max_gpus: int = FULL
) -> ServiceSpec:
    """Return a service whose schedule asks for exactly these counts now; 8 GPUs an instance."""
    window = Period("all day", "00:00", "00:00", want, PeriodKind.TARGET)
    return replace(
        SPEC,
        mode=mode,
        limits=replace(SPEC.limits, max_gpus=max_gpus),
        policy=replace(SPEC.policy, name="periodic", schedule=(window,), stabilisation_s=0.0),
        gpus_per_instance=Instances(8, 8),
        hardware=SHARED,
    )


def at(current: Instances, spec: ServiceSpec, free: int = 1000) -> Context:
    """Return a context in which the shared pool has so many GPUs free."""
    return replace(context(current, 0.0, spec=spec), gpus_free={"H20": free})


def pending(ctx: Context, *, draining: int, age_s: float = 15.0) -> Context:
    """Return the context with (10, 2) → (6, 2) done and (6, 6) to come."""
    begun_s = NOW_S - age_s
    stage = Stage(
        Instances(10, 2),
        Instances(6, 2),
        Instances(6, 6),
        begun_s,
        begun_s + DRAIN_S,
        ctx.spec.policy.version,
        ctx.spec.mode,
    )
    drained = state(ctx.state.desired, draining=Instances(draining, 0))
    return replace(ctx, state=drained, history=replace(ctx.history, stage=stage))


@pytest.mark.parametrize(
    ("want", "max_gpus", "free", "first", "then"),
    [
        pytest.param((6, 6), 96, 999, (6, 2), (6, 6), id="96 of 96 held: 4 * 8 = 32 first"),
        pytest.param((6, 6), 999, 0, (6, 2), (6, 6), id="no GPU free in the shared pool"),
        pytest.param((6, 6), 112, 999, (6, 4), (6, 6), id="112 - 96 = 16: 2 now, 2 afterwards"),
        pytest.param(
            (6, 6), 999, 9, (6, 3), (6, 6), id="9 free: floor(9/8) = 1 now, 3 afterwards"
        ),
        pytest.param((8, 6), 96, 999, (8, 2), (8, 4), id="2 given: 2 of the 4 wanted follow"),
        pytest.param((8, 3), 96, 999, (8, 2), (8, 3), id="2 given as wanted, 1 needed"),
        pytest.param((6, 6), 128, 999, (6, 6), None, id="96 + 32 = 128 fits at once"),
        pytest.param((6, 2), 96, 999, (6, 2), None, id="nothing grows"),
        pytest.param((10, 6), 96, 999, (10, 2), None, id="nothing shrinks"),
    ],
)
def test_what_shrinks_goes_first_and_what_grows_follows(
    want: tuple[int, int],
    max_gpus: int,
    free: int,
    first: tuple[int, int],
    then: tuple[int, int] | None,
) -> None:
    found = decide(at(Instances(10, 2), scheduled(Instances(*want), max_gpus=max_gpus), free))
    assert (found.final, found.then) == (first, then)


def test_pools_of_their_own_have_nothing_to_exchange() -> None:
    spec = replace(scheduled(Instances(6, 6), max_gpus=999), hardware=APART)
    ctx = replace(at(Instances(10, 2), spec), gpus_free={"H20": 0, "H800": 0})
    assert (decide(ctx).final, decide(ctx).then) == (Instances(6, 2), None)


def test_the_budget_of_the_fleet_binds_like_the_service_s_own() -> None:
    ctx = replace(at(Instances(10, 2), scheduled(Instances(6, 6), max_gpus=999)), gpus_left=0)
    found = decide(ctx)
    assert (found.final, found.then) == (Instances(6, 2), Instances(6, 6))


def test_it_is_one_decision_that_says_both_halves() -> None:
    found = decide(at(Instances(10, 2), scheduled(Instances(6, 6))))
    assert (found.code, found.move, found.gate) == (Code.EXCHANGE, Move.REBALANCE, Gate.ACT)
    assert found.sentence.startswith(
        "Prefill 10 → 6 first, then decode 2 → 6 on the GPUs this frees."
    )
    rows = [step for step in found.steps if step.code is Code.EXCHANGE]
    assert [(step.name, step.before, step.after) for step in rows] == [
        ("exchange", Instances(6, 6), Instances(6, 2))
    ]
    assert "decode 2 → 6 follows on 32 of the 32 GPUs that prefill 10 → 6 gives back" in (
        rows[0].detail
    )
    assert record_of(found)["then"] == {"prefill": 6, "decode": 6}


def test_what_a_later_guard_holds_promises_nothing() -> None:
    ctx = at(Instances(10, 2), scheduled(Instances(6, 6)))
    held = decide(replace(ctx, history=replace(ctx.history, in_flight="a1")))
    assert (held.final, held.then, held.code) == (Instances(10, 2), None, Code.IN_PROGRESS)


@pytest.mark.parametrize(
    ("draining", "final", "code"),
    [
        pytest.param(4, (6, 2), Code.EXCHANGE, id="64 + 32 draining: no room, it waits"),
        pytest.param(1, (6, 5), Code.SCHEDULED, id="64 + 8 draining: 3 of 4 now"),
        pytest.param(0, (6, 6), Code.SCHEDULED, id="64 held: 4 * 8 = 32 fit"),
    ],
)
def test_the_second_half_takes_what_is_free(
    draining: int, final: tuple[int, int], code: Code
) -> None:
    spec = scheduled(Instances(6, 6))
    found = decide(pending(at(Instances(6, 2), spec), draining=draining))
    assert (found.final, found.code) == (final, code)


def test_the_second_half_waits_for_no_cooldown_and_what_is_beyond_it_does() -> None:
    spec = scheduled(Instances(6, 8), max_gpus=999)
    ctx = pending(at(Instances(6, 2), spec), draining=0)
    just_grown = replace(ctx.history, last_scale_out_s=NOW_S - 1.0)
    promised = decide(replace(ctx, history=just_grown))
    assert promised.final == Instances(6, 6)
    assert "second half of an exchange" in promised.sentence
    alone = decide(replace(ctx, history=replace(just_grown, stage=None)))
    assert (alone.final, alone.code) == (Instances(6, 2), Code.COOLDOWN)


@pytest.mark.parametrize(
    ("max_gpus", "final"),
    [
        pytest.param(96, (6, 6), id="96 - 64 = 32: all for decode, none for prefill"),
        pytest.param(80, (6, 4), id="80 - 64 = 16: both halves of it for decode"),
        pytest.param(104, (7, 6), id="104 - 64 = 40: enough for both"),
    ],
)
def test_what_was_given_is_not_taken_back(max_gpus: int, final: tuple[int, int]) -> None:
    spec = scheduled(Instances(7, 6), max_gpus=max_gpus)
    assert decide(pending(at(Instances(6, 2), spec), draining=0)).final == final


def test_a_stuck_drain_ends_at_its_deadline_and_freezes_nothing() -> None:
    spec = scheduled(Instances(7, 6), max_gpus=104)
    late = decide(pending(at(Instances(6, 2), spec), draining=4, age_s=DRAIN_S))
    assert late.final == Instances(6, 3)  # 64 held and 32 draining leave 8 of 104
    assert any(step.code is Code.EXCHANGE_ENDED for step in late.steps)
    assert "ended after 600 s: 32 GPUs of prefill still drain" in late.sentence
    kept = remember(
        Memory(history=pending(at(Instances(6, 2), spec), draining=4, age_s=DRAIN_S).history),
        late,
        slo=spec.slo,
        keep_s=300.0,
        acted=late.changes,
    )
    assert kept.history.stage is None


def halves(decision: Decision, *, acted: bool, stage: Stage | None) -> Stage | None:
    """Return what is remembered of an exchange after a decision."""
    memory = Memory(history=replace(Memory().history, stage=stage))
    after = remember(memory, decision, slo=SPEC.slo, keep_s=300.0, acted=acted)
    return after.history.stage


def test_only_what_is_carried_out_is_remembered_and_it_survives_rows_s23() -> None:
    found = decide(at(Instances(10, 2), scheduled(Instances(6, 6))))
    assert halves(found, acted=False, stage=None) is None
    stage = halves(found, acted=True, stage=None)
    assert stage == Stage(
        Instances(10, 2),
        Instances(6, 2),
        Instances(6, 6),
        NOW_S,
        NOW_S + DRAIN_S,
        SPEC.policy.version,
        Mode.AUTOMATIC,
    )
    assert stage is not None
    assert stage_from(stage_plain(stage)) == stage
    assert (stage_from({}), stage_from({"first": 3}), stage_from([1])) == (None, None, None)


@pytest.mark.parametrize(
    ("want", "current", "goes_on"),
    [
        pytest.param((6, 6), (6, 2), True, id="decode 6 still wanted"),
        pytest.param((6, 2), (6, 2), False, id="decode 2 wanted: the wish is gone"),
        pytest.param((6, 8), (6, 6), False, id="decode 6 of 6 reached"),
    ],
)
def test_it_ends_with_its_wish_and_when_it_is_reached(
    want: tuple[int, int], current: tuple[int, int], *, goes_on: bool
) -> None:
    ctx = pending(at(Instances(*current), scheduled(Instances(*want))), draining=4)
    assert ctx.history.stage is not None
    assert lasts(ctx.history.stage, decide(ctx)) == goes_on


def rests(ctx: Context, **changed: object) -> Context:
    """Return the context with its waiting half resting on something else."""
    assert ctx.history.stage is not None
    return replace(ctx, history=replace(ctx.history, stage=replace(ctx.history.stage, **changed)))


@pytest.mark.parametrize("draining", [0, 4])
@pytest.mark.parametrize("what", ["policy", "mode", "freeze", "outside"])
def test_it_ends_with_what_it_rests_on_s18(what: str, draining: int) -> None:
    """Also while it waits for its GPUs, when no guard is asked about a freeze."""
    ctx = pending(at(Instances(6, 2), scheduled(Instances(6, 6))), draining=draining)
    just_grown = replace(ctx.history, last_scale_out_s=NOW_S - 1.0)
    ctx = replace(ctx, history=just_grown)
    stage = ctx.history.stage
    assert stage is not None
    assert lasts(stage, decide(ctx))
    changed = {
        "policy": rests(ctx, policy_version=2),
        "mode": rests(ctx, mode=Mode.APPROVE),
        "freeze": replace(ctx, hold=Hold("chat", "ana", "incident", NOW_S)),
        "outside": replace(ctx, history=replace(ctx.history, changed_from=Instances(6, 3))),
    }[what]
    found = decide(changed)
    assert found.final == Instances(6, 2), "growth waits for its cooldown again"
    assert changed.history.stage is not None
    assert not lasts(changed.history.stage, found)
    assert halves(found, acted=False, stage=changed.history.stage) is None


@pytest.mark.parametrize(
    ("field", "other"), [("policy_version", 2), ("mode", Mode.APPROVE)], ids=["policy", "mode"]
)
def test_nothing_is_kept_for_what_rests_on_something_else(field: str, other: object) -> None:
    spec = scheduled(Instances(6, 6))
    ctx = pending(at(Instances(6, 2), spec), draining=0)
    assert kept_gpus(ctx.history.stage, spec, ctx.state, NOW_S) == 32
    stage = rests(ctx, **{field: other}).history.stage
    assert kept_gpus(stage, spec, ctx.state, NOW_S) == 0


@pytest.mark.parametrize(
    ("final", "changed", "proposal"),
    [
        pytest.param((6, 6), {}, 5, id="decode 6 of the 6 announced"),
        pytest.param((6, 4), {}, 5, id="4 of the 6 announced"),
        pytest.param((6, 7), {}, None, id="7 is beyond the 6 announced"),
        pytest.param((5, 6), {}, None, id="prefill 6 → 5 was not announced"),
        pytest.param((6, 6), {"second": 6}, None, id="used by proposal 6 already"),
        pytest.param(
            (6, 6), {"resource_version": "8"}, None, id="version 7 of the object is not 8"
        ),
        pytest.param((6, 6), {"first": Instances(6, 3)}, None, id="counts (6, 2) are not (6, 3)"),
    ],
)
def test_an_approval_is_good_for_one_change_of_what_was_seen_s18(
    final: tuple[int, int], changed: dict[str, object], proposal: int | None
) -> None:
    ctx = pending(at(Instances(6, 2), scheduled(Instances(6, 6))), draining=0)
    given = {"proposal": 5, "resource_version": "7"} | changed
    stage = rests(ctx, **given).history.stage
    assert approval_of(stage, ctx.state, Instances(*final), NOW_S) == proposal


@pytest.mark.parametrize(
    ("draining", "first", "then"),
    [
        pytest.param(3, (6, 2), (6, 6), id="3 drain: 3 + 1 given, all 4 follow"),
        pytest.param(2, (6, 3), (6, 6), id="1 of 3 is free: 1 now, 2 + 1 follow"),
    ],
)
def test_a_second_exchange_keeps_the_promise_of_the_first(
    draining: int, first: tuple[int, int], then: tuple[int, int]
) -> None:
    """(10, 2) → (7, 2), then (7, 5); before its GPUs are free the policy asks for (6, 6)."""
    spec = scheduled(Instances(6, 6))
    ctx = pending(at(Instances(7, 2), spec), draining=draining)
    ctx = rests(ctx, first=Instances(7, 2), then=Instances(7, 5))
    found = decide(ctx)
    assert (found.final, found.then) == (first, then)
    stage = halves(found, acted=True, stage=ctx.history.stage)
    assert stage is not None
    free = state(Instances(*first))
    assert kept_gpus(stage, spec, free, NOW_S) == (then[1] - first[1]) * 8


@pytest.mark.parametrize(
    ("current", "draining", "age_s", "gpus"),
    [
        pytest.param((6, 2), 0, 15.0, 32, id="4 * 8 given, 4 * 8 needed"),
        pytest.param((6, 2), 3, 15.0, 8, id="(4 - 3) * 8: the rest drains and is nobody's"),
        pytest.param((6, 5), 0, 15.0, 8, id="1 * 8 needed"),
        pytest.param((8, 2), 0, 15.0, 16, id="2 of 4 were taken back: (10 - 8) * 8"),
        pytest.param((6, 2), 0, 600.0, 0, id="past its deadline"),
    ],
)
def test_what_is_kept_is_what_was_given_and_is_still_needed(
    current: tuple[int, int], draining: int, age_s: float, gpus: int
) -> None:
    spec = scheduled(Instances(6, 6))
    ctx = pending(at(Instances(*current), spec), draining=draining, age_s=age_s)
    assert kept_gpus(ctx.history.stage, spec, ctx.state, NOW_S) == gpus


def test_an_approval_of_one_half_is_none_of_the_other_s18() -> None:
    basis = Basis("chat", "7", Instances(10, 2), 1, None, Mode.APPROVE)
    first = Instances(6, 2)
    prints = {fingerprint(basis, first, then) for then in (None, Instances(6, 6), Instances(6, 5))}
    assert len(prints) == 3


def test_in_approve_mode_one_proposal_says_both() -> None:
    found = decide(at(Instances(10, 2), scheduled(Instances(6, 6), mode=Mode.APPROVE)))
    assert (found.gate, found.then) == (Gate.PROPOSE, Instances(6, 6))
    assert found.sentence.startswith("Proposes prefill 10 → 6 first, then decode 2 → 6 on")


@settings(max_examples=60, deadline=None)
@given(current=pairs(0, 20), max_gpus=st.integers(8, 300), free=st.integers(0, 99))
@example(current=Instances(10, 1), max_gpus=48, free=0)
@example(current=Instances(12, 1), max_gpus=48, free=0)
def test_a_budget_never_grows_a_role_s8(current: Instances, max_gpus: int, free: int) -> None:
    """Elsewhere a ceiling made (2, 4) of (10, 1): a clamp that grew a role."""
    spec = scheduled(current, max_gpus=max_gpus)
    found = exchange(Target(current), at(current, spec, free))
    assert (found.want, found.then) == (current, None)


@settings(max_examples=80, deadline=None)
@given(ctx=contexts(), want=pairs(0, 60))
def test_each_half_keeps_every_limit_and_they_chain(ctx: Context, want: Instances) -> None:
    target = Target(want)
    for guard in guards.GUARDS[guards.GUARDS.index(guards.limits) :]:
        target = guard(target, ctx)
    if target.then is None:
        return
    current, first, then = ctx.state.desired, target.want, target.then
    per, bounds = ctx.spec.gpus_per_instance, ctx.spec.limits
    stage = stage_of(replace(decide(ctx), current=current, final=first, then=then))
    assert stage is not None
    assert first.of(stage.giver) < current.of(stage.giver)
    assert then.of(stage.giver) == first.of(stage.giver)
    assert then.of(stage.grower) > first.of(stage.grower) >= current.of(stage.grower)
    assert then.of(stage.grower) <= larger(want, bounds.minimum).of(stage.grower)
    assert smaller(then, larger(bounds.maximum, current)) == then
    drained = ctx.state.prefill.draining * per.prefill + ctx.state.decode.draining * per.decode
    awaited = ctx.history.stage is not None and ctx.history.stage.giver is stage.giver
    of_giver = ctx.state.of(stage.giver).draining * per.of(stage.giver)
    # What the giving role held is counted until it is gone; after it the second half fits.
    if larger(first, current).gpus(per) > current.gpus(per):
        assert larger(first, current).gpus(per) + drained <= bounds.max_gpus
    # What drains for an earlier exchange is free by then as well.
    assert then.gpus(per) + drained - awaited * of_giver <= bounds.max_gpus


@settings(max_examples=60, deadline=None)
@given(ctx=contexts(), want=pairs(0, 60))
def test_it_changes_no_count_that_the_budgets_would_not(ctx: Context, want: Instances) -> None:
    fresh = replace(ctx, history=replace(ctx.history, stage=None))
    plain = guards.capacity(guards.gpu_budget(Target(want), fresh), fresh).want
    found = exchange(Target(want), fresh)
    assert guards.capacity(guards.gpu_budget(found, fresh), fresh).want == plain
    assert found.then is None or found.want == plain
