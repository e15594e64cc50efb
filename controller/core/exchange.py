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
    ROLES,
    Context,
    Decision,
    Instances,
    Mode,
    Reason,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Stage,
    Target,
)
from controller.core.words import seconds

DRAIN_S: Final = 600.0
"""How long the second half may wait for its GPUs: a drain that takes longer is stuck [s]."""


def without_ended(ctx: Context) -> Context:
    """Return the context without an exchange whose second half nobody agreed to any more.

    It rests on the policy and the mode of the first half, and on counts that nothing else changed;
    a freeze ends it as well. What still grows is then decided and proposed like any other change.
    """
    stage, spec = ctx.history.stage, ctx.spec
    if stage is None:
        return ctx
    frozen = ctx.hold is not None and ctx.hold.binds(ctx.now_s)
    agreed = _rests_on(stage, spec.policy.version, spec.mode)
    if agreed and not frozen and ctx.history.changed_from is None:
        return ctx
    return replace(ctx, history=replace(ctx.history, stage=None))


def _rests_on(stage: Stage, policy_version: int, mode: Mode) -> bool:
    return (stage.policy_version, stage.mode) == (policy_version, mode)


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
    promised = _promised(ctx, giver)
    then = _fitted(target.want, _freed(ctx, first, giver, promised)).want
    if then.of(grower) <= first.of(grower):
        return target
    needed = (then.of(grower) - first.of(grower)) * per.of(grower)
    given = (current.of(giver) - first.of(giver) + promised) * per.of(giver)
    gives = f"{_arrow(giver, current, first)} gives back"
    if promised:
        gives = f"{_arrow(giver, current, first)} and {promised} that drain already give back"
    said = (
        f"{fitted.steps[-1].detail}, so {_arrow(grower, first, then)} follows on {needed} of the "
        f"{given} GPUs that {gives}"
    )
    return replace(target.moved_to(first, "exchange", Code.EXCHANGE, said), then=then)


def _promised(ctx: Context, giver: Role) -> int:
    """Return the draining instances of the giving role whose GPUs an earlier exchange awaits."""
    stage = ctx.history.stage
    if stage is None or stage.giver is not giver or ctx.now_s >= stage.until_s:
        return 0
    given = stage.before.of(giver) - max(stage.first.of(giver), ctx.state.desired.of(giver))
    return max(0, min(given, ctx.state.of(giver).draining))


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


def _freed(ctx: Context, first: Instances, giver: Role, promised: int) -> Context:
    """Return the context as it will be after the first half, with all it gives back free.

    So are the ``promised`` instances of the giving role that drain for an earlier exchange.
    """
    current, per, kinds = ctx.state.desired, ctx.spec.gpus_per_instance, ctx.spec.hardware
    free, left = dict(ctx.gpus_free), ctx.gpus_left
    after: dict[Role, RoleState] = {}
    for role in ROLES:
        drained = promised if role is giver else 0
        gpus = (current.of(role) - first.of(role) + drained) * per.of(role)
        if kinds[role] in free:
            free[kinds[role]] += gpus
        left = None if left is None else left + gpus
        one = ctx.state.of(role)
        after[role] = replace(one, desired=first.of(role), draining=one.draining - drained)
    state = replace(ctx.state, prefill=after[Role.PREFILL], decode=after[Role.DECODE])
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
    if not _rests_on(stage, spec.policy.version, spec.mode):
        return 0
    per, grower, giver = spec.gpus_per_instance, stage.grower, stage.giver
    needed = (stage.then.of(grower) - state.desired.of(grower)) * per.of(grower)
    given = stage.before.of(giver) - max(stage.first.of(giver), state.desired.of(giver))
    return max(0, min(needed, (given - state.of(giver).draining) * per.of(giver)))


def stage_of(decision: Decision, earlier: Stage | None = None) -> Stage | None:
    """Return the half that is still to come when the decision's change is carried out."""
    if decision.then is None:
        return None
    stage = Stage(
        decision.current,
        decision.final,
        decision.then,
        decision.now_s,
        decision.now_s + DRAIN_S,
        decision.policy_version,
        decision.mode,
    )
    return following(stage, earlier)


def following(stage: Stage, earlier: Stage | None) -> Stage:
    """Return an exchange that has taken the place of an earlier one, whose GPUs are its own now.

    What the earlier one was given counts as given to it, so that it stays kept (S2).
    """
    if earlier is None or earlier.giver is not stage.giver or stage.since_s >= earlier.until_s:
        return stage
    if not _rests_on(earlier, stage.policy_version, stage.mode):
        return stage
    giver = stage.giver
    given = max(stage.before.of(giver), earlier.before.of(giver))
    return replace(stage, before=_with(stage.before, giver, given))


def is_second_half(
    stage: Stage | None, current: Instances, final: Instances, now_s: float
) -> bool:
    """Return whether a change is no more than what an exchange announced, and still in time."""
    if stage is None or now_s >= stage.until_s:
        return False
    grower, giver = stage.grower, stage.giver
    grown = current.of(grower) < final.of(grower) <= stage.then.of(grower)
    return grown and final.of(giver) == current.of(giver)


def approval_of(
    stage: Stage | None, state: ServiceState, final: Instances, now_s: float
) -> int | None:
    """Return the proposal whose approval a change still has, ``None`` if it needs its own (S18).

    An approval of both halves is of the counts and the object that the first half left, and one
    change uses it up.
    """
    if stage is None or stage.second is not None:
        return None
    left = (state.desired, state.resource_version) == (stage.first, stage.resource_version)
    second = is_second_half(stage, state.desired, final, now_s)
    return stage.proposal if left and second else None


def lasts(stage: Stage, decision: Decision) -> bool:
    """Return whether the second half still waits after a decision, carried out or not.

    It ends at its deadline, when it is reached, when its growth is no longer wanted, and with what
    it rests on.
    """
    grower = stage.grower
    if decision.exchange_over or not _rests_on(stage, decision.policy_version, decision.mode):
        return False
    if decision.now_s >= stage.until_s or decision.current.of(grower) >= stage.then.of(grower):
        return False
    untold = bool(decision.steps) and decision.steps[0].code in UNJUDGED
    return untold or decision.raw.of(grower) > decision.current.of(grower)
