"""A decision as one sentence of the form: what, because, limited by, next."""

from collections.abc import Sequence

from controller.core.exchange import approval_of, is_second_half
from controller.core.overrides import OverrideKind, told
from controller.core.reasons import Code
from controller.core.types import Context, Instances, Mode, Role, Step, Target
from controller.core.words import capitalised, changed_roles


def changed(step: Step) -> bool:
    """Return whether a step moved the counts."""
    return step.before != step.after


def cause_of(steps: Sequence[Step], current: Instances, final: Instances, lead: Role) -> Step:
    """Return the step that put the counts where they ended: what decided.

    For a change it is the last step that carried a role to its final side of the present count,
    the leading role's if it changed. For a hold it is the step that brought the counts back, or
    the policy's own when nothing was wanted.
    """
    roles = sorted(changed_roles(current, final), key=lambda role: role is not lead)
    if not roles:
        moves = [step for step in steps if changed(step)]
        return moves[-1] if moves else steps[0]
    role = roles[0]
    grows = final.of(role) > current.of(role)

    def beyond(count: int) -> bool:
        return count > current.of(role) if grows else count < current.of(role)

    crossings = [s for s in steps if beyond(s.after.of(role)) and not beyond(s.before.of(role))]
    return crossings[-1]


def wanted(steps: Sequence[Step], current: Instances) -> Instances:
    """Return the first pair that anything asked for: the policy's, or else a later correction."""
    return next((step.after for step in steps if step.after != current), current)


def sentence(target: Target, ctx: Context, cause: Step) -> str:
    """Return the decision in words; each number in it is one of the steps' or the context's.

    An exchange names both its halves, the one to be carried out now first. Overrides that can't
    be used are named last.
    """
    left_out = (f"{capitalised(text)}." for text in ctx.spec.left_out)
    return " ".join((_decided(target, ctx, cause), *left_out))


def _decided(target: Target, ctx: Context, cause: Step) -> str:
    steps, final = target.steps, target.want
    current, policy = ctx.state.desired, steps[0]
    if cause.code is Code.CONFIG_INVALID:
        return f"No change. The configuration cannot be used: {cause.detail}."
    if final == current:
        return _standing(steps, current, cause)
    reasons = [] if cause is policy else [cause.detail]
    reasons.append(policy.detail)
    limited = [step.detail for step in steps if step not in (policy, cause) and changed(step)]
    parts = [_what(ctx, target, wanted(steps, current)), *reasons]
    if limited:
        parts.append("Limited: " + "; ".join(limited))
    if is_second_half(ctx.history.stage, current, final, ctx.now_s):
        parts.append("This is the second half of an exchange")
    parts.append(_next(ctx, final))
    return " ".join(f"{capitalised(part)}." for part in parts)


def _standing(steps: Sequence[Step], current: Instances, cause: Step) -> str:
    policy = steps[0]
    if cause is policy:
        return f"No change. {capitalised(policy.detail)}."
    if cause.code is Code.AT_MIN:
        return f"No change. {capitalised(policy.detail)}, but {cause.detail}."
    asked = wanted(steps, current)
    what = f"Wanted {arrows(current, asked)} but {cause.detail}."
    return f"{what} {capitalised(policy.detail)}."


def arrows(before: Instances, after: Instances) -> str:
    """Return the roles that change, ``decode 24 → 28, prefill 8 → 9``."""
    return ", ".join(
        f"{role.value} {before.of(role)} → {after.of(role)}"
        for role in changed_roles(before, after)
    )


def _what(ctx: Context, target: Target, asked: Instances) -> str:
    current, final, then = ctx.state.desired, target.want, target.then
    reached = final if then is None else then
    moves = ", ".join(
        f"{role.value} {current.of(role)} → {final.of(role)}"
        + (f" (wanted {asked.of(role)})" if asked.of(role) != reached.of(role) else "")
        for role in changed_roles(current, final)
    )
    if then is not None:
        moves = f"{moves} first, then {arrows(final, then)} on the GPUs this frees"
    match ctx.spec.mode:
        case Mode.OBSERVE:
            return f"Would change {moves}"
        case Mode.APPROVE:
            return f"Proposes {moves}"
        case Mode.AUTOMATIC:
            return capitalised(moves)


def _next(ctx: Context, final: Instances) -> str:
    match ctx.spec.mode:
        case Mode.OBSERVE:
            advisory = ctx.spec.override(OverrideKind.ADVISORY)
            if advisory is not None and ctx.spec.mode_set is not None:
                by = told(advisory, ctx.now_s)
                return f"Advisory only, set by {by}: recorded and not carried out"
            return "Observing: recorded and not carried out"
        case Mode.APPROVE:
            proposal = approval_of(ctx.history.stage, ctx.state, final, ctx.now_s)
            return "Needs approval" if proposal is None else f"Approved with proposal {proposal}"
        case Mode.AUTOMATIC:
            return "Carried out automatically"
