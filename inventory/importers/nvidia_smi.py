"""GPUs as ``nvidia-smi`` prints them, host by host: CSV of ``--query-gpu``, XML of ``-q -x``."""

import csv
import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from inventory.importers.checks import MAX_GPUS, hardware_of, name_problem, shown, text_problem
from inventory.importers.found import Found, FoundGpu, FoundNode, FoundNvlinkDomain, RefusedError
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import lines_of, sections

# Header names without units; the manual says that columns are not stable, so none is by place.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "index": ("index",),
    "uuid": ("uuid", "gpu_uuid"),
    "serial": ("serial", "gpu_serial"),
    "name": ("name", "gpu_name"),
    "pci": ("pci.bus_id", "gpu_bus_id"),
    "memory": ("memory.total",),
    "driver": ("driver_version",),
    "cluster": ("fabric.clusteruuid", "fabric.cluster_uuid"),
    "clique": ("fabric.cliqueid", "fabric.clique_id"),
    "mig": ("mig.mode.current",),
}
_BY_TITLE: Final = {title: name for name, titles in _FIELDS.items() for title in titles}
_NOTHING: Final = ("", "n/a", "[n/a]", "[not supported]", "not supported", "[unknown error]")
_NO_UUID: Final = re.compile(r"[0-]+\Z")
_PREFIXED: Final = re.compile(r"\S+: .*(index|uuid|pci\.bus_id)")
_XML: Final[Mapping[tuple[str, ...], str]] = {
    ("minor_number",): "minor",
    ("uuid",): "uuid",
    ("serial",): "serial",
    ("product_name",): "name",
    ("pci", "pci_bus_id"): "pci",
    ("fb_memory_usage", "total"): "memory",
    ("fabric", "clusteruuid"): "cluster",
    ("fabric", "cluster_uuid"): "cluster",
    ("fabric", "cliqueid"): "clique",
    ("fabric", "clique_id"): "clique",
    ("mig_mode", "current_mig"): "mig",
}
_MOST_ROWS: Final = 1000
_DEEPEST: Final = 20

Told = Mapping[str, str]


def read(data: bytes, gathering: Gathering) -> Found:
    """Return hosts with their GPUs, hardware types and NVLink domains."""
    for host, line, body in _hosts(data.decode(), gathering.file):
        if problem := name_problem(host):
            gathering.fault(line or None, "host", problem)
            continue
        try:
            rows = _xml(body, line) if body.lstrip().startswith("<") else _csv(body, line)
        except _NoTableError as fault:
            # One host without a driver must not hide the others.
            gathering.fault(fault.line, f"{host} {fault.field}".rstrip(), str(fault))
        else:
            _Host(gathering, host, line).add(rows)
    return gathering.found("nvidia-smi")


def _hosts(text: str, file: str) -> list[tuple[str, int, str]]:
    """Return the parts of a file; lines that pdsh put ``host: `` before are sorted by host."""
    first = next(lines_of(text), "")[:1000]
    if not _PREFIXED.match(first) or first.startswith(("###", "<")):
        return sections(text, file)
    by_host: dict[str, list[str]] = {}
    for line in lines_of(text):
        host, _, rest = line.rstrip().partition(": ")
        if rest:
            by_host.setdefault(host, []).append(rest)
    return [(host, 0, "\n".join(lines)) for host, lines in by_host.items()]


