"""One switch: its facts, what hangs under it, its cables, its domains, its events and history."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q, QuerySet

from controller.core.phrases import plural
from controller.models import AuditEvent
from controller.selectors.node_page import history_of
from controller.selectors.node_seen import NodeSeen, parts_together, seen_nodes
from controller.selectors.node_use import node_uses
from controller.selectors.topology_rows import Cables, together
from controller.selectors.topology_words import scarcity
from inventory.gpus import Parts
from inventory.models import HealthEvent, Link, LocalityDomain, Node, Switch
from inventory.models.base import Health

TROUBLED: Final = frozenset({Health.FAILED, Health.DEGRADED})
EVENTS_SHOWN: Final = 20
PORTS_NAMED: Final = 8
NODES_LISTED: Final = 72
"""More nodes than hang under one leaf are told rack by rack."""


@dataclass(frozen=True, slots=True)
class Peer:
    """All cables to one node or switch: ports here and there, how many and how fast."""

    name: str
    page: str
    is_node: bool
    tier: int | None
    ports: str
    peer_ports: str
    cables: tuple[Cables, ...]

    @property
    def state(self) -> str:
        """How many of the cables are not well, in words."""
        return f"{self.bad} of {self.many} not well" if self.bad else "all well"

    @property
    def many(self) -> int:
        """How many cables there are."""
        return sum(one.many for one in self.cables)

    @property
    def bad(self) -> int:
        """How many of them are not well."""
        return sum(one.bad for one in self.cables)


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes under the switch that stand in one rack."""

    name: str
    page: str
    nodes: tuple[NodeSeen, ...]
    parts: Parts
    bad: int


@dataclass(frozen=True, slots=True)
class DomainLine:
    """A domain that the switch helps to make."""

    level: str
    name: str
    switches: int
    hardware: tuple[str, ...]
    scarcity: str


@dataclass(frozen=True, slots=True)
class EventLine:
    """Something that went wrong; ``ended`` is empty while it lasts."""

    code: str
    severity: str
    detail: str
    started: datetime
    ended: datetime | None
    source: str

    @property
    def tone(self) -> str:
        """How bad it is while it lasts."""
        tones = {"critical": "crit", "warning": "warn"}
        return "muted" if self.ended else tones.get(self.severity, "muted")


@dataclass(frozen=True, slots=True)
class SwitchPage:
    """A switch as its page shows it."""

    switch: Switch
    tone: str
    word: str
    under: tuple[Group, ...]
    nodes: int
    parts: Parts
    bad: int
    listed: bool
    down: tuple[Peer, ...]
    up: tuple[Peer, ...]
    domains: tuple[DomainLine, ...]
    events: tuple[EventLine, ...]
    services: tuple[str, ...]
    observed: bool
    history: Sequence[AuditEvent]

    @property
    def open_events(self) -> int:
        """How many events last still."""
        return sum(event.ended is None for event in self.events)


def read_switch(cluster: str, name: str, now: datetime) -> SwitchPage | None:
    """Return the page of a switch; ``None`` when there is none of that name, in any case.

    The query count does not depend on what hangs under it.
    """
    switch = (
        Switch.objects.select_related("cluster", "fabric", "rack__site")
        .filter(cluster__slug=cluster.lower(), name__iexact=name)
        .first()
    )
    if switch is None:
        return None
    uses = node_uses(now)
    peers = _peers(switch)
    domains = _domains(switch)
    nodes = seen_nodes(_under(switch, domains), uses)
    events = _events(switch)
    tone, word = _state(switch, events)
    return SwitchPage(
        switch=switch,
        tone=tone,
        word=word,
        under=_grouped(nodes),
        nodes=len(nodes),
        parts=parts_together(nodes),
        bad=sum(node.bad for node in nodes),
        listed=len(nodes) <= NODES_LISTED,
        down=tuple(one for one in peers if _is_below(one, switch)),
        up=tuple(one for one in peers if not _is_below(one, switch)),
        domains=tuple(
            DomainLine(
                one.level, one.name, len(one.switches), tuple(one.hardware), scarcity(one.subgroup)
            )
            for one in domains
        ),
        events=events,
        services=tuple(sorted({service for node in nodes for service in node.services})),
        observed=switch.cluster.slug in uses.observed,
        history=history_of("switch", switch.pk),
    )


def _is_below(peer: Peer, switch: Switch) -> bool:
    return peer.is_node or (peer.tier or 0) < (switch.tier or 0)


def nodes_under(name: str) -> dict[str, set[str]]:
    """Return by cluster the nodes under the switch of that name, in any case."""
    found = Switch.objects.select_related("cluster").filter(name__iexact=name)
    return {
        switch.cluster.slug: set(_under(switch, _domains(switch)).values_list("name", flat=True))
        for switch in found
    }


