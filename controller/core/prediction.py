"""Latency to expect if the load were moved onto fewer instances."""

from math import isfinite
from typing import Final

from controller.core import wording
from controller.core.engine import Engine, Mix, predicted_tbt_s, predicted_ttft_s
from controller.core.overrides import OverrideKind
from controller.core.trust import ZERO_FRAC, driver_total
from controller.core.types import Adapt, Context, Forecast, Instances, Quality, Role

BUSIEST: Final = 0.9
"""Utilisation of prefill above which waits grow steeply, where engine speeds are not known."""


def stands_alone(ctx: Context) -> bool:
    """Return whether each role is sized by its own measured need, not by the other and a ratio."""
    return ctx.spec.policy.adapt == Adapt.AUTOMATIC and ctx.spec.engine is not None


def apart(ctx: Context) -> bool:
    """Return whether neither role's count is held to the other's: both stand alone or pinned."""
    return stands_alone(ctx) or ctx.spec.override(OverrideKind.PIN) is not None


def too_slow(ctx: Context, role: Role, count: int) -> str | None:
    """Return why ``count`` instances of a role would be too few for its latency goal, or ``None``.

    The prediction must stay below ``1 - slo_margin_frac`` of the goal. It comes from the engines'
    speeds and the measured mix; without those from what is measured now, in proportion. Where
    neither is known nothing is said: other guards ask for readable latencies.
    """
    total = driver_total(ctx)
    if total is not None and total <= ZERO_FRAC * ctx.spec.policy.target:
        return None
    if ctx.spec.engine is not None and not _is_measured(ctx.forecast):
        return f"what {count} {role.value} would do can't be told: requests can't be measured now"
    slo, margin = ctx.spec.slo, 1.0 - ctx.spec.policy.slo_margin_frac
    goal_s = slo.ttft_s if role is Role.PREFILL else slo.tbt_s
    found = _predicted(ctx, role, count)
    if found is None or found[0] <= margin * goal_s:
        return None
    predicted_s, name = found
    shown = f"at {wording.precise(predicted_s)}" if isfinite(predicted_s) else "to have no end"
    return (
        f"with {count} {role.value} {name} is predicted {shown}, "
        f"and the SLO of {wording.precise(goal_s)} less its margin is "
        f"{wording.precise(margin * goal_s)}"
    )


def expected(ctx: Context, want: Instances) -> dict[str, list[float | None]] | None:
    """Return the latencies to expect at ``want`` beside those at the present counts [s].

    By latency, in the order present, wanted; ``None`` in it is no end of waiting. ``None`` where
    neither latency can be told. Both sides come from the same model, so that they compare.
    """
    found: dict[str, list[float | None]] = {}
    for role in (Role.PREFILL, Role.DECODE):
        sides = [_predicted(ctx, role, pair.of(role)) for pair in (ctx.state.desired, want)]
        told = [side[0] for side in sides if side is not None]
        if len(told) == len(sides):
            name = "ttft_s" if role is Role.PREFILL else "tbt_s"
            found[name] = [value if isfinite(value) else None for value in told]
    return found or None


def _is_measured(forecast: Forecast | None) -> bool:
    return forecast is not None and forecast.mix is not None and forecast.rps is not None


def _predicted(ctx: Context, role: Role, count: int) -> tuple[float, str] | None:
    forecast, engine = ctx.forecast, ctx.spec.engine
    name = "TTFT" if role is Role.PREFILL else "TBT"
    if forecast is not None and engine is not None and forecast.mix and forecast.rps is not None:
        return _modelled(engine, forecast.mix, forecast.rps, (role, count)), name
    found = _scaled(ctx, role, count)
    return None if found is None else (found, name)


def _modelled(engine: Engine, mix: Mix, rps: float, ask: tuple[Role, int]) -> float:
    role, count = ask
    if role is Role.PREFILL:
        return predicted_ttft_s(engine, rps, mix.uncached_tokens, count)
    return predicted_tbt_s(engine, mix, rps * mix.output_tokens, count)


def _scaled(ctx: Context, role: Role, count: int) -> float | None:
    """Return latency if each instance got more of the load that is there now [s].

    Half of TBT is taken as the reading of weights, which a larger batch does not lengthen, and
    the rest grows with the batch. TTFT stays while prefill has time to spare, and has no bound
    where it has none.
    """
    before = ctx.state.of(role).ready
    latency = ctx.signals.get("ttft_s" if role is Role.PREFILL else "tbt_s")
    if latency is None or latency.value is None or latency.quality is not Quality.OK or not before:
        return None
    if role is Role.DECODE:
        return latency.value * (0.5 + 0.5 * before / max(count, 1))
    busy = ctx.signals.get("prefill_util")
    if busy is None or busy.value is None or busy.quality is not Quality.OK:
        return latency.value
    return latency.value if busy.value * before / max(count, 1) <= BUSIEST else float("inf")
