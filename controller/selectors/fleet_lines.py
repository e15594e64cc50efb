"""Nodes as lines of a table: each read once, with who holds its GPUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q

from controller.selectors.node_use import NodeUses, Use
from inventory.gpus import NodeFacts, Parts, contradiction, parts_of
from inventory.models import AdminState, Gpu, Health, Lifecycle, Node


@dataclass(frozen=True, slots=True)
class Line:
    """One node as the table shows it; ``used`` is ``None`` where nobody reports its use.

    ``is_least`` says that it is the least that is held: a service there is not heard of.
    """

    pk: UUID
    version: int
    cluster: str
    name: str
    s1: str
    s2: str
    rack: str
    rack_pk: UUID | None
    u_position: int | None
    hardware: str
    gpu_model: str
    facts: NodeFacts
    used: int | None
    is_least: bool
    uses: tuple[Use, ...]
    parts: Parts
    health_reason: str
    admin_reason: str
    reserved_for: str
    last_seen: datetime | None
    labels: Mapping[str, str]
    serial: str
    schedulable: bool
    why_not: tuple[str, ...]

    @property
    def address(self) -> str:
        """The page of the node."""
        return f"/fleet/nodes/{self.cluster}/{self.name}/"

    @property
    def services(self) -> tuple[str, ...]:
        """The services with instances on it."""
        return tuple(sorted({use.service for use in self.uses}))

    @property
    def use(self) -> str:
        """How much of it instances hold, in one word: empty, part, full, or unknown."""
        if self.used is None:
            return "unknown"
        if not self.used:
            return "empty"
        return "full" if self.facts.gpus is not None and self.used >= self.facts.gpus else "part"

    @property
    def is_open(self) -> bool:
        """Whether more of it may be held than is known of."""
        return self.used is None or self.is_least

    @property
    def use_unknown(self) -> int:
        """GPUs that would be free if somebody said that nothing else runs there."""
        return parts_of(self.facts, self.used or 0).free if self.is_open else 0

    @property
    def out(self) -> int:
        """GPUs that nobody can be given now: kept, in maintenance, unwell or silent."""
        parts = self.parts
        return parts.reserved + parts.maintenance + parts.unhealthy + parts.unknown

    @property
    def odd(self) -> str:
        """How its counts contradict each other, in words; empty where they don't."""
        return contradiction(self.facts, self.used)

    @property
    def health(self) -> str:
        """What is observed of it."""
        return Health(self.facts.health).label

    @property
    def health_icon(self) -> str:
        """The icon and colour of its health."""
        return {"ok": "ok", "degraded": "warn", "failed": "crit"}.get(self.facts.health, "muted")

    @property
    def admin_state(self) -> str:
        """Whether people let it be used."""
        return AdminState(self.facts.admin_state).label

    @property
    def lifecycle(self) -> str:
        """What people plan with it."""
        return Lifecycle(self.facts.lifecycle).label

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is unwell, and why people keep it out of service."""
        out = self.facts.admin_state != AdminState.IN_SERVICE
        return tuple(filter(None, (self.health_reason, self.admin_reason if out else "")))

    @property
    def is_missing(self) -> bool:
        """Whether its source no longer lists it."""
        return self.facts.missing_since is not None


_FIELDS: Final = (
    "pk",
    "version",
    "cluster__slug",
    "name",
    "s1_domain__name",
    "s2_domain__name",
    "rack__name",
    "rack_id",
    "u_position",
    "hardware__slug",
    "hardware__gpu_model",
    "gpus",
    "gpus_allocatable",
    "lifecycle",
    "admin_state",
    "health",
    "reserved_for",
    "missing_since",
    "health_reason",
    "admin_reason",
    "last_seen",
    "labels",
    "serial",
    "schedulable",
)


def read_lines(uses: NodeUses, narrowed: Q | None = None) -> list[Line]:
    """Read nodes as lines, by cluster and name; two queries."""
    rows = Node.objects.filter(narrowed or Q()).order_by("cluster__slug", "name")
    failed = dict(
        Gpu.objects.filter(health=Health.FAILED, missing_since=None)
        .values_list("node")
        .annotate(count=Count("pk"))
    )
    return [_line(row, failed, uses) for row in rows.values(*_FIELDS).iterator(5_000)]


def _line(row: Mapping[str, Any], failed: Mapping[UUID, int], uses: NodeUses) -> Line:
    cluster, name = row["cluster__slug"], row["name"]
    used = uses.gpus(cluster, name)
    is_least = used is not None and not uses.is_whole(cluster)
    facts = NodeFacts(
        gpus=row["gpus"],
        allocatable=row["gpus_allocatable"],
        failed=failed.get(row["pk"], 0),
        lifecycle=row["lifecycle"],
        admin_state=row["admin_state"],
        health=row["health"],
        reserved=bool(row["reserved_for"]),
        missing_since=row["missing_since"],
    )
    return Line(
        pk=row["pk"],
        version=row["version"],
        cluster=cluster,
        name=name,
        s1=row["s1_domain__name"] or "",
        s2=row["s2_domain__name"] or "",
        rack=row["rack__name"] or "",
        rack_pk=row["rack_id"],
        u_position=row["u_position"],
        hardware=row["hardware__slug"] or "",
        gpu_model=row["hardware__gpu_model"] or row["hardware__slug"] or "",
        facts=facts,
        used=used,
        is_least=is_least,
        uses=uses.on(cluster, name),
        parts=parts_of(facts, used, is_least=is_least),
        health_reason=row["health_reason"],
        admin_reason=row["admin_reason"],
        reserved_for=row["reserved_for"],
        last_seen=row["last_seen"],
        labels=row["labels"],
        serial=row["serial"],
        schedulable=row["schedulable"],
        why_not=() if row["schedulable"] else why_not(facts, row["reserved_for"]),
    )


def open_parts(lines: Iterable[Line]) -> frozenset[str]:
    """Return which of ``in_use`` and ``free`` are only the least there may be of nodes.

    Where such a count is 0 nothing is known of it: unknown is not zero.
    """
    found: set[str] = set()
    for line in lines:
        if line.facts.exists and line.is_open:
            if line.facts.gpus is None or line.parts.in_use < line.facts.gpus:
                found.add("in_use")
            if line.use_unknown:
                found.add("free")
    return frozenset(found)


def why_not(facts: NodeFacts, reserved_for: str) -> tuple[str, ...]:
    """Return which terms keep new instances away, in words."""
    node = Node(
        lifecycle=facts.lifecycle,
        admin_state=facts.admin_state,
        health=facts.health,
        reserved_for=reserved_for,
        missing_since=facts.missing_since,
    )
    return node.why_not_schedulable
