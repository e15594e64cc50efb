"""Negative feedback on TTFT and TBT: fixed steps, because an answer to a cliff overshoots."""

from typing import Final, NamedTuple

from controller.core.overdue import overdue_of, supply_of, with_replacements
from controller.core.pairs import MOST_INSTANCES, whole_up
from controller.core.policy_names import LATENCY, is_alone
from controller.core.reasons import Code
from controller.core.trust import label, signal_of, unreadable
from controller.core.types import (
    ROLES,
    Context,
    Instances,
    Quality,
    Reason,
    Recommendation,
    Role,
    Signal,
)
from controller.core.words import capitalised, percent

SEVERE_GROWTH: Final = 1.20
MODERATE_GROWTH: Final = 1.10
IDLE_SHRINKING: Final = 0.95


class _Reading(NamedTuple):
    """A latency, its goal [s] and how many times the goal it is; ``None`` where unreadable."""

    signal: Signal
    goal_s: float
    times: float | None


def latency(ctx: Context) -> Recommendation:
    """Return both roles a step larger where a latency is over its goal (HeteroScale §4.2).

    The latency that is the most times its goal decides: above ``latency_severe`` times it both
    roles grow to 1.20 times their wished counts, above ``latency_moderate`` to 1.10 times, rounded
    up and by at least 1. An unreadable latency asks for nothing; the other one still may. While
    instances are starting nothing more is asked for, except for those that are overdue: these
    don't count and are replaced. Below ``latency_idle`` both roles shrink to 0.95 times, if both
    latencies are ok and no other policy sizes the service; so they do where nobody asks and no
    latency is to be had.

    ``driver`` is the latency that decides and ``load`` how many times its goal it is.
    """
    worst = max(_readings(ctx), key=_urgency)
    growth, trouble = _growth(ctx, worst), _trouble(ctx)
    want, reason = ctx.state.desired, Reason(Code.WITHIN_TOLERANCE, _shown(worst))
    if growth is not None:
        want, reason = _grown(ctx, worst, growth)
    elif is_alone(ctx.spec.policy, LATENCY) and _is_unused(ctx):
        want, reason = _shrunk(ctx, "No request comes and none waits")
    elif trouble is not None:
        reason = trouble
    elif _urgency(worst) < ctx.spec.policy.latency_idle and is_alone(ctx.spec.policy, LATENCY):
        want, reason = _shrunk(ctx, f"{_shown(worst)}, the nearer of the two")
    return Recommendation(want, reason, worst.signal.name, worst.times, LATENCY)


def _readings(ctx: Context) -> tuple[_Reading, _Reading]:
    slo = ctx.spec.slo
    return _reading(ctx, "ttft_s", slo.ttft_s), _reading(ctx, "tbt_s", slo.tbt_s)


def _reading(ctx: Context, name: str, goal_s: float) -> _Reading:
    signal = signal_of(ctx, name)
    if signal.value is None or unreadable(signal, ctx.now_s) is not None:
        return _Reading(signal, goal_s, None)
    return _Reading(signal, goal_s, signal.value / goal_s)


def _urgency(reading: _Reading) -> float:
    return -1.0 if reading.times is None else reading.times


def _growth(ctx: Context, worst: _Reading) -> float | None:
    if _urgency(worst) > ctx.spec.policy.latency_severe:
        return SEVERE_GROWTH
    return MODERATE_GROWTH if _urgency(worst) > ctx.spec.policy.latency_moderate else None


def _grown(ctx: Context, worst: _Reading, growth: float) -> tuple[Instances, Reason]:
    current = ctx.state.desired
    late = overdue_of(ctx)
    starting = sum(
        max(0, current.of(role) - ctx.state.of(role).ready - late.of(role)) for role in Role
    )
    if starting:
        are = "instance is" if starting == 1 else "instances are"
        wait = f"{starting} {are} still starting, so no more are asked for yet"
        return current, Reason(Code.LATENCY_HIGH, f"{_shown(worst)}; {wait}")
    want = Instances(*(_larger(ctx, role, growth) for role in ROLES))
    text = f"{_shown(worst)}, so both roles grow by {percent(growth - 1.0)}, at least by 1"
    return want, Reason(Code.LATENCY_HIGH, text)


def _larger(ctx: Context, role: Role, growth: float) -> int:
    supply = supply_of(ctx, role)
    need = min(max(supply + 1, whole_up(growth * supply)), MOST_INSTANCES)
    return max(ctx.state.desired.of(role), with_replacements(ctx, role, need))


def _shrunk(ctx: Context, why: str) -> tuple[Instances, Reason]:
    current, minimum = ctx.state.desired, ctx.spec.limits.minimum
    want = Instances(
        _fewer(current.prefill, minimum.prefill), _fewer(current.decode, minimum.decode)
    )
    step = f"so both roles shrink by {percent(1.0 - IDLE_SHRINKING)}, at least by 1"
    if want == current:
        step = "but both roles are at their minimum"
    return want, Reason(Code.LATENCY_LOW, f"{why}, {step}")


def _fewer(count: int, minimum: int) -> int:
    """Return the count after a step down: one fewer at least, but none below the minimum or 1."""
    least = max(1, minimum)
    if count <= least:
        return count
    return max(least, min(count - 1, whole_up(IDLE_SHRINKING * count)))


def _trouble(ctx: Context) -> Reason | None:
    """Return why nothing may be removed: a latency that isn't ok while requests come."""
    for signal, _, times in _readings(ctx):
        found = unreadable(signal, ctx.now_s)
        if found is not None and _is_idle(ctx):
            return Reason(Code.WITHIN_TOLERANCE, "No request comes, so no latency is judged")
        if found is not None:
            return Reason(found.code, capitalised(found.text))
        if signal.quality is not Quality.OK or times is None:
            seen = f"is reported by only {signal.reporting} of {signal.expected} instances"
            return Reason(Code.METRIC_PARTIAL, f"{capitalised(label(signal))} {seen}")
    return None


def _is_idle(ctx: Context) -> bool:
    """Return whether it is known that no request comes: such a service has no latencies."""
    requests = signal_of(ctx, "request_rps")
    return requests.quality is Quality.OK and requests.value == 0.0


def _is_unused(ctx: Context) -> bool:
    """Return whether it is seen that no request comes, waits or is answered."""
    signals = [signal_of(ctx, name) for name in ("request_rps", ctx.spec.policy.driver)]
    seen = all(
        signal.quality is Quality.OK and signal.value == 0.0 and signal.coverage_frac >= 1.0
        for signal in signals
    )
    waiting = (signal_of(ctx, f"{role.value}_waiting") for role in Role)
    return seen and not any(signal.value for signal in waiting)


def _shown(worst: _Reading) -> str:
    """Return a latency against its goal; one that can't be read is told of by its quality."""
    what = capitalised(label(worst.signal))
    if worst.times is None or worst.signal.value is None:
        return f"{what} can't be read"
    value, goal = f"{worst.signal.value:.3g} s", f"{worst.goal_s:.3g} s"
    return f"{what} of {value} is {worst.times:.2f} times its {goal} goal"
