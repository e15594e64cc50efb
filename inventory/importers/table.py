"""Tables: CSV of people and of spreadsheets, of nodes, ports, links, switches, racks or types.

An empty cell says nothing; ``-`` says that there is nothing.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from inventory.importers.checks import (
    gpus_problem,
    hardware_of,
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
    FoundHardware,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundRack,
    FoundSwitch,
    RefusedError,
)
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import HostListError, lines_of

MAX_ROWS: Final = 200_000
MAX_LINE: Final = 100_000
CLEAR: Final = "-"

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "region": ("region",),
    "cluster": ("cluster", "cluster_name"),
    "core": ("core", "s3"),
    **{name: (name,) for name in TIERS[3:]},
    "s2": ("s2", "s2_switch", "big_pod", "pod", "block"),
    "s1": ("s1", "s1_switch", "mini_pod", "scalable_unit", "su", "tor"),
    "rack": ("rack", "rack_name", "cabinet"),
    "site": ("site", "data_centre", "datacenter"),
    "u": ("u", "u_position", "position", "rack_unit"),
    "u_height": ("u_height", "height"),
    "node": ("node", "nodes_list", "host", "hostname", "node_name", "name", "server"),
    "hardware": ("sku", "hardware", "hardware_type", "device_type", "type"),
    "gpu_model": ("gpu_model", "gpu", "gpu_type", "gpu_name"),
    "gpus": ("gpus", "gpu_count", "gpus_per_node", "num_gpus"),
    "gpu_memory_gib": ("gpu_memory_gib", "gpu_memory", "gpu_mem_gib"),
    "gpu_memory_mib": ("gpu_memory_mib",),
    "nvlink_domain": ("nvlink_domain", "nvlink", "accelerator_domain", "clique"),
    "state": ("state", "status"),
    "lifecycle": ("lifecycle",),
    "admin_state": ("admin_state",),
    "health": ("health",),
    "serial": ("serial", "serial_number"),
    "provider_id": ("provider_id",),
    "k8s_uid": ("k8s_uid", "uid"),
    "instance_type": ("instance_type",),
    "labels": ("labels", "tags"),
    "aliases": ("aliases",),
    "vendor": ("vendor", "manufacturer"),
    "nic": ("nic", "hca", "hca_name", "interface"),
    "nic_guid": ("nic_guid", "hca_guid", "port_guid"),
    "switch": ("switch", "leaf", "leaf_switch", "switch_name"),
    "switch_guid": ("switch_guid", "leaf_guid"),
    "tier": ("tier",),
    "port": ("port", "switch_port"),
    "rail": ("rail", "rail_plane"),
    "leaves": ("leaves", "leaf_switches", "switches"),
    "upper": ("spine", "upper", "upper_switch", "uplink", "parent"),
    "links": ("links", "link_count", "cables"),
    "speed_gbps": ("speed_gbps", "speed"),
    "counted": ("nodes", "node_count", "count"),
}
_BY_ALIAS: Final = {alias: name for name, aliases in COLUMNS.items() for alias in aliases}
_STATES: Final = {
    "ready": ("health", "ok"),
    "drain": ("admin_state", "draining"),
    "offline": ("lifecycle", "decommissioning"),
    "down": ("health", "failed"),
    **{word: ("lifecycle", word) for word in LIFECYCLES},
    **{word: ("admin_state", word) for word in ADMIN_STATES},
    **{word: ("health", word) for word in HEALTHS},
}
_AXES: Final = {"lifecycle": LIFECYCLES, "admin_state": ADMIN_STATES, "health": HEALTHS}
_NAMES: Final = (
    "region",
    "cluster",
    *TIERS,
    "rack",
    "nvlink_domain",
    "switch",
    "upper",
)
_MIB: Final = 1024
_FORMULA: Final = frozenset("=+-@")
"""What a cell that a spreadsheet would run begins with."""


def read(data: bytes, gathering: Gathering) -> Found:
    """Return the things of a table; what a row is about follows from the columns."""
    text = data.decode()
    delimiter, skip = delimiter_of(text)
    rows = _rows(text, delimiter, gathering)
    for _ in range(skip):
        next(rows, None)
    first = next(rows, None)
    if first is None:
        raise RefusedError("empty", "the table has no header line")
    line, header = first
    columns = _columns(header, gathering, line)
    take = _take(columns)
    if take is None:
        named = ", ".join(shown(name) for name in header[:8])
        raise RefusedError(
            "no_columns",
            f"no column names a node, a switch, a rack or a hardware type; there are {named}",
            line,
        )
    layout = _Layout(columns, len(header), delimiter)
    for line, cells in rows:
        if any(cell.strip() for cell in cells):
            take(_row(gathering, layout, line, cells))
    gathering.rank_switches()
    return gathering.found("csv", _sources(header, columns))


def delimiter_of(text: str) -> tuple[str, int]:
    """Return what separates cells, and how many lines only say so, as spreadsheets write."""
    head = text.split("\n", 1)[0].strip()
    told = re.match(r"(?i)\"?sep=(.)\"?\Z", head)
    if told:
        return told[1], 1
    bare = re.sub(r'"[^"]*"', "", head)
    return max(",;\t|", key=bare.count), 0


def _rows(text: str, delimiter: str, gathering: Gathering) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(_bounded(text), delimiter=delimiter, strict=True)
    begin = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as fault:
            gathering.fault(reader.line_num, "", f"the row can't be read: {fault}")
            return
        if begin > MAX_ROWS:
            raise RefusedError("too_many", f"more than {MAX_ROWS:,} rows are not read at once")
        yield begin, cells
        begin = reader.line_num + 1


def _bounded(text: str) -> Iterator[str]:
    """Return the lines of a text, which are short in a table that people keep."""
    for number, line in enumerate(lines_of(text), start=1):
        if len(line) > MAX_LINE:
            raise RefusedError(
                "too_large", f"a line of {len(line):,} characters is not read", number
            )
        yield line


def _columns(header: Sequence[str], gathering: Gathering, line: int) -> dict[str, int]:
    found: dict[str, int] = {}
    unread = []
    for place, title in enumerate(header):
        plain = re.sub(r"[^a-z0-9]+", "_", title.strip().lower()).strip("_")
        name = _BY_ALIAS.get(plain)
        if name is None:
            unread += [title.strip()] if title.strip() else []
        elif name in found:
            gathering.fault(line, title.strip(), f"two columns mean {name}: the first is read")
        else:
            found[name] = place
    if unread:
        gathering.note(f"Columns that are not read: {', '.join(shown(one) for one in unread)}.")
    return found


def _sources(header: Sequence[str], columns: Mapping[str, int]) -> tuple[str, ...]:
    levels = [f"column {header[columns[n]].strip()}" for n in TIERS if n in columns]
    return tuple(levels)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns are."""

    columns: Mapping[str, int]
    width: int
    delimiter: str


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its cells by column, and where it is."""

    gathering: Gathering
    line: int
    cells: Mapping[str, str]
    clears: tuple[str, ...]
    decimal_comma: bool

    @property
    def at(self) -> str:
        return self.gathering.at(self.line)

    @property
    def cluster(self) -> str:
        return self.text("cluster") or self.gathering.options.cluster

    def text(self, name: str) -> str | None:
        return self.cells.get(name)

    def number(self, name: str) -> float | None:
        """Return a number; with a decimal comma where that can mean nothing else."""
        cell = self.cells.get(name)
        if cell is None:
            return None
        if re.match(r"-?\d+,\d+\Z", cell):
            if not self.decimal_comma and re.match(r"-?\d+,\d{3}\Z", cell):
                self.fault(name, f"{cell} can be read two ways: write {cell.replace(',', '')}")
                return None
            cell = cell.replace(",", ".")
        if re.match(r"-?\d{1,15}(\.\d{1,15})?\Z", cell):
            return float(cell)
        self.fault(name, f"{shown(cell)} is no number")
        return None

    def whole(self, name: str, low: int = 0, high: int = 1_000_000) -> int | None:
        number = self.number(name)
        if number is None:
            return None
        if number != int(number) or not low <= number <= high:
            self.fault(name, f"{number:g} is no whole number from {low} to {high:,}")
            return None
        return int(number)

    def gpus(self) -> int | None:
        number = self.number("gpus")
        if number is None:
            return None
        problem = gpus_problem(int(number))
        if problem or number != int(number):
            self.fault("gpus", problem or f"{number:g} is no whole number")
            return None
        return int(number)

    def names(self, name: str) -> list[str]:
        """Return the names a cell stands for; those that are none are faults and left out."""
        cell = self.cells.get(name)
        if cell is None:
            return []
        try:
            found = [
                one
                for part in re.split(r"[;\s]+", cell)
                if part
                for one in self.gathering.expand(part)
            ]
        except HostListError as fault:
            self.fault(name, str(fault))
            return []
        problem = next(filter(None, map(name_problem, found)), None)
        if problem:
            self.fault(name, problem)
            return []
        return found

    def labels(self) -> dict[str, str]:
        found = {}
        for pair in filter(None, re.split(r"[;,]\s*", self.cells.get("labels", ""))):
            key, _, value = (part.strip() for part in pair.partition("="))
            problem = label_problem(key, value)
            if problem:
                self.fault("labels", problem)
            else:
                found[key] = value
        return found

    def memory_mib(self) -> int | None:
        gib = self.number("gpu_memory_gib")
        return self.whole("gpu_memory_mib") if gib is None else round(gib * _MIB)

    def fault(self, name: str, message: str) -> None:
        self.gathering.fault(self.line, name, message)


def _row(gathering: Gathering, layout: _Layout, line: int, cells: list[str]) -> _Row:
    found, clears = {}, []
    for name, place in layout.columns.items():
        cell = _plain(cells[place]) if place < len(cells) else ""
        if cell == CLEAR:
            clears.append(name)
        elif cell and (problem := _problem(name, cell)):
            gathering.fault(line, name, problem)
        elif cell:
            found[name] = cell
    if any(cell.strip() for cell in cells[layout.width :]):
        gathering.fault(line, "", f"the row has {len(cells)} cells, the header {layout.width}")
    return _Row(gathering, line, found, tuple(clears), layout.delimiter != ",")


def _plain(cell: str) -> str:
    """Return a cell without the apostrophe that keeps a spreadsheet from running it."""
    text = cell.strip()
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def _problem(name: str, cell: str) -> str | None:
    if name in _NAMES:
        return text_problem(cell, 253) or name_problem(cell)
    return text_problem(cell, 100_000 if name in {"node", "leaves"} else 253)


def _take(columns: Mapping[str, int]) -> Callable[[_Row], None] | None:
    """Return what reads a row with these columns."""
    for needed, reader in (
        ({"node"}, _node),
        ({"switch", "upper"}, _uplink),
        ({"switch"}, _switch),
        ({"hardware"}, _type),
        ({"gpu_model"}, _type),
        ({"rack"}, _rack),
    ):
        if needed <= columns.keys():
            return reader
    return None


def _node(row: _Row) -> None:
    names = row.names("node")
    if "node" not in row.cells and "node" in row.clears:
        row.fault("node", "a node can't be cleared: give its name")
    elif "node" not in row.cells:
        row.fault("node", "the node's name is missing")
    if not names:
        return
    common, leaves = _common(row), row.names("leaves")
    if problem := leaves_problem(len(leaves)):
        row.fault("leaves", problem)
        leaves = []
    for name in names:
        row.gathering.add(replace(common, name=name))
        _cables(row, name, leaves)


def _common(row: _Row) -> FoundNode:
    """Return what all nodes of a row share, without a name, and add what they rest on."""
    _owner(row)
    states = _states(row)
    return FoundNode(
        cluster=row.cluster,
        name="",
        hardware=_hardware(row),
        gpus=row.gpus(),
        rack=row.text("rack"),
        u_position=row.whole("u", 1, 60),
        tiers=_tiers(row),
        nvlink_domain=row.text("nvlink_domain"),
        serial=row.text("serial"),
        provider_id=row.text("provider_id"),
        k8s_uid=row.text("k8s_uid"),
        instance_type=row.text("instance_type"),
        lifecycle=states.get("lifecycle"),
        admin_state=states.get("admin_state"),
        health=states.get("health"),
        labels=row.labels(),
        clears=row.clears,
        at=row.at,
    )


def _owner(row: _Row) -> None:
    region = row.text("region")
    row.gathering.add(FoundCluster(slug=row.cluster, region=region, at=row.at))
    rack = row.text("rack")
    if rack:
        height = row.whole("u_height", 1, 60)
        found = FoundRack(
            cluster=row.cluster, name=rack, site=row.text("site"), u_height=height, at=row.at
        )
        row.gathering.add(found)


def _tiers(row: _Row) -> tuple[str | None, ...]:
    tiers = [row.text(name) for name in TIERS]
    while tiers and tiers[-1] is None:
        tiers.pop()
    return tuple(tiers)


def _states(row: _Row) -> dict[str, str]:
    """Return the three axes of state that the columns set; one column of all three is read too."""
    found = {}
    word = row.text("state")
    if word is not None:
        axis = _STATES.get(re.sub(r"[\s-]+", "_", word.lower()))
        if axis is None:
            row.fault("state", f"{shown(word)} is no state: {', '.join(sorted(_STATES))}")
        else:
            found[axis[0]] = axis[1]
    for name, known in _AXES.items():
        told = row.text(name)
        if told is not None and told.lower() not in known:
            row.fault(name, f"{shown(told)} is none of {', '.join(known)}")
        elif told is not None:
            found[name] = told.lower()
    return found


def _hardware(row: _Row) -> str | None:
    """Add the hardware type of a row and return its slug."""
    told, model = row.text("hardware"), row.text("gpu_model")
    if told is None and model is None:
        return None
    guessed = hardware_of(model or told or "", row.gpus(), at=row.at)
    slug = guessed.slug if told is None else told.lower()
    if problem := name_problem(slug):
        row.fault("hardware", problem)
        return None
    row.gathering.add(
        FoundHardware(
            slug=slug,
            gpu_model=guessed.gpu_model if model else None,
            gpus_per_node=row.gpus(),
            gpu_memory_mib=row.memory_mib(),
            vendor=row.text("vendor") or guessed.vendor,
            u_height=row.whole("u_height", 1, 60) if "rack" not in row.cells else None,
            aliases=tuple(row.cells.get("aliases", "").split(";")) if row.text("aliases") else (),
            at=row.at,
        )
    )
    return slug


def _cables(row: _Row, node: str, leaves: Sequence[str]) -> None:
    """Add the links of a node: one to the switch of its row, or one to each of its leaves."""
    leaf, nic = row.text("switch"), row.text("nic")
    if nic:
        found = FoundNic(
            cluster=row.cluster,
            node=node,
            name=nic,
            guid=row.text("nic_guid"),
            speed_gbps=row.whole("speed_gbps"),
            rail=row.whole("rail", 0, 63),
            at=row.at,
        )
        row.gathering.add(found)
    if leaf:
        _switch(row)
    for name in leaves:
        row.gathering.add(FoundSwitch(cluster=row.cluster, name=name, tier=0, at=row.at))
        link = FoundLink(cluster=row.cluster, switch=name, peer=node, peer_is_node=True, at=row.at)
        row.gathering.add(link)
    if leaf:
        link = FoundLink(
            cluster=row.cluster,
            switch=leaf,
            peer=node,
            peer_is_node=True,
            port=row.text("port") or "",
            peer_port=nic or "",
            speed_gbps=row.whole("speed_gbps"),
            at=row.at,
        )
        row.gathering.add(link)


def _switch(row: _Row) -> None:
    name = row.text("switch")
    if name is None:
        row.fault("switch", "the switch's name is missing")
        return
    beside = "node" in row.cells
    found = FoundSwitch(
        cluster=row.cluster,
        name=name,
        tier=0 if beside else row.whole("tier", 0, 7),
        rail=row.whole("rail", 0, 63),
        guid=row.text("switch_guid"),
        rack=row.text("rack") if not beside else None,
        at=row.at,
    )
    row.gathering.add(found)


def _uplink(row: _Row) -> None:
    lower, upper = row.text("switch"), row.text("upper")
    if lower is None or upper is None:
        row.fault("switch" if lower is None else "upper", "the switch's name is missing")
        return
    _switch(row)
    row.gathering.add(FoundSwitch(cluster=row.cluster, name=upper, at=row.at))
    found = FoundLink(
        cluster=row.cluster,
        switch=lower,
        peer=upper,
        peer_is_node=False,
        port=row.text("port") or "",
        count=row.whole("links", 1, 1024) or 1,
        at=row.at,
    )
    row.gathering.add(found)


def _type(row: _Row) -> None:
    _hardware(row)
    counted = row.whole("counted")
    if counted:
        row.gathering.note(
            "The table counts nodes without naming them: it gives hardware types, and no node "
            "that could be placed on."
        )


def _rack(row: _Row) -> None:
    if row.text("rack") is None:
        row.fault("rack", "the rack's name is missing")
    else:
        _owner(row)
