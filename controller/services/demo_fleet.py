"""The demonstration fleet's machines and cables, brought like those of any import."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from controller.simulator.demo import DEMO_CLUSTERS, DEMO_NODES, DemoNode
from controller.simulator.profiles import HARDWARE
from inventory.importers.found import (
    Found,
    FoundCluster,
    FoundFabric,
    FoundHardware,
    FoundLink,
    FoundNode,
    FoundRack,
    FoundRegion,
    FoundSwitch,
)
from inventory.models import Cluster, HardwareType, Node
from inventory.services.importing import bring

REGION_NAME: Final = "Europe 1 (simulated)"
TIME_ZONE: Final = "Europe/Berlin"
FORMAT: Final = "simulated"
RESERVED: Final = "load tests (simulated)"
CONDITIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "ok": {},
    "maintenance": {"admin_state": Node.AdminState.MAINTENANCE.value},
    "unhealthy": {"health": Node.Health.FAILED.value, "reason": "XID 79 (simulated)"},
    "unknown": {"health": Node.Health.UNKNOWN.value, "reason": "no report (simulated)"},
    "reserved": {},
}
NODE_U: Final = 8
MIB_PER_GIB: Final = 1024
FABRIC: Final = "compute"
NODE_CABLES: Final = 8
"""One for each GPU of a node."""

CABLE_GBPS: Final = 400


def make() -> tuple[dict[str, Cluster], dict[str, HardwareType]]:
    """Bring the fleet's places, machines and cables; returns clusters and types by name."""
    bring(found(), by="start command")
    for cluster in (clusters := Cluster.objects.in_bulk(_slugs(), field_name="slug")).values():
        cluster.name = f"{cluster.slug} (simulated)"
        cluster.save(update_fields=["name"])
    reserved = [node.name for node in DEMO_NODES if node.state == "reserved"]
    Node.objects.filter(cluster__slug__in=_slugs(), name__in=reserved).update(
        reserved_for=RESERVED
    )
    types = HardwareType.objects.in_bulk(sorted(_types()), field_name="slug")
    return dict(clusters), dict(types)


def found() -> Found:
    """Return the fleet as an importer would find it: leaves over racks, spines over leaves."""
    there = set(HardwareType.objects.values_list("slug", flat=True))
    regions = {one.region for one in DEMO_CLUSTERS}
    leaves = {(node.cluster, node.s1): node.s2 for node in DEMO_NODES}
    return Found(
        format=FORMAT,
        regions=tuple(
            FoundRegion(slug=slug, name=REGION_NAME, time_zone=TIME_ZONE)
            for slug in sorted(regions)
        ),
        clusters=tuple(
            FoundCluster(slug=one.name, region=one.region, kind=Cluster.Kind.SIMULATED.value)
            for one in DEMO_CLUSTERS
        ),
        fabrics=tuple(
            FoundFabric(
                cluster=one.name, name=FABRIC, technology="InfiniBand", level_names=("S1", "S2")
            )
            for one in DEMO_CLUSTERS
        ),
        hardware=tuple(_hardware(slug) for slug in sorted(_types() - there)),
        racks=tuple(
            FoundRack(cluster=cluster, name=name)
            for cluster, name in dict.fromkeys((node.cluster, node.rack) for node in DEMO_NODES)
        ),
        switches=(*_switches(leaves, 0), *_switches(_spines(leaves), 1)),
        nodes=tuple(map(_node, DEMO_NODES)),
        links=(*map(_cable, DEMO_NODES), *_uplinks(leaves)),
    )


def _slugs() -> list[str]:
    return [one.name for one in DEMO_CLUSTERS]


def _types() -> set[str]:
    return {node.hardware for node in DEMO_NODES}


def _hardware(slug: str) -> FoundHardware:
    spec = HARDWARE[slug]
    return FoundHardware(
        slug=slug,
        vendor=spec.vendor,
        gpu_model=spec.label,
        gpus_per_node=spec.gpus_per_node,
        gpu_memory_mib=round(spec.gpu_memory_gib * MIB_PER_GIB),
        u_height=NODE_U,
    )


def _spines(leaves: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], None]:
    return {(cluster, spine): None for (cluster, _), spine in leaves.items()}


def _switches(places: Iterable[tuple[str, str]], tier: int) -> Iterable[FoundSwitch]:
    for cluster, name in places:
        yield FoundSwitch(cluster=cluster, name=name, fabric=FABRIC, tier=tier)


def _node(node: DemoNode) -> FoundNode:
    states: dict[str, Any] = dict(CONDITIONS[node.state])
    return FoundNode(
        cluster=node.cluster,
        name=node.name,
        hardware=node.hardware,
        gpus=node.gpus,
        rack=node.rack,
        u_position=node.u,
        **states,
    )


def _cable(node: DemoNode) -> FoundLink:
    return FoundLink(
        cluster=node.cluster,
        switch=node.s1,
        peer=node.name,
        peer_is_node=True,
        speed_gbps=CABLE_GBPS,
        count=NODE_CABLES,
    )


def _uplinks(leaves: Mapping[tuple[str, str], str]) -> Iterable[FoundLink]:
    """Return as many cables up from each leaf as it has down: nothing waits for another."""
    for (cluster, leaf), spine in leaves.items():
        below = sum(node.cluster == cluster and node.s1 == leaf for node in DEMO_NODES)
        yield FoundLink(
            cluster=cluster,
            switch=leaf,
            peer=spine,
            peer_is_node=False,
            speed_gbps=CABLE_GBPS,
            count=below * NODE_CABLES,
        )
