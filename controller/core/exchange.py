"""GPUs that move from one role to the other: one decision, carried out in two halves.

What a shrinking role gives back is held until it is gone (S2), so the other role can only grow
afterwards. The first half is decided together with the second (S5), and the second is remembered
as a permission with a deadline: the GPUs are kept for it, and no cooldown holds it.
"""

from dataclasses import replace
from typing import Final

from controller.core.reasons import UNJUDGED, Code
from controller.core.room import capacity, gpu_budget, grows, shrinks, stopped
from controller.core.types import (
    Context,
    Decision,
    Instances,
    Reason,
    Role,
    ServiceSpec,
    ServiceState,
    Stage,
    Target,
)
from controller.core.words import seconds

DRAIN_S: Final = 600.0
"""How long the second half may wait for its GPUs: a drain that takes longer is stuck [s]."""

_PAIR: Final = (Role.PREFILL, Role.DECODE)


def exchange(target: Target, ctx: Context) -> Target:
    """Do first what gives GPUs back, and say what grows on them then.

    Recognised where one role shrinks, the other grows, and the growth fits only with what the
    shrinking role gives back. Of the pair wanted only the growth that waits is taken out, exactly
    as much as the budgets and the pools would refuse; ``Target.then`` is what they allow once the
    GPUs are free. While the second half waits the giving role does not grow into its GPUs.
    """
    current, stage = ctx.state.desired, ctx.history.stage
    if target.blocked or not grows(target.want, current):
        return target
    if stage is not None and target.want.of(stage.grower) > current.of(stage.grower):
        return _second(target, ctx, stage)
    if not shrinks(target.want, current):
        return target
    return _first(target, ctx)


def _first(target: Target, ctx: Context) -> Target:
    """Return the first half of an exchange, or the target where there is nothing to exchange."""
    current, per = ctx.state.desired, ctx.spec.gpus_per_instance
    fitted = _fitted(target.want, ctx)
    grower = Role.PREFILL if target.want.prefill > current.prefill else Role.DECODE
    giver = Role.DECODE if grower is Role.PREFILL else Role.PREFILL
    first = fitted.want
    if first.of(grower) == target.want.of(grower) or first.of(giver) == current.of(giver):
        return target
    then = _fitted(target.want, _freed(ctx, first)).want
    if then.of(grower) <= first.of(grower):
        return target
    needed = (then.of(grower) - first.of(grower)) * per.of(grower)
    said = (
        f"{fitted.steps[-1].detail}, so {_arrow(grower, first, then)} follows on {needed} of the "
        f"{(current.of(giver) - first.of(giver)) * per.of(giver)} GPUs that "
        f"{_arrow(giver, current, first)} gives back"
    )
    return replace(target.moved_to(first, "exchange", Code.EXCHANGE, said), then=then)


def _second(target: Target, ctx: Context, stage: Stage) -> Target:
    """Return what fits of the second half: the growing role is served before the giving one."""
    current, late = ctx.state.desired, ctx.now_s >= stage.until_s
    if _fitted(target.want, ctx).want == target.want:
        return target
    if not late and shrinks(target.want, current):
        return _first(target, ctx)
    want = target.want if late else _without_giver(target.want, ctx, stage)
    first = _fitted(want, ctx).want
    waits = first.of(stage.grower) < want.of(stage.grower)
    growth = _arrow(stage.grower, first if waits else current, want)
    if late:
        code, said = Code.EXCHANGE_ENDED, _ended(ctx, stage, growth) if waits else ""
    else:
        parts = [_held(stage, growth)] if want != target.want else []
        parts += [_waiting(ctx, stage, growth)] if waits and _draining(ctx, stage) else []
        code, said = Code.EXCHANGE, " and ".join(parts)
    return stopped(target, ctx, first, ("exchange", Reason(code, said))) if said else target


def _without_giver(want: Instances, ctx: Context, stage: Stage) -> Instances:
    """Return the pair in which the giving role grows no further than its minimum."""
    giver = stage.giver
    kept = max(ctx.state.desired.of(giver), ctx.spec.limits.minimum.of(giver))
    return _with(want, giver, min(want.of(giver), kept))


def _draining(ctx: Context, stage: Stage) -> int:
    """Return the GPUs of the giving role that are not free yet."""
    return ctx.state.of(stage.giver).draining * ctx.spec.gpus_per_instance.of(stage.giver)


