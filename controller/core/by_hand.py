"""A change that a person asks for: what forbids it, what to think of first, where it would go."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from controller.core import wording
from controller.core.approval import Change
from controller.core.guards import hard_limits, steps
from controller.core.orders import banned, pinned_counts
from controller.core.overrides import OverrideKind, told
from controller.core.pairs import larger, smaller
from controller.core.placement.plan_plain import PlainPlacement
from controller.core.placement.preview import Situation, preview
from controller.core.prediction import expected
from controller.core.reasons import Code
from controller.core.room import capacity, gpu_budget
from controller.core.sentences import arrows
from controller.core.types import (
    ROLES,
    Context,
    Decision,
    Gate,
    Instances,
    Mode,
    Move,
    Reason,
    Step,
    Target,
)
from controller.core.words import capitalised, changed_roles, counts, seconds

Guard = Callable[[Target, Context], Target]

OLD_S: Final = 120.0
"""Counts and free GPUs older than this are not what there is now."""


@dataclass(frozen=True, slots=True)
class Ground:
    """All that a change by hand is judged by, at one time.

    ``ctx`` has the service as it was last seen, at ``seen_s``; ``situation`` is ``None`` where
    nobody asks for a place, ``refused`` how often in a row growth found no room. ``is_breaching``
    is whether the service is over its SLO now.
    """

    ctx: Context
    seen_s: float
    situation: Situation | None = None
    refused: int = 0
    is_breaching: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """What becomes of a wish: counts (others than asked only on weaker hardware), and the words.

    With any ``refusals`` it can't be proposed; ``warnings`` are for whoever asks and approves.
    ``predicted`` is by latency [s] at the present counts and at those asked; ``None``: unknown.
    ``advisory`` is the override that lets it only be observed, in words.
    """

    current: Instances
    want: Instances
    refusals: tuple[Reason, ...]
    warnings: tuple[str, ...]
    placement: PlainPlacement | None
    predicted: dict[str, list[float | None]] | None
    change: Change
    advisory: str = ""


def judge(want: Instances, ground: Ground) -> Judged:
    """Return what a person's wish comes to (product: propose a change).

    The same limits as the controller's own changes hold, and the wish is never cut short: what
    does not fit whole is refused with the most that would. The policy's judgement of the load is
    not asked, a ratio outside its band only warned of.
    """
    ctx = ground.ctx
    refusals = tuple(_refusals(want, ground))
    placement = None
    if not refusals and ground.situation is not None:
        want, placement, refusals = _placed(want, ground, ground.situation)
    return Judged(
        current=ctx.state.desired,
        want=want,
        refusals=refusals,
        warnings=tuple(_warnings(want, ground)),
        placement=placement,
        predicted=expected(ctx, want),
        change=Change(ctx.state.desired, want, ctx.spec.gpus_per_instance, ground.is_breaching),
        advisory=_watched(ctx) if ctx.spec.mode_set is not None else "",
    )


def _refusals(want: Instances, ground: Ground) -> Iterator[Reason]:
    """Give what stands against a wish; the reasons of the state first, each on its own."""
    ctx = ground.ctx
    current = ctx.state.desired
    if ctx.spec.mode == Mode.OBSERVE:
        yield Reason(Code.ADVISORY_ONLY, _watched(ctx))
    if ctx.hold is not None and ctx.hold.binds(ctx.now_s):
        said = f"{ctx.hold.scope} is frozen by {ctx.hold.by} ({ctx.hold.reason})"
        yield Reason(Code.FROZEN, said)
    if ctx.history.in_flight is not None:
        yield Reason(Code.IN_PROGRESS, "another change of the service is under way")
    if want == current:
        yield Reason(Code.UNCHANGED, f"the service stands at {counts(current)} already")
        return
    for guard in (_pinned, hard_limits, _one_step, banned, gpu_budget, capacity):
        yield from _stopped(guard, want, ctx)


def _watched(ctx: Context) -> str:
    """Return why nothing is carried out: the mode that is set, or who took its place."""
    one = ctx.spec.override(OverrideKind.ADVISORY)
    if one is None or ctx.spec.mode_set is None:
        return "the service is only observed: nothing is carried out"
    who, name = told(one, ctx.now_s), one.scope_name
    return f"override {one.key} lets {name} only be observed, set by {who}: end that one first"


def _stopped(guard: Guard, want: Instances, ctx: Context) -> Iterator[Reason]:
    after = guard(Target(want), ctx)
    if after.want != want:
        step = after.steps[-1]
        yield Reason(step.code, step.detail)


def _pinned(target: Target, ctx: Context) -> Target:
    """Stop what a pin would take back at the next look."""
    one = ctx.spec.override(OverrideKind.PIN)
    if one is None or pinned_counts(one) == target.want:
        return target
    said = f"the counts are pinned by {told(one, ctx.now_s)}: end the pin first"
    return target.blocked_at(ctx.state.desired, "override", Code.PINNED, said)


def _one_step(target: Target, ctx: Context) -> Target:
    """Stop what is more than one action may change, naming the most that it may (S3)."""
    current, nearest = ctx.state.desired, furthest(target.want, ctx)
    if nearest == target.want:
        return target
    said = f"one step may go as far as {counts(nearest, changed_roles(target.want, nearest))}"
    return target.blocked_at(current, "step", Code.STEP_LIMITED, said)


def furthest(want: Instances, ctx: Context) -> Instances:
    """Return how far one step goes towards the counts wanted (S3)."""
    current = ctx.state.desired
    out, into = steps(ctx)
    top = Instances(current.prefill + out.prefill, current.decode + out.decode)
    bottom = Instances(
        max(current.prefill - into.prefill, 0), max(current.decode - into.decode, 0)
    )
    return larger(smaller(want, larger(top, ctx.spec.limits.minimum)), bottom)


def _placed(
    want: Instances, ground: Ground, situation: Situation
) -> tuple[Instances, PlainPlacement | None, tuple[Reason, ...]]:
    """Return the counts as they are placed, where, and why not all of them are."""
    ctx = ground.ctx
    asked, key = decision_of(want, ctx), ctx.spec.key
    found, places = preview([asked], situation, {key: ground.refused}, {key: ctx.spec.limits})
    step = next((one for one in found[0].steps if one.name == "placement"), None)
    if step is not None:
        fits = counts(step.after, changed_roles(step.before, step.after))
        said = f"{step.detail}; there is room for {fits}"
        return want, None, (Reason(step.code, said),)
    return found[0].final, places.get(key), ()


def decision_of(want: Instances, ctx: Context) -> Decision:
    """Return a wish in the form that is placed and carried out."""
    current = ctx.state.desired
    return Decision(
        service=ctx.spec.key,
        now_s=ctx.now_s,
        mode=ctx.spec.mode,
        policy_version=ctx.spec.policy.version,
        signals=ctx.signals,
        current=current,
        raw=want,
        steps=(Step("gate", want, want, Code.AWAITING_APPROVAL, "a person asked for it"),),
        final=want,
        move=Move.PROPOSE,
        gate=Gate.PROPOSE,
        code=Code.AWAITING_APPROVAL,
        sentence=f"Proposes {arrows(current, want)}.",
        driver=ctx.spec.policy.driver,
    )


def _warnings(want: Instances, ground: Ground) -> Iterator[str]:
    ctx = ground.ctx
    config, ratio = ctx.spec.policy, want.pd_ratio
    low = config.pd_ratio * (1.0 - config.ratio_tolerance)
    high = config.pd_ratio * (1.0 + config.ratio_tolerance)
    if ratio is None or not low <= ratio <= high:
        shown = "no decode instance" if ratio is None else f"{ratio:.2f} prefill per decode"
        yield capitalised(f"{shown} is outside the band of {low:.2f} to {high:.2f}.")
    if ground.is_breaching and any(want.of(r) < ctx.state.desired.of(r) for r in ROLES):
        yield "The service is over its SLO now, and this takes instances away."
    if ctx.now_s - ground.seen_s > OLD_S:
        yield f"The counts are {seconds(ctx.now_s - ground.seen_s)} old."
    yield from _slow(want, ctx)


def _slow(want: Instances, ctx: Context) -> Iterator[str]:
    goals = {"ttft_s": ("TTFT", ctx.spec.slo.ttft_s), "tbt_s": ("TBT", ctx.spec.slo.tbt_s)}
    for name, (_, after) in (expected(ctx, want) or {}).items():
        title, goal_s = goals[name]
        if after is None or after > goal_s:
            shown = "to have no end" if after is None else f"at {wording.precise(after)}"
            yield f"{title} is predicted {shown}, and its SLO is {wording.precise(goal_s)}."
