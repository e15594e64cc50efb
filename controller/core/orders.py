"""The guards by which overrides speak: a pin stands for the wish, a ban lets one way through."""

from controller.core.overdue import with_replacements, working
from controller.core.overrides import Override, OverrideKind, told
from controller.core.pairs import larger, smaller
from controller.core.reasons import Code
from controller.core.room import stopped
from controller.core.types import ROLES, Context, Instances, Reason, Role, Target


def pin(target: Target, ctx: Context) -> Target:
    """Want what a person pinned, whatever the policy wants (product: overrides)."""
    one = ctx.spec.override(OverrideKind.PIN)
    if target.blocked or one is None:
        return target
    want = pinned_counts(one)
    if want == target.want:
        return target
    said = f"pinned by {told(one, ctx.now_s)}"
    return target.moved_to(want, "override", Code.PINNED, said, one.key)


def pinned_counts(one: Override) -> Instances:
    """Return the counts of a pin."""
    return Instances(one.values["prefill"], one.values["decode"])


def by_ratio(target: Target, ctx: Context, want: Instances) -> Target:
    """Want what the policy asks for under the ratio that a person set in place of its own."""
    one = ctx.spec.override(OverrideKind.RATIO)
    if one is None or want == target.want:
        return target
    band = f"{one.values['min']:g} to {one.values['max']:g}"
    said = f"prefill per decode is kept in {band}, set by {told(one, ctx.now_s)}"
    return target.moved_to(want, "override", Code.RATIO_CORRECTION, said, one.key)


def banned(target: Target, ctx: Context) -> Target:
    """Let nothing go under ``out_only`` and nothing grow under ``in_only``, a pin neither.

    What is below its minimum is repaired all the same (S1).
    """
    return _in_only(_out_only(target, ctx), ctx)


def _out_only(target: Target, ctx: Context) -> Target:
    one = ctx.spec.override(OverrideKind.OUT_ONLY)
    return _held(target, ctx, one, larger(target.want, ctx.state.desired), Code.OUT_ONLY)


def _in_only(target: Target, ctx: Context) -> Target:
    one, current = ctx.spec.override(OverrideKind.IN_ONLY), ctx.state.desired
    if one is None:
        return target
    floor = Instances(*(floor_of(current, role, ctx) for role in ROLES))
    return _held(target, ctx, one, smaller(target.want, larger(current, floor)), Code.IN_ONLY)


def _held(
    target: Target, ctx: Context, one: Override | None, want: Instances, code: Code
) -> Target:
    if target.blocked or one is None or want == target.want:
        return target
    way = "scale-out" if code is Code.OUT_ONLY else "scale-in"
    said = f"{way} only, set by {told(one, ctx.now_s)}"
    return stopped(target, ctx, want, ("override", Reason(code, said)), one.key)


def floor_of(want: Instances, role: Role, ctx: Context) -> int:
    """Return the least that may be wished of a role, for its minimum to be counted on.

    More than the minimum only where some of ``want`` are overdue and have to be replaced.
    """
    least = ctx.spec.limits.minimum.of(role)
    short = working(ctx, role, want.of(role)) < least
    return with_replacements(ctx, role, least) if short else least


def set_by(ctx: Context, one: Override | None) -> tuple[str, int | None]:
    """Return who set a figure, to follow it in a sentence, and the key of the override."""
    return ("", None) if one is None else (f", set by {told(one, ctx.now_s)}", one.key)
