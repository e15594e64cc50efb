"""The same thing under two names: long and short host names, words for hardware, loose cables."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from inventory.importers.found import (
    Found,
    FoundGpu,
    FoundHardware,
    FoundLink,
    FoundNic,
    Key,
    Options,
    Thing,
)
from inventory.importers.gathering import Gathering
from inventory.kept import Kept, Stored

NAMED: Final = 3
_IDENTIFIERS: Final = ("k8s_uid", "provider_id", "serial")


Names = Mapping[tuple[str, ...], tuple[str, ...]]
"""From a node's key in the files to the key of its row, where that is by another name."""


def joined(found: Found, stored: Stored, merges: Mapping[str, str]) -> tuple[Found, Names]:
    """Return what was found with one name for each thing, and which rows have other names yet.

    ``merges`` says which new hardware types are existing ones by another name.
    """
    found, names = _one_name_each(_as_written(found, stored), stored)
    found = _known_hardware(found, stored, merges)
    return _without_loose_cables(found), names


# Clusters.


def _as_written(found: Found, stored: Stored) -> Found:
    """Return everything with clusters in the letters that they have in the inventory."""
    known = {one.key[0]: str(one.values["slug"]) for one in stored.of("cluster")}
    for one in found.clusters:
        known.setdefault(one.key[0], one.slug)
    if all(known[one.key[0]] == one.slug for one in found.clusters):
        return found
    named: dict[str, Any] = {
        "clusters": tuple(replace(one, slug=known[one.key[0]]) for one in found.clusters)
    }
    for name in ("fabrics", "racks", "switches", "nodes", "gpus", "nics", "links"):
        named[name] = tuple(_in(one, known) for one in getattr(found, name))
    named["nvlink_domains"] = tuple(_in(one, known) for one in found.nvlink_domains)
    return replace(found, **named)


def _in(thing: Any, known: Mapping[str, str]) -> Any:  # noqa: ANN401 - any kind that has a cluster
    return replace(thing, cluster=known.get(thing.cluster.lower(), thing.cluster))


# Host names.


@dataclass(frozen=True, slots=True)
class _Host:
    """A name of a node, what tells it from other machines, and its row by either."""

    name: str
    identifiers: Mapping[str, str]
    row: UUID | None = None

    def may_be(self, other: "_Host") -> bool:
        """Return whether nothing tells the two apart."""
        mine, others = self.identifiers, other.identifiers
        if self.row is not None and other.row is not None and self.row != other.row:
            return False
        return all(mine[one] == others[one] for one in mine.keys() & others.keys())

    @property
    def rank(self) -> tuple[bool, bool, bool]:
        """Which name stands: Kubernetes' own, then the one the inventory has, then the long."""
        return ("k8s_uid" in self.identifiers, self.row is not None, "." in self.name)


def _one_name_each(found: Found, stored: Stored) -> tuple[Found, Names]:
    """Give machines that are long-named here and short-named there one name."""
    instead: dict[tuple[str, str], str] = {}
    rows: dict[tuple[str, ...], tuple[str, ...]] = {}
    for cluster, hosts in _hosts(found, stored).items():
        for short, long in _pairs(hosts):
            stands, gives_way = sorted((short, long), key=lambda one: one.rank, reverse=True)
            instead[cluster, gives_way.name.lower()] = stands.name
            if gives_way.row is not None:
                rows[cluster, stands.name.lower()] = (cluster, gives_way.name.lower())
    return (_renamed(found, instead), rows) if instead else (found, rows)


def _hosts(found: Found, stored: Stored) -> dict[str, dict[str, _Host]]:
    names: dict[str, dict[str, _Host]] = defaultdict(dict)
    rows = {
        (one, str(row.values[one]).lower()): row.row
        for row in stored.of("node")
        for one in _IDENTIFIERS
        if row.values.get(one)
    }
    for node in found.nodes:
        told = _identifiers(node)
        known = (rows.get((one, text.lower())) for one, text in told.items())
        row = next(filter(None, known), None)
        names[node.cluster.lower()][node.name.lower()] = _Host(node.name, told, row)
    for link in found.links:
        if link.peer_is_node:
            held = names[link.cluster.lower()]
            held.setdefault(link.peer.lower(), _Host(link.peer, {}))
    for kept in stored.of("node"):
        held, name = names[kept.cluster.lower()], str(kept.values["name"])
        before = held.get(name.lower(), _Host(name, {}))
        told = {**_identifiers(kept.thing()), **before.identifiers}
        held[name.lower()] = _Host(name, told, before.row or kept.row)
    return names


