"""What of a tree is shown: one row per box, from which both the drawing and its table are made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NotRequired, TypedDict, Unpack

from controller.core.phrases import plural
from controller.core.words import number
from controller.drawings.overlays import Overlay, Share, health_words, read
from controller.drawings.state import State, Tone, tally
from controller.drawings.tree import Bundle, Cluster, Group, Level, Node, key_of
from inventory.gpus import Parts, total_of

MOST_NODES: Final = 400
"""Above so many visible nodes only groups are drawn."""
MOST_GROUPS: Final = 400
MOST_SIBLINGS: Final = 40
"""So many groups of one parent are drawn one by one; the others become one box."""
MOST_HOPS: Final = 3
DEPTH: Final = {level: depth for depth, level in enumerate(Level)}
_SWITCHES: Final = {Level.S2: "spine", Level.S1: "leaf", Level.RACK: "switch"}
_NOUNS: Final = {Level.S2: "S2 domain", Level.S1: "S1 domain", Level.RACK: "rack"}


@dataclass(frozen=True, slots=True)
class View:
    """What is asked for.

    ``focus`` is the key of a group, ``None`` or an unknown key the whole cluster; ``hops`` (1-3)
    is how many levels below it are drawn one by one. ``service`` narrows the overlay "service" to
    one of them.
    """

    focus: str | None = None
    hops: int = 2
    overlay: Overlay = Overlay.HEALTH
    service: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One box of the drawing and one row of its table.

    ``depth`` is 0 for S2, 3 for nodes. ``name`` reads on its own: "SU-03", "12 nodes without S1",
    "27 more S1 domains"; ``kind`` is what to say before it, "S1" or nothing. ``counts`` are the
    words under it, ``health`` those of its ``states`` (the worst first), ``reading`` those of the
    overlay with its bar in ``shares``, ``cables`` those to the level above, ``""`` where none is
    known; ``sentence`` is all of it.
    """

    level: Level
    depth: int
    key: str
    name: str
    href: str
    nodes: int
    parts: Parts
    states: tuple[tuple[State, int], ...]
    services: tuple[str, ...] | None
    counts: str
    health: str
    reading: str
    shares: tuple[Share, ...]
    kind: str = ""
    switches: int | None = None
    uplinks: tuple[Bundle, ...] = ()
    is_open: bool = False
    is_focus: bool = False

    @property
    def worst(self) -> State:
        """Return the worst state among its nodes."""
        return self.states[0][0] if self.states else State(Tone.UNKNOWN, "no nodes")

    @property
    def cables(self) -> str:
        """Return its cables to the level above in words."""
        return cable_words(self.uplinks)

    @property
    def sentence(self) -> str:
        """Return everything about it: "S1 SU-03: 8 leaves, 32 nodes, 256 GPUs, 2 unhealthy"."""
        said = [self.counts.replace(" · ", ", "), self.health]
        said += [self.reading] if self.reading != self.health else []
        said += [", ".join(self.services)] if self.services else []
        said += [f"{self.cables} up"] if self.cables else []
        name = f"{self.kind} {self.name}".strip()
        return f"{name}: {', '.join(part for part in said if part)}"


