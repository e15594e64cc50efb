"""What would become of one row: field by field, before and after, and what a person holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from inventory.importers.found import Key
from inventory.kept import SILENT, Kept, Value, Values

CASELESS: Final = frozenset(
    (
        *("name", "hardware", "rack", "nvlink_domain", "guid", "uuid", "serial", "k8s_uid"),
        *("region", "fabric", "switch", "peer", "node", "site", "parent"),
    )
)
"""Names that are the same in other letters."""
ROUNDED: Final = frozenset(("gpu_memory_mib", "memory_mib"))
CLEAR: Final = "-"
"""Stands for a level that a file says is none."""
NEAR: Final = 20
"""A twentieth is how far two tools' sizes of the same memory are apart."""
HELD_WITH: Final[Mapping[str, str]] = {"admin_reason": "admin_state", "health_reason": "health"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One thing and what would become of it; ``at`` is where in the files it was read.

    ``before`` and ``after`` hold the fields that differ, ``after`` of something new all that is
    known of it. ``held`` are fields that a person set: (what stays, what the file says).
    """

    operation: str
    kind: str
    key: Key
    name: str
    cluster: str = ""
    row: UUID | None = None
    before: Values = field(default_factory=dict)
    after: Values = field(default_factory=dict)
    held: Mapping[str, list[Value]] = field(default_factory=dict)
    owners: Mapping[str, str] = field(default_factory=dict)
    at: str = ""

    @property
    def differs(self) -> bool:
        """Whether applying it would change a row."""
        return self.operation in {"create", "change", "missing", "remove"}


@dataclass(frozen=True, slots=True)
class Difference:
    """The fields of a row that a file changes, and those that it may not."""

    before: Values
    after: Values
    held: Mapping[str, list[Value]]


def difference(kept: Kept, said: Values, clears: tuple[str, ...] = ()) -> Difference:
    """Return what differs; what a file doesn't say stays as it is."""
    before: dict[str, Value] = {}
    after: dict[str, Value] = {}
    held: dict[str, list[Value]] = {}
    wanted = {**_cleared(kept, clears), **said}
    for name, value in wanted.items():
        old = kept.values.get(name)
        new = value if name in clears and name not in said else _joined(name, old, value)
        if same(name, old, new):
            continue
        if name in kept.held or HELD_WITH.get(name) in kept.held:
            held[name] = [old, new]
        else:
            before[name], after[name] = old, new
    if kept.missing:
        before["missing"], after["missing"] = True, False
    return Difference(before, after, held)


def _cleared(kept: Kept, clears: tuple[str, ...]) -> dict[str, Value]:
    emptied: dict[str, Value] = {}
    for name in clears:
        value = kept.values.get(name)
        if value not in SILENT:
            emptied[name] = EMPTY.get(type(value).__name__)
    return emptied


EMPTY: Final[Mapping[str, Value]] = {"str": "", "list": [], "dict": {}}


def _joined(name: str, old: Value, new: Value) -> Value:
    """Return a field as it will be: labels, levels and words add up."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **new}
    if isinstance(old, list) and isinstance(new, list) and name in _ADDING:
        return _ADDING[name](old, new)
    return new


def _words(old: list[Any], new: list[Any]) -> list[Any]:
    there = {str(one).lower() for one in old}
    return [*old, *(one for one in new if str(one).lower() not in there)]


def _levels(old: list[Any], new: list[Any]) -> list[Any]:
    width = max(len(old), len(new))
    pairs = zip(*([*one, *[None] * (width - len(one))] for one in (old, new)), strict=True)
    levels = [None if said == CLEAR else said or had for had, said in pairs]
    while levels and levels[-1] is None:
        levels.pop()
    return levels


_ADDING: Final = {"tiers": _levels, "aliases": _words}


def same(name: str, old: Value, new: Value) -> bool:
    """Return whether two values of a field mean the same."""
    if old == new or (old in SILENT and new in SILENT):
        return True
    if name in CASELESS and isinstance(old, str) and isinstance(new, str):
        return old.lower() == new.lower()
    if name in ROUNDED and isinstance(old, int) and isinstance(new, int):
        return abs(old - new) * NEAR <= max(old, new)
    return False
