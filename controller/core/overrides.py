"""What people set over the policy for a while, and which of it rules."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


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
    values: Mapping[str, float | str] = field(default_factory=dict, hash=False)


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
    """Return what tells one set of overrides from another; empty for none (A03)."""
    named = ",".join(f"{one.key}.{one.version}" for one in sorted(overrides, key=_by_key))
    return hashlib.sha256(named.encode("ascii")).hexdigest()[:16] if named else ""


def _by_key(one: Override) -> int:
    return one.key
