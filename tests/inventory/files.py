"""Small files as the tools write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from inventory.domains import Domains, Level, derive
from inventory.importers.detect import AUTO, read
from inventory.importers.found import Found, Options


def found(text: str, name: str = "file", form: str = AUTO, **options: Any) -> Found:
    return read(text.encode(), name, Options(**options), form)


def node(
    name: str, labels: Mapping[str, str] | None = None, gpus: int = 8, **more: Any
) -> dict[str, Any]:
    """Return a node of a Kubernetes list, ready and with its GPUs allocatable."""
    counted = {"nvidia.com/gpu": str(gpus)}
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": more.get("spec", {}),
        "status": {
            "capacity": more.get("capacity", counted),
            "allocatable": more.get("allocatable", more.get("capacity", counted)),
            "conditions": more.get("conditions", [{"type": "Ready", "status": "True"}]),
        },
    }


def nodes(*items: dict[str, Any]) -> str:
    return json.dumps({"apiVersion": "v1", "items": items, "kind": "List"})


def sizes(domains: Domains, level: Level) -> dict[str, int]:
    """Return the number of nodes of each domain of a level."""
    return {one.name: len(one.nodes) for one in domains.of(level)}


def s1(answer: Found) -> dict[str, int]:
    return sizes(derive(answer), Level.S1)


def s2(answer: Found) -> dict[str, int]:
    return sizes(derive(answer), Level.S2)


def codes(answer: Found) -> set[str]:
    return {one.code for one in derive(answer).findings}


def faults(answer: Found) -> list[tuple[int | None, str, str]]:
    return [(one.line, one.field, one.message) for one in answer.faults]
