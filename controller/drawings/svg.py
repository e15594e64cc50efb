"""Writes SVG: every text is escaped, every number short, every name cut to fit its box."""

import unicodedata
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from django.utils.safestring import SafeString, mark_safe

from controller.core import words

Element = ET.Element
Value = str | float

# Widths of characters in a system font, in parts of its size; wide enough for every one we know.
_NARROW: Final = frozenset("ijlI.,:;|!'()[] fjrt/-")
_BROAD: Final = frozenset("mwMW@%—&")
# Of a name cut short, so many of the last characters stay in any case: nodes are numbered.
_TAIL: Final = 3
# What XML has no way to write, and no name needs.
_FORBIDDEN: Final = {ord(char): "?" for char in "\ufffe\uffff"}


def sub(parent: Element, tag: str, text: str | None = None, /, **attributes: Value) -> Element:
    """Append an element; ``class_`` is written class, ``stroke_width`` stroke-width."""
    made = ET.SubElement(parent, tag, _written(attributes))
    if text is not None:
        made.text = clean(text)
    return made


def write(parent: Element, text: str, at: tuple[float, float], class_: str) -> Element:
    """Append a line of text; ``at`` is the start of its baseline, its end for a class "end"."""
    return sub(parent, "text", text, x=at[0], y=at[1], class_=class_)


def root(width: float, height: float, **attributes: Value) -> Element:
    """Return the element of a drawing of a size in CSS pixels."""
    size: dict[str, Value] = {
        "width": width,
        "height": height,
        "viewBox": f"0 0 {_short(width)} {_short(height)}",
    }
    return ET.Element("svg", _written(size | attributes))


def finished(drawing: Element) -> SafeString:
    """Return the drawing as text that is safe on a page: the writer has escaped all of it."""
    return mark_safe(ET.tostring(drawing, encoding="unicode"))  # noqa: S308


def clean(text: str) -> str:
    """Return a text without what XML forbids and without marks of direction."""
    if text.isascii() and text.isprintable():
        return text
    return words.clean(text).translate(_FORBIDDEN)


def fit(text: str, width: float, size: float = 13) -> str:
    """Return a text cut in its middle so that it is at most ``width`` long; its end tells most."""
    text = clean(text)
    if width_of(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        tail = max(kept // 2, min(kept - 1, _TAIL))
        short = f"{text[: kept - tail]}…{text[len(text) - tail :]}"
        if width_of(short, size) <= width:
            return short
    return "…"


def how_many(pieces: Sequence[str], mark: str, width: float, size: float = 13) -> int:
    """Return how many of the pieces, joined by a mark, fit into a width."""
    long = -width_of(mark, size)
    for count, piece in enumerate(pieces):
        long += width_of(mark + piece, size)
        if long > width:
            return count
    return len(pieces)


def width_of(text: str, size: float = 13) -> float:
    """Return how long a text is in CSS pixels, guessed from the kinds of its characters."""
    return size * sum(_em(char) for char in text)


def _em(char: str) -> float:
    if char in _NARROW:
        return 0.36
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    return 0.92 if char in _BROAD else 0.72 if char.isupper() else 0.62


def _written(attributes: dict[str, Value]) -> dict[str, str]:
    return {_name(name): _short(value) for name, value in attributes.items()}


def _name(name: str) -> str:
    return name if name == "viewBox" else name.rstrip("_").replace("_", "-")


def _short(value: Value) -> str:
    return clean(value) if isinstance(value, str) else f"{round(value, 1):g}"
