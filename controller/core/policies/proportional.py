"""Proportional control on one linear signal, which sizes both roles."""

from typing import Final

from controller.core.overdue import supply_of, with_replacements
from controller.core.pairs import MOST_INSTANCES, NOISE, Pairing, driver_role, other, whole_up
from controller.core.prediction import stands_alone
from controller.core.reasons import Code
from controller.core.trust import driver_total, for_silent, label, signal_of, unreadable
from controller.core.types import (
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
    that are starting as supply keeps the policy from asking again while they load. Overdue ones
    are no supply: to grow is measured against the others, and those that are missing are
    replaced (see :mod:`controller.core.overdue`).

    What is provided for is not ``M / m*`` alone: the highest need of ``hold_s``, the margin by
    which the load has outrun such peaks within a start-up, and what drains the queues (see
    :class:`Forecast`). Above ``1 + theta_out`` or below ``1 - theta_in`` times the wished
    instances the driver's role becomes that, rounded up, and the other follows at ``pd_ratio``. A
    scale-out never shrinks the follower and a scale-in never grows it. With ``adapt`` on
    automatic each role stands at its own measured need. Silent instances count like those that
    report while these are enough to shrink by, else as 0; for a scale-in as loaded to their target
    (M10). Without usable signals the pair is kept.
    """
    driver = signal_of(ctx, ctx.spec.policy.driver)
    total = driver_total(ctx)
    if total is None:
        trouble = unreadable(driver, ctx.now_s) or Reason(Code.METRIC_INVALID, _UNSEEN)
        return _kept(ctx, Reason(trouble.code, capitalised(trouble.text)))
    pairing = Pairing.of(ctx.spec.policy)
    lead, _ = pairing.split(ctx.state.desired)
    load = total / (ctx.spec.policy.target * lead) if lead > 0 else None
    if not stands_alone(ctx):
        want = _coupled(ctx, pairing, total)
        code = _code(want, ctx.state.desired)
        return Recommendation(want, Reason(code, _text(ctx, code, total)), driver.name, load)
    forecast = ctx.forecast
    if forecast is None or forecast.needs[0] is None or forecast.needs[1] is None:
        return _kept(ctx, _unmeasured(ctx))
    current = ctx.state.desired
    asks = provided(forecast, 0), provided(forecast, 1)
    want = Instances(
        _alone(ctx, Role.PREFILL, asks[0], "prefill_tps_uncached"),
        _alone(ctx, Role.DECODE, asks[1], "decode_tps"),
    )
    text = _need_text(forecast, asks)
    return Recommendation(want, Reason(_code(want, current), text), driver.name, load)


def _unmeasured(ctx: Context) -> Reason:
    """Return why needs can't be told: the throughput that can't be read, or nothing seen yet."""
    for name in ("prefill_tps_uncached", "decode_tps"):
        trouble = unreadable(signal_of(ctx, name), ctx.now_s)
        if trouble is not None:
            return Reason(trouble.code, capitalised(trouble.text))
    return Reason(Code.METRIC_MISSING, "What a request takes is not known yet")


def _kept(ctx: Context, why: Reason) -> Recommendation:
    return Recommendation(ctx.state.desired, why, ctx.spec.policy.driver, None)


def provided(forecast: Forecast, role: int) -> float:
    """Return the instances to provide for a role: its peak with the margin, and its backlog."""
    known = [
        need
        for pair in (forecast.peaks, forecast.needs, forecast.newest, forecast.ahead)
        if (need := pair[role]) is not None
    ]
    return (1.0 + forecast.margins[role]) * max(known, default=0.0) + forecast.backlog[role]


def _alone(ctx: Context, role: Role, ask: float, seen_by: str) -> int:
    """Return the count of a role at its own need ``ask`` [instances], read from ``seen_by``."""
    config, count = ctx.spec.policy, ctx.state.desired.of(role)
    ask = min(ask, float(MOST_INSTANCES))
    if ask > (1.0 + config.theta_out) * supply_of(ctx, role) + NOISE * ask:
        return max(count, with_replacements(ctx, role, whole_up(ask)))
    spoken_for = _spoken_for(ctx, ask, seen_by)
    if spoken_for < (1.0 - config.theta_in) * count - NOISE * count:
        return min(count, max(whole_up(spoken_for), 1))
    return count


def _coupled(ctx: Context, pairing: Pairing, total: float) -> Instances:
    config = ctx.spec.policy
    lead, follow = pairing.split(ctx.state.desired)
    asked = total / config.target
    if ctx.forecast is not None:
        asked = provided(ctx.forecast, 1 if pairing.lead is Role.DECODE else 0)
    # A target far too small asks for more than any fleet has; what no count can hold is cut here.
    needed = min(asked, float(MOST_INSTANCES))
    if needed > (1.0 + config.theta_out) * supply_of(ctx, pairing.lead) + NOISE * needed:
        grown = whole_up(needed)
        paired = min(pairing.ideal(grown), MOST_INSTANCES)
        return pairing.join(
            max(lead, with_replacements(ctx, pairing.lead, grown)),
            max(follow, with_replacements(ctx, other(pairing.lead), paired)),
        )
    spoken_for = _spoken_for(ctx, needed, config.driver)
    if spoken_for < (1.0 - config.theta_in) * lead - NOISE * lead:
        shrunk = min(lead, whole_up(spoken_for))
        return pairing.join(shrunk, min(follow, pairing.ideal(shrunk)))
    return ctx.state.desired


def _spoken_for(ctx: Context, ask: float, name: str) -> float:
    """Return the instances to keep for ``ask`` if those that are silent are loaded to target."""
    reported = ask / for_silent(signal_of(ctx, name), ctx.spec.policy)
    return max(ask, reported + _silent_of(ctx, name))


def _silent_of(ctx: Context, name: str) -> int:
    """Return the instances whose load is unknown, where coverage is good enough to shrink."""
    signal = signal_of(ctx, name)
    return max(0, signal.expected - signal.reporting) if signal.quality is Quality.OK else 0


def _need_text(forecast: Forecast, asks: tuple[float, float]) -> str:
    """Return what the load needs and what is provided, in instances."""
    roles = ("prefill", "decode")
    needs, peaks = (
        " and ".join(f"{pair[at] or 0.0:.1f} {role}" for at, role in enumerate(roles))
        for pair in (forecast.needs, forecast.peaks)
    )
    parts = [f"the load needs {needs} instances, {peaks} at its latest peak"]
    if told := _ahead_text(forecast):
        parts.append(told)
    if any(forecast.margins):
        more = " and ".join(percent(margin) for margin in forecast.margins)
        parts.append(f"with {more} for what {forecast.lead_s:.0f} s of start-up may bring")
    if any(forecast.backlog):
        queued = " and ".join(f"{n:.1f}" for n in forecast.backlog)
        parts.append(f"{queued} for the queues")
    return f"{capitalised(', '.join(parts))}, that is {asks[0]:.1f} and {asks[1]:.1f}"


def _ahead_text(forecast: Forecast) -> str:
    """Return what is forecast where that is more than any need seen; empty where it isn't."""
    told = [
        f"{ahead:.1f} {role} by its {by}"
        for role, ahead, by, peak in zip(
            ("prefill", "decode"), forecast.ahead, forecast.ahead_by, forecast.peaks, strict=True
        )
        if ahead is not None and peak is not None and ahead > peak * (1.0 + NOISE)
    ]
    return f"{' and '.join(told)} forecast" if told else ""


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
    mute = _silent_of(ctx, config.driver)
    silent = f"; {mute} silent counted in" if mute else ""
    if code is Code.WITHIN_TOLERANCE and -config.theta_in <= gap <= config.theta_out + NOISE:
        return f"{what} is within {_band(config.theta_in, config.theta_out)} of {goal}"
    if (gap > 0.0) != (code is Code.ABOVE_TARGET) or code is Code.WITHIN_TOLERANCE:
        held = _provided_text(ctx)
        if held:
            return f"{what} against a target of {goal}{silent}; {held}"
    side = "over" if gap > 0.0 else "below"
    fewer = ", but one instance fewer is too few" if code is Code.WITHIN_TOLERANCE else ""
    return f"{what} is {percent(abs(gap))} {side} the {goal} target{silent}{fewer}"


def _provided_text(ctx: Context) -> str:
    """Return what is provided for beyond the load of now; empty where that is all."""
    forecast, role = ctx.forecast, driver_role(ctx.spec.policy)
    if forecast is None:
        return ""
    at = 0 if role is Role.PREFILL else 1
    ask, need = provided(forecast, at), forecast.needs[at]
    if need is None or ask <= need * (1.0 + NOISE):
        return ""
    peak = forecast.peaks[at]
    told = _ahead_text(forecast)
    return (
        f"with a peak of {need if peak is None else peak:.1f} {role.value} instances, "
        f"{told}{', ' if told else ''}"
        f"{percent(forecast.margins[at])} more for what {forecast.lead_s:.0f} s of start-up may "
        f"bring and {forecast.backlog[at]:.1f} for the queue, {ask:.1f} are provided"
    )


def _band(theta_in: float, theta_out: float) -> str:
    if theta_in == theta_out:
        return f"±{percent(theta_out)}"
    return f"-{percent(theta_in)} to +{percent(theta_out)}"