class _NoTableError(ValueError):
    """What a host printed is no table of GPUs."""

    def __init__(self, message: str, line: int, field: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.field = field


def _csv(body: str, before: int) -> list[tuple[int, Told]]:
    """Return the rows of a table, after its header."""
    rows = csv.reader(lines_of(body), skipinitialspace=True)
    columns: dict[int, str] | None = None
    found = []
    try:
        for cells in rows:
            line = before + rows.line_num
            if columns is None and cells:
                columns = _columns(cells, line)
            elif cells and columns is not None:
                found.append((line, _told(cells, columns)))
            if len(found) > _MOST_ROWS:
                raise _NoTableError(f"more than {_MOST_ROWS:,} rows are no host's GPUs", line)
    except csv.Error as fault:
        message = f"the row can't be read: {fault}"
        raise _NoTableError(message, before + rows.line_num) from fault
    if columns is None:
        raise _NoTableError("nvidia-smi printed nothing", before or 1)
    return found


def _columns(cells: list[str], line: int) -> dict[int, str]:
    titles = [cell.split("[", 1)[0].strip().lower() for cell in cells]
    found = {place: _BY_TITLE[title] for place, title in enumerate(titles) if title in _BY_TITLE}
    if "index" not in found.values():
        raise _NoTableError(f"no column is index: {shown(', '.join(cells))}", line, "index")
    return found


def _told(cells: list[str], columns: Mapping[int, str]) -> Told:
    return {
        name: cells[place].strip()
        for place, name in columns.items()
        if place < len(cells) and cells[place].strip().lower() not in _NOTHING
    }


def _xml(body: str, before: int) -> list[tuple[int, Told]]:
    """Return the GPUs of one document. Nothing it may refer to is fetched or expanded."""
    document = _Document(before)
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = document.doctype
    parser.EntityDeclHandler = document.entity
    parser.StartElementHandler = document.begin
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.text
    document.parser = parser
    try:
        # Text, so that a declaration of another encoding changes nothing.
        parser.Parse(body.strip(), True)  # noqa: FBT003 - expat's signature
    except expat.ExpatError as fault:
        message = f"this is no XML: {expat.ErrorString(fault.code)}"
        raise RefusedError("bad_xml", message, before + fault.lineno) from fault
    return document.gpus


class _Document:
    """What the parser of one document has seen."""

    def __init__(self, before: int) -> None:
        self.parser: expat.XMLParserType | None = None
        self.gpus: list[tuple[int, Told]] = []
        self._before = before
        self._path: list[str] = []
        self._now: dict[str, str] = {}
        self._driver: dict[str, str] = {}
        self._text = ""

    def doctype(self, _name: str, _system: str | None, _public: str | None, own: int) -> None:
        if own:
            raise self._refused("declarations inside the document type are not read")

    def entity(self, *_declaration: object) -> None:
        raise self._refused("entities are not read")

    def begin(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name.lower())
        self._text = ""
        if len(self._path) > _DEEPEST:
            raise self._refused(f"more than {_DEEPEST} levels are not read")
        if self._path[1:] == ["gpu"]:
            self._now = {"pci": attributes.get("id", "")}

    def end(self, _name: str) -> None:
        value = self._text.strip()
        inner = tuple(self._path[2:])
        if self._path[1:2] == ["gpu"] and inner in _XML and value.lower() not in _NOTHING:
            self._now[_XML[inner]] = value
        elif self._path[1:] == ["driver_version"]:
            self._driver = {"driver": value}
        elif self._path[1:] == ["gpu"]:
            self._close()
        self._path.pop()
        self._text = ""

    def text(self, part: str) -> None:
        self._text += part
        if len(self._text) > 10_000:  # noqa: PLR2004 - what is read is short
            self._text = self._text[:100]

    def _close(self) -> None:
        # A document lists its GPUs in the order of their index.
        told = {"index": str(len(self.gpus)), **self._now, **self._driver}
        self.gpus.append((self._line(), told))

    def _line(self) -> int:
        return self._before + (self.parser.CurrentLineNumber if self.parser else 0)

    def _refused(self, message: str) -> RefusedError:
        return RefusedError("bad_xml", message, self._line())


class _Host:
    """One host: its GPUs, and what they have in common."""

    def __init__(self, gathering: Gathering, name: str, line: int) -> None:
        self._gathering = gathering
        self._name = name
        self._line = line
        self._cluster = gathering.options.cluster

    def add(self, rows: list[tuple[int, Told]]) -> None:
        """Add the host and its GPUs."""
        if len(rows) > MAX_GPUS:
            message = f"a node has 0 to {MAX_GPUS} GPUs, not {len(rows):,}"
            self._gathering.fault(self._line or None, "index", message)
            return
        names = sorted({told["name"] for _, told in rows if "name" in told})
        if len(names) > 1:
            listed = ", ".join(map(shown, names))
            self._gathering.note(f"Host {self._name} has GPUs of several types: {listed}.")
        at = self._gathering.at(self._line + 1)
        hardware = None
        if names and not text_problem(names[0]):
            memory = self._memory(rows)
            hardware = hardware_of(names[0], len(rows), memory_mib=memory, at=at)
            self._gathering.add(hardware)
        drivers = {told["driver"] for _, told in rows if "driver" in told}
        domain = self._domain(rows)
        self._gathering.add(
            FoundNode(
                cluster=self._cluster,
                name=self._name,
                hardware=hardware.slug if hardware else None,
                gpus=len(rows),
                nvlink_domain=domain,
                driver=min(drivers, default=None),
                at=at,
            )
        )
        for line, told in rows:
            self._gpu(line, told)

    def _gpu(self, line: int, told: Told) -> None:
        index = told.get("index", "")
        if not re.match(r"\d{1,3}\Z", index):
            self._gathering.fault(line, "index", f"{shown(index)} is no index of a GPU")
            return
        for field, value in told.items():
            if problem := text_problem(value):
                self._gathering.fault(line, field, problem)
                return
        mig = told.get("mig", "").lower()
        self._gathering.add(
            FoundGpu(
                cluster=self._cluster,
                node=self._name,
                index=int(index),
                uuid=told.get("uuid"),
                serial=told.get("serial"),
                model=told.get("name"),
                memory_mib=_mib(told),
                pci_bus_id=told.get("pci"),
                mig={"enabled": "on", "disabled": "off"}.get(mig),
                at=self._gathering.at(line),
            )
        )

    def _memory(self, rows: list[tuple[int, Told]]) -> int | None:
        for line, told in rows:
            if "memory" in told and _mib(told) is None:
                problem = f"{shown(told['memory'])} is no size of memory"
                self._gathering.fault(line, "memory.total", problem)
        sizes = [size for _, told in rows if (size := _mib(told)) is not None]
        return min(sizes, default=None)

    def _domain(self, rows: list[tuple[int, Told]]) -> str | None:
        """Return the NVLink domain of a host: fabric and clique that its GPUs agree on."""
        found = set()
        for line, told in rows:
            fabric = told.get("cluster", "")
            fabric = "" if _NO_UUID.match(fabric) else fabric
            clique = told.get("clique", "")
            if fabric and not clique:
                self._gathering.fault(line, "fabric", "a fabric's UUID without its clique")
            elif fabric:
                found.add(f"{fabric}.{clique}")
        if len(found) > 1:
            message = f"host {self._name} is in {len(found)} NVLink domains at once"
            self._gathering.fault(self._line or None, "fabric", message)
            return None
        domain = next(iter(found), None)
        if domain is None or name_problem(domain):
            return None
        at = self._gathering.at(self._line + 1)
        self._gathering.add(FoundNvlinkDomain(cluster=self._cluster, name=domain, at=at))
        return domain


def _mib(told: Told) -> int | None:
    match = re.match(r"(\d{1,9})( MiB)?\Z", told.get("memory", ""))
    return int(match[1]) if match else None
