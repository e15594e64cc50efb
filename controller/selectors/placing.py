"""Nodes and services as a placement cycle is asked about them (placement: Values; I04)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Count, Exists, OuterRef, Q, Sum

from controller.core.fleet import Level, NodeRow
from controller.core.lifecycle import IN_FLIGHT, ActionState
from controller.core.placement.layout import Facts
from controller.core.placement.sound import fault_of
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    PartNeed,
    RoleForm,
    RoleNeed,
    Spread,
    Tenant,
)
from controller.core.types import Instances, Role
from controller.core.words import clean
from controller.models import Action
from inventory.holdings import Holding, Instance, Report, end_of, live
from inventory.models import Binding, Gpu, Health, Node, RoleHardware, RolePart, RoleSpec, Service
from inventory.models.base import AdminState, Lifecycle
from inventory.models.services import Nearness
from inventory.sizes import Sizes, read_sizes, shares

LEVELS: Final[Mapping[str, Level]] = {
    Nearness.S1: Level.S1,
    Nearness.S2: Level.S2,
    Nearness.CLUSTER: Level.CLUSTER,
}
ENDED: Final = (ActionState.READY, ActionState.FAILED, ActionState.CANCELLED)
ROLES: Final[Mapping[str, Role]] = {role.value: role for role in Role}
UP: Final = "ready"
EMPTIED: Final = (AdminState.DRAINING, AdminState.MAINTENANCE)
"""States of nodes on which nothing is to stay."""
_STARTING: Final = Q(state=ActionState.APPLIED, ended_at__isnull=True)

_NODE: Final = (
    *("cluster__slug", "name", "s2_domain__name", "s1_domain__name", "rack__name"),
    *("hardware__slug", "gpus", "gpus_allocatable", "schedulable"),
)
# Nearly all that is reported is bound: only what isn't leaves the database.
_UNBOUND: Final = """
SELECT DISTINCT service.slug, cluster.slug, one.role, one.name, one.node, part
FROM controller_servicestatus status
JOIN inventory_service service ON service.id = status.service_id
JOIN inventory_cluster cluster ON cluster.id = service.cluster_id
CROSS JOIN LATERAL jsonb_to_recordset(status.instances) AS one(name text, role text, node text)
CROSS JOIN LATERAL string_to_table(one.node, ',') AS part
WHERE part <> '' AND NOT EXISTS (
    SELECT FROM inventory_binding bound
    JOIN inventory_deploymentgroup its ON its.id = bound.group_id
    JOIN inventory_node node ON node.id = bound.node_id
    WHERE bound.released_at IS NULL AND its.service_id = service.id
    AND bound.instance = one.name AND lower(node.name) = lower(part)
)
"""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The nodes there are, named "cluster/name", and what the arrays don't hold of them."""

    rows: tuple[NodeRow, ...]
    facts: Facts


class _Seat(NamedTuple):
    """What one instance holds, by node in small letters: bound, reported, or both."""

    service: str
    name: str
    role: str
    group: str
    nodes: Mapping[str, int]
    is_up: bool
    since_s: float


def reports() -> tuple[Report, ...]:
    """Return the instances of every service as its cluster reported them last; one query."""
    rows = Service.objects.order_by("slug").values_list(
        "slug", "cluster__slug", "status__observed_at", "status__instances"
    )
    return tuple(
        Report(service, cluster, at, tuple(map(_instance, instances or ())))
        for service, cluster, at, instances in rows
    )


def _instance(one: Mapping[str, str]) -> Instance:
    nodes = tuple(dict.fromkeys(filter(None, one["node"].split(","))))
    return Instance(one["name"], one["role"], one["group"], one["state"], nodes)


def in_vain() -> frozenset[UUID]:
    """Return the actions with promises that nobody took up and that will start nothing more.

    What a later action overtook may still start until nothing of its service is under way.
    """
    promised = Binding.objects.filter(released_at=None, instance="").values("action")
    under_way = Action.objects.filter(service=OuterRef("service")).filter(
        Q(state__in=IN_FLIGHT) | _STARTING
    )
    overtaken = Q(state=ActionState.APPLIED, ended_at__isnull=False) & ~Exists(under_way)
    ended = Action.objects.filter(Q(state__in=ENDED) | overtaken, pk__in=promised)
    return frozenset(ended.values_list("pk", flat=True))


