"""Where the instances of a service are: as its cluster reported them, and as was promised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db.models.functions import Lower

from controller.core.phrases import plural
from controller.core.placement.pairs_near import Near, Standing, pairs_near
from controller.core.types import Role
from controller.models import ServiceStatus
from controller.selectors.node_use import STALE_AFTER
from inventory.models import Binding, Node, Service

READY = "ready"


@dataclass(frozen=True, slots=True)
class Spot:
    """A node as the inventory has it; an empty S1 or S2 is one nobody named.

    ``why`` says why no new instance comes here, and is empty where one may.
    """

    name: str
    cluster: str
    s1: str
    s2: str
    s1_subgroup: str
    s2_subgroup: str
    hardware: UUID | None
    why: tuple[str, ...]

    @property
    def address(self) -> str:
        """The page of the node."""
        return f"/fleet/nodes/{self.cluster}/{self.name}/"


@dataclass(frozen=True, slots=True)
class Bound:
    """What one instance was promised: ``nodes`` are names with ranges of places ``[a, b)``."""

    group: str
    role: str
    instance: str
    place: str
    state: str
    action: UUID | None
    bound_at: datetime
    nodes: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]

    @property
    def gpus(self) -> int:
        """The GPUs it was promised."""
        return sum(end - begin for _, ranges in self.nodes for begin, end in ranges)

    def places_on(self, node: str) -> tuple[tuple[int, int], ...]:
        """Return the places promised on a node, the case of its name aside."""
        return next((ranges for name, ranges in self.nodes if name.lower() == node.lower()), ())


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as its cluster last reported it, with what it was promised, if anything.

    ``group`` is the one its cluster names, or else the one it was promised to.
    """

    name: str
    role: str
    group: str
    state: str
    nodes: tuple[str, ...]
    bound: Bound | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is on other nodes than it was promised."""
        if self.bound is None or not self.nodes:
            return False
        promised = {name.lower() for name, _ in self.bound.nodes}
        return promised != {name.lower() for name in self.nodes}


@dataclass(frozen=True, slots=True)
class Seen:
    """All instances of a service, what of its promises nobody has seen, and the nodes of both."""

    observed_at: datetime | None
    instances: Sequence[Instance]
    unseen: Sequence[Bound]
    spots: Mapping[str, Spot]

    def spot(self, node: str) -> Spot | None:
        """Return a node by its name in any case; ``None`` if the inventory has none."""
        return self.spots.get(node.lower())

    @property
    def near(self) -> Near:
        """How near ready instances of the two roles are within their groups."""
        return pairs_near(
            Standing(one.group, Role(one.role), *self._domains(one.nodes))
            for one in self.instances
            if one.state == READY
        )

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups with an instance, in the order of their names."""
        return tuple(sorted({one.group for one in self.instances}))

    def is_stale(self, now: datetime) -> bool:
        """Return whether this is where instances were, not where they are."""
        return self.observed_at is None or now - self.observed_at > STALE_AFTER

    @property
    def line(self) -> str:
        """The placement in one line: "3 groups · P and D share S1: 92 % of pairs"."""
        return f"{plural(len(self.groups), 'group')} · {self.near.short}"

    def _domains(self, nodes: Sequence[str]) -> tuple[str, str, str]:
        spots = [self.spot(name) for name in nodes]
        s1 = {spot.s1 if spot else "" for spot in spots}
        s2 = {spot.s2 if spot else "" for spot in spots}
        return (
            s1.pop() if len(s1) == 1 else "",
            s2.pop() if len(s2) == 1 else "",
            nodes[0].lower() if len(nodes) == 1 else "",
        )


def read_seen(service: Service) -> Seen:
    """Read where the instances of a service are; three queries for any number of them."""
    status = (
        ServiceStatus.objects.filter(service=service)
        .values_list("observed_at", "instances")
        .first()
    )
    observed_at, listed = status or (None, [])
    bounds = _bounds(service)
    by_name = {one.instance: one for one in bounds if one.instance}
    instances = [_instance(one, by_name.get(one["name"])) for one in listed or ()]
    names = {one.name for one in instances}
    on = {name for one in instances for name in one.nodes}
    on |= {name for one in bounds for name, _ in one.nodes}
    return Seen(
        observed_at=observed_at,
        instances=sorted(instances, key=lambda one: (one.role != Role.PREFILL, one.name)),
        unseen=[one for one in bounds if one.instance not in names],
        spots=_spots(service, on),
    )


def _instance(one: Mapping[str, str], bound: Bound | None) -> Instance:
    return Instance(
        name=one["name"],
        role=one["role"],
        group=one["group"] or (bound.group if bound else ""),
        state=one["state"],
        nodes=tuple(name for name in one["node"].split(",") if name),
        bound=bound,
    )


def _bounds(service: Service) -> tuple[Bound, ...]:
    rows = (
        Binding.objects.filter(group__service=service, released_at=None)
        .select_related("group", "node")
        .order_by("group__name", "role", "place", "node__name", "gpus")
    )
    together: dict[tuple[str, str], list[Binding]] = defaultdict(list)
    for row in rows:
        together[row.group.name, row.place].append(row)
    return tuple(_bound(group, held) for (group, _), held in together.items())


def _bound(group: str, held: Sequence[Binding]) -> Bound:
    nodes: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in held:
        nodes[row.node.name].append((row.gpus.lower, row.gpus.upper))
    first = held[0]
    return Bound(
        group=group,
        role=first.role,
        instance=first.instance,
        place=first.place,
        state=first.state,
        action=first.action,
        bound_at=first.bound_at,
        nodes=tuple((name, tuple(ranges)) for name, ranges in nodes.items()),
    )


def _spots(service: Service, names: Iterable[str]) -> dict[str, Spot]:
    rows = (
        Node.objects.filter(cluster=service.cluster_id)
        .alias(low=Lower("name"))
        .filter(low__in=sorted({name.lower() for name in names}))
        .select_related("cluster", "s1_domain", "s2_domain")
    )
    return {row.name.lower(): spot_of(row) for row in rows}


def spot_of(row: Node) -> Spot:
    """Return a node read with its cluster and its domains."""
    s1, s2 = row.s1_domain, row.s2_domain
    told = [text for text in (row.admin_reason, row.health_reason) if text]
    why = row.why_not_schedulable
    return Spot(
        name=row.name,
        cluster=row.cluster.slug,
        s1=s1.name if s1 else "",
        s2=s2.name if s2 else "",
        s1_subgroup=s1.subgroup if s1 else "",
        s2_subgroup=s2.subgroup if s2 else "",
        hardware=row.hardware_id,
        why=(*why, *told) if why else (),
    )


def places_words(ranges: Iterable[tuple[int, int]]) -> str:
    """Return places ``[a, b)`` of GPUs in words: "0–3, 6", those that touch as one."""
    merged: list[list[int]] = []
    for begin, end in sorted(ranges):
        if merged and merged[-1][1] == begin:
            merged[-1][1] = end
        else:
            merged.append([begin, end])
    return ", ".join(f"{a}" if b == a + 1 else f"{a}–{b - 1}" for a, b in merged)
