"""Which instances hold GPUs of which node, from what the clusters last reported."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from controller.models import ServiceStatus
from inventory.models import RoleSpec

STALE_AFTER: Final = timedelta(minutes=10)
"""Older instance lists are not what runs now: the use of their nodes is unknown."""

Where = tuple[str, str]
"""A cluster's slug and a node's name in lower case."""


@dataclass(frozen=True, slots=True)
class Use:
    """GPUs of one node that instances of one role hold; ``ready`` of them serve."""

    service: str
    role: str
    instances: int
    ready: int
    gpus: int


@dataclass(frozen=True, slots=True)
class NodeUses:
    """Who holds what; of nodes in clusters that are not ``observed`` nobody can tell."""

    of: Mapping[Where, tuple[Use, ...]]
    observed: frozenset[str]
    stale: frozenset[str]

    def on(self, cluster: str, node: str) -> tuple[Use, ...]:
        """Return who holds GPUs of a node."""
        return self.of.get((cluster, node.lower()), ())

    def gpus(self, cluster: str, node: str) -> int | None:
        """Return how many GPUs of a node are held; ``None`` where nobody reports it."""
        if cluster not in self.observed:
            return None
        return sum(use.gpus for use in self.on(cluster, node))

    def services(self, cluster: str, node: str) -> tuple[str, ...]:
        """Return the services with instances on a node."""
        return tuple(sorted({use.service for use in self.on(cluster, node)}))


def node_uses(now: datetime) -> NodeUses:
    """Read the newest instance list of every service; two queries for any fleet.

    A cluster counts as observed when one of its services was seen lately, and as stale when one
    of its services was not.
    """
    sizes = {
        (service, role): gpus
        for service, role, gpus in RoleSpec.objects.values_list(
            "service__slug", "role", "gpus_per_instance"
        )
    }
    rows = ServiceStatus.objects.filter(observed_at__isnull=False).values_list(
        "service__slug", "service__cluster__slug", "observed_at", "instances"
    )
    counted: dict[Where, dict[tuple[str, str], list[int]]] = defaultdict(dict)
    observed, stale = set(), set()
    for service, cluster, at, instances in rows:
        if at is None or now - at > STALE_AFTER:
            stale.add(cluster)
            continue
        observed.add(cluster)
        for one in instances:
            _count(counted, service, cluster, one, sizes)
    of = {
        where: tuple(
            Use(service, role, *figures) for (service, role), figures in sorted(held.items())
        )
        for where, held in counted.items()
    }
    return NodeUses(of, frozenset(observed), frozenset(stale))


@dataclass(frozen=True, slots=True)
class Running:
    """One instance: its service and role, what it is called, its state, and its nodes."""

    service: str
    cluster: str
    role: str
    name: str
    group: str
    state: str
    nodes: tuple[str, ...]

    def is_on(self, places: Collection[Where]) -> bool:
        """Return whether any of its nodes is among these."""
        return any((self.cluster, node.lower()) in places for node in self.nodes)


def running(now: datetime) -> tuple[Running, ...]:
    """Return the instances that were reported lately, in one query."""
    rows = ServiceStatus.objects.filter(observed_at__gte=now - STALE_AFTER).values_list(
        "service__slug", "service__cluster__slug", "instances"
    )
    return tuple(
        Running(
            service=service,
            cluster=cluster,
            role=one["role"],
            name=one["name"],
            group=one["group"],
            state=one["state"],
            nodes=tuple(name for name in one["node"].split(",") if name),
        )
        for service, cluster, instances in rows
        for one in instances
    )


def holders(now: datetime) -> dict[Where, tuple[str, ...]]:
    """Return the services with instances on each node, both named in lower case."""
    return {
        (cluster.lower(), node): tuple(sorted({use.service for use in uses}))
        for (cluster, node), uses in node_uses(now).of.items()
    }


def _count(
    counted: dict[Where, dict[tuple[str, str], list[int]]],
    service: str,
    cluster: str,
    one: Mapping[str, Any],
    sizes: Mapping[tuple[str, str], int],
) -> None:
    nodes: Sequence[str] = [name for name in one["node"].split(",") if name]
    role = one["role"]
    for name in nodes:
        # An instance over several nodes takes whole nodes, so it takes the same of each (§7).
        held = counted[cluster, name.lower()].setdefault((service, role), [0, 0, 0])
        held[0] += 1
        held[1] += one["state"] == "ready"
        held[2] += sizes.get((service, role), 0) // len(nodes)
