"""What people set over the policy for a while, and which of it rules."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from controller.core.raw_values import finite, shown


class OverrideKind(StrEnum):
    """What an override does (product: overrides)."""

    FREEZE = "freeze"
    PIN = "pin"
    BOUNDS = "bounds"
    RATIO = "ratio"
    OUT_ONLY = "out_only"
    IN_ONLY = "in_only"
    ADVISORY = "advisory"
    EXCLUDE = "exclude"


class ScopeKind(StrEnum):
    """What something holds for, widest first."""

    FLEET = "fleet"
    REGION = "region"
    CLUSTER = "cluster"
    SERVICE = "service"


_WIDTH: Final = {kind: place for place, kind in enumerate(ScopeKind)}
SEVERAL: Final = frozenset({OverrideKind.EXCLUDE})
"""Kinds of which any number rule together."""


@dataclass(frozen=True, slots=True)
class Override:
    """One override as decisions read it; ``values`` hold what its kind needs.

    ``pin``: ``prefill`` and ``decode`` [instances]. ``bounds``: ``prefill_min``, ``prefill_max``,
    ``decode_min``, ``decode_max`` [instances], each may be absent. ``ratio``: ``min`` and ``max``
    [prefill instances per decode instance]. ``exclude``: ``what`` (s2, s1, rack, node, hardware)
    and ``name``. The others have none. ``version`` grows with each change of it.
    """

    key: int
    kind: OverrideKind
    scope: ScopeKind
    scope_name: str
    by: str
    reason: str
    since_s: float
    until_s: float
    version: int = 1
    values: Mapping[str, Any] = field(default_factory=dict, hash=False)


PIN_FIELDS: Final = ("prefill", "decode")
BOUND_FIELDS: Final = ("prefill_min", "prefill_max", "decode_min", "decode_max")
RATIO_FIELDS: Final = ("min", "max")
EXCLUDED: Final = ("s2", "s1", "rack", "node", "hardware")
"""What an exclusion may name."""

MOST_INSTANCES: Final = 100_000
LARGEST_RATIO: Final = 1000.0
WIDEST_TOLERANCE: Final = 0.99
"""A band wider than this has no ratio in its middle that a policy could keep."""

Fault = tuple[str, str]
"""The field that can't be used, empty for all of them, and a sentence that says what to do."""


def fault_of(kind: OverrideKind, values: object) -> Fault | None:
    """Return what is wrong with the values of an override, ``None`` if it can be used (A10).

    Looks at what a row may hold, whatever it is, and never raises.
    """
    if not isinstance(values, Mapping):
        return "", f"{shown(values)} is no set of values"
    known = _FIELDS.get(kind, ())
    for name in values:
        if name not in known:
            what = f"give {', '.join(known)}" if known else "it takes none"
            return str(name), f"there is no value {shown(name)} of {kind}; {what}"
    look = _FAULTS.get(kind)
    return None if look is None else look(values)


_FIELDS: Final[Mapping[OverrideKind, tuple[str, ...]]] = {
    OverrideKind.PIN: PIN_FIELDS,
    OverrideKind.BOUNDS: BOUND_FIELDS,
    OverrideKind.RATIO: RATIO_FIELDS,
    OverrideKind.EXCLUDE: ("what", "name"),
}


def _pin_fault(values: Mapping[str, object]) -> Fault | None:
    return _counts_fault(values, PIN_FIELDS)


def _counts_fault(values: Mapping[str, object], names: Iterable[str]) -> Fault | None:
    for name in names:
        given = values.get(name)
        whole = isinstance(given, int) and not isinstance(given, bool)
        if not whole or not 1 <= given <= MOST_INSTANCES:  # type: ignore[operator]
            return name, f"{shown(given)} is no count; give a whole number of at least 1"
    return None


