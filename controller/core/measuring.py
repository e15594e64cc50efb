"""What a load needs, by the measured mix of tokens and the engines' speeds."""

from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Final, Self

from controller.core.engine import Engine, Mix, decode_tps, prefill_needed, request_s
from controller.core.outlook import Learnt, Outlook
from controller.core.pairs import driver_role
from controller.core.trust import (
    RAREST_RPS,
    contradicted_rps,
    driver_total,
    for_silent,
    unreadable,
)
from controller.core.types import Context, Pair, Quality, Role

TICK_S: Final = 15.0
"""What the newest sample covers."""

CHANCE: Final = 2.5
"""A newest sample counts beyond the window's mean once it exceeds chance by so many spreads."""

MIX_S: Final = 120.0
"""Time over which tokens per request are smoothed."""

LEAST_SERVED: Final = 0.1
"""Of the requests that come, the least share that is taken as served while a queue grows."""

MOST_SERVED: Final = 1.5
"""And the most while a queue drains."""

SPEEDS: Final = (0.2, 1.5)
"""How far what is seen of an engine's speed may stand apart from its figures."""

SATURATED_S: Final = 30.0
FORGET_S: Final = 7200.0
"""Times over which a speed is learnt while instances are saturated, and fades afterwards."""

FEWEST_REQUESTS: Final = 20.0
"""Where fewer come in ``MIX_S``, tokens per request are smoothed over as many."""

DOUBT_S: Final = 900.0
"""Time over which a count of requests that the tokens contradict is believed in the end."""

STEADY_S: Final = 75.0
"""How long the serving instances must have been the same before a rate of the last minute says
what each of them sustains."""

USUAL_FRAC: Final = 0.25
"""Of the requests that come within a TTFT goal, the share that waits with nothing wrong."""


@dataclass(frozen=True, slots=True)
class Load:
    """Instances needed by the window's load and by its newest sample beyond chance."""

    needs: Pair
    newest: Pair


UNKNOWN: Final = Load((None, None), (None, None))
IDLE: Final = Load((0.0, 0.0), (0.0, 0.0))


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates and queues of a service now; ``rps`` is ``None`` where requests can't be read.

    ``input_tps`` is ``None`` where prompts can't be read whole, cache hits included. ``teach``
    says that all of it comes from signals that are ok: what reports in part shows what there is at
    least, and not what a request takes.
    """

    rps: float | None
    newest_rps: float | None
    input_tps: float | None
    uncached_tps: float
    newest_uncached_tps: float
    decode_tps: float
    newest_decode_tps: float
    prefill_waiting: float
    decode_waiting: float
    teach: bool = True

    @property
    def idle(self) -> bool:
        """Whether nothing comes and nothing is made, by figures that can be read."""
        return self.rps == 0.0 and self.uncached_tps == 0.0 and self.decode_tps == 0.0

    @classmethod
    def of(cls, ctx: Context) -> Self | None:
        """Return what can be read, ``None`` without the throughput of both roles."""
        uncached, decode = _rate(ctx, "prefill_tps_uncached"), _rate(ctx, "decode_tps")
        if uncached is None or decode is None:
            return None
        requests = _rate(ctx, "request_rps")
        if requests is not None and requests[0] < RAREST_RPS:
            requests = (0.0, 0.0)
        if contradicted_rps(ctx) is not None:
            requests = None
        whole = _rate(ctx, "prefill_tps") if _is_ok(ctx, "prefill_tps") else None
        return cls(
            None if requests is None else requests[0],
            None if requests is None else requests[1],
            None if whole is None else max(whole[0], uncached[0]),
            *uncached,
            *decode,
            _queue(ctx, "prefill_waiting"),
            _queue(ctx, "decode_waiting"),
            all(_is_ok(ctx, name) for name in TAUGHT_BY),
        )


TAUGHT_BY: Final = ("request_rps", "prefill_tps_uncached", "decode_tps")


def _is_ok(ctx: Context, name: str) -> bool:
    signal = ctx.signals.get(name)
    return signal is not None and signal.quality is Quality.OK


def _rate(ctx: Context, name: str) -> tuple[float, float] | None:
    """Return a rate as (mean of the window, newest sample), silent instances counted in."""
    signal = ctx.signals.get(name)
    if signal is None or signal.value is None or unreadable(signal, ctx.now_s) is not None:
        return None
    whole = for_silent(signal, ctx.spec.policy)
    newest = signal.value if signal.newest is None else signal.newest
    return whole * signal.value, whole * newest


def _queue(ctx: Context, name: str) -> float:
    """Return a queue's length; an unreadable one asks for nothing."""
    read = _rate(ctx, name)
    # One sample that stands far above the others is not yet a queue.
    return 0.0 if read is None else min(read[1], 2.0 * read[0])


