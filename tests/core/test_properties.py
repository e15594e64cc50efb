"""What holds for every context (the identifiers are those of the safety rules)."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from controller.core import guards
from controller.core.cycle import decide_all, look
from controller.core.decide import decide
from controller.core.memory import Memory
from controller.core.outlook_plain import as_plain, from_plain
from controller.core.pairs import larger, smaller
from controller.core.policies import needs_no_metric
from controller.core.ports import View
from controller.core.reasons import Code
from controller.core.trust import contradicted_rps
from controller.core.types import (
    SIGNALS,
    Context,
    Decision,
    Gate,
    Instances,
    Mode,
    Move,
    Observation,
    Quality,
    Role,
    ServiceSpec,
    ServiceState,
    Target,
)
from tests.core.build import context, graded, limits, policy, state, valued, window
from tests.core.strategies import composed, contexts, pairs, unhindered

# HETEROSCALE_EXAMPLES multiplies the examples of every property, for a longer search.
TIMES = int(os.environ.get("HETEROSCALE_EXAMPLES", "1"))
MANY = settings(max_examples=70 * TIMES, deadline=None)
SOME = settings(max_examples=50 * TIMES, deadline=None)
DAMPERS = guards.GUARDS[guards.GUARDS.index(guards.damping) :]


@MANY
@given(contexts())
def test_never_outside_the_limits_s1_s2_s8(ctx: Context) -> None:
    """A role inside its limits stays inside; one outside stands still or comes nearer."""
    found, current, bounds = decide(ctx), ctx.state.desired, ctx.spec.limits
    for role in Role:
        low = min(current.of(role), bounds.minimum.of(role))
        high = max(current.of(role), bounds.maximum.of(role))
        assert low <= found.final.of(role) <= high
    per = ctx.spec.gpus_per_instance
    both = larger(found.final, current).gpus(per)
    assert both <= max(bounds.max_gpus, current.gpus(per))


@MANY
@given(contexts())
def test_every_change_of_a_number_has_one_step(ctx: Context) -> None:
    """Steps chain from the present counts to the final ones, each under a known name."""
    found = decide(ctx)
    steps = found.steps
    assert steps[0].name == "policy"
    assert steps[-1].name == "gate"
    assert steps[0].before == found.current
    assert steps[0].after == found.raw
    assert steps[-1].after == found.final
    for one, two in pairwise(steps):
        assert two.before == one.after
    for step in steps[1:-1]:
        assert step.before != step.after
    assert {step.name for step in steps} <= set(guards.STEP_NAMES)
    assert all(step.detail for step in steps)


@MANY
@given(contexts())
def test_no_change_without_a_reason(ctx: Context) -> None:
    found = decide(ctx)
    if found.changes:
        assert found.move in (Move.SCALE_OUT, Move.SCALE_IN, Move.REBALANCE, Move.PROPOSE)
        assert found.gate is not Gate.NONE
        decided = {
            Code.ABOVE_TARGET,
            Code.BELOW_TARGET,
            Code.RATIO_CORRECTION,
            Code.AT_MIN,
            Code.AT_MAX,
            Code.RATIO_EXCEPTION,
            Code.EXCHANGE,
            Code.EXCHANGE_ENDED,
            Code.LATENCY_HIGH,
            Code.LATENCY_LOW,
            Code.SCHEDULED,
        }
        if found.mode is Mode.AUTOMATIC:
            assert found.code in decided
        else:
            assert found.code in (Code.ADVISORY_ONLY, Code.AWAITING_APPROVAL)
    else:
        assert found.move in (Move.HOLD, Move.BLOCKED)
        assert found.gate is Gate.NONE
        assert found.code not in (Code.ADVISORY_ONLY, Code.AWAITING_APPROVAL)


@MANY
@given(contexts())
def test_the_sentence_agrees_with_the_numbers(ctx: Context) -> None:
    found = decide(ctx)
    # What an exchange waits for, and why a wish is held, have arrows of their own.
    what = re.split(r"\. | first, then| but ", found.sentence)[0]
    asked = next((s.after for s in found.steps if s.after != found.current), found.current)
    shown = asked if what.startswith("Wanted") else found.final
    said = re.findall(r"(decode|prefill) (\d+) → (\d+)(?: \(wanted (\d+)\))?", what.lower())
    if what.startswith("No change"):
        assert not said
        assert not found.changes
        return
    assert {Role(role): (int(a), int(b)) for role, a, b, _ in said} == {
        role: (found.current.of(role), shown.of(role))
        for role in Role
        if found.current.of(role) != shown.of(role)
    }
    for role, _, _, wanted in said:
        assert not wanted or int(wanted) == asked.of(Role(role))


# Between nothing and next to nothing lies a contradiction (M15): no tokens, yet requests.
LOADS = st.just(0.0) | st.floats(0.001, 5.0)


def loaded(ctx: Context, load: float) -> Context:
    """Return the context with every signal ok and the driver at a load, at the same mix."""
    driver = ctx.spec.policy.driver
    signals = {
        name: replace(s, quality=Quality.OK, value=0.01, reporting=s.expected)
        for name, s in ctx.signals.items()
    }
    found = signals[driver]
    lead = max(1, found.expected)
    total = load * ctx.spec.policy.target * (1 if found.unit == "share" else lead)
    made = dict.fromkeys(("decode_tps", "prefill_tps", "prefill_tps_uncached"), 700.0 * load)
    queues = {"prefill_waiting": 0.0, "decode_waiting": 0.0}
    signals = valued(signals, **{**made, **queues, driver: total})
    return replace(ctx, signals=valued(signals, request_rps=load))


@MANY
@given(ctx=contexts(), loads=st.lists(LOADS, min_size=2, max_size=2))
def test_more_load_never_means_fewer_instances(ctx: Context, loads: list[float]) -> None:
    little, much = sorted(loads)
    free = replace(unhindered(ctx), state=all_ready(ctx))
    low, high = loaded(free, little), loaded(free, much)
    # So few requests that the tokens contradict them hold, whatever more would let go (M15).
    assume(contradicted_rps(low) is None)
    less, more = decide(low), decide(high)
    assert larger(less.final, more.final) == more.final


def all_ready(ctx: Context) -> ServiceState:
    """Return the wished counts as ready ones."""
    return state(ctx.state.desired)


def idle(ctx: Context) -> bool:
    """Whether nobody uses the service: there latencies are absent by nature."""
    driver, requests = ctx.signals[ctx.spec.policy.driver], ctx.signals["request_rps"]
    return driver.value == 0.0 and requests.value == 0.0


@MANY
@given(
    ctx=contexts(),
    names=st.sets(st.sampled_from([kind.name for kind in SIGNALS]), min_size=1),
    quality=st.sampled_from([Quality.MISSING, Quality.INVALID, Quality.STALE]),
)
def test_unreadable_never_lowers_and_never_wakes_a_hold_s7(
    ctx: Context, names: set[str], quality: Quality
) -> None:
    """The one thing left out: evidence against idleness taken from a service that looks idle."""
    assume(not idle(ctx))
    before, worse = decide(ctx), ctx
    # What is missing is no reading that could become unreadable: nothing is worse.
    read = [name for name in names if ctx.signals[name].quality is not Quality.MISSING]
    for name in read:
        worse = replace(worse, signals=graded(worse.signals, name, quality))
    after = decide(worse)
    for role in Role:
        assert after.final.of(role) >= min(before.final.of(role), ctx.state.desired.of(role))
    if not before.changes:
        assert after.final == before.final or any(
            step.code is Code.AT_MIN and step.name == "limits" for step in after.steps
        )


@MANY
@given(
    ctx=contexts(),
    name=st.sampled_from([kind.name for kind in SIGNALS]),
    quality=st.sampled_from([q for q in Quality if q is not Quality.OK]),
)
def test_worse_quality_never_gives_a_bolder_action_s6(
    ctx: Context, name: str, quality: Quality
) -> None:
    assume(not idle(ctx) and ctx.signals[name].quality is Quality.OK)
    low = smaller(ctx.state.desired, ctx.spec.limits.minimum)
    assume(low == ctx.spec.limits.minimum)  # a floor repair does not depend on metrics
    sure = decide(ctx)
    unsure = decide(replace(ctx, signals=graded(ctx.signals, name, quality)))
    for role in Role:
        now, sure_n, unsure_n = (x.of(role) for x in (sure.current, sure.final, unsure.final))
        assert min(now, sure_n) <= unsure_n <= max(now, sure_n)


@MANY
@given(contexts())
def test_scale_in_needs_every_signal_ok_s6(ctx: Context) -> None:
    found = decide(ctx)
    if needs_no_metric(ctx.spec.policy, ctx.now_s):
        return
    if smaller(found.final, found.current) != found.current:
        assert ctx.signals[ctx.spec.policy.driver].quality is Quality.OK
        if not idle(ctx):
            for name, goal_s in (("ttft_s", ctx.spec.slo.ttft_s), ("tbt_s", ctx.spec.slo.tbt_s)):
                assert ctx.signals[name].quality is Quality.OK
                assert (ctx.signals[name].value or 0.0) <= goal_s


@MANY
@given(contexts())
def test_nothing_grows_on_an_unread_driver_s6(ctx: Context) -> None:
    found = decide(ctx)
    """What reads no driver may still ask: a schedule, and a latency that is breached."""
    config = ctx.spec.policy
    unread = ctx.signals[config.driver].quality not in (Quality.OK, Quality.PARTIAL)
    if unread and config.name == "proportional":
        repaired = larger(found.current, ctx.spec.limits.minimum)
        assert smaller(found.final, repaired) == found.final


@MANY
@given(ctx=contexts(), want=pairs(0, 120))
def test_dampers_keep_the_sign_and_shorten_s8_s9(ctx: Context, want: Instances) -> None:
    current = ctx.state.desired
    for guard in DAMPERS:
        found = guard(Target(want), ctx).want
        for role in Role:
            now, out, into = current.of(role), found.of(role), want.of(role)
            assert min(now, into) <= out <= max(now, into)


@MANY
@given(ctx=contexts(), want=pairs(0, 120))
def test_ceilings_only_lower_and_floors_only_raise_s8(ctx: Context, want: Instances) -> None:
    for step in guards.limits(Target(want), ctx).steps:
        side = larger if step.code is Code.AT_MIN else smaller
        assert side(step.before, step.after) == step.after


@MANY
@given(ctx=contexts(), want=pairs(0, 120))
def test_guards_are_idempotent_s8(ctx: Context, want: Instances) -> None:
    # A part of a part is less, and what starts is allowed for once.
    clamps = [g for g in guards.GUARDS if g not in (guards.damping, guards.starting)]
    for guard in clamps:
        once = guard(Target(want), ctx).want
        assert guard(Target(once), ctx).want == once


def through(want: Instances, ctx: Context) -> Instances:
    """Return what all guards make of a wish.

    ``ratio`` shapes the wish and is not one of them, nor are ``damping``, since a part of a part
    is less, and ``starting``, which allows once for what starts.
    """
    target = Target(want)
    shaping = (guards.ratio, guards.damping, guards.starting)
    for guard in [g for g in guards.GUARDS if g not in shaping]:
        target = guard(target, ctx)
    return guards.hard_limits(target, ctx).want


@MANY
@given(ctx=contexts(), want=pairs(0, 120))
def test_all_guards_twice_change_nothing_more_s8(ctx: Context, want: Instances) -> None:
    once = through(want, ctx)
    assert through(once, ctx) == once


@MANY
@given(contexts())
def test_the_last_look_never_has_to_step_in_s8(ctx: Context) -> None:
    target = Target(decide(ctx).final)
    assert guards.hard_limits(target, ctx) == target


@SOME
@given(
    current=pairs(0, 60),
    want=pairs(0, 120),
    max_gpus=st.integers(10, 300),
    free=st.integers(0, 99),
)
@example(current=Instances(10, 1), want=Instances(10, 1), max_gpus=32, free=0)
@example(current=Instances(12, 1), want=Instances(12, 1), max_gpus=32, free=0)
def test_a_ceiling_never_grows_a_role_s8(
    current: Instances, want: Instances, max_gpus: int, free: int
) -> None:
    ctx = context(current, 5000.0, spec=limits(max_gpus=max_gpus), gpus_free={"H20": free})
    for guard in (guards.gpu_budget, guards.capacity):
        found = guard(Target(want), ctx).want
        assert smaller(found, want) == found


@SOME
@given(contexts())
def test_a_restart_changes_nothing_s23(ctx: Context) -> None:
    """Equal inputs, built anew, give the equal decision: nothing is remembered outside them."""
    first = decide(ctx)
    decide(context(Instances(2, 4), 6000.0))
    again = replace(ctx, history=replace(ctx.history), signals=dict(ctx.signals))
    assert decide(again) == first


@SOME
@given(ctx=contexts(), broken=composed(), kind=st.sampled_from(["row", "absent", "window"]))
def test_decisions_are_those_without_the_broken_neighbour_s24(
    ctx: Context, broken: ServiceSpec, kind: str
) -> None:
    """Of a bad row, a cluster that is silent, or samples of a wrong shape."""
    mine, other = ctx.spec, replace(broken, key="other", priority=5)
    if kind == "row":
        other = replace(other, policy=replace(other.policy, target=None))  # type: ignore[arg-type]
    seen = {mine.key: Observation(window({"decode_tps": [4000.0] * 4}), ctx.state)}
    if kind != "absent":
        good = window({})
        bad = replace(good, values=good.values[:3]) if kind == "window" else good
        seen["other"] = Observation(bad, state(Instances(2, 4)))

    def of_mine(*specs: ServiceSpec) -> Decision:
        class Source:
            def observe(self, _: object, *, now_s: float) -> View:
                assert now_s == ctx.now_s
                return View(
                    {each.key: seen[each.key] for each in specs if each.key in seen}, (), {}
                )

        found = decide_all(
            specs,
            look(specs, Source(), now_s=ctx.now_s, max_age_s=45.0),
            recall=lambda key: Memory(ctx.history) if key == mine.key else Memory(),
            hold_of=lambda key: ctx.hold if key == mine.key else None,
        ).decisions
        return next(one for one in found if one.service == mine.key)

    assert of_mine(other, mine) == of_mine(mine)


NONSENSE: st.SearchStrategy[object] = st.sampled_from(
    [None, "", "1,5", float("nan"), float("inf"), -1.0, -1, 0, 10**400, True, [], "x" * 500]
)
FIELDS = ["name", "driver", "target", "pd_ratio", "theta_out", "theta_in", "ratio_tolerance"]
FIELDS += ["cooldown_out_s", "stabilisation_s", "step_abs", "step_frac", "proposal_ttl_s"]
FIELDS += ["proposal_ttl_in_s"]


@SOME
@given(field=st.sampled_from(FIELDS), value=NONSENSE)
def test_no_field_makes_the_loop_raise_c01(field: str, value: object) -> None:
    found = decide(context(Instances(2, 4), 4000.0, spec=policy(**{field: value})))
    if found.code is Code.CONFIG_INVALID:
        assert (found.final, found.move) == (Instances(2, 4), Move.BLOCKED)
        assert len(found.sentence) < 600


@pytest.mark.parametrize(
    "break_it",
    [
        lambda spec: replace(spec, key=""),
        lambda spec: replace(spec, cluster=""),
        lambda spec: replace(spec, hardware={}),
        lambda spec: replace(spec, hardware={Role.PREFILL: "H800"}),
        lambda spec: replace(spec, hardware={**spec.hardware, Role.DECODE: ""}),
    ],
    ids=["no key", "no cluster", "no hardware", "no decode hardware", "empty decode hardware"],
)
@SOME
@given(ctx=contexts())
def test_an_empty_name_is_an_error_and_never_everything_s21(
    break_it: Callable[[object], object], ctx: Context
) -> None:
    found = decide(replace(ctx, spec=break_it(ctx.spec)))  # type: ignore[arg-type]
    assert (found.final, found.code) == (ctx.state.desired, Code.CONFIG_INVALID)


def moved(found: Decision) -> dict[Role, int]:
    return {role: abs(found.final.of(role) - found.current.of(role)) for role in Role}


@MANY
@given(contexts())
def test_one_action_stays_within_its_step_s3(ctx: Context) -> None:
    found, config = decide(ctx), ctx.spec.policy
    for role, size in moved(found).items():
        now = found.current.of(role)
        repair = max(0, ctx.spec.limits.minimum.of(role) - now)
        part = config.step_out_frac if found.final.of(role) > now else config.step_frac
        assert size <= max(config.step_abs, -(-now * part // 1), repair)


@SOME
@given(contexts())
def test_a_tick_split_in_two_takes_no_larger_step_s3(ctx: Context) -> None:
    """The second half tick finds the first one's action in its cooldown."""
    free = unhindered(ctx)
    first = decide(free)
    out = first.final != smaller(first.final, first.current)
    into = first.final != larger(first.final, first.current)
    later = replace(
        free,
        now_s=free.now_s + 7.5,
        state=replace(
            free.state,
            prefill=replace(free.state.prefill, desired=first.final.prefill),
            decode=replace(free.state.decode, desired=first.final.decode),
        ),
        history=replace(
            free.history,
            last_scale_out_s=free.now_s if out else None,
            last_scale_in_s=free.now_s if into else None,
        ),
    )
    second = decide(later)
    for role in Role:
        if first.final.of(role) == first.current.of(role):
            continue
        total = abs(second.final.of(role) - first.current.of(role))
        same_way = (second.final.of(role) - first.final.of(role)) * (
            first.final.of(role) - first.current.of(role)
        )
        if same_way > 0:
            assert total <= moved(first)[role]