def _bounds_fault(values: Mapping[str, object]) -> Fault | None:
    if not values:
        return "", "no bound is given; give at least one"
    fault = _counts_fault(values, values)
    if fault is not None:
        return fault
    for role in PIN_FIELDS:
        low, high = values.get(f"{role}_min"), values.get(f"{role}_max")
        if low is not None and high is not None and low > high:  # type: ignore[operator]
            return f"{role}_min", f"minimum {low} {role} is above the maximum {high}"
    return None


def _ratio_fault(values: Mapping[str, object]) -> Fault | None:
    for name in RATIO_FIELDS:
        figure = finite(values.get(name))
        if figure is None or not 1.0 / LARGEST_RATIO <= figure <= LARGEST_RATIO:
            return name, (
                f"{shown(values.get(name))} is no ratio; give prefill per decode from "
                f"{1.0 / LARGEST_RATIO:g} to {LARGEST_RATIO:g}"
            )
    low, high = _figure(values["min"]), _figure(values["max"])
    if low > high:
        return "min", f"minimum {low:g} is above the maximum {high:g}"
    if middle_of(low, high)[1] > WIDEST_TOLERANCE:
        return "max", f"{low:g} to {high:g} is too wide a band; give a maximum nearer the minimum"
    return None


def _exclude_fault(values: Mapping[str, object]) -> Fault | None:
    if values.get("what") not in EXCLUDED:
        return "what", f"{shown(values.get('what'))} is none; choose from {', '.join(EXCLUDED)}"
    name = values.get("name")
    if not isinstance(name, str) or not name.strip():
        return "name", f"{shown(name)} is no name; say which is to be left out"
    return None


_FAULTS: Final[Mapping[OverrideKind, Callable[[Mapping[str, object]], Fault | None]]] = {
    OverrideKind.PIN: _pin_fault,
    OverrideKind.BOUNDS: _bounds_fault,
    OverrideKind.RATIO: _ratio_fault,
    OverrideKind.EXCLUDE: _exclude_fault,
}


def _figure(value: object) -> float:
    return finite(value) or 0.0


def middle_of(low: float, high: float) -> tuple[float, float]:
    """Return the ratio in the middle of a band and the tolerance around it that gives the band."""
    return (low + high) / 2.0, (high - low) / (high + low)


def told(one: Override, now_s: float) -> str:
    """Return who set an override, until when and why: "ana until 03:40 UTC (load test)"."""
    return f"{one.by} until {clock(one.until_s, now_s)} ({one.reason})"


def clock(at_s: float, now_s: float) -> str:
    """Return a time as a sentence says it: with the day unless it is that of ``now_s``."""
    at, now = (datetime.fromtimestamp(one_s, UTC) for one_s in (at_s, now_s))
    return f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%d %b %H:%M} UTC"


def ruling(overrides: Iterable[Override], now_s: float) -> tuple[Override, ...]:
    """Return those that rule at ``now_s``: of each kind the one of the narrowest scope.

    Of equally narrow ones the newest rules; exclusions rule together. Ordered by kind and key.
    """
    found: dict[object, Override] = {}
    for one in sorted(overrides, key=lambda each: (_WIDTH[each.scope], each.since_s, each.key)):
        if one.since_s <= now_s < one.until_s:
            found[one.key if one.kind in SEVERAL else one.kind] = one
    order = list(OverrideKind)
    return tuple(sorted(found.values(), key=lambda each: (order.index(each.kind), each.key)))


def digest(overrides: Iterable[Override]) -> str:
    """Return what tells one set of overrides from another; empty for none (A03).

    A freeze is none of them: whether one is in force is asked apart, before anything is sent.
    """
    shaping = (one for one in overrides if one.kind is not OverrideKind.FREEZE)
    named = ",".join(f"{one.key}.{one.version}" for one in sorted(shaping, key=_by_key))
    return hashlib.sha256(named.encode("ascii")).hexdigest()[:16] if named else ""


def _by_key(one: Override) -> int:
    return one.key
