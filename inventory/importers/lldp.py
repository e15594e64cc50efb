"""Neighbours as ``lldpcli show neighbors -f json0`` prints them, host by host."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from inventory.importers.checks import name_problem
from inventory.importers.found import (
    Found,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundSwitch,
    RefusedError,
)
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import sections
from inventory.importers.plain import Plain, blocks, inside, mapping, read_json, sequence, text_of
from inventory.importers.tiers import tier_of

_SWITCHING: Final = ("Bridge", "Router")


def read(data: bytes, gathering: Gathering) -> Found:
    """Return hosts, the switches they see, and the links between.

    A reporter that others see as their switch is a switch too.
    """
    reports = [
        (host, line, list(_neighbours(body, line)))
        for host, line, body in sections(data.decode(), gathering.file)
    ]
    switching = {
        seen.name.lower() for _, _, neighbours in reports for seen in neighbours if seen.switches
    }
    fabric = _Fabric(gathering, switching)
    for host, line, neighbours in reports:
        fabric.report(host, line, neighbours)
    fabric.close()
    return gathering.found("lldp", ("sets of switches with the same nodes", "switches above them"))


class _Neighbour:
    """What one interface sees."""

    def __init__(self, interface: Mapping[str, Plain]) -> None:
        chassis = _first(interface.get("chassis"))
        port = _first(interface.get("port"))
        self.interface = text_of(interface.get("name")) or ""
        self.name = _value(chassis.get("name")) or ""
        self.port = _value(port.get("id")) or _value(port.get("descr")) or ""
        able = [one for _, one in blocks(chassis.get("capability"))]
        on = {text_of(one.get("type")) for one in able if one.get("enabled") is True}
        # One that doesn't say what it can do is taken for a switch: hosts say.
        self.switches = not able or bool(on & set(_SWITCHING))


def _neighbours(body: str, line: int) -> Iterator[_Neighbour]:
    try:
        document = read_json(body.encode())
    except RefusedError as fault:
        where = None if fault.line is None else line + fault.line
        raise RefusedError(fault.code, fault.message, where) from fault
    told = inside(document, "lldp")
    if isinstance(told, Mapping):
        raise RefusedError(
            "bad_lldp", "this is lldpcli's json, which changes shape: use -f json0", line + 1
        )
    for _, report in blocks(told):
        for _, interface in blocks(report.get("interface")):
            yield _Neighbour(interface)


def _first(value: Plain) -> Mapping[str, Plain]:
    listed = sequence(value)
    return mapping(listed[0]) if listed else mapping(value)


def _value(value: Plain) -> str | None:
    return text_of(_first(value).get("value"))


class _Fabric:
    """Hosts and switches so far."""

    def __init__(self, gathering: Gathering, switching: set[str]) -> None:
        self._gathering = gathering
        self._cluster = gathering.options.cluster
        self._switching = switching
        self._near: set[str] = set()
        self._cables: list[tuple[str, str, _Neighbour, str]] = []
        self._seen: dict[str, tuple[str, str]] = {}

    def report(self, host: str, line: int, neighbours: list[_Neighbour]) -> None:
        """Add what one host sees of switches; other hosts it sees are theirs to tell."""
        gathering, at = self._gathering, self._gathering.at(line + 1)
        if problem := name_problem(host):
            gathering.fault(line + 1, "host", problem)
            return
        is_switch = host.lower() in self._switching
        if is_switch:
            self._seen.setdefault(host.lower(), (host, at))
        else:
            gathering.add(FoundNode(cluster=self._cluster, name=host, at=at))
        for seen in neighbours:
            if not seen.switches:
                continue
            if problem := name_problem(seen.name):
                gathering.fault(line + 1, f"{seen.interface}.chassis.name", problem)
                continue
            name = self._seen.setdefault(seen.name.lower(), (seen.name, at))[0]
            if is_switch:
                self._cables.append((host, name, seen, at))
            else:
                self._attach(host, name, seen, at)

    def close(self) -> None:
        """Add the switches with their tiers, and what joins them."""
        pairs = [(one.lower(), other.lower()) for one, other, _, _ in self._cables]
        tiers = tier_of(self._near, pairs)
        for key, (name, at) in self._seen.items():
            found = FoundSwitch(cluster=self._cluster, name=name, tier=tiers.get(key), at=at)
            self._gathering.add(found)
        for one, other, seen, at in self._cables:
            self._gathering.add(
                FoundLink(
                    cluster=self._cluster,
                    switch=one,
                    peer=other,
                    peer_is_node=False,
                    port=seen.interface,
                    peer_port=seen.port,
                    at=at,
                )
            )

    def _attach(self, host: str, switch: str, seen: _Neighbour, at: str) -> None:
        self._near.add(switch.lower())
        nic = seen.interface
        rail = re.search(r"(?:rail|gpu)(\d{1,2})", nic)
        self._gathering.add(
            FoundNic(
                cluster=self._cluster,
                node=host,
                name=nic,
                rail=int(rail[1]) if rail else None,
                at=at,
            )
        )
        self._gathering.add(
            FoundLink(
                cluster=self._cluster,
                switch=switch,
                peer=host,
                peer_is_node=True,
                port=seen.port,
                peer_port=nic,
                at=at,
            )
        )
