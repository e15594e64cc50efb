"""What makes a configuration unusable, field by field, each with what to enter instead."""

from collections.abc import Iterator
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from controller.core.pairs import MOST_INSTANCES
from controller.core.policies import POLICIES
from controller.core.policy_names import JOINT, PERIODIC, policy_names
from controller.core.raw_values import finite, plainly, shown, text_of
from controller.core.schedule import schedule_problems
from controller.core.types import (
    SIGNALS,
    Adapt,
    Instances,
    Limits,
    Period,
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

MOST_LATENCY_TIMES: Final = 100.0

DRIVERS: Final = tuple(kind.name for kind in SIGNALS if kind.linear)
FORCED_DRIVERS: Final = ("decode_util", "decode_sm")
"""Drivers that serve only where ``force_driver`` says that they may."""
_REFUSED: Final = {
    "decode_util": "it is high even at light load, because decode is bound by memory",
    "decode_sm": "it is high even at light load, because decode is bound by memory",
    "prefill_tps": "the cache hit rate moves it; use prefill_tps_uncached",
}
_SHARES: Final = tuple(kind.name for kind in SIGNALS if kind.unit == "share")
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
    measured: bool = False
    """Whether the field may be empty, for what is measured."""


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
    _Range("step_out_frac", 0.0, 10.0),
    _Range("damp_frac", 0.01, 1.0),
    _Range("latency_severe", 1.0, MOST_LATENCY_TIMES, "times the goal"),
    _Range("latency_moderate", 1.0, MOST_LATENCY_TIMES, "times the goal"),
    _Range("latency_idle", 0.0, 1.0, "times the goal"),
    _Range("ratio_band", 1.0, 100.0, "times the ratio"),
    _Range("hold_s", 0.0, 86_400.0, "s"),
    _Range("lead_s", 0.0, 3600.0, "s", measured=True),
    _Range("margin_frac", 0.0, 10.0, measured=True),
    _Range("drain_s", 0.0, 3600.0, "s"),
    _Range("slo_margin_frac", 0.0, 0.9),
    _Range("coverage_in_frac", 0.01, 1.0),
    _Range("proposal_ttl_s", 1.0, LONGEST_S, "s"),
    _Range("proposal_ttl_in_s", 1.0, LONGEST_S, "s"),
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
    problems = [*_policies(config), *_driver(config)]
    problems += _in_ranges(config, _POLICY_RANGES)
    problems += [*_latency_order(config), *_switches(config), *_schedule(config)]
    target, share = finite(config.target), config.driver in _SHARES
    if config.driver in _allowed(config) and share and target is not None and target > 1.0:
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


def _policies(config: PolicyConfig) -> Iterator[Problem]:
    known = f"choose from {', '.join(sorted(POLICIES))}, or join several with {JOINT}"
    if not text_of(config.name):
        yield Problem("name", f"policy {shown(config.name)} is unknown; {known}")
        return
    names = policy_names(config.name)
    for name in dict.fromkeys(names):
        if not name:
            yield Problem("name", f"{shown(config.name)} has an empty part; {known}")
        elif name not in POLICIES:
            yield Problem("name", f"policy {shown(name)} is unknown; {known}")
        elif names.count(name) > 1:
            yield Problem(
                "name", f"policy {name} is named {names.count(name)} times; once will do"
            )


def _allowed(config: PolicyConfig) -> tuple[str, ...]:
    return (*DRIVERS, *FORCED_DRIVERS) if config.force_driver is True else DRIVERS


def _driver(config: PolicyConfig) -> Iterator[Problem]:
    if config.driver in _allowed(config):
        return
    known = f"choose from {', '.join(DRIVERS)}"
    if config.driver not in [kind.name for kind in SIGNALS]:
        yield Problem("driver", f"driver {shown(config.driver)} is unknown; {known}")
        return
    why = _REFUSED.get(config.driver, _NOT_LINEAR)
    may = " or set force_driver" if config.driver in FORCED_DRIVERS else ""
    yield Problem("driver", f"{config.driver} can't drive: {why}; {known}{may}")


def _switches(config: PolicyConfig) -> Iterator[Problem]:
    force: object = config.force_driver
    if not isinstance(force, bool):
        yield Problem("force_driver", f"force_driver is {shown(force)}; give true or false")
    if config.adapt not in list(Adapt):
        known = ", ".join(Adapt)
        yield Problem("adapt", f"adapt is {shown(config.adapt)}; choose from {known}")


def _latency_order(config: PolicyConfig) -> Iterator[Problem]:
    """Yield the latency thresholds that aren't severe > moderate > 1 > idle > 0."""
    severe, moderate = finite(config.latency_severe), finite(config.latency_moderate)
    idle = finite(config.latency_idle)
    if idle is not None and idle in (0.0, 1.0):
        text = f"latency_idle is {idle:g}; give a number between 0 and 1, neither included"
        yield Problem("latency_idle", text)
    if moderate == 1.0:
        yield Problem("latency_moderate", "latency_moderate is 1; give a number above 1")
    if severe is not None and moderate is not None and severe <= moderate:
        text = f"latency_severe {severe:g} is not above latency_moderate {moderate:g}; raise it"
        yield Problem("latency_severe", text)


def _schedule(config: PolicyConfig) -> Iterator[Problem]:
    if not _is_zone(config.time_zone):
        fix = "give a zone such as Europe/Berlin or UTC"
        yield Problem("time_zone", f"time zone {shown(config.time_zone)} is unknown; {fix}")
    windows: object = config.schedule
    found = [Problem(fault.field, str(fault)) for fault in schedule_problems(windows)]
    yield from found
    if found or not isinstance(windows, list | tuple):
        return
    for at, window in enumerate(windows):
        if not isinstance(window, Period):
            field = f"schedule[{at}]"
            yield Problem(field, f"{field} is {shown(window)}; give a window")
    named = PERIODIC in policy_names(text_of(config.name))
    if named and not windows:
        yield Problem("schedule", f"policy {PERIODIC} has no window; add one")
    if windows and not named:
        many = "1 window" if len(windows) == 1 else f"{len(windows)} windows"
        fix = f"add {PERIODIC} to the policies or leave the schedule empty"
        yield Problem("schedule", f"schedule has {many} that no policy reads; {fix}")


def _is_zone(value: object) -> bool:
    """Return whether the time zone database knows a name; a folder of it is no zone."""
    try:
        ZoneInfo(text_of(value))
    except (KeyError, ValueError, OSError):
        return False
    return value == text_of(value)


def _names(spec: ServiceSpec) -> Iterator[Problem]:
    """Yield the names left empty: an empty name never means "all" (S21)."""
    for name, value in (("key", spec.key), ("cluster", spec.cluster)):
        if not text_of(value):
            yield Problem(name, f"{name} is empty; name one")
    for role in Role:
        if not text_of(spec.hardware.get(role)):
            yield Problem(f"hardware.{role.value}", f"{role.value} names no hardware; name a type")


def _in_ranges(holder: object, ranges: tuple[_Range, ...]) -> list[Problem]:
    problems = []
    for bound in ranges:
        value: object = getattr(holder, bound.field, None)
        if bound.measured and value is None:
            continue
        figure = finite(value)
        fits = figure is not None and bound.low <= figure <= bound.high
        if not fits or (bound.whole and not isinstance(value, int)):
            kind = "a whole number" if bound.whole else "a number"
            unit = f" {bound.unit}" if bound.unit else ""
            unit += ", or leave it empty to have it measured" if bound.measured else ""
            problems.append(
                Problem(
                    bound.field,
                    f"{bound.field} is {shown(value)}; "
                    f"give {kind} from {plainly(bound.low)} to {plainly(bound.high)}{unit}",
                )
            )
    return problems
