"""Hardware types: the list, and the page of one with everything that is of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, Q, Sum

from controller.models import AuditEvent, PoolSample
from controller.selectors.fleet_lines import Line, read_lines
from controller.selectors.node_page import history_of
from controller.selectors.node_use import node_uses
from controller.selectors.profiles import readable
from controller.simulator.profiles import PROFILES, Profile
from inventory.gpus import Parts, total_of
from inventory.models import (
    AdminState,
    HardwareAlias,
    HardwareType,
    Health,
    Node,
    RoleSpec,
)
from inventory.selectors.hardware import merge_refusal, users_of
from inventory.services.hardware import holder_of

MOST_ODD: Final = 20
_FACTS: Final = (
    ("vendor", "Vendor", ""),
    ("model", "Model", ""),
    ("form", "Form", ""),
    ("u_height", "Height", "U"),
    ("gpu_model", "GPU model", ""),
    ("gpus_per_node", "GPUs per node", ""),
    ("gpu_arch", "GPU architecture", ""),
    ("mem_bw_gb_s", "Memory bandwidth per GPU", "GB/s"),
    ("bf16_tflops", "Dense BF16 per GPU", "TFLOPS"),
    ("nic_count", "NICs", ""),
    ("nic_gbps", "Speed per NIC", "Gb/s"),
    ("cpu", "CPU", ""),
    ("ram_gib", "RAM", "GiB"),
    ("cost_per_gpu_hour", "Cost per GPU-hour", ""),
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One type in the list: how many nodes and GPUs there are of it, and who uses it."""

    row: HardwareType
    nodes: int
    gpus: int
    uncounted: int
    services: tuple[str, ...]
    words: tuple[str, ...]


def read_types() -> tuple[Listed, ...]:
    """Read every type; four queries for any fleet."""
    counted = {
        pk: (nodes, gpus or 0, nodes - known)
        for pk, nodes, known, gpus in Node.objects.order_by()
        .values_list("hardware")
        .annotate(nodes=Count("pk"), known=Count("gpus"), sum=Sum("gpus"))
    }
    services: dict[UUID, list[str]] = defaultdict(list)
    for pk, slug in RoleSpec.objects.order_by("service__slug").values_list(
        "hardware", "service__slug"
    ):
        services[pk].append(slug)
    words: dict[UUID, list[str]] = defaultdict(list)
    for pk, text in HardwareAlias.objects.values_list("hardware", "text"):
        words[pk].append(text)
    return tuple(
        Listed(
            row,
            *counted.get(row.pk, (0, 0, 0)),
            services=tuple(dict.fromkeys(services[row.pk])),
            words=tuple(words[row.pk]),
        )
        for row in HardwareType.objects.all()
    )


@dataclass(frozen=True, slots=True)
class Where:
    """The nodes of a type in one cluster, by state."""

    cluster: str
    hardware: str
    nodes: int
    takes: int
    states: Mapping[str, int]
    unwell: int
    missing: int
    parts: Parts

    @property
    def links(self) -> tuple[tuple[str, int, str], ...]:
        """Each count with its word and the query of the nodes that make it up."""
        told = [
            ("nodes", self.nodes, self._query()),
            ("take instances", self.takes, self._query(schedulable="yes")),
            *(
                (AdminState(state).label, self.states.get(state, 0), self._query(state=state))
                for state in (AdminState.CORDONED, AdminState.DRAINING, AdminState.MAINTENANCE)
            ),
            ("not healthy", self.unwell, self._unwell()),
            ("missing", self.missing, self._query(listed="no")),
        ]
        return tuple(told)

    def _unwell(self) -> str:
        health = [("health", state.value) for state in Health if state != Health.OK]
        return urlencode([("cluster", self.cluster), ("hardware", self.hardware), *health])

    def _query(self, **also: str) -> str:
        return urlencode({"cluster": self.cluster, "hardware": self.hardware} | also)


