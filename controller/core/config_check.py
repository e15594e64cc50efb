"""What makes a configuration unusable, field by field, each with what to enter instead."""

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

from controller.core.pairs import MOST_INSTANCES
from controller.core.policies import POLICIES
from controller.core.types import (
    SIGNALS,
    Instances,
    Limits,
    PolicyConfig,
    Role,
    ServiceSpec,
    Slo,
)

MOST_GPUS: Final = 10_000_000
LONGEST_S: Final = 7 * 86_400.0
LARGEST_TARGET: Final = 1e12
SMALLEST_TARGET: Final = 1e-6
LARGEST_RATIO: Final = 1000.0
LONGEST_GOAL_S: Final = 3600.0

DRIVERS: Final = tuple(kind.name for kind in SIGNALS if kind.linear)
_REFUSED: Final = {
    "decode_util": "it is high even at light load, because decode is bound by memory",
    "decode_sm": "it is high even at light load, because decode is bound by memory",
    "prefill_tps": "the cache hit rate moves it; use prefill_tps_uncached",
}
_NOT_LINEAR: Final = "it does not grow in proportion to the load"


class Problem(NamedTuple):
    """A field that can't be used, and a sentence that says what to do about it."""

    field: str
    message: str


class _Range(NamedTuple):
    field: str
    low: float
    high: float
    unit: str = ""
    whole: bool = False


_POLICY_RANGES: Final = (
    _Range("target", SMALLEST_TARGET, LARGEST_TARGET, "per instance"),
    _Range("pd_ratio", 1.0 / LARGEST_RATIO, LARGEST_RATIO, "prefill per decode"),
    _Range("theta_out", 0.0, 10.0),
    _Range("theta_in", 0.0, 0.99),
    _Range("ratio_tolerance", 0.0, 0.99),
    _Range("cooldown_out_s", 0.0, LONGEST_S, "s"),
    _Range("cooldown_in_s", 0.0, LONGEST_S, "s"),
    _Range("stabilisation_s", 0.0, LONGEST_S, "s"),
    _Range("step_abs", 1, MOST_INSTANCES, "instances", whole=True),
    _Range("step_frac", 0.0, 1.0),
    _Range("coverage_in_frac", 0.01, 1.0),
    _Range("proposal_ttl_s", 1.0, LONGEST_S, "s"),
)
_SLO_RANGES: Final = (
    _Range("ttft_s", 1e-6, LONGEST_GOAL_S, "s"),
    _Range("tbt_s", 1e-6, LONGEST_GOAL_S, "s"),
    _Range("goal_frac", 0.01, 1.0),
)


def validate_spec(spec: ServiceSpec) -> list[Problem]:
    """Return everything wrong with a service's configuration; an empty list means usable (C01).

    Looks at values, not at declared types: rows can hold what no form would accept. Never raises
    for what a field holds.
    """
    problems = list(_names(spec))
    problems += validate_policy(spec.policy)
    problems += validate_gpus(spec.gpus_per_instance)
    problems += validate_slo(spec.slo)
    problems += validate_limits(spec.limits, None if problems else spec.gpus_per_instance)
    return problems


def validate_policy(config: PolicyConfig) -> list[Problem]:
    """Return the unusable fields of a policy."""
    problems = []
    if _text(config.name) not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        problems.append(
            Problem("name", f"policy {_shown(config.name)} is unknown; choose from {known}")
        )
    problems += _driver(config)
    problems += _in_ranges(config, _POLICY_RANGES)
    target = _finite(config.target)
    if config.driver in ("prefill_util", "prefill_sm") and target is not None and target > 1.0:
        problems.append(
            Problem("target", f"target is {target:g}; {config.driver} is a share, so at most 1")
        )
    return problems


def validate_slo(slo: Slo) -> list[Problem]:
    """Return the unusable latency goals."""
    return _in_ranges(slo, _SLO_RANGES)


