"""What a tick teaches: tokens per request, needs and their peaks, surprises, start-up times."""

from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Final

from controller.core.engine import Engine, Mix, decode_tps, prefill_needed, request_s
from controller.core.outlook import OUTRAN, Foreseen, Learnt, Outlook, Peak, Started
from controller.core.pairs import Pairing, driver_role
from controller.core.trust import driver_total
from controller.core.types import (
    Adapt,
    Context,
    Forecast,
    Pair,
    PolicyConfig,
    Quality,
    Role,
    RoleState,
    Signal,
)

TICK_S: Final = 15.0
PEAK_S: Final = 300.0
"""A stretch of which one peak is kept."""

MIX_S: Final = 120.0
"""Time over which tokens per request are smoothed."""

CHANCE: Final = 2.5
"""A newest sample counts beyond the window's mean once it exceeds chance by so many spreads."""

START_S: Final = 120.0
"""Start-up time until some starts have been seen."""

LEAST_SERVED: Final = 0.1
"""Of the requests that come, the least share that is taken as served while a queue grows."""

SPEEDS: Final = (0.2, 1.5)
"""How far what is seen of an engine's speed may stand apart from its figures."""

SATURATED_S: Final = 30.0
FORGET_S: Final = 7200.0
"""Times over which a speed is learnt while instances are saturated, and fades afterwards."""

STARTS_KEPT: Final = 20
SLOW_FRAC: Final = 0.9
"""Of start-up times the percentile that is planned with."""

LONGEST_LEAD_S: Final = 1800.0
FADE_S: Final = 2 * 86_400.0
"""Time in which what was counted of surprises fades to 1/e."""

PRIOR: Final = (
    *(120.0, 12.0, 10.0, 8.0, 7.0, 5.0, 4.0, 4.0, 3.0, 3.0),
    *(1.0, 0.5, 0.5, 0.2, 0.1, 0.0, 0.0),
)
"""Surprises of a service nobody has watched yet, in minutes: 1.4 within 99 %."""

RATIO_PER_S: Final = 0.10 / 60.0
"""How fast the ratio in force follows, relative: 10 % a minute."""


