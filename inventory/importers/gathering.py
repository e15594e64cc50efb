"""Collects what importers find: joins what is said twice, and keeps what is wrong up to a cap."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Final, TypeVar

from inventory.importers.checks import bare_guid, thing_problem
from inventory.importers.found import (
    KINDS,
    Fault,
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
    Key,
    Options,
    RefusedError,
    Thing,
)
from inventory.importers.hostlist import expand
from inventory.importers.tiers import tier_of

_T = TypeVar("_T")
MAX_FAULTS: Final = 200
_NEAR: Final = 8
MAX_NODES: Final = 100_000
MAX_THINGS: Final = 400_000
"""Most of any other kind."""
MAX_EXPANDED: Final = 200_000
"""Most names that all ranges of a file stand for."""
_KIND_OF: Final[dict[type, str]] = {
    FoundRegion: "region",
    FoundCluster: "cluster",
    FoundFabric: "fabric",
    FoundHardware: "hardware",
    FoundRack: "rack",
    FoundSwitch: "switch",
    FoundNvlinkDomain: "nvlink_domain",
    FoundNode: "node",
    FoundGpu: "gpu",
    FoundNic: "nic",
    FoundLink: "link",
}


_KEYS: Final = frozenset(
    ("at", "name", "slug", "node", "cluster", "switch", "peer", "port", "peer_port")
)


class Gathering:
    """Collects what an importer finds: joins what is said twice, keeps the first 200 faults."""

    def __init__(self, file: str, options: Options) -> None:
        self.file = file
        self.options = options
        self._things: dict[str, dict[Key, Thing]] = {kind: {} for kind in KINDS}
        self._faults: list[Fault] = []
        self._further = 0
        self._expanded = 0
        self._notes: dict[str, None] = {}
        self._disputed: set[tuple[str, Key]] = set()

    def at(self, place: int | str) -> str:
        """Return a line or a path of this file in words."""
        return f"{self.file}:{place}" if isinstance(place, int) else f"{self.file} {place}"

    def fault(self, line: int | None, field_name: str, message: str) -> None:
        """Keep what is wrong with a line and field."""
        self._keep(Fault(line, field_name, message, self.file))

    def note(self, sentence: str) -> None:
        """Keep a sentence, once."""
        self._notes[sentence] = None

    def add(self, thing: Thing) -> None:
        """Keep a thing, or add what is new about one that is there already.

        What two places say differently is a fault, and the first stands.
        """
        kind = _KIND_OF[type(thing)]
        if isinstance(thing, FoundNic | FoundSwitch) and thing.guid:
            thing = replace(thing, guid=bare_guid(thing.guid))
        if problem := thing_problem(thing):
            line, file = place_of(thing.at)
            self._keep(Fault(line, problem[0], problem[1], file or self.file))
            return
        kept = self._things[kind]
        key = thing.key
        before = kept.get(key)
        if before is not None:
            kept[key] = self._joined(kind, before, thing)
            return
        most = MAX_NODES if kind == "node" else MAX_THINGS
        if len(kept) >= most:
            words = kind.replace("_", " ")
            raise RefusedError("too_many", f"more than {most:,} {words}s are not read at once")
        kept[key] = thing

    def expand(self, text: str) -> list[str]:
        """Return the names that a list of hosts stands for; all lists of a file are bounded.

        Raises :class:`HostListError` for a list that can't be read.
        """
        names = expand(text)
        self._expanded += len(names)
        if self._expanded > MAX_EXPANDED:
            raise RefusedError("too_many", f"ranges stand for more than {MAX_EXPANDED:,} names")
        return names

    def take(self, found: Found) -> None:
        """Add all that another file said."""
        for _, thing in found.things():
            self.add(thing)
        for sentence in found.notes:
            self.note(sentence)
        for fault in found.faults:
            self._keep(fault)
        self._further += found.further_faults
        self._disputed |= found.disputed

    def rank_switches(self) -> None:
        """Give a tier to the switches whose tier nothing says.

        Tier 0 is what nodes hang on or, in a table of uplinks alone, what is never an upper end.
        """
        links = _of(FoundLink, self._things["link"].values())
        near = {(one.cluster, one.switch) for one in links if one.peer_is_node}
        cables = [
            ((one.cluster, one.switch), (one.cluster, one.peer))
            for one in links
            if not one.peer_is_node
        ]
        uppers = {upper for _, upper in cables}
        near = near or {lower for lower, _ in cables if lower not in uppers}
        tiers = tier_of(near, cables)
        for switch in _of(FoundSwitch, list(self._things["switch"].values())):
            tier = tiers.get((switch.cluster, switch.name))
            if switch.tier is None and tier is not None:
                self._things["switch"][switch.key] = replace(switch, tier=tier)

    def found(self, form: str, level_sources: Sequence[str] = ()) -> Found:
        """Return all that was gathered; ``form`` is the name of the format."""
        self._name_owners()
        things = {name: tuple(self._things[kind].values()) for kind, name in KINDS.items()}
        return Found(
            format=form,
            **things,  # type: ignore[arg-type]  # each kind holds its own class alone
            level_sources=tuple(level_sources),
            notes=tuple(self._notes),
            faults=tuple(self._faults),
            further_faults=self._further,
            disputed=frozenset(self._disputed),
        )

    def _name_owners(self) -> None:
        """Add the clusters, regions, racks and NVLink domains that are only mentioned."""
        for node in _of(FoundNode, self._things["node"].values()):
            self._mention(FoundCluster(slug=node.cluster, at=node.at))
            if node.rack:
                self._mention(FoundRack(cluster=node.cluster, name=node.rack, at=node.at))
            if node.nvlink_domain:
                domain = node.nvlink_domain
                self._mention(FoundNvlinkDomain(cluster=node.cluster, name=domain, at=node.at))
        for switch in _of(FoundSwitch, self._things["switch"].values()):
            self._mention(FoundCluster(slug=switch.cluster, at=switch.at))
            fabric = FoundFabric(cluster=switch.cluster, name=switch.fabric, at=switch.at)
            self._mention(fabric)
        for cluster in _of(FoundCluster, self._things["cluster"].values()):
            if cluster.region:
                self._mention(FoundRegion(slug=cluster.region, at=cluster.at))

    def _mention(self, thing: Thing) -> None:
        self._things[_KIND_OF[type(thing)]].setdefault(thing.key, thing)

    def _joined(self, kind: str, before: Thing, after: Thing) -> Thing:
        changed: dict[str, object] = {}
        for one in fields(before):
            if one.name in _KEYS:
                # The same in other letters, or seen from the other end.
                continue
            old, new = getattr(before, one.name), getattr(after, one.name)
            value = _union(one.name, old, new)
            if value is _DISPUTE and one.name == "hardware":
                value = self._surer_type(str(old), str(new))
            if value is _DISPUTE and one.name == "rail":
                self.note("Rails are numbered in different ways: the first number stands.")
                value = old
            if value is _DISPUTE:
                self._dispute(kind, before, after, one.name)
            elif value != old:
                changed[one.name] = value
        return replace(before, **changed) if changed else before  # type: ignore[arg-type]

    def _surer_type(self, old: str, new: str) -> object:
        """Return the type whose GPU is known, where of the other there is but a name."""
        models = {
            one.slug: one.gpu_model
            for one in _of(FoundHardware, self._things["hardware"].values())
        }
        if models.get(old) and models.get(new):
            return _DISPUTE
        return new if models.get(new) else old if models.get(old) else _DISPUTE

    def _dispute(self, kind: str, before: Thing, after: Thing, name: str) -> None:
        self._disputed.add((kind, before.key))
        old, new = _spoken(getattr(before, name)), _spoken(getattr(after, name))
        what = "S1 and S2" if name == "tiers" else name
        message = (
            f"{kind.replace('_', ' ')} {_called(before)} has {what} {old} at {before.at} and "
            f"{new} at {after.at}"
        )
        line, file = place_of(after.at)
        self._keep(Fault(line, name, message, file or self.file))

    def _keep(self, fault: Fault) -> None:
        if fault in self._faults[-_NEAR:]:
            return  # one cell may be asked for several times
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)
        else:
            self._further += 1


class _Dispute:
    """Two values that can't both be."""


