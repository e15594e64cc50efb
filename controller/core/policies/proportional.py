"""Proportional control on one linear signal, which sizes both roles."""

from typing import Final

from controller.core.pairs import MOST_INSTANCES, NOISE, Pairing, whole_up
from controller.core.reasons import Code
from controller.core.trust import driver_total, label, signal_of, unreadable
from controller.core.types import (
    Adapt,
    Context,
    Forecast,
    Instances,
    Quality,
    Reason,
    Recommendation,
    Role,
)
from controller.core.words import capitalised, number, percent, quantity

_UNSEEN: Final = "the driver cannot be read"


def proportional(ctx: Context) -> Recommendation:
    """Return the pair that brings the driver back to its target (HeteroScale §4.1).

    The load is ``M / (m* · n)``: the driver's total over its target per instance times ``n``, the
    *wished* instances of the driver's role. The source divides by the ready ones; counting those
    that are starting as supply keeps the policy from asking again while they load.

    Above ``1 + theta_out`` or below ``1 - theta_in`` the driver's role becomes ``ceil(M / m*)``
    and the other follows at ``pd_ratio``, rounded up. A scale-out never shrinks the follower and
    a scale-in never grows it. Silent instances count as 0 for a scale-out and as loaded to their
    target for a scale-in (M10). Without a usable driver the pair is kept.
    """
    driver = signal_of(ctx, ctx.spec.policy.driver)
    total = driver_total(ctx)
    if total is None:
        trouble = unreadable(driver, ctx.now_s) or Reason(Code.METRIC_INVALID, _UNSEEN)
        shown = Reason(trouble.code, capitalised(trouble.text))
        return Recommendation(ctx.state.desired, shown, driver.name, None)
    pairing = Pairing.of(ctx.spec.policy)
    lead, _ = pairing.split(ctx.state.desired)
    load = total / (ctx.spec.policy.target * lead) if lead > 0 else None
    want = _sized(ctx, pairing, total)
    code = _code(want, ctx.state.desired)
    return Recommendation(want, Reason(code, _text(ctx, code, total)), driver.name, load)


def _sized(ctx: Context, pairing: Pairing, total: float) -> Instances:
    """Return the pair that what is provided for asks for, out and in beyond their thresholds."""
    config, forecast = ctx.spec.policy, ctx.forecast
    if forecast is None or config.adapt is not Adapt.AUTOMATIC or ctx.spec.engine is None:
        return _coupled(ctx, pairing, total)
    current = ctx.state.desired
    return Instances(
        _alone(ctx, current.prefill, provided(forecast, 0)),
        _alone(ctx, current.decode, provided(forecast, 1)),
    )


def provided(forecast: Forecast, role: int) -> float:
    """Return the instances to provide for a role: its peak with the margin, and its backlog."""
    known = [
        need
        for pair in (forecast.peaks, forecast.needs, forecast.newest)
        if (need := pair[role]) is not None
    ]
    return (1.0 + forecast.margins[role]) * max(known, default=0.0) + forecast.backlog[role]


def _alone(ctx: Context, count: int, ask: float) -> int:
    config = ctx.spec.policy
    ask = min(ask, float(MOST_INSTANCES))
    if ask > (1.0 + config.theta_out) * count + NOISE * ask:
        return max(count, whole_up(ask))
    if ask < (1.0 - config.theta_in) * count:
        return min(count, max(whole_up(ask), 1))
    return count


def _coupled(ctx: Context, pairing: Pairing, total: float) -> Instances:
    config = ctx.spec.policy
    lead, follow = pairing.split(ctx.state.desired)
    asked = total / config.target
    if ctx.forecast is not None:
        asked = provided(ctx.forecast, 1 if pairing.lead is Role.DECODE else 0)
    # A target far too small asks for more than any fleet has; what no count can hold is cut here.
    needed = min(asked, float(MOST_INSTANCES))
    if needed > (1.0 + config.theta_out) * lead + NOISE * needed:
        grown = max(lead, whole_up(needed))
        return pairing.join(grown, max(follow, min(pairing.ideal(grown), MOST_INSTANCES)))
    spoken_for = needed + _silent(ctx)
    if spoken_for < (1.0 - config.theta_in) * lead - NOISE * lead:
        shrunk = min(lead, whole_up(spoken_for))
        return pairing.join(shrunk, min(follow, pairing.ideal(shrunk)))
    return ctx.state.desired


def _silent(ctx: Context) -> int:
    """Return the instances whose load is unknown, where coverage is good enough to shrink."""
    driver = signal_of(ctx, ctx.spec.policy.driver)
    return max(0, driver.expected - driver.reporting) if driver.quality is Quality.OK else 0


def _code(want: Instances, current: Instances) -> Code:
    if want == current:
        return Code.WITHIN_TOLERANCE
    grows = want.prefill > current.prefill or want.decode > current.decode
    return Code.ABOVE_TARGET if grows else Code.BELOW_TARGET


def _text(ctx: Context, code: Code, total: float) -> str:
    """Return the comparison with the target, in the driver's unit per instance."""
    config = ctx.spec.policy
    driver = signal_of(ctx, config.driver)
    lead, _ = Pairing.of(config).split(ctx.state.desired)
    if lead <= 0:
        shown = quantity(total, driver.unit)
        return f"{capitalised(label(driver))} is {shown} and no instance is wished for"
    unit = driver.unit if driver.unit == "share" else f"{driver.unit} per instance"
    what = f"{capitalised(label(driver))} {quantity(total / lead, unit)}"
    goal = number(config.target) if driver.unit != "share" else percent(config.target)
    gap = total / (config.target * lead) - 1.0
    silent = f"; {_silent(ctx)} silent counted at target" if _silent(ctx) else ""
    if code is Code.WITHIN_TOLERANCE and -config.theta_in <= gap <= config.theta_out + NOISE:
        return f"{what} is within {_band(config.theta_in, config.theta_out)} of {goal}"
    side = "over" if gap > 0.0 else "below"
    fewer = ", but one instance fewer is too few" if code is Code.WITHIN_TOLERANCE else ""
    return f"{what} is {percent(abs(gap))} {side} the {goal} target{silent}{fewer}"


def _band(theta_in: float, theta_out: float) -> str:
    if theta_in == theta_out:
        return f"±{percent(theta_out)}"
    return f"-{percent(theta_in)} to +{percent(theta_out)}"
