"""What a source no longer lists: marked, never deleted, and asked about when it is much."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inventory.differences import Planned
from inventory.importers.found import Found
from inventory.kept import Kept, Stored
from inventory.matching import Matches

MOST_FRAC: Final = 0.20
"""A larger share of a cluster's nodes is not marked missing without being asked about."""
ONE_HOST_EACH: Final = frozenset(("nvidia-smi", "lldp"))
"""Formats whose files list a host or a few, and never the fleet."""
KINDS: Final = ("switch", "node", "gpu", "nic", "link")
SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    "node": (
        *("kubernetes", "netbox", "yaml", "csv", "slurm", "topograph"),
        *("ibnetdiscover", "nvidia-smi", "lldp", "manual"),
    ),
    "gpu": ("nvidia-smi", "yaml", "netbox", "csv", "kubernetes", "manual"),
}
FABRIC_SOURCES: Final = (
    *("ibnetdiscover", "lldp", "netbox", "yaml", "csv", "topograph", "slurm"),
    *("kubernetes", "nvidia-smi", "manual"),
)
NOT_THERE: Final = frozenset(("planned", "retired"))
"""Lifecycles of nodes that don't exist yet, or no more."""


@dataclass(frozen=True, slots=True)
class Shrink:
    """How much of a cluster would go: nodes, of those that are there, and their GPUs."""

    missing: int
    of: int
    gpus: int


def source_of(kind: str, formats: Sequence[str], before: str = "") -> str:
    """Return which format owns a thing: of those that brought it, the one that knows it best."""
    order = SOURCES.get(kind, FABRIC_SOURCES)
    forms = [*formats, *([before] if before else [])]
    return min(forms, key=lambda one: order.index(one) if one in order else len(order))


def gone(found: Found, stored: Stored, matches: Matches, *, part: bool) -> list[Planned]:
    """Return the rows to be marked missing: not listed any more, or in another's place."""
    absent = [_missing(one, "another is in its place") for one in matches.displaced.values()]
    forms = set(found.format.split("+")) - ONE_HOST_EACH
    if part or not forms:
        return absent
    listed = _listed(found)
    for kind in KINDS:
        for one in stored.of(kind):
            if one.missing or one.source not in forms or matches.is_taken(one):
                continue
            if one.row not in matches.displaced and (kind, *_group(one)) in listed:
                absent.append(_missing(one, "no longer listed"))
    return absent


def _listed(found: Found) -> set[tuple[object, ...]]:
    """Return of what the files list anything: what they leave out altogether they don't speak of.

    A table of hosts and leaves says nothing of spines, one of uplinks nothing of hosts.
    """
    listed: set[tuple[object, ...]] = {("node", one.cluster.lower()) for one in found.nodes}
    listed |= {("switch", one.cluster.lower(), one.tier) for one in found.switches}
    listed |= {("gpu", one.cluster.lower()) for one in found.gpus}
    listed |= {("nic", one.cluster.lower()) for one in found.nics}
    listed |= {("link", one.cluster.lower(), one.peer_is_node) for one in found.links}
    return listed


def _group(one: Kept) -> tuple[object, ...]:
    more = {"switch": "tier", "link": "peer_is_node"}.get(one.kind)
    cluster = one.cluster.lower()
    return (cluster, one.values.get(more)) if more else (cluster,)


def _missing(one: Kept, why: str) -> Planned:
    return Planned(
        operation="missing",
        kind=one.kind,
        key=one.key,
        name=name_of(one),
        cluster=one.cluster,
        row=one.row,
        before={"missing": False},
        after={"missing": True},
        owners={"missing": one.source},
        at=why,
    )


def name_of(one: Kept) -> str:
    """Return a row's name as people read it."""
    values = one.values
    if one.kind == "gpu":
        return f"{values['node']} GPU {values['index']}"
    if one.kind == "nic":
        return f"{values['node']} {values['name']}"
    if one.kind == "link":
        return link_name(str(values["switch"]), str(values["peer"]), values)
    return str(values.get("name") or values.get("slug"))


def link_name(switch: str, peer: str, values: Mapping[str, object]) -> str:
    """Return a cable as people read it: ``leaf-1 port 4 to gpu001 mlx5_0``."""
    near = f"{switch} port {values['port']}" if values.get("port") else switch
    far = f"{peer} {values['peer_port']}" if values.get("peer_port") else peer
    return f"{near} to {far}"


def shrinks(stored: Stored, absent: Sequence[Planned]) -> dict[str, Shrink]:
    """Return the clusters that would lose more than a fifth of the nodes that exist.

    Retired and planned nodes are none of them: they would make the share look small.
    """
    nodes = {
        one.row: one
        for one in stored.of("node")
        if not one.missing and one.values.get("lifecycle") not in NOT_THERE
    }
    there = Counter(one.cluster for one in nodes.values())
    leaving: dict[str, list[Kept]] = defaultdict(list)
    for one in absent:
        if one.kind == "node" and one.row in nodes:
            leaving[one.cluster].append(nodes[one.row])
    return {
        cluster: Shrink(len(going), there[cluster], sum(map(_gpus, going)))
        for cluster, going in sorted(leaving.items())
        if len(going) > MOST_FRAC * there[cluster]
    }


def _gpus(one: Kept) -> int:
    count = one.values.get("gpus")
    return count if isinstance(count, int) else 0