def rows_of() -> Nodes:
    """Read all nodes but planned and retired ones; at most ten queries for any fleet.

    What bindings and reports together hold is not free, and a failed GPU is not there, so GPUs
    free are never too many, however old a report is (I04, I08). Labels are read only where a role
    selects by them.
    """
    found = list(_existing().values_list(*_NODE))
    used, failed = _used(found), _failed()
    rows = []
    for cluster, name, s2, s1, rack, slug, gpus, given, schedulable in found:
        full = f"{cluster}/{name}"
        working = max(0, (gpus or 0) - failed.get(full, 0))
        there = working if given is None else min(working, given)
        free = max(0, there - used.get(full, 0))
        usable = schedulable and gpus is not None and slug is not None
        rows.append(
            NodeRow(full, cluster, s2 or "", s1 or "", rack or "", slug or "", there, free, usable)
        )
    return Nodes(tuple(rows), _facts(rows))


def _failed() -> dict[str, int]:
    """Return how many GPUs of each node have failed; one query."""
    rows = (
        Gpu.objects.filter(health=Health.FAILED, missing_since=None)
        .order_by()
        .values_list("node__cluster__slug", "node__name")
        .annotate(count=Count("pk"))
    )
    return {f"{cluster}/{name}": count for cluster, name, count in rows}


def _used(found: Sequence[Sequence[Any]]) -> dict[str, int]:
    """Return the GPUs held of each node: those bound, and those of instances not bound there."""
    bound = (
        Binding.objects.filter(released_at=None)
        .order_by()
        .values_list("node__cluster__slug", "node__name")
        .annotate(held=Sum(end_of("upper") - end_of("lower")))
    )
    used = {f"{cluster}/{name}": gpus for cluster, name, gpus in bound}
    with connection.cursor() as cursor:
        cursor.execute(_UNBOUND)
        unbound = cursor.fetchall()
    if unbound:
        sizes, hardware = read_sizes(), _hardware(found)
        spelled = {name.lower(): name for name in (f"{row[0]}/{row[1]}" for row in found)}
        for service, cluster, role, _, node, part in unbound:
            one = _instance({"name": "", "role": role, "group": "", "state": "", "node": node})
            held = _taken_of(service, cluster, one, sizes, hardware)
            name = f"{cluster}/{part}".lower()
            name, gpus = spelled.get(name, name), held[name]
            used[name] = used.get(name, 0) + gpus
    return used


def _existing() -> Any:  # noqa: ANN401 - a query of nodes
    return Node.objects.exclude(lifecycle__in=(Lifecycle.PLANNED, Lifecycle.RETIRED)).order_by()


def _hardware(found: Iterable[Sequence[Any]]) -> dict[str, str]:
    """Return the hardware type of nodes by their name in small letters."""
    return {f"{row[0]}/{row[1]}".lower(): row[5] or "" for row in found}


def _seats(hardware: Mapping[str, str]) -> Iterator[_Seat]:
    """Yield what every instance holds, whether it is bound, reported, or both; four queries."""
    sizes = read_sizes()
    bound: dict[tuple[str, str], Holding] = {}
    promises: Counter[tuple[str, str]] = Counter()
    for holding in live():
        if holding.instance:
            bound[holding.service, holding.instance] = holding
            continue
        # Plans of different cycles may have used one name for two places.
        key = (holding.service, holding.place)
        promises[key] += 1
        name = holding.place if promises[key] == 1 else f"{holding.place} ({promises[key]})"
        yield _bound_seat(holding, name)
    for report in reports():
        for one in report.instances:
            if not one.nodes:
                continue
            nodes = _taken_of(report.service, report.cluster, one, sizes, hardware)
            known = bound.pop((report.service, one.name), None)
            is_up, group, since_s = one.state == UP, one.group, 0.0
            if known is not None:
                # Where it is bound what is bound counts; where it is besides, it holds more.
                nodes |= _nodes(known)
                group, since_s = group or known.group, known.bound_at.timestamp()
            yield _Seat(report.service, one.name, one.role, group, nodes, is_up, since_s)
    for holding in bound.values():
        yield _bound_seat(holding, holding.instance)


