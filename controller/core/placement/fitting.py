"""How much more of a service fits as things stand, and what stops the next unit of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import Final

from controller.core.placement.choose import Ask
from controller.core.placement.cycle import NOTHING, Placed, Wanted, choosing_of, wanted_of
from controller.core.placement.layout import Fleet, is_nested
from controller.core.placement.search import last_that
from controller.core.placement.values import Request, Tenant, Unplaced
from controller.core.placement.why import refusal
from controller.core.types import Instances, Role

MOST_UNITS: Final = 500
"""More units than that are not counted."""

_LARGEST: Final = 8
"""Instances of the rarer role up to which a unit of a ratio is sought."""
_NEAR: Final = 0.05
"""Share by which a unit of whole instances may be off the ratio."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """How many ``units`` of a service fit now; ``refused`` is why one more does not.

    ``refused`` is ``None`` where as many fit as are counted at the most.
    """

    service: str
    unit: Instances
    units: int
    refused: Unplaced | None

    @property
    def is_more(self) -> bool:
        """Whether even more fit."""
        return self.refused is None


def unit_for(tenant: Tenant) -> Instances:
    """Return the smallest growth that keeps a service's ratio within 5 %, else the nearest.

    Without a ratio that of its counts, or one of each role; a role it does not have is 0.
    """
    if len(tenant.roles) < len(Role):
        return Instances(*(int(role in tenant.roles) for role in Role))
    ratio = tenant.pd_ratio
    if not ratio:
        counts = tenant.counts
        each = gcd(*counts)
        return Instances(*(count // each for count in counts)) if all(counts) else Instances(1, 1)
    pairs = [
        *(Instances(max(1, round(ratio * count)), count) for count in range(1, _LARGEST + 1)),
        *(Instances(count, max(1, round(count / ratio))) for count in range(1, _LARGEST + 1)),
    ]

    def off(pair: Instances) -> float:
        return abs(pair.prefill / pair.decode / ratio - 1)

    return min(pairs, key=lambda pair: (off(pair) > _NEAR and off(pair), sum(pair)))


def fitting(fleet: Fleet, tenant: Tenant, unit: Instances) -> Fitting:
    """Return how many units of a service fit at once, each found by placing them as a cycle does.

    ``unit`` must grow a role.
    """
    units = _most(fleet, tenant, unit)
    if units >= MOST_UNITS:
        return Fitting(tenant.name, unit, MOST_UNITS, None)
    wanted = _wanted(fleet, tenant, unit, units + 1)
    choosing = choosing_of(fleet, [wanted.ask])
    _, shares = Placed(choosing).add(fleet, wanted)
    left = replace(wanted.ask, units=wanted.ask.units - sum(share.units for share in shares))
    told = refusal(fleet, choosing, tenant, left, (unit, NOTHING))
    return Fitting(tenant.name, unit, units, told)


def fittings(fleet: Fleet, tenants: Iterable[Tenant]) -> list[Fitting]:
    """Return how many units in its own ratio fit of each service, were it the only one to grow.

    Services that ask for the same are looked at once.
    """
    known: dict[object, Fitting] = {}
    found = []
    for tenant in tenants:
        unit = unit_for(tenant)
        if not any(unit):
            continue
        key = _alike(fleet, tenant, unit)
        one = known.get(key)
        if one is None:
            known[key] = one = fitting(fleet, tenant, unit)
        refused = one.refused and replace(one.refused, service=tenant.name)
        found.append(Fitting(tenant.name, unit, one.units, refused))
    return found


def _alike(fleet: Fleet, tenant: Tenant, unit: Instances) -> object:
    """Return what decides how much of a service fits: others of the same are alike."""
    if tenant.spread is not None or is_nested(tenant):
        return tenant.name
    ask = _wanted(fleet, tenant, unit, 1).ask
    return ask.parts, ask.require, ask.prefer, ask.within


def _most(fleet: Fleet, tenant: Tenant, unit: Instances) -> int:
    wanted = _wanted(fleet, tenant, unit, 1)
    if any(not part.options for part in wanted.ask.parts):
        return 0
    top = min(MOST_UNITS, _bound(fleet, wanted.ask))
    if top and not wanted.ask.caps:
        # What comes of asking for too much is the answer, or near it: it is tried either way.
        top = min(top, _placed(fleet, _wanted(fleet, tenant, unit, top)) + 1)
    last = last_that(lambda at: _fits(fleet, _wanted(fleet, tenant, unit, at + 1)), top)
    return 0 if last is None else last + 1


def _bound(fleet: Fleet, ask: Ask) -> int:
    """Return as many units as the domains a unit must lie in have room for, by count."""
    choosing = choosing_of(fleet, [ask])
    return int(choosing.room(replace(ask, caps=()), ask.require).sum())


def _fits(fleet: Fleet, wanted: Wanted) -> bool:
    return _placed(fleet, wanted) == wanted.ask.units


def _placed(fleet: Fleet, wanted: Wanted) -> int:
    """Return how many units a cycle with this request alone places."""
    _, shares = Placed(choosing_of(fleet, [wanted.ask])).add(fleet, wanted)
    return sum(share.units for share in shares)


def _wanted(fleet: Fleet, tenant: Tenant, unit: Instances, units: int) -> Wanted:
    change = Instances(*(count * units for count in unit))
    wanted = wanted_of(fleet, tenant, Request(tenant.name, change))
    if wanted is None:
        raise ValueError(f"Nothing of {tenant.name} grows by {unit}.")
    return replace(wanted, other=None)


def in_turn(tenants: Mapping[str, Tenant]) -> list[Tenant]:
    """Return services by priority, the highest first, then by name."""
    return sorted(tenants.values(), key=lambda tenant: (-tenant.priority, tenant.name))
