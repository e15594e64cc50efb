"""Wished instances that have failed or never come up: neither supply nor waited for (L4, L8)."""

from controller.core import starts
from controller.core.pairs import MOST_INSTANCES
from controller.core.types import Context, Instances, Role
from controller.core.words import DECODE_FIRST, seconds


def overdue_of(ctx: Context) -> Instances:
    """Return the wished instances of each role that are not counted on."""
    return Instances(0, 0) if ctx.forecast is None else Instances(*ctx.forecast.overdue)


def supply_of(ctx: Context, role: Role) -> int:
    """Return the wished instances of a role less those that are not counted on."""
    return max(ctx.state.desired.of(role) - overdue_of(ctx).of(role), 0)


def working(ctx: Context, role: Role, want: int) -> int:
    """Return how many of ``want`` instances can be counted on.

    What is given up are those that don't come up, as clusters take those first that serve nobody.
    """
    wished = max(ctx.state.desired.of(role), want)
    return min(want, max(wished - overdue_of(ctx).of(role), 0))


def with_replacements(ctx: Context, role: Role, need: int) -> int:
    """Return the instances to wish for so that ``need`` of them can be counted on.

    As many more as are overdue, and at most as many again as are needed: where nothing ever
    starts, the wish ends at twice the need.
    """
    return min(need + min(overdue_of(ctx).of(role), need), max(need, MOST_INSTANCES))


def told(ctx: Context) -> str:
    """Return who is not counted on and why, empty where everybody is."""
    parts = [_told(ctx, role) for role in DECODE_FIRST if overdue_of(ctx).of(role)]
    return " and ".join(parts)


def _told(ctx: Context, role: Role) -> str:
    count, state = overdue_of(ctx).of(role), ctx.state.of(role)
    who = f"{count} of {state.desired} {role.value}"
    have, are = ("has", "is") if count == 1 else ("have", "are")
    ways = ["failed"] if state.lost else []
    if count > state.lost and ctx.forecast is not None:
        limit_s = starts.limit_s(ctx.forecast.lead_s)
        ways.append(f"been starting for over {seconds(limit_s)}")
    return f"{who} {have} {' or '.join(ways)} and {are} not counted on"
