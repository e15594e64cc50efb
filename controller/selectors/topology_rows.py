"""What the page of a cluster's topology is made of, read in the same few queries for any size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final, NamedTuple
from uuid import UUID

from django.db.models import Case, Count, F, Q, Sum, Value, When
from django.db.models.functions import Coalesce

from controller.core.phrases import plural
from controller.selectors.node_seen import NodeSeen, seen_nodes
from controller.selectors.node_use import node_uses
from inventory.models import (
    Cluster,
    HealthEvent,
    InventoryVersion,
    Link,
    LocalityDomain,
    Node,
    Service,
    Switch,
)
from inventory.models.base import Health, Lifecycle

TROUBLED: Final = (Health.FAILED, Health.DEGRADED)


@dataclass(frozen=True, slots=True)
class ClusterLine:
    """A cluster one may look at, with its size."""

    slug: str
    region: str
    nodes: int
    gpus: int


class Cables(NamedTuple):
    """Cables of one speed [Gb/s] between two things, and how many of them are not well."""

    many: int
    speed_gbps: int | None
    bad: int

    @property
    def words(self) -> str:
        """Count, speed and what is wrong: "32 × 400 Gb/s, 1 not well"."""
        told = plural(self.many, "cable")
        if self.speed_gbps is not None:
            told = f"{self.many:,} × {self.speed_gbps} Gb/s"
        return told + (f", {self.bad:,} not well" if self.bad else "")


def together(some: Iterable[Cables]) -> tuple[Cables, ...]:
    """Return cables added up by their speed, the fastest first and those of unknown speed last."""
    found: dict[int | None, list[int]] = {}
    for one in some:
        counted = found.setdefault(one.speed_gbps, [0, 0])
        counted[0] += one.many
        counted[1] += one.bad
    return tuple(
        Cables(many, speed, bad)
        for speed, (many, bad) in sorted(found.items(), key=lambda each: -(each[0] or 0))
    )


Path = tuple[str, str, str]
"""Names of an S2, an S1 and a rack, empty for none."""


class Uplink(NamedTuple):
    """The cables between two switches, by their names."""

    switch: str
    peer: str
    cables: Cables


@dataclass(frozen=True, slots=True)
class DomainRow:
    """A domain as it is stored; ``rank`` is how scarce it is: 0, 1 or 2."""

    pk: int
    level: str
    name: str
    parent: int | None
    subgroup: str
    rank: int
    switches: tuple[str, ...]
    hardware: tuple[str, ...]
    inventory_version: int


@dataclass(frozen=True, slots=True)
class SwitchRow:
    """A switch; ``events`` are its health events still open."""

    pk: UUID
    name: str
    tier: int | None
    rail: int | None
    health: str
    events: int
    missing: bool

    @property
    def tone(self) -> str:
        """How it is: ok, warn, crit or muted."""
        if self.missing or self.health == Health.UNKNOWN:
            return "muted"
        if self.health == Health.FAILED:
            return "crit"
        return "warn" if self.events or self.health == Health.DEGRADED else "ok"


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of the inventory, and when and how it came."""

    seq: int
    at: datetime
    cause: str
    by: str


@dataclass(frozen=True)
class Rows:
    """A cluster: domains, nodes, switches and cables.

    ``switches`` are by name, ``uplinks`` the cables between two of them, ``downlinks`` those of a
    node to all of its switches. ``observed`` says whether anybody reports what runs on its nodes.
    """

    cluster: str
    domains: Sequence[DomainRow]
    nodes: Sequence[NodeSeen]
    switches: Mapping[str, SwitchRow]
    uplinks: Sequence[Uplink]
    downlinks: Mapping[UUID, tuple[Cables, ...]]
    services: Sequence[str]
    observed: bool

    @cached_property
    def by_pk(self) -> Mapping[int, DomainRow]:
        """The domains by their key."""
        return {domain.pk: domain for domain in self.domains}

    @cached_property
    def by_switch(self) -> Mapping[str, tuple[int, ...]]:
        """The domains that a switch of a name, in lower case, helps to make."""
        found: dict[str, tuple[int, ...]] = {}
        for domain in self.domains:
            for name in domain.switches:
                found[name.lower()] = (*found.get(name.lower(), ()), domain.pk)
        return found

    def path_of_domain(self, domain: DomainRow) -> tuple[str, ...]:
        """Return where a domain is in the tree: its S2, or its S2 and itself."""
        if domain.level == "S2":
            return (domain.name,)
        above = self.by_pk.get(domain.parent or 0)
        return (above.name if above else "", domain.name)

    @cached_property
    def paths(self) -> Mapping[UUID, Path]:
        """Where each node is in the tree: names of S2, S1 and rack, empty for none."""
        return {node.pk: self._path_of(node) for node in self.nodes}

    def _path_of(self, node: NodeSeen) -> Path:
        s1 = self.by_pk.get(node.s1 or 0)
        s2 = self.by_pk.get(node.s2 or (s1.parent if s1 else 0) or 0)
        return (s2.name if s2 else "", s1.name if s1 else "", node.rack_name)


