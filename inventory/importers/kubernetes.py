"""Nodes as ``kubectl get nodes -o json`` or ``-o yaml`` prints them."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inventory.importers.checks import (
    TAINT_MOST,
    gpus_problem,
    hardware_of,
    label_problem,
    name_problem,
    shown,
    text_problem,
)
from inventory.importers.found import Found, FoundCluster, FoundNode, FoundNvlinkDomain, Options
from inventory.importers.gathering import Gathering
from inventory.importers.plain import (
    Plain,
    blocks,
    inside,
    line_of,
    mapping,
    read_json,
    read_yaml,
    text_of,
)

Labels = Mapping[str, str]

_AWS: Final = "topology.k8s.aws/network-node-layer-"
_AWS_LAYER: Final = re.compile(re.escape(_AWS) + r"([1-9])\Z")
_TIER: Final = re.compile(r"fabric\.topograph\.run/tier-(\d)\Z")
_FIXED: Final = {
    "Topograph, earlier": tuple(
        f"network.topology.nvidia.com/{level}" for level in ("leaf", "spine", "core")
    ),
    "Topograph, first": tuple(
        f"network.topology.nvidia.com/{level}" for level in ("block", "spine", "datacenter")
    ),
}
_GKE: Final = ("cloud.google.com/gce-topology-subblock", "cloud.google.com/gce-topology-block")
_NVLINK: Final = (
    "accelerator.topograph.run/domain",
    "network.topology.nvidia.com/accelerator",
    "nvidia.com/gpu.clique",
    "topology.k8s.aws/ultraserver-id",
)
_VENDORS: Final = ("nvidia.com/gpu", "amd.com/gpu")
_SEVENTHS: Final = 7
_MIG: Final = re.compile(r"-MIG-(\d)g\.(\d+)gb")
_MEMORY: Final = re.compile(r"(\d+)GB")
_PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
_EFFECTS: Final = frozenset(("NoSchedule", "NoExecute"))
_MIB_MOST: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class _Family:
    """A way to label where a node is: its label keys from nearest the node outwards."""

    name: str
    keys: tuple[str, ...]


def read(data: bytes, gathering: Gathering) -> Found:
    """Return the nodes of a list, of one node, or of several documents."""
    items = _items(data, gathering)
    options = gathering.options
    labels = [_labels(item) for _, item in items]
    family = _family(labels, options)
    regions: Counter[str] = Counter()
    without = 0
    for (place, item), own in zip(items, labels, strict=True):
        reading = _Reading(gathering, options, family, place)
        if reading.node(item, own):
            regions.update([own.get("topology.kubernetes.io/region", "")])
        else:
            without += 1
    if without < len(items):
        _cluster(gathering, regions)
    if without:
        gathering.note(f"Nodes without GPUs were left out: {without}.")
    sources = _sources(family, labels)
    return gathering.found("kubernetes", sources)


def levels_of(data: bytes) -> tuple[str, ...]:
    """Return the label keys that S1, S2 and further levels of a list of nodes are read from.

    Nothing where there are none, or where nodes have different numbers of levels: no list of keys
    says that.
    """
    gathering = Gathering("nodes", Options())
    labels = [_labels(item) for _, item in _items(data, gathering)]
    family = _family(labels, gathering.options)
    if family.name != "AWS":
        return family.keys
    found = {keys for own in labels if (keys := _aws_keys(own))}
    return found.pop() if len(found) == 1 else ()


def _items(data: bytes, gathering: Gathering) -> list[tuple[str, Mapping[str, Plain]]]:
    if data.lstrip()[:1] in {b"{", b"["}:
        documents = [read_json(data)]
    else:
        documents = read_yaml(data.decode())
    found: list[tuple[str, Mapping[str, Plain]]] = []
    for number, document in enumerate(documents):
        if isinstance(document, list):
            found += [(f"[{n}]", item) for n, item in blocks(document)]
        elif "items" in mapping(document):
            found += [(f"items[{n}]", item) for n, item in blocks(inside(document, "items"))]
        elif isinstance(document, Mapping):
            found.append((f"document {number + 1}", document))
    nodes = [(place, item) for place, item in found if item.get("kind", "Node") == "Node"]
    if len(nodes) < len(found):
        gathering.note(f"Objects that are no nodes were left out: {len(found) - len(nodes)}.")
    return nodes


def _labels(item: Mapping[str, Plain]) -> dict[str, str]:
    """Return the labels of a node; a value that YAML reads as a number stays text."""
    return {
        key: value if isinstance(value, str) else text_of(value) or str(value or "").lower()
        for key, value in mapping(inside(item, "metadata", "labels")).items()
    }


def _family(labels: Sequence[Labels], options: Options) -> _Family:
    """Return the first family of keys that any node carries, in the order of their age."""
    if options.level_keys:
        return _Family("as chosen", options.level_keys)
    keys = {key for own in labels for key in own}
    tiers = sorted((key for key in keys if _TIER.match(key)), key=_last_number)
    current = tuple(f"{tiers[0][:-1]}{n}" for n in range(_reach(tiers))) if tiers else ()
    signs = (
        (bool(tiers), _Family("Topograph", current)),
        *((fixed[0] in keys, _Family(name, fixed)) for name, fixed in _FIXED.items()),
        (any(_AWS_LAYER.match(key) for key in keys), _Family("AWS", ())),
        (bool(keys & set(_GKE)), _Family("GKE", _GKE)),
    )
    return next((family for there, family in signs if there), _Family("none", ()))


def _last_number(key: str) -> int:
    return int(key[-1])


def _reach(tiers: Sequence[str]) -> int:
    return _last_number(tiers[-1]) + 1


def _tiers(family: _Family, labels: Labels) -> tuple[str | None, ...]:
    """Return where a node is, nearest first. AWS counts its layers down to the node."""
    keys = family.keys if family.name != "AWS" else _aws_keys(labels)
    places = [labels.get(key) or None for key in keys]
    while places and places[-1] is None:
        places.pop()
    return tuple(places)


def _aws_keys(labels: Labels) -> tuple[str, ...]:
    layers = sorted(
        (int(match[1]) for key in labels if (match := _AWS_LAYER.match(key))), reverse=True
    )
    return tuple(f"{_AWS}{layer}" for layer in range(layers[0], 0, -1)) if layers else ()


def _sources(family: _Family, labels: Sequence[Labels]) -> tuple[str, ...]:
    """Return the label key of each level; those of AWS as most nodes have them."""
    if family.name != "AWS":
        return family.keys
    return Counter(keys for own in labels if (keys := _aws_keys(own))).most_common(1)[0][0]


def _cluster(gathering: Gathering, regions: Counter[str]) -> None:
    named = [region for region, _ in regions.most_common() if region]
    if len(named) > 1:
        gathering.note(
            f"Nodes of {len(named)} regions ({', '.join(named)}) are in one list: "
            f"the cluster is taken to be in {named[0]}."
        )
    region = named[0] if named else None
    place = gathering.at("labels")
    gathering.add(FoundCluster(slug=gathering.options.cluster, region=region, at=place))


@dataclass(frozen=True, slots=True)
class _Gpus:
    """GPUs of a node: how many there are, how many may be given out, and their type's name."""

    there: int
    usable: int
    product: str | None
    memory_mib: int | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One node of the list."""

    gathering: Gathering
    options: Options
    family: _Family
    place: str

    def node(self, item: Mapping[str, Plain], labels: Labels) -> bool:
        """Add a node; return whether it has GPUs. What is wrong with it is kept as faults."""
        name = text_of(inside(item, "metadata", "name"))
        if name is None:
            self._fault(item, "metadata.name", "the node has no name")
            return True
        gpus = self._gpus(item, labels)
        if gpus is None:
            return False
        faults = [name_problem(name), gpus_problem(gpus.there)]
        for field, problem in zip(("metadata.name", "gpus"), faults, strict=True):
            if problem:
                self._fault(item, field, problem)
        if not any(faults):
            self._add(item, labels, name, gpus)
        return True

    def _add(self, item: Mapping[str, Plain], labels: Labels, name: str, gpus: _Gpus) -> None:
        at, cluster = self.gathering.at(self.place), self.options.cluster
        health, reason = _health(item, gpus)
        domain = self._nvlink(item, labels)
        slug = self._hardware(labels, gpus, at)
        self.gathering.add(
            FoundNode(
                cluster=cluster,
                name=name,
                hardware=slug,
                gpus=gpus.there,
                gpus_allocatable=gpus.usable,
                tiers=self._placed(item, labels),
                nvlink_domain=domain,
                provider_id=text_of(inside(item, "spec", "providerID")),
                k8s_uid=text_of(inside(item, "metadata", "uid")),
                instance_type=labels.get("node.kubernetes.io/instance-type"),
                admin_state=(
                    "cordoned" if inside(item, "spec", "unschedulable") is True else "in_service"
                ),
                health=health,
                reason=reason or _cordon_reason(item, labels),
                driver=labels.get("nvidia.com/cuda.driver-version.full"),
                cuda=labels.get("nvidia.com/cuda.runtime-version.full"),
                labels=self._kept(item, labels),
                taints=_taints(item),
                at=at,
            )
        )
        if domain:
            self._domain(labels, domain, at)

    def _gpus(self, item: Mapping[str, Plain], labels: Labels) -> _Gpus | None:
        """Return the GPUs there are, of which a scheduler may see slices or shares."""
        vendor = next((one for one in _VENDORS if _has(item, labels, one)), None)
        if vendor is None:
            return None
        capacity = self._number(item, ("status", "capacity", vendor))
        usable = self._number(item, ("status", "allocatable", vendor), capacity)
        product = labels.get(f"{vendor}.product") or labels.get(f"{vendor}.product-name")
        product = None if product and text_problem(product) else product
        told = _whole(labels.get(f"{vendor}.count", ""))
        memory = _whole(labels.get(f"{vendor}.memory", ""))
        memory = memory if memory is not None and 0 < memory < _MIB_MOST else None
        strategy = labels.get("nvidia.com/mig.strategy", "none")
        if strategy == "single" and product and "-MIG-" in product:
            return self._sliced(item, product, max(told or 0, capacity), usable)
        if strategy == "mixed" and told is not None:
            # Slices are resources of their own, so the whole GPUs left over say nothing.
            return _Gpus(told, told, product, memory)
        shares = _shares(labels, vendor)
        there = told if told is not None else capacity // shares
        if there >= 0 and shares == 1:
            there = max(there, capacity)
        return _Gpus(there, min(usable // shares, there), product, memory)

    def _sliced(self, item: Mapping[str, Plain], product: str, slices: int, usable: int) -> _Gpus:
        """Return the whole GPUs behind the slices that the strategy *single* shows as GPUs."""
        each = _slices_of_a_gpu(product)
        if each is None or slices % each:
            self._fault(
                item,
                "nvidia.com/gpu.count",
                f"{slices} slices of {product} are no whole number of GPUs",
            )
            each = each or 1
        there = -(-slices // each)
        self.gathering.note(
            f"Nodes with slices ({product}) count whole GPUs: {slices} slices are {there} GPUs."
        )
        return _Gpus(there, usable // each, product, None)

    def _number(self, item: Mapping[str, Plain], path: tuple[str, ...], absent: int = 0) -> int:
        value = inside(item, *path)
        if value is None:
            return absent
        number = _whole(str(value))
        if number is None or number < 0:
            problem = gpus_problem(number) if number is not None else None
            self._fault(item, ".".join(path), problem or f"{shown(str(value))} is no whole number")
            return absent
        return number

    def _hardware(self, labels: Labels, gpus: _Gpus, at: str) -> str | None:
        instance = labels.get("node.kubernetes.io/instance-type")
        product = gpus.product or instance
        if product is None or text_problem(product):
            return None
        hardware = hardware_of(product, gpus.there, memory_mib=gpus.memory_mib, at=at)
        if gpus.product is None:
            # An instance type says which machine it is, and not which GPU is in it.
            hardware = replace(hardware, slug=hardware_of(product, None).slug, gpu_model=None)
        self.gathering.add(hardware)
        return hardware.slug

    def _placed(self, item: Mapping[str, Plain], labels: Labels) -> tuple[str | None, ...]:
        tiers = _tiers(self.family, labels)
        for tier in tiers:
            if tier is not None and (problem := name_problem(tier)):
                self._fault(item, "metadata.labels", problem)
                return ()
        return tiers

    def _nvlink(self, item: Mapping[str, Plain], labels: Labels) -> str | None:
        domain = next((labels[key] for key in _NVLINK if labels.get(key)), None)
        if domain is None and labels.get("node.kubernetes.io/instance-type", "").startswith("a4x"):
            # There a sub-block is one NVLink domain.
            domain = labels.get(_GKE[0])
        if domain and (problem := name_problem(domain)):
            self._fault(item, "metadata.labels", problem)
            return None
        return domain or None

    def _domain(self, labels: Labels, domain: str, at: str) -> None:
        part = labels.get("accelerator.topograph.run/sub-domain")
        self.gathering.add(FoundNvlinkDomain(cluster=self.options.cluster, name=domain, at=at))
        if part and part != domain and not name_problem(part):
            self.gathering.add(
                FoundNvlinkDomain(cluster=self.options.cluster, name=part, parent=domain, at=at)
            )

    def _kept(self, item: Mapping[str, Plain], labels: Labels) -> Labels:
        kept = {}
        for key, value in labels.items():
            problem = label_problem(key, value)
            if problem:
                self._fault(item, "metadata.labels", problem)
            else:
                kept[key] = value
        return kept

    def _fault(self, item: Mapping[str, Plain], field: str, message: str) -> None:
        self.gathering.fault(line_of(item), f"{self.place}.{field}", message)


def _has(item: Mapping[str, Plain], labels: Labels, vendor: str) -> bool:
    counted = str(inside(item, "status", "capacity", vendor) or "0")
    return (
        counted != "0"
        or labels.get(f"{vendor}.present") == "true"
        or labels.get(f"{vendor}.count", "0") != "0"
    )


def _whole(text: str) -> int | None:
    return int(text) if re.match(r"-?\d{1,12}\Z", text) else None


def _shares(labels: Labels, vendor: str) -> int:
    """Return how many pods share a GPU: the count shown by the node is that much larger."""
    if labels.get(f"{vendor}.sharing-strategy", "none") == "none":
        return 1
    return max(_whole(labels.get(f"{vendor}.replicas", "1")) or 1, 1)


def _slices_of_a_gpu(product: str) -> int | None:
    """Return how many slices of a profile one GPU holds, ``None`` where the name doesn't say.

    A GPU has seven parts for computing; a profile takes some of them, and of memory what its
    name says: of 80 GB, seven times 1g.10gb and four times 1g.20gb.
    """
    match = _MIG.search(product)
    if match is None:
        return None
    parts, gigabytes = int(match[1]), int(match[2])
    whole = _MEMORY.search(product)
    by_parts = _SEVENTHS // parts if parts else None
    if by_parts is None or whole is None or gigabytes == 0:
        return by_parts
    return max(1, min(by_parts, int(whole[1]) // gigabytes))


def _health(item: Mapping[str, Plain], gpus: _Gpus) -> tuple[str, str | None]:
    """Return how a node is, and why: its own word first, then its GPUs, taints and pressures."""
    conditions = {
        text_of(one.get("type")): one for _, one in blocks(inside(item, "status", "conditions"))
    }
    ready = conditions.get("Ready", {})
    said, why = text_of(ready.get("status")), _clean(text_of(ready.get("reason")))
    if said == "False":
        return "failed", f"not ready: {why or 'no reason given'}"
    if said != "True":
        return "unknown", why or "the node doesn't say whether it is ready"
    if gpus.usable < gpus.there:
        counted = f"{gpus.usable} of {gpus.there} GPUs allocatable"
        return ("degraded" if gpus.usable else "failed"), counted
    troubles = [
        f"taint {_clean(text_of(taint.get('key')))}=unhealthy"
        for _, taint in blocks(inside(item, "spec", "taints"))
        if "unhealthy" in {text_of(taint.get("value")), text_of(taint.get("key"))}
    ]
    troubles += [one for one in _PRESSURES if conditions.get(one, {}).get("status") == "True"]
    return ("degraded", ", ".join(troubles)) if troubles else ("ok", None)


def _taints(item: Mapping[str, Plain]) -> tuple[str, ...]:
    """Return the taints that keep instances away.

    Not those that say again how the node is, nor those that keep away who asks for no GPU.
    """
    found: list[str] = []
    for _, taint in blocks(inside(item, "spec", "taints")):
        key, value = (text_of(taint.get(name)) for name in ("key", "value"))
        if not key or text_of(taint.get("effect")) not in _EFFECTS or _says_known(key):
            continue
        said = f"{key}={value}" if value else key
        if not text_problem(said, TAINT_MOST):
            found.append(said)
    return tuple(sorted(set(found)))


def _says_known(key: str) -> bool:
    return key in _VENDORS or key.startswith("node.kubernetes.io/")


def _cordon_reason(item: Mapping[str, Plain], labels: Labels) -> str | None:
    if inside(item, "spec", "unschedulable") is not True:
        return None
    told = {**{k: str(v) for k, v in mapping(inside(item, "metadata", "annotations")).items()}}
    told |= labels
    by, why = (
        next((_clean(value) for key, value in told.items() if key.endswith(f"/{word}")), None)
        for word in ("cordon-by", "cordon-reason")
    )
    said = [why or "cordoned", f"by {by}" if by else ""]
    return " ".join(filter(None, said)) if by or why else None


def _clean(text: str | None) -> str | None:
    return None if text is None or text_problem(text) else text
