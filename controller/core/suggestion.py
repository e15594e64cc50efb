"""The ratio and target the engine would put in place of the operator's, with the reason."""

from math import isfinite
from typing import Final, NamedTuple

from controller.core.pairs import NOISE, driver_role
from controller.core.policy_names import PROPORTIONAL, policy_names
from controller.core.types import SIGNAL_INDEX, SIGNALS, Adapt, Forecast, PolicyConfig, Role

MATERIAL_FRAC: Final = 0.10
"""A figure that differs from the one in force by more than this share is worth a suggestion."""

KEPT_FRAC: Final = 0.05
"""One that people read stays until no figure differs by more than this; less is no news in it."""

FORMING_S: Final = 600.0
"""The wish must have stood this long without a break."""

GAP_S: Final = 300.0
"""A wish that nobody confirmed for longer than this begins anew: a restart takes less."""

STANDS_S: Final = 86_400.0
"""So long an answer is waited for, and so long one that was dismissed is not suggested again."""

DIGITS: Final = 3


class Figures(NamedTuple):
    """A P/D ratio and a target [driver unit per instance]."""

    pd_ratio: float
    target: float

    def differs(self, other: "Figures", frac: float) -> bool:
        """Return whether a figure differs from the other's by more than ``frac`` of it."""
        return any(_far(mine, theirs, frac) for mine, theirs in zip(self, other, strict=True))


class Suggestion(NamedTuple):
    """What to adopt, and why in one sentence with the numbers."""

    figures: Figures
    why: str


def in_force(config: PolicyConfig) -> Figures:
    """Return the figures of a policy."""
    return Figures(config.pd_ratio, config.target)


def is_judged(forecast: Forecast | None) -> bool:
    """Return whether the load could be measured; what can't says nothing for or against."""
    return forecast is not None and _estimate(forecast) is not None


def suggest(
    config: PolicyConfig, forecast: Forecast, *, least_frac: float = MATERIAL_FRAC
) -> Suggestion | None:
    """Return the figures that fit the measured load; ``None`` where those in force do.

    Only with ``adapt`` on propose and a policy that reads target and ratio. A figure within
    ``least_frac`` of the one in force stays as it is, the others have three digits; the ratio
    stays within ``pd_ratio`` divided and multiplied by ``ratio_band``.
    """
    estimate = _estimate(forecast)
    reads_them = PROPORTIONAL in policy_names(config.name)
    if config.adapt != Adapt.PROPOSE or not reads_them or estimate is None:
        return None
    now = in_force(config)
    low, high = config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band
    best = Figures(min(max(_rounded(estimate.pd_ratio), low), high), _rounded(estimate.target))
    wanted = Figures(
        *(new if _far(new, old, least_frac) else old for new, old in zip(best, now, strict=True))
    )
    return None if wanted == now else Suggestion(wanted, _why(config, forecast, wanted))


def told(before: Figures, after: Figures, driver: str) -> str:
    """Return what changes: "P/D ratio 0.5 → 0.62, target 2,100 → 1,900 tok/s per instance"."""
    parts = []
    if before.pd_ratio != after.pd_ratio:
        parts.append(f"P/D ratio {_figure(before.pd_ratio)} → {_figure(after.pd_ratio)}")
    if before.target != after.target:
        parts.append(f"target {_figure(before.target)} → {_figure(after.target)} {_unit(driver)}")
    return ", ".join(parts)


def _estimate(forecast: Forecast) -> Figures | None:
    ratio, target, (prefill, decode) = forecast.ratio, forecast.target, forecast.measured
    if not ratio or not target or not prefill or not decode:
        return None
    known = all(map(isfinite, (ratio, target, prefill, decode)))
    return Figures(ratio, target) if known else None


def _far(new: float, old: float, frac: float) -> bool:
    return abs(new / old - 1.0) > frac + NOISE


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _figure(value: float) -> str:
    return f"{value:,.10g}"


def _unit(driver: str) -> str:
    at = SIGNAL_INDEX.get(driver)
    return f"{SIGNALS[at].unit} per instance" if at is not None else "per instance"


def _why(config: PolicyConfig, forecast: Forecast, wanted: Figures) -> str:
    """Return what was measured, what it takes, and what each figure was."""
    prefill, decode = (need or 0.0 for need in forecast.measured)
    text = f"{_load(forecast)} {prefill:.1f} prefill and {decode:.1f} decode instances"
    asks = []
    if wanted.pd_ratio != config.pd_ratio:
        asks.append(
            f"{_figure(wanted.pd_ratio)} prefill per decode in place of "
            f"{_figure(config.pd_ratio)}{_at_edge(config, wanted)}"
        )
    if wanted.target != config.target:
        role = "prefill" if driver_role(config) is Role.PREFILL else "decode"
        asks.append(
            f"{_figure(wanted.target)} {_unit(config.driver)} of {role} in place of "
            f"{_figure(config.target)}"
        )
    return f"{text}: {' and '.join(asks)}."


def _load(forecast: Forecast) -> str:
    mix = forecast.mix
    if mix is None or not forecast.rps:
        return "The load takes"
    return (
        f"{forecast.rps:,.1f} requests a second, each with {mix.input_tokens:,.0f} tokens of "
        f"prompt ({mix.uncached_tokens:,.0f} to compute) and {mix.output_tokens:,.0f} of answer, "
        "take"
    )


def _at_edge(config: PolicyConfig, wanted: Figures) -> str:
    edges = (config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band)
    return ", the farthest that ratio_band allows" if wanted.pd_ratio in edges else ""
