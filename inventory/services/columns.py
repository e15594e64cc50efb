"""What a planned field is in its row: names become the rows they mean, nothing an empty cell."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Field, Model

from inventory.differences import Planned
from inventory.kept import Value
from inventory.models import (
    Cluster,
    Fabric,
    Gpu,
    HardwareType,
    Link,
    Nic,
    Node,
    NvlinkDomain,
    Rack,
    Region,
    Site,
    Switch,
)
from inventory.services.lookups import Lookups

Cells = dict[str, object]
"""Cells by column."""

MODELS: Final[Mapping[str, type[Model]]] = {
    "region": Region,
    "site": Site,
    "cluster": Cluster,
    "fabric": Fabric,
    "hardware": HardwareType,
    "rack": Rack,
    "switch": Switch,
    "nvlink_domain": NvlinkDomain,
    "node": Node,
    "gpu": Gpu,
    "nic": Nic,
    "link": Link,
}
IN_CLUSTER: Final = frozenset(("fabric", "switch", "nvlink_domain", "node", "link"))
ELSEWHERE: Final = frozenset(
    (("hardware", "aliases"), ("link", "peer_is_node"), ("rack", "region"))
)
"""Fields that are no column of their own."""


def fields_of(kind: str) -> "list[Field[Any, Any]]":
    """Return the columns of a kind that can be written."""
    return [one for one in MODELS[kind]._meta.concrete_fields if not one.generated]  # noqa: SLF001 - public by custom


@dataclass(slots=True)
class Resolver:
    """Turns fields of planned things into cells; ``far`` says which cables end at nodes."""

    lookups: Lookups
    now: datetime
    by: str
    far: Mapping[UUID, bool] = field(default_factory=dict)
    _given: dict[str, Cells] = field(default_factory=dict)
    _empty: dict[str, Cells] = field(default_factory=dict)

    def changed(self, one: Planned) -> Cells:
        """Return the cells of a row that changes."""
        cells = self._cells(one)
        if "source_ref" in self.given(one.kind):
            cells |= {"source_ref": one.at[:300], "observed_at": self.now}
        return cells

    def created(self, one: Planned) -> Cells:
        """Return all cells of a new row."""
        cells = self._cells(one)
        if one.kind in IN_CLUSTER:
            cells["cluster_id"] = self.lookups.get("cluster", one.cluster)
        if one.kind in {"cluster", "region"}:
            cells.setdefault("name", one.after["slug"])
        if "source_ref" in self.given(one.kind):
            cells |= {"source_ref": one.at[:300], "observed_at": self.now}
        return {**self.given(one.kind), **cells, "id": one.row}

    def given(self, kind: str) -> Cells:
        """Return what a row has where nothing is said."""
        if kind not in self._given:
            given = {str(one.column): one.get_default() for one in fields_of(kind)}
            self._given[kind] = given | {"created": self.now, "updated": self.now}
        return self._given[kind]

    def _cells(self, one: Planned) -> Cells:
        cells: Cells = {}
        for name, value in one.after.items():
            if (one.kind, name) in ELSEWHERE:
                continue
            if name in _REFERENCES:
                column, find = _REFERENCES[name]
                cells[column] = find(self, one, str(value)) if value else None
            elif name in _SPECIAL:
                cells |= _SPECIAL[name](self, one, value)
            else:
                cells[name] = self._filled(one.kind, name, value)
        return cells

    def _filled(self, kind: str, name: str, value: Value) -> object:
        """Return a cell, the column's own word for nothing where a value is cleared."""
        if value not in (None, ""):
            return value
        if kind not in self._empty:
            self._empty[kind] = {
                str(one.column): None if one.null else one.get_default() for one in fields_of(kind)
            }
        return self._empty[kind][name]


def _site(own: Resolver, one: Planned, site: str) -> UUID:
    region = one.after.get("region")
    if region is None and one.row is not None:
        region = Rack.objects.values_list("site__region__slug", flat=True).get(pk=one.row)
    return own.lookups.get("site", str(region), site)


def _in_cluster(kind: str) -> Callable[[Resolver, Planned, str], UUID]:
    return lambda own, one, name: own.lookups.get(kind, one.cluster, name)


_REFERENCES: Final[Mapping[str, tuple[str, Callable[[Resolver, Planned, str], UUID]]]] = {
    "region": ("region_id", lambda own, _, name: own.lookups.get("region", name)),
    "site": ("site_id", _site),
    "fabric": ("fabric_id", _in_cluster("fabric")),
    "hardware": ("hardware_id", lambda own, _, name: own.lookups.get("hardware", name)),
    "rack": ("rack_id", lambda own, one, place: own.lookups.rack(one.cluster, place)),
    "nvlink_domain": ("nvlink_domain_id", _in_cluster("nvlink_domain")),
    "node": ("node_id", _in_cluster("node")),
    "switch": ("switch_id", _in_cluster("switch")),
}


def _peer(own: Resolver, one: Planned, name: Value) -> Cells:
    to_node = one.after.get("peer_is_node")
    if to_node is None and one.row is not None:
        to_node = own.far[one.row]
    kind, column = ("node", "node_id") if to_node else ("switch", "peer_id")
    return {column: own.lookups.get(kind, one.cluster, str(name))}


def _admin_state(own: Resolver, one: Planned, state: Value) -> Cells:
    if one.operation == "create" and state == "in_service":
        return {"admin_state": state}
    return {"admin_state": state, "admin_by": own.by[:160], "admin_at": own.now}


def _missing(own: Resolver, _one: Planned, gone: Value) -> Cells:
    return {"missing_since": own.now if gone else None}


_SPECIAL: Final[Mapping[str, Callable[[Resolver, Planned, Value], Cells]]] = {
    "peer": _peer,
    "admin_state": _admin_state,
    "missing": _missing,
}
