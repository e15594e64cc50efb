"""The topology of a cluster: core, leaf groups, racks and nodes in four columns."""

import math
from dataclasses import dataclass
from typing import Final

from controller.core.phrases import plural
from controller.drawings import symbols
from controller.drawings.columns import COLUMN, WIDTH, Box, Columns, Tie, column_x, place
from controller.drawings.overlays import Overlay, bar_words, health_words
from controller.drawings.state import WORST_FIRST, Key, Tone, tally
from controller.drawings.svg import Element, finished, fit, how_many, root, sub, width_of, write
from controller.drawings.tree import Bundle, Cluster, Level
from controller.drawings.unfold import Row, View, cable_words, unfold
from inventory.gpus import total_of

_HEADINGS: Final = ("Core · S2", "Leaf groups · S1", "Racks", "Nodes")
_MARK: Final = " · "
_SMALL: Final = 12.0
_BOLD: Final = 1.12
"""How much longer bold text is."""
_PAD: Final = 10.0
_INDENT: Final = 32.0
_BAR: Final = 6.0
_THIN: Final = 3.0
_LEAST: Final = 2.0
"""The shortest part of a bar, so that one node of a thousand is seen [CSS pixels]."""
_TRUNK: Final = 14.0


@dataclass(frozen=True, slots=True)
class Topology:
    """A drawing and its twin table.

    ``svg`` and the swatches of ``legend`` are safe to put on a page as they are. ``summary`` is
    the accessible name of the drawing, ``note`` says where less is drawn than was asked for.
    """

    svg: str
    rows: tuple[Row, ...]
    legend: tuple[Key, ...]
    summary: str
    note: str


def draw(cluster: Cluster, view: View, *, uid: str = "topology") -> Topology:
    """Return the drawing of what ``view`` asks for.

    ``uid`` tells the ids of one drawing on a page from those of another. Never raises for what a
    reader may ask for: a focus that is not there shows the whole cluster.
    """
    shown = unfold(cluster, view)
    summary = _summary(cluster)
    return Topology(
        svg=finished(_Drawing(uid, view.overlay).drawn(place(shown.rows), summary)),
        rows=shown.rows,
        legend=_legend(uid, shown.rows, view),
        summary=summary,
        note=shown.note,
    )


def _summary(cluster: Cluster) -> str:
    nodes = [node for group in cluster.groups for node in group.all_nodes()]
    domains = [one for group in cluster.groups for one in group.groups if one.name]
    cores = [group for group in cluster.groups if group.name]
    counts = (
        plural(len(cores), "S2 domain"),
        plural(len(domains), "S1 domain"),
        plural(len(nodes), "node"),
        plural(total_of(node.parts for node in nodes).total, "GPU"),
    )
    health = health_words(tally(node.state for node in nodes), len(nodes))
    return f"{cluster.name}: {', '.join(counts)}; {health}"


def _legend(uid: str, rows: tuple[Row, ...], view: View) -> tuple[Key, ...]:
    words: dict[Tone, set[str]] = {}
    for row in rows:
        for state, _ in row.states:
            words.setdefault(state.tone, set()).add(state.word)
    states = tuple(
        symbols.key_of_tone(uid, tone, ", ".join(sorted(words[tone])))
        for tone in reversed(WORST_FIRST)
        if tone in words
    )
    bars = tuple(
        symbols.key(symbols.filled(uid, tone), word)
        for tone, word in bar_words(view.overlay, view.service)
    )
    return states + bars


