"""What the inventory holds, as plain values that a plan can be made against."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeAlias
from uuid import UUID

from inventory.domains import Domain
from inventory.importers.found import (
    KINDS,
    Found,
    FoundCluster,
    FoundFabric,
    FoundGpu,
    FoundHardware,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundNvlinkDomain,
    FoundRack,
    FoundRegion,
    FoundSwitch,
    Key,
    Thing,
)

Value: TypeAlias = str | int | float | bool | list[Any] | dict[str, Any] | None
"""A field as JSON holds it; a node's ``rack`` is ``site/name``."""
Values: TypeAlias = Mapping[str, Value]

OF: Final[Mapping[str, type[Thing]]] = {
    "region": FoundRegion,
    "cluster": FoundCluster,
    "fabric": FoundFabric,
    "hardware": FoundHardware,
    "rack": FoundRack,
    "switch": FoundSwitch,
    "nvlink_domain": FoundNvlinkDomain,
    "node": FoundNode,
    "gpu": FoundGpu,
    "nic": FoundNic,
    "link": FoundLink,
}
PLANNED_KINDS: Final = (
    *("region", "site", "cluster", "fabric", "hardware", "rack", "switch"),
    *("nvlink_domain", "node", "gpu", "nic", "link"),
)
"""Those that others rest on first; a site is only ever named by a rack."""
SILENT: Final[tuple[object, ...]] = (None, "", (), {}, [])
HEALTHY: Final = (None, "ok")
IN_SERVICE: Final = (None, "in_service")
_NO_VALUES: Final = frozenset(("at", "clears", "reason", "peer_is_node"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One row: its fields, the format that brought it, what a person set and holds."""

    kind: str
    row: UUID
    values: Values
    cluster: str = ""
    source: str = ""
    held: frozenset[str] = frozenset()
    missing: bool = False

    @property
    def key(self) -> Key:
        """What it is known by, as the same thing in a file is."""
        return key_of(self.kind, self.cluster, self.values)

    def thing(self, **changed: Value) -> Thing:
        """Return it as a file would say it, with some values changed."""
        return thing_of(self.kind, self.cluster, {**self.values, **changed})


@dataclass(frozen=True, slots=True)
class Stored:
    """What rows say about some clusters, and about everything that belongs to no cluster.

    ``elsewhere`` says in words who holds an identifier outside of these clusters, by its kind and
    the identifier in small letters. ``version`` is the newest inventory version.
    """

    kept: Mapping[str, tuple[Kept, ...]] = field(default_factory=dict)
    domains: tuple[Domain, ...] = ()
    elsewhere: Mapping[tuple[str, str], str] = field(default_factory=dict)
    version: int = 0

    def of(self, kind: str) -> tuple[Kept, ...]:
        """Return all rows of a kind."""
        return self.kept.get(kind, ())

    def used(self) -> Found:
        """Return the same as :meth:`found` without regions and types that no cluster has."""
        found = self.found()
        regions = {one.region for one in found.clusters}
        types = {one.hardware for one in found.nodes}
        return replace(
            found,
            regions=tuple(one for one in found.regions if one.slug in regions),
            hardware=tuple(one for one in found.hardware if one.slug in types),
        )

    def found(self) -> Found:
        """Return what is there as a file would say it; what is missing isn't there."""
        things = {
            name: tuple(one.thing() for one in self.of(kind) if not one.missing)
            for kind, name in KINDS.items()
            if kind != "rack"
        }
        return Found(format="inventory", racks=racks_of(self), **things)  # type: ignore[arg-type]  # each kind holds its own class


def racks_of(stored: Stored) -> tuple[FoundRack, ...]:
    """Return each rack once for every cluster that has something in it."""
    held: dict[str, dict[str, None]] = {}
    for one in (*stored.of("switch"), *stored.of("node")):
        if one.values.get("rack"):
            held.setdefault(str(one.values["rack"]), {})[one.cluster] = None
    homes = {
        str(one.values["slug"]).lower(): str(one.values["slug"]) for one in stored.of("cluster")
    }
    found = []
    for one in stored.of("rack"):
        place = rack_place(one.values)
        clusters = list(held.get(place, ()))
        home = homes.get(str(one.values["site"]).lower())
        for cluster in clusters or ([home] if home else []):
            height = one.values.get("u_height")
            found.append(
                FoundRack(
                    cluster=cluster,
                    name=str(one.values["name"]),
                    site=str(one.values["site"]),
                    u_height=height if isinstance(height, int) else None,
                )
            )
    return tuple(found)


def rack_place(values: Values) -> str:
    """Return the words a node has for its rack: ``site/name``."""
    return f"{values['site']}/{values['name']}"


def key_of(kind: str, cluster: str, values: Values) -> Key:
    """Return what a thing is known by: names in small letters, its cluster first."""
    if kind == "link":
        thing = thing_of(kind, cluster, values)
        return thing.key
    names = {
        "region": ("slug",),
        "cluster": ("slug",),
        "hardware": ("slug",),
        "site": ("region", "slug"),
        "rack": ("region", "site", "name"),
        "gpu": ("node", "index"),
        "nic": ("node", "name"),
    }.get(kind, ("name",))
    own = tuple(str(values.get(name, "")).lower() for name in names)
    return (cluster.lower(), *own) if cluster else own


def values_of(kind: str, thing: Thing) -> dict[str, Value]:
    """Return the fields of a thing that say something, as rows keep them."""
    told: dict[str, Value] = {
        name: list(value) if isinstance(value, tuple) else value
        for name in _NAMES[kind]
        if (value := getattr(thing, name)) not in SILENT
    }
    if isinstance(thing, FoundNode):
        _reasons(thing, told)
        if thing.taints is not None:
            told["taints"] = list(thing.taints)
    if isinstance(thing, FoundLink):
        # Without a port is a way to be cabled, and not nothing said.
        told |= {"port": thing.port, "peer_port": thing.peer_port}
        told["peer_is_node"] = thing.peer_is_node
    if kind not in {"region", "hardware"}:
        told.pop("cluster", None)
    return told


def _reasons(node: FoundNode, told: dict[str, Value]) -> None:
    """Say why a node is out of service or unwell; what is well needs no reason any more."""
    if node.health == "ok":
        told["health_reason"] = ""
    if node.admin_state == "in_service":
        told["admin_reason"] = ""
    if node.reason:
        by_people = node.admin_state not in IN_SERVICE and node.health in HEALTHY
        told["admin_reason" if by_people else "health_reason"] = node.reason


def thing_of(kind: str, cluster: str, values: Values) -> Thing:
    """Return a row's values as a file would say them."""
    known = _KNOWN[kind]
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values.items()
        if name in known and value not in SILENT
    }
    if "cluster" in known:
        given["cluster"] = cluster
    if isinstance(given.get("rack"), str):
        given["rack"] = given["rack"].rpartition("/")[2]
    if kind == "node":
        given["reason"] = _reason(values)
    return OF[kind](**given)


def _reason(values: Values) -> Value:
    unwell = values.get("health") not in HEALTHY and values.get("health_reason")
    return unwell or values.get("admin_reason") or values.get("health_reason") or None


_NAMES: Final = {
    kind: tuple(one.name for one in fields(made) if one.name not in _NO_VALUES)
    for kind, made in OF.items()
}
_KNOWN: Final = {kind: {one.name for one in fields(made)} for kind, made in OF.items()}
