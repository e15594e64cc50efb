"""Whether the signals allow a change: no data is not zero, and low load is not always idleness."""

from collections.abc import Iterator
from typing import Final

from controller.core.pairs import driver_role, other
from controller.core.reasons import Code
from controller.core.types import (
    SIGNAL_INDEX,
    SIGNALS,
    Adapt,
    Context,
    PolicyConfig,
    Quality,
    Reason,
    Role,
    Signal,
)
from controller.core.words import percent, quantity

# A driver below this share of one instance's target has dropped to zero, noise aside (M15).
ZERO_FRAC: Final = 1e-6
RAREST_RPS: Final = 1e-6
"""Fewer requests a second, one in twelve days, are none."""

SUDDEN: Final = 2.0
"""Requests that fell by more than this factor, while each seems to have grown by more than it."""

# What stands for a role's throughput, best first. The figure with cache hits is unfit to size by,
# yet it shows that the role is seen.
THROUGHPUT: Final = {
    Role.PREFILL: ("prefill_tps_uncached", "prefill_tps"),
    Role.DECODE: ("decode_tps",),
}
_CODES: Final = {
    Quality.MISSING: Code.METRIC_MISSING,
    Quality.INVALID: Code.METRIC_INVALID,
    Quality.STALE: Code.METRIC_STALE,
    Quality.PARTIAL: Code.METRIC_PARTIAL,
}


def signal_of(ctx: Context, name: str) -> Signal:
    """Return a signal; one that nobody delivered is missing, not zero (S7)."""
    found = ctx.signals.get(name)
    if found is not None:
        return found
    return Signal(name, None, SIGNALS[SIGNAL_INDEX[name]].unit, None, 0, 0, Quality.MISSING)


def label(signal: Signal) -> str:
    """Return what a signal is called in a sentence."""
    return SIGNALS[SIGNAL_INDEX[signal.name]].label


def driver_total(ctx: Context) -> float | None:
    """Return the driver's total over the service [driver unit], or ``None`` if it can't be used.

    A share (utilisation) is a mean over the instances that report, so its total is that mean
    times their number. Corrected for those that are silent, see :func:`for_silent`.
    """
    signal = signal_of(ctx, ctx.spec.policy.driver)
    if unreadable(signal, ctx.now_s) is not None or signal.value is None:
        return None
    seen = signal.value * signal.reporting if signal.unit == "share" else signal.value
    return seen * for_silent(signal, ctx.spec.policy)


def for_silent(signal: Signal, config: PolicyConfig) -> float:
    """Return by what a total is multiplied so that silent instances count like those that report.

    ``expected / reporting`` where the signal is ok, so at most ``1 / coverage_in_frac``. A partial
    one is not guessed at: there silent instances count as 0 (M10).
    """
    if signal.quality is not Quality.OK or not 0 < signal.reporting < signal.expected:
        return 1.0
    return min(signal.expected / signal.reporting, 1.0 / config.coverage_in_frac)


def unreadable(signal: Signal, now_s: float) -> Reason | None:
    """Return why a signal has no usable value: missing, invalid or stale; ``None`` if it has."""
    if signal.quality in (Quality.OK, Quality.PARTIAL):
        if signal.value is not None and 0.0 <= signal.value < float("inf"):
            return None
        return Reason(Code.METRIC_INVALID, f"{label(signal)} is not a plausible number")
    return Reason(_CODES[signal.quality], _complaint(signal, now_s))


def contradicted_rps(ctx: Context) -> float | None:
    """Return the requests/s that the throughput contradicts, ``None`` where it doesn't.

    They fell to less than half of what is usual while the tokens did not: each would have more
    than twice as many. Answers under way look so for a while, and so does a broken count (M15).
    """
    rps, past = _whole(ctx, "request_rps"), ctx.history.outlook
    if rps is None or rps < RAREST_RPS or rps * SUDDEN >= past.rps:
        return None
    for name, usual in (
        ("prefill_tps_uncached", past.uncached_tokens),
        ("decode_tps", past.output_tokens),
    ):
        tps = _whole(ctx, name)
        if tps is not None and usual > 0.0 and tps > SUDDEN * rps * usual:
            return rps
    return None


def _whole(ctx: Context, name: str) -> float | None:
    signal = signal_of(ctx, name)
    if signal.value is None or unreadable(signal, ctx.now_s) is not None:
        return None
    return signal.value * for_silent(signal, ctx.spec.policy)


def scale_out_bar(ctx: Context) -> Reason | None:
    """Return why nothing may grow on what the signals say, or ``None`` (S6, M09, M10).

    A partial driver may ask for more: it counts only what reports. A pair of which one role is
    not seen at all is held, because it is one decision.
    """
    driver = signal_of(ctx, ctx.spec.policy.driver)
    trouble = unreadable(driver, ctx.now_s)
    if trouble is not None:
        return trouble
    partner = _partner(ctx)
    return _graded(partner, ctx) if partner.quality is Quality.MISSING else None


def scale_in_bar(ctx: Context) -> Reason | None:
    """Return why nothing may shrink, or ``None``: every signal in use is ok and they agree (S6).

    In use are the driver, the partner role's throughput, TTFT and TBT. An idle service has no
    latencies: there the request rate, ok and 0, stands in for them.
    """
    return next(_scale_in_bars(ctx), None)


