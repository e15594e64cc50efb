"""Where the boxes of a topology stand: four columns, a parent beside the first of its children."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.drawings.tree import Level
from controller.drawings.unfold import DEPTH, Row

WIDTH: Final = 1164.0
COLUMN: Final = 228.0
GAP: Final = 84.0
HEAD: Final = 36.0
GROUP: Final = 50.0
NODE: Final = 28.0
"""Lengths in CSS pixels: of the drawing, a column, between columns, and heights."""
_GROUP_GAP: Final = 8.0
_NODE_GAP: Final = 4.0
_BLOCK_GAP: Final = 8.0


@dataclass(frozen=True, slots=True)
class Box:
    """A row and its place in CSS pixels."""

    row: Row
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Return the height at which cables meet it."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Tie:
    """A parent and its children, the first beside it."""

    parent: Box
    children: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Columns:
    """Boxes in the order of their rows, what ties them, and how high it all is."""

    boxes: tuple[Box, ...]
    ties: tuple[Tie, ...]
    height: float


def column_x(depth: int) -> float:
    """Return where a column begins."""
    return depth * (COLUMN + GAP)


def place(rows: Sequence[Row]) -> Columns:
    """Return the places of rows; no box touches another."""
    boxes: list[Box] = []
    parents: list[Box] = []
    children: dict[str, list[Box]] = {}
    y = HEAD
    for row in rows:
        while parents and parents[-1].row.depth >= row.depth:
            y = max(y, _below(parents.pop())) + _BLOCK_GAP
        box = _box(row, y)
        if parents:
            children.setdefault(parents[-1].row.key, []).append(box)
        if row.is_open:
            parents.append(box)
        else:
            y = _below(box)
        boxes.append(box)
    height = max([y, *(_below(one) for one in parents)])
    ties = tuple(
        Tie(box, tuple(children[box.row.key])) for box in boxes if box.row.key in children
    )
    return Columns(tuple(boxes), ties, height)


def _box(row: Row, y: float) -> Box:
    """Return a box; a closed group stands for all that is to its right, and reaches there."""
    x = column_x(row.depth)
    is_wide = not row.is_open and row.depth < DEPTH[Level.NODE]
    height = NODE if row.level is Level.NODE else GROUP
    return Box(row, x, y, WIDTH - x if is_wide else COLUMN, height)


def _below(box: Box) -> float:
    return box.y + box.height + (_NODE_GAP if box.row.level is Level.NODE else _GROUP_GAP)
