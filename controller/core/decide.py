"""Context in, decision out: the policy, then the guards in order, then the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from controller.core.config_check import Problem, validate_spec
from controller.core.exchange import without_ended
from controller.core.guards import GUARDS, PINNED_GUARDS, hard_limits, ratio
from controller.core.handicap import at_full_speed, to_hold
from controller.core.learning import learn
from controller.core.orders import by_ratio
from controller.core.outlook import Outlook
from controller.core.overrides import OverrideKind, told
from controller.core.pairs import driver_role, larger, smaller
from controller.core.policies import recommend
from controller.core.reasons import Code
from controller.core.sentences import cause_of, sentence
from controller.core.types import (
    Adapt,
    Context,
    Decision,
    Forecast,
    Gate,
    Instances,
    Mode,
    Move,
    Reason,
    Recommendation,
    ServiceSpec,
    Step,
    Target,
)

_GATES: Final[Mapping[Mode, tuple[Gate, Code, str]]] = {
    Mode.OBSERVE: (Gate.RECORD, Code.ADVISORY_ONLY, "observe mode: recorded, not carried out"),
    Mode.APPROVE: (Gate.PROPOSE, Code.AWAITING_APPROVAL, "approve mode: a person decides"),
    Mode.AUTOMATIC: (Gate.ACT, Code.UNCHANGED, "automatic mode: carried out"),
}
_CLOSED: Final = (Gate.NONE, Code.UNCHANGED, "nothing to carry out")


def decide(ctx: Context) -> Decision:
    """Return what to do for one service now, with every step that led there (HeteroScale §9).

    The same context always gives the same decision: nothing is remembered here (S23). A change
    starts from the wished counts, ``ctx.state.desired``. Steps chain from the present counts to
    the final ones; a guard that changes nothing leaves no step. A configuration that can't be
    used gives a blocked decision with ``CONFIG_INVALID`` and never an exception (C01, S24).
    """
    problems = _problems(ctx.spec)
    if problems:
        return _refused(ctx, problems)
    ctx, waited = without_ended(ctx), ctx.history.stage
    own, (outlook, forecast) = _own_ratio(ctx), learn(ctx)
    ctx = _tuned(ctx, forecast)
    recommendation = _recommended(own or ctx)
    reason = recommendation.reason
    target = Target(ctx.state.desired)
    target = target.moved_to(recommendation.want, "policy", reason.code, reason.text)
    if own is not None:
        target = by_ratio(ratio(target, own), ctx, _recommended(ctx).want)
    pinned = ctx.spec.override(OverrideKind.PIN) is not None
    for guard in PINNED_GUARDS if pinned else GUARDS:
        target = guard(target, ctx)
    decision = _concluded(hard_limits(target, ctx), ctx, recommendation, outlook)
    over = waited is not None and ctx.history.stage is None
    return replace(decision, exchange_over=True) if over else decision


def _recommended(ctx: Context) -> Recommendation:
    return to_hold(recommend(at_full_speed(ctx)), ctx)


def _own_ratio(ctx: Context) -> Context | None:
    """Return the context under the policy's own ratio, ``None`` where that one rules anyway."""
    spec = ctx.spec
    if spec.policy_set is None:
        return None
    others = tuple(one for one in spec.overrides if one.kind is not OverrideKind.RATIO)
    own = replace(ctx, spec=replace(spec, policy=spec.policy_set, overrides=others))
    return _tuned(own, learn(own)[1])


def _tuned(ctx: Context, forecast: Forecast) -> Context:
    """Return the context with what is provided for, under the target and ratio in force.

    These are the mix's own if they adapt.
    """
    config = ctx.spec.policy
    if config.adapt != Adapt.AUTOMATIC or forecast.ratio is None:
        return replace(ctx, forecast=forecast)
    target = config.target if forecast.target is None else forecast.target
    tuned = replace(config, pd_ratio=forecast.ratio, target=target)
    return replace(ctx, spec=replace(ctx.spec, policy=tuned), forecast=forecast)


@lru_cache(maxsize=4096)
def _checked(spec: ServiceSpec) -> tuple[Problem, ...]:
    """Return what is wrong with a configuration; equal ones are looked at once, not each tick."""
    return tuple(validate_spec(spec))


def _problems(spec: ServiceSpec) -> tuple[Problem, ...]:
    try:
        return _checked(spec)
    except TypeError:  # a field holds something that can't be a key, which is wrong in itself
        return tuple(validate_spec(spec))


def _concluded(
    target: Target, ctx: Context, recommendation: Recommendation, outlook: Outlook
) -> Decision:
    current, final, then = ctx.state.desired, target.want, target.then
    cause = cause_of(target.steps, current, final, driver_role(ctx.spec.policy))
    gate, gate_code, detail = _GATES[ctx.spec.mode] if final != current else _CLOSED
    advisory, by = ctx.spec.override(OverrideKind.ADVISORY), None
    if gate is Gate.RECORD and advisory is not None and ctx.spec.mode_set is not None:
        detail = f"advisory only, set by {told(advisory, ctx.now_s)}: recorded, not carried out"
        by = advisory.key
    return Decision(
        service=ctx.spec.key,
        now_s=ctx.now_s,
        mode=ctx.spec.mode,
        policy_version=ctx.spec.policy.version,
        signals=ctx.signals,
        current=current,
        raw=recommendation.want,
        steps=(*target.steps, Step("gate", final, final, gate_code, detail, by)),
        final=final,
        move=_move(current, final if then is None else then, ctx.spec.mode, cause),
        gate=gate,
        code=gate_code if gate in (Gate.RECORD, Gate.PROPOSE) else _code(target, cause),
        sentence=sentence(target, ctx, cause),
        driver=recommendation.driver,
        load=recommendation.load,
        forecast=ctx.forecast,
        parts=recommendation.parts,
        outlook=outlook,
        then=then,
    )


def _code(target: Target, cause: Step) -> Code:
    """Return what decided: the exchange itself where there is one."""
    return cause.code if target.then is None else Code.EXCHANGE


def _move(current: Instances, final: Instances, mode: Mode, cause: Step) -> Move:
    """Return the kind of a decision. At rest on its minimum or its pin it holds, unblocked."""
    if final == current:
        rests = cause.before == cause.after or cause.code in {Code.AT_MIN, Code.PINNED}
        return Move.HOLD if rests else Move.BLOCKED
    if mode == Mode.APPROVE:
        return Move.PROPOSE
    if larger(current, final) == final:
        return Move.SCALE_OUT
    return Move.SCALE_IN if smaller(current, final) == final else Move.REBALANCE


def _refused(ctx: Context, problems: Sequence[Problem]) -> Decision:
    """Return the decision for a configuration nothing can be computed from."""
    first = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    reason = Reason(Code.CONFIG_INVALID, f"{first.message}{more}")
    current = ctx.state.desired
    target = Target(current).moved_to(current, "policy", reason.code, reason.text)
    still = Recommendation(current, reason, str(ctx.spec.policy.driver), None)
    cause = target.steps[0]
    return Decision(
        service=ctx.spec.key,
        now_s=ctx.now_s,
        mode=ctx.spec.mode,
        policy_version=ctx.spec.policy.version,
        signals=ctx.signals,
        current=current,
        raw=current,
        steps=(cause, Step("gate", current, current, _CLOSED[1], _CLOSED[2])),
        final=current,
        move=Move.BLOCKED,
        gate=Gate.NONE,
        code=reason.code,
        sentence=sentence(target, ctx, cause),
        driver=still.driver,
    )
