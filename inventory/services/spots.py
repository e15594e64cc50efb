"""Nodes with the places of their GPUs that are free."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower

from inventory.gpu_places import Range, gaps, places
from inventory.holdings import end_of
from inventory.models import Binding, Node

Where = tuple[str, str]
"""A cluster's slug and a node's name in small letters."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A node with its free places."""

    row: UUID
    name: str
    hardware: str
    free: list[Range]

    def take(self, gpus: int) -> list[Range] | None:
        """Return the places ``gpus`` GPUs get, which are taken then; ``None`` if too few."""
        taken = places(self.free, gpus)
        if taken is not None:
            self.free[:] = [
                part for gap in self.free for part in _without(gap, taken) if part[0] < part[1]
            ]
        return taken

    @property
    def left(self) -> int:
        """How many GPUs are free."""
        return sum(end - first for first, end in self.free)


def _without(gap: Range, taken: Iterable[Range]) -> Iterable[Range]:
    at = gap[0]
    for first, end in taken:
        if gap[0] <= first < gap[1]:
            yield at, first
            at = end
    yield at, gap[1]


def nodes_of(wanted: Collection[Where]) -> QuerySet[Node]:
    """Return the nodes of those names in any of the clusters."""
    return Node.objects.alias(small=Lower("name")).filter(
        small__in={name for _, name in wanted},
        cluster__slug__in={cluster for cluster, _ in wanted},
    )


def spots_of(wanted: Collection[Where]) -> dict[Where, Spot]:
    """Read nodes with what is free of them; two queries."""
    names = ("cluster__slug", "name", "pk", "hardware__slug", "gpus", "gpus_allocatable")
    rows = list(nodes_of(wanted).values_list(*names))
    taken: dict[UUID, list[Range]] = defaultdict(list)
    for node, first, end in (
        Binding.objects.filter(released_at=None, node__in=[row[2] for row in rows])
        .annotate(first=end_of("lower"), end=end_of("upper"))
        .values_list("node_id", "first", "end")
    ):
        taken[node].append((first, end))
    return {
        (cluster, name.lower()): Spot(row, name, slug or "", gaps(_count(gpus, given), taken[row]))
        for cluster, name, row, slug, gpus, given in rows
    }


def _count(gpus: int | None, given: int | None) -> int:
    """Return the places of a node: the least that node and cluster say (I04)."""
    if gpus is None:
        return 0
    return gpus if given is None else min(gpus, given)
