"""NetBox, from pages of its REST interface that were stored: regions, racks, devices, cables."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from inventory.importers.checks import label_problem, name_problem, text_problem
from inventory.importers.found import (
    Found,
    FoundCluster,
    FoundHardware,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundRack,
    FoundRegion,
    FoundSwitch,
)
from inventory.importers.gathering import Gathering
from inventory.importers.plain import Plain, blocks, inside, mapping, read_json, sequence, text_of

_KIND: Final = re.compile(r"/api/(?:dcim|virtualization)/([a-z-]+)/")
# The roles that sites use are their own: these are the words they are usually made of.
_TIERS: Final = (("leaf", 0), ("tor", 0), ("rail", 0), ("spine", 1), ("core", 2), ("switch", None))
_NODES: Final = ("gpu", "compute", "server", "node", "hgx", "dgx", "worker")
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "active": ("active", "in_service"),
    "planned": ("planned", "in_service"),
    "staged": ("planned", "in_service"),
    "inventory": ("planned", "in_service"),
    "offline": ("active", "maintenance"),
    "failed": ("active", "in_service"),
    "decommissioning": ("decommissioning", "in_service"),
}
_MOST: Final = 10_000_000_000
_KBPS_PER_GBPS: Final = 1_000_000

Object = Mapping[str, Plain]


def read(data: bytes, gathering: Gathering) -> Found:
    """Return what the pages hold; objects of kinds that are not needed are counted in a note."""
    reading = _Reading(gathering)
    unread: dict[str, int] = {}
    ordered = sorted(_objects(read_json(data)), key=lambda pair: _place(pair[0]))
    for kind, one in ordered:
        reader = _READERS.get(kind)
        if reader is None:
            unread[kind] = unread.get(kind, 0) + 1
        else:
            reader(reading, one)
    for kind, count in sorted(unread.items()):
        gathering.note(f"Objects of kind {kind or 'unknown'} were left out: {count}.")
    return gathering.found("netbox", ("sets of switches with the same nodes", "switches above"))


def _objects(document: Plain) -> Iterator[tuple[str, Object]]:
    """Return (kind, object) of a page, of a list of pages, or of a list of objects."""
    for item in document if isinstance(document, list) else [document]:
        page = mapping(item)
        listed = page.get("results")
        for one in sequence(listed) if isinstance(listed, list) else [page]:
            found = mapping(one)
            match = _KIND.search(text_of(found.get("url")) or "")
            yield match[1] if match else "", found


def _place(kind: str) -> int:
    return list(_READERS).index(kind) if kind in _READERS else 0


class _Reading:
    """Reads objects one kind after the other, those that others rest on first."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._cluster_of: dict[str, str] = {}
        self._switches: set[str] = set()
        self._nodes: set[str] = set()
        self._types: dict[str, int] = {}

    def region(self, one: Object) -> None:
        slug = self._name(one, "slug")
        if slug:
            name = text_of(one.get("name"))
            self._gathering.add(FoundRegion(slug=slug, name=name, at=self._at("region", one)))

    def rack(self, one: Object) -> None:
        name = self._name(one, "name")
        if name is None:
            return
        found = FoundRack(
            cluster=self._gathering.options.cluster,
            name=name,
            site=text_of(inside(one, "site", "slug")),
            u_height=_whole(one.get("u_height")),
            at=self._at("rack", one),
        )
        self._gathering.add(found)

    def device_type(self, one: Object) -> None:
        slug = self._name(one, "slug")
        if slug is None:
            return
        model, own = text_of(one.get("model")), mapping(one.get("custom_fields"))
        counted = _whole(own.get("gpus_per_node", own.get("gpus")))
        if counted is not None:
            self._types[slug] = counted
        parts = (model, text_of(one.get("part_number")))
        self._gathering.add(
            FoundHardware(
                slug=slug,
                gpu_model=text_of(own.get("gpu_model")),
                gpus_per_node=counted,
                vendor=text_of(inside(one, "manufacturer", "name")),
                u_height=_whole(one.get("u_height")),
                aliases=tuple(part for part in parts if part),
                at=self._at("device type", one),
            )
        )

    def device(self, one: Object) -> None:
        name = self._name(one, "name")
        role = text_of(inside(one, "role", "slug")) or text_of(inside(one, "device_role", "slug"))
        if name is None:
            return
        tier = next((pair for pair in _TIERS if pair[0] in (role or "")), None)
        if tier is not None:
            self._switch(one, name, tier[1])
        elif any(word in (role or "") for word in _NODES):
            self._node(one, name)
        else:
            self._gathering.note(f"Devices of role {role or 'unknown'} were left out.")

    def interface(self, one: Object) -> None:
        node = text_of(inside(one, "device", "name"))
        name = text_of(one.get("name"))
        if node is None or name is None or node.lower() not in self._nodes:
            return
        speed = _whole(one.get("speed"))
        guid = text_of(one.get("wwn")) or text_of(one.get("mac_address"))
        found = FoundNic(
            cluster=self._gathering.options.cluster,
            node=node,
            name=name,
            guid=guid,
            speed_gbps=None if speed is None else speed // _KBPS_PER_GBPS,
            at=self._at("interface", one),
        )
        self._gathering.add(found)

    def cable(self, one: Object) -> None:
        ends = [self._end(one, side) for side in ("a_terminations", "b_terminations")]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends):
            return
        known.sort(key=lambda end: end[0].lower() not in self._switches)
        (switch, port), (peer, peer_port) = known
        if switch.lower() not in self._switches:
            return
        found = FoundLink(
            cluster=self._gathering.options.cluster,
            switch=switch,
            peer=peer,
            peer_is_node=peer.lower() in self._nodes,
            port=port,
            peer_port=peer_port,
            at=self._at("cable", one),
        )
        self._gathering.add(found)

    def _end(self, one: Object, side: str) -> tuple[str, str] | None:
        for _, end in blocks(one.get(side)):
            device = text_of(inside(end, "object", "device", "name"))
            port = text_of(inside(end, "object", "name"))
            if device and port and device.lower() in self._switches | self._nodes:
                return device, port
        return None

    def _switch(self, one: Object, name: str, tier: int | None) -> None:
        self._switches.add(name.lower())
        found = FoundSwitch(
            cluster=self._gathering.options.cluster,
            name=name,
            tier=tier,
            model=text_of(inside(one, "device_type", "model")),
            rack=text_of(inside(one, "rack", "name")),
            at=self._at("device", one),
        )
        self._gathering.add(found)

    def _node(self, one: Object, name: str) -> None:
        self._nodes.add(name.lower())
        status = text_of(inside(one, "status", "value")) or "active"
        lifecycle, admin_state = _STATES.get(status, ("active", "maintenance"))
        slug = text_of(inside(one, "device_type", "slug"))
        rack = text_of(inside(one, "rack", "name"))
        region = text_of(inside(one, "site", "region", "slug"))
        at = self._at("device", one)
        self._gathering.add(
            FoundCluster(slug=self._gathering.options.cluster, region=region, at=at)
        )
        self._gathering.add(
            FoundNode(
                cluster=self._gathering.options.cluster,
                name=name,
                hardware=slug,
                gpus=self._types.get(slug or ""),
                rack=rack,
                u_position=_whole(one.get("position")) if rack else None,
                serial=self._text(one, "serial"),
                lifecycle=lifecycle,
                admin_state=admin_state,
                health="failed" if status == "failed" else None,
                labels=self._tags(one),
                at=at,
            )
        )

    def _tags(self, one: Object) -> dict[str, str]:
        slugs = [text_of(tag.get("slug")) for _, tag in blocks(one.get("tags"))]
        return {f"netbox/{slug}": "" for slug in slugs if slug and not label_problem(slug, "")}

    def _name(self, one: Object, key: str) -> str | None:
        name = text_of(one.get(key))
        problem = f"{key} is missing" if name is None else name_problem(name)
        if problem:
            self._gathering.fault(None, f"{text_of(one.get('url')) or 'object'} {key}", problem)
            return None
        return name

    def _text(self, one: Object, key: str) -> str | None:
        value = text_of(one.get(key))
        if value is not None and (problem := text_problem(value)):
            self._gathering.fault(None, f"{text_of(one.get('url'))} {key}", problem)
            return None
        return value

    def _at(self, kind: str, one: Object) -> str:
        return self._gathering.at(f"{kind} netbox:{text_of(one.get('id')) or '?'}")


def _whole(value: Plain) -> int | None:
    """Return a whole number; NetBox writes heights and positions as 8.0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MOST:
        return None
    return int(value) if value == int(value) else None


_READERS: Final = {
    "regions": _Reading.region,
    "racks": _Reading.rack,
    "device-types": _Reading.device_type,
    "devices": _Reading.device,
    "interfaces": _Reading.interface,
    "cables": _Reading.cable,
}
