"""One arithmetic of GPUs for all pages: the parts of a node always add up to its total."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Self

from inventory.models.base import AdminState, Health, Lifecycle


@dataclass(frozen=True, slots=True)
class Parts:
    """GPUs by what they do; the six parts add up to ``total``.

    ``in_use`` are those that instances hold, busy or idle. ``unknown`` are those of silent or
    vanished nodes, and those nobody reports the use of. ``uncounted`` is not of GPUs: it is how
    many nodes there are whose GPUs nobody counted.
    """

    total: int = 0
    in_use: int = 0
    free: int = 0
    reserved: int = 0
    maintenance: int = 0
    unhealthy: int = 0
    unknown: int = 0
    uncounted: int = 0

    def __add__(self, its: Self) -> "Parts":
        """Return both together."""
        # Field by field, because pages add up thousands.
        return Parts(
            self.total + its.total,
            self.in_use + its.in_use,
            self.free + its.free,
            self.reserved + its.reserved,
            self.maintenance + its.maintenance,
            self.unhealthy + its.unhealthy,
            self.unknown + its.unknown,
            self.uncounted + its.uncounted,
        )


PARTS = tuple(one.name for one in fields(Parts))[1:-1]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What decides where the GPUs of a node count."""

    gpus: int | None
    allocatable: int | None = None
    failed: int = 0
    lifecycle: str = Lifecycle.ACTIVE
    admin_state: str = AdminState.IN_SERVICE
    health: str = Health.OK
    reserved: bool = False
    missing_since: datetime | None = None

    @property
    def exists(self) -> bool:
        """Whether it is there to be counted: neither planned only nor retired."""
        return self.lifecycle not in {Lifecycle.PLANNED, Lifecycle.RETIRED}


def parts_of(node: NodeFacts, used: int | None, *, is_least: bool = False) -> Parts:
    """Return where the GPUs of one node count; ``used`` is ``None`` where nobody reports use.

    ``is_least`` says that more than ``used`` may be held, so what would be free is unknown.
    GPUs that instances hold count as in use however unwell, silent or reserved the node is; those
    of a planned or retired node count nowhere, held or not. Where figures contradict each other
    the smaller number is free (I04).
    """
    if not node.exists:
        return Parts()
    if node.gpus is None:
        return Parts(total=used or 0, in_use=used or 0, uncounted=1)
    in_use = min(used or 0, node.gpus)
    rest = node.gpus - in_use
    short = 0 if node.allocatable is None else max(0, node.gpus - node.allocatable)
    broken = min(rest, max(node.failed, short))
    left = _part(node, is_known=used is not None and not is_least)
    counted = {"total": node.gpus, "in_use": in_use, "unhealthy": broken}
    counted[left] = counted.get(left, 0) + rest - broken
    return Parts(**counted)


def _part(node: NodeFacts, *, is_known: bool) -> str:
    """Return where what no instance holds counts: the worst that is true of the node."""
    states = (
        ("unknown", node.missing_since is not None or node.health == Health.UNKNOWN),
        ("unhealthy", node.health != Health.OK),
        ("reserved", node.reserved),
        (
            "maintenance",
            node.admin_state != AdminState.IN_SERVICE or node.lifecycle != Lifecycle.ACTIVE,
        ),
        ("unknown", not is_known),
    )
    return next((name for name, holds in states if holds), "free")


def contradiction(node: NodeFacts, used: int | None) -> str:
    """Return in words how the counts of a node contradict each other; empty where they don't.

    What instances hold, what the cluster hands out and what the node has are three sources (I04).
    """
    has, given, held = node.gpus, node.allocatable, used or 0
    if has is None:
        return ""
    if given is not None and given > has:
        return f"The cluster hands out {given} GPUs of a node that has {has}."
    if held > has:
        return f"Instances hold {held} GPUs of a node that has {has}."
    is_over = given is not None and held > given
    return f"Instances hold {held} GPUs; the cluster hands out {given}." if is_over else ""


def total_of(parts: Iterable[Parts]) -> Parts:
    """Return all together."""
    return sum(parts, Parts())
