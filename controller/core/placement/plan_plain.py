"""A plan's part for one service as plain values, and what is sent of it."""

from collections import Counter
from collections.abc import Mapping
from typing import Final, NotRequired, TypedDict

from controller.core.fleet import Level
from controller.core.placement.values import Candidate, Plan
from controller.core.ports import MoveTo, Spot
from controller.core.types import Instances, Role

LEVELS: Final[Mapping[Level, str]] = {Level.S1: "s1", Level.S2: "s2", Level.CLUSTER: "cluster"}
DOMAINS: Final[Mapping[int, str]] = {
    Level.S1: "an S1",
    Level.S2: "an S2",
    Level.CLUSTER: "a cluster",
}
NEARNESS: Final[Mapping[str, int]] = {word: int(level) for level, word in LEVELS.items()}


class PlainPlace(TypedDict):
    """One instance that is placed, or one pod of a part of it."""

    instance: str
    role: str
    group: str
    is_new_group: bool
    nodes: dict[str, int]
    cluster: str
    hardware: str
    level: str
    domain: str
    part: NotRequired[str]


class PlainRemoval(TypedDict):
    """One instance that goes, and why."""

    instance: str
    role: str
    group: str
    nodes: dict[str, int]
    why: str


class PlainMove(TypedDict):
    """One instance that changes its place."""

    service: str
    instance: str
    role: str
    group: str
    from_nodes: dict[str, int]
    to_nodes: dict[str, int]
    cluster: str


class PlainUnplaced(TypedDict):
    """What found no room."""

    prefill: int
    decode: int
    code: str
    sentence: str
    would_fit_if: str


class PlainCandidate(TypedDict):
    """A domain that was looked at."""

    level: str
    domain: str
    units: int
    scarcity: int
    left_over: float
    group: str
    lost: str


class PlainCounts(TypedDict):
    """Instances of each role."""

    prefill: int
    decode: int


class PlainPlacement(TypedDict):
    """Where a change goes, as it is kept with an action or a proposal.

    ``asked`` is the change in instances of the first hardware, where some go to other hardware.
    """

    inventory_version: int
    touched: str
    places: list[PlainPlace]
    removals: list[PlainRemoval]
    unplaced: PlainUnplaced | None
    candidates: list[PlainCandidate]
    moves: NotRequired[list[PlainMove]]
    asked: NotRequired[PlainCounts]
    refused: NotRequired[int]
    near: NotRequired[str]


NOWHERE: Final[PlainPlacement] = {
    "inventory_version": 0,
    "touched": "",
    "places": [],
    "removals": [],
    "unplaced": None,
    "candidates": [],
}


def placement_of(plan: Plan, service: str, *, version: int, touched: str) -> PlainPlacement:
    """Return what a plan says of one service; ``touched`` is the digest of its domains (S20)."""
    unplaced = next((one for one in plan.unplaced if one.service == service), None)
    mine = [one for one in plan.placements if one.service == service]
    cluster = cluster_of(mine[0].nodes) if mine else ""
    return {
        "inventory_version": version,
        "touched": touched,
        "places": [
            {
                "instance": one.instance,
                "role": one.role.value,
                "group": one.group,
                "is_new_group": one.is_new_group,
                "nodes": own_names(one.nodes),
                "cluster": cluster_of(one.nodes),
                "hardware": one.hardware,
                "level": LEVELS[one.where.level],
                "domain": one.where.label.removeprefix(f"{cluster}/"),
                **({"part": one.part} if one.part else {}),  # type: ignore[typeddict-item]
            }
            for one in mine
        ],
        "removals": [
            {
                "instance": one.instance,
                "role": one.role.value,
                "group": one.group,
                "nodes": own_names(one.nodes),
                "why": one.why,
            }
            for one in plan.removals
            if one.service == service
        ],
        "unplaced": None
        if unplaced is None
        else {
            "prefill": unplaced.asked.prefill - unplaced.placed.prefill,
            "decode": unplaced.asked.decode - unplaced.placed.decode,
            "code": unplaced.code.value,
            "sentence": unplaced.sentence,
            "would_fit_if": unplaced.would_fit_if,
        },
        "candidates": [_candidate(one, cluster) for one in plan.looked_at.get(service, ())],
    }


