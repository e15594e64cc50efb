"""Racks as they stand: what is on which unit, coloured, and the nodes that no rack holds."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from controller.selectors.node_seen import NOT_THERE, NodeSeen, parts_together, seen_nodes
from controller.selectors.node_use import NodeUses, node_uses
from inventory.gpus import Parts
from inventory.models import Cluster, Node, Rack, Switch
from inventory.models.base import Health

PAGE: Final = 12
UNRACKED_SHOWN: Final = 50
NVLINK_TECHNOLOGY: Final = "nvlink"
SWITCH_TONES: Final[Mapping[str, str]] = {
    Health.OK: "ok",
    Health.DEGRADED: "warn",
    Health.FAILED: "crit",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reader asked for; ``place`` is ``site:slug`` or ``cluster:slug``, empty for all."""

    place: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """Something in a rack: a node with its GPUs, or a switch.

    ``u`` is its lowest unit, empty where only the rack is known. ``parts`` are its GPUs, empty
    where nobody counted them; ``services`` is empty where nobody reports what runs on it.
    """

    name: str
    kind: str
    page: str
    u: int | None
    height: int
    face: str
    tone: str
    word: str
    why: str
    parts: Parts | None = None
    hardware: str = ""
    cluster: str = ""
    services: tuple[str, ...] | None = None

    @property
    def units(self) -> str:
        """The units it fills, in words: "U2–U9"."""
        if self.u is None:
            return "unit not known"
        top = self.u + self.height - 1
        return f"U{self.u}" if top == self.u else f"U{self.u}–U{top}"


@dataclass(frozen=True, slots=True)
class Trays:
    """Compute and switch trays of a rack that shares one NVLink fabric."""

    compute: int
    compute_well: int
    switches: int
    switches_well: int

    @property
    def words(self) -> str:
        """How many are well: "healthy trays 17/18, switch trays 9/9"."""
        told = f"healthy trays {self.compute_well}/{self.compute}"
        if self.switches:
            told += f", switch trays {self.switches_well}/{self.switches}"
        return told


@dataclass(frozen=True, slots=True)
class RackSeen:
    """A rack with what stands in it, the highest first; ``trays`` only for NVLink racks."""

    pk: UUID
    name: str
    site: str
    facility_id: str
    row: str
    column: str
    u_height: int
    from_top: bool
    power_kw: float | None
    cooling: str
    version: int
    missing: bool
    standing: tuple[Standing, ...]
    nodes: int
    parts: Parts
    bad: int
    trays: Trays | None

    @property
    def clusters(self) -> list[str]:
        """The clusters its nodes belong to."""
        return sorted({one.cluster for one in self.standing if one.kind == "node"})

    @property
    def page(self) -> str:
        """Its page."""
        return f"/fleet/racks/{self.pk}/"

    @property
    def where(self) -> str:
        """Its place in the room: "eu-1, row 3, column 2"."""
        told = [self.site]
        told += [f"row {self.row}"] if self.row else []
        told += [f"column {self.column}"] if self.column else []
        return ", ".join(told)

    @property
    def headline(self) -> str:
        """What there is: "4 nodes, 32 GPUs, 1 unhealthy"."""
        if self.trays:
            return self.trays.words
        if not self.nodes:
            return "no node"
        told = f"{self.nodes} node{'' if self.nodes == 1 else 's'}, {self.parts.total:,} GPUs"
        return told + (f", {self.bad} unhealthy" if self.bad else "")


@dataclass(frozen=True, slots=True)
class Choice:
    """A place whose racks one may look at, with how many there are."""

    value: str
    label: str
    racks: int


@dataclass(frozen=True, slots=True)
class Unracked:
    """A node that no rack holds."""

    name: str
    cluster: str

    @property
    def page(self) -> str:
        """The page of the node."""
        return f"/fleet/nodes/{self.cluster}/{self.name}/"


@dataclass(frozen=True, slots=True)
class Racks:
    """One page of racks, in the order they stand, and what to choose from."""

    asked: Asked
    racks: tuple[RackSeen, ...]
    total: int
    page: int
    pages: int
    sites: tuple[Choice, ...]
    clusters: tuple[Choice, ...]
    unracked: tuple[Unracked, ...]
    unracked_total: int
    observed: bool


