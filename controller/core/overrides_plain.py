"""What overrides did to one decision, and overrides themselves, as plain values and back."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from controller.core.overrides import Override, OverrideKind, ScopeKind
from controller.core.reasons import Code
from controller.core.types import Decision, Step

EXCLUDED_BY = "excluded by"
"""How a node is named that an exclusion keeps new instances from."""


SHAPING: Final = frozenset({OverrideKind.PIN, OverrideKind.BOUNDS, OverrideKind.RATIO})
"""Kinds that name counts, which come to nothing while the service is frozen."""


def effects(decision: Decision, overrides: Iterable[Override]) -> list[dict[str, Any]]:
    """Return each override with what it made of the decision (product: effect now).

    ``binding`` says whether it changed anything, ``wanted`` and ``held`` the counts before and
    after it, ``None`` where it changed nothing. ``frozen`` stands where a freeze held its change.
    """
    return [plain_of(one) | _effect(decision, one) for one in overrides]


def _effect(decision: Decision, one: Override) -> dict[str, Any]:
    steps = [step for step in decision.steps if _is_of(step, one)]
    if not steps:
        return {"binding": False, "wanted": None, "held": None}
    if one.kind in SHAPING and any(step.code is Code.FROZEN for step in decision.steps):
        return {"binding": False, "wanted": None, "held": None, "frozen": True}
    held = decision.current if one.kind is OverrideKind.ADVISORY else steps[-1].after
    return {"binding": True, "wanted": steps[0].before._asdict(), "held": held._asdict()}


def _is_of(step: Step, one: Override) -> bool:
    if one.kind is OverrideKind.FREEZE:
        return step.code is Code.FROZEN
    if one.kind is OverrideKind.EXCLUDE:
        return step.name == "placement" and f"{EXCLUDED_BY} {one.by}" in step.detail
    return step.override == one.key


def plain_of(one: Override) -> dict[str, Any]:
    """Return an override as plain values."""
    return {
        "id": one.key,
        "kind": one.kind.value,
        "scope": one.scope_name,
        "scope_kind": one.scope.value,
        "by": one.by,
        "reason": one.reason,
        "since": _moment(one.since_s),
        "until": _moment(one.until_s),
        "version": one.version,
        "values": dict(one.values),
    }


def from_plain(plain: object) -> tuple[Override, ...]:
    """Return the overrides that plain values hold; what can't be read is left out."""
    found = [_read(one) for one in plain] if isinstance(plain, list) else []
    return tuple(one for one in found if one is not None)


def _read(plain: object) -> Override | None:
    try:
        one: Mapping[str, Any] = dict(plain)  # type: ignore[call-overload]
        return Override(
            key=int(one["id"]),
            kind=OverrideKind(one["kind"]),
            scope=ScopeKind(one["scope_kind"]),
            scope_name=str(one["scope"]),
            by=str(one["by"]),
            reason=str(one["reason"]),
            since_s=datetime.fromisoformat(one["since"]).timestamp(),
            until_s=datetime.fromisoformat(one["until"]).timestamp(),
            version=int(one["version"]),
            values=dict(one["values"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
