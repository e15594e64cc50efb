"""Instances of engines: their phases, the group they are in, and who takes whose place."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from math import inf
from typing import NotRequired, TypedDict

from controller.core.ports import MoveTo, Spot
from controller.core.registration import InStep
from controller.core.types import Role
from controller.simulator.model import NodeSpec


class SpotRow(TypedDict):
    """A spot as plain values; its role is that of the instance."""

    group: str
    nodes: dict[str, int]


class InstanceRow(TypedDict):
    """An instance as plain values; ``until_s`` is ``None`` when nothing is due.

    ``replaces`` is the serial of the one whose place it takes once it is up.
    """

    key: str
    role: str
    serial: int
    gpus: int
    phase: str
    since_s: float
    until_s: float | None
    tries: int
    nodes: dict[str, int]
    group: NotRequired[str]
    spot: NotRequired[SpotRow]
    replaces: NotRequired[int]
    returns: NotRequired[bool]


class Phase(StrEnum):
    """Where an instance is between the wish for it and the release of its GPUs."""

    PENDING = "pending"
    STARTING = "starting"
    HELD = "held"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Instance:
    """One engine. ``until_s`` is when its phase may end, ``since_s`` when it began [running s].

    An instance that returns from draining serves since the time it left; one that moved away
    never does. A held one is up and kept out of service discovery, at most until ``until_s``.
    ``spot`` is where it is to go until it is up.
    """

    key: str
    role: Role
    serial: int
    gpus: int
    phase: Phase = Phase.PENDING
    since_s: float = 0.0
    until_s: float = 0.0
    tries: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    group: str = ""
    spot: Spot | None = None
    returns: bool = True

    @property
    def name(self) -> str:
        """What its cluster calls it."""
        return f"{self.key}-{self.role}-{self.serial}"

    def send_to(self, spot: Spot | None) -> None:
        """Have it try ``spot`` first; without one it looks for itself."""
        self.spot, self.group = spot, spot.group if spot else ""

    def row(self) -> InstanceRow:
        """Return it as plain values, without whom it replaces."""
        row: InstanceRow = {
            "key": self.key,
            "role": self.role.value,
            "serial": self.serial,
            "gpus": self.gpus,
            "phase": self.phase.value,
            "since_s": self.since_s,
            "until_s": None if self.until_s == inf else self.until_s,
            "tries": self.tries,
            "nodes": dict(self.nodes),
            "group": self.group,
            "returns": self.returns,
        }
        if self.spot:
            row["spot"] = {"group": self.spot.group, "nodes": dict(self.spot.nodes)}
        return row

    @classmethod
    def from_row(cls, row: InstanceRow, gpus: int) -> "Instance":
        """Return the instance :meth:`row` wrote down, with ``gpus`` and without nodes."""
        role = Role(row["role"])
        spot = row.get("spot")
        return cls(
            row["key"],
            role,
            row["serial"],
            gpus,
            phase=Phase(row["phase"]),
            since_s=row["since_s"],
            until_s=inf if row["until_s"] is None else row["until_s"],
            tries=row["tries"],
            group=row.get("group", ""),
            spot=Spot(role, spot["group"], tuple(spot["nodes"].items())) if spot else None,
            returns=row.get("returns", True),
        )


@dataclass(frozen=True, slots=True)
class Terms:
    """How an order is carried out (see ``ScaleOrder``).

    Who registers when, where those it starts go, who leaves first and who changes place.
    """

    in_step: InStep | None = None
    spots: tuple[Spot, ...] = ()
    leave: tuple[str, ...] = ()
    moves: tuple[MoveTo, ...] = ()


FREELY = Terms()


class Moves:
    """Pairs of an instance and the one that starts elsewhere to take its place.

    A pair is one wish. It ends when either half leaves; the other half is then like any.
    """

    def __init__(self) -> None:
        """Start without pairs."""
        self._old: dict[Instance, Instance] = {}
        self._new: dict[Instance, Instance] = {}

    def __len__(self) -> int:
        return len(self._old)

    def __iter__(self) -> Iterator[tuple[Instance, Instance]]:
        """Go through the pairs, old one first."""
        return ((old, new) for new, old in self._old.items())

    def begin(self, old: Instance, new: Instance) -> None:
        """Have ``new`` take the place of ``old`` once it is up."""
        self._old[new], self._new[old] = old, new

    def end(self, half: Instance) -> Instance | None:
        """Forget the pair ``half`` is in, if any; return its other half."""
        if half in self._old:
            old = self._old.pop(half)
            del self._new[old]
            return old
        if half in self._new:
            new = self._new.pop(half)
            del self._old[new]
            return new
        return None

    def replaced_by(self, new: Instance) -> Instance | None:
        """Return whose place an instance takes once it is up."""
        return self._old.get(new)

    def successor(self, old: Instance) -> Instance | None:
        """Return who takes the place of an instance."""
        return self._new.get(old)


def group_near(
    instance: Instance, others: Iterable[Instance], nodes: Mapping[str, NodeSpec]
) -> str:
    """Return the group of the first other under the same S2 of the same cluster, or a new name.

    Where that S2 has no node such as the other role runs on, no group could be whole there: then
    it is the first other's group. New ones carry the smallest number no other has.
    """
    here, taken = _above(instance, nodes), set()
    seated = [other for other in others if other.group and other.nodes]
    for other in seated:
        if _above(other, nodes) == here:
            return other.group
        taken.add(other.group)
    partners = {
        nodes[next(iter(other.nodes))].hardware
        for other in seated
        if other.role is not instance.role
    }
    there = {node.hardware for node in nodes.values() if (node.cluster, node.s2) == here}
    if partners and not partners & there:
        return seated[0].group
    names = (f"{instance.key}-g{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def _above(instance: Instance, nodes: Mapping[str, NodeSpec]) -> tuple[str, str]:
    """Return the cluster and S2 of an instance; one on several nodes counts at its first."""
    node = nodes[next(iter(instance.nodes))]
    return node.cluster, node.s2