def unmoved(ctx: Context) -> bool:
    """Whether nothing that holds even a floor repair is in force."""
    past = ctx.history
    return ctx.hold is None and past.in_flight is None and past.changed_from is None


@MANY
@given(ctx=contexts(), unread=st.booleans())
def test_a_floor_is_repaired_in_one_tick_metrics_or_not_s1_l3(
    ctx: Context, *, unread: bool
) -> None:
    """Where there is room and nobody holds the service."""
    roomy = replace(
        ctx,
        spec=replace(ctx.spec, limits=replace(ctx.spec.limits, max_gpus=1_000_000)),
        gpus_free={"H20": 100_000, "H800": 100_000},
        gpus_left=None,
        history=replace(ctx.history, refusals=()),
        signals={} if unread else ctx.signals,
    )
    assume(unmoved(roomy))
    found, low = decide(roomy).final, ctx.spec.limits.minimum
    assert smaller(found, low) == low


@MANY
@given(contexts())
def test_growth_keeps_within_every_budget_s2(ctx: Context) -> None:
    """What drains counts, and what shrinks gives no room before it is gone."""
    found, per, state_ = decide(ctx), ctx.spec.gpus_per_instance, ctx.state
    more = larger(found.final, found.current).gpus(per) - found.current.gpus(per)
    if not more:
        return
    draining = Instances(state_.prefill.draining, state_.decode.draining)
    assert found.current.gpus(per) + draining.gpus(per) + more <= ctx.spec.limits.max_gpus
    assert ctx.gpus_left is None or more <= ctx.gpus_left
    taken: dict[str, int] = {}
    for role in Role:
        grown = max(found.final.of(role) - found.current.of(role), 0) * per.of(role)
        kind = ctx.spec.hardware[role]
        taken[kind] = taken.get(kind, 0) + grown
    assert all(gpus <= ctx.gpus_free.get(kind, 0) for kind, gpus in taken.items() if gpus)


