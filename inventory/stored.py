"""The inventory's rows as plain values; a constant number of queries for any fleet."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import Max, Model, Q, QuerySet
from django.db.models.functions import Lower

from inventory.domains import Domain, Level, Subgroup
from inventory.importers.found import Found
from inventory.kept import Kept, Stored, Value
from inventory.matching import WORDS
from inventory.models import (
    Cluster,
    Fabric,
    Gpu,
    HardwareAlias,
    HardwareType,
    InventoryVersion,
    Link,
    LocalityDomain,
    Nic,
    Node,
    NvlinkDomain,
    Rack,
    Region,
    Site,
    Switch,
)

CHUNK: Final = 5_000
TO_DERIVE: Final = ("hardware", "switch", "node", "link")
"""The kinds that domains are derived from."""
_SOURCED: Final = ("id", "source", "managed_fields", "missing_since")


def read(clusters: Collection[str] | None = None, kinds: Collection[str] | None = None) -> Stored:
    """Return what rows say of some clusters, by their slugs in any letters; by default of all.

    ``kinds`` leaves out those that are not needed. What belongs to no cluster is always whole.
    """
    rows = _Reading(None if clusters is None else {slug.lower() for slug in clusters})
    kept = {
        kind: tuple(make(rows))
        for kind, make in _READERS.items()
        if kinds is None or kind in kinds
    }
    return Stored(kept=kept, domains=tuple(_domains(rows)), version=newest_version())


def read_for(found: Found) -> Stored:
    """Return what rows say of the clusters that files name, and who else has their identifiers."""
    clusters = {one.slug for one in found.clusters}
    stored = read(clusters)
    elsewhere = _elsewhere(found, {slug.lower() for slug in clusters})
    return Stored(stored.kept, stored.domains, elsewhere, stored.version)


def newest_version() -> int:
    """Return the number of the newest inventory version, 0 before the first."""
    return int(InventoryVersion.objects.aggregate(newest=Max("seq"))["newest"] or 0)


@dataclass(slots=True)
class _Reading:
    """Which clusters are read; and of their nodes who is in which domain."""

    clusters: set[str] | None
    members: dict[object, list[str]] = field(default_factory=lambda: defaultdict(list))
    nvlinked: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def of(self, model: type[Model], path: str = "cluster") -> QuerySet[Any]:
        """Return the rows of these clusters; ``path`` leads from a row to its cluster."""
        rows: QuerySet[Any] = model._default_manager.all()  # noqa: SLF001 - public by custom
        if self.clusters is None:
            return rows
        own: QuerySet[Any] = rows.alias(place=Lower(f"{path}__slug"))
        return own.filter(place__in=self.clusters)


def _cells(rows: QuerySet[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    return rows.values_list(*names).iterator(chunk_size=CHUNK)


def _regions(_reading: _Reading) -> Iterator[Kept]:
    for row, slug, name, zone in _cells(Region.objects.all(), "id", "slug", "name", "time_zone"):
        yield Kept(kind="region", row=row, values={"slug": slug, "name": name, "time_zone": zone})


def _sites(_reading: _Reading) -> Iterator[Kept]:
    names = ("id", "region__slug", "slug", "name")
    for row, region, slug, name in _cells(Site.objects.all(), *names):
        yield Kept(kind="site", row=row, values={"region": region, "slug": slug, "name": name})


def _clusters(reading: _Reading) -> Iterator[Kept]:
    names = ("id", "slug", "region__slug", "kind", "level_keys")
    rows = Cluster.objects.all()
    if reading.clusters is not None:
        rows = rows.alias(place=Lower("slug")).filter(place__in=reading.clusters)
    for row, slug, region, kind, keys in _cells(rows, *names):
        values = {"slug": slug, "region": region, "kind": kind, "level_keys": keys}
        yield Kept(kind="cluster", row=row, values=values)


def _fabrics(reading: _Reading) -> Iterator[Kept]:
    names = ("name", "technology", "rail_count", "level_names")
    yield from _plain(reading.of(Fabric), "fabric", names)


def _nvlink_domains(reading: _Reading) -> Iterator[Kept]:
    yield from _plain(reading.of(NvlinkDomain), "nvlink_domain", ("name", "parent"))


def _plain(rows: QuerySet[Any], kind: str, names: Sequence[str]) -> Iterator[Kept]:
    """Return rows of a kind that has no source and whose cells are its fields."""
    for row, cluster, *cells in _cells(rows, "id", "cluster__slug", *names):
        values = dict(zip(names, cells, strict=True))
        yield Kept(kind=kind, row=row, cluster=cluster, values=values)


_HARDWARE: Final = (
    *("slug", "gpu_model", "gpus_per_node", "gpu_memory_mib", "vendor", "nvlink", "u_height"),
    *("mem_bw_gb_s", "bf16_tflops", "source"),
)


def _hardware(_reading: _Reading) -> Iterator[Kept]:
    words: dict[object, list[str]] = defaultdict(list)
    for owner, text in HardwareAlias.objects.order_by("pk").values_list("hardware_id", "text"):
        words[owner].append(text)
    for row, *cells in _cells(HardwareType.objects.all(), "id", *_HARDWARE):
        values: dict[str, Value] = dict(zip(_HARDWARE, cells, strict=True))
        values["aliases"] = words.get(row, [])
        yield Kept(kind="hardware", row=row, values=values)


def _racks(_reading: _Reading) -> Iterator[Kept]:
    names = ("site__region__slug", "site__slug", "name", "u_height")
    for row, source, held, missing, *cells in _cells(Rack.objects.all(), *_SOURCED, *names):
        values = dict(zip(("region", "site", "name", "u_height"), cells, strict=True))
        yield _kept("rack", (row, source, held, missing), "", values)


_SWITCH: Final = ("name", "tier", "rail", "guid", "model", "labels")


def _switches(reading: _Reading) -> Iterator[Kept]:
    more = ("cluster__slug", "fabric__name", "rack__site__slug", "rack__name")
    rows = _cells(reading.of(Switch), *_SOURCED, *more, *_SWITCH)
    for row, source, held, missing, cluster, fabric, site, rack, *cells in rows:
        values: dict[str, Value] = dict(zip(_SWITCH, cells, strict=True))
        values |= {"fabric": fabric, "rack": f"{site}/{rack}" if rack else None}
        yield _kept("switch", (row, source, held, missing), cluster, values)


_NODE: Final = (
    *("name", "gpus", "gpus_allocatable", "u_position", "u_height", "face", "tiers", "serial"),
    *("provider_id", "k8s_uid", "instance_type", "lifecycle", "admin_state", "health"),
    *("health_reason", "admin_reason", "driver", "cuda", "labels", "taints"),
)
_NODE_MORE: Final = (
    *("cluster__slug", "hardware__slug", "rack__site__slug", "rack__name"),
    *("nvlink_domain__name", "s1_domain_id", "s2_domain_id"),
)


def _nodes(reading: _Reading) -> Iterator[Kept]:
    rows = _cells(reading.of(Node), *_SOURCED, *_NODE_MORE, *_NODE)
    for row, source, held, missing, cluster, hardware, site, rack, nvlink, s1, s2, *cells in rows:
        values: dict[str, Value] = dict(zip(_NODE, cells, strict=True))
        values |= {
            "hardware": hardware,
            "rack": f"{site}/{rack}" if rack else None,
            "nvlink_domain": nvlink,
        }
        if missing is None:
            name = str(values["name"])
            reading.members[s1].append(name)
            reading.members[s2].append(name)
            reading.nvlinked[cluster, nvlink].append(name)
        yield _kept("node", (row, source, held, missing), cluster, values)


_GPU: Final = ("index", "uuid", "serial", "model", "memory_mib", "pci_bus_id", "mig")
_NIC: Final = ("name", "guid", "speed_gbps", "rail")


def _gpus(reading: _Reading) -> Iterator[Kept]:
    yield from _parts(reading.of(Gpu, "node__cluster"), "gpu", _GPU)


def _nics(reading: _Reading) -> Iterator[Kept]:
    yield from _parts(reading.of(Nic, "node__cluster"), "nic", _NIC)


def _parts(rows: QuerySet[Any], kind: str, names: Sequence[str]) -> Iterator[Kept]:
    more = ("node__cluster__slug", "node__name")
    for row, source, held, missing, cluster, node, *cells in _cells(
        rows, *_SOURCED, *more, *names
    ):
        values = dict(zip(names, cells, strict=True))
        values["node"] = node
        yield _kept(kind, (row, source, held, missing), cluster, values)


_LINK: Final = ("port", "peer_port", "speed_gbps", "count")


def _links(reading: _Reading) -> Iterator[Kept]:
    more = ("cluster__slug", "switch__name", "node__name", "peer__name")
    ordered = reading.of(Link).order_by("cluster__slug", *more[1:], "port", "peer_port", "pk")
    rows = _cells(ordered, *_SOURCED, *more, *_LINK)
    for row, source, held, missing, cluster, switch, node, peer, *cells in rows:
        values: dict[str, Value] = dict(zip(_LINK, cells, strict=True))
        values |= {"switch": switch, "peer": node or peer, "peer_is_node": node is not None}
        yield _kept("link", (row, source, held, missing), cluster, values)


def _kept(
    kind: str, sourced: tuple[Any, Any, Any, Any], cluster: str, values: Mapping[str, Value]
) -> Kept:
    row, source, managed, missing = sourced
    return Kept(
        kind=kind,
        row=row,
        cluster=cluster,
        values=values,
        source=source,
        held=frozenset(name for name, owner in managed.items() if owner == "manual"),
        missing=missing is not None,
    )


_READERS: Final = {
    "region": _regions,
    "site": _sites,
    "cluster": _clusters,
    "fabric": _fabrics,
    "hardware": _hardware,
    "rack": _racks,
    "switch": _switches,
    "nvlink_domain": _nvlink_domains,
    "node": _nodes,
    "gpu": _gpus,
    "nic": _nics,
    "link": _links,
}


def _domains(reading: _Reading) -> Iterator[Domain]:
    """Return the domains that were derived last, with who is in them now."""
    names = ("id", "cluster__slug", "level", "name", "parent__name", "switches", "hardware")
    rows = _cells(reading.of(LocalityDomain), *names, "subgroup")
    for row, cluster, level, name, parent, switches, hardware, subgroup in rows:
        near = level == Level.NVLINK
        nodes = reading.nvlinked.get((cluster, name), []) if near else reading.members.get(row, [])
        yield Domain(
            cluster=cluster,
            level=Level(level),
            name=name,
            parent=parent,
            nodes=tuple(sorted(nodes)),
            switches=tuple(switches),
            hardware=tuple(hardware),
            subgroup=Subgroup(subgroup) if subgroup else None,
        )


def _elsewhere(found: Found, clusters: set[str]) -> dict[tuple[str, str], str]:
    """Return who has the files' identifiers in clusters that they don't name, in words."""
    held: dict[tuple[str, str], str] = {}
    for name in ("k8s_uid", "provider_id", "serial"):
        held |= _holders(Node, name, "cluster", "name", _texts(found.nodes, name), clusters)
    for model, name, path, called, things in (
        (Switch, "guid", "cluster", "name", found.switches),
        (Nic, "guid", "node__cluster", "node__name", found.nics),
        (Gpu, "uuid", "node__cluster", "node__name", found.gpus),
    ):
        held |= _holders(model, name, path, called, _texts(things, name), clusters)
    return held


def _texts(things: Iterable[object], name: str) -> list[str]:
    return [text.lower() for one in things if (text := getattr(one, name))]


def _holders(  # noqa: PLR0913, PLR0917 - where to look and what for
    model: type[Model], name: str, path: str, called: str, texts: list[str], clusters: set[str]
) -> dict[tuple[str, str], str]:
    if not texts or name not in WORDS:
        return {}
    rows = (
        model._default_manager.annotate(text=Lower(name))  # noqa: SLF001 - public by custom
        .alias(place=Lower(f"{path}__slug"))
        .filter(~Q(place__in=clusters), text__in=texts)
        .values_list("text", called, f"{path}__slug")
    )
    return {(name, text): f"{owner} of cluster {place}" for text, owner, place in rows}
