"""Slurm's ``topology.conf``: a tree of switches, or blocks of nodes that share NVLink."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from inventory.importers.checks import name_problem, shown
from inventory.importers.found import Found, FoundLink, FoundNode, FoundNvlinkDomain, FoundSwitch
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import HostListError, lines_of
from inventory.importers.tiers import cycle_in, tier_of

_PAIR: Final = re.compile(r"\b([A-Za-z]\w{0,40})=(\S+)")
_IGNORED: Final = ("blocksizes", "blockname", "switchname", "topologyparam")


def read(data: bytes, gathering: Gathering) -> Found:
    """Return switches with their tiers, nodes and NVLink domains. Keys are read in any case."""
    reading = _Reading(gathering)
    for number, line in _lines(data.decode()):
        pairs = {key.lower(): value for key, value in _PAIR.findall(line)}
        if "switchname" in pairs:
            reading.switch(number, pairs)
        elif "blockname" in pairs:
            reading.block(number, pairs)
        elif not pairs or not pairs.keys() <= set(_IGNORED):
            gathering.fault(number, "", f"{shown(line)} names neither a switch nor a block")
    reading.close()
    return gathering.found("slurm", ("switches with nodes", "switches above them"))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines without comments; one that ends in a backslash goes on in the next."""
    held, begin = "", 1
    for number, line in enumerate(lines_of(text), start=1):
        bare = line.split("#", 1)[0].strip()
        begin = begin if held else number
        if bare.endswith("\\"):
            so_far = bare[:-1].rstrip()
            held += so_far if so_far.endswith(",") else f"{so_far} "
            continue
        if (held + bare).strip():
            yield begin, (held + bare).strip()
        held = ""
    if held.strip():
        yield begin, held.strip()


class _Reading:
    """The file so far."""

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._cluster = gathering.options.cluster
        self._lines: dict[str, int] = {}
        self._near: dict[str, str] = {}
        self._cables: list[tuple[int, str, str]] = []

    def switch(self, number: int, pairs: Mapping[str, str]) -> None:
        """Keep a switch, what is under it, and the nodes on it."""
        name = pairs["switchname"]
        if problem := name_problem(name):
            self._gathering.fault(number, "SwitchName", problem)
            return
        if name in self._lines:
            message = f"switch {name} is there twice, first in line {self._lines[name]}"
            self._gathering.fault(number, "SwitchName", message)
        self._lines.setdefault(name, number)
        for lower in self._names(number, "Switches", pairs.get("switches")):
            self._cables.append((number, lower, name))
        for node in self._names(number, "Nodes", pairs.get("nodes")):
            first = self._near.setdefault(node.lower(), name)
            if first != name:
                message = f"node {node} is under {first} and under {name}"
                self._gathering.fault(number, "Nodes", message)
                continue
            self._gathering.add(FoundNode(cluster=self._cluster, name=node, at=self._at(number)))
            self._link(number, name, node, is_node=True)

    def block(self, number: int, pairs: Mapping[str, str]) -> None:
        """Add a block's nodes: Slurm's blocks are NVLink domains."""
        name, at = pairs["blockname"], self._at(number)
        if problem := name_problem(name):
            self._gathering.fault(number, "BlockName", problem)
            return
        self._gathering.add(FoundNvlinkDomain(cluster=self._cluster, name=name, at=at))
        for node in self._names(number, "Nodes", pairs.get("nodes")):
            self._gathering.add(
                FoundNode(cluster=self._cluster, name=node, nvlink_domain=name, at=at)
            )

    def close(self) -> None:
        """Add the switches, now that their tiers are known, and the links between them."""
        if cycle := cycle_in([(lower, upper) for _, lower, upper in self._cables]):
            message = f"the switches form a cycle: {', '.join(cycle)}"
            self._gathering.fault(self._lines.get(cycle[0]), "Switches", message)
        near = set(self._near.values())
        tiers = tier_of(near, ((lower, upper) for _, lower, upper in self._cables))
        for number, lower, upper in self._cables:
            if lower not in self._lines:
                message = f"switch {lower} is named under {upper} and described nowhere"
                self._gathering.fault(number, "Switches", message)
            else:
                self._link(number, lower, upper, is_node=False)
        for name, number in self._lines.items():
            tier = tiers.get(name)
            at = self._at(number)
            found = FoundSwitch(cluster=self._cluster, name=name, tier=tier, at=at)
            self._gathering.add(found)

    def _link(self, number: int, switch: str, peer: str, *, is_node: bool) -> None:
        found = FoundLink(
            cluster=self._cluster,
            switch=switch,
            peer=peer,
            peer_is_node=is_node,
            at=self._at(number),
        )
        self._gathering.add(found)

    def _names(self, number: int, field: str, value: str | None) -> list[str]:
        if value is None:
            return []
        try:
            names = self._gathering.expand(value)
        except HostListError as fault:
            self._gathering.fault(number, field, str(fault))
            return []
        problem = next(filter(None, map(name_problem, names)), None)
        if problem:
            self._gathering.fault(number, field, problem)
        return [name for name in names if not name_problem(name)]

    def _at(self, number: int) -> str:
        return self._gathering.at(number)