def _held(stage: Stage, growth: str) -> str:
    return f"the GPUs that {stage.giver.value} gave back are for {growth}"


def _waiting(ctx: Context, stage: Stage, growth: str) -> str:
    gpus, left = _draining(ctx, stage), seconds(stage.until_s - ctx.now_s)
    return (
        f"{growth} waits for {gpus} GPUs of draining {stage.giver.value} instances, for at most "
        f"another {left}"
    )


def _ended(ctx: Context, stage: Stage, growth: str) -> str:
    gpus, after = _draining(ctx, stage), seconds(stage.until_s - stage.since_s)
    why = f"{gpus} GPUs of {stage.giver.value} still drain" if gpus else "its GPUs went elsewhere"
    return f"the exchange ended after {after}: {why}, and {growth} is decided anew"


def _fitted(want: Instances, ctx: Context) -> Target:
    """Return what the budgets and the pools make of a pair."""
    return capacity(gpu_budget(Target(want), ctx), ctx)


def _freed(ctx: Context, first: Instances) -> Context:
    """Return the context as it will be after the first half, with all it gives back free."""
    current, per, kinds = ctx.state.desired, ctx.spec.gpus_per_instance, ctx.spec.hardware
    free, left = dict(ctx.gpus_free), ctx.gpus_left
    for role in _PAIR:
        gpus = (current.of(role) - first.of(role)) * per.of(role)
        if kinds[role] in free:
            free[kinds[role]] += gpus
        left = None if left is None else left + gpus
    state = replace(
        ctx.state,
        prefill=replace(ctx.state.prefill, desired=first.prefill),
        decode=replace(ctx.state.decode, desired=first.decode),
    )
    return replace(ctx, state=state, gpus_free=free, gpus_left=left)


def _arrow(role: Role, before: Instances, after: Instances) -> str:
    return f"{role.value} {before.of(role)} → {after.of(role)}"


def _with(pair: Instances, role: Role, count: int) -> Instances:
    return pair._replace(**{role.value: count})


def granted(ctx: Context) -> Instances:
    """Return the counts up to which growth needs no cooldown: the second half of an exchange."""
    stage, current = ctx.history.stage, ctx.state.desired
    if stage is None or ctx.now_s >= stage.until_s:
        return current
    grower = stage.grower
    return _with(current, grower, max(current.of(grower), stage.then.of(grower)))


def kept_gpus(stage: Stage | None, spec: ServiceSpec, state: ServiceState, now_s: float) -> int:
    """Return the free GPUs that are kept for the second half of an exchange.

    As many as its growth still needs, at most those given back that no longer drain.
    """
    if stage is None or now_s >= stage.until_s:
        return 0
    per, grower, giver = spec.gpus_per_instance, stage.grower, stage.giver
    needed = (stage.then.of(grower) - state.desired.of(grower)) * per.of(grower)
    given = stage.before.of(giver) - max(stage.first.of(giver), state.desired.of(giver))
    return max(0, min(needed, (given - state.of(giver).draining) * per.of(giver)))


def stage_of(decision: Decision) -> Stage | None:
    """Return the half that is still to come when the decision's change is carried out."""
    return staged(decision.current, decision.final, decision.then, decision.now_s)


def staged(
    before: Instances, first: Instances, then: Instances | None, now_s: float
) -> Stage | None:
    """Return what is remembered of an exchange whose first half is carried out now."""
    return None if then is None else Stage(before, first, then, now_s, now_s + DRAIN_S)


def is_second_half(
    stage: Stage | None, current: Instances, final: Instances, now_s: float
) -> bool:
    """Return whether a change is no more than what an exchange announced, and still in time."""
    if stage is None or now_s >= stage.until_s:
        return False
    grower, giver = stage.grower, stage.giver
    grown = current.of(grower) < final.of(grower) <= stage.then.of(grower)
    return grown and final.of(giver) == current.of(giver)


def lasts(stage: Stage, decision: Decision) -> bool:
    """Return whether the second half still waits after a decision, carried out or not.

    It ends at its deadline, when it is reached, and when its growth is no longer wanted.
    """
    grower = stage.grower
    if decision.now_s >= stage.until_s or decision.current.of(grower) >= stage.then.of(grower):
        return False
    untold = bool(decision.steps) and decision.steps[0].code in UNJUDGED
    return untold or decision.raw.of(grower) > decision.current.of(grower)
