"""A large fleet as rows: rail-optimised fabrics with racks, cables, domains and busy services.

``make_fleet`` fills an empty database that Django is set up for; benchmarks import it. Units of
32 nodes hang on eight leaves, eight units on eight spines, all spines on eight core switches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from django.db import transaction
from django.utils import timezone

from controller.models import PoolSample, ServiceStatus
from inventory.models import (
    Cluster,
    Fabric,
    Gpu,
    HardwareType,
    InventoryVersion,
    Link,
    LocalityDomain,
    Node,
    Policy,
    Rack,
    Region,
    RoleSpec,
    Service,
    Site,
    Slo,
    Switch,
)

UNIT: Final = 32
RAILS: Final = 8
UNITS_PER_POD: Final = 8
SPINES: Final = 8
CORES: Final = 8
NODES_PER_RACK: Final = 4
NODE_U: Final = 8
U_STEP: Final = 10
GPUS: Final = 8
BATCH: Final = 5_000
HARDWARE: Final = {"h200": 143_771, "h20": 97_871, "b200": 183_359}
SUBGROUPS: Final = ("S2 homogeneous", "S2 heterogeneous", "S1 heterogeneous")
# Of a hundred nodes, those in another state than in service and well.
STATES: Final = {
    7: {"admin_state": Node.AdminState.MAINTENANCE, "admin_reason": "new memory"},
    23: {"health": Node.Health.FAILED, "health_reason": "XID 79"},
    41: {"health": Node.Health.UNKNOWN, "health_reason": "no report"},
    58: {"reserved_for": "load tests"},
    77: {"admin_state": Node.AdminState.CORDONED, "admin_reason": "looked at"},
}


@dataclass(frozen=True, slots=True)
class _Made:
    """The rows of one cluster until they are written."""

    cluster: Cluster
    fabric: Fabric
    site: Site
    version: int
    switches: list[Switch] = field(default_factory=list)
    racks: list[Rack] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)


@transaction.atomic
def make_fleet(nodes: int = 2_000, *, clusters: int = 2, services: int = 60) -> list[Cluster]:
    """Fill an empty database with a fleet and return its clusters, the largest first.

    The first cluster has three quarters of the nodes where there are several. Three fifths of the
    nodes are held by instances of the services.
    """
    hardware = _hardware()
    now = timezone.now()
    version = InventoryVersion.objects.create(at=now, cause=InventoryVersion.Cause.IMPORT)
    sizes = [nodes] if clusters == 1 else [nodes * 3 // 4]
    sizes += [(nodes - sizes[0]) // (clusters - 1) for _ in range(clusters - 1)]
    made = [
        _cluster(f"c{number}", size, hardware, int(version.pk))
        for number, size in enumerate(sizes)
    ]
    for one in made:
        _write(one)
        _pools(one, now)
    _services(made, hardware, services, now)
    return [one.cluster for one in made]


def _hardware() -> list[HardwareType]:
    return HardwareType.objects.bulk_create(
        HardwareType(
            slug=slug,
            vendor="NVIDIA",
            gpu_model=slug.upper(),
            gpus_per_node=GPUS,
            gpu_memory_mib=memory_mib,
            u_height=NODE_U,
            nic_count=RAILS,
            nic_gbps=400,
        )
        for slug, memory_mib in HARDWARE.items()
    )


def _cluster(slug: str, size: int, hardware: Sequence[HardwareType], version: int) -> _Made:
    region = Region.objects.create(slug=f"r-{slug}", name=slug)
    cluster = Cluster.objects.create(region=region, slug=slug, name=slug)
    fabric = Fabric.objects.create(
        cluster=cluster, technology="IB", rail_count=RAILS, level_names=["S1", "S2", "core"]
    )
    site = Site.objects.create(region=region, slug=slug, name=slug)
    made = _Made(cluster, fabric, site, version)
    cores = [_switch(made, f"core-{n:02}", 2) for n in range(CORES)]
    units = -(-size // UNIT)
    for pod in range(-(-units // UNITS_PER_POD)):
        kind = pod % len(SUBGROUPS)
        spines = [_switch(made, f"spine-{pod:02}-{n:02}", 1) for n in range(SPINES)]
        s2 = _domain(made, f"pod-{pod:02}", kind, hardware[: kind + 1], spines)
        made.links.extend(_cables(made, spines, cores, port=100))
        for unit in range(pod * UNITS_PER_POD, min(units, (pod + 1) * UNITS_PER_POD)):
            types = _types(kind, unit, hardware)
            leaves = [_switch(made, f"leaf-{unit:03}-{rail}", 0, rail) for rail in range(RAILS)]
            s1 = _domain(made, f"su-{unit:03}", kind, types, leaves, parent=s2)
            made.links.extend(_cables(made, leaves, spines, port=64))
            _unit(made, unit, min(UNIT, size - unit * UNIT), s1, types)
    for node in made.nodes[-3:]:
        # As if nobody knew their cables.
        node.s1_domain = node.s2_domain = None
    return made


def _types(kind: int, unit: int, hardware: Sequence[HardwareType]) -> Sequence[HardwareType]:
    """Return the types of a unit: one in pods of one type, another a unit, or two."""
    if kind == 0:
        return hardware[:1]
    return [hardware[unit % len(hardware)]] if kind == 1 else hardware[1:3]


def _domain(  # noqa: PLR0913 - what differs between two domains
    made: _Made,
    name: str,
    kind: int,
    types: Sequence[HardwareType],
    switches: Sequence[Switch],
    *,
    parent: LocalityDomain | None = None,
) -> LocalityDomain:
    return LocalityDomain.objects.create(
        cluster=made.cluster,
        level="S1" if parent else "S2",
        key=name,
        name=name,
        parent=parent,
        subgroup=SUBGROUPS[kind],
        rank=kind,
        hardware=[one.gpu_model for one in types],
        switches=[switch.name for switch in switches],
        inventory_version=made.version,
    )


def _switch(made: _Made, name: str, tier: int, rail: int | None = None) -> Switch:
    row = Switch(
        cluster=made.cluster, fabric=made.fabric, name=name, tier=tier, rail=rail, model="QM9700"
    )
    made.switches.append(row)
    return row


def _cables(
    made: _Made, lower: Sequence[Switch], upper: Sequence[Switch], *, port: int
) -> Iterator[Link]:
    for number, switch in enumerate(lower):
        for above, peer in enumerate(upper):
            yield Link(
                cluster=made.cluster,
                switch=switch,
                port=str(port + above),
                peer=peer,
                peer_port=f"{switch.name}/{number}",
                speed_gbps=400,
                count=4,
            )


def _unit(
    made: _Made, unit: int, size: int, s1: LocalityDomain, types: Sequence[HardwareType]
) -> None:
    leaves = made.switches[-RAILS:]
    for place in range(size):
        number = unit * UNIT + place
        if place % NODES_PER_RACK == 0:
            made.racks.append(
                Rack(
                    site=made.site,
                    name=f"R{number // NODES_PER_RACK:04}",
                    row=f"{unit:02}",
                    column=str(place // NODES_PER_RACK + 1),
                    power_kw=44.0,
                )
            )
        node = Node(
            cluster=made.cluster,
            name=f"gpu{number:05}",
            hardware=types[place % len(types)],
            gpus=GPUS,
            rack=made.racks[-1],
            u_position=2 + U_STEP * (place % NODES_PER_RACK),
            u_height=NODE_U,
            tiers=[s1.name],
            s1_domain=s1,
            s2_domain=s1.parent,
            serial=f"{made.cluster.slug}-{number}",
            **STATES.get(number % 100, {}),
        )
        made.nodes.append(node)
        made.links.extend(
            Link(
                cluster=made.cluster,
                switch=leaf,
                port=str(place + 1),
                node=node,
                peer_port=f"mlx5_{rail}",
                speed_gbps=400,
            )
            for rail, leaf in enumerate(leaves)
        )


def _write(made: _Made) -> None:
    for rows in (made.switches, made.racks, made.nodes, made.links):
        type(rows[0]).objects.bulk_create(rows, BATCH)  # type: ignore[attr-defined]
    Gpu.objects.bulk_create(
        (
            Gpu(
                node=node,
                index=index,
                uuid=f"GPU-{made.cluster.slug}-{node.name}-{index}",
                model=str(node.hardware),
            )
            for node in made.nodes
            for index in range(GPUS)
        ),
        BATCH,
    )


def _pools(made: _Made, now: datetime) -> None:
    counted: dict[HardwareType, int] = {}
    for node in made.nodes:
        if node.hardware:
            counted[node.hardware] = counted.get(node.hardware, 0) + GPUS
    PoolSample.objects.bulk_create(
        PoolSample(
            cluster=made.cluster,
            hardware=hardware,
            at=now,
            total=total,
            busy=total // 2,
            held_idle=total // 10,
            free=total - total // 2 - total // 10,
            reserved=0,
            maintenance=0,
            unhealthy=0,
            unknown=0,
            largest_free=GPUS,
        )
        for hardware, total in counted.items()
    )


def _services(
    made: Sequence[_Made], hardware: Sequence[HardwareType], count: int, now: datetime
) -> None:
    rows = Service.objects.bulk_create(
        Service(
            slug=f"service-{n:02}",
            name=f"Service {n}",
            model_name="qwen3-32b-fp8",
            cluster=made[n % len(made)].cluster,
            mode="automatic",
            max_gpus=4_000,
        )
        for n in range(count)
    )
    RoleSpec.objects.bulk_create(
        RoleSpec(
            service=service,
            role=role,
            hardware=hardware[n % len(hardware)],
            gpus_per_instance=GPUS // 2,
            minimum=1,
            maximum=200,
        )
        for n, service in enumerate(rows)
        for role in ("prefill", "decode")
    )
    Slo.objects.bulk_create(Slo(service=service, ttft_s=1.0, tbt_s=0.05) for service in rows)
    Policy.objects.bulk_create(
        Policy(service=service, target=1000.0, pd_ratio=0.5) for service in rows
    )
    places = {one.cluster.slug: _free(one) for one in made}
    each = {one.cluster.slug: _share(one, len(made), count) for one in made}
    ServiceStatus.objects.bulk_create(
        _status(service, list(islice(places[slug], each[slug])), now)
        for service in rows
        for slug in (service.cluster.slug,)
    )


def _free(made: _Made) -> Iterator[Node]:
    """Return the nodes that may hold instances, those of one unit after another."""
    return (node for n, node in enumerate(made.nodes) if n % 100 not in STATES)


def _share(made: _Made, clusters: int, services: int) -> int:
    """Return how many nodes each service of a cluster gets: together three fifths."""
    here = max(1, services // clusters)
    return max(1, len(made.nodes) * 3 // 5 // here)


def _status(service: Service, nodes: Sequence[Node], now: datetime) -> ServiceStatus:
    """Return a status with two instances of half a node on each node, a third of them prefill."""
    instances = [
        {
            "name": f"{service.slug}-{n}-{half}",
            "role": "prefill" if n % 3 == 0 else "decode",
            "group": "g0",
            "node": node.name,
            "state": "ready",
        }
        for n, node in enumerate(nodes)
        for half in range(2)
    ]
    prefill = sum(one["role"] == "prefill" for one in instances)
    decode = len(instances) - prefill
    return ServiceStatus(
        service=service,
        observed_at=now,
        prefill_desired=prefill,
        prefill_ready=prefill,
        decode_desired=decode,
        decode_ready=decode,
        instances=instances,
        signals={
            name: {
                "value": value,
                "unit": unit,
                "quality": "ok",
                "measured_at_s": now.timestamp(),
                "reporting": len(instances),
                "expected": len(instances),
            }
            for name, value, unit in (
                ("decode_tps", 900.0 * decode, "tok/s"),
                ("ttft_s", 0.4, "s"),
                ("tbt_s", 0.03, "s"),
            )
        },
    )
