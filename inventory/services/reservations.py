"""Nodes held for somebody for a time: begun, ended early, and ended by the clock."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from inventory.models import InventoryVersion, Node, Reservation, ReservedNode
from inventory.services import bulk
from inventory.services.locks import lock_for_edit
from inventory.services.versions import stamp

BY_CLOCK = "the clock"


@dataclass(frozen=True, slots=True)
class Settled:
    """A node whose reservation began or ended by the clock: who it was kept for, and is."""

    node: Node
    before: str
    after: str


def taken(nodes: Iterable[Node], ends: datetime | None) -> dict[UUID, str]:
    """Return the nodes that are promised to somebody from now until ``ends``, with the words."""
    overlapping = _open() & (Q() if ends is None else Q(begins__lt=ends))
    rows = ReservedNode.objects.filter(overlapping, node__in=[one.pk for one in nodes])
    return {
        held.node_id: f"it is reserved for {held.reservation.owner} from {held.begins:%d %b %H:%M}"
        " UTC"
        for held in rows.select_related("reservation")
    }


def hold(nodes: Sequence[Node], *, owner: str, reason: str, ends: datetime | None) -> None:
    """Reserve locked nodes from now on, one reservation for each cluster.

    The database refuses a node that is held twice at a time with :class:`IntegrityError`.
    """
    by_cluster: dict[UUID, list[Node]] = defaultdict(list)
    for node in nodes:
        by_cluster[node.cluster_id].append(node)
    made = Reservation.objects.bulk_create(
        Reservation(cluster_id=cluster, owner=owner, reason=reason, begins=Now(), ends=ends)
        for cluster in by_cluster
    )
    ReservedNode.objects.bulk_create(
        ReservedNode(reservation=one, node=node, begins=Now(), ends=ends)
        for one in made
        for node in by_cluster[one.cluster_id]
    )


def let_go(nodes: Sequence[Node]) -> None:
    """End now what holds locked nodes; a reservation ends with the last of its nodes."""
    rows = ReservedNode.objects.filter(_current(), node__in=[one.pk for one in nodes])
    touched = list(rows.values_list("reservation", flat=True).distinct())
    rows.update(ends=Now())
    still = ReservedNode.objects.filter(_open(), reservation=OuterRef("pk"))
    Reservation.objects.filter(~Exists(still), pk__in=touched, begins__lt=Now()).update(ends=Now())


def settle() -> tuple[Settled, ...]:
    """Write at the nodes what the clock did to reservations; the same however often it is done."""
    if not (_beginning().exists() or _ending().exists()):
        return ()  # nothing is due: no import is waited for
    with transaction.atomic():
        lock_for_edit()
        found = [*_begun(), *_over()]
        cells = [(one.node.pk, one.after) for one in found]
        bulk.update(Node, "id", ("reserved_for",), cells, bulk.NEXT_VERSION)
        if found:
            counts = {"reservations begun or ended": len(found)}
            stamp(InventoryVersion.Cause.EDIT, BY_CLOCK, counts=counts)
    return tuple(found)


def _begun() -> list[Settled]:
    owners = dict(_beginning().values_list("node", "reservation__owner"))
    return [
        Settled(node, "", owners[node.pk]) for node in _locked(owners) if not node.reserved_for
    ]


def _over() -> list[Settled]:
    kept = dict(_ending().values_list("node", "node__reserved_for"))
    return [
        Settled(node, node.reserved_for, "")
        for node in _locked(kept)
        if node.reserved_for == kept[node.pk]
    ]


def _beginning() -> QuerySet[ReservedNode]:
    return ReservedNode.objects.filter(_current(), node__reserved_for="")


def _ending() -> QuerySet[ReservedNode]:
    """Return what is over at nodes that still carry its owner."""
    return ReservedNode.objects.filter(
        ~Exists(ReservedNode.objects.filter(_current(), node=OuterRef("node"))),
        ends__lte=Now(),
        node__reserved_for=F("reservation__owner"),
    )


def _locked(keys: Iterable[UUID]) -> Iterable[Node]:
    rows = Node.objects.filter(pk__in=list(keys)).select_related("cluster").order_by("pk")
    return rows.select_for_update(of=("self",))


def _open() -> Q:
    return Q(ends=None) | Q(ends__gt=Now())


def _current() -> Q:
    return Q(begins__lte=Now()) & _open()