def _bound_seat(holding: Holding, name: str) -> _Seat:
    return _Seat(
        service=holding.service,
        name=name,
        role=holding.role,
        group=holding.group,
        nodes=_nodes(holding),
        is_up=holding.state == Binding.State.RUNNING,
        since_s=holding.bound_at.timestamp(),
    )


def _nodes(holding: Holding) -> dict[str, int]:
    held: dict[str, int] = {}
    for _, node, first, end in holding.pieces:
        name = f"{holding.cluster}/{node}".lower()
        held[name] = held.get(name, 0) + end - first
    return held


def _taken_of(
    service: str, cluster: str, one: Instance, sizes: Sizes, hardware: Mapping[str, str]
) -> dict[str, int]:
    """Return the GPUs an instance takes of each node by what its role takes."""
    nodes = [f"{cluster}/{node}".lower() for node in one.nodes]
    gpus = sizes.of(service, one.role, hardware.get(nodes[0], ""))
    return dict(zip(nodes, shares(gpus, len(nodes)), strict=True))


def _facts(rows: Iterable[NodeRow]) -> Facts:
    """Return what the arrays leave out: labels if a role selects by any, taints, who is barred."""
    labels: dict[str, Mapping[str, str]] = {}
    if RoleSpec.objects.exclude(select={}).exists():
        said = _existing().exclude(labels={}).values_list("cluster__slug", "name", "labels")
        labels = {f"{cluster}/{name}": own for cluster, name, own in said}
    said = _existing().exclude(taints=[]).values_list("cluster__slug", "name", "taints")
    taints = {f"{cluster}/{name}": frozenset(own) for cluster, name, own in said}
    barred, lost = ({}, frozenset[str]()) if all(row.usable for row in rows) else _barred()
    return Facts(labels=labels, taints=taints, barred=barred, lost=lost)


def _barred() -> tuple[dict[str, str], frozenset[str]]:
    """Return why nodes that may not be used may not, by their name, and which of them are lost.

    Lost are those that failed or are being emptied: a cordon moves nobody, and where a report is
    missing nobody knows.
    """
    known = Q(schedulable=True, gpus__isnull=False, hardware__isnull=False)
    states = ("lifecycle", "admin_state", "health", "reserved_for", "missing_since")
    rows = _existing().exclude(known).values_list("cluster__slug", "name", "gpus", *states)
    why: dict[tuple[Any, ...], str] = {}
    barred: dict[str, str] = {}
    lost: set[str] = set()
    for cluster, name, *facts in rows:
        key = tuple(facts)
        if key[2] in EMPTIED or key[3] == Health.FAILED:
            lost.add(f"{cluster}/{name}")
        if key not in why:
            why[key] = _why(Node(gpus=key[0], **dict(zip(states, key[1:], strict=True))))
        barred[f"{cluster}/{name}"] = why[key]
    return barred, frozenset(lost)


def _why(node: Node) -> str:
    """Return the first term that keeps new instances from a node, as it follows "is"."""
    said = {
        node.get_lifecycle_display(): node.lifecycle != Lifecycle.ACTIVE,
        node.get_admin_state_display(): node.admin_state != AdminState.IN_SERVICE,
        f"of {node.get_health_display()} health": node.health != Health.OK,
        f"reserved for {node.reserved_for}": bool(node.reserved_for),
        "no longer listed by its source": node.missing_since is not None,
        "without a known number of GPUs": node.gpus is None,
    }
    return next((text for text, holds in said.items() if holds), "of unknown hardware")


class Tenants(NamedTuple):
    """The services as placement knows them, and why others can't be read, by their slug."""

    readable: tuple[Tenant, ...]
    unreadable: Mapping[str, str]


