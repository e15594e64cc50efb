"""GPUs per cluster and hardware type, split into the seven parts of a pool."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from controller.core.ports import Pool
from controller.core.types import Role
from controller.simulator.fleet import Fleet, Phase
from controller.simulator.model import NodeSpec

_UNALLOCATED: Final[Mapping[str, str]] = {
    "ok": "maintenance",
    "maintenance": "maintenance",
    "unhealthy": "unhealthy",
    "unknown": "unknown",
    "reserved": "reserved",
}
"""Where GPUs without an instance count on nodes that take none; a healthy one is cordoned."""


def pools(fleet: Fleet, utilisation: Mapping[tuple[str, Role], float]) -> list[Pool]:
    """Return the pools in order of cluster and hardware; their parts add up to ``total``.

    Allocated GPUs count where they are, whatever state the node has come to. Of a service's
    serving GPUs, its share ``utilisation`` (prefill: time in work; decode: throughput over that
    at the batch limit) is busy, the rest, and all GPUs of starting instances, held idle.
    """
    busy: dict[tuple[str, str], float] = defaultdict(float)
    for instance in fleet.all():
        if instance.phase in {Phase.READY, Phase.DRAINING}:
            share = utilisation[instance.key, instance.role]
            for name, gpus in instance.nodes.items():
                node = fleet.nodes[name]
                busy[node.cluster, node.hardware] += share * gpus
    members: dict[tuple[str, str], list[NodeSpec]] = defaultdict(list)
    for node in fleet.nodes.values():
        members[node.cluster, node.hardware].append(node)
    return [_pool(place, members[place], fleet.free, busy[place]) for place in sorted(members)]


def _pool(
    place: tuple[str, str], nodes: list[NodeSpec], free: Mapping[str, int], busy: float
) -> Pool:
    parts = dict.fromkeys(("free", "reserved", "maintenance", "unhealthy", "unknown"), 0)
    under: dict[str, int] = defaultdict(int)
    for node in nodes:
        if node.usable:
            parts["free"] += free[node.name]
            under[node.s1] += free[node.name]
        else:
            parts[_UNALLOCATED[node.state]] += free[node.name]
    total = sum(node.gpus for node in nodes)
    held = total - sum(parts.values())
    at_work = min(round(busy), held)
    return Pool(
        cluster=place[0],
        hardware=place[1],
        total=total,
        busy=at_work,
        held_idle=held - at_work,
        largest_free=max(under.values(), default=0),
        **parts,
    )
