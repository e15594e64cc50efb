"""What of a tree is shown: one row per box, from which both the drawing and its table are made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.drawings.state import State
from controller.drawings.tree import Bundle, Cluster, Level
from inventory.gpus import Parts

MOST_NODES: Final = 400
"""Above so many visible nodes only groups are drawn."""
MOST_SIBLINGS: Final = 40
"""So many groups of one parent are drawn one by one; the others become one box."""


class Overlay(StrEnum):
    """What the right-hand word and the bar of a box say."""

    HEALTH = "health"
    UTILISATION = "utilisation"
    FREE = "free"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for.

    ``focus`` is the key of a group, ``None`` or an unknown key the whole cluster; ``hops`` (1-3)
    is how many levels below it are drawn one by one. ``service`` narrows the overlay "service" to
    one of them.
    """

    focus: str | None = None
    hops: int = 2
    overlay: Overlay = Overlay.HEALTH
    service: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bar, 0-1 of its length, and the class of its look."""

    look: str
    part: float


@dataclass(frozen=True, slots=True)
class Row:
    """One box of the drawing and one row of its table.

    ``depth`` is 0 for S2, 3 for nodes. ``name`` reads on its own: "SU-03", "12 nodes without S1",
    "27 more S1 domains". ``counts`` are the words under it, ``reading`` those of the overlay,
    ``states`` of its nodes the worst first, ``health`` the same in words. ``switches`` and
    ``cables`` are ``None`` and ``""`` where nobody knows.
    """

    level: Level
    depth: int
    key: str
    name: str
    href: str
    nodes: int
    racks: int
    switches: int | None
    parts: Parts
    states: tuple[tuple[State, int], ...]
    services: tuple[str, ...] | None
    uplinks: tuple[Bundle, ...]
    reading: str
    shares: tuple[Share, ...]
    is_open: bool = False
    is_focus: bool = False


@dataclass(frozen=True, slots=True)
class Unfolded:
    """All rows in the order they are read, and a sentence where less is drawn than asked for."""

    rows: tuple[Row, ...]
    note: str = ""


def unfold(cluster: Cluster, view: View) -> Unfolded:
    """Return what is shown; every node is in exactly one row that is not open."""
    raise NotImplementedError
