"""Workloads as rows: which objects of a cluster hold the instances of a service."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from controller.core.kube.kinds import KINDS, Gate, WorkloadKind
from controller.core.kube.values import WorkloadRef
from controller.core.types import Role
from inventory.models import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from inventory.models import Cluster, Service

log = structlog.get_logger(__name__)


def ref_of(row: Workload) -> WorkloadRef:
    """Return a workload as a value. Raises ``ValueError`` for a row gone wrong."""
    kind = WorkloadKind(row.kind)
    labels = row.selector.items() if isinstance(row.selector, dict) else [("", None)]
    if not all(isinstance(value, str) for _, value in labels):
        raise ValueError(f"the selector of {row} is no mapping of labels")
    return WorkloadRef(
        role=Role(row.role),
        kind=kind,
        api=row.api or KINDS[kind].api,
        plural=row.plural or KINDS[kind].plural,
        namespace=row.namespace,
        name=row.name,
        part=row.part,
        group=row.group,
        selector=row.selector,
        gate=Gate(row.gate),
    )


def refs_of(service: Service) -> list[WorkloadRef]:
    """Return the workloads of one service; one query."""
    return [ref_of(row) for row in Workload.objects.filter(service=service)]


def in_groups(service: Service, names: Iterable[str]) -> bool:
    """Return whether one of these instances is several pods; one query."""
    kind = WorkloadKind.LEADER_WORKER_SET
    groups = Workload.objects.filter(service=service, kind=kind).values_list("name", flat=True)
    ours = tuple(f"{name}-" for name in groups)
    return any(name.startswith(ours) for name in names)


def refs_in(cluster: Cluster) -> Mapping[str, Sequence[WorkloadRef]]:
    """Return the workloads of each service in a cluster by slug; one query.

    A service with a row gone wrong is left out, as its other workloads are not all it has (S24).
    """
    found: dict[str, list[WorkloadRef]] = defaultdict(list)
    wrong: set[str] = set()
    rows = Workload.objects.filter(service__cluster=cluster).select_related("service")
    for row in rows.order_by("service__slug", "-role", "group", "name"):
        slug = row.service.slug
        try:
            found[slug].append(ref_of(row))
        except ValueError as fault:
            wrong.add(slug)
            log.warning("a workload can't be used", service=slug, fault=str(fault))
    return {slug: refs for slug, refs in found.items() if slug not in wrong}
