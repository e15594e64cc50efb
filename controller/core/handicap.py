"""Counts as instances of each role's first hardware: what policies reckon in (HeteroScale §7).

An instance on weaker hardware does less than one. The handicap is what all of them do less; by it
counts for policies and the ratio are smaller than those held, and what they want is larger again.
"""

from dataclasses import replace

from controller.core.types import (
    NO_INSTANCES,
    ROLES,
    Context,
    Instances,
    Recommendation,
    RoleState,
)
from controller.core.words import DECODE_FIRST


def handicap_of(ctx: Context) -> Instances:
    """Return the handicap of each role, at which one instance at least is left to reckon with."""
    if ctx.handicap == NO_INSTANCES:
        return NO_INSTANCES
    desired = ctx.state.desired
    return Instances(*(min(ctx.handicap.of(r), max(desired.of(r) - 1, 0)) for r in ROLES))


def at_full_speed(ctx: Context) -> Context:
    """Return the context with counts as instances of the first hardware."""
    less = handicap_of(ctx)
    if less == NO_INSTANCES:
        return ctx
    state = ctx.state
    slower = replace(
        state,
        prefill=_fewer(state.prefill, less.prefill),
        decode=_fewer(state.decode, less.decode),
    )
    return replace(ctx, state=slower, handicap=NO_INSTANCES)


def as_held(want: Instances, ctx: Context) -> Instances:
    """Return counts at full speed as the counts to hold, the inverse of :func:`at_full_speed`.

    The same is added whatever is wanted: more stays more, and what stands stays (S8, S9).
    """
    more = handicap_of(ctx)
    if more == NO_INSTANCES:
        return want
    return Instances(*(want.of(r) + more.of(r) for r in ROLES))


def at_full_speed_of(want: Instances, ctx: Context) -> Instances:
    """Return counts to hold as counts at full speed."""
    less = handicap_of(ctx)
    return Instances(*(max(want.of(r) - less.of(r), 0) for r in ROLES))


def to_hold(found: Recommendation, ctx: Context) -> Recommendation:
    """Return a recommendation at full speed in counts to hold; the reason says how they count."""
    less = handicap_of(ctx)
    if less == NO_INSTANCES:
        return found
    desired = ctx.state.desired
    counted = " and ".join(
        f"{desired.of(role)} {role.value} count as {desired.of(role) - less.of(role)}"
        for role in DECODE_FIRST
        if less.of(role)
    )
    text = f"{found.reason.text}; {counted} by the hardware they run on"
    return replace(
        found,
        want=as_held(found.want, ctx),
        reason=replace(found.reason, text=text),
        parts=tuple(replace(part, want=as_held(part.want, ctx)) for part in found.parts),
    )


def _fewer(state: RoleState, count: int) -> RoleState:
    ready = max(state.ready - count, 0)
    starting = max(state.starting - max(count - state.ready, 0), 0)
    return replace(state, desired=state.desired - count, ready=ready, starting=starting)