def validate_gpus(gpus_per_instance: Instances) -> list[Problem]:
    """Return the roles whose instances have no usable number of GPUs."""
    ranges = tuple(_Range(role.value, 1, MOST_INSTANCES, "GPUs", whole=True) for role in Role)
    return [
        Problem(f"gpus_per_instance.{problem.field}", problem.message)
        for problem in _in_ranges(gpus_per_instance, ranges)
    ]


def validate_limits(limits: Limits, gpus_per_instance: Instances | None = None) -> list[Problem]:
    """Return the limits that can't be kept; with GPUs per instance, also the budget against them.

    A minimum is at least 1: a service without instances reports nothing, so no signal could ever
    ask for the first one again.
    """
    bounds = tuple(_Range(role.value, 1, MOST_INSTANCES, "instances", whole=True) for role in Role)
    problems = [
        Problem(f"{name}.{problem.field}", problem.message)
        for name, pair in (("minimum", limits.minimum), ("maximum", limits.maximum))
        for problem in _in_ranges(pair, bounds)
    ]
    problems += _in_ranges(limits, (_Range("max_gpus", 1, MOST_GPUS, "GPUs", whole=True),))
    return problems or list(_contradictions(limits, gpus_per_instance))


def _contradictions(limits: Limits, gpus_per_instance: Instances | None) -> Iterator[Problem]:
    for role in Role:
        low, high = limits.minimum.of(role), limits.maximum.of(role)
        if low > high:
            yield Problem(
                f"minimum.{role.value}",
                f"minimum {low} {role.value} is above the maximum {high}; lower it or raise that",
            )
    if gpus_per_instance is not None:
        needed = limits.minimum.gpus(gpus_per_instance)
        if needed > limits.max_gpus:
            yield Problem(
                "max_gpus",
                f"the minimum needs {needed} GPUs and max_gpus is {limits.max_gpus}; "
                f"give at least {needed}",
            )


def _driver(config: PolicyConfig) -> Iterator[Problem]:
    if config.driver in DRIVERS:
        return
    known = f"choose from {', '.join(DRIVERS)}"
    if config.driver not in [kind.name for kind in SIGNALS]:
        yield Problem("driver", f"driver {_shown(config.driver)} is unknown; {known}")
        return
    why = _REFUSED.get(config.driver, _NOT_LINEAR)
    yield Problem("driver", f"{config.driver} can't drive: {why}; {known}")


def _names(spec: ServiceSpec) -> Iterator[Problem]:
    """Yield the names left empty: an empty name never means "all" (S21)."""
    for name, value in (("key", spec.key), ("cluster", spec.cluster)):
        if not _text(value):
            yield Problem(name, f"{name} is empty; name one")
    for role in Role:
        if not _text(spec.hardware.get(role)):
            yield Problem(f"hardware.{role.value}", f"{role.value} names no hardware; name a type")


def _in_ranges(holder: object, ranges: tuple[_Range, ...]) -> list[Problem]:
    problems = []
    for bound in ranges:
        value: object = getattr(holder, bound.field, None)
        figure = _finite(value)
        fits = figure is not None and bound.low <= figure <= bound.high
        if not fits or (bound.whole and not isinstance(value, int)):
            kind = "a whole number" if bound.whole else "a number"
            unit = f" {bound.unit}" if bound.unit else ""
            problems.append(
                Problem(
                    bound.field,
                    f"{bound.field} is {_shown(value)}; "
                    f"give {kind} from {bound.low:,g} to {bound.high:,g}{unit}",
                )
            )
    return problems


def _finite(value: object) -> float | None:
    """Return a finite number, or ``None`` for anything else a row may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        figure = float(value)
    except OverflowError:
        return None
    return figure if math.isfinite(figure) else None


def _text(value: object) -> str:
    """Return a name without its surrounding space; empty for anything that is no text."""
    return value.strip() if isinstance(value, str) else ""


def _shown(value: object) -> str:
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."  # noqa: PLR2004 - one line of a page
