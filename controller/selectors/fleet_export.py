"""The nodes that filters keep as files: both read back by the importer, none runs as a formula."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Any, Final

from controller.core.spreadsheet import cell_text
from controller.selectors.fleet_filters import Filters
from controller.selectors.fleet_lines import Line, read_lines
from controller.selectors.node_use import node_uses
from inventory.export import only, write
from inventory.importers.found import TIERS
from inventory.models import Node
from inventory.stored import read

READ_BACK: Final[Mapping[str, str]] = {
    "region": "cluster__region__slug",
    "cluster": "cluster__slug",
    "s1": "",
    "s2": "",
    **dict.fromkeys(TIERS[2:], ""),
    "site": "rack__site__slug",
    "rack": "rack__name",
    "u": "u_position",
    "node": "name",
    "sku": "hardware__slug",
    "gpus": "gpus",
    "nvlink_domain": "nvlink_domain__name",
    "lifecycle": "lifecycle",
    "admin_state": "admin_state",
    "health": "health",
    "serial": "serial",
    "provider_id": "provider_id",
    "k8s_uid": "k8s_uid",
    "instance_type": "instance_type",
    "labels": "",
}
"""The columns an import reads, and the field of a node they come from."""
TOLD: Final = (
    *("s1_domain", "s2_domain", "gpus_in_use", "gpus_free", "services", "takes_new_instances"),
    *("reserved_for", "missing_since", "last_seen"),
)
"""The columns for people, which an import passes over."""


@dataclass(frozen=True, slots=True)
class File:
    """What is sent: the text, what it is, and how the name of the file ends."""

    text: str
    kind: str
    ending: str


def export(filters: Filters, form: str, now: datetime) -> File:
    """Return the nodes that filters keep as ``csv`` or ``yaml``; the queries don't grow."""
    lines = [one for one in read_lines(node_uses(now)) if not filters.misses(one)]
    if form == "csv":
        return File(_table(filters.ordered(lines)), "text/csv", "csv")
    clusters = {one.cluster for one in lines}
    kept = {(one.cluster.lower(), one.name.lower()) for one in lines}
    return File(write(only(read(clusters).found(), kept)), "application/yaml", "yaml")


def _table(lines: Sequence[Line]) -> str:
    fields = [field for field in READ_BACK.values() if field]
    rows = {
        row["pk"]: row
        for row in Node.objects.filter(pk__in=[one.pk for one in lines]).values(
            "pk", "tiers", *fields
        )
    }
    text = StringIO()
    table = csv.writer(text)
    table.writerow([*READ_BACK, *TOLD])
    for line in lines:
        row = rows.get(line.pk)
        if row is not None:
            table.writerow([cell_text(cell) for cell in (*_read_back(line, row), *_told(line))])
    return text.getvalue()


def _read_back(line: Line, row: Mapping[str, Any]) -> Iterable[object]:
    """Return the cells an import reads: what was said of a node, not what was derived from it."""
    said: dict[str, object] = dict(zip(TIERS, row["tiers"], strict=False))
    said["labels"] = ";".join(f"{key}={value}" for key, value in line.labels.items())
    for column, field in READ_BACK.items():
        yield row[field] if field else said.get(column)


def _told(line: Line) -> Iterable[object]:
    known = line.used is not None
    held = f"at least {line.used}" if line.is_least else line.used
    yield from (line.s1, line.s2)
    yield held if known else "?"
    yield "?" if line.is_open else line.parts.free
    yield " ".join(line.services) if known else "?"
    yield "yes" if line.schedulable else "; ".join(line.why_not)
    yield line.reserved_for
    for at in (line.facts.missing_since, line.last_seen):
        yield at.isoformat(timespec="seconds") if at else ""
