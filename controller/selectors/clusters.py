"""Clusters that are connected: how each answers, what we may there, and what runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.preflight import Check, checks_of
from controller.models import ClusterSight
from controller.selectors.node_page import history_of
from inventory.models import Cluster, ClusterAccess, Node, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from controller.models import AuditEvent

STALE_S: Final = 60.0
"""A picture that was whole longer ago is no picture of now."""
ALIKE_S: Final = 2.0
"""Clocks this near count as alike: answers tell whole seconds only."""
_TONES: Final = {"ok": "ok", "partial": "warn", "failed": "crit"}


@dataclass(frozen=True, slots=True)
class Connected:
    """One cluster that is connected: how it is reached, and what was seen of it last."""

    cluster: Cluster
    access: ClusterAccess
    sight: ClusterSight | None
    now: datetime

    @property
    def is_stale(self) -> bool:
        """Whether nothing whole was seen of it for too long."""
        heard = self.heard_at
        return heard is not None and (self.now - heard).total_seconds() > STALE_S

    @property
    def tone(self) -> str:
        """The icon of how it answers."""
        if not self.access.watching or self.sight is None:
            return "muted"
        if self.is_stale and self.sight.state == ClusterSight.State.OK:
            return "warn"
        return _TONES[self.sight.state]

    @property
    def word(self) -> str:
        """How it answers, in words."""
        if not self.access.watching:
            return "not looked at"
        if self.sight is None:
            return "not seen yet"
        if self.is_stale and self.sight.state == ClusterSight.State.OK:
            return "not looked at for a while"
        return str(ClusterSight.State(self.sight.state).label)

    @property
    def is_down(self) -> bool:
        """Whether it does not answer, or only in part."""
        return self.tone in {"warn", "crit"}

    @property
    def told(self) -> tuple[str, ...]:
        """What it or its answers said, in sentences."""
        if self.sight is None or not self.access.watching:
            return ()
        if self.is_stale and self.sight.state == ClusterSight.State.OK:
            return ("Nobody watches it: is `./heteroscale watch` running?",)
        return tuple(map(str, self.sight.told))

    @property
    def seen(self) -> tuple[int, int]:
        """How many nodes and pods of services were seen."""
        return (self.sight.nodes, self.sight.pods) if self.sight else (0, 0)

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was found when its rights were last looked at."""
        return checks_of(self.access.checks)

    @property
    def lacking(self) -> tuple[Check, ...]:
        """What is needed and not there, by that look."""
        return tuple(check for check in self.checks if check.lacks)

    @property
    def clock(self) -> str:
        """How far its clock is from ours, empty before its first answer."""
        skew_s = self.sight.skew_s if self.sight else None
        if skew_s is None:
            return ""
        if abs(skew_s) < ALIKE_S:
            return "as ours, within seconds"
        return f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} ours"

    @property
    def heard_at(self) -> datetime | None:
        """When all of it was last known."""
        return self.sight.heard_at if self.sight else None


@dataclass(frozen=True, slots=True)
class Holder:
    """A workload of a service there, in words."""

    row: Workload

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        return f"{KINDS[WorkloadKind(self.row.kind)].words} {self.row}"


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """Everything about one cluster."""

    connected: Connected
    nodes: int
    workloads: Sequence[Holder]
    history: Sequence[AuditEvent]


def find(slug: str) -> Cluster | None:
    """Return a connected cluster with its access and sight by its name."""
    return _rows().filter(slug=slug).first()


def read_clusters(now: datetime) -> tuple[Connected, ...]:
    """Read every connected cluster; one query."""
    return tuple(connected(cluster, now) for cluster in _rows())


def read_cluster(cluster: Cluster, now: datetime) -> ClusterPage:
    """Read the page of a cluster of :func:`find`; three queries."""
    rows = Workload.objects.filter(service__cluster=cluster).select_related("service")
    return ClusterPage(
        connected(cluster, now),
        Node.objects.filter(cluster=cluster, missing_since=None).count(),
        [Holder(row) for row in rows.order_by("service__slug", "-role", "group", "name")],
        history_of("cluster", cluster.pk),
    )


def plain(each: Connected) -> dict[str, Any]:
    """Return a cluster as programs read it; nothing that is secret."""
    heard = each.heard_at
    return {
        "cluster": each.cluster.slug,
        "way": each.access.way,
        "server": each.access.server,
        "account": each.access.account,
        "namespaces": list(each.access.namespaces),
        "state": each.word,
        "told": list(each.told),
        "heard_at": heard.isoformat() if heard else None,
        "lacking": [f"{check.what} {check.where}".strip() for check in each.lacking],
    }


def connected(cluster: Cluster, now: datetime) -> Connected:
    """Return a cluster of :func:`find` with what is known of it."""
    # Without a row the reverse of a one-to-one raises.
    return Connected(cluster, cluster.access, getattr(cluster, "sight", None), now)


def _rows() -> QuerySet[Cluster]:
    rows = Cluster.objects.filter(access__isnull=False)
    return rows.select_related("region", "access", "sight").order_by("slug")
