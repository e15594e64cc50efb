"""An inventory as the product's own YAML, which reads back as the same."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

import yaml

from inventory.importers.found import (
    TIERS,
    Found,
    FoundCluster,
    FoundLink,
    FoundNode,
    FoundRack,
    Key,
)
from inventory.importers.hostlist import fold
from inventory.importers.yaml_file import KEYS, NODE_TEXTS, STATES, VERSION


def write(found: Found) -> str:
    """Return the file that reads back as the same things, with nodes that are alike as ranges."""
    regions: list[dict[str, Any]] = []
    owners: dict[Key, dict[str, Any]] = {
        region.key: {"slug": region.slug} for region in found.regions
    }
    for region in found.regions:
        block = owners[region.key]
        block |= _said(region, ("name", "time_zone"))
        regions.append(block)
    loose = []
    for cluster in found.clusters:
        block = {"slug": cluster.slug, **_said(cluster, ("kind",)), **_cluster(found, cluster)}
        owner = owners.get((cluster.region.lower(),)) if cluster.region else None
        if owner is None:
            loose.append(block)
        else:
            owner.setdefault("clusters", []).append(block)
    skus = [_said(one, KEYS["sku"]) for one in found.hardware]
    document = {"version": VERSION, "skus": skus, "regions": regions, "clusters": loose}
    kept = {key: value for key, value in document.items() if value}
    return yaml.dump(
        kept,
        Dumper=_DUMPER,
        sort_keys=False,
        allow_unicode=True,
        width=99,
        default_flow_style=None,
    )


def only(found: Found, nodes: Collection[Key]) -> Found:
    """Return some nodes with what belongs to them: parts, cables, switches, racks and types."""
    kept = tuple(one for one in found.nodes if one.key in nodes)
    links = tuple(
        one
        for one in found.links
        if one.peer_is_node and (one.cluster.lower(), one.peer.lower()) in nodes
    )
    clusters = {one.cluster.lower() for one in kept}
    switches = {(one.cluster.lower(), one.switch.lower()) for one in links}
    leaves = tuple(one for one in found.switches if one.key in switches)
    places = [(one.cluster, one.rack) for one in kept] + [
        (one.cluster, one.rack) for one in leaves
    ]
    racks = {(cluster.lower(), rack.lower()) for cluster, rack in places if rack}
    nvlinked = {
        (one.cluster.lower(), one.nvlink_domain.lower()) for one in kept if one.nvlink_domain
    }
    owners = tuple(one for one in found.clusters if one.slug.lower() in clusters)
    types = {one.hardware for one in kept}
    return replace(
        found,
        regions=tuple(one for one in found.regions if one.slug in {at.region for at in owners}),
        clusters=owners,
        fabrics=tuple(one for one in found.fabrics if one.cluster.lower() in clusters),
        hardware=tuple(one for one in found.hardware if one.slug in types),
        racks=tuple(one for one in found.racks if one.key in racks),
        switches=leaves,
        nvlink_domains=tuple(one for one in found.nvlink_domains if one.key in nvlinked),
        nodes=kept,
        gpus=tuple(one for one in found.gpus if one.key[:2] in nodes),
        nics=tuple(one for one in found.nics if one.key[:2] in nodes),
        links=links,
    )


_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def _said(thing: object, keys: Sequence[str]) -> dict[str, Any]:
    """Return the fields that say something, fit for a file."""
    found: dict[str, Any] = {}
    for key in keys:
        value = getattr(thing, key, None)
        if value not in (None, (), {}):
            plain = list(value) if isinstance(value, tuple) else value
            found[key] = dict(plain) if isinstance(plain, Mapping) else plain
    return found


def _cluster(found: Found, cluster: FoundCluster) -> dict[str, Any]:
    mine = cluster.slug.lower()

    def own(things: Sequence[Any]) -> list[Any]:
        return [thing for thing in things if thing.cluster.lower() == mine]

    listed = {
        "fabrics": [_said(one, KEYS["fabric"]) for one in own(found.fabrics)],
        "switches": [_said(one, KEYS["switch"]) for one in own(found.switches)],
        **_places(found, own(found.nodes), own(found.racks)),
        "links": [_link(one) for one in own(found.links)],
        "nvlink_domains": [_said(one, ("name", "parent")) for one in own(found.nvlink_domains)],
    }
    return {key: value for key, value in listed.items() if value}


def _link(link: FoundLink) -> dict[str, Any]:
    far, port = ("node", "nic") if link.peer_is_node else ("peer", "peer_port")
    told = {
        "switch": link.switch,
        "port": link.port,
        far: link.peer,
        port: link.peer_port,
        "speed_gbps": link.speed_gbps,
        "count": link.count if link.count > 1 else None,
    }
    return {key: value for key, value in told.items() if value not in (None, "")}


def _places(
    found: Found, nodes: Sequence[FoundNode], racks: Sequence[FoundRack]
) -> dict[str, Any]:
    """Return the tree of S2, S1, racks and nodes under a cluster."""
    parts = _parts(found)
    tree: dict[str | None, dict[str | None, dict[str | None, list[FoundNode]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for node in nodes:
        s1, s2 = (*node.tiers, None, None)[:2]
        tree[s2][s1][node.rack].append(node)
    about = {rack.name.lower(): rack for rack in racks}

    def place(held: Mapping[str | None, list[FoundNode]]) -> dict[str, Any]:
        inner = []
        for name, there in held.items():
            rack = about.pop(name.lower(), None) if name else None
            if name:
                head = {"name": name, **_said(rack, ("site", "u_height"))}
                inner.append({**head, "nodes": _nodes(there, parts)})
        bare = held.get(None, [])
        both = {"racks": inner, "nodes": _nodes(bare, parts)}
        return {key: value for key, value in both.items() if value}

    def below(level: Mapping[str | None, Mapping[str | None, list[FoundNode]]]) -> dict[str, Any]:
        inner = [{"name": name, **place(held)} for name, held in level.items() if name]
        return {**({"s1": inner} if inner else {}), **place(level.get(None, {}))}

    upper = [{"name": name, **below(level)} for name, level in tree.items() if name]
    listed = {**({"s2": upper} if upper else {}), **below(tree.get(None, {}))}
    empty = [_said(rack, ("name", "site", "u_height")) for rack in about.values()]
    if empty:
        listed["racks"] = [*listed.get("racks", []), *empty]
    return listed


def _parts(found: Found) -> dict[tuple[str, ...], dict[str, list[dict[str, Any]]]]:
    """Return the GPUs and adapters of each node, fit for a file."""
    parts: dict[tuple[str, ...], dict[str, list[dict[str, Any]]]] = {}
    for gpu in found.gpus:
        listed = parts.setdefault(gpu.key[:2], {}).setdefault("gpu_list", [])
        listed.append(_said(gpu, KEYS["gpu"]))
    for nic in found.nics:
        listed = parts.setdefault(nic.key[:2], {}).setdefault("nics", [])
        listed.append(_said(nic, KEYS["nic"]))
    return parts


def _nodes(
    nodes: Sequence[FoundNode], parts: Mapping[tuple[str, ...], dict[str, list[dict[str, Any]]]]
) -> list[Any]:
    """Return nodes as entries; neighbours that differ in their names alone share one."""
    groups: list[tuple[dict[str, Any], list[str]]] = []
    for node in nodes:
        told = _said(node, (*("gpus", "gpus_allocatable", "labels", "clears"), *NODE_TEXTS))
        told |= _said(node, tuple(STATES))
        told |= {} if node.hardware is None else {"sku": node.hardware}
        told |= {} if node.u_position is None else {"u": node.u_position}
        told |= {} if node.taints is None else {"taints": list(node.taints)}
        outer = zip(TIERS[2:], node.tiers[2:], strict=False)
        told |= {name: tier for name, tier in outer if tier is not None}
        told |= parts.get(node.key, {})
        if groups and groups[-1][0] == told and "u" not in told:
            groups[-1][1].append(node.name)
        else:
            groups.append((told, [node.name]))
    # Copies, because what is the same object twice would be written as an alias.
    return [
        {"name": ranged, **deepcopy(told)} if told else ranged
        for told, names in groups
        for ranged in fold(names)
    ]
