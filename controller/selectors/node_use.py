"""Which instances hold GPUs of which node, from what the clusters last reported."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import QuerySet

from inventory.models import RoleSpec, Service

STALE_AFTER: Final = timedelta(minutes=10)
"""Older instance lists are not what runs now: they are the least that is held, not all of it."""

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
    """Who holds what, where it was heard of last.

    Of clusters that are not ``observed`` nobody is heard. Of ``stale`` ones some services are not
    heard: what is counted there is the least that is held, and no GPU is known to be free (I04).
    """

    of: Mapping[Where, tuple[Use, ...]]
    observed: frozenset[str]
    stale: frozenset[str]

    def on(self, cluster: str, node: str) -> tuple[Use, ...]:
        """Return who holds GPUs of a node."""
        return self.of.get((cluster, node.lower()), ())

    def is_whole(self, cluster: str) -> bool:
        """Return whether all that runs in a cluster was reported lately."""
        return cluster in self.observed and cluster not in self.stale

    def gpus(self, cluster: str, node: str) -> int | None:
        """Return how many GPUs of a node are held, at least where the cluster is not whole.

        ``None`` where nobody can tell whether any is.
        """
        uses = self.on(cluster, node)
        if not uses and not self.is_whole(cluster):
            return None
        return sum(use.gpus for use in uses)

    def services(self, cluster: str, node: str) -> tuple[str, ...]:
        """Return the services with instances on a node."""
        return tuple(sorted({use.service for use in self.on(cluster, node)}))


def node_uses(now: datetime) -> NodeUses:
    """Read the newest instance list of every service; two queries for any fleet.

    A cluster counts as observed when one of its services was seen lately, and as stale when one
    of its services was not, provided that anything was ever seen there.
    """
    sizes = {
        (service, role): gpus
        for service, role, gpus in RoleSpec.objects.values_list(
            "service__slug", "role", "gpus_per_instance"
        )
    }
    counted: dict[Where, dict[tuple[str, str], list[int]]] = defaultdict(dict)
    observed: set[str] = set()
    behind: set[str] = set()
    ever: set[str] = set()
    for service, cluster, at, instances in _lists():
        (observed if _is_recent(at, now) else behind).add(cluster)
        if at is not None or instances:
            ever.add(cluster)
        for one in instances or ():
            _count(counted, service, cluster, one, sizes)
    of = {
        where: tuple(
            Use(service, role, *figures) for (service, role), figures in sorted(held.items())
        )
        for where, held in counted.items()
    }
    return NodeUses(of, frozenset(observed), frozenset(behind & ever))


def _lists() -> QuerySet[Service, tuple[str, str, datetime | None, Any]]:
    """Return each service, its cluster, when it was seen last and its instances then."""
    # From the services, so that one without any status counts as never seen.
    return Service.objects.values_list(
        "slug", "cluster__slug", "status__observed_at", "status__instances"
    )


def _is_recent(at: datetime | None, now: datetime) -> bool:
    return at is not None and now - at <= STALE_AFTER


@dataclass(frozen=True, slots=True)
class Running:
    """One instance: its service and role, what it is called, its state, and its nodes.

    ``is_stale`` means that its service was not heard of lately: this is where it was last.
    """

    service: str
    cluster: str
    role: str
    name: str
    group: str
    state: str
    nodes: tuple[str, ...]
    is_stale: bool = False

    def is_on(self, places: Collection[Where]) -> bool:
        """Return whether any of its nodes is among these."""
        return any((self.cluster, node.lower()) in places for node in self.nodes)


def running(now: datetime) -> tuple[Running, ...]:
    """Return the instances where they were reported last, in one query."""
    return tuple(
        Running(
            service=service,
            cluster=cluster,
            role=one["role"],
            name=one["name"],
            group=one["group"],
            state=one["state"],
            nodes=_names(one),
            is_stale=not _is_recent(at, now),
        )
        for service, cluster, at, instances in _lists()
        for one in instances or ()
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
    nodes = _names(one)
    role = one["role"]
    # An instance over several nodes takes whole nodes, so it takes the same of each (§7); where
    # that does not come out even the first take one more, so that the sum is what it holds.
    each, more = divmod(sizes.get((service, role), 0), max(1, len(nodes)))
    for i, name in enumerate(nodes):
        held = counted[cluster, name.lower()].setdefault((service, role), [0, 0, 0])
        held[0] += 1
        held[1] += one["state"] == "ready"
        held[2] += each + (i < more)


def _names(one: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name in one["node"].split(",") if name)
