"""The page of a cluster's topology: places and cables, what looks wrong, and what to choose."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from controller.selectors.node_seen import NodeSeen, parts_together
from controller.selectors.topology_findings import Finding, find
from controller.selectors.topology_focus import Focus, find_focus
from controller.selectors.topology_rows import (
    ClusterLine,
    DomainRow,
    Rows,
    Version,
    read_clusters,
    read_rows,
    read_version,
)
from controller.selectors.topology_uplinks import Uplinks, join
from controller.selectors.topology_words import SubgroupCount, count_subgroups
from inventory.gpus import Parts


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reader asked for; ``focus`` is ``kind:name``, or a bare name that is looked up."""

    cluster: str = ""
    focus: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class Topology:
    """A cluster as its page shows it; ``rows`` and ``uplinks`` are what its drawing is made of."""

    cluster: str
    region: str
    nodes: int
    parts: Parts
    bad: int
    asked: Asked
    focus: Focus
    findings: tuple[Finding, ...]
    domains: tuple[DomainRow, ...]
    switches: Mapping[int | None, int]
    services: tuple[str, ...]
    observed: bool
    cabled: bool
    service: str = ""
    nvlink: tuple[tuple[str, int, int], ...] = ()
    clusters: tuple[ClusterLine, ...] = ()
    version: Version | None = None
    rows: Rows = field(repr=False, kw_only=True)
    uplinks: Uplinks = field(repr=False, kw_only=True)

    @property
    def subgroups(self) -> tuple[SubgroupCount, ...]:
        """The RDMA subgroups, the most scarce first, with the domains of each."""
        return count_subgroups((one.level, one.subgroup) for one in self.domains)

    @property
    def unknown_service(self) -> str:
        """The service that was asked for and does not run here."""
        return "" if self.asked.service in {"", self.service} else self.asked.service

    @property
    def tiers(self) -> str:
        """The switches tier by tier: "504 in tier 0 (S1), 64 in tier 1 (S2)"."""
        names = {0: " (S1)", 1: " (S2)", 2: " (core)"}
        told = [
            f"{many:,} of unknown tier"
            if tier is None
            else f"{many:,} in tier {tier}{names.get(tier, '')}"
            for tier, many in sorted(self.switches.items(), key=lambda one: (one[0] is None, one))
        ]
        return ", ".join(told)


def read_topology(asked: Asked, now: datetime) -> Topology | None:
    """Return what was asked for; ``None`` when there is no such cluster.

    Without a cluster the largest is shown. Thirteen queries for any fleet.
    """
    clusters = read_clusters()
    wanted = asked.cluster.lower()
    chosen = next((one for one in clusters if not wanted or one.slug == wanted), None)
    if chosen is None:
        return None
    shown = build(read_rows(chosen.slug, now), asked)
    return replace(shown, clusters=clusters, version=read_version(), region=chosen.region)


def build(rows: Rows, asked: Asked) -> Topology:
    """Return the page of a cluster from its rows."""
    focus = find_focus(rows, asked.focus)
    service = asked.service if asked.service in rows.services else next(iter(rows.services), "")
    uplinks = join(rows.uplinks, rows.switches, rows.domains)
    return Topology(
        cluster=rows.cluster,
        region="",
        nodes=len(rows.nodes),
        parts=parts_together(rows.nodes),
        bad=sum(node.bad for node in rows.nodes),
        asked=asked,
        focus=focus,
        findings=find(rows, uplinks),
        domains=tuple(rows.domains),
        switches=_tiers(rows),
        services=tuple(rows.services),
        observed=rows.observed,
        service=service,
        cabled=bool(rows.downlinks or rows.uplinks),
        nvlink=_nvlink(rows.nodes),
        rows=rows,
        uplinks=uplinks,
    )


def _tiers(rows: Rows) -> Mapping[int | None, int]:
    counted: dict[int | None, int] = {}
    for switch in rows.switches.values():
        counted[switch.tier] = counted.get(switch.tier, 0) + 1
    return counted


def _nvlink(nodes: Iterable[NodeSeen]) -> tuple[tuple[str, int, int], ...]:
    """Return the NVLink domains with their nodes and how many of these are well."""
    counted: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for node in nodes:
        if node.nvlink:
            counted[node.nvlink][0] += 1
            counted[node.nvlink][1] += node.tone == "ok"
    return tuple((name, many, well) for name, (many, well) in sorted(counted.items()))
