"""What selectors read of the fleet, as the values that drawings are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlencode

from controller.drawings import mounted, tree
from controller.drawings.state import State, Tone
from controller.drawings.topology import Topology as Drawing
from controller.drawings.unfold import Row
from controller.selectors.node_seen import NodeSeen
from controller.selectors.racks import RackSeen, Standing
from controller.selectors.topology import Topology
from controller.selectors.topology_rows import Cables, Path, Rows, together
from controller.selectors.topology_words import scarcity

AWAY: Final = frozenset({"cordoned", "draining", "maintenance", "decommissioning"})
TONES: Final[Mapping[str, Tone]] = {
    "ok": Tone.OK,
    "busy": Tone.BUSY,
    "warn": Tone.WARN,
    "crit": Tone.CRIT,
}


def state_of(tone: str, word: str) -> State:
    """Return how a node or switch looks; what people took out of service has a pattern."""
    if word == "reserved":
        return State(Tone.RESERVED, word)
    if word in AWAY:
        return State(Tone.MAINTENANCE, word)
    return State(TONES.get(tone, Tone.UNKNOWN), "healthy" if word == "ok" else word)


def cluster_of(topology: Topology, href: Callable[[str], str]) -> tree.Cluster:
    """Return the tree of a cluster, narrowed to an NVLink domain where that is the focus.

    ``href(key)`` is the address that focuses on a place of the tree.
    """
    rows, focus = topology.rows, topology.focus
    nodes = [node for node in rows.nodes if focus.kind != "nvlink" or node.nvlink == focus.name]
    placed = [(_place(rows, node), _node(rows, node)) for node in nodes]
    return tree.grow(
        rows.cluster,
        placed,
        href=href,
        list_href=f"/fleet/?{urlencode({'cluster': rows.cluster})}",
        wiring=_wiring(topology, nodes),
    )


def _place(rows: Rows, node: NodeSeen) -> tree.Place:
    s2, s1, rack = rows.paths[node.pk]
    return tree.Place(s2=s2 or None, s1=s1 or None, rack=rack or None)


def _node(rows: Rows, node: NodeSeen) -> tree.Node:
    return tree.Node(
        name=node.name,
        href=node.address,
        parts=node.parts,
        state=state_of(node.tone, node.word),
        services=node.services if node.services or rows.observed else None,
        hardware=node.hardware,
        uplinks=_bundles(rows.downlinks.get(node.pk, ())),
    )


def _bundles(cables: Iterable[Cables]) -> tuple[tree.Bundle, ...]:
    return tuple(tree.Bundle(one.many, one.speed_gbps, one.bad) for one in cables)


def _wiring(topology: Topology, nodes: Iterable[NodeSeen]) -> tree.Wiring:
    """Return the switches of domains and the cables of domains and racks, by their key."""
    rows = topology.rows
    switches, uplinks = {}, {}
    for domain in rows.domains:
        if domain.level not in {"S1", "S2"}:
            continue
        key = tree.key_of(*rows.path_of_domain(domain))
        if domain.switches:
            switches[key] = len(domain.switches)
        if found := topology.uplinks.cables.get(domain.pk):
            uplinks[key] = _bundles(found)
    racks_of: dict[Path, list[Cables]] = {}
    for node in nodes:
        if cables := rows.downlinks.get(node.pk):
            racks_of.setdefault(rows.paths[node.pk], []).extend(cables)
    uplinks |= {tree.key_of(*path): _bundles(together(some)) for path, some in racks_of.items()}
    return tree.Wiring(switches, uplinks)


class Line(NamedTuple):
    """A row of the drawing's twin table, how scarce its domain is, and a rack's own page."""

    row: Row
    scarcity: str
    hardware: str
    page: str


def lines_of(topology: Topology, drawing: Drawing) -> tuple[Line, ...]:
    """Return the twin table of a drawing with what the inventory knows beside it."""
    rows = topology.rows
    domains = {
        tree.key_of(*rows.path_of_domain(one)): one
        for one in rows.domains
        if one.level in {"S1", "S2"}
    }
    racks_of = {rows.paths[node.pk]: node.rack for node in rows.nodes if node.rack}
    pages = {tree.key_of(*path): f"/fleet/racks/{rack}/" for path, rack in racks_of.items()}
    return tuple(
        Line(
            row,
            scarcity(domain.subgroup) if domain else "",
            ", ".join(domain.hardware) if domain else "",
            pages.get(row.key, "") if row.level is tree.Level.RACK else "",
        )
        for row in drawing.rows
        for domain in (domains.get(row.key) if row.level is not tree.Level.NODE else None,)
    )


def rack_of(rack: RackSeen) -> mounted.Rack:
    """Return a rack with what stands in it."""
    return mounted.Rack(
        name=rack.name,
        href=rack.page,
        u_height=rack.u_height,
        entries=tuple(_entry(one) for one in rack.standing),
        numbering=mounted.Numbering.TOP_DOWN if rack.from_top else mounted.Numbering.BOTTOM_UP,
        has_trays=rack.trays is not None,
    )


def _entry(one: Standing) -> mounted.Entry:
    return mounted.Entry(
        name=one.name,
        href=one.page,
        kind=mounted.Kind(one.kind),
        u_position=one.u,
        u_height=one.height,
        face=mounted.Face(one.face),
        state=state_of(one.tone, one.word),
        pips=mounted.pips_of(one.parts) if one.parts else (),
        gpus_known=one.parts is not None,
        services=one.services,
        hardware=one.hardware,
        words=(one.why,) if one.why else (),
    )
