"""The page of one node: where it is, what it is made of, what runs there, what happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Q

from controller.models import AuditEvent
from controller.selectors.fleet_lines import Line, read_lines
from controller.selectors.node_use import Running, node_uses, running
from inventory.models import Gpu, HealthEvent, Link, Nic, Node, Reservation
from inventory.transitions import TRANSITIONS, NodeChange

HISTORY: Final = 20
EVENTS: Final = 50
_HELD: Final = {"admin_state": "state", "u_position": "rack unit"}
UNDO: Final = timedelta(seconds=60)
"""How long one's own change of labels is offered to be taken back."""
_TOLD: Final = (
    ("serial", "Serial"),
    ("asset_tag", "Asset tag"),
    ("provider_id", "Provider id"),
    ("k8s_uid", "Kubernetes uid"),
    ("instance_type", "Instance type"),
    ("driver", "Driver"),
    ("cuda", "CUDA"),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One transition as a button: why it can't be done now, or nothing."""

    change: NodeChange
    refusal: str


@dataclass(frozen=True, slots=True)
class NodePage:
    """Everything about one node."""

    node: Node
    line: Line
    gpus: Sequence[Gpu]
    nics: Sequence[Nic]
    links: Sequence[Link]
    events: Sequence[HealthEvent]
    reservation: Reservation | None
    instances: Sequence[Running]
    history: Sequence[AuditEvent]

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The transitions, those that can't be done with the reason."""
        node = self.node
        return tuple(
            Choice(one, one.refusal(node.admin_state, node.lifecycle, node.reserved_for))
            for one in (NodeChange(name) for name in TRANSITIONS)
        )

    @property
    def labels_text(self) -> str:
        """Its labels as a person edits them, one a line."""
        return "\n".join(f"{key}={value}" for key, value in sorted(self.node.labels.items()))

    def undo_for(self, name: str, now: datetime) -> str:
        """Return the labels that a person changed a moment ago, as text; empty where none."""
        last = next(iter(self.history), None)
        if last is None or last.verb != "labelled" or last.actor != name:
            return ""
        before = last.before.get("labels") or {}
        recent = now - last.at < UNDO and last.after.get("labels") == self.node.labels
        text = "\n".join(f"{key}={value}" for key, value in sorted(before.items()))
        return (text or ",") if recent else ""

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What it is called elsewhere and what it runs, as far as anybody said."""
        told = ((word, str(getattr(self.node, field))) for field, word in _TOLD)
        return tuple((word, value) for word, value in told if value)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Where its GPUs count, without the zeros."""
        parts = self.line.parts
        words = ("in_use", "free", "reserved", "maintenance", "unhealthy", "unknown")
        counted = ((word.replace("_", " "), getattr(parts, word)) for word in words)
        return tuple((word, count) for word, count in counted if count)

    @property
    def held(self) -> tuple[tuple[str, str], ...]:
        """The fields a person holds, which imports leave, each with its word."""
        names = sorted(self.node.managed_fields)
        return tuple((name, _HELD.get(name, name.replace("_", " "))) for name in names)

    @property
    def open_events(self) -> int:
        """How many health events have not ended."""
        return sum(event.ended is None for event in self.events)

    @property
    def record(self) -> str:
        """The row as JSON, for a report."""
        fields = {
            field.attname: getattr(self.node, field.attname)
            for field in Node._meta.concrete_fields  # noqa: SLF001 - public by custom
        }
        return json.dumps(fields, indent=2, ensure_ascii=False, default=str)


def find(cluster: str, name: str) -> Node | None:
    """Return a node by the names in its address, however they are written."""
    rows = Node.objects.select_related(
        "cluster__region", "hardware", "rack__site", "nvlink_domain", "s1_domain", "s2_domain"
    )
    return rows.filter(cluster__slug__iexact=cluster, name__iexact=name).first()


def read_node(node: Node, now: datetime) -> NodePage:
    """Read the page of a node; as many queries for one GPU as for seventy."""
    line = read_lines(node_uses(now), Q(pk=node.pk))[0]
    place = (node.cluster.slug, node.name.lower())
    own = Q(node=node) | Q(gpu__node=node) | Q(nic__node=node)
    events = HealthEvent.objects.filter(own).select_related("gpu", "nic")
    held = Reservation.objects.filter(held__node=node, begins__lte=now)
    return NodePage(
        node=node,
        line=line,
        gpus=list(node.gpu_rows.order_by("index")),
        nics=list(node.nics.order_by("rail", "name")),
        links=list(node.links.select_related("switch__cluster").order_by("switch__name", "port")),
        events=sorted(events[:EVENTS], key=lambda event: event.ended is not None),
        reservation=held.filter(Q(ends=None) | Q(ends__gt=now)).first(),
        instances=[one for one in running(now) if one.is_on({place})],
        history=history_of("node", node.pk),
    )


def history_of(kind: str, pk: UUID) -> Sequence[AuditEvent]:
    """Return the newest audit events of an object."""
    found = AuditEvent.objects.filter(object_type=kind, object_id=str(pk))
    return list(found[:HISTORY])
