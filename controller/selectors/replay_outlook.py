"""What was learnt by the time of a decision, as far as the forecast its row keeps can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from typing import Any

from controller.core import starts
from controller.core.decide import decide
from controller.core.outlook import OUTRAN, Learnt, Outlook, Peak, Started
from controller.core.surprises import BEYOND
from controller.core.types import Context, Pair


def with_outlook(ctx: Context, kept: object, before: object) -> Context:
    """Return the context with the outlook that makes ``decide`` provide for what was kept.

    ``kept`` is the forecast of the decision's row and ``before`` that of the row before. Tokens
    per request, ratio, margins and start-up time come out as recorded. A peak that this decision
    itself set is replaced by the one before it, so that lower values can show. What engines were
    seen to sustain is not kept, and follows from the needs that are.
    """
    if not isinstance(kept, Mapping):
        return ctx
    outlook = _outlook(ctx, kept, before if isinstance(before, Mapping) else {})
    tried = decide(_with(ctx, outlook))
    if tried.forecast is None:
        return _with(ctx, outlook)
    prefill, decode = (
        _at_speed(past, now, need, wanted)
        for past, now, need, wanted in zip(
            (outlook.prefill, outlook.decode),
            (tried.outlook.prefill, tried.outlook.decode),
            tried.forecast.measured,
            _pair(kept, "measured"),
            strict=True,
        )
    )
    return _with(ctx, replace(outlook, prefill=prefill, decode=decode))


def _with(ctx: Context, outlook: Outlook) -> Context:
    return replace(ctx, history=replace(ctx.history, outlook=outlook))


def _at_speed(past: Learnt, tried: Learnt, need: float | None, wanted: float | None) -> Learnt:
    """Return what is learnt of a role at the speed with which its need is what was kept."""
    if not need or not wanted:
        return past
    return replace(past, speed=tried.speed * need / wanted)


def _outlook(ctx: Context, kept: Mapping[str, Any], before: Mapping[str, Any]) -> Outlook:
    late_frac = (1.0 - ctx.spec.slo.goal_frac) / 2.0
    lead_s = _figure(kept.get("lead_s"))
    prefill, decode = (
        Learnt(
            outran=() if margin is None else outran_of(margin, late_frac),
            took_s=() if lead_s is None else (lead_s,),
            waits=_late(ctx.now_s, lead_s, (overdue or 0.0) - state.lost),
            wished=state.up + state.coming,
            ready=state.up,
        )
        for margin, overdue, state in zip(
            _pair(kept, "margins"),
            _pair(kept, "overdue"),
            (ctx.state.prefill, ctx.state.decode),
            strict=True,
        )
    )
    found = Outlook(
        # No time passes between what was learnt and the decision: nothing fades or follows.
        at_s=ctx.now_s,
        ratio=_figure(kept.get("ratio")),
        peaks=_peaks(ctx.now_s, kept, before),
        prefill=prefill,
        decode=decode,
    )
    return _with_mix(found, kept)


def _late(now_s: float, lead_s: float | None, count: float) -> tuple[Started, ...]:
    """Return starts that have just taken too long, ``count`` of them."""
    if lead_s is None or count < 1.0:
        return ()
    return (Started(now_s - starts.limit_s(lead_s) - 1.0, int(count)),)


def _with_mix(outlook: Outlook, kept: Mapping[str, Any]) -> Outlook:
    mix = kept.get("mix")
    given = mix if isinstance(mix, Mapping) else {}
    whole, uncached, output = (
        _figure(given.get(f"{part}_tokens")) for part in ("input", "uncached", "output")
    )
    if whole is None or uncached is None or output is None:
        return outlook
    # A rate of 0 would mean that no request was ever seen; only whether it is 0 counts.
    rps = _figure(kept.get("rps")) or 1.0
    return replace(
        outlook, rps=rps, input_tokens=whole, uncached_tokens=uncached, output_tokens=output
    )


def _peaks(now_s: float, kept: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[Peak, ...]:
    tops, needs, earlier = (
        _pair(*pair) for pair in ((kept, "peaks"), (kept, "needs"), (before, "peaks"))
    )
    prefill, decode = (
        None if top is None else top if top != need else min(top, past or 0.0)
        for top, need, past in zip(tops, needs, earlier, strict=True)
    )
    return () if prefill is None or decode is None else (Peak(now_s, prefill, decode),)


def outran_of(margin: float, late_frac: float) -> tuple[float, ...]:
    """Return counts of surprises of which :func:`surprises.margin` reads ``margin``.

    ``late_frac`` is the share of surprises that may be above it.
    """
    counts = [0.0] * (len(OUTRAN) + 1)
    at = next((i for i, edge in enumerate(OUTRAN) if 1.0 + margin <= edge), len(OUTRAN))
    if at == 0:
        counts[0] = 1.0
        return tuple(counts)
    upper = OUTRAN[at] if at < len(OUTRAN) else BEYOND
    above = max(upper - 1.0 - margin, 0.0) / (upper - OUTRAN[at - 1])
    counts[at] = 1.0
    if above > late_frac > 0.0:
        counts[0] = above / late_frac - 1.0
    elif at < len(OUTRAN):
        counts[at + 1] = (late_frac - above) / (1.0 - late_frac)
    return tuple(counts)


def _pair(kept: Mapping[str, Any], name: str) -> Pair:
    pair = kept.get(name)
    if not isinstance(pair, Mapping):
        return None, None
    return _figure(pair.get("prefill")), _figure(pair.get("decode"))


def _figure(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)