def _scale_in_bars(ctx: Context) -> Iterator[Reason]:
    for signal in (signal_of(ctx, ctx.spec.policy.driver), _partner(ctx)):
        yield from _not_ok(signal, ctx)
    if ctx.spec.policy.adapt == Adapt.AUTOMATIC and ctx.spec.engine is not None:
        # Needs rest on what comes as much as on what is made.
        yield from _not_ok(signal_of(ctx, "request_rps"), ctx)
    yield from _unsure_mix(ctx)
    total = driver_total(ctx)
    if total is not None and total <= ZERO_FRAC * ctx.spec.policy.target:
        yield from _not_idle(ctx)
        return
    for signal, goal_s in _latencies(ctx):
        yield from _not_ok(signal, ctx)
        yield from _over_goal(signal, goal_s, "low load during bad latency is not idleness")


def _unsure_mix(ctx: Context) -> Iterator[Reason]:
    """Yield why what a request takes can't be told now, where predictions rest on it."""
    past = ctx.history.outlook
    if ctx.spec.engine is None:
        return
    if past.input_tokens > past.uncached_tokens * (1.0 + ZERO_FRAC):
        # Prompts were seen whole, so the part that the cache holds is in use.
        yield from _not_ok(signal_of(ctx, "prefill_tps"), ctx)
    rps = contradicted_rps(ctx)
    if rps is not None:
        shown = f"requests fell to {quantity(rps, 'req/s')} and throughput did not"
        yield Reason(Code.METRIC_INVALID, f"{shown}: answers are under way or one is wrong")


def _not_idle(ctx: Context) -> Iterator[Reason]:
    """Yield what speaks against a driver of 0 meaning that nobody asks (M15)."""
    zero = f"{label(signal_of(ctx, ctx.spec.policy.driver))} is 0"
    requests = signal_of(ctx, "request_rps")
    yield from _not_ok(requests, ctx)
    for signal in (requests, *(signal_of(ctx, f"{role.value}_waiting") for role in Role)):
        if signal.value:
            shown = quantity(signal.value, signal.unit)
            yield Reason(
                Code.METRIC_INVALID, f"{zero} while {label(signal)} stand at {shown}: one is wrong"
            )
    for signal, goal_s in _latencies(ctx):
        yield from _over_goal(signal, goal_s, f"{zero} all the same: one is wrong")


def _over_goal(signal: Signal, goal_s: float, why: str) -> Iterator[Reason]:
    if signal.value is not None and signal.value > goal_s:
        shown = f"{label(signal)} of {signal.value:.3g} s is above the {goal_s:.3g} s SLO"
        yield Reason(Code.METRIC_INVALID, f"{shown}; {why}")


def _latencies(ctx: Context) -> tuple[tuple[Signal, float], tuple[Signal, float]]:
    slo = ctx.spec.slo
    return (signal_of(ctx, "ttft_s"), slo.ttft_s), (signal_of(ctx, "tbt_s"), slo.tbt_s)


def _partner(ctx: Context) -> Signal:
    """Return the throughput of the role that does not drive, the best-read one on offer."""
    names = THROUGHPUT[other(driver_role(ctx.spec.policy))]
    offered = [signal_of(ctx, name) for name in names]
    ok = (signal for signal in offered if signal.quality is Quality.OK)
    seen = (signal for signal in offered if signal.quality is not Quality.MISSING)
    return next(ok, None) or next(seen, None) or offered[0]


def _not_ok(signal: Signal, ctx: Context) -> Iterator[Reason]:
    trouble = unreadable(signal, ctx.now_s)
    if trouble is not None:
        yield trouble
    elif _short_of(signal, ctx.spec.policy):
        yield _graded(signal, ctx)


def _short_of(signal: Signal, config: PolicyConfig) -> bool:
    return signal.quality is Quality.PARTIAL or signal.coverage_frac < config.coverage_in_frac


def _graded(signal: Signal, ctx: Context) -> Reason:
    if signal.quality is Quality.MISSING:
        return Reason(Code.METRIC_MISSING, f"{_complaint(signal, ctx.now_s)}; the pair is held")
    role = SIGNALS[SIGNAL_INDEX[signal.name]].role.value
    needed = percent(ctx.spec.policy.coverage_in_frac)
    share = percent(signal.coverage_frac)
    shown = f"only {signal.reporting} of {signal.expected} {role} instances ({share})"
    return Reason(
        Code.METRIC_PARTIAL,
        f"{shown} report {label(signal)}; scale-in needs {needed}",
    )


def _complaint(signal: Signal, now_s: float) -> str:
    if signal.quality is Quality.STALE and signal.measured_at_s is not None:
        return f"{label(signal)} was last measured {now_s - signal.measured_at_s:,.0f} s ago"
    if signal.quality is Quality.INVALID:
        faults = "not a number, negative, too large to be true or dated in the future"
        return f"{label(signal)} is {faults}"
    return f"{label(signal)} is {signal.quality.value}: no sample in the window"