_DISPUTE: Final = _Dispute()
_SILENT: Final[tuple[object, ...]] = (None, (), {})


def _called(thing: Thing) -> str:
    """Return a thing's own name, and whose it is where it is a part of a node."""
    name = getattr(thing, "name", None) or getattr(thing, "slug", None) or thing.key[-1]
    node = getattr(thing, "node", None)
    return f"{name} of {node}" if node else str(name)


def place_of(at: str) -> tuple[int | None, str]:
    """Return the line and the file that a place names, as far as it does."""
    match = re.match(r"(.*):(\d{1,9})\Z", at)
    return (int(match[2]), match[1]) if match else (None, "")


def _union(name: str, old: object, new: object) -> object:
    """Return what two places together say of a field, or that they can't both be right."""
    if old == new or new in _SILENT:
        return old
    if old in _SILENT:
        return new
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**new, **old}
    return _joined_values(name, old, new)


def _joined_values(name: str, old: object, new: object) -> object:
    if isinstance(old, int) and isinstance(new, int) and _gentle(name, old, new):
        return max(old, new)
    if isinstance(old, tuple) and isinstance(new, tuple):
        if name == "tiers":
            return _tiers(old, new)
        if name in {"aliases", "clears"}:
            return (*old, *(one for one in new if one not in old))
    return _DISPUTE