@MANY
@given(contexts())
def test_either_order_of_two_writes_keeps_floor_ceiling_and_budget_s5(ctx: Context) -> None:
    """The pair is one object and one write; where it isn't, no state in between breaks a limit."""
    found, bounds = decide(ctx), ctx.spec.limits
    per = ctx.spec.gpus_per_instance
    for between in (
        Instances(found.final.prefill, found.current.decode),
        Instances(found.current.prefill, found.final.decode),
    ):
        for role in Role:
            assert between.of(role) >= min(found.current.of(role), bounds.minimum.of(role))
            assert between.of(role) <= max(found.current.of(role), bounds.maximum.of(role))
        assert between.gpus(per) <= max(bounds.max_gpus, found.current.gpus(per))


@MANY
@given(ctx=contexts(), want=pairs(0, 120), data=st.data())
def test_in_whatever_order_guards_stand_the_last_look_keeps_the_limits_s8(
    ctx: Context, want: Instances, data: st.DataObject
) -> None:
    target, current, bounds = Target(want), ctx.state.desired, ctx.spec.limits
    for guard in data.draw(st.permutations(guards.GUARDS)):
        target = guard(target, ctx)
    final = guards.hard_limits(target, ctx).want
    for role in Role:
        assert final.of(role) >= min(current.of(role), bounds.minimum.of(role))
        assert final.of(role) <= max(current.of(role), bounds.maximum.of(role))
    per = ctx.spec.gpus_per_instance
    assert final.gpus(per) <= max(bounds.max_gpus, current.gpus(per))


@MANY
@given(contexts())
def test_nothing_turns_the_direction_the_policy_asked_for_s9(ctx: Context) -> None:
    """Only the ratio, a floor or a ceiling moves a role the other way, each under its name."""
    found = decide(ctx)
    shapers = ("policy", "ratio", "limits")
    for step in found.steps:
        if step.name in shapers:
            continue
        for role in Role:
            now, before, after = (x.of(role) for x in (found.current, step.before, step.after))
            assert min(now, before) <= after <= max(now, before), step


@SOME
@given(contexts())
def test_what_the_rows_give_back_decides_the_same_s23(ctx: Context) -> None:
    """A restart reads the outlook from JSON; wishes, cooldowns and refusals are as they were."""
    kept = json.loads(json.dumps(as_plain(ctx.history.outlook)))
    again = replace(ctx, history=replace(ctx.history, outlook=from_plain(kept)))
    assert decide(again) == decide(ctx)
