"""Values as rows and forms hold them, whatever they are: as numbers, as text and in a sentence."""

import math
from typing import Final

_LONGEST: Final = 40


def finite(value: object) -> float | None:
    """Return a finite number, or ``None`` for anything else a row may hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        figure = float(value)
    except OverflowError:
        return None
    return figure if math.isfinite(figure) else None


def text_of(value: object) -> str:
    """Return a name without its surrounding space; empty for anything that is no text."""
    return value.strip() if isinstance(value, str) else ""


def plainly(value: float) -> str:
    """Return a bound in digits alone, "1,000,000,000,000" or "0.000001": nobody types 1e+12."""
    return f"{value:,.12f}".rstrip("0").rstrip(".")


def shown(value: object) -> str:
    """Return a value as a message quotes it, on one line of a page."""
    if value is None:
        return "empty"
    text = f"{value:,.15g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
