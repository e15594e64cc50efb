"""What a tick teaches, and what to provide for: needs, peaks, surprises, the ratio that fits."""

from dataclasses import replace
from math import sqrt
from typing import Any, Final

from controller.core import starts
from controller.core.foresight import Ahead, foresee
from controller.core.measuring import (
    CHANCE,
    IDLE,
    TICK_S,
    UNKNOWN,
    Load,
    Measured,
    Rates,
    mix_of,
    mixed,
)
from controller.core.outlook import Learnt, Outlook
from controller.core.pairs import Pairing
from controller.core.surprises import foreseen, margins_of, peaked, surprised
from controller.core.trust import driver_total
from controller.core.types import Adapt, Context, Forecast, Pair, PolicyConfig, Role, RoleState

LONGEST_STEP_S: Final = 60.0
"""A longer gap between two looks teaches no more than this."""

SPREAD: Final = 2.0
"""E[x²] / E[x]² of requests whose engine has no figures."""

UNTOLD: Final[Pair] = (None, None)
RATIO_PER_S: Final = 0.10 / 60.0
"""How fast the ratio in force follows, relative: 10 % a minute."""


def learn(ctx: Context) -> tuple[Outlook, Forecast]:
    """Return the outlook after this look at the service, and what to provide for.

    With ``adapt`` on automatic and known engines the needs come from the measured mix of tokens
    and the engines' speeds, else from the driver, its target and the ratio. Unreadable signals
    teach nothing and leave needs unknown.
    """
    config = ctx.spec.policy
    outlook, measured = _looked(ctx, _elapsed_s(ctx))
    load = _load(ctx, measured)
    outlook, peaks = peaked(outlook, load.needs, ctx.now_s, config.hold_s)
    outlook = surprised(outlook, load.needs, ctx.now_s)
    margins, lead_s = margins_of(outlook, ctx), starts.lead_s(ctx, outlook)
    serves_s, ahead = lead_s + TICK_S, None
    if config.hold_s > 0.0:
        outlook, ahead = foresee(outlook, load.needs, ctx.now_s, serves_s)
    outlook = foreseen(outlook, _highest(peaks, ahead), ctx.now_s + serves_s)
    told: dict[str, Any] = _told_ahead(ahead)
    if measured is not None:
        outlook, told["ratio"], known = _compared(ctx, outlook, measured, (load, peaks, margins))
        told |= {
            "backlog": measured.backlog(),
            "measured": known,
            "target": None if known == UNTOLD else measured.target(known),
            "mix": measured.mix,
            "rps": measured.rates.rps,
        }
    overdue = _overdue(ctx, outlook, lead_s)
    return outlook, Forecast(
        lead_s, load.needs, peaks, margins, load.newest, overdue=overdue, **told
    )


def _compared(
    ctx: Context,
    outlook: Outlook,
    measured: Measured,
    asked: tuple[Load, Pair, tuple[float, float]],
) -> tuple[Outlook, float | None, Pair]:
    """Return the outlook with the ratio in force, that ratio, and the measured needs.

    Read in part, a load shows what there is at least, and nothing of how its roles compare.
    """
    if not measured.rates.teach or measured.rates.rps is None:
        return outlook, None, UNTOLD
    load, peaks, margins = asked
    adapts = ctx.spec.policy.adapt == Adapt.AUTOMATIC
    known = load.needs if adapts else measured.load().needs
    best = _best_ratio(peaks if adapts else known, margins)
    if best is not None:
        elapsed_s = _elapsed_s(ctx)
        ratio = _followed(outlook.ratio, best, elapsed_s, ctx.spec.policy)
        outlook = replace(outlook, ratio=ratio)
    return outlook, outlook.ratio, known


def _elapsed_s(ctx: Context) -> float:
    """Return how long ago the last look was [s]: a tick where there was none."""
    last_s = ctx.history.outlook.at_s
    return min(max(ctx.now_s - last_s, 0.0), LONGEST_STEP_S) if last_s else TICK_S


