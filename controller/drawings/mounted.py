"""What is mounted in a rack: nodes and switches, at which height, on which side."""

from dataclasses import dataclass
from enum import StrEnum

from controller.drawings.state import UNKNOWN, State
from inventory.gpus import Parts


class Kind(StrEnum):
    """What is mounted."""

    NODE = "node"
    SWITCH = "switch"


class Face(StrEnum):
    """Which side of a rack: of an entry where it is mounted, of a drawing what it shows."""

    FRONT = "front"
    REAR = "rear"
    BOTH = "both"


class Numbering(StrEnum):
    """Where U1 is."""

    BOTTOM_UP = "bottom-up"
    TOP_DOWN = "top-down"


class Pip(StrEnum):
    """What one GPU does; held back are those that are reserved or in maintenance."""

    IN_USE = "in use"
    FREE = "free"
    HELD = "held back"
    FAILED = "failed"
    UNKNOWN = "unknown"


def pips_of(parts: Parts) -> tuple[Pip, ...]:
    """Return one pip per GPU where only the counts are known, not which GPU is which."""
    counts = (
        (Pip.IN_USE, parts.in_use),
        (Pip.FREE, parts.free),
        (Pip.HELD, parts.reserved + parts.maintenance),
        (Pip.FAILED, parts.unhealthy),
        (Pip.UNKNOWN, parts.unknown),
    )
    return tuple(pip for pip, count in counts for _ in range(count))


@dataclass(frozen=True, slots=True)
class Entry:
    """A node or switch; ``u_position`` is its lowest U, ``None`` where nobody recorded it.

    ``state`` is its health or that it is in maintenance; ``words`` are further ones for the title
    ("cordoned by ana"). ``pips`` are its GPUs in their order, empty for a switch; ``gpus_known``
    is false for a node whose GPUs nobody counted. ``services`` is ``None`` where nobody reports,
    ``hardware`` ``""`` where it is not known.
    """

    name: str
    href: str
    kind: Kind = Kind.NODE
    u_position: int | None = None
    u_height: int = 1
    face: Face = Face.BOTH
    state: State = UNKNOWN
    pips: tuple[Pip, ...] = ()
    gpus_known: bool = True
    services: tuple[str, ...] | None = None
    hardware: str = ""
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rack:
    """A rack of ``u_height`` units; ``has_trays`` where one NVLink domain spans it (NVL72)."""

    name: str
    href: str
    u_height: int
    entries: tuple[Entry, ...]
    numbering: Numbering = Numbering.BOTTOM_UP
    has_trays: bool = False