def switch_names(cluster: str) -> list[str]:
    """Return the names of a cluster's switches."""
    found = Switch.objects.filter(cluster__slug=cluster).order_by("name")
    return list(found.values_list("name", flat=True))


def _domains(switch: Switch) -> tuple[LocalityDomain, ...]:
    """Return the domains that a switch helps to make."""
    return tuple(
        LocalityDomain.objects.filter(
            cluster=switch.cluster_id, switches__contains=[switch.name]
        ).order_by("level", "name")
    )


def _under(switch: Switch, domains: Sequence[LocalityDomain]) -> QuerySet[Node]:
    """Return the nodes cabled to a switch, and those of the domains it helps to make."""
    own = [one.pk for one in domains]
    cabled = Link.objects.filter(switch=switch, node__isnull=False, missing_since=None)
    return Node.objects.filter(
        Q(pk__in=cabled.values("node")) | Q(s1_domain__in=own) | Q(s2_domain__in=own)
    )


def _peers(switch: Switch) -> tuple[Peer, ...]:
    rows = (
        Link.objects.filter(Q(switch=switch) | Q(peer=switch), missing_since=None)
        .select_related("switch", "peer", "node")
        .order_by("port", "peer_port")
    )
    found: dict[UUID, list[Link]] = defaultdict(list)
    for row in rows:
        far = row.node_id or (row.peer_id if row.switch_id == switch.pk else row.switch_id)
        if far is not None:
            found[far].append(row)
    peers = [_peer(switch, links) for links in found.values()]
    return tuple(sorted(peers, key=lambda one: (not one.is_node, one.tier or 0, one.name)))


def _peer(switch: Switch, links: Sequence[Link]) -> Peer:
    first = links[0]
    ours = first.switch_id == switch.pk
    far = first.peer if ours else first.switch
    here = [one.port if ours else one.peer_port for one in links]
    there = [one.peer_port if ours else one.port for one in links]
    kind, name = ("nodes", first.node.name) if first.node else ("switches", str(far))
    return Peer(
        name=name,
        page=f"/fleet/{kind}/{switch.cluster.slug}/{name}/",
        is_node=first.node is not None,
        tier=None if first.node or far is None else far.tier,
        ports=_ports(here),
        peer_ports=_ports(there),
        cables=together(
            Cables(one.count, one.speed_gbps, one.count if one.state in TROUBLED else 0)
            for one in links
        ),
    )


def _ports(ports: Iterable[str]) -> str:
    """Return ports for a cell: numbers in order, the first of many."""
    named = sorted({port for port in ports if port}, key=lambda port: (len(port), port))
    more = len(named) - PORTS_NAMED
    return ", ".join(named[:PORTS_NAMED]) + (f" and {more} more" if more > 0 else "")


def _grouped(nodes: Sequence[NodeSeen]) -> tuple[Group, ...]:
    racks: dict[UUID | None, list[NodeSeen]] = defaultdict(list)
    for node in sorted(nodes, key=lambda one: (not one.rack_name, one.rack_name, one.name)):
        racks[node.rack].append(node)
    return tuple(
        Group(
            name=some[0].rack_name or "in no known rack",
            page=f"/fleet/racks/{rack}/" if rack else "",
            nodes=tuple(some),
            parts=parts_together(some),
            bad=sum(node.bad for node in some),
        )
        for rack, some in racks.items()
    )


def _events(switch: Switch) -> tuple[EventLine, ...]:
    """Return what lasts still, then the newest of what is over."""
    rows = HealthEvent.objects.filter(switch=switch).order_by("-started")
    lasting = list(rows.filter(ended=None)[:EVENTS_SHOWN])
    over = list(rows.exclude(ended=None)[: EVENTS_SHOWN - len(lasting)])
    return tuple(
        EventLine(row.code, row.severity, row.detail, row.started, row.ended, row.source)
        for row in (*lasting, *over)
    )


def _state(switch: Switch, events: Sequence[EventLine]) -> tuple[str, str]:
    """Return tone and word of the worst that is true of a switch."""
    lasting = [event for event in events if event.ended is None and event.severity != "info"]
    states = (
        (switch.missing_since is not None, "muted", "missing: its source no longer lists it"),
        (switch.health == Health.FAILED, "crit", "failed"),
        (switch.health == Health.DEGRADED, "warn", "degraded"),
        (switch.health == Health.UNKNOWN, "muted", "unknown"),
        (bool(lasting), "warn", plural(len(lasting), "open event")),
    )
    return next(((tone, word) for holds, tone, word in states if holds), ("ok", "ok"))