def _gentle(name: str, old: int, new: int) -> bool:
    """Return whether a difference is one of rounding alone, as of memory sizes in GiB."""
    rounded = name in {"gpu_memory_mib", "memory_mib"} and abs(old - new) * 20 <= max(old, new)
    return rounded or name == "count"


def _tiers(old: tuple[str | None, ...], new: tuple[str | None, ...]) -> object:
    width = max(len(old), len(new))
    pairs = [
        (old[place] if place < len(old) else None, new[place] if place < len(new) else None)
        for place in range(width)
    ]
    if any(first and second and first != second for first, second in pairs):
        return _DISPUTE
    return tuple(first or second for first, second in pairs)


def _spoken(value: object) -> str:
    if isinstance(value, tuple):
        return " under ".join("nothing" if one is None else str(one) for one in value)
    return str(value)


def _of(kind: type[_T], things: Iterable[object]) -> list[_T]:
    return [thing for thing in things if isinstance(thing, kind)]


def merge(parts: Sequence[Found], options: Options) -> Found:
    """Return what several files say together; what they say differently is a fault."""
    if len(parts) == 1:
        return parts[0]
    gathering = Gathering("", options)
    for part in parts:
        gathering.take(part)
    # Cables decide where they are known.
    cabled = [part for part in parts if any(link.peer_is_node for link in part.links)]
    sources = next((part.level_sources for part in (*cabled, *parts) if part.level_sources), ())
    formats = dict.fromkeys(part.format for part in parts)
    found = gathering.found("+".join(formats), sources)
    return replace(found, origins=_origins(parts)) if len(formats) > 1 else found


def _origins(parts: Sequence[Found]) -> dict[tuple[str, Key], tuple[str, ...]]:
    named: dict[tuple[str, Key], tuple[str, ...]] = {}
    for part in parts:
        for kind, thing in part.things():
            before = named.get((kind, thing.key), ())
            if part.format not in before:
                named[kind, thing.key] = (*before, part.format)
    return named