def _looked(ctx: Context, elapsed_s: float) -> tuple[Outlook, Measured | None]:
    """Return the outlook with this look's counts and rates, and the load if it can be measured."""
    past, engine, rates = ctx.history.outlook, ctx.spec.engine, Rates.of(ctx)
    limit_s = starts.limit_s(starts.lead_s(ctx, past))
    outlook = replace(
        past if rates is None else mixed(past, rates, elapsed_s),
        at_s=ctx.now_s,
        prefill=_counted(past.prefill, ctx.state.prefill, ctx.now_s, limit_s),
        decode=_counted(past.decode, ctx.state.decode, ctx.now_s, limit_s),
    )
    mix = mix_of(outlook)
    if engine is None or mix is None or rates is None:
        return outlook, None
    measured = Measured(ctx, engine, mix, rates)
    if rates.teach:
        outlook = measured.timed(outlook, elapsed_s)
    return outlook, replace(measured, speeds=(outlook.prefill.speed, outlook.decode.speed))


def _counted(past: Learnt, state: RoleState, now_s: float, limit_s: float) -> Learnt:
    found = starts.counted(past, state, now_s, limit_s)
    return found if found.ready == past.ready else replace(found, changed_s=now_s)


def _overdue(ctx: Context, outlook: Outlook, lead_s: float) -> tuple[int, int]:
    """Return the instances of each role that are not counted on."""
    limit_s = starts.limit_s(lead_s)
    return (
        starts.overdue(outlook.prefill, ctx.state.prefill, ctx.now_s, limit_s),
        starts.overdue(outlook.decode, ctx.state.decode, ctx.now_s, limit_s),
    )


def _load(ctx: Context, measured: Measured | None) -> Load:
    config = ctx.spec.policy
    if config.adapt != Adapt.AUTOMATIC or ctx.spec.engine is None:
        return _by_driver(ctx)
    if measured is not None:
        return measured.load()
    rates = Rates.of(ctx)
    # Nobody has asked yet, and everything that is read says so: that is no lack of knowledge.
    return IDLE if rates is not None and rates.idle else UNKNOWN


def _by_driver(ctx: Context) -> Load:
    """Return what the driver asks for at its target, the other role at the ratio."""
    config = ctx.spec.policy
    total = driver_total(ctx)
    if total is None:
        return UNKNOWN
    pairing = Pairing.of(config)
    needs = _paired(pairing, total / config.target)
    driver = ctx.signals[config.driver]
    if config.hold_s <= 0.0 or driver.newest is None or not driver.value:
        return Load(needs, needs)
    requests = ctx.signals.get("request_rps")
    rps = requests.value if requests is not None and requests.value else 0.0
    sure = max(1.0 - CHANCE * sqrt(SPREAD / max(rps * TICK_S, SPREAD)), 0.0)
    newest = total * driver.newest / driver.value * sure
    return Load(needs, _paired(pairing, newest / config.target))


def _paired(pairing: Pairing, lead: float) -> Pair:
    follow = pairing.ideal_frac * lead
    return (follow, lead) if pairing.lead is Role.DECODE else (lead, follow)


def _told_ahead(ahead: tuple[Ahead, Ahead] | None) -> dict[str, Any]:
    """Return what a forecast tells of both roles, by the fields of :class:`Forecast`."""
    if ahead is None:
        return {}
    prefill, decode = ahead
    return {
        "ahead": (prefill.need, decode.need),
        "ahead_by": (prefill.by, decode.by),
        "ahead_errors": (prefill.error, decode.error),
        "flat_errors": (prefill.flat_error, decode.flat_error),
    }


def _highest(peaks: Pair, ahead: tuple[Ahead, Ahead] | None) -> Pair:
    """Return what is provided for before margins: the peaks, or what is forecast if more."""
    if ahead is None:
        return peaks
    return max(peaks[0] or 0.0, ahead[0].need), max(peaks[1] or 0.0, ahead[1].need)


def _best_ratio(needs: Pair, margins: tuple[float, float]) -> float | None:
    prefill, decode = needs
    if not prefill or not decode:
        return None
    return (1.0 + margins[0]) * prefill / ((1.0 + margins[1]) * decode)


def _followed(past: float | None, best: float, elapsed_s: float, config: PolicyConfig) -> float:
    """Return the ratio in force: towards the best one, slowly, within the operator's band."""
    low, high = config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band
    best = min(max(best, low), high)
    if past is None:
        return best
    most = 1.0 + RATIO_PER_S * elapsed_s
    return min(max(min(max(best, past / most), past * most), low), high)
