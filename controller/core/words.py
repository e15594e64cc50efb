"""Numbers and counts as an operator reads them."""

import math
import unicodedata
from typing import Final

from controller.core.types import Instances, Role

DECODE_FIRST: Final = (Role.DECODE, Role.PREFILL)
_EXACT_FROM: Final = 100.0


def number(value: float) -> str:
    """Return a figure with thousands separators; three digits below 100; a dash for none."""
    if not math.isfinite(value):
        return "—"
    if abs(value) >= _EXACT_FROM or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def quantity(value: float, unit: str) -> str:
    """Return a figure with its unit; a share is shown in per cent."""
    return percent(value) if unit == "share" else f"{number(value)} {unit}"


def percent(frac: float) -> str:
    """Return a share as whole per cent."""
    return f"{100.0 * frac:,.0f} %"


def seconds(value: float) -> str:
    """Return a duration [s], never negative."""
    return f"{max(0.0, value):,.0f} s"


def counts(pair: Instances, roles: tuple[Role, ...] = DECODE_FIRST) -> str:
    """Return counts in words, ``decode 4, prefill 2``."""
    return ", ".join(f"{role.value} {pair.of(role)}" for role in roles)


def changed_roles(before: Instances, after: Instances) -> tuple[Role, ...]:
    """Return the roles whose count differs, decode first."""
    return tuple(role for role in DECODE_FIRST if before.of(role) != after.of(role))


def capitalised(text: str) -> str:
    """Return the text with its first letter in upper case and the rest untouched."""
    return text[:1].upper() + text[1:]


def clean(text: str) -> str:
    """Return text from outside as rows and sentences can hold it.

    Without control characters and marks of direction, which could turn the figures of a sentence
    around, and without halves of surrogate pairs. Line breaks become spaces.
    """
    spaced = "".join(" " if c in "\n\r\t" else c for c in text)
    kept = "".join(c for c in spaced if unicodedata.category(c) not in {"Cc", "Cf"})
    return kept.encode("utf-8", "replace").decode("utf-8")
