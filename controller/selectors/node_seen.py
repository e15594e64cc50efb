"""Nodes as the pages about places show them: state in one word, GPUs by what they do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce

from controller.core.phrases import plural
from controller.selectors.node_use import NodeUses, Use
from inventory.gpus import NodeFacts, Parts, parts_of, total_of
from inventory.models import Gpu, HealthEvent, Node
from inventory.models.base import AdminState, Health, Lifecycle

FIELDS: Final = (
    "pk",
    "name",
    "cluster__slug",
    "gpus",
    "gpus_allocatable",
    "hardware__slug",
    "hardware__gpu_model",
    "hardware__nvlink",
    "instance_type",
    "rack_id",
    "rack__name",
    "u_position",
    "u_height",
    "face",
    "s1_domain_id",
    "s2_domain_id",
    "nvlink_domain__name",
    "lifecycle",
    "admin_state",
    "admin_reason",
    "health",
    "health_reason",
    "reserved_for",
    "missing_since",
)
NOT_THERE: Final = frozenset({Lifecycle.PLANNED, Lifecycle.RETIRED})


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """One node: where it is, how it is, and who holds its GPUs.

    ``hardware`` is its GPU model, or what is known of its type; empty when nothing is.
    ``nvlink_reach`` is how far its GPUs share NVLink: none, node, rack, or unknown when empty;
    ``failed`` are the GPUs that are broken one by one, ``events`` the health events still open.
    """

    pk: UUID
    name: str
    cluster: str
    gpus: int | None
    hardware: str
    hardware_slug: str
    nvlink_reach: str
    rack: UUID | None
    rack_name: str
    u_position: int | None
    u_height: int
    face: str
    s1: int | None
    s2: int | None
    nvlink: str
    tone: str
    word: str
    why: str
    parts: Parts
    uses: tuple[Use, ...] = ()
    failed: int = 0
    events: int = 0

    @property
    def address(self) -> str:
        """The page of the node."""
        return f"/fleet/nodes/{self.cluster}/{self.name}/"

    @property
    def bad(self) -> bool:
        """Whether it is unwell or silent, whatever was planned with it."""
        return self.tone in {"crit", "warn"} or self.word in {"unknown", "missing"}

    @property
    def services(self) -> tuple[str, ...]:
        """The services with instances here."""
        return tuple(sorted({use.service for use in self.uses}))

    def held_by(self, service: str) -> int:
        """Return how many GPUs instances of a service hold here."""
        return sum(use.gpus for use in self.uses if use.service == service)


def seen_nodes(found: QuerySet[Node], uses: NodeUses) -> tuple[NodeSeen, ...]:
    """Return the nodes of a query that are there, by name; three queries for any number.

    Planned and retired ones are left out: no GPU of theirs counts.
    """
    found = found.exclude(lifecycle__in=NOT_THERE)
    within = found.order_by().values("pk")
    failed = dict(
        Gpu.objects.filter(node__in=within, missing_since=None, health=Health.FAILED)
        .values_list("node")
        .annotate(count=Count("pk"))
    )
    events = dict(
        HealthEvent.objects.filter(
            Q(node__in=within) | Q(gpu__node__in=within) | Q(nic__node__in=within), ended=None
        )
        .exclude(severity=HealthEvent.Severity.INFO)
        .order_by()
        .annotate(target=Coalesce("node", "gpu__node", "nic__node"))
        .values_list("target")
        .annotate(count=Count("pk"))
    )
    return tuple(
        _seen(row, uses, failed.get(row[0], 0), events.get(row[0], 0))
        for row in found.order_by("name").values_list(*FIELDS)
    )


def _seen(row: tuple[Any, ...], uses: NodeUses, failed: int, events: int) -> NodeSeen:
    given: dict[str, Any] = dict(zip(FIELDS, row, strict=True))
    cluster, name = given["cluster__slug"], given["name"]
    facts = NodeFacts(
        gpus=given["gpus"],
        allocatable=given["gpus_allocatable"],
        failed=failed,
        lifecycle=given["lifecycle"],
        admin_state=given["admin_state"],
        health=given["health"],
        reserved=bool(given["reserved_for"]),
        missing_since=given["missing_since"],
    )
    tone, word, why = _state(facts, given, failed, events)
    hardware = given["hardware__gpu_model"] or given["hardware__slug"] or given["instance_type"]
    return NodeSeen(
        pk=given["pk"],
        name=name,
        cluster=cluster,
        gpus=facts.gpus,
        hardware=hardware or "",
        hardware_slug=given["hardware__slug"] or "",
        nvlink_reach=given["hardware__nvlink"] or "",
        rack=given["rack_id"],
        rack_name=given["rack__name"] or "",
        u_position=given["u_position"],
        u_height=given["u_height"],
        face=given["face"],
        s1=given["s1_domain_id"],
        s2=given["s2_domain_id"],
        nvlink=given["nvlink_domain__name"] or "",
        tone=tone,
        word=word,
        why=why,
        parts=parts_of(facts, uses.gpus(cluster, name), is_least=not uses.is_whole(cluster)),
        uses=uses.on(cluster, name),
        failed=failed,
        events=events,
    )


def _state(
    facts: NodeFacts, given: Mapping[str, Any], failed: int, events: int
) -> tuple[str, str, str]:
    """Return tone, word and reason of the worst that is true of a node."""
    reason = given["health_reason"]
    told = given["admin_reason"]
    admin = AdminState(facts.admin_state)
    states = (
        (facts.missing_since is not None, "muted", "missing", "its source no longer lists it"),
        (facts.health == Health.FAILED, "crit", "failed", reason),
        (facts.health == Health.DEGRADED, "warn", "degraded", reason),
        (facts.health == Health.UNKNOWN, "muted", "unknown", reason),
        (failed > 0, "warn", "GPU failed", f"{failed} of its GPUs"),
        (events > 0, "warn", "health event", plural(events, "open event")),
        (admin != AdminState.IN_SERVICE, "muted", str(admin.label), told),
        (facts.lifecycle != Lifecycle.ACTIVE, "muted", facts.lifecycle, ""),
        (facts.reserved, "busy", "reserved", f"for {given['reserved_for']}"),
    )
    found = next(((tone, word, why) for holds, tone, word, why in states if holds), None)
    return found or ("ok", "ok", "")


def parts_together(nodes: Iterable[NodeSeen]) -> Parts:
    """Return the GPUs of nodes by what they do."""
    return total_of(node.parts for node in nodes)
