"""Clusters that are connected: how each answers, what we may there, and what runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from controller.core.kube.preflight import Check, checks_of
from controller.models import ClusterSight
from inventory.models import Cluster, ClusterAccess

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

_TONES = {"ok": "ok", "partial": "warn", "failed": "crit"}


@dataclass(frozen=True, slots=True)
class Connected:
    """One cluster that is connected: how it is reached, and what was seen of it last."""

    cluster: Cluster
    access: ClusterAccess
    sight: ClusterSight | None

    @property
    def tone(self) -> str:
        """The icon of how it answers."""
        if not self.access.watching or self.sight is None:
            return "muted"
        return _TONES[self.sight.state]

    @property
    def word(self) -> str:
        """How it answers, in words."""
        if not self.access.watching:
            return "not looked at"
        if self.sight is None:
            return "not seen yet"
        return str(ClusterSight.State(self.sight.state).label)

    @property
    def told(self) -> tuple[str, ...]:
        """What it or its answers said, in sentences."""
        return tuple(map(str, self.sight.told)) if self.sight and self.access.watching else ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was found when its rights were last looked at."""
        return checks_of(self.access.checks)

    @property
    def lacking(self) -> tuple[Check, ...]:
        """What is needed and not there, by that look."""
        return tuple(check for check in self.checks if check.lacks)

    @property
    def heard_at(self) -> datetime | None:
        """When all of it was last known."""
        return self.sight.heard_at if self.sight else None


def find(slug: str) -> Cluster | None:
    """Return a connected cluster with its access and sight by its name."""
    return _rows().filter(slug=slug).first()


def read_clusters() -> tuple[Connected, ...]:
    """Read every connected cluster; one query."""
    return tuple(map(connected, _rows()))


def connected(cluster: Cluster) -> Connected:
    """Return a cluster of :func:`find` with what is known of it."""
    # Without a row the reverse of a one-to-one raises.
    return Connected(cluster, cluster.access, getattr(cluster, "sight", None))


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


def _rows() -> QuerySet[Cluster]:
    rows = Cluster.objects.filter(access__isnull=False)
    return rows.select_related("region", "access", "sight").order_by("slug")