def _identifiers(node: Thing) -> dict[str, str]:
    return {one: text for one in _IDENTIFIERS if (text := getattr(node, one))}


def _pairs(hosts: Mapping[str, _Host]) -> list[tuple[_Host, _Host]]:
    """Return short names with the one long name that begins like them."""
    long: dict[str, list[_Host]] = defaultdict(list)
    for key, host in hosts.items():
        first, dot, _ = key.partition(".")
        if dot:
            long[first].append(host)
    return [
        (hosts[short], others[0])
        for short, others in long.items()
        # What is all digits may be an address.
        if short in hosts
        and len(others) == 1
        and not short.isdigit()
        and hosts[short].may_be(others[0])
    ]


def _renamed(found: Found, instead: Mapping[tuple[str, str], str]) -> Found:
    """Return everything with nodes called otherwise; what is one now is joined like two files."""
    gathering = Gathering("", Options())
    renamed = replace(found, **_things_renamed(found, instead))
    gathering.take(renamed)
    again = gathering.found(found.format, found.level_sources)
    used = sorted({(old, new) for (_, old), new in instead.items()})
    first = ", ".join(f"{old} is {new}" for old, new in used[:NAMED])
    more = f" and {len(used) - NAMED:,} more" if len(used) > NAMED else ""
    word = "machine is" if len(used) == 1 else "machines are"
    told = f"{len(used):,} {word} called by a long and a short name: {first}{more}."
    return replace(again, notes=(*again.notes, told), origins=_origins(found, renamed))


def _origins(found: Found, renamed: Found) -> dict[tuple[str, Key], tuple[str, ...]]:
    """Return which formats name a thing by either of its names."""
    origins: dict[tuple[str, Key], tuple[str, ...]] = {}
    if found.origins:
        for (kind, old), (_, new) in zip(found.things(), renamed.things(), strict=True):
            before = origins.get((kind, new.key), ())
            more = (one for one in found.forms(kind, old.key) if one not in before)
            origins[kind, new.key] = (*before, *more)
    return origins


