"""What a topology is narrowed to: a name that a reader gave, and where that is in the tree."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from controller.selectors.node_seen import NodeSeen
from controller.selectors.topology_rows import Rows

KINDS: Final = ("node", "s1", "s2", "switch", "rack", "nvlink")
"""What the page can be narrowed to, in the order in which a bare name is looked up."""
LEVELS: Final = ("s2", "s1", "rack")
AT: Final = "at"
NONE: Final = "*"
"""What a path has in the place of a name where there is none."""
TITLES: Final[Mapping[str, str]] = {
    "node": "node",
    "s1": "S1",
    "s2": "S2",
    "switch": "switch",
    "rack": "rack",
    "nvlink": "NVLink domain",
}


@dataclass(frozen=True, slots=True)
class Focus:
    """What was asked for; ``path`` is where it is: names of S2, S1 and rack, as far as it goes.

    An empty name in a path stands for none. ``missing`` is a name that nothing here has.
    """

    kind: str = ""
    name: str = ""
    path: tuple[str, ...] = ()
    missing: str = ""

    @property
    def words(self) -> str:
        """As a person says it: "S1 su-03"."""
        if not self.kind:
            return ""
        return f"{TITLES[self.kind]} {self.name}" if self.name else f"no {TITLES[self.kind]}"


def find_focus(rows: Rows, text: str) -> Focus:
    """Return what a ``kind:name`` or a bare name means here; case does not matter.

    ``at:S2/S1/rack`` is a path in the tree, as far as it goes, with names as an address has them
    and ``*`` for none.
    """
    kind, _, name = text.partition(":")
    if not text or kind == AT:
        return _at(rows, name) if text else Focus()
    kinds = (kind,) if kind in KINDS else KINDS
    name = (name if kind in KINDS else text).lower()
    for one in kinds:
        for known in _names(rows, one):
            if known.lower() == name:
                return Focus(one, known, _path(rows, one, known))
    return Focus(missing=text)


def _at(rows: Rows, key: str) -> Focus:
    parts = key.split("/")[: len(LEVELS)]
    path = tuple("" if part == NONE else unquote(part) for part in parts)
    if not any(rows.paths[node.pk][: len(path)] == path for node in rows.nodes):
        return Focus(missing=key)
    kind = LEVELS[len(path) - 1]
    return Focus(kind, path[-1], path)


def _names(rows: Rows, kind: str) -> Iterable[str]:
    if kind in {"s1", "s2"}:
        return (one.name for one in rows.domains if one.level.lower() == kind)
    if kind == "switch":
        return (one.name for one in rows.switches.values())
    attribute = {"node": "name", "rack": "rack_name", "nvlink": "nvlink"}[kind]
    return (found for node in rows.nodes if (found := getattr(node, attribute)))


def _path(rows: Rows, kind: str, name: str) -> tuple[str, ...]:
    if kind in {"node", "rack"}:
        return _commonest(rows, [one for one in rows.nodes if name in {one.name, one.rack_name}])
    domains = [one for one in rows.domains if (one.level.lower(), one.name) == (kind, name)]
    if kind == "switch":
        made = rows.by_switch.get(name.lower(), ())
        domains = sorted((rows.by_pk[pk] for pk in made), key=lambda one: one.level)
    # An NVLink domain narrows the tree to its nodes wherever they are.
    return rows.path_of_domain(domains[0]) if domains and kind != "nvlink" else ()


def _commonest(rows: Rows, nodes: Iterable[NodeSeen]) -> tuple[str, ...]:
    """Return the path of the rack that most of the nodes are in."""
    counted = Counter(rows.paths[node.pk] for node in nodes)
    return counted.most_common(1)[0][0]
