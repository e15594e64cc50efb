"""What one placement cycle is asked and answers: services, requests, the plan (HeteroScale §7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from controller.core.fleet import Level
from controller.core.reasons import Code
from controller.core.types import Instances, Role

NONE: Final = Instances(0, 0)
NO_LABELS: Final[Mapping[str, tuple[str, ...]]] = {}


@dataclass(frozen=True, slots=True)
class Choice:
    """One hardware type a role may run on: GPUs of one instance there, and how fast it is.

    ``throughput`` is relative to the role's first choice: an instance of 0.5 does half the work.
    """

    type: str
    gpus: int
    throughput: float = 1.0


@dataclass(frozen=True, slots=True)
class RoleNeed:
    """What instances of one role, or of one part of it, need.

    ``hardware`` is in order of preference. With ``nodes`` above 1 an instance takes that many
    whole nodes under one S1. ``select`` are labels a node must have, each with the values that
    will do; ``tolerate`` the taints it may have.
    """

    hardware: tuple[Choice, ...]
    nodes: int = 1
    select: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NO_LABELS, hash=False)
    tolerate: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PartNeed:
    """A part of a role of a mixture of experts: ``pods`` of it make one instance (§8)."""

    name: str
    pods: int
    need: RoleNeed


@dataclass(frozen=True, slots=True)
class RoleForm:
    """One role: its need, or the parts of one instance that must share a domain of ``level``."""

    need: RoleNeed | None = None
    parts: tuple[PartNeed, ...] = ()
    level: Level = Level.S1


@dataclass(frozen=True, slots=True)
class Affinity:
    """How near the instances of a group must be to each other, or are if it can be had."""

    level: Level = Level.S2
    required: bool = False


@dataclass(frozen=True, slots=True)
class Spread:
    """A service over failure domains: instances of each role in at least so many of a level."""

    level: Level
    domains: int


@dataclass(frozen=True, slots=True)
class Held:
    """An instance that is there or is promised GPUs: ``nodes`` with the GPUs taken of each.

    ``is_up`` is whether it serves, ``since_s`` when it began. ``part`` names the part of a role
    that has several; its pods then are instances of their own here, of one ``unit``.
    """

    name: str
    role: Role
    group: str
    nodes: tuple[tuple[str, int], ...]
    since_s: float = 0.0
    is_up: bool = True
    part: str = ""
    unit: str = ""

    @property
    def gpus(self) -> int:
        """The GPUs it holds."""
        return sum(gpus for _, gpus in self.nodes)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A service as placement knows it: what it needs, how near, and what it holds.

    ``least`` are the counts it may not go below; ``pd_ratio`` prefill per decode instance. It
    runs in ``cluster`` alone; empty: in any. Of the roles in ``ordinal`` the highest number at the
    end of a name goes first: their cluster lets nobody else be chosen.
    """

    name: str
    roles: Mapping[Role, RoleForm] = field(hash=False)
    held: tuple[Held, ...] = ()
    priority: int = 0
    affinity: Affinity = Affinity()
    pd_ratio: float | None = None
    spread: Spread | None = None
    least: Instances = NONE
    cluster: str = ""
    ordinal: frozenset[Role] = frozenset()

    @property
    def counts(self) -> Instances:
        """How many instances of each role it holds; a part's pods count by their unit."""
        units = {(one.role, one.unit or one.name) for one in self.held}
        return Instances(*(sum(role is kind for kind, _ in units) for role in Role))


@dataclass(frozen=True, slots=True)
class Request:
    """A change of one service: instances more or fewer, and how many cycles it was refused."""

    service: str
    change: Instances
    refused: int = 0


class Where(NamedTuple):
    """A domain: its level, its number in the topology and what it is called."""

    level: Level
    domain: int
    label: str


@dataclass(frozen=True, slots=True)
class Placement:
    """One instance, or one pod of a part, and the GPUs it takes of each node."""

    service: str
    group: str
    is_new_group: bool
    role: Role
    instance: str
    nodes: tuple[tuple[str, int], ...]
    hardware: str
    where: Where
    part: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """One instance that goes, and why this one."""

    service: str
    group: str
    role: Role
    instance: str
    nodes: tuple[tuple[str, int], ...]
    why: str


@dataclass(frozen=True, slots=True)
class Unplaced:
    """What of a request found no room: why, and the smallest change that would make it fit."""

    service: str
    asked: Instances
    placed: Instances
    code: Code
    sentence: str
    would_fit_if: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A domain that was looked at for a request: what it has room for, and why it lost.

    ``units`` is how many whole units of the request it holds; ``lost`` is empty for the winner.
    """

    where: Where
    units: int
    scarcity: int
    left_over: float
    group: str
    lost: str


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group after the cycle: the nearest domain all of it shares, and how scarce that is."""

    service: str
    name: str
    where: Where | None
    counts: Instances
    subgroup: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one cycle decided; ``looked_at`` are the domains considered, by service."""

    placements: Sequence[Placement] = ()
    removals: Sequence[Removal] = ()
    unplaced: Sequence[Unplaced] = ()
    groups: Sequence[GroupLine] = ()
    looked_at: Mapping[str, Sequence[Candidate]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Move:
    """One instance that changes nodes and stays in its group; ``where`` is what it moves to."""

    service: str
    role: Role
    instance: str
    group: str
    from_nodes: tuple[tuple[str, int], ...]
    to_nodes: tuple[tuple[str, int], ...]
    hardware: str
    where: Where
