"""Overrides in words: what each kind is called, what its values say, and which comes first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.core.overrides import OverrideKind

TITLES: Final[Mapping[OverrideKind, str]] = {
    OverrideKind.FREEZE: "Freeze for a time",
    OverrideKind.PIN: "Pin",
    OverrideKind.BOUNDS: "Bounds",
    OverrideKind.RATIO: "P/D ratio",
    OverrideKind.OUT_ONLY: "Scale-out only",
    OverrideKind.IN_ONLY: "Scale-in only",
    OverrideKind.ADVISORY: "Advisory",
    OverrideKind.EXCLUDE: "Exclude",
}
ABOUT: Final[Mapping[OverrideKind, str]] = {
    OverrideKind.FREEZE: "No automatic change until it ends; it then goes on by itself.",
    OverrideKind.PIN: "Both counts are held at these numbers, within the limits.",
    OverrideKind.BOUNDS: "Narrower limits for a while; they never widen the configured ones.",
    OverrideKind.RATIO: "Prefill per decode is kept in this band instead of the policy's.",
    OverrideKind.OUT_ONLY: "Instances may be added, none is removed.",
    OverrideKind.IN_ONLY: "Instances may be removed, none is added beyond the minimum.",
    OverrideKind.ADVISORY: "Decisions are recorded and not carried out.",
    OverrideKind.EXCLUDE: "Nothing new is placed on this part of the fleet; what runs stays.",
}
PRECEDENCE: Final = (
    "Kill switch, then freeze, then pin, then bounds and ratio, then automatic. Within a kind the"
    " narrower scope wins. Scale-out only and scale-in only just stop, so they hold for a pin too."
)
EXCLUDED_WORDS: Final[Mapping[str, str]] = {
    "s2": "S2 domain",
    "s1": "S1 domain",
    "rack": "rack",
    "node": "node",
    "hardware": "hardware type",
}


def title_of(kind: str) -> str:
    """Return what a kind is called; one that nobody knows by its own name."""
    return TITLES[OverrideKind(kind)] if kind in list(OverrideKind) else kind


def values_words(kind: str, values: object) -> str:
    """Return the values of an override in words; what a row can't mean is told as it stands."""
    if not isinstance(values, Mapping):
        return str(values)
    if kind == OverrideKind.BOUNDS:
        told = (_bounds(values, role) for role in ("decode", "prefill"))
        return ", ".join(filter(None, told)) or "no bound"
    if kind == OverrideKind.EXCLUDE:
        what = str(values.get("what", ""))
        return f"{EXCLUDED_WORDS.get(what, what)} {_shown(values, 'name')}"
    return _PATTERNS.get(kind, "").format_map(
        {name: _shown(values, name) for name in ("prefill", "decode", "min", "max")}
    )


_PATTERNS: Final[Mapping[str, str]] = {
    OverrideKind.PIN: "decode {decode}, prefill {prefill}",
    OverrideKind.RATIO: "{min} to {max} prefill per decode",
}


def _shown(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return f"{value:g}" if isinstance(value, float) else str(value if value is not None else "—")


def _bounds(values: Mapping[str, object], role: str) -> str:
    low, high = values.get(f"{role}_min"), values.get(f"{role}_max")
    if low is None and high is None:
        return ""
    if high is None:
        return f"{role} at least {low}"
    return f"{role} at most {high}" if low is None else f"{role} {low}–{high}"