def mixed(outlook: Outlook, rates: Rates, elapsed_s: float) -> Outlook:
    """Return the outlook with tokens per request brought up to date.

    Tokens over requests, both smoothed, so that a few requests after many count as few. What was
    served and not what came is what made the tokens: a queue that grows is left out. Nothing is
    learnt from what is read in part.
    """
    queues = replace(outlook, waiting=rates.prefill_waiting, decode_waiting=rates.decode_waiting)
    if not rates.teach:
        return queues
    if rates.rps is None:
        # A count of requests that stays where nobody believed it is believed in the end.
        return replace(queues, rps=outlook.rps * exp(-elapsed_s / DOUBT_S))
    if rates.rps < RAREST_RPS:
        return queues
    low, high = LEAST_SERVED * rates.rps, MOST_SERVED * rates.rps
    # A queue that is there at the first look says nothing of how it grows.
    first_look = outlook.rps <= 0.0
    per_s = 0.0 if first_look else 1.0 / max(elapsed_s, 1.0)
    grown = (rates.prefill_waiting - outlook.waiting) * per_s
    served = min(max(rates.rps - grown, low), high)
    grown = (rates.decode_waiting - outlook.decode_waiting) * per_s
    finished = min(max(served - grown, low), high)
    smoothed_s = max(MIX_S, FEWEST_REQUESTS / rates.rps)
    weight = 1.0 if first_look else 1.0 - exp(-elapsed_s / smoothed_s)
    rps = outlook.rps + (1.0 if first_look else 1.0 - exp(-elapsed_s / MIX_S)) * (
        rates.rps - outlook.rps
    )

    def learnt(old: float, tps: float | None, requests_rps: float) -> float:
        if tps is None:
            return old
        return old + weight * min(requests_rps / rps, 1.0) * (tps / requests_rps - old)

    whole = rates.input_tps
    if whole is None and first_look:
        whole = rates.uncached_tps
    return replace(
        outlook,
        waiting=rates.prefill_waiting,
        decode_waiting=rates.decode_waiting,
        rps=rps,
        input_tokens=learnt(outlook.input_tokens, whole, served),
        uncached_tokens=learnt(outlook.uncached_tokens, rates.uncached_tps, served),
        output_tokens=learnt(outlook.output_tokens, rates.decode_tps, finished),
    )


def mix_of(outlook: Outlook) -> Mix | None:
    """Return the tokens of a request, ``None`` before any was seen."""
    if outlook.rps <= 0.0 or outlook.output_tokens <= 0.0:
        return None
    prompt = max(outlook.input_tokens, outlook.uncached_tokens)
    return Mix(prompt, outlook.uncached_tokens, outlook.output_tokens)


