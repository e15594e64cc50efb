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


def shown(value: object) -> str:
    """Return a value as a message quotes it, on one line of a page."""
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