def read_clusters() -> tuple[ClusterLine, ...]:
    """Return the clusters with the nodes that are there, the largest first; one query."""
    there = ~Q(nodes__lifecycle__in=(Lifecycle.PLANNED, Lifecycle.RETIRED))
    rows = Cluster.objects.values_list("slug", "region__slug").annotate(
        many=Count("nodes", filter=there),
        total=Coalesce(Sum("nodes__gpus", filter=there), Value(0)),
    )
    return tuple(ClusterLine(*row) for row in rows.order_by("-many", "slug"))


def read_version() -> Version | None:
    """Return the newest version of the inventory; ``None`` before the first."""
    found = InventoryVersion.objects.order_by("-pk").first()
    return Version(found.pk, found.at, found.get_cause_display(), found.by) if found else None


def read_rows(cluster: str, now: datetime) -> Rows:
    """Return everything of one cluster; eleven queries for any number of rows."""
    uses = node_uses(now)
    here = Q(cluster__slug=cluster)
    return Rows(
        cluster=cluster,
        domains=_domains(cluster),
        nodes=seen_nodes(Node.objects.filter(here), uses),
        switches=_switches(cluster),
        uplinks=_uplinks(cluster),
        downlinks=_downlinks(cluster),
        services=tuple(
            Service.objects.filter(here).order_by("slug").values_list("slug", flat=True)
        ),
        observed=cluster in uses.observed,
    )


def _domains(cluster: str) -> tuple[DomainRow, ...]:
    rows = LocalityDomain.objects.filter(cluster__slug=cluster).order_by("name")
    return tuple(
        DomainRow(
            pk=row.pk,
            level=row.level,
            name=row.name,
            parent=row.parent_id,
            subgroup=row.subgroup,
            rank=row.rank,
            switches=tuple(row.switches),
            hardware=tuple(row.hardware),
            inventory_version=row.inventory_version,
        )
        for row in rows
    )


def _switches(cluster: str) -> dict[str, SwitchRow]:
    rows = Switch.objects.filter(cluster__slug=cluster).exclude(lifecycle=Lifecycle.RETIRED)
    events = dict(
        HealthEvent.objects.filter(switch__cluster__slug=cluster, ended=None)
        .exclude(severity=HealthEvent.Severity.INFO)
        .values_list("switch")
        .annotate(many=Count("pk"))
    )
    return {
        name: SwitchRow(pk, name, tier, rail, health, events.get(pk, 0), missing is not None)
        for pk, name, tier, rail, health, missing in rows.order_by("name").values_list(
            "pk", "name", "tier", "rail", "health", "missing_since"
        )
    }


_MEASURES: Final = {
    "many": Sum("count"),
    "bad": Sum(Case(When(state__in=TROUBLED, then=F("count")), default=Value(0))),
}


def _uplinks(cluster: str) -> list[Uplink]:
    rows = (
        Link.objects.filter(cluster__slug=cluster, missing_since=None, peer__isnull=False)
        .order_by()
        .values_list("switch__name", "peer__name", "speed_gbps")
        .annotate(**_MEASURES)
    )
    return [
        Uplink(low, high or "", Cables(many, speed, bad)) for low, high, speed, many, bad in rows
    ]


def _downlinks(cluster: str) -> dict[UUID, tuple[Cables, ...]]:
    rows = (
        Link.objects.filter(cluster__slug=cluster, missing_since=None, node__isnull=False)
        .order_by()
        .values_list("node", "speed_gbps")
        .annotate(**_MEASURES)
    )
    found: dict[UUID, tuple[Cables, ...]] = {}
    for node, speed, many, bad in rows:
        if node is not None:
            found[node] = (*found.get(node, ()), Cables(many, speed, bad))
    return found
