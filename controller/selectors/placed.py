"""What a placement cycle planned for one change, as the pages tell it (HeteroScale §7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from controller.core import wording
from controller.core.lifecycle import OPEN_PROPOSALS, ActionState
from controller.core.phrases import plural
from controller.core.placement.plan_plain import (
    PlainCandidate,
    PlainMove,
    PlainPlace,
    PlainPlacement,
    PlainRemoval,
    PlainUnplaced,
)
from controller.models import Action, Proposal
from inventory.models import Cluster

LEVELS: Final = {"s1": "S1", "s2": "S2", "cluster": "cluster"}
SCARCITIES: Final = ("low", "medium", "high")
ROLES: Final = ("prefill", "decode")
WOULD: Final = "Would go to"
ROOM: Final = "There is room in"
ROOM_WAS: Final = "There was room in"
GOES: Final = "Goes to"
WENT: Final = "Went to"
WOULD_HAVE: Final = "Would have gone to"
DONE: Final = frozenset({ActionState.APPLIED, ActionState.READY})
ENDED: Final = frozenset({ActionState.FAILED, ActionState.CANCELLED})


@dataclass(frozen=True, slots=True)
class NodeGpus:
    """GPUs of one node, and the page of the node."""

    name: str
    gpus: int
    address: str


@dataclass(frozen=True, slots=True)
class Together:
    """All that goes into one group in one domain: "4 prefill, 8 decode on 6 nodes"."""

    domain: str
    level: str
    address: str
    counts: str
    group: str
    is_new_group: bool
    hardware: str


@dataclass(frozen=True, slots=True)
class Single:
    """One instance that comes or goes; ``why`` says why it goes."""

    name: str
    role: str
    group: str
    nodes: Sequence[NodeGpus]
    hardware: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Moved:
    """One instance that changes its place so that others find theirs."""

    service: str
    name: str
    role: str
    before: Sequence[NodeGpus]
    after: Sequence[NodeGpus]


@dataclass(frozen=True, slots=True)
class Short:
    """What found no room, why, and the smallest change that would make it fit."""

    counts: str
    code: str
    sentence: str
    would_fit_if: str


@dataclass(frozen=True, slots=True)
class Looked:
    """A domain that was looked at: what it has room for, and why it lost."""

    level: str
    domain: str
    address: str
    units: int
    scarcity: str
    left_over: str
    group: str
    lost: str

    @property
    def is_winner(self) -> bool:
        """Whether it was taken."""
        return not self.lost


@dataclass(frozen=True, slots=True)
class Placed:
    """A plan's part for one service: what comes, goes and finds no room, and what was looked at.

    ``tense`` is how its places are told: as a promise, a fact, or what would have been.
    ``is_only_room`` is whether they are no more than room that there is: the cluster chooses.
    """

    tense: str
    is_only_room: bool
    together: Sequence[Together]
    comes: Sequence[Single]
    goes: Sequence[Single]
    moves: Sequence[Moved]
    short: Short | None
    looked: Sequence[Looked]

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing and nothing was short."""
        return not (self.comes or self.goes or self.moves or self.short)

    @property
    def is_preview(self) -> bool:
        """Whether it is computed again before anything is sent."""
        return self.tense in {WOULD, ROOM}


def placed_of(
    cluster: Cluster, proposal: Proposal | None = None, action: Action | None = None
) -> Placed | None:
    """Return where a change goes: as its action has it, or else its proposal.

    ``cluster`` is that of the service. ``None`` where nothing was placed by us.
    """
    if action is not None and action.placement is not None:
        return placed_from(action.placement, cluster, _tense(action))
    if proposal is None:
        return None
    tense = WOULD if proposal.state in OPEN_PROPOSALS else WOULD_HAVE
    return placed_from(proposal.placement, cluster, tense)


def _tense(row: Action) -> str:
    state = ActionState(row.state)
    if state in DONE:
        return WENT
    if state in ENDED:
        return WOULD_HAVE
    return GOES if row.is_bound else WOULD


