"""The GPUs of a node as small squares, in as many rows as it takes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.drawings import symbols
from controller.drawings.mounted import Pip
from controller.drawings.state import Key
from controller.drawings.svg import Element, finished, sub

# From one square to the next, and the length of its side [CSS pixels]; the largest that fits.
_SIZES: Final = ((22.0, 17.0), (18.0, 14.0), (14.0, 11.0), (11.0, 8.0), (9.0, 7.0))
_KEY_SIDE: Final = 11.0


@dataclass(frozen=True, slots=True)
class Grid:
    """Squares of one size in rows of ``columns``."""

    pitch: float
    side: float
    columns: int
    rows: int

    @property
    def width(self) -> float:
        """Return how wide all of it is [CSS pixels]."""
        return self.columns * self.pitch

    @property
    def height(self) -> float:
        """Return how high all of it is [CSS pixels]."""
        return self.rows * self.pitch


def grid(count: int, width: float, height: float) -> Grid | None:
    """Return the largest squares of which ``count`` fit, ``None`` where none do."""
    for pitch, side in _SIZES:
        columns = min(count, int(width // pitch))
        if columns < count:
            # Rows of eight or four read better than one of seven and one of one.
            columns = next((even for even in (8, 4) if columns >= even), columns)
        rows = -(-count // columns) if columns else 0
        if columns and rows * pitch <= height:
            return Grid(pitch, side, columns, rows)
    return None


def words(pips: Sequence[Pip]) -> str:
    """Return GPUs in words: "8 GPUs: 6 in use, 1 free, 1 failed"."""
    if not pips:
        return "no GPUs"
    counted = Counter(pips)
    if len(counted) == 1:
        return f"{len(pips)} GPU{'s' if len(pips) > 1 else ''} {pips[0]}"
    return f"{len(pips)} GPUs: " + ", ".join(f"{counted[p]} {p}" for p in Pip if counted[p])


def draw(parent: Element, pips: Sequence[Pip], laid: Grid, at: tuple[float, float]) -> None:
    """Draw squares with the upper left corner of the first at a place; one path per state."""
    paths: dict[Pip, list[str]] = {}
    for index, pip in enumerate(pips):
        row, column = divmod(index, laid.columns)
        x, y = at[0] + column * laid.pitch + 0.5, at[1] + row * laid.pitch + 0.5
        paths.setdefault(pip, []).append(_square(pip, x, y, laid.side))
    for pip, path in paths.items():
        sub(parent, "path", d="".join(path), class_=f"pip {_class_of(pip)}")


def keys() -> tuple[Key, ...]:
    """Return what the squares mean."""
    return tuple(_key(pip) for pip in Pip)


def _key(pip: Pip) -> Key:
    drawing = symbols.swatch(14)
    sub(drawing, "path", d=_square(pip, 1.5, 1.5, _KEY_SIDE), class_=f"pip {_class_of(pip)}")
    return Key(finished(drawing), f"GPU {pip}")


def _square(pip: Pip, x: float, y: float, side: float) -> str:
    square = f"M{x:g} {y:g}h{side:g}v{side:g}h-{side:g}z"
    if pip is Pip.FAILED:
        return square + f"l{side:g} {side:g}m0-{side:g}l-{side:g} {side:g}"
    if pip is Pip.HELD:
        return square + f"m{side:g} 0l-{side:g} {side:g}"
    return square


def _class_of(pip: Pip) -> str:
    return pip.name.lower().replace("_", "-")
