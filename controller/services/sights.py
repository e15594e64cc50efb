"""What the watcher saw, kept as rows, and read again by whoever decides."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction

from controller.core.kube.plain import from_plain, plain
from controller.core.kube.sight import ClusterStanding, Sights
from controller.core.kube.values import ServiceSeen, WorkloadRef
from controller.core.types import Instances
from controller.models import ClusterSight, ServiceSight, ServiceStatus
from controller.models.clock import database_now
from controller.services import workloads
from inventory.models import Cluster, ClusterAccess, Service, Workload

log = structlog.get_logger(__name__)

State = ClusterSight.State
MOST_TOLD: Final = 20
LONGEST_TOLD: Final = 500
BODY: Final = ("changed_at", "body")


@dataclass(frozen=True, slots=True)
class Look:
    """One look of the watcher at a cluster.

    ``age_s`` is how long ago all of it was known for sure, ``None`` before that was ever so.
    ``anew`` says that this watch has just begun. ``changed`` are the services that differ from
    what was written last; those not in ``services`` are forgotten, ``None`` leaves all.
    """

    state: State
    told: tuple[str, ...] = ()
    age_s: float | None = None
    anew: bool = False
    nodes: int = 0
    pods: int = 0
    skew_s: float | None = None
    changed: Mapping[str, ServiceSeen] = field(default_factory=dict)
    services: Collection[str] | None = None


def note(cluster: UUID, look: Look) -> None:
    """Write what was seen of a cluster, all of it or nothing.

    Times are the database's: a watcher whose clock is off is no reason to take old for new. One
    cluster that was removed meanwhile is left.
    """
    with transaction.atomic():
        if not Cluster.objects.filter(pk=cluster).exists():
            return
        now = database_now()
        row = ClusterSight.objects.select_for_update().filter(pk=cluster).first()
        row = row or ClusterSight(cluster_id=cluster, since=now, state="")
        if row.state != look.state:
            row.state, row.since = look.state, now
        row.told = [text[:LONGEST_TOLD] for text in look.told[:MOST_TOLD]]
        row.nodes, row.pods, row.skew_s = look.nodes, look.pods, look.skew_s
        _heard(row, look, now)
        row.save()
        _write_services(cluster, look, now)


def _heard(row: ClusterSight, look: Look, now: datetime) -> None:
    """Note since when the cluster is known as a whole, and how often it was since then."""
    before = row.heard_at
    if look.anew:
        row.begun_at, row.rounds = None, 0
    if look.age_s is None:
        return
    heard = now - timedelta(seconds=max(look.age_s, 0.0))
    if before is not None and heard - before > timedelta(seconds=settings.MAX_AGE_S):
        # What comes back after a silence is looked at twice, as after a start.
        row.begun_at = None
    # What was heard later than now was noted by a clock that was put back since (T01).
    row.heard_at = heard if before is None or before > now else max(before, heard)
    row.begun_at = row.begun_at or row.heard_at
    row.begun_at = min(row.begun_at, row.heard_at)
    since_s = (row.heard_at - row.begun_at).total_seconds()
    row.rounds = 1 + int(since_s // settings.TICK_S)


def _write_services(cluster: UUID, look: Look, now: datetime) -> None:
    rows = dict(
        Service.objects.filter(cluster=cluster, slug__in=look.changed).values_list("slug", "pk")
    )
    ServiceSight.objects.bulk_create(
        [
            ServiceSight(service_id=rows[slug], changed_at=now, body=plain(seen))
            for slug, seen in look.changed.items()
            if slug in rows
        ],
        update_conflicts=True,
        update_fields=BODY,
        unique_fields=["service"],
    )
    if look.services is not None:
        gone = ServiceSight.objects.filter(service__cluster=cluster)
        gone.exclude(service__slug__in=look.services).delete()


def seen_of(services: Collection[str]) -> Mapping[str, ServiceSeen]:
    """Return what was seen last of services, by slug; one query. Unreadable rows are left out."""
    found = {}
    rows = ServiceSight.objects.filter(service__slug__in=services)
    for slug, body in rows.values_list("service__slug", "body"):
        try:
            found[slug] = from_plain(body)
        except ValueError as fault:
            log.warning("a sight can't be read", service=slug, fault=str(fault))
    return found


def standing_of(clusters: Iterable[str]) -> Mapping[str, ClusterStanding]:
    """Return how clusters answer, by slug; one query."""
    rows = ClusterSight.objects.filter(cluster__slug__in=list(clusters)).select_related("cluster")
    return {
        row.cluster.slug: ClusterStanding(
            state=row.state,
            since_s=row.since.timestamp(),
            heard_s=row.heard_at.timestamp() if row.heard_at else None,
            rounds=row.rounds if row.begun_at else 0,
            told=tuple(row.told),
            skew_s=row.skew_s,
        )
        for row in rows
    }


def sights_of(services: Collection[str], clusters: Collection[str]) -> Sights:
    """Return all that decisions on these services need to know; four queries."""
    chosen = Workload.objects.filter(service__slug__in=services)
    last = ServiceStatus.objects.filter(service__slug__in=services)
    return Sights(
        clusters=standing_of(clusters),
        services=seen_of(services),
        chosen=frozenset(chosen.values_list("service__slug", flat=True)),
        last={
            slug: Instances(prefill, decode)
            for slug, prefill, decode in last.values_list(
                "service__slug", "prefill_desired", "decode_desired"
            )
        },
    )


# The watcher.


def now() -> datetime:
    """Return the time by which all that is seen is kept."""
    return database_now()


_LOCKS: Final = 7_140_911
"""The class of advisory locks by which one watcher writes of a cluster."""


@dataclass(frozen=True, slots=True)
class Watched:
    """A cluster that is to be watched: its access, and the workloads of its services by slug."""

    access: ClusterAccess
    refs: Mapping[str, Sequence[WorkloadRef]]

    @property
    def cluster(self) -> Cluster:
        """The cluster."""
        return self.access.cluster

    @property
    def version(self) -> tuple[object, ...]:
        """What it is reached by: another version is another connection."""
        return (self.access.pk, self.access.version, *self.access.namespaces)


def watched() -> Mapping[UUID, Watched]:
    """Return the clusters that are to be watched; one query, and one for each."""
    rows = ClusterAccess.objects.filter(watching=True, cluster__kind=Cluster.Kind.KUBERNETES)
    return {
        row.cluster_id: Watched(row, workloads.refs_in(row.cluster))
        for row in rows.select_related("cluster").order_by("cluster__slug")
    }


def hold(cluster: UUID) -> bool:
    """Return whether this connection is the one that watches a cluster, from now on.

    It stays so until :func:`release` or the end of the connection: another watcher takes over when
    this one is gone, and never before. Of two that wrote in turn each would take the other's
    picture for a change.
    """
    key = cluster.int & 0x7FFF_FFFF
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid()"
            " AND locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2)"
            " THEN true ELSE pg_try_advisory_lock(%s, %s) END",
            [_LOCKS, key, _LOCKS, key],
        )
        return bool(cursor.fetchone()[0])


def release(cluster: UUID) -> None:
    """Let another watcher have a cluster."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, cluster.int & 0x7FFF_FFFF])
