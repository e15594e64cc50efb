"""The model files of NVIDIA Topograph: a tree of switches, and blocks of nodes under them."""

from collections.abc import Iterator, Mapping
from typing import Final

from inventory.importers.checks import label_problem, name_problem
from inventory.importers.found import (
    Found,
    FoundCluster,
    FoundLink,
    FoundNode,
    FoundNvlinkDomain,
    FoundSwitch,
    RefusedError,
)
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import HostListError
from inventory.importers.plain import Plain, line_of, mapping, read_yaml, sequence, text_of, texts
from inventory.importers.tiers import cycle_in, tier_of

_REGION: Final = "topology.kubernetes.io/region"
_DOMAIN: Final = ("/domain", "/accelerator")


def read(data: bytes, gathering: Gathering) -> Found:
    """Return the switches with their tiers, the nodes under them, and their NVLink domains."""
    documents = read_yaml(data.decode())
    top = documents[0] if len(documents) == 1 else None
    if not isinstance(top, Mapping) or not isinstance(top.get("blocks"), list):
        raise RefusedError("bad_topograph", "a model needs switches and a list of blocks")
    model = _Model(gathering)
    switches = mapping(top.get("switches"))
    cables = list(model.cables(switches))
    near = [name for block in sequence(top.get("blocks")) if (name := model.block(block))]
    tiers = tier_of(near, ((lower, upper) for _, lower, upper in cables))
    model.add_switches(switches, tiers)
    for block, lower, upper in cables:
        model.link(block, lower, upper, is_node=False)
    model.region(switches)
    if cycle := cycle_in([(lower, upper) for _, lower, upper in cables]):
        line = line_of(mapping(switches.get(cycle[0])))
        message = f"the switches form a cycle: {', '.join(cycle)}"
        gathering.fault(line, "switches", message)
    return gathering.found("topograph", ("switches of the blocks", "switches above them"))


class _Model:
    """Reads the parts of a model; a node in two blocks is a fault."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._cluster = gathering.options.cluster
        self._block_of: dict[str, str] = {}

    def cables(
        self, switches: Mapping[str, Plain]
    ) -> Iterator[tuple[Mapping[str, Plain], str, str]]:
        """Return (where it is said, lower switch, upper switch)."""
        for upper, told in switches.items():
            block = mapping(told)
            for lower in texts(block.get("switches")):
                if self._named(block, "switches", upper, lower):
                    yield block, lower, upper

    def block(self, block: Plain) -> str | None:
        """Add the nodes of a block and their links; return its switch."""
        own = mapping(block)
        switch = text_of(own.get("switch"))
        if switch is None:
            self._gathering.fault(line_of(own), "switch", "a block needs the switch it is under")
            return None
        if not self._named(own, "switch", switch):
            return None
        domain = self._domain(own)
        for name in self._nodes(own):
            first = self._block_of.setdefault(name.lower(), switch)
            if first != switch:
                message = f"node {name} is under {first} and under {switch}"
                self._gathering.fault(line_of(own, "nodes"), "nodes", message)
                continue
            found = FoundNode(
                cluster=self._cluster, name=name, nvlink_domain=domain, at=self._at(own)
            )
            self._gathering.add(found)
            self.link(own, switch, name, is_node=True)
        return switch

    def add_switches(self, switches: Mapping[str, Plain], tiers: Mapping[str, int]) -> None:
        """Add every switch that is described, listed or stands over a block."""
        for name in dict.fromkeys((*switches, *tiers)):
            block = mapping(switches.get(name))
            if name_problem(name):
                continue
            labels = {
                key: text_of(value) or "" for key, value in mapping(block.get("labels")).items()
            }
            good = {key: value for key, value in labels.items() if not label_problem(key, value)}
            found = FoundSwitch(
                cluster=self._cluster,
                name=name,
                tier=tiers.get(name),
                labels=good,
                at=self._at(block),
            )
            self._gathering.add(found)

    def link(self, block: Mapping[str, Plain], switch: str, peer: str, *, is_node: bool) -> None:
        """Add a link whose ports nobody tells."""
        found = FoundLink(
            cluster=self._cluster,
            switch=switch,
            peer=peer,
            peer_is_node=is_node,
            at=self._at(block),
        )
        self._gathering.add(found)

    def region(self, switches: Mapping[str, Plain]) -> None:
        """Add the cluster, in the region that a switch carries as a label."""
        regions = [mapping(mapping(told).get("labels")).get(_REGION) for told in switches.values()]
        region = next(filter(None, map(text_of, regions)), None)
        at = self._gathering.at(1)
        self._gathering.add(FoundCluster(slug=self._cluster, region=region, at=at))

    def _at(self, block: Mapping[str, Plain]) -> str:
        return self._gathering.at(line_of(block) or 1)

    def _nodes(self, block: Mapping[str, Plain]) -> list[str]:
        names: list[str] = []
        for item in texts(block.get("nodes")):
            try:
                names += self._gathering.expand(item)
            except HostListError as fault:
                self._gathering.fault(line_of(block, "nodes"), "nodes", str(fault))
        return [name for name in names if self._named(block, "nodes", name)]

    def _domain(self, block: Mapping[str, Plain]) -> str | None:
        told = mapping(block.get("annotations"))
        domain = next((text_of(v) for k, v in told.items() if k.endswith(_DOMAIN)), None)
        if domain is None or not self._named(block, "annotations", domain):
            return None
        part = next((text_of(v) for k, v in told.items() if k.endswith("/sub-domain")), None)
        at = self._at(block)
        self._gathering.add(FoundNvlinkDomain(cluster=self._cluster, name=domain, at=at))
        if part and part != domain and not name_problem(part):
            self._gathering.add(
                FoundNvlinkDomain(cluster=self._cluster, name=part, parent=domain, at=at)
            )
        return domain

    def _named(self, block: Mapping[str, Plain], key: str, *names: str) -> bool:
        for name in names:
            if problem := name_problem(name):
                self._gathering.fault(line_of(block, key), key, problem)
                return False
        return True
