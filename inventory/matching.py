"""Which row a thing in a file is: by what it carries with it first, then by its name or place."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from inventory.importers.found import (
    Fault,
    Found,
    FoundGpu,
    FoundLink,
    FoundNic,
    FoundNode,
    FoundSwitch,
    Thing,
)
from inventory.importers.gathering import place_of
from inventory.joining import Names, agree, ends_of
from inventory.kept import Kept, Stored, key_of

IDENTIFIERS: Final[Mapping[str, tuple[str, ...]]] = {
    "node": ("k8s_uid", "provider_id", "serial"),
    "switch": ("guid",),
    "gpu": ("uuid",),
    "nic": ("guid",),
}
"""What a thing keeps when it is renamed or moved, the surest first."""
WORDS: Final = {
    "k8s_uid": "Kubernetes uid",
    "provider_id": "provider id",
    "serial": "serial",
    "guid": "GUID",
    "uuid": "UUID",
}
Part = FoundGpu | FoundNic
_T = TypeVar("_T", FoundNode | FoundSwitch, FoundGpu | FoundNic)


@dataclass(slots=True)
class Matches:
    """Every thing with its row or none, rows that have to make room, and what is odd."""

    rows: dict[int, Kept] = field(default_factory=dict)
    taken: dict[object, Thing] = field(default_factory=dict)
    displaced: dict[object, Kept] = field(default_factory=dict)
    renamed: dict[tuple[str, str, str], str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def row_of(self, thing: Thing) -> Kept | None:
        """Return the row that a thing is."""
        return self.rows.get(id(thing))

    def is_taken(self, kept: Kept) -> bool:
        """Return whether a row is a thing of the files."""
        return kept.row in self.taken

    def match(self, thing: Thing, kept: Kept) -> None:
        """Say that a thing is a row."""
        self.rows[id(thing)] = kept
        self.taken[kept.row] = thing

    def refuse(self, thing: Thing, field_name: str, sentence: str) -> None:
        """Say why a thing can't be planned."""
        self.refused[id(thing)] = sentence
        line, file = place_of(thing.at)
        self.faults.append(Fault(line, field_name, sentence, file))

    def name_after(self, kind: str, cluster: str, name: str) -> str:
        """Return what a node or a switch of a row will be called."""
        return self.renamed.get((kind, cluster.lower(), name.lower()), name)


def match(found: Found, stored: Stored, names: Names) -> Matches:
    """Return the row of every node, switch, GPU, adapter and cable that has one.

    ``names`` leads from nodes to rows that go by another name for the same machine.
    """
    matches = Matches()
    _by_name(matches, "switch", found.switches, stored, {})
    _by_name(matches, "node", found.nodes, stored, names)
    for kind, parts in (("gpu", found.gpus), ("nic", found.nics)):
        _parts(matches, kind, parts, stored)
    _links(matches, found.links, stored)
    return matches


# Nodes and switches.


def _by_name(
    matches: Matches,
    kind: str,
    things: Sequence[FoundNode | FoundSwitch],
    stored: Stored,
    names: Names,
) -> None:
    rows = stored.of(kind)
    waiting = _identified(matches, _Identified(kind, rows, stored.elsewhere), things)
    named = {one.key: one for one in rows}
    for thing in waiting:
        kept = named.get(thing.key) or named.get(names.get(thing.key, ()))
        if kept is None or id(thing) in matches.refused or matches.is_taken(kept):
            continue
        matches.match(thing, kept)
        _same_name(matches, kind, thing, kept)
    for thing in things:
        if (row := matches.row_of(thing)) is not None:
            _rename(matches, kind, thing, row, named)


class _Identified:
    """Rows by what they carry with them."""

    def __init__(
        self, kind: str, rows: Iterable[Kept], elsewhere: Mapping[tuple[str, str], str]
    ) -> None:
        self._kind, self._elsewhere = kind, elsewhere
        self._known: dict[tuple[str, str], Kept] = {}
        for one in rows:
            for name in IDENTIFIERS[kind]:
                text = one.values.get(name)
                if isinstance(text, str) and text:
                    self._known[name, text.lower()] = one

    def row(self, matches: Matches, thing: Thing) -> Kept | None:
        """Return the row with an identifier of a thing; two of them are refused."""
        hits: dict[object, tuple[str, Kept]] = {}
        for name in IDENTIFIERS[self._kind]:
            text = getattr(thing, name)
            if not text:
                continue
            if (holder := self._elsewhere.get((name, text.lower()))) is not None:
                sentence = f"{WORDS[name]} {text} belongs to {holder} already"
                matches.refuse(thing, name, sentence)
                return None
            if (kept := self._known.get((name, text.lower()))) is not None:
                hits.setdefault(kept.row, (name, kept))
        if len(hits) > 1:
            told = " and ".join(
                f"the {WORDS[name]} of {_called(kept)}" for name, kept in hits.values()
            )
            name = next(iter(hits.values()))[0]
            matches.refuse(thing, name, f"{_named(thing)} has {told}, which are two things")
            return None
        kept = next(iter(hits.values()))[1] if hits else None
        if kept is not None and matches.is_taken(kept):
            # The files say it twice, which the findings tell.
            return None
        return kept


def _identified(matches: Matches, known: _Identified, things: Sequence[_T]) -> list[_T]:
    """Match what carries an identifier that a row has; return the rest."""
    waiting = []
    for thing in things:
        kept = known.row(matches, thing)
        if kept is None:
            waiting.append(thing)
        else:
            matches.match(thing, kept)
    return waiting