def learn(ctx: Context) -> tuple[Outlook, Forecast]:
    """Return the outlook after this look at the service, and what to provide for.

    With ``adapt`` on automatic and known engines the needs come from the measured mix of tokens
    and the engines' speeds, else from the driver, its target and the ratio. Unreadable signals
    teach nothing and leave needs unknown.
    """
    past, config, engine = ctx.history.outlook, ctx.spec.policy, ctx.spec.engine
    elapsed_s = min(max(ctx.now_s - past.at_s, 0.0), 4.0 * TICK_S) if past.at_s else TICK_S
    rates = _rates(ctx)
    outlook = replace(
        past if rates is None else _mixed(past, rates, elapsed_s),
        at_s=ctx.now_s,
        prefill=_starts(past.prefill, ctx.state.prefill, ctx.now_s),
        decode=_starts(past.decode, ctx.state.decode, ctx.now_s),
    )
    mix, lead_s = _mix(outlook), _lead_s(outlook, config)
    measured = None
    if engine is not None and mix is not None and rates is not None:
        measured = _Measured(
            ctx, engine, mix, rates, (outlook.prefill.speed, outlook.decode.speed)
        )
        outlook = measured.timed(outlook, elapsed_s)
        measured = replace(measured, speeds=(outlook.prefill.speed, outlook.decode.speed))
    adapts = config.adapt is Adapt.AUTOMATIC and measured is not None
    load = measured.load() if adapts and measured is not None else _by_driver(ctx)
    backlog = (0.0, 0.0) if measured is None else measured.backlog()
    outlook, peaks = _peaked(outlook, load.needs, ctx.now_s, config.hold_s)
    outlook = _surprised(outlook, load.needs, ctx.now_s, rates.rps if rates else 0.0)
    margins = _margins(outlook, ctx)
    outlook = _foreseen(outlook, peaks, ctx.now_s + lead_s + TICK_S)
    ratio = target = None
    known: Pair = (None, None)
    if measured is not None:
        known = load.needs if adapts else measured.load().needs
        best = peaks if adapts else known
        ratio = _best_ratio(best, margins)
        target = measured.target(margins)
    if ratio is not None:
        outlook = replace(outlook, ratio=_followed(outlook.ratio, ratio, elapsed_s, config))
        ratio = outlook.ratio
    return outlook, Forecast(
        lead_s=lead_s,
        needs=load.needs,
        peaks=peaks,
        margins=margins,
        newest=load.newest,
        backlog=backlog,
        measured=known,
        ratio=ratio,
        target=target,
        mix=mix if measured is not None else None,
        rps=None if rates is None else rates.rps,
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """Instances needed by the window's load and by its newest sample beyond chance."""

    needs: Pair
    newest: Pair


_UNKNOWN: Final = _Load((None, None), (None, None))


def _by_driver(ctx: Context) -> _Load:
    """Return what the driver asks for at its target, the other role at the ratio."""
    config = ctx.spec.policy
    total = driver_total(ctx)
    if total is None:
        return _UNKNOWN
    driver = ctx.signals[config.driver]
    newest = total
    if config.hold_s > 0.0 and driver.newest is not None and driver.value:
        requests = ctx.signals.get("request_rps")
        rps = requests.value if requests is not None and requests.value else 0.0
        sure = 1.0 - CHANCE * sqrt(2.0 / max(rps * TICK_S, 2.0))
        newest = max(total * driver.newest / driver.value * sure, 0.0)
    pairing = Pairing.of(config)
    return _Load(_paired(pairing, total / config.target), _paired(pairing, newest / config.target))


def _paired(pairing: Pairing, lead: float) -> Pair:
    follow = pairing.ideal_frac * lead
    return (follow, lead) if pairing.lead is Role.DECODE else (lead, follow)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Needs by the measured mix and the engines' speeds."""

    ctx: Context
    engine: Engine
    mix: Mix
    rates: "_Rates"
    speeds: tuple[float, float]

    def timed(self, outlook: Outlook, elapsed_s: float) -> Outlook:
        """Return the outlook with what instances were seen to sustain.

        A role with a queue works as fast as it can; one that makes more than its figures say
        within its goals is faster. Else what was learnt fades towards the figures.
        """
        rates, ready = self.rates, self.ctx.state.ready
        plain = replace(self, speeds=(1.0, 1.0))
        usual = self._usual()
        prefill_s = request_s(self.engine, self.mix.uncached_tokens)
        busy = rates.uncached_tps / max(self.mix.uncached_tokens, 1.0) * prefill_s
        tbt = self.ctx.signals.get("tbt_s")
        goal_s = self.ctx.spec.slo.tbt_s
        slow = 1.0
        if tbt is not None and tbt.value is not None and tbt.value > goal_s:
            slow = goal_s / tbt.value
        made = rates.decode_tps / plain._decode_tps() * slow
        return replace(
            outlook,
            prefill=_timed(
                outlook.prefill,
                busy / max(ready.prefill, 1),
                saturated=rates.prefill_waiting > usual,
                elapsed_s=elapsed_s,
            ),
            decode=_timed(
                outlook.decode,
                made / max(ready.decode, 1),
                saturated=rates.decode_waiting > usual or slow < 1.0,
                elapsed_s=elapsed_s,
            ),
        )

    def _usual(self) -> float:
        """Return how many requests wait without anything being wrong."""
        return 0.25 * self.ctx.spec.slo.ttft_s * self.rates.rps + 2.0

    def load(self) -> _Load:
        rates = self.rates
        needs = self._needs(rates.rps, rates.decode_tps, rates.uncached_tps)
        if self.ctx.spec.policy.hold_s <= 0.0:
            return _Load(needs, needs)
        spread = max(self.engine.prompt_spread, self.engine.output_spread)
        sure = max(1.0 - CHANCE * sqrt(spread / max(rates.newest_rps * TICK_S, 1.0)), 0.0)
        return _Load(
            needs,
            self._needs(
                rates.newest_rps * sure,
                rates.newest_decode_tps * sure,
                rates.newest_uncached_tps * sure,
            ),
        )

    def _needs(self, rps: float, decode: float, uncached: float) -> tuple[float, float]:
        """Return the instances for what came or what was served, the larger."""
        mix, slo = self.mix, self.ctx.spec.slo
        tokens = max(uncached, rps * mix.uncached_tokens)
        per_request = max(mix.uncached_tokens, tokens / rps if rps > 0.0 else 0.0, 1.0)
        prefill = prefill_needed(
            self.engine,
            tokens / per_request,
            per_request,
            ttft_s=slo.ttft_s,
            goal_frac=slo.goal_frac,
        )
        made = max(decode, rps * mix.output_tokens)
        return prefill / self.speeds[0], made / self._decode_tps()

    def _decode_tps(self) -> float:
        slo, config = self.ctx.spec.slo, self.ctx.spec.policy
        goal_s = slo.tbt_s * (1.0 - config.slo_margin_frac)
        return decode_tps(self.engine, self.mix, goal_s) * self.speeds[1]

    def backlog(self) -> tuple[float, float]:
        """Return the instances that drain what waits beyond the usual within ``drain_s``."""
        drain_s = self.ctx.spec.policy.drain_s
        if drain_s <= 0.0:
            return 0.0, 0.0
        rates, mix = self.rates, self.mix
        usual = self._usual()
        waits_s = max(rates.prefill_waiting - usual, 0.0) * request_s(
            self.engine, mix.uncached_tokens
        )
        waits_s /= self.speeds[0]
        tokens = max(rates.decode_waiting - usual, 0.0) * mix.output_tokens
        return waits_s / drain_s, tokens / self._decode_tps() / drain_s

    def target(self, margins: tuple[float, float]) -> float | None:
        """Return the driver's total per instance of its role that leaves the margin."""
        total = driver_total(self.ctx)
        prefill, decode = self._needs(
            self.rates.rps, self.rates.decode_tps, self.rates.uncached_tps
        )
        role = driver_role(self.ctx.spec.policy)
        need = prefill if role is Role.PREFILL else decode
        if total is None or need <= 0.0:
            return None
        return total / need / (1.0 + margins[0 if role is Role.PREFILL else 1])


def _timed(past: Learnt, seen: float, *, saturated: bool, elapsed_s: float) -> Learnt:
    """Return what is learnt of a role after its instances worked at ``seen`` of their figures."""
    low, high = SPEEDS
    if saturated:
        weight = 1.0 - exp(-elapsed_s / SATURATED_S)
        speed = past.speed + weight * (min(max(seen, low), high) - past.speed)
    elif seen > past.speed:
        speed = min(seen, high)
    else:
        speed = past.speed + (1.0 - past.speed) * (1.0 - exp(-elapsed_s / FORGET_S))
    return replace(past, speed=speed)


def _best_ratio(needs: Pair, margins: tuple[float, float]) -> float | None:
    prefill, decode = needs
    if not prefill or not decode:
        return None
    return (1.0 + margins[0]) * prefill / ((1.0 + margins[1]) * decode)


@dataclass(frozen=True, slots=True)
class _Rates:
    rps: float
    newest_rps: float
    input_tps: float
    uncached_tps: float
    newest_uncached_tps: float
    decode_tps: float
    newest_decode_tps: float
    prefill_waiting: float
    decode_waiting: float


def _rates(ctx: Context) -> _Rates | None:
    """Return the rates of the service, ``None`` unless all that are needed can be read."""
    found = []
    for name in ("request_rps", "prefill_tps_uncached", "decode_tps"):
        signal = ctx.signals.get(name)
        if signal is None or signal.value is None or not _readable(signal):
            return None
        found.append((signal.value, signal.value if signal.newest is None else signal.newest))
    (rps, newest_rps), (uncached, newest_uncached), (decode, newest_decode) = found
    whole = ctx.signals.get("prefill_tps")
    inputs = whole.value if whole is not None and _readable(whole) and whole.value else uncached
    return _Rates(
        rps,
        newest_rps,
        max(inputs, uncached),
        uncached,
        newest_uncached,
        decode,
        newest_decode,
        _gauge(ctx, "prefill_waiting"),
        _gauge(ctx, "decode_waiting"),
    )


def _readable(signal: Signal) -> bool:
    return signal.quality is Quality.OK or signal.quality is Quality.PARTIAL


def _gauge(ctx: Context, name: str) -> float:
    """Return a queue's length; an unreadable one asks for nothing."""
    signal = ctx.signals.get(name)
    if signal is None or signal.value is None or not _readable(signal):
        return 0.0
    return signal.value if signal.newest is None else min(signal.newest, 2.0 * signal.value)


def _mixed(outlook: Outlook, rates: _Rates, elapsed_s: float) -> Outlook:
    """Return the outlook with tokens per request brought up to date.

    What was served and not what came is what made the tokens: a queue that grows is left out.
    """
    grown = (rates.prefill_waiting - outlook.waiting) / max(elapsed_s, 1.0)
    served = min(max(rates.rps - grown, LEAST_SERVED * rates.rps), 1.5 * rates.rps)
    grown = (rates.decode_waiting - outlook.decode_waiting) / max(elapsed_s, 1.0)
    finished = min(max(served - grown, LEAST_SERVED * rates.rps), 1.5 * rates.rps)
    outlook = replace(outlook, waiting=rates.prefill_waiting, decode_waiting=rates.decode_waiting)
    if served <= 0.0:
        return outlook
    seen = outlook.rps > 0.0
    weight = 1.0 - exp(-elapsed_s / MIX_S) if seen else 1.0

    def smooth(old: float, new: float) -> float:
        return old + weight * (new - old)

    return replace(
        outlook,
        rps=smooth(outlook.rps, rates.rps),
        input_tokens=smooth(outlook.input_tokens, rates.input_tps / served),
        uncached_tokens=smooth(outlook.uncached_tokens, rates.uncached_tps / served),
        output_tokens=smooth(outlook.output_tokens, rates.decode_tps / finished),
    )


def _mix(outlook: Outlook) -> Mix | None:
    if outlook.rps <= 0.0 or outlook.output_tokens <= 0.0:
        return None
    return Mix(outlook.input_tokens, outlook.uncached_tokens, outlook.output_tokens)


def _starts(past: Learnt, state: RoleState, now_s: float) -> Learnt:
    """Return what the counts of one role say about start-up times, first in first out."""
    wished = state.ready + state.starting
    more, came = wished - past.wished, state.ready - past.ready
    if not past.wished and not past.ready:
        more, came = state.starting, 0
    waits, took = list(past.waits), list(past.took_s)
    if more > 0:
        waits.append(Started(now_s, more))
    while came > 0 and waits:
        first = waits[0]
        took.append(now_s - first.at_s)
        came -= 1
        waits[0] = Started(first.at_s, first.instances - 1)
        if waits[0].instances <= 0:
            del waits[0]
    if not state.starting:
        waits.clear()
    if (
        past.wished == wished
        and past.ready == state.ready
        and len(waits) == len(past.waits)
        and len(took) == len(past.took_s)
    ):
        return past
    return replace(
        past,
        took_s=tuple(took[-STARTS_KEPT:]),
        waits=tuple(waits),
        wished=wished,
        ready=state.ready,
    )


def _lead_s(outlook: Outlook, config: PolicyConfig) -> float:
    if config.lead_s is not None:
        return config.lead_s
    slow = [start_up_s(outlook.prefill), start_up_s(outlook.decode)]
    known = [s for s in slow if s is not None]
    return min(max(known), LONGEST_LEAD_S) if known else START_S


def start_up_s(learnt: Learnt) -> float | None:
    """Return the 90th percentile of the start-up times seen [s], ``None`` before the first."""
    if not learnt.took_s:
        return None
    times = sorted(learnt.took_s)
    return times[min(int(SLOW_FRAC * len(times)), len(times) - 1)]


def _peaked(outlook: Outlook, needs: Pair, now_s: float, hold_s: float) -> tuple[Outlook, Pair]:
    prefill, decode = needs
    peaks = [peak for peak in outlook.peaks if peak.since_s + PEAK_S > now_s - hold_s]
    if prefill is not None and decode is not None:
        last = peaks[-1] if peaks else None
        if last is not None and now_s < last.since_s + PEAK_S:
            peaks[-1] = Peak(last.since_s, max(last.prefill, prefill), max(last.decode, decode))
        else:
            peaks.append(Peak(now_s, prefill, decode))
    if not peaks:
        return replace(outlook, peaks=()), (None, None)
    top = max(p.prefill for p in peaks), max(p.decode for p in peaks)
    return replace(outlook, peaks=tuple(peaks)), top


def _foreseen(outlook: Outlook, peaks: Pair, due_s: float) -> Outlook:
    """Note once a minute what is provided for, to be judged when a start of now would serve."""
    prefill, decode = peaks
    last = outlook.foreseen[-1].due_s if outlook.foreseen else 0.0
    if prefill is None or decode is None or due_s - last < 60.0:
        return outlook
    return replace(outlook, foreseen=(*outlook.foreseen, Foreseen(due_s, prefill, decode)))


def _surprised(outlook: Outlook, needs: Pair, now_s: float, rps: float) -> Outlook:
    """Count by how much the load outran what was foreseen for now."""
    if not outlook.foreseen or outlook.foreseen[0].due_s > now_s:
        return outlook
    due = [entry for entry in outlook.foreseen if entry.due_s <= now_s]
    kept = outlook.foreseen[len(due) :]
    prefill, decode = needs
    if prefill is None or decode is None:
        return replace(outlook, foreseen=kept)
    weight = rps / outlook.rps if outlook.rps > 0 else 1.0
    last = due[-1]
    return replace(
        outlook,
        foreseen=kept,
        prefill=_counted(outlook.prefill, prefill, last.prefill, weight),
        decode=_counted(outlook.decode, decode, last.decode, weight),
    )


def _counted(learnt: Learnt, need: float, foreseen: float, weight: float) -> Learnt:
    outran = max(need, 1.0) / max(foreseen, 1.0)
    at = next((i for i, edge in enumerate(OUTRAN) if outran <= edge), len(OUTRAN))
    fade = exp(-60.0 / FADE_S)
    counts = [count * fade for count in learnt.outran or PRIOR]
    counts[at] += min(weight, 3.0)
    return replace(learnt, outran=tuple(counts))


def _margins(outlook: Outlook, ctx: Context) -> tuple[float, float]:
    config = ctx.spec.policy
    if config.margin_frac is not None:
        return config.margin_frac, config.margin_frac
    late = (1.0 - ctx.spec.slo.goal_frac) / 2.0
    return margin(outlook.prefill, late), margin(outlook.decode, late)


def margin(learnt: Learnt, late_frac: float) -> float:
    """Return the share by which needs exceed the outlook in all but ``late_frac`` of the time."""
    counts = learnt.outran or PRIOR
    left = late_frac * sum(counts)
    for at in range(len(counts) - 1, 0, -1):
        if counts[at] > left:
            upper = OUTRAN[at] if at < len(OUTRAN) else 4.0
            lower = OUTRAN[at - 1]
            # Inside a bin what is above the quantile is taken as spread evenly.
            return upper - (upper - lower) * left / counts[at] - 1.0
        left -= counts[at]
    return 0.0


def _followed(past: float | None, best: float, elapsed_s: float, config: PolicyConfig) -> float:
    """Return the ratio in force: towards the best one, slowly, within the operator's band."""
    low, high = config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band
    best = min(max(best, low), high)
    if past is None:
        return best
    most = 1.0 + RATIO_PER_S * elapsed_s
    return min(max(best, past / most, low), past * most, high)
