"""What overrides leave of moves and shrunk services: nothing is given that a person holds back."""

from collections.abc import Iterable, Iterator
from typing import Final

from controller.core.orders import pinned_counts
from controller.core.overrides import Override, OverrideKind, told
from controller.core.types import ROLES, Instances, ServiceSpec

HOLDING: Final = frozenset({OverrideKind.PIN, OverrideKind.OUT_ONLY})
"""Kinds under which a service gives nothing to others."""


def floor_of(counts: Instances, ruling: Iterable[Override]) -> Instances:
    """Return the fewest instances that the overrides in force let others shrink a service to."""
    kinds = {one.kind: one for one in ruling}
    if not HOLDING.isdisjoint(kinds):
        return counts
    bounds = kinds[OverrideKind.BOUNDS].values if OverrideKind.BOUNDS in kinds else {}
    return Instances(*(bounds.get(f"{role.value}_min", 0) for role in ROLES))


def objections(
    spec: ServiceSpec, before: Instances, after: Instances, now_s: float
) -> Iterator[str]:
    """Give why a service must not change so under its overrides and limits.

    With equal counts it is a mere move, which only an advisory forbids.
    """
    name, watched = spec.key, spec.override(OverrideKind.ADVISORY)
    if watched is not None:
        yield f"{name} is only observed, set by {told(watched, now_s)}."
    if all(after.of(role) >= before.of(role) for role in ROLES):
        return
    pin, out_only = spec.override(OverrideKind.PIN), spec.override(OverrideKind.OUT_ONLY)
    if pin is not None and pinned_counts(pin) != after:
        yield f"{name} is pinned by {told(pin, now_s)}."
    if out_only is not None:
        yield f"{name} may only grow, set by {told(out_only, now_s)}."
    for role in ROLES:
        least = spec.limits.minimum.of(role)
        if after.of(role) < min(before.of(role), least):
            yield f"{name} would have {after.of(role)} {role.value}, below its minimum of {least}."