def read_racks(asked: Asked, now: datetime) -> Racks | None:
    """Return one page of racks; ``None`` when there is no such place. Constant queries."""
    kind, _, slug = asked.place.partition(":")
    sites, clusters = _sites(), _clusters()
    known = {choice.value for choice in (*sites, *clusters)}
    if asked.place and asked.place not in known:
        return None
    found = Rack.objects.all()
    nodes = Node.objects.exclude(lifecycle__in=NOT_THERE)
    if kind == "site":
        found, nodes = found.filter(site__slug=slug), Node.objects.none()
    elif kind == "cluster":
        within = Q(nodes__cluster__slug=slug) | Q(switches__cluster__slug=slug)
        found, nodes = found.filter(within).distinct(), nodes.filter(cluster__slug=slug)
    order = sorted(found.values_list("pk", "site__slug", "row", "column", "name"), key=in_order)
    pages = max(1, -(-len(order) // PAGE))
    page = min(max(1, asked.page), pages)
    keys = [row[0] for row in order[(page - 1) * PAGE : page * PAGE]]
    uses = node_uses(now)
    loose = nodes.filter(rack=None)
    return Racks(
        asked=asked,
        racks=seen_racks(keys, uses),
        total=len(order),
        page=page,
        pages=pages,
        sites=sites,
        clusters=clusters,
        unracked=tuple(
            Unracked(name, cluster)
            for name, cluster in loose.order_by("cluster__slug", "name").values_list(
                "name", "cluster__slug"
            )[:UNRACKED_SHOWN]
        ),
        unracked_total=loose.count(),
        observed=bool(uses.observed),
    )


def in_order(row: tuple[UUID, str, str, str, str]) -> tuple[object, ...]:
    """Order racks as they stand: site, row, column, name, with numbers as numbers."""
    return tuple(natural(text) for text in row[1:])


def natural(text: str) -> tuple[tuple[bool, int, str], ...]:
    """Return what names sort by as people count: r2 before r10."""
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part.lower())
        for part in re.split(r"(\d+)", text)
        if part
    )


def _sites() -> tuple[Choice, ...]:
    rows = Rack.objects.order_by().values_list("site__slug").annotate(many=Count("pk"))
    return tuple(Choice(f"site:{slug}", slug, many) for slug, many in rows.order_by("site__slug"))


def _clusters() -> tuple[Choice, ...]:
    rows = Cluster.objects.annotate(many=Count("nodes__rack", distinct=True)).order_by("slug")
    return tuple(
        Choice(f"cluster:{slug}", slug, many) for slug, many in rows.values_list("slug", "many")
    )


def seen_racks(keys: Sequence[UUID], uses: NodeUses) -> tuple[RackSeen, ...]:
    """Return racks in the order of their keys with what stands in them; five queries."""
    rows = Rack.objects.select_related("site").in_bulk(list(keys))
    held: dict[UUID | None, list[NodeSeen]] = defaultdict(list)
    for node in seen_nodes(Node.objects.filter(rack__in=keys), uses):
        held[node.rack].append(node)
    switches: dict[UUID | None, list[Switch]] = defaultdict(list)
    for switch in _switches(keys):
        switches[switch.rack_id].append(switch)
    return tuple(_rack(rows[key], held[key], switches[key], uses) for key in keys if key in rows)


def _switches(keys: Sequence[UUID]) -> QuerySet[Switch]:
    return (
        Switch.objects.filter(rack__in=keys)
        .exclude(lifecycle__in=NOT_THERE)
        .select_related("cluster", "fabric")
        .order_by("name")
    )


def _rack(
    row: Rack, nodes: Sequence[NodeSeen], switches: Sequence[Switch], uses: NodeUses
) -> RackSeen:
    standing = [_node(node, uses) for node in nodes]
    standing += [_switch(switch) for switch in switches]
    standing.sort(key=lambda one: (one.u is None, -(one.u or 0), one.name))
    return RackSeen(
        pk=row.pk,
        name=row.name,
        site=row.site.slug,
        facility_id=row.facility_id,
        row=row.row,
        column=row.column,
        u_height=row.u_height,
        from_top=row.numbering == Rack.Numbering.DOWN,
        power_kw=row.power_kw,
        cooling=row.cooling,
        version=row.version,
        missing=row.missing_since is not None,
        standing=tuple(standing),
        nodes=len(nodes),
        parts=parts_together(nodes),
        bad=sum(node.bad for node in nodes),
        trays=_trays(nodes, switches),
    )


def _node(node: NodeSeen, uses: NodeUses) -> Standing:
    return Standing(
        name=node.name,
        kind="node",
        page=node.address,
        u=node.u_position,
        height=node.u_height,
        face=node.face,
        tone=node.tone,
        word=node.word,
        why=node.why,
        parts=None if node.gpus is None else node.parts,
        hardware=node.hardware,
        cluster=node.cluster,
        services=node.services if node.services or uses.is_whole(node.cluster) else None,
    )


def _switch(switch: Switch) -> Standing:
    tone = "muted" if switch.missing_since else SWITCH_TONES.get(switch.health, "muted")
    return Standing(
        name=switch.name,
        kind="switch",
        page=f"/fleet/switches/{switch.cluster.slug}/{switch.name}/",
        u=switch.u_position,
        height=1,
        face="both",
        tone=tone,
        word=switch.get_health_display(),
        why="",
        hardware=switch.model,
        cluster=switch.cluster.slug,
    )


def _trays(nodes: Sequence[NodeSeen], switches: Iterable[Switch]) -> Trays | None:
    """Return the trays of a rack whose nodes share NVLink across it; ``None`` for others."""
    compute = [node for node in nodes if node.nvlink_reach == "rack"]
    if not compute:
        return None
    inner = [one for one in switches if one.fabric.technology.lower() == NVLINK_TECHNOLOGY]
    return Trays(
        compute=len(compute),
        compute_well=sum(node.tone == "ok" for node in compute),
        switches=len(inner),
        switches_well=sum(one.health == Health.OK for one in inner),
    )
