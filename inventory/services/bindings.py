"""GPUs promised to the instances of a plan, and let go again (HeteroScale §7, S19)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.backends.postgresql.psycopg_any import NumericRange

from inventory.gpu_places import Range
from inventory.models import Binding, DeploymentGroup
from inventory.services.locks import lock_for_binding
from inventory.services.spots import Spot, nodes_of, spots_of

AT_ONCE: Final = 5_000


class NoLongerFreeError(Exception):
    """A node has fewer free GPUs than it was chosen for."""

    def __init__(self, node: str, wanted: int, free: int) -> None:
        super().__init__(f"{node} has {free} free GPUs, not {wanted}.")
        self.node, self.wanted, self.free = node, wanted, free


@dataclass(frozen=True, slots=True)
class Place:
    """Where one instance of a plan goes: the GPUs it takes of each node, by the node's name.

    ``level`` and ``domain`` are what its group shares, for a group that is made with it.
    """

    name: str
    role: str
    group: str
    cluster: str
    nodes: Mapping[str, int]
    level: str = ""
    domain: str = ""


def bind(service: UUID, wanted: Sequence[Place], action: UUID, now: datetime) -> None:
    """Promise GPUs to the instances of a plan, all of them or none.

    Groups that are not there are made. Call it first in a transaction: nodes are locked in one
    order. Raises :class:`NoLongerFreeError` where a node has too few free GPUs.
    """
    with transaction.atomic():
        lock_for_binding()
        where = {(one.cluster, node.lower()) for one in wanted for node in one.nodes}
        list(nodes_of(where).order_by("pk").select_for_update(no_key=True).values_list("pk"))
        spots = spots_of(where)
        taken = [
            (one, _take(spots.get((one.cluster, node.lower())), node, gpus))
            for one in wanted
            for node, gpus in one.nodes.items()
        ]
        groups = _groups(service, wanted, now)
        Binding.objects.bulk_create(
            Binding(
                group_id=groups[one.group],
                role=one.role,
                place=one.name,
                node_id=row,
                gpus=NumericRange(*part),
                action=action,
                bound_at=now,
            )
            for one, (row, parts) in taken
            for part in parts
        )


def _take(spot: Spot | None, node: str, gpus: int) -> tuple[UUID, list[Range]]:
    if spot is None:
        raise NoLongerFreeError(node, gpus, 0)
    parts = spot.take(gpus)
    if parts is None:
        raise NoLongerFreeError(node, gpus, spot.left)
    return spot.row, parts


def _groups(service: UUID, wanted: Sequence[Place], now: datetime) -> dict[str, int]:
    """Return the groups the places belong to, those made that are not there yet."""
    first = {one.group: one for one in reversed(wanted)}
    own = DeploymentGroup.objects.filter(service=service, name__in=first)
    known = dict(own.values_list("name", "pk"))
    own.exclude(ended_at=None).update(ended_at=None)
    made = DeploymentGroup.objects.bulk_create(
        DeploymentGroup(
            service_id=service, name=name, level=one.level, domain=one.domain, made_at=now
        )
        for name, one in sorted(first.items())
        if name not in known
    )
    return known | {group.name: group.pk for group in made}


def release(action: UUID, now: datetime) -> int:
    """Let go of what was promised to an action and no instance took up; returns the rows."""
    promised = Binding.objects.filter(action=action, instance="", released_at=None)
    return promised.update(released_at=now)


def prune_bindings(edge: datetime) -> None:
    """Delete some bindings released before ``edge``, and groups that ended and have none left."""
    old = Binding.objects.filter(released_at__lt=edge).order_by("released_at")
    keys = list(old.values_list("pk", flat=True)[:AT_ONCE])
    if keys:
        Binding.objects.filter(pk__in=keys).delete()
    DeploymentGroup.objects.filter(ended_at__lt=edge, bindings=None).delete()