def tenants_of(nodes: Nodes) -> Tenants:
    """Read every service as placement knows it; eight queries for any fleet.

    It holds the instances reported last together with what is bound and was not reported yet. One
    bad row makes its service unreadable and no other (S24).
    """
    hardware = {row.name.lower(): row.hardware for row in nodes.rows}
    spelled = {row.name.lower(): row.name for row in nodes.rows}
    seats: dict[str, list[_Seat]] = defaultdict(list)
    for seat in _seats(hardware):
        seats[seat.service].append(seat)
    roles = _roles()
    rows = Service.objects.order_by("slug").values_list(
        *("slug", "priority", "affinity_level", "affinity_required", "spread_level"),
        *("spread_domains", "policy__pd_ratio"),
    )
    readable, unreadable = [], {}
    for row in rows:
        slug = row[0]
        try:
            held = tuple(_held(seat, spelled) for seat in seats[slug])
            forms = {Role(need.role): (_form(need), need.minimum) for need in roles[slug]}
            tenant = _tenant(row, forms, held)
            wrong = fault_of(tenant)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
            unreadable[slug] = clean(f"{type(fault).__name__}: {fault}")
            continue
        if wrong:
            unreadable[slug] = wrong
        else:
            readable.append(tenant)
    return Tenants(tuple(readable), unreadable)


def _tenant(
    row: Sequence[Any], forms: Mapping[Role, tuple[RoleForm, int]], held: tuple[Held, ...]
) -> Tenant:
    slug, priority, level, required, spread, domains, ratio = row
    return Tenant(
        name=slug,
        roles={role: form for role, (form, _) in forms.items()},
        held=held,
        priority=priority,
        affinity=Affinity(LEVELS[level], required),
        pd_ratio=ratio,
        spread=Spread(LEVELS[spread], domains) if spread else None,
        least=Instances(*(forms[role][1] if role in forms else 0 for role in Role)),
    )


def _held(seat: _Seat, spelled: Mapping[str, str]) -> Held:
    return Held(
        name=seat.name,
        role=ROLES[seat.role],
        group=seat.group,
        nodes=tuple((spelled.get(node, node), gpus) for node, gpus in seat.nodes.items()),
        since_s=seat.since_s,
        is_up=seat.is_up,
    )


class _RoleRow(NamedTuple):
    """What is configured of one role; ``further`` are its alternatives by rank.

    ``parts`` are name, pods, hardware and GPUs of a pod, of a role that has any.
    """

    role: str
    hardware: str
    gpus: int
    nodes: int
    select: Mapping[str, str | list[str]]
    tolerate: Sequence[str]
    level: str
    minimum: int
    further: Sequence[tuple[str, int, float]]
    parts: Sequence[tuple[str, int, str, int]]


def _roles() -> dict[str, list[_RoleRow]]:
    """Return the roles of each service; three queries."""
    further: dict[Any, list[tuple[str, int, float]]] = defaultdict(list)
    for role, slug, gpus, throughput in RoleHardware.objects.order_by("rank").values_list(
        "role", "hardware__slug", "gpus_per_instance", "throughput"
    ):
        further[role].append((slug, gpus, throughput))
    parts = _parts()
    roles: dict[str, list[_RoleRow]] = defaultdict(list)
    for pk, service, *row in RoleSpec.objects.order_by().values_list(
        *("pk", "service__slug", "role", "hardware__slug", "gpus_per_instance"),
        *("nodes_per_instance", "select", "tolerate", "parts_level", "minimum"),
    ):
        roles[service].append(_RoleRow._make((*row, further[pk], parts[pk])))
    return roles


def _form(row: _RoleRow) -> RoleForm:
    need = RoleNeed(
        hardware=(Choice(row.hardware, row.gpus), *(Choice(*choice) for choice in row.further)),
        nodes=row.nodes,
        select={name: _values(wanted) for name, wanted in row.select.items()},
        tolerate=frozenset(row.tolerate),
    )
    if not row.parts:
        return RoleForm(need)
    return RoleForm(
        parts=tuple(
            PartNeed(name, pods, replace(need, hardware=(Choice(slug, gpus),), nodes=1))
            for name, pods, slug, gpus in row.parts
        ),
        level=LEVELS[row.level],
    )


def _parts() -> dict[Any, list[tuple[str, int, str, int]]]:
    """Return the parts of roles that have any: name, pods and what one pod takes; one query."""
    found: dict[Any, list[tuple[str, int, str, int]]] = defaultdict(list)
    for role, name, pods, slug, gpus in RolePart.objects.order_by("pk").values_list(
        "role", "name", "pods", "hardware__slug", "gpus_per_pod"
    ):
        found[role].append((name, pods, slug, gpus))
    return found


def _values(wanted: str | list[str]) -> tuple[str, ...]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)
