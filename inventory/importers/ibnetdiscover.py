"""The InfiniBand fabric as ``ibnetdiscover`` prints it."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from inventory.importers.checks import name_problem, shown
from inventory.importers.found import (
    Found,
    FoundFabric,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundSwitch,
    RefusedError,
)
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import lines_of
from inventory.importers.tiers import tier_of

_HEAD: Final = re.compile(r'(Switch|Ca)\s+(\d+)\s+"([SH]-[0-9a-fA-F]+)"\s*#\s*"([^"]*)"')
_PORT: Final = re.compile(
    r'\[(\d+)\](?:\(\w+\))?\s+"([SHR])-([0-9a-fA-F]+)"\[(\d+)\](?:\((\w+)\))?\s*'
    r'(?:#\s*"([^"]*)"(.*))?'
)
_WRAPPED: Final = re.compile(r"MF0;([^:]*):([^/]*)/")
_SPEED: Final = re.compile(r"\b(\d{1,2})x(SDR|DDR|QDR|FDR10|FDR|EDR|HDR|NDR|XDR)\b")
_HCA: Final = re.compile(r"(mlx\d+_|HCA-|ibp?|bnxt_re|irdma)(\d+)\Z")
# Gigabits per second of one lane, rounded as the names of cables are.
_LANE_GBPS: Final = {
    "SDR": 2.5,
    "DDR": 5,
    "QDR": 10,
    "FDR10": 10,
    "FDR": 14,
    "EDR": 25,
    "HDR": 50,
    "NDR": 100,
    "XDR": 200,
}
# What adapters call themselves that no host has named, and what is part of a switch.
_UNNAMED: Final = re.compile(r"MT\d+|Mellanox Technologies|ConnectX|\Z")
_PSEUDO: Final = "Aggregation Node"


@dataclass(frozen=True, slots=True)
class _Peer:
    """What one port of a switch leads to."""

    kind: str
    guid: str
    port: str
    said: str
    speed_gbps: int | None


def read(data: bytes, gathering: Gathering) -> Found:
    """Return the switches, the hosts they name, their adapters and every cable."""
    fabric = _Fabric(gathering)
    for number, line in enumerate(lines_of(data.decode()), start=1):
        fabric.line(number, line)
    fabric.close()
    sources = ("sets of switches with the same nodes", "switches above them in common")
    return gathering.found("ibnetdiscover", sources)


class _Fabric:
    """The file so far: switches by GUID, cables between them, ports that lead to hosts."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._cluster = gathering.options.cluster
        self._names = {_bare(guid): name for guid, name in gathering.options.node_names.items()}
        self._switches: dict[str, FoundSwitch] = {}
        self._called: dict[str, str] = {}
        self._ups: list[tuple[int, str, str, _Peer]] = []
        self._rails: dict[str, Counter[int]] = {}
        self._near: set[str] = set()
        self._now: str | None = None
        self._unnamed: Counter[str] = Counter()
        self._pseudo = 0

    def line(self, number: int, line: str) -> None:
        head = _HEAD.match(line)
        if head:
            kind, _, guid, said = head.groups()
            # An adapter's own lines repeat what the switches say.
            self._now = _bare(guid) if kind == "Switch" else None
            if self._now:
                self._switch(number, self._now, said)
        elif line.startswith("[") and self._now:
            self._port(number, self._now, line)
        elif line.strip() and not re.match(r"#|\w+=|\[", line):
            self._gathering.fault(number, "", f"{shown(line)} is no line of ibnetdiscover")

    def close(self) -> None:
        """Add the switches, with their tiers, and the cables between them."""
        if not self._switches:
            raise RefusedError("no_switch", "there is no switch in the file")
        uppers = [(lower, peer.guid) for _, lower, _, peer in self._ups]
        tiers = tier_of(self._near, uppers)
        for guid, switch in self._switches.items():
            rails = self._rails.get(guid, Counter())
            self._gathering.add(
                FoundSwitch(
                    cluster=switch.cluster,
                    name=switch.name,
                    tier=tiers.get(guid),
                    rail=next(iter(rails)) if len(rails) == 1 else None,
                    guid=guid,
                    model=switch.model,
                    at=switch.at,
                )
            )
        for number, lower, port, peer in self._ups:
            self._cable(number, self._switches[lower].name, port, peer)
        self._fabric()
        self._say()

    def _switch(self, number: int, guid: str, said: str) -> None:
        if guid in self._switches:
            return
        wrapped = _WRAPPED.match(said)
        name = self._names.get(guid) or (wrapped[1] if wrapped else said.split(" ", 1)[0])
        if name_problem(name):
            name = f"S-{guid}"
        if self._called.setdefault(name.lower(), guid) != guid:
            self._gathering.note(f"Two switches are called {name}: the second goes by its GUID.")
            name = f"S-{guid}"
        model = wrapped[2] if wrapped else None
        at = self._gathering.at(number)
        found = FoundSwitch(cluster=self._cluster, name=name, model=model, guid=guid, at=at)
        self._switches[guid] = found

    def _port(self, number: int, switch: str, line: str) -> None:
        match = _PORT.match(line)
        if match is None:
            self._gathering.fault(number, "port", f"{shown(line)} is no port of a switch")
            return
        port, kind, guid, peer_port, own, said, rest = match.groups()
        speed = _SPEED.search(rest or "")
        gbps = round(int(speed[1]) * _LANE_GBPS[speed[2]]) if speed else None
        peer = _Peer(kind, _bare(own or guid), peer_port, said or "", gbps)
        if kind == "S":
            peer = _Peer(kind, _bare(guid), peer_port, said or "", gbps)
            self._switch(number, peer.guid, peer.said)
            self._ups.append((number, switch, port, peer))
        elif kind == "H":
            self._host(number, switch, port, peer)

    def _host(self, number: int, switch: str, port: str, peer: _Peer) -> None:
        said = self._names.get(peer.guid) or peer.said.strip()
        if _PSEUDO in said:
            self._pseudo += 1
            return
        self._near.add(switch)
        if _UNNAMED.match(said):
            self._unnamed[self._switches[switch].name] += 1
            return
        host, _, nic = said.partition(" ")
        nic = nic.strip() or f"port-{peer.guid}"
        if problem := name_problem(host):
            self._gathering.fault(number, "host", problem)
            return
        self._attach(number, (switch, port), (host, nic), peer)

    def _attach(
        self, number: int, there: tuple[str, str], here: tuple[str, str], peer: _Peer
    ) -> None:
        (switch, port), (host, nic), at = there, here, self._gathering.at(number)
        rail = _rail(nic)
        if rail is not None:
            self._rails.setdefault(switch, Counter())[rail] += 1
        cluster, gbps = self._cluster, peer.speed_gbps
        self._gathering.add(FoundNode(cluster=cluster, name=host, at=at))
        self._gathering.add(
            FoundNic(
                cluster=cluster,
                node=host,
                name=nic,
                guid=peer.guid,
                speed_gbps=gbps,
                rail=rail,
                at=at,
            )
        )
        self._gathering.add(
            FoundLink(
                cluster=cluster,
                switch=self._switches[switch].name,
                peer=host,
                peer_is_node=True,
                port=port,
                peer_port=nic,
                speed_gbps=gbps,
                at=at,
            )
        )

    def _cable(self, number: int, lower: str, port: str, peer: _Peer) -> None:
        self._gathering.add(
            FoundLink(
                cluster=self._cluster,
                switch=lower,
                peer=self._switches[peer.guid].name,
                peer_is_node=False,
                port=port,
                peer_port=peer.port,
                speed_gbps=peer.speed_gbps,
                at=self._gathering.at(number),
            )
        )

    def _fabric(self) -> None:
        rails = {rail for counted in self._rails.values() for rail in counted}
        self._gathering.add(
            FoundFabric(
                cluster=self._cluster,
                technology="IB",
                rail_count=len(rails) or None,
                at=self._gathering.at(1),
            )
        )

    def _say(self) -> None:
        if self._pseudo:
            self._gathering.note(
                f"Aggregation nodes, which are part of switches, were left out: {self._pseudo}."
            )
        if self._unnamed:
            per = ", ".join(f"{count} on {name}" for name, count in sorted(self._unnamed.items()))
            self._gathering.note(f"Adapters that carry no host's name were left out: {per}.")


def _bare(guid: str) -> str:
    """Return a GUID without what the tools write around it."""
    return re.sub(r"\A([shr]-|0x)", "", guid.strip().lower())


def _rail(nic: str) -> int | None:
    """Return the rail an adapter's name counts, from 0; names like HCA-1 count from 1."""
    match = _HCA.match(nic)
    if match is None:
        return None
    return int(match[2]) - 1 if match[1] == "HCA-" else int(match[2])


def read_names(data: bytes) -> dict[str, str]:
    """Return the names of a node name map: a GUID and a quoted name on each line."""
    lines = data.decode(errors="replace").splitlines()
    pairs = (re.match(r'\s*(?:0x)?([0-9a-fA-F]{16})\s+"([^"]+)"', line) for line in lines)
    return {match[1].lower(): match[2] for match in pairs if match}