@dataclass(frozen=True, slots=True)
class HardwarePage:
    """Everything about one type."""

    row: HardwareType
    words: tuple[str, ...]
    clusters: tuple[Where, ...]
    odd: tuple[Line, ...]
    further_odd: int
    roles: Sequence[RoleSpec]
    profiles: tuple[Profile, ...]
    others: Sequence[HardwareType]
    used_by: tuple[str, ...]
    is_measured: bool
    merge_refusal: str
    history: Sequence[AuditEvent]

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What is known of it, in words with units."""
        told = []
        for name, word, unit in _FACTS:
            value = getattr(self.row, name)
            if value not in {None, ""}:
                text = f"{value:,g}" if isinstance(value, float) else str(value)
                told.append((word, f"{text} {unit}".strip()))
        if self.row.gpu_memory_gib is not None:
            told.append(("Memory per GPU", f"{self.row.gpu_memory_gib:,.1f} GiB"))
        if self.row.nvlink:
            told.append(("NVLink", self.row.get_nvlink_display()))
        return tuple(told)

    @property
    def gpus(self) -> int:
        """GPUs of all its nodes that were counted."""
        return sum(one.parts.total for one in self.clusters)


def find(slug: str) -> HardwareType | None:
    """Return a type by its slug, or by a word imports call it by."""
    return holder_of(slug)


def read_type(row: HardwareType, now: datetime) -> HardwarePage:
    """Read the page of a type; eleven queries however much is of it."""
    lines = read_lines(node_uses(now), Q(hardware=row))
    odd = [line for line in lines if is_odd(row, line)]
    words = tuple(row.aliases.values_list("text", flat=True))
    roles = list(
        RoleSpec.objects.filter(hardware=row)
        .select_related("service__cluster")
        .order_by("service__slug", "-role")
    )
    return HardwarePage(
        row=row,
        words=words,
        clusters=_where(row, lines),
        odd=tuple(odd[:MOST_ODD]),
        further_odd=max(0, len(odd) - MOST_ODD),
        roles=roles,
        profiles=_profiles(row, words, roles),
        others=list(HardwareType.objects.exclude(pk=row.pk)),
        used_by=users_of(row),
        is_measured=PoolSample.objects.filter(hardware=row).exists(),
        merge_refusal=merge_refusal(row),
        history=read_history(row),
    )


def read_history(row: HardwareType) -> Sequence[AuditEvent]:
    """Return what people changed of a type, the newest first."""
    return history_of("hardwaretype", row.pk)


def is_odd(row: HardwareType, line: Line) -> bool:
    """Return whether a node has another number of GPUs than its type says."""
    return None not in {row.gpus_per_node, line.facts.gpus} and (
        row.gpus_per_node != line.facts.gpus
    )


def _where(row: HardwareType, lines: Sequence[Line]) -> tuple[Where, ...]:
    found: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        found[line.cluster].append(line)
    return tuple(
        Where(
            cluster=cluster,
            hardware=row.slug,
            nodes=len(own),
            takes=sum(line.schedulable for line in own),
            states={
                state: sum(line.facts.admin_state == state for line in own) for state in AdminState
            },
            unwell=sum(line.facts.health != Health.OK for line in own),
            missing=sum(line.is_missing for line in own),
            parts=total_of(line.parts for line in own),
        )
        for cluster, own in sorted(found.items())
    )


def _profiles(
    row: HardwareType, words: Sequence[str], roles: Sequence[RoleSpec]
) -> tuple[Profile, ...]:
    """Return the engine profiles measured on a type, by any of its names, and those in use."""
    names = {row.slug.lower(), row.gpu_model.lower(), *(word.lower() for word in words)}
    kept = readable(None)
    used = {role.profile for role in roles}
    return tuple(
        profile
        for _, profile in sorted({**kept, **PROFILES}.items())
        if profile.hardware.lower() in names or profile.name in used
    )


@dataclass(frozen=True, slots=True)
class MergePreview:
    """What a merge would do, before anybody agreed to it."""

    source: HardwareType
    target: HardwareType
    nodes: int
    gpus: int
    uncounted: int
    clusters: tuple[str, ...]
    odd: int
    services: tuple[str, ...]
    words: tuple[str, ...]
    differing: tuple[tuple[str, str, str], ...]
    refusal: str


def preview_merge(source: HardwareType, target: HardwareType) -> MergePreview:
    """Return what would move from one type to the other; five queries."""
    rows = list(Node.objects.filter(hardware=source).values_list("cluster__slug", "gpus"))
    counts = [gpus for _, gpus in rows if gpus is not None]
    roles = RoleSpec.objects.filter(hardware=source).order_by("service__slug")
    services = dict.fromkeys(roles.values_list("service__slug", flat=True))
    words = [source.slug, *source.aliases.values_list("text", flat=True)]
    return MergePreview(
        source=source,
        target=target,
        nodes=len(rows),
        gpus=sum(counts),
        uncounted=len(rows) - len(counts),
        clusters=tuple(sorted({cluster for cluster, _ in rows})),
        odd=sum(target.gpus_per_node not in {None, count} for count in counts),
        services=tuple(services),
        words=tuple(dict.fromkeys(words)),
        differing=_differing(source, target),
        refusal=merge_refusal(source),
    )


def _differing(source: HardwareType, target: HardwareType) -> tuple[tuple[str, str, str], ...]:
    """Return the facts that both have and that are not the same: word, old, new."""
    pairs = ((word, getattr(source, name), getattr(target, name)) for name, word, _ in _FACTS)
    return tuple(
        (word, str(old), str(new))
        for word, old, new in pairs
        if old not in {None, ""} and new not in {None, ""} and old != new
    )
