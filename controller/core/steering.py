"""A service under the overrides of people: its limits, ratio and mode for a while."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from controller.core.config_check import validate_spec
from controller.core.overrides import (
    Override,
    OverrideKind,
    fault_of,
    middle_of,
    ruling,
)
from controller.core.pairs import larger, smaller
from controller.core.types import Adapt, Instances, Limits, Mode, Role, ServiceSpec


def steered(
    spec: ServiceSpec,
    overrides: Iterable[Override],
    now_s: float,
    unreadable: Iterable[str] = (),
) -> ServiceSpec:
    """Return the service under those of the overrides that rule at ``now_s`` (product: overrides).

    Bounds narrow the configured limits and never widen them; a ratio takes the place of the
    policy's and of what the mix of requests asks for; under a pin neither counts. What can't be
    used changes nothing and is told in ``ServiceSpec.left_out``, as is ``unreadable`` (A10, S24).
    """
    left_out, usable = list(unreadable), []
    for one in overrides:
        fault = fault_of(one.kind, one.values)
        if fault is None:
            usable.append(one)
        elif one.since_s <= now_s < one.until_s:
            left_out.append(_unusable(one, fault[1]))
    kept = []
    found = ruling(usable, now_s)
    pinned = any(one.kind is OverrideKind.PIN for one in found)
    for one in found:
        under = spec if pinned and one.kind in BELOW_PIN else under_one(spec, one)
        wrong = "" if under is spec else newly_wrong(spec, under)
        if wrong:
            left_out.append(_unusable(one, wrong))
        else:
            kept.append(one)
            spec = under
    if not kept and not left_out:
        return spec
    return replace(spec, overrides=tuple(kept), left_out=tuple(left_out))


BELOW_PIN: Final = frozenset({OverrideKind.BOUNDS, OverrideKind.RATIO})
"""Kinds that a pin takes the place of."""


def _unusable(one: Override, why: str) -> str:
    return f"The {one.kind} of {one.by} can't be used: {why}"


def newly_wrong(spec: ServiceSpec, under: ServiceSpec) -> str:
    """Return why a service can't be run under an override, if it could be without; or nothing."""
    found = validate_spec(under)
    return found[0].message if found and not validate_spec(spec) else ""


def under_one(spec: ServiceSpec, one: Override) -> ServiceSpec:
    """Return the service under one usable override."""
    match one.kind:
        case OverrideKind.BOUNDS:
            return replace(spec, limits=narrowed(spec.limits, one.values))
        case OverrideKind.RATIO:
            ratio, tolerance = middle_of(float(one.values["min"]), float(one.values["max"]))
            policy = replace(
                spec.policy, pd_ratio=ratio, ratio_tolerance=tolerance, adapt=Adapt.OFF
            )
            return replace(spec, policy=policy, policy_set=spec.policy)
        case OverrideKind.ADVISORY if spec.mode is not Mode.OBSERVE:
            return replace(spec, mode=Mode.OBSERVE, mode_set=spec.mode)
    return spec


def narrowed(limits: Limits, bounds: Mapping[str, int]) -> Limits:
    """Return limits within the bounds as far as the limits themselves allow."""
    minimum, maximum = limits.minimum, limits.maximum
    low = Instances(*(bounds.get(f"{r.value}_min", minimum.of(r)) for r in Role))
    high = Instances(*(bounds.get(f"{r.value}_max", maximum.of(r)) for r in Role))
    return replace(
        limits,
        minimum=smaller(larger(low, minimum), maximum),
        maximum=larger(smaller(high, maximum), minimum),
    )