@dataclass(frozen=True, slots=True)
class Measured:
    """A load and the engines that carry it.

    ``speeds`` of (prefill, decode) are what instances were seen to sustain over their figures.
    """

    ctx: Context
    engine: Engine
    mix: Mix
    rates: Rates
    speeds: tuple[float, float] = (1.0, 1.0)

    def timed(self, outlook: Outlook, elapsed_s: float) -> Outlook:
        """Return the outlook with what instances were seen to sustain.

        A role with a queue works as fast as it can; one that makes more than its figures say
        within its goals is faster. Else what was learnt fades towards the figures. While instances
        come and go nothing is learnt of their role: rates are of the last minute, counts of now.
        Call it with ``speeds`` of 1.
        """
        rates, ready, usual = self.rates, self.ctx.state.ready, self._usual()
        tokens = max(self.mix.uncached_tokens, 1.0)
        busy = rates.uncached_tps / tokens * request_s(self.engine, tokens)
        late = self._tbt_over_goal()
        made = rates.decode_tps / self.decode_tps() / late
        now_s = self.ctx.now_s
        prefill = _timed(
            outlook.prefill,
            busy / max(ready.prefill, 1),
            saturated=rates.prefill_waiting > usual,
            elapsed_s=elapsed_s,
        )
        if now_s - outlook.prefill.changed_s < STEADY_S:
            prefill = outlook.prefill
        decode = _timed(
            outlook.decode,
            made / max(ready.decode, 1),
            saturated=rates.decode_waiting > usual or late > 1.0,
            elapsed_s=elapsed_s,
        )
        if now_s - outlook.decode.changed_s < STEADY_S:
            decode = outlook.decode
        if prefill is outlook.prefill and decode is outlook.decode:
            return outlook
        return replace(outlook, prefill=prefill, decode=decode)

    def _tbt_over_goal(self) -> float:
        """Return by how much TBT exceeds its goal, 1 where it doesn't or nobody knows."""
        tbt = self.ctx.signals.get("tbt_s")
        if tbt is None or tbt.value is None:
            return 1.0
        return max(tbt.value / self.ctx.spec.slo.tbt_s, 1.0)

    def _usual(self) -> float:
        """Return how many requests wait without anything being wrong."""
        return USUAL_FRAC * self.ctx.spec.slo.ttft_s * (self.rates.rps or 0.0) + 2.0

    def load(self) -> Load:
        """Return the needs of the window and of its newest sample."""
        rates = self.rates
        needs = self._needs(rates.rps or 0.0, rates.decode_tps, rates.uncached_tps)
        if self.ctx.spec.policy.hold_s <= 0.0:
            return Load(needs, needs)
        requests = (rates.newest_rps or 0.0) * TICK_S
        spread = max(self.engine.prompt_spread, self.engine.output_spread)
        sure = max(1.0 - CHANCE * sqrt(spread / max(requests, 1.0)), 0.0)
        return Load(
            needs,
            self._needs(
                (rates.newest_rps or 0.0) * sure,
                rates.newest_decode_tps * sure,
                rates.newest_uncached_tps * sure,
            ),
        )

    def _needs(self, rps: float, decode: float, uncached: float) -> tuple[float, float]:
        """Return the instances for what came or what was served, the larger."""
        mix, slo = self.mix, self.ctx.spec.slo
        tokens = max(uncached, rps * mix.uncached_tokens)
        apart = tokens / rps if rps > 0.0 and self.rates.teach else 0.0
        per_request = max(mix.uncached_tokens, apart, 1.0)
        prefill = prefill_needed(
            self.engine,
            tokens / per_request,
            per_request,
            ttft_s=slo.ttft_s,
            goal_frac=slo.goal_frac,
        )
        made = max(decode, rps * mix.output_tokens)
        return prefill / self.speeds[0], made / self.decode_tps()

    def decode_tps(self) -> float:
        """Return the tokens/s a decode instance sustains within the TBT goal and its margin."""
        slo, config = self.ctx.spec.slo, self.ctx.spec.policy
        goal_s = slo.tbt_s * (1.0 - config.slo_margin_frac)
        return decode_tps(self.engine, self.mix, goal_s) * self.speeds[1]

    def backlog(self) -> tuple[float, float]:
        """Return the instances that drain what waits beyond the usual within ``drain_s``."""
        drain_s = self.ctx.spec.policy.drain_s
        if drain_s <= 0.0:
            return 0.0, 0.0
        rates, mix, usual = self.rates, self.mix, self._usual()
        prompts = max(rates.prefill_waiting - usual, 0.0)
        work_s = prompts * request_s(self.engine, mix.uncached_tokens) / self.speeds[0]
        tokens = max(rates.decode_waiting - usual, 0.0) * mix.output_tokens
        return work_s / drain_s, tokens / self.decode_tps() / drain_s

    def target(self, needs: Pair) -> float | None:
        """Return the driver's total per instance of its role; margins are the policy's to add."""
        at = 0 if driver_role(self.ctx.spec.policy) is Role.PREFILL else 1
        total, need = driver_total(self.ctx), needs[at]
        return total / need if total and need else None


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
    return past if speed == past.speed else replace(past, speed=speed)
