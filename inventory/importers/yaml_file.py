"""The product's own YAML, as people keep it in a repository and as the export writes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from inventory.importers.checks import (
    TAINT_MOST,
    gpus_problem,
    label_problem,
    leaves_problem,
    name_problem,
    shown,
    text_problem,
)
from inventory.importers.found import (
    ADMIN_STATES,
    HEALTHS,
    LIFECYCLES,
    TIERS,
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
    RefusedError,
)
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import HostListError
from inventory.importers.plain import (
    Plain,
    line_of,
    mapping,
    read_yaml,
    sequence,
    text_of,
    texts,
)

VERSION: Final = 1
NODE_TEXTS: Final = (
    *("nvlink_domain", "serial", "provider_id", "k8s_uid", "instance_type"),
    *("reason", "driver", "cuda"),
)
STATES: Final = {"lifecycle": LIFECYCLES, "admin_state": ADMIN_STATES, "health": HEALTHS}
_GROUP: Final = ("nodes", "sku", "gpus")
KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "file": ("version", "skus", "regions", "clusters"),
    "sku": (
        *("slug", "gpu_model", "gpus_per_node", "gpu_memory_mib", "vendor", "nvlink"),
        *("u_height", "aliases"),
    ),
    "region": ("slug", "name", "time_zone", "clusters"),
    "cluster": (
        *("slug", "kind", "fabric", "fabrics", "s2", "s1", "racks", *_GROUP),
        *("switches", "links", "nvlink_domains"),
    ),
    "fabric": ("name", "technology", "rail_count", "level_names"),
    "s2": ("name", "spines", "s1", "racks", *_GROUP),
    "s1": ("name", "leaves", "racks", *_GROUP),
    "rack": ("name", "site", "u_height", "u_start", "u_step", *_GROUP),
    "node": (
        *("name", "sku", "gpus", "gpus_allocatable", "u", "labels", "taints", "clears"),
        *TIERS[2:],
        *(*NODE_TEXTS, *STATES, "gpu_list", "nics"),
    ),
    "gpu": ("index", "uuid", "serial", "model", "memory_mib", "pci_bus_id", "mig"),
    "nic": ("name", "guid", "speed_gbps", "rail"),
    "switch": ("name", "fabric", "tier", "rail", "guid", "model", "rack", "labels"),
    "link": ("switch", "port", "node", "nic", "peer", "peer_port", "speed_gbps", "count"),
    "nvlink_domain": ("name", "parent"),
}
_MOST: Final = 1_000_000_000


def read(data: bytes, gathering: Gathering) -> Found:
    """Return what the file says exists; every key it doesn't know is a fault."""
    documents = read_yaml(data.decode())
    if len(documents) != 1 or not isinstance(documents[0], Mapping):
        raise RefusedError("bad_yaml", "the file must be one mapping with version, skus, regions")
    top = documents[0]
    version = top.get("version")
    if version != VERSION:
        said = shown(str(version))
        raise RefusedError("bad_version", f"version {VERSION} is read, not {said}", line_of(top))
    reading = _Reading(gathering)
    reading.known(top, "file")
    for block in reading.blocks(top, "skus", "sku"):
        reading.hardware(block)
    for block in reading.blocks(top, "regions", "region"):
        reading.region(block)
    for block in reading.blocks(top, "clusters", "cluster"):
        reading.cluster(block, None)
    return gathering.found("yaml", ("the file", "the file"))