@dataclass(frozen=True, slots=True)
class _Drawing:
    uid: str
    overlay: Overlay

    def drawn(self, columns: Columns, summary: str) -> Element:
        name = {"aria_label": summary, "data_tree": ""}
        drawing = root(WIDTH, columns.height, class_="drawing topology", role="group", **name)
        symbols.define(drawing, self.uid)
        for depth, heading in enumerate(_HEADINGS):
            write(drawing, heading, (column_x(depth), 16), "heading")
        ties = sub(drawing, "g", class_="cables", aria_hidden="true")
        for tie in columns.ties:
            _tie(ties, tie)
        for box in columns.boxes:
            self.box(drawing, box)
        return drawing

    def box(self, drawing: Element, box: Box) -> None:
        row = box.row
        told = {"aria_label": row.sentence, "data_depth": str(row.depth)}
        told |= {"aria_current": "true"} if row.is_focus else {}
        name = f"box {row.level.lower()}" + (" in-focus" if row.is_focus else "")
        link = sub(drawing, "a", href=row.href, class_=name, **told)
        sub(link, "title", row.sentence)
        size = {"width": box.width, "height": box.height, "rx": 4}
        sub(link, "rect", x=box.x, y=box.y, class_="ground", **size)
        if row.level is Level.NODE:
            self.node(link, box)
        elif row.is_open:
            self.open_group(link, box)
        else:
            self.closed_group(link, box)

    def node(self, link: Element, box: Box) -> None:
        row, right = box.row, box.x + box.width - _PAD
        tab = symbols.filled(self.uid, row.worst.tone)
        sub(link, "rect", x=box.x + 0.5, y=box.y + 0.5, width=6, height=box.height - 1, **tab)
        symbols.icon(link, self.uid, row.worst.tone, (box.x + 12, box.y + 7))
        said = fit(row.reading, 110, _SMALL)
        room = box.width - _INDENT - 2 * _PAD - width_of(said, _SMALL)
        write(link, fit(row.name, room), (box.x + _INDENT, box.y + 18), "name")
        write(link, said, (right, box.y + 18), "quiet end")
        if self.overlay is not Overlay.HEALTH:
            start = box.x + _INDENT
            self.bar(link, row, (start, box.y + box.height - 5, right - start, _THIN))

    def open_group(self, link: Element, box: Box) -> None:
        room = box.width - _INDENT - _PAD
        used = self.titled(link, box, room)
        said = _as_many(box.row.reading, room - used - _PAD)
        write(link, said, (box.x + box.width - _PAD, box.y + 19), "quiet end")
        self.bar(link, box.row, (box.x + _INDENT, box.y + box.height - 8, room, _THIN))

    def closed_group(self, link: Element, box: Box) -> None:
        row = box.row
        start = column_x(max(2, row.depth + 1))
        right = box.x + box.width - _PAD
        self.titled(link, box, start - box.x - _INDENT - _PAD)
        reading = _as_many(row.reading, (right - start) / _BOLD)
        write(link, reading, (start, box.y + 20), "reading")
        if row.reading != row.health:
            room = right - start - _BOLD * width_of(reading, _SMALL) - 2 * _PAD
            write(link, _as_many(row.health, room), (right, box.y + 20), "quiet end")
        self.bar(link, row, (start, box.y + 31, right - start, _BAR))

    def titled(self, link: Element, box: Box, room: float) -> float:
        """Draw the head of a group and return how long its name is."""
        row, x = box.row, box.x + _INDENT
        symbols.icon(link, self.uid, row.worst.tone, (box.x + _PAD, box.y + 8))
        name = fit(row.name, room / _BOLD)
        write(link, name, (x, box.y + 19), "name")
        counts = row.counts.split(_MARK)
        # The last of the counts tell most.
        kept = counts[-max(1, how_many(counts[::-1], _MARK, room, _SMALL)) :]
        write(link, _MARK.join(kept), (x, box.y + 35), "quiet")
        return _BOLD * width_of(name)

    def bar(self, link: Element, row: Row, at: tuple[float, float, float, float]) -> None:
        x, y, width, height = at
        sub(link, "rect", x=x, y=y, width=width, height=height, rx=1, class_="track")
        for share, long in zip(row.shares, _lengths(row, width), strict=True):
            look = symbols.filled(self.uid, share.tone)
            sub(link, "rect", x=x, y=y, width=long, height=height, **look)
            x += long


def _as_many(words: str, room: float) -> str:
    """Return as many of the words between commas as fit, with a sign where some are left out."""
    pieces = words.split(", ")
    count = how_many(pieces, ", ", room, _SMALL)
    if count == len(pieces):
        return words
    kept = pieces[: how_many(pieces, ", ", room - 2 * _PAD, _SMALL)]
    return ", ".join([*kept, "…"]) if kept else ""


def _lengths(row: Row, width: float) -> list[float]:
    """Return how long the parts of a bar are; the longest gives what the shortest need more."""
    lengths = [max(_LEAST, share.part * width) for share in row.shares]
    over = sum(lengths) - width
    if over > 0:
        lengths[lengths.index(max(lengths))] -= over
    return lengths


def _tie(ties: Element, tie: Tie) -> None:
    start = tie.parent.x + COLUMN
    trunk = start + _TRUNK
    last = tie.children[-1].middle
    top = min(tie.parent.middle, tie.children[0].middle)
    path = f"M{start:g} {tie.parent.middle:g}H{trunk:g}M{trunk:g} {top:g}V{last:g}"
    sub(ties, "path", d=path, class_="trunk")
    all_same = len({child.row.uplinks for child in tie.children}) == 1
    for child in tie.children:
        _cable(ties, child, trunk)
    for child in tie.children[:1] if all_same else tie.children:
        _label(ties, child, is_of_all=all_same and len(tie.children) > 1)


def _cable(ties: Element, child: Box, trunk: float) -> None:
    bundles = child.row.uplinks
    count = sum(one.cables for one in bundles)
    # Twice the cables, half a pixel more: the eye sees which bundle is the thicker.
    width = min(5.0, 1 + math.log2(count) / 2) if count else 1.0
    name = "cable" if count else "cable unrecorded"
    if any(one.down for one in bundles):
        name += " crit"
    path = f"M{trunk:g} {child.middle:g}H{child.x:g}"
    sub(ties, "path", d=path, class_=name, stroke_width=width)


def _label(ties: Element, child: Box, *, is_of_all: bool) -> None:
    bundles = child.row.uplinks
    if not bundles:
        return
    x, y = child.x - 6, child.middle
    text = write(ties, _short(bundles), (x, y - 6), "label end")
    sub(text, "title", cable_words(bundles))
    down = sum(one.down for one in bundles)
    if down:
        write(ties, f"✕ {down} down", (x, y + 14), "label end crit")
    elif is_of_all:
        write(ties, "each", (x, y + 14), "label end")


def _short(bundles: tuple[Bundle, ...]) -> str:
    """Return a label that fits between two columns: "32 × 400G", "36 cables"."""
    if len(bundles) == 1 and bundles[0].speed_gbps:
        return f"{bundles[0].cables:,} × {bundles[0].speed_gbps}G"
    return plural(sum(one.cables for one in bundles), "cable")
