"""The shapes, patterns and swatches that the drawings share."""

from typing import Final

from controller.drawings.state import PATTERNED, Key, Tone
from controller.drawings.svg import Element, finished, root, sub

_SIZE: Final = 16
_CIRCLE: Final = "M8 1.2a6.8 6.8 0 1 1 0 13.6a6.8 6.8 0 1 1 0-13.6z"
# Outline and sign of each tone, as in the icons of the pages: the shape alone tells them apart.
_SHAPES: Final[dict[Tone, tuple[str, str]]] = {
    Tone.OK: (_CIRCLE, "M4.9 8.2l2.2 2.2 4-4.5"),
    Tone.BUSY: ("M2 2h12v12h-12z", "M6.3 5l4.6 3-4.6 3z"),
    Tone.WARN: ("M8 1.6l6.8 12.2H1.2z", "M8 6v3.8M8 11.4v.7"),
    Tone.CRIT: ("M5.2 1.2h5.6l4 4v5.6l-4 4H5.2l-4-4V5.2z", "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8"),
    Tone.RESERVED: ("M8 1.2l6.8 6.8L8 14.8 1.2 8z", "M8 5v6"),
    Tone.MAINTENANCE: (_CIRCLE, "M4.8 8h6.4"),
    Tone.UNKNOWN: (_CIRCLE, "M6 6.2a2 2 0 1 1 2.8 1.9c-.6.3-.8.6-.8 1.3M8 11.3v.7"),
}
# What a pattern repeats, in a tile of 6 by 6.
_TILES: Final[dict[Tone, str]] = {
    Tone.CRIT: "M0 0l6 6M6 0l-6 6",
    Tone.RESERVED: "M0 1.5h6M0 4.5h6",
    Tone.MAINTENANCE: "M-1.5 1.5l3-3M0 6l6-6M4.5 7.5l3-3",
    Tone.UNKNOWN: "M1.5 1.5h.01M4.5 4.5h.01",
}
SERIES: Final = 8
"""Looks that stand for categories: four colours, plain and striped."""


def class_of(tone: Tone) -> str:
    """Return the class that gives ``--state`` and ``--fill`` of a tone."""
    plain = {Tone.MAINTENANCE: "muted", Tone.UNKNOWN: "muted"}
    return plain.get(tone, tone.value)


def define(drawing: Element, uid: str) -> None:
    """Put the symbols and patterns into a drawing; their ids begin with ``uid``."""
    defs = sub(drawing, "defs")
    for tone, (outline, sign) in _SHAPES.items():
        box = f"0 0 {_SIZE} {_SIZE}"
        symbol = sub(defs, "symbol", id=f"{uid}-{tone}", viewBox=box)
        sub(symbol, "path", d=outline, class_="outline")
        sub(symbol, "path", d=sign, class_="sign")
    for tone in PATTERNED:
        _tile(defs, f"{uid}-fill-{tone}", _TILES[tone], f"tile {class_of(tone)} {tone}")
    for slot in range(SERIES // 2, SERIES):
        name = f"tile series-{slot % (SERIES // 2)}"
        _tile(defs, f"{uid}-series-{slot}", "M-1.5 1.5l3-3M0 6l6-6M4.5 7.5l3-3", name)


def _tile(defs: Element, name: str, path: str, class_: str) -> None:
    named = {"id": name, "class_": class_, "patternUnits": "userSpaceOnUse"}
    tile = sub(defs, "pattern", width=6, height=6, **named)
    sub(tile, "rect", width=6, height=6, class_="ground")
    sub(tile, "path", d=path)


def icon(parent: Element, uid: str, tone: Tone, at: tuple[float, float], size: float = 14) -> None:
    """Draw the shape of a tone with its upper left corner at a place."""
    look = {"href": f"#{uid}-{tone}", "class_": f"icon {class_of(tone)} {tone}"}
    sub(parent, "use", x=at[0], y=at[1], width=size, height=size, **look)


def filled(uid: str, tone: Tone) -> dict[str, str]:
    """Return the attributes of a shape filled in the colour or pattern of a tone."""
    if tone in PATTERNED:
        return {"class_": f"fill {class_of(tone)}", "fill": f"url(#{uid}-fill-{tone})"}
    return {"class_": f"fill solid {class_of(tone)}"}


def series(uid: str, slot: int) -> dict[str, str]:
    """Return the attributes of a shape filled in the look of a category."""
    if slot >= SERIES // 2:
        return {"class_": "fill", "fill": f"url(#{uid}-series-{slot})"}
    return {"class_": f"fill solid series-{slot}"}


def key(attributes: dict[str, str], word: str) -> Key:
    """Return the line of a legend for a fill."""
    drawing = swatch()
    sub(drawing, "rect", x=0.5, y=0.5, width=19, height=13, rx=2, **attributes)
    return Key(finished(drawing), word)


def key_of_tone(uid: str, tone: Tone, word: str) -> Key:
    """Return the line of a legend for a state: its shape and its fill."""
    drawing = swatch(38)
    icon(drawing, uid, tone, (0, 0))
    sub(drawing, "rect", x=18.5, y=0.5, width=19, height=13, rx=2, **filled(uid, tone))
    return Key(finished(drawing), word)


def swatch(width: float = 20) -> Element:
    """Return an empty drawing of the size of a line of a legend."""
    return root(width, 14, class_="drawing", aria_hidden="true", focusable="false")
