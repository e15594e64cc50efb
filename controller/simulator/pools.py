"""GPUs per cluster and hardware type, split into the seven parts of a pool."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.ports import Pool
from controller.core.types import Role
from controller.simulator.fleet import Fleet
from controller.simulator.instances import Phase
from controller.simulator.model import NodeSpec

_UNALLOCATED: Final[Mapping[str, str]] = {
    "ok": "maintenance",
    "maintenance": "maintenance",
    "unhealthy": "unhealthy",
    "unknown": "unknown",
    "reserved": "reserved",
}
"""Where GPUs without an instance count on nodes that take none; a healthy one is cordoned."""

Share = tuple[str, Role]


@dataclass(frozen=True, slots=True)
class Holding:
    """A pool as long as no instance comes or goes: who serves on how many of its GPUs.

    Allocated GPUs count where they are, whatever state the node has come to.
    """

    cluster: str
    hardware: str
    total: int
    parts: Mapping[str, int]
    largest_free: int
    serving: Mapping[Share, int]

    def pool(self, utilisation: Mapping[Share, float]) -> Pool:
        """Return the pool; its parts add up to ``total``.

        Of a service's serving GPUs, its share ``utilisation`` (prefill: time in work; decode:
        throughput over that at the batch limit) is busy; the rest, and all GPUs of starting
        instances, are held idle.
        """
        held = self.total - sum(self.parts.values())
        busy = sum(utilisation[share] * gpus for share, gpus in self.serving.items())
        at_work = min(round(busy), held)
        return Pool(
            cluster=self.cluster,
            hardware=self.hardware,
            total=self.total,
            busy=at_work,
            held_idle=held - at_work,
            largest_free=self.largest_free,
            **self.parts,
        )


def holdings(fleet: Fleet) -> list[Holding]:
    """Return what each pool holds now, in order of cluster and hardware."""
    serving: dict[tuple[str, str], dict[Share, int]] = defaultdict(lambda: defaultdict(int))
    for instance in fleet.all():
        if instance.phase in {Phase.READY, Phase.DRAINING}:
            for name, gpus in instance.nodes.items():
                node = fleet.nodes[name]
                serving[node.cluster, node.hardware][instance.key, instance.role] += gpus
    members: dict[tuple[str, str], list[NodeSpec]] = defaultdict(list)
    for node in fleet.nodes.values():
        members[node.cluster, node.hardware].append(node)
    return [
        _holding(place, members[place], fleet.free, dict(serving[place]))
        for place in sorted(members)
    ]


def _holding(
    place: tuple[str, str],
    nodes: list[NodeSpec],
    free: Mapping[str, int],
    serving: Mapping[Share, int],
) -> Holding:
    parts = dict.fromkeys(("free", "reserved", "maintenance", "unhealthy", "unknown"), 0)
    under: dict[str, int] = defaultdict(int)
    for node in nodes:
        if node.usable:
            parts["free"] += free[node.name]
            under[node.s1] += free[node.name]
        else:
            parts[_UNALLOCATED[node.state]] += free[node.name]
    return Holding(
        cluster=place[0],
        hardware=place[1],
        total=sum(node.gpus for node in nodes),
        parts=parts,
        largest_free=max(under.values(), default=0),
        serving=serving,
    )
