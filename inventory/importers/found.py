"""What a file says exists, each thing with its place in the file, and what is wrong with it.

``None`` means that the file doesn't say; a field named in ``clears`` is one it says is empty.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Key: TypeAlias = tuple[str, ...]
TIERS: Final = ("s1", "s2", "core", "s4", "s5", "s6", "s7", "s8")
"""What files call that which a node is under, nearest first."""

LIFECYCLES: Final = ("planned", "active", "decommissioning", "retired")
ADMIN_STATES: Final = ("in_service", "cordoned", "draining", "maintenance")
HEALTHS: Final = ("ok", "degraded", "failed", "unknown")


class RefusedError(ValueError):
    """A file that is not read at all; ``code`` is stable, ``line`` is where it went wrong."""

    def __init__(self, code: str, message: str, line: int | None = None, file: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.file = file

    @property
    def where(self) -> str:
        """Return the file and the line, as far as they are known."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file; ``line`` counts from 1, ``None`` where lines say nothing."""

    line: int | None
    field: str
    message: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What the person who imports says: where unplaced things belong, and how to read labels.

    ``level_keys`` are label keys or columns from nearest the node outwards; ``node_names`` gives
    names to GUIDs, as the map that InfiniBand tools take.
    """

    cluster: str = "imported"
    level_keys: tuple[str, ...] = ()
    node_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRegion:
    """A place."""

    slug: str
    name: str | None = None
    time_zone: str | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.slug.lower(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundCluster:
    """Nodes under one control plane."""

    slug: str
    region: str | None = None
    kind: str | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.slug.lower(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFabric:
    """A network of a cluster; ``level_names`` from nearest the node outwards."""

    cluster: str
    name: str = "compute"
    technology: str | None = None
    rail_count: int | None = None
    level_names: tuple[str, ...] = ()
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSwitch:
    """A switch; tier 0 is nearest the nodes."""

    cluster: str
    name: str
    fabric: str = "compute"
    tier: int | None = None
    rail: int | None = None
    guid: str | None = None
    model: str | None = None
    rack: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRack:
    """A rack."""

    cluster: str
    name: str
    site: str | None = None
    u_height: int | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHardware:
    """A hardware type; ``aliases`` are the words imports call it by."""

    slug: str
    gpu_model: str | None = None
    gpus_per_node: int | None = None
    gpu_memory_mib: int | None = None
    vendor: str | None = None
    nvlink: str | None = None
    u_height: int | None = None
    aliases: tuple[str, ...] = ()
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.slug.lower(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNode:
    """A machine; ``tiers`` are the domains a file asserts, nearest first, ``None`` if unsaid.

    ``taints`` are "key=value" or "key"; ``None`` says nothing of them, and nothing that none is.
    """

    cluster: str
    name: str
    hardware: str | None = None
    gpus: int | None = None
    gpus_allocatable: int | None = None
    rack: str | None = None
    u_position: int | None = None
    tiers: tuple[str | None, ...] = ()
    nvlink_domain: str | None = None
    serial: str | None = None
    provider_id: str | None = None
    k8s_uid: str | None = None
    instance_type: str | None = None
    lifecycle: str | None = None
    admin_state: str | None = None
    health: str | None = None
    reason: str | None = None
    driver: str | None = None
    cuda: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] | None = None
    clears: tuple[str, ...] = ()
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGpu:
    """One GPU of a node."""

    cluster: str
    node: str
    index: int
    uuid: str | None = None
    serial: str | None = None
    model: str | None = None
    memory_mib: int | None = None
    pci_bus_id: str | None = None
    mig: str | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.node.lower(), str(self.index))


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNic:
    """One network adapter of a node."""

    cluster: str
    node: str
    name: str
    guid: str | None = None
    speed_gbps: int | None = None
    rail: int | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.node.lower(), self.name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLink:
    """A cable from a switch to a node's adapter or to another switch; ports empty where unsaid."""

    cluster: str
    switch: str
    peer: str
    peer_is_node: bool
    port: str = ""
    peer_port: str = ""
    speed_gbps: int | None = None
    count: int = 1
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by: the same from whichever end it was seen."""
        ends = [(self.switch.lower(), self.port), (self.peer.lower(), self.peer_port)]
        if not self.peer_is_node:
            ends.sort()
        return (self.cluster.lower(), *ends[0], *ends[1], "node" if self.peer_is_node else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundNvlinkDomain:
    """GPUs of several nodes that share NVLink."""

    cluster: str
    name: str
    parent: str | None = None
    at: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return (self.cluster.lower(), self.name.lower())


Thing: TypeAlias = (
    FoundRegion
    | FoundCluster
    | FoundFabric
    | FoundSwitch
    | FoundRack
    | FoundHardware
    | FoundNode
    | FoundGpu
    | FoundNic
    | FoundLink
    | FoundNvlinkDomain
)


@dataclass(frozen=True, slots=True)
class Found:
    """All that one or several files say.

    ``level_sources`` says in words what S1, S2 and further levels were read from; ``notes`` are
    sentences about what was left out or understood in a particular way; ``disputed`` are the
    things about which two places disagree. ``further_faults`` counts those beyond the cap. Where
    files of several formats are one, ``origins`` are the formats that name a thing.
    """

    format: str
    regions: tuple[FoundRegion, ...] = ()
    clusters: tuple[FoundCluster, ...] = ()
    fabrics: tuple[FoundFabric, ...] = ()
    hardware: tuple[FoundHardware, ...] = ()
    racks: tuple[FoundRack, ...] = ()
    switches: tuple[FoundSwitch, ...] = ()
    nodes: tuple[FoundNode, ...] = ()
    gpus: tuple[FoundGpu, ...] = ()
    nics: tuple[FoundNic, ...] = ()
    links: tuple[FoundLink, ...] = ()
    nvlink_domains: tuple[FoundNvlinkDomain, ...] = ()
    level_sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()
    further_faults: int = 0
    disputed: frozenset[tuple[str, Key]] = frozenset()
    origins: Mapping[tuple[str, Key], tuple[str, ...]] = field(default_factory=dict)

    def forms(self, kind: str, key: Key) -> tuple[str, ...]:
        """Return the formats that name a thing."""
        return self.origins.get((kind, key)) or tuple(self.format.split("+"))

    def things(self) -> Iterable[tuple[str, Thing]]:
        """Return every thing with its kind, those that others rest on first."""
        for kind, name in KINDS.items():
            things: tuple[Thing, ...] = getattr(self, name)
            for thing in things:
                yield kind, thing


KINDS: Final = {
    "region": "regions",
    "cluster": "clusters",
    "fabric": "fabrics",
    "hardware": "hardware",
    "rack": "racks",
    "switch": "switches",
    "nvlink_domain": "nvlink_domains",
    "node": "nodes",
    "gpu": "gpus",
    "nic": "nics",
    "link": "links",
}
