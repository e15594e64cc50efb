"""Elevations of racks: what is at which height, on which side, and how it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from controller.drawings.mounted import Entry, Face, Rack
from controller.drawings.state import Key


class ColourBy(StrEnum):
    """What the fill of an entry says."""

    HEALTH = "health"
    USE = "use"
    SERVICE = "service"
    HARDWARE = "hardware"


@dataclass(frozen=True, slots=True)
class Beneath:
    """Entries that are listed beneath a rack rather than drawn, and why in words."""

    words: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Elevation:
    """One rack: ``headline`` is "compute trays healthy 17/18, switch trays 9/9".

    ``svg`` is safe to put on a page as it is; ``summary`` is its accessible name. Each entry of
    the rack is a link in ``svg`` exactly once or listed once in ``beneath``.
    """

    name: str
    href: str
    headline: str
    summary: str
    svg: str
    beneath: tuple[Beneath, ...]


@dataclass(frozen=True, slots=True)
class Elevations:
    """Racks side by side and the legend that they share."""

    racks: tuple[Elevation, ...]
    legend: tuple[Key, ...]
    pips: tuple[Key, ...]


def draw(
    racks: Sequence[Rack],
    *,
    colour_by: ColourBy = ColourBy.HEALTH,
    face: Face = Face.FRONT,
    uid: str = "racks",
) -> Elevations:
    """Return the elevations, all in one scale; ``uid`` tells drawings of one page apart."""
    raise NotImplementedError