def placed_from(plain: PlainPlacement | None, cluster: Cluster | str, tense: str) -> Placed | None:
    """Return what a kept plan says; ``None`` without one.

    ``cluster`` is that of the service: the one of what doesn't name its own. Given as a name it
    is taken for one that goes by plans.
    """
    if plain is None:
        return None
    chooses = not isinstance(cluster, str) and cluster.chooses_places
    if chooses:
        tense = ROOM if tense in {WOULD, GOES} else ROOM_WAS
    cluster = str(cluster)
    return Placed(
        tense=tense,
        is_only_room=chooses,
        together=_together(plain["places"]),
        comes=[_coming(one) for one in plain["places"]],
        goes=[_leaving(one, cluster) for one in plain["removals"]],
        moves=[_moving(one) for one in plain.get("moves", ())],
        short=_short(plain["unplaced"]),
        looked=[_looked(one, cluster) for one in plain["candidates"]],
    )


def domain_address(cluster: str, level: str, domain: str) -> str:
    """Return the topology page narrowed to a domain."""
    narrowed = {"cluster": cluster}
    if level.lower() in {"s1", "s2"}:
        narrowed["focus"] = f"{level.lower()}:{domain}"
    return f"/fleet/topology/?{urlencode(narrowed)}"


def level_word(level: str) -> str:
    """Return a level as a person says it."""
    return LEVELS[level]


def counts_words(prefill: int, decode: int) -> str:
    """Return counts of both roles, without a role that has none: "4 prefill, 8 decode"."""
    told = [
        f"{count:,} {role}" for count, role in zip((prefill, decode), ROLES, strict=True) if count
    ]
    return ", ".join(told) or "nothing"


def _together(places: Iterable[PlainPlace]) -> tuple[Together, ...]:
    found: dict[tuple[str, str, str, str], list[PlainPlace]] = defaultdict(list)
    for one in places:
        found[one["cluster"], one["level"], one["domain"], one["group"]].append(one)
    told = []
    for (cluster, level, domain, group), here in sorted(found.items()):
        # Pods of one instance share its name.
        names = {(one["role"], one["instance"]) for one in here}
        roles = [sum(role == kind for role, _ in names) for kind in ROLES]
        nodes = {name for one in here for name in one["nodes"]}
        told.append(
            Together(
                domain=domain,
                level=level_word(level),
                address=domain_address(cluster, level, domain),
                counts=f"{counts_words(*roles)} on {plural(len(nodes), 'node')}",
                group=group,
                is_new_group=any(one["is_new_group"] for one in here),
                hardware=", ".join(sorted({one["hardware"] for one in here})),
            )
        )
    return tuple(told)


def _coming(one: PlainPlace) -> Single:
    part = one.get("part")
    return Single(
        name=f"{one['instance']}, {part}" if part else one["instance"],
        role=one["role"],
        group=one["group"],
        nodes=_nodes(one["nodes"], one["cluster"]),
        hardware=one["hardware"],
    )


def _leaving(one: PlainRemoval, cluster: str) -> Single:
    nodes = _nodes(one["nodes"], cluster)
    return Single(one["instance"], one["role"], one["group"], nodes, why=one["why"])


def _moving(one: PlainMove) -> Moved:
    before, after = (_nodes(one[end], one["cluster"]) for end in ("from_nodes", "to_nodes"))
    return Moved(one["service"], one["instance"], one["role"], before, after)


def _nodes(nodes: Mapping[str, int], cluster: str) -> tuple[NodeGpus, ...]:
    return tuple(
        NodeGpus(name, gpus, f"/fleet/nodes/{cluster}/{name}/")
        for name, gpus in sorted(nodes.items())
    )


def _short(plain: PlainUnplaced | None) -> Short | None:
    if plain is None:
        return None
    return Short(
        counts=counts_words(plain["prefill"], plain["decode"]),
        code=plain["code"],
        sentence=plain["sentence"],
        would_fit_if=plain["would_fit_if"],
    )


def _looked(one: PlainCandidate, cluster: str) -> Looked:
    domain = one["domain"].removeprefix(f"{cluster}/")
    return Looked(
        level=level_word(one["level"]),
        domain=domain,
        address=domain_address(cluster, one["level"], domain),
        units=one["units"],
        scarcity=SCARCITIES[one["scarcity"]],
        left_over=wording.number(one["left_over"]),
        group=one["group"],
        lost=one["lost"],
    )