def _candidate(one: Candidate, cluster: str) -> PlainCandidate:
    return {
        "level": LEVELS[one.where.level],
        "domain": one.where.label.removeprefix(f"{cluster}/"),
        "units": one.units,
        "scarcity": one.scarcity,
        "left_over": one.left_over,
        "group": one.group,
        "lost": one.lost,
    }


def asked_of(placement: object) -> Instances | None:
    """Return the change a placement was asked for, ``None`` where it is that of the counts.

    So it is where a row holds what can't be read.
    """
    try:
        asked = placement["asked"]  # type: ignore[index]
        return Instances(int(asked["prefill"]), int(asked["decode"]))
    except (KeyError, TypeError, ValueError):
        return None


def own_names(nodes: tuple[tuple[str, int], ...]) -> dict[str, int]:
    """Return GPUs by node as the cluster names it; in the core a node is "cluster/name"."""
    return {bare(name): gpus for name, gpus in nodes}


def bare(name: str) -> str:
    """Return a name without the cluster in front."""
    return name.partition("/")[2] or name


def cluster_of(nodes: tuple[tuple[str, int], ...]) -> str:
    """Return the cluster of nodes named with it."""
    return nodes[0][0].partition("/")[0] if nodes else ""


def nodes_of(placement: PlainPlacement) -> list[str]:
    """Return the nodes a placement takes GPUs of, named as in the core."""
    taken = {
        f"{place['cluster']}/{name}" for place in placement["places"] for name in place["nodes"]
    }
    taken |= {
        f"{move['cluster']}/{name}"
        for move in placement.get("moves", ())
        for name in move["to_nodes"]
    }
    return sorted(taken)


def spots_of(placement: PlainPlacement) -> tuple[Spot, ...]:
    """Return where new instances go, as it is sent; pods of one instance are one spot."""
    spots: dict[str, tuple[Role, str, dict[str, int]]] = {}
    for place in placement["places"]:
        role, group = Role(place["role"]), place["group"]
        nodes = spots.setdefault(place["instance"], (role, group, {}))[2]
        for name, gpus in place["nodes"].items():
            nodes[name] = nodes.get(name, 0) + gpus
    return tuple(Spot(role, group, tuple(nodes.items())) for role, group, nodes in spots.values())


def leaving(placement: PlainPlacement) -> tuple[str, ...]:
    """Return the instances that go first."""
    return tuple(one["instance"] for one in placement["removals"])


def moves_of(placement: PlainPlacement) -> tuple[MoveTo, ...]:
    """Return who changes place, as it is sent."""
    return tuple(
        MoveTo(
            one["instance"],
            Spot(Role(one["role"]), one["group"], tuple(one["to_nodes"].items())),
        )
        for one in placement.get("moves", ())
    )


def what_matters(before: PlainPlacement, now: PlainPlacement) -> str:
    """Return what of a placement turned out so differently that nobody agreed to it, or nothing.

    Fewer instances, instances farther apart than shown and than the service prefers, and other
    hardware matter; other nodes of the same kind, as near as is preferred, don't.
    """
    for role in Role:
        promised, found = _count(before, role), _count(now, role)
        if found < promised:
            why = now["unplaced"]
            said = f" {why['sentence']}" if why else ""
            return f"There is room for {found} of {promised} {role.value} instances now.{said}"
    far, farther = _farthest(before), _farthest(now)
    if farther > max(far, NEARNESS.get(before.get("near", ""), 0)):
        return f"It would share {DOMAINS[farther]} only, not {DOMAINS[far]} as shown before."
    was, became = _hardware(before), _hardware(now)
    if became == was and "asked" in before:
        was, became = _hardware(before, counted=True), _hardware(now, counted=True)
    if became != was:
        return f"It would run on {became}, not on {was} as shown before."
    return ""


def _count(placement: PlainPlacement, role: Role) -> int:
    return len({one["instance"] for one in placement["places"] if one["role"] == role})


def _farthest(placement: PlainPlacement) -> int:
    return max((NEARNESS[one["level"]] for one in placement["places"]), default=0)


def _hardware(placement: PlainPlacement, *, counted: bool = False) -> str:
    found = Counter(f"{one['role']} {one['hardware']}" for one in placement["places"])
    return ", ".join(f"{found[one]} {one}" if counted else one for one in sorted(found))
