"""A cluster as a tree: S2 domains, S1 domains, racks, nodes, and the cables between them."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from controller.drawings.state import UNKNOWN, State
from inventory.gpus import Parts, total_of


class Level(StrEnum):
    """Where a box stands: one column of the drawing each, the outermost first."""

    S2 = "S2"
    S1 = "S1"
    RACK = "rack"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Cables of one speed between two boxes; ``speed_gbps`` of one cable, ``None`` not known.

    ``down`` of the ``cables`` are known not to work.
    """

    cables: int
    speed_gbps: int | None = None
    down: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """One node; its GPUs are in ``parts``, where those that nobody reports the use of are unknown.

    ``services`` are those that run on it: ``()`` none, ``None`` nobody reports. ``uplinks`` are
    the cables of its own to its leaves; empty where none is recorded. ``hardware`` is its GPU
    type, empty where it is not known.
    """

    name: str
    href: str
    parts: Parts
    state: State = UNKNOWN
    services: tuple[str, ...] | None = None
    hardware: str = ""
    uplinks: tuple[Bundle, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """An S2 domain, an S1 domain or a rack, and all that is behind it.

    ``key`` names it within the tree and is what focus refers to; ``name`` is ``""`` for those
    that have no such domain or rack. ``switches`` are those of the domain itself, ``None`` where
    that is not known. ``uplinks`` are the cables to the level above.
    """

    level: Level
    key: str
    name: str
    href: str
    groups: tuple["Group", ...] = ()
    nodes: tuple[Node, ...] = ()
    switches: int | None = None
    uplinks: tuple[Bundle, ...] = ()

    def all_nodes(self) -> tuple[Node, ...]:
        """Return every node behind it, in the order they are drawn."""
        return (*(node for group in self.groups for node in group.all_nodes()), *self.nodes)

    @property
    def parts(self) -> Parts:
        """Return where the GPUs behind it count."""
        return total_of(node.parts for node in self.all_nodes())


@dataclass(frozen=True, slots=True)
class Cluster:
    """What one topology shows.

    ``href`` is the page of the whole cluster, out of every focus; ``list_href`` that of the list
    of its nodes, where whatever is not drawn one by one can be found.
    """

    name: str
    href: str
    list_href: str
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is; ``None`` where nobody knows or there is none."""

    s2: str | None = None
    s1: str | None = None
    rack: str | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """What is known of the switches and cables of domains and racks.

    Keys are what ``key_of`` says. A key that is absent is not known.
    """

    switches: Mapping[str, int] = field(default_factory=dict)
    uplinks: Mapping[str, tuple[Bundle, ...]] = field(default_factory=dict)


_LEVELS: Final = (Level.S2, Level.S1, Level.RACK)
_Path = tuple[str, ...]


def key_of(*names: str | None) -> str:
    """Return the key of the group at a path of names: S2, or S2 and S1, or S2, S1 and rack.

    ``None`` and ``""`` stand for having none: ``key_of("S2-1", None)`` is ``"S2-1/*"``.
    """
    return "/".join(quote(name, safe="", errors="replace") if name else "*" for name in names)


def grow(
    name: str,
    placed: Iterable[tuple[Place, Node]],
    *,
    href: Callable[[str], str],
    list_href: str,
    wiring: Wiring | None = None,
) -> Cluster:
    """Return the tree of a cluster; nodes without a domain or rack come last, in own groups.

    ``href(key)`` is the address that focuses on a group; ``href("")`` that of the whole cluster.
    """
    paths: list[tuple[_Path, Node]] = [
        ((at.s2 or "", at.s1 or "", at.rack or ""), node) for at, node in placed
    ]
    grown = _Growing(href, wiring or Wiring()).groups((), paths)
    return Cluster(name=name, href=href(""), list_href=list_href, groups=grown)


@dataclass(frozen=True, slots=True)
class _Growing:
    href: Callable[[str], str]
    wiring: Wiring

    def groups(self, above: _Path, placed: list[tuple[_Path, Node]]) -> tuple[Group, ...]:
        depth = len(above)
        named: dict[str, list[tuple[_Path, Node]]] = {}
        for path, node in placed:
            named.setdefault(path[depth], []).append((path, node))
        in_order = sorted(named, key=lambda name: (not name, natural(name)))
        return tuple(self.group((*above, name), named[name]) for name in in_order)

    def group(self, path: _Path, placed: list[tuple[_Path, Node]]) -> Group:
        key = key_of(*path)
        is_rack = len(path) == len(_LEVELS)
        nodes = sorted((node for _, node in placed), key=lambda node: natural(node.name))
        return Group(
            level=_LEVELS[len(path) - 1],
            key=key,
            name=path[-1],
            href=self.href(key),
            groups=() if is_rack else self.groups(path, placed),
            nodes=tuple(nodes) if is_rack else (),
            switches=self.wiring.switches.get(key),
            uplinks=self.wiring.uplinks.get(key, ()),
        )


_NUMBERS: Final = re.compile(r"(\d+)")


@lru_cache(maxsize=16_384)
def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return what sorts names as people do: "n-2" before "n-10"."""
    parts = [part for part in _NUMBERS.split(name) if part]
    return tuple(_part(part) for part in parts), name


def _part(part: str) -> tuple[int, int, str]:
    digits = part.lstrip("0")
    return (0, len(digits), digits) if part.isdecimal() else (1, 0, part.lower())
