"""Hardware types as people keep them: facts, words of imports, two that are one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Lower, Now

from inventory.models import (
    HardwareAlias,
    HardwareType,
    InventoryVersion,
    Node,
    RoleHardware,
    RolePart,
    RoleSpec,
)
from inventory.services.domains import derive_domains
from inventory.services.locks import lock_for_edit
from inventory.services.versions import stamp

FACTS: Final = (
    *("vendor", "model", "form", "u_height", "gpu_model", "gpus_per_node", "gpu_memory_mib"),
    *("gpu_arch", "nvlink", "nic_count", "nic_gbps", "cpu", "ram_gib", "mem_bw_gb_s"),
    *("bf16_tflops", "cost_per_gpu_hour", "source"),
)
"""What people may change of a type; its slug is its address and stays."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge moved: nodes and roles by count, words, and the clusters it touched."""

    nodes: int
    roles: int
    words: tuple[str, ...]
    clusters: tuple[str, ...]
    inventory_version: int


def edit(
    pk: UUID, values: Mapping[str, Any], *, seen: int, by: str
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Write facts of a type whose version is ``seen``; else returns ``None``.

    Returns what was changed as it was and as it is. Nodes of the type are not rewritten.
    """
    with transaction.atomic():
        lock_for_edit()
        row = HardwareType.objects.select_for_update().get(pk=pk)
        if row.version != seen:
            return None
        changed = {name: values[name] for name in FACTS if getattr(row, name) != values[name]}
        before = {name: getattr(row, name) for name in changed}
        if changed:
            HardwareType.objects.filter(pk=pk).update(
                **changed, version=F("version") + 1, updated=Now()
            )
            version = stamp(InventoryVersion.Cause.EDIT, by, counts={"hardware types changed": 1})
            if "gpu_model" in changed:
                derive_domains(_clusters(pk), version)
    return before, changed


def holder_of(word: str) -> HardwareType | None:
    """Return the type that imports mean by a word, be it its slug or an alias."""
    named = HardwareType.objects.filter(slug__iexact=word).first()
    return named or HardwareType.objects.filter(aliases__text__iexact=word).first()


def add_word(pk: UUID, word: str, *, by: str) -> int:
    """Let imports call a type by a word; the word must be free. Returns the inventory version."""
    HardwareAlias.objects.create(hardware_id=pk, text=word)
    return _reworded(pk, by)


def remove_word(pk: UUID, word: str, *, by: str) -> bool:
    """Let imports call a type by a word no longer; returns whether they did."""
    gone, _ = HardwareAlias.objects.filter(hardware_id=pk, text=word).delete()
    if gone:
        _reworded(pk, by)
    return bool(gone)


def _reworded(pk: UUID, by: str) -> int:
    HardwareType.objects.filter(pk=pk).update(version=F("version") + 1, updated=Now())
    return stamp(InventoryVersion.Cause.EDIT, by, counts={"hardware types changed": 1})


def merge(source: HardwareType, target: HardwareType, *, by: str) -> Merged:
    """Move nodes, roles and words of one type to another, and remove it.

    The removed type's slug stays a word for the other, so that imports that use it mean that.
    Call it inside a transaction that holds both rows.
    """
    clusters = _clusters(source.pk)
    step = {"version": F("version") + 1, "updated": Now()}
    nodes = Node.objects.filter(hardware=source).update(hardware=target, **step)
    roles = RoleSpec.objects.filter(hardware=source).update(hardware=target, **step)
    RolePart.objects.filter(hardware=source).update(hardware=target)
    others = RoleHardware.objects.filter(hardware=source)
    others.filter(role__alternatives__hardware=target).delete()
    others.update(hardware=target)
    RoleHardware.objects.filter(hardware=target, role__hardware=target).delete()
    HardwareAlias.objects.filter(hardware=source).update(hardware=target)
    known = set(
        HardwareAlias.objects.filter(hardware=target)
        .annotate(low=Lower("text"))
        .values_list("low", flat=True)
    )
    if source.slug.lower() not in known:
        HardwareAlias.objects.create(hardware=target, text=source.slug)
    HardwareType.objects.filter(pk=target.pk).update(**step)
    source.delete()
    version = stamp(
        InventoryVersion.Cause.EDIT,
        by,
        counts={"nodes changed": nodes, "hardware types merged": 1},
    )
    derive_domains(clusters, version)
    words = HardwareAlias.objects.filter(hardware=target).values_list("text", flat=True)
    return Merged(nodes, roles, tuple(words), clusters, version)


def remove(row: HardwareType, *, by: str) -> int:
    """Remove a type that nothing uses; returns the inventory version."""
    row.delete()
    return stamp(InventoryVersion.Cause.EDIT, by, counts={"hardware types removed": 1})


def _clusters(pk: UUID) -> tuple[str, ...]:
    slugs = Node.objects.filter(hardware=pk).order_by().values_list("cluster__slug", flat=True)
    return tuple(sorted(set(slugs.distinct())))