@dataclass(frozen=True, slots=True)
class Unfolded:
    """All rows in the order they are read, and a sentence where less is drawn than asked for."""

    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many boxes there would be: of nodes, and of groups."""

    nodes: int
    groups: int


def unfold(cluster: Cluster, view: View) -> Unfolded:
    """Return what is shown; every node is in exactly one row that is not open."""
    path = _path_to(cluster.groups, view.focus)
    # From the whole cluster it is one level further to the nodes than from an S2 domain.
    asked = max(1, min(MOST_HOPS + (not path), view.hops))
    note = ""
    for hops in range(asked, 0, -1):
        # Counted first: rows that are too many are dear to make and thrown away.
        shown = _Unfolding(cluster, view, path, hops)
        excess = _excess(shown.sizes())
        note = note or excess
        if not excess:
            return Unfolded(shown.rows(), note)
    return Unfolded(_Unfolding(cluster, view, path, 0).rows(), note)


def cable_words(uplinks: Iterable[Bundle]) -> str:
    """Return cables in words: "32 × 400 Gb/s, 2 down"."""
    told = []
    for one in uplinks:
        speed = f"{number(one.cables)} × {one.speed_gbps} Gb/s"
        told.append(speed if one.speed_gbps else plural(one.cables, "cable"))
    down = sum(one.down for one in uplinks)
    return " + ".join(told) + (f", {number(down)} down" if down else "")


def _excess(sizes: Sizes) -> str:
    if sizes.nodes > MOST_NODES:
        return (
            f"{number(sizes.nodes)} nodes are more than {MOST_NODES}: only groups are drawn. "
            "Open one to see its nodes."
        )
    if sizes.groups > MOST_GROUPS:
        return f"More than {MOST_GROUPS} groups: fewer levels are drawn. Open one to see more."
    return ""


def _path_to(groups: Iterable[Group], key: str | None) -> tuple[str, ...]:
    """Return the keys from the outside to a group; none where it is not there."""
    for group in groups:
        if group.key == key:
            return (group.key,)
        below = _path_to(group.groups, key)
        if below:
            return (group.key, *below)
    return ()


class _Told(TypedDict):
    level: Level
    key: str
    name: str
    href: str
    counts: str
    kind: NotRequired[str]
    switches: NotRequired[int | None]
    uplinks: NotRequired[tuple[Bundle, ...]]
    is_open: NotRequired[bool]
    is_focus: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class _Unfolding:
    """One pass over a tree; ``path`` leads to the group in focus, empty for the whole cluster."""

    cluster: Cluster
    view: View
    path: tuple[str, ...]
    hops: int

    def rows(self) -> tuple[Row, ...]:
        return tuple(self._siblings(self.cluster.groups, "", None if self.path else 1))

    def sizes(self) -> Sizes:
        """Return how many rows there would be, without making them."""
        counted = [0, 0]
        self._count(self.cluster.groups, None if self.path else 1, counted)
        return Sizes(nodes=counted[0], groups=counted[1])

    def _count(self, groups: Sequence[Group], relative: int | None, counted: list[int]) -> None:
        shown = _shown(groups, self.path)
        counted[1] += len(shown) + (len(shown) < len(groups))
        for group in shown:
            depth = 0 if self.path and group.key == self.path[-1] else relative
            if self._is_open(group, depth):
                self._count(group.groups, None if depth is None else depth + 1, counted)
                counted[0] += len(group.nodes)

    def _is_open(self, group: Group, relative: int | None) -> bool:
        return group.key in self.path[:-1] or (relative is not None and relative < self.hops)

    def _siblings(
        self, groups: Sequence[Group], parent: str, relative: int | None
    ) -> Iterator[Row]:
        """Yield the rows of siblings; ``relative`` is how deep below the focus they are."""
        shown = _shown(groups, self.path)
        for group in shown:
            yield from self._group(group, relative)
        rest = [group for group in groups if group not in shown]
        if rest:
            yield self._rest(rest, parent)

    def _group(self, group: Group, relative: int | None) -> Iterator[Row]:
        is_focus = group.key == self.path[-1] if self.path else False
        relative = 0 if is_focus else relative
        is_open = self._is_open(group, relative)
        nodes = group.all_nodes()
        below = group.groups or group.nodes
        yield self._row(
            nodes,
            level=group.level,
            key=group.key,
            name=group.name or _without(group.level, len(nodes)),
            kind=str(group.level) if group.name else "",
            href=group.href,
            switches=group.switches,
            uplinks=group.uplinks,
            counts=_counts(group, nodes),
            is_open=is_open and bool(below),
            is_focus=is_focus,
        )
        if is_open:
            deeper = None if relative is None else relative + 1
            yield from self._siblings(group.groups, group.key, deeper)
            for node in group.nodes:
                yield self._node(node, group.key)

    def _node(self, node: Node, parent: str) -> Row:
        return self._row(
            (node,),
            level=Level.NODE,
            key=f"{parent}/{key_of(node.name)}",
            name=node.name,
            href=node.href,
            uplinks=node.uplinks,
            counts=_gpus(node.parts),
        )

    def _rest(self, groups: Sequence[Group], parent: str) -> Row:
        nodes = [node for group in groups for node in group.all_nodes()]
        parts = total_of(node.parts for node in nodes)
        level = groups[0].level
        return self._row(
            nodes,
            level=level,
            key=f"{parent}/+",
            name=f"{len(groups):,} more {_NOUNS[level]}s",
            href=self.cluster.list_href,
            counts=f"{plural(len(nodes), 'node')} · {_gpus(parts)}",
        )

    def _row(self, nodes: Sequence[Node], **told: Unpack[_Told]) -> Row:
        states = tally(node.state for node in nodes)
        reading = read(nodes, self.view.overlay, self.view.service)
        return Row(
            depth=DEPTH[told["level"]],
            nodes=len(nodes),
            parts=total_of(node.parts for node in nodes),
            states=states,
            services=_services(nodes),
            health=health_words(states, len(nodes)),
            reading=reading.words,
            shares=reading.shares,
            **told,
        )


def _shown(groups: Sequence[Group], path: tuple[str, ...]) -> tuple[Group, ...]:
    if len(groups) <= MOST_SIBLINGS:
        return tuple(groups)
    on_path = [group for group in groups if group.key in path]
    others = [group for group in groups if group.key not in path]
    kept = {group.key for group in (*on_path, *others[: MOST_SIBLINGS - 1 - len(on_path)])}
    return tuple(group for group in groups if group.key in kept)


def _without(level: Level, nodes: int) -> str:
    lacking = "without a rack" if level is Level.RACK else f"without {level}"
    return f"{plural(nodes, 'node')} {lacking}"


def _counts(group: Group, nodes: Sequence[Node]) -> str:
    words = [] if group.switches is None else [_switches(group.level, group.switches)]
    if group.level is Level.S2:
        words += [plural(len([one for one in group.groups if one.name]), "S1 domain")]
    words += [plural(len(nodes), "node")] if group.name else []
    return " · ".join([*words, _gpus(group.parts)])


def _switches(level: Level, count: int) -> str:
    if level is Level.S1 and count != 1:
        return f"{count:,} leaves"
    return plural(count, _SWITCHES[level])


def _gpus(parts: Parts) -> str:
    if not parts.uncounted:
        return plural(parts.total, "GPU")
    nodes = f"{number(parts.uncounted)} not counted"
    return f"{plural(parts.total, 'GPU')}, {nodes}" if parts.total else "GPUs not counted"


def _services(nodes: Sequence[Node]) -> tuple[str, ...] | None:
    """Return what runs on nodes, by name; ``None`` where nobody reports for any of them."""
    told = [node.services for node in nodes if node.services is not None]
    return tuple(sorted({name for names in told for name in names})) if told else None
