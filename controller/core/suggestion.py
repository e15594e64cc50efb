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
"""Of a suggested figure."""

SHOWN_DIGITS: Final = 4
"""Of what the sentence reckons from; figures are reckoned from it as it is shown."""

SETTLED_FRAC: Final = 0.005
"""A followed ratio that is this near to the one followed has arrived: three digits end there."""


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
    stays within ``pd_ratio`` divided and multiplied by ``ratio_band``. Figures and sentence are
    of this one look, and the arithmetic of the sentence gives the figures.
    """
    look = _look(config, forecast)
    reads_them = PROPORTIONAL in policy_names(config.name)
    if config.adapt != Adapt.PROPOSE or not reads_them or look is None:
        return None
    now = in_force(config)
    low, high = config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band
    best = Figures(min(max(look.followed, low), high), look.target)
    wanted = Figures(
        *(new if _far(new, old, least_frac) else old for new, old in zip(best, now, strict=True))
    )
    return None if wanted == now else Suggestion(wanted, _why(config, forecast, look, wanted))


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


class _Look(NamedTuple):
    """What one look at a service found, each as the sentence shows it, and what follows from it.

    ``needs`` and ``margins`` are (prefill, decode), ``total`` is the driver's. ``ratio`` is the
    quotient of the needs with their margins, ``followed`` what the slow estimate is at.
    """

    needs: tuple[float, float]
    margins: tuple[float, float]
    ratio: float
    followed: float
    role: Role
    total: float
    target: float


def _look(config: PolicyConfig, forecast: Forecast) -> _Look | None:
    estimate = _estimate(forecast)
    if estimate is None:
        return None
    measured = [need or 0.0 for need in forecast.measured]
    prefill, decode = (_rounded(need, SHOWN_DIGITS) for need in measured)
    over = (round(forecast.margins[0], 3), round(forecast.margins[1], 3))
    ratio = _rounded((1.0 + over[0]) * prefill / ((1.0 + over[1]) * decode))
    settled = not _far(estimate.pd_ratio, ratio, SETTLED_FRAC)
    role = driver_role(config)
    at = 0 if role is Role.PREFILL else 1
    # The estimate is the total over the need: this is the total of the same look again.
    total = _rounded(estimate.target * measured[at], SHOWN_DIGITS)
    return _Look(
        needs=(prefill, decode),
        margins=over,
        ratio=ratio,
        followed=ratio if settled else _rounded(estimate.pd_ratio),
        role=role,
        total=total,
        target=_rounded(total / (prefill, decode)[at]),
    )


def _far(new: float, old: float, frac: float) -> bool:
    return abs(new / old - 1.0) > frac + NOISE


def _rounded(value: float, digits: int = DIGITS) -> float:
    return float(f"{value:.{digits}g}")


def _figure(value: float) -> str:
    return f"{value:,.10g}"


def _unit(driver: str) -> str:
    return f"{_total_unit(driver)} per instance".strip()


def _total_unit(driver: str) -> str:
    at = SIGNAL_INDEX.get(driver)
    return SIGNALS[at].unit if at is not None else ""


def _why(config: PolicyConfig, forecast: Forecast, look: _Look, wanted: Figures) -> str:
    """Return what was measured, and how each figure that changes is reckoned from it."""
    prefill, decode = map(_figure, look.needs)
    said = [f"{_load(forecast)} {prefill} prefill and {decode} decode instances."]
    if wanted.pd_ratio != config.pd_ratio:
        said.append(_why_ratio(config, look, wanted.pd_ratio))
    if wanted.target != config.target:
        need = look.needs[0 if look.role is Role.PREFILL else 1]
        said.append(
            f"The driver's {_figure(look.total)} {_total_unit(config.driver)} over "
            f"{_figure(need)} {look.role.value} instances are {_figure(wanted.target)} "
            f"{_unit(config.driver)}, in place of {_figure(config.target)}."
        )
    return " ".join(said)


def _why_ratio(config: PolicyConfig, look: _Look, wanted: float) -> str:
    """Return the way from the needs to the ratio: margins, slow following, the band."""
    text = f"That is {_figure(look.ratio)} prefill per decode"
    if any(look.margins):
        over = " and ".join(f"{100.0 * margin:.1f} %" for margin in look.margins)
        text = (
            f"With margins of {over} for growth that is {_figure(look.ratio)} prefill per decode"
        )
    if wanted in (config.pd_ratio / config.ratio_band, config.pd_ratio * config.ratio_band):
        text += f"; the farthest that ratio_band allows is {_figure(wanted)}"
    elif wanted != look.ratio:
        text += f"; the estimate follows by at most 10 % a minute and is at {_figure(wanted)}"
    return f"{text}, in place of {_figure(config.pd_ratio)}."


def _load(forecast: Forecast) -> str:
    mix = forecast.mix
    if mix is None or not forecast.rps:
        return "The load takes"
    return (
        f"{forecast.rps:,.1f} requests a second, each with {mix.input_tokens:,.0f} tokens of "
        f"prompt ({mix.uncached_tokens:,.0f} to compute) and {mix.output_tokens:,.0f} of answer, "
        "take"
    )