@dataclass(frozen=True, slots=True)
class _Where:
    """What a list of nodes inherits from where it stands."""

    cluster: str
    s2: str | None = None
    s1: str | None = None
    rack: str | None = None
    sku: str | None = None
    gpus: int | None = None
    u_start: int | None = None
    u_step: int = 1
    leaves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads mappings one kind after the other; what is wrong goes to the gathering."""

    gathering: Gathering

    def at(self, block: Mapping[str, Plain]) -> str:
        return self.gathering.at(line_of(block) or 0)

    def fault(self, block: Mapping[str, Plain], key: str, message: str) -> None:
        self.gathering.fault(line_of(block, key), key, message)

    def known(self, block: Mapping[str, Plain], kind: str) -> None:
        for key in block:
            if key not in KEYS[kind]:
                known = ", ".join(KEYS[kind])
                self.fault(block, key, f"{kind} has no key {shown(key)}: it has {known}")

    def blocks(
        self, block: Mapping[str, Plain], key: str, kind: str
    ) -> Iterator[Mapping[str, Plain]]:
        """Return the mappings of a list."""
        value = block.get(key)
        if value is not None and not isinstance(value, list):
            self.fault(block, key, f"{key} must be a list")
            return
        for item in sequence(value):
            if isinstance(item, Mapping):
                self.known(item, kind)
                yield item
            else:
                self.fault(block, key, f"{shown(str(item))} is no {kind}: write a mapping")

    def name(self, block: Mapping[str, Plain], key: str = "name") -> str | None:
        """Return a name; ``None``, with a fault, where it is missing or none."""
        value = text_of(block.get(key))
        problem = f"{key} is missing" if value is None else name_problem(value)
        if problem:
            self.fault(block, key, problem)
            return None
        return value

    def names(self, block: Mapping[str, Plain], key: str) -> tuple[str, ...]:
        found: list[str] = []
        for item in texts(block.get(key)):
            found += self.expanded(block, key, item)
        return tuple(found)

    def expanded(self, block: Mapping[str, Plain], key: str, item: str) -> list[str]:
        try:
            found = self.gathering.expand(item)
        except HostListError as fault:
            self.fault(block, key, str(fault))
            return []
        problem = next(filter(None, map(name_problem, found)), None)
        if problem:
            self.fault(block, key, problem)
            return []
        return found

    def text(self, block: Mapping[str, Plain], key: str) -> str | None:
        value = text_of(block.get(key))
        if value is not None and (problem := text_problem(value, 253)):
            self.fault(block, key, problem)
            return None
        return value

    def number(
        self, block: Mapping[str, Plain], key: str, low: int = 0, high: int = _MOST
    ) -> int | None:
        value = block.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            wanted = f"a whole number from {low} to {high:,}"
            self.fault(block, key, f"{shown(str(value))} is not {wanted}")
            return None
        return value

    def gpus(self, block: Mapping[str, Plain], key: str = "gpus") -> int | None:
        value = self.number(block, key, -_MOST)
        if value is not None and (problem := gpus_problem(value)):
            self.fault(block, key, problem)
            return None
        return value

    def labels(self, block: Mapping[str, Plain]) -> dict[str, str]:
        found = {}
        for key, value in mapping(block.get("labels")).items():
            said = text_of(value) or (str(value).lower() if isinstance(value, bool) else "")
            problem = label_problem(key, said)
            if problem:
                self.fault(block, "labels", problem)
            else:
                found[key] = said
        return found

    def taints(self, block: Mapping[str, Plain]) -> tuple[str, ...] | None:
        """Return the taints of a node; an empty list says that it has none."""
        if "taints" not in block:
            return None
        found = texts(block["taints"])
        problems = [text_problem(one, TAINT_MOST) for one in found]
        for problem in filter(None, problems):
            self.fault(block, "taints", problem)
        return tuple(one for one, bad in zip(found, problems, strict=True) if not bad)

    def hardware(self, block: Mapping[str, Plain]) -> None:
        slug = self.name(block, "slug")
        if slug is None:
            return
        self.gathering.add(
            FoundHardware(
                slug=slug,
                gpu_model=self.text(block, "gpu_model"),
                gpus_per_node=self.gpus(block, "gpus_per_node"),
                gpu_memory_mib=self.number(block, "gpu_memory_mib"),
                vendor=self.text(block, "vendor"),
                nvlink=self.text(block, "nvlink"),
                u_height=self.number(block, "u_height", 1, 60),
                aliases=tuple(texts(block.get("aliases"))),
                at=self.at(block),
            )
        )

    def region(self, block: Mapping[str, Plain]) -> None:
        slug = self.name(block, "slug")
        if slug is None:
            return
        name, zone = self.text(block, "name"), self.text(block, "time_zone")
        self.gathering.add(FoundRegion(slug=slug, name=name, time_zone=zone, at=self.at(block)))
        for cluster in self.blocks(block, "clusters", "cluster"):
            self.cluster(cluster, slug)

    def cluster(self, block: Mapping[str, Plain], region: str | None) -> None:
        slug = self.name(block, "slug")
        if slug is None:
            return
        kind = self.text(block, "kind")
        self.gathering.add(FoundCluster(slug=slug, region=region, kind=kind, at=self.at(block)))
        one = block.get("fabric")
        if isinstance(one, Mapping):
            self.known(one, "fabric")
            self.fabric(one, slug)
        for fabric in self.blocks(block, "fabrics", "fabric"):
            self.fabric(fabric, slug)
        for switch in self.blocks(block, "switches", "switch"):
            self.switch(switch, slug)
        where = self.within(block, _Where(slug))
        for s2 in self.blocks(block, "s2", "s2"):
            self.s2(s2, where)
        self.below(block, where)
        for link in self.blocks(block, "links", "link"):
            self.link(link, slug)
        for domain in self.blocks(block, "nvlink_domains", "nvlink_domain"):
            self.domain(domain, slug)

    def fabric(self, block: Mapping[str, Plain], cluster: str) -> None:
        self.gathering.add(
            FoundFabric(
                cluster=cluster,
                name=self.text(block, "name") or "compute",
                technology=self.text(block, "technology"),
                rail_count=self.number(block, "rail_count", 0, 64),
                level_names=tuple(texts(block.get("level_names"))),
                at=self.at(block),
            )
        )

    def switch(self, block: Mapping[str, Plain], cluster: str) -> None:
        name = self.name(block)
        if name is None:
            return
        self.gathering.add(
            FoundSwitch(
                cluster=cluster,
                name=name,
                fabric=self.text(block, "fabric") or "compute",
                tier=self.number(block, "tier", 0, 7),
                rail=self.number(block, "rail", 0, 63),
                guid=self.text(block, "guid"),
                model=self.text(block, "model"),
                rack=self.text(block, "rack"),
                labels=self.labels(block),
                at=self.at(block),
            )
        )

    def domain(self, block: Mapping[str, Plain], cluster: str) -> None:
        name = self.name(block)
        if name is not None:
            parent = self.text(block, "parent")
            found = FoundNvlinkDomain(cluster=cluster, name=name, parent=parent, at=self.at(block))
            self.gathering.add(found)

    def link(self, block: Mapping[str, Plain], cluster: str) -> None:
        switch = self.name(block, "switch")
        far = "node" if "node" in block else "peer"
        peer = self.name(block, far)
        if switch is None or peer is None:
            return
        self.gathering.add(
            FoundLink(
                cluster=cluster,
                switch=switch,
                peer=peer,
                peer_is_node=far == "node",
                port=self.text(block, "port") or "",
                peer_port=self.text(block, "nic" if far == "node" else "peer_port") or "",
                speed_gbps=self.number(block, "speed_gbps"),
                count=self.number(block, "count", 1, 1024) or 1,
                at=self.at(block),
            )
        )

    def s2(self, block: Mapping[str, Plain], where: _Where) -> None:
        name = self.name(block)
        if name is None:
            return
        spines = self.names(block, "spines")
        self.switches(block, where.cluster, spines, 1)
        within = replace(self.within(block, where), s2=name)
        leaves = self.below(block, within)
        for leaf in leaves:
            for spine in spines:
                link = FoundLink(
                    cluster=where.cluster,
                    switch=leaf,
                    peer=spine,
                    peer_is_node=False,
                    at=self.at(block),
                )
                self.gathering.add(link)

    def below(self, block: Mapping[str, Plain], where: _Where) -> tuple[str, ...]:
        """Read what stands under a cluster or an S2; return the leaves that are named there."""
        named: tuple[str, ...] = ()
        for s1 in self.blocks(block, "s1", "s1"):
            name = self.name(s1)
            if name is None:
                continue
            leaves = self.names(s1, "leaves")
            if problem := leaves_problem(len(leaves)):
                self.fault(s1, "leaves", problem)
                leaves = ()
            self.switches(s1, where.cluster, leaves, 0)
            named += leaves
            self.racks(s1, replace(self.within(s1, where), s1=name, leaves=leaves))
        self.racks(block, where)
        return named

    def switches(
        self, block: Mapping[str, Plain], cluster: str, names: Sequence[str], tier: int
    ) -> None:
        for name in names:
            at = self.at(block)
            self.gathering.add(FoundSwitch(cluster=cluster, name=name, tier=tier, at=at))

    def racks(self, block: Mapping[str, Plain], where: _Where) -> None:
        """Read the racks of a place, and the nodes that stand there without one."""
        for rack in self.blocks(block, "racks", "rack"):
            name = self.name(rack)
            if name is None:
                continue
            found = FoundRack(
                cluster=where.cluster,
                name=name,
                site=self.text(rack, "site"),
                u_height=self.number(rack, "u_height", 1, 60),
                at=self.at(rack),
            )
            self.gathering.add(found)
            within = replace(
                self.within(rack, where),
                rack=name,
                u_start=self.number(rack, "u_start", 1, 60),
                u_step=self.number(rack, "u_step", 1, 60) or 1,
            )
            self.nodes(rack, within)
        self.nodes(block, where)

    def within(self, block: Mapping[str, Plain], where: _Where) -> _Where:
        sku, gpus = self.text(block, "sku"), self.gpus(block)
        return replace(where, sku=sku or where.sku, gpus=where.gpus if gpus is None else gpus)

    def nodes(self, block: Mapping[str, Plain], where: _Where) -> None:
        position = where.u_start
        for item in sequence(block.get("nodes")):
            if isinstance(item, Mapping):
                self.known(item, "node")
                said = text_of(item.get("name"))
                names = self.expanded(item, "name", said) if said else []
                if not said:
                    self.fault(item, "name", "name is missing")
                place, own = item, self.number(item, "u", 1, 60)
            else:
                names = self.expanded(block, "nodes", text_of(item) or "")
                place, own = {}, None
            for name in names:
                node = FoundNode(
                    cluster=where.cluster,
                    name=name,
                    hardware=where.sku,
                    gpus=where.gpus,
                    rack=where.rack,
                    u_position=own or position,
                    tiers=_tiers(where, [self.text(place, name) for name in TIERS[2:]]),
                    at=self.at(place or block),
                )
                self.node(self.described(node, place) if place else node, where.leaves)
                position = position + where.u_step if position and not own else position

    def node(self, node: FoundNode, leaves: Sequence[str]) -> None:
        self.gathering.add(node)
        for leaf in leaves:
            link = FoundLink(
                cluster=node.cluster, switch=leaf, peer=node.name, peer_is_node=True, at=node.at
            )
            self.gathering.add(link)

    def described(self, node: FoundNode, block: Mapping[str, Plain]) -> FoundNode:
        """Return a node with what its own mapping says, and add its GPUs and adapters."""
        told: dict[str, Any] = {key: self.text(block, key) for key in NODE_TEXTS}
        for axis, known in STATES.items():
            told[axis] = self.text(block, axis)
            if told[axis] is not None and told[axis] not in known:
                self.fault(block, axis, f"{shown(str(told[axis]))} is none of {', '.join(known)}")
                told[axis] = None
        own = self.gpus(block)
        self.parts(node, block)
        return replace(
            node,
            **told,
            hardware=self.text(block, "sku") or node.hardware,
            gpus=node.gpus if own is None else own,
            gpus_allocatable=self.gpus(block, "gpus_allocatable"),
            labels=self.labels(block),
            taints=self.taints(block),
            clears=tuple(texts(block.get("clears"))),
        )

    def parts(self, node: FoundNode, block: Mapping[str, Plain]) -> None:
        for one in self.blocks(block, "gpu_list", "gpu"):
            index = self.number(one, "index", 0, 71)
            if index is None:
                continue
            self.gathering.add(
                FoundGpu(
                    cluster=node.cluster,
                    node=node.name,
                    index=index,
                    uuid=self.text(one, "uuid"),
                    serial=self.text(one, "serial"),
                    model=self.text(one, "model"),
                    memory_mib=self.number(one, "memory_mib"),
                    pci_bus_id=self.text(one, "pci_bus_id"),
                    mig=self.text(one, "mig"),
                    at=self.at(one),
                )
            )
        for one in self.blocks(block, "nics", "nic"):
            name = self.text(one, "name")
            if name is None:
                continue
            found = FoundNic(
                cluster=node.cluster,
                node=node.name,
                name=name,
                guid=self.text(one, "guid"),
                speed_gbps=self.number(one, "speed_gbps"),
                rail=self.number(one, "rail", 0, 63),
                at=self.at(one),
            )
            self.gathering.add(found)


def _tiers(where: _Where, outer: Sequence[str | None]) -> tuple[str | None, ...]:
    tiers = [where.s1, where.s2, *outer]
    while tiers and tiers[-1] is None:
        tiers.pop()
    return tuple(tiers)