def _things_renamed(found: Found, instead: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    def name(cluster: str, old: str) -> str:
        return instead.get((cluster.lower(), old.lower()), old)

    def part(one: FoundGpu | FoundNic) -> Thing:
        return replace(one, node=name(one.cluster, one.node))

    return {
        "nodes": tuple(replace(one, name=name(one.cluster, one.name)) for one in found.nodes),
        "gpus": tuple(map(part, found.gpus)),
        "nics": tuple(map(part, found.nics)),
        "links": tuple(
            replace(one, peer=name(one.cluster, one.peer)) if one.peer_is_node else one
            for one in found.links
        ),
    }


# Hardware types.


@dataclass(slots=True)
class _Catalogue:
    """Which words mean which hardware type; a word belongs to one type alone."""

    slugs: dict[str, Kept] = field(default_factory=dict)
    words: dict[str, Kept] = field(default_factory=dict)

    @classmethod
    def of(cls, stored: Stored) -> "_Catalogue":
        made = cls()
        for one in stored.of("hardware"):
            made.slugs[str(one.values["slug"]).lower()] = one
            aliases = one.values.get("aliases")
            for alias in aliases if isinstance(aliases, list) else []:
                made.words[str(alias).lower()] = one
        return made

    def meant(self, hardware: FoundHardware) -> Kept | None:
        """Return the type that a found one is, by its slug or one of its words."""
        known = self.slugs.get(hardware.slug.lower())
        if known is not None:
            return known
        for word in (hardware.slug, *hardware.aliases):
            known = self.words.get(word.lower())
            if known is not None and _alike(known, hardware):
                return known
        return None


def _alike(known: Kept, hardware: FoundHardware) -> bool:
    """Return whether a type may be another by the same word: four of a GPU are not eight."""
    count = known.values.get("gpus_per_node")
    return None in {count, hardware.gpus_per_node} or count == hardware.gpus_per_node


def _known_hardware(found: Found, stored: Stored, merges: Mapping[str, str]) -> Found:
    catalogue = _Catalogue.of(stored)
    chosen = {new.lower(): known for new, known in merges.items()}
    slugs: dict[str, str] = {}
    types: dict[str, FoundHardware] = {}
    for one in (*found.hardware, *_only_named(found)):
        known = catalogue.slugs.get(chosen.get(one.slug.lower(), "").lower())
        merged = known is not None
        known = known or catalogue.meant(one)
        slugs[one.slug.lower()] = slug = str(known.values["slug"]) if known else one.slug
        kind = _as_known(one, slug, catalogue, known, merged=merged)
        types[slug.lower()] = _both(types[slug.lower()], kind) if slug.lower() in types else kind
    nodes = tuple(
        replace(node, hardware=slugs.get(node.hardware.lower(), node.hardware))
        if node.hardware
        else node
        for node in found.nodes
    )
    return replace(found, hardware=_own_words(types.values()), nodes=nodes)


def _only_named(found: Found) -> list[FoundHardware]:
    """Return the types that nodes name and no file describes."""
    described = {one.slug.lower() for one in found.hardware}
    named: dict[str, FoundHardware] = {}
    for node in found.nodes:
        if node.hardware and node.hardware.lower() not in described:
            named.setdefault(node.hardware.lower(), FoundHardware(slug=node.hardware, at=node.at))
    return list(named.values())


def _as_known(
    one: FoundHardware, slug: str, catalogue: _Catalogue, known: Kept | None, *, merged: bool
) -> FoundHardware:
    """Return a type under the inventory's slug, without words that other types have.

    What a person merged keeps what it was; the new words for it are all that is added.
    """
    other = (one.slug,) if slug.lower() != one.slug.lower() else ()
    words = tuple(
        word
        for word in (*one.aliases, *other)
        if catalogue.words.get(word.lower(), known) is known
        if word.lower() not in catalogue.slugs
    )
    if merged or other:
        return FoundHardware(slug=slug, aliases=words, at=one.at)
    return replace(one, slug=slug, aliases=words)


def _both(first: FoundHardware, second: FoundHardware) -> FoundHardware:
    more = tuple(word for word in second.aliases if word not in first.aliases)
    fuller = first if first.gpu_model or not second.gpu_model else second
    return replace(fuller, aliases=(*first.aliases, *more))


def _own_words(types: Iterable[FoundHardware]) -> tuple[FoundHardware, ...]:
    """Return types of which no two have the same word: the first keeps it."""
    taken: set[str] = set()
    own = []
    for one in types:
        words = {word.lower(): word for word in one.aliases if word.lower() not in taken}
        taken |= words.keys()
        own.append(replace(one, aliases=tuple(words.values())))
    return tuple(own)


# Cables.


def ends_of(link: FoundLink) -> tuple[tuple[str, str, str, str], tuple[str, str]]:
    """Return what a cable joins, the same from either end, and its ports in that order."""
    near, far = (link.switch.lower(), link.port), (link.peer.lower(), link.peer_port)
    if not link.peer_is_node and far < near:
        near, far = far, near
    kind = "node" if link.peer_is_node else ""
    return (link.cluster.lower(), near[0], far[0], kind), (near[1], far[1])


def agree(ports: tuple[str, str], others: tuple[str, str]) -> bool:
    """Return whether two cables between the same ends may be one: no port contradicts."""
    return all(
        not mine or not other or mine == other for mine, other in zip(ports, others, strict=True)
    )


def _without_loose_cables(found: Found) -> Found:
    """Leave out cables said with fewer ports where the same ends are cabled with more."""
    between: dict[object, list[FoundLink]] = defaultdict(list)
    for link in found.links:
        between[ends_of(link)[0]].append(link)
    loose: set[int] = set()
    for links in between.values():
        if len(links) > 1:
            loose |= _loose(links)
    if not loose:
        return found
    left = tuple(link for link in found.links if id(link) not in loose)
    word = "cable is" if len(loose) == 1 else "cables are"
    told = f"{len(loose):,} {word} named without ports beside the same ones with ports: left out."
    return replace(found, links=left, notes=(*found.notes, told))


def _loose(links: Sequence[FoundLink]) -> set[int]:
    full = {id(link): ends_of(link)[1] for link in links}

    def told(ports: tuple[str, str]) -> int:
        return sum(map(bool, ports))

    most = max(map(told, full.values()))
    return {
        key
        for key, ports in full.items()
        if told(ports) < most
        and any(agree(ports, other) for other in full.values() if told(other) > told(ports))
    }