def _same_name(matches: Matches, kind: str, thing: Thing, kept: Kept) -> None:
    """Warn where a name stayed and what is behind it is another."""
    for name in IDENTIFIERS[kind]:
        before, after = kept.values.get(name), getattr(thing, name)
        if before and after and str(before).lower() != after.lower():
            what = "made anew" if name == "k8s_uid" else "another machine under the same name"
            matches.warnings.append(
                f"{_named(thing)} is {what}: its {WORDS[name]} was {before} and is {after}."
            )
            return


def _rename(
    matches: Matches,
    kind: str,
    thing: FoundNode | FoundSwitch,
    kept: Kept,
    named: Mapping[tuple[str, ...], Kept],
) -> None:
    before = str(kept.values["name"])
    if before.lower() == thing.name.lower():
        return
    holder = named.get(thing.key)
    if holder is not None and not matches.is_taken(holder):
        matches.refuse(
            thing,
            "name",
            f"{before} is now called {thing.name}, and another {kind} has that name: "
            "retire or rename that one first",
        )
        return
    matches.renamed[kind, kept.cluster.lower(), before.lower()] = thing.name


# GPUs and adapters.


def _parts(matches: Matches, kind: str, things: Sequence[Part], stored: Stored) -> None:
    rows = stored.of(kind)
    waiting = _identified(matches, _Identified(kind, rows, stored.elsewhere), things)
    places: dict[tuple[str, ...], Kept] = {}
    for one in sorted(rows, key=lambda one: not one.missing):
        places[_place_after(matches, kind, one)] = one
    for thing in waiting:
        kept = places.get(thing.key)
        if kept is not None and id(thing) not in matches.refused and not matches.is_taken(kept):
            matches.match(thing, kept)
    for holder in (places.get(thing.key) for thing in things):
        if holder is not None and not holder.missing and not matches.is_taken(holder):
            # Another part is in its place now.
            matches.displaced[holder.row] = holder


def _place_after(matches: Matches, kind: str, one: Kept) -> tuple[str, ...]:
    node = matches.name_after("node", one.cluster, str(one.values["node"]))
    return key_of(kind, one.cluster, {**one.values, "node": node})


# Cables.


def link_after(matches: Matches, kept: Kept) -> FoundLink:
    """Return the cable of a row with its ends as they will be called."""
    values = kept.values
    far = "node" if values["peer_is_node"] else "switch"
    thing = kept.thing(
        switch=matches.name_after("switch", kept.cluster, str(values["switch"])),
        peer=matches.name_after(far, kept.cluster, str(values["peer"])),
    )
    if not isinstance(thing, FoundLink):
        raise TypeError("the row of a cable is a cable")
    return thing


def _links(matches: Matches, links: Sequence[FoundLink], stored: Stored) -> None:
    if not stored.of("link"):
        return
    # What is there comes last, and so goes before what is missing.
    kept = sorted(stored.of("link"), key=lambda one: not one.missing)
    rows = [(one, link_after(matches, one)) for one in kept]
    exact = {link.key: one for one, link in rows}
    loose: dict[object, list[tuple[Kept, FoundLink]]] = defaultdict(list)
    ports: dict[tuple[str, str, str], Kept] = {}
    for one, link in rows:
        loose[ends_of(link)[0]].append((one, link))
        ports |= dict.fromkeys(_ports(link), one)
    left = [link for link in links if not _matched(matches, link, exact.get(link.key))]
    left = [link for link in left if not _matched(matches, link, _near(matches, link, loose))]
    for link in left:
        # Pulled there and plugged in elsewhere: the port stays.
        _matched(matches, link, _plugged(matches, link, ports))
    for link in links:
        for holder in (ports.get(port) for port in _ports(link)):
            if holder is not None and not matches.is_taken(holder) and not holder.missing:
                matches.displaced[holder.row] = holder


def _matched(matches: Matches, link: FoundLink, kept: Kept | None) -> bool:
    if kept is None or matches.is_taken(kept):
        return False
    matches.match(link, kept)
    return True


def _near(
    matches: Matches,
    link: FoundLink,
    loose: Mapping[object, Sequence[tuple[Kept, FoundLink]]],
) -> Kept | None:
    """Return a row between the same ends that knows fewer ports, or more of them."""
    ends, ports = ends_of(link)
    return next(
        (
            one
            for one, other in loose.get(ends, ())
            if not matches.is_taken(one) and agree(ports, ends_of(other)[1])
        ),
        None,
    )


def _ports(link: FoundLink) -> list[tuple[str, str, str]]:
    """Return the ports that a cable fills; an adapter is the node's alone."""
    cluster = link.cluster.lower()
    filled = [(cluster, link.switch.lower(), link.port)] if link.port else []
    if link.peer_port:
        far = f"node {link.peer}" if link.peer_is_node else link.peer
        filled.append((cluster, far.lower(), link.peer_port))
    return filled


def _plugged(
    matches: Matches, link: FoundLink, ports: Mapping[tuple[str, str, str], Kept]
) -> Kept | None:
    """Return the row of the cable that was in one of the ports until now."""
    for one in (ports.get(port) for port in _ports(link)):
        if one is not None and not matches.is_taken(one):
            return one if one.values["peer_is_node"] == link.peer_is_node else None
    return None


# Words.


def _named(thing: Thing) -> str:
    name = getattr(thing, "name", "")
    if isinstance(thing, FoundGpu):
        return f"GPU {thing.index} of {thing.node}"
    return f"{name} of {thing.node}" if isinstance(thing, FoundNic) else str(name)


def _called(kept: Kept) -> str:
    if kept.kind == "gpu":
        return f"GPU {kept.values['index']} of {kept.values['node']}"
    node = kept.values.get("node")
    return f"{kept.values['name']} of {node}" if node else str(kept.values["name"])
