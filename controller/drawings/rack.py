"""Elevations of racks: what is at which height, on which side, and how it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from controller.core.phrases import plural
from controller.drawings import looks, pips, symbols
from controller.drawings.looks import ColourBy, Looks
from controller.drawings.mounted import Entry, Face, Kind, Numbering, Rack
from controller.drawings.slots import Beneath, Mounting, Slot, mount, units
from controller.drawings.state import Key, Tone
from controller.drawings.svg import Element, finished, fit, root, sub, width_of, write

_U: Final = 24.0
"""The height of a unit [CSS pixels]: what one unit high can be hit with a finger's tip."""
_HEAD: Final = 22.0
_GUTTER: Final = 26.0
_BODY: Final = 216.0
_BETWEEN: Final = 8.0
_TAB: Final = 8.0
_PAD: Final = 6.0
_SMALL: Final = 12.0
_TINY: Final = 11.0
_ICON: Final = 13.0
_LINE: Final = 20.0
_NARROW: Final = 100.0
_LEAST_WORD: Final = 44.0


@dataclass(frozen=True, slots=True)
class Elevation:
    """One rack: ``headline`` is "compute trays healthy 17/18, switch trays 9/9".

    ``svg`` is safe to put on a page as it is; ``summary`` is its accessible name. Each entry of
    the rack is a link in ``svg`` exactly once or listed once in ``beneath``.
    """

    name: str
    href: str
    headline: str
    summary: str
    svg: str
    beneath: tuple[Beneath, ...]


@dataclass(frozen=True, slots=True)
class Elevations:
    """Racks side by side, the legend of their colours, and what the squares mean."""

    racks: tuple[Elevation, ...]
    legend: tuple[Key, ...]
    pips: tuple[Key, ...]


def draw(
    racks: Sequence[Rack],
    *,
    colour_by: ColourBy = ColourBy.HEALTH,
    face: Face = Face.FRONT,
    uid: str = "racks",
) -> Elevations:
    """Return the elevations, all in one scale and standing on one floor.

    ``uid`` tells the drawings of one page apart.
    """
    entries = [entry for rack in racks for entry in rack.entries]
    seen = looks.looks_of(entries, colour_by)
    tallest = max((rack.u_height for rack in racks), default=0)
    return Elevations(
        racks=tuple(
            _elevation(rack, _Drawing(seen, face, uid, rack, tallest, number))
            for number, rack in enumerate(racks)
        ),
        legend=looks.legend(seen, entries, f"{uid}-0"),
        pips=pips.keys() if any(entry.pips for entry in entries) else (),
    )


def headline(rack: Rack) -> str:
    """Return how many of what is mounted are healthy; "empty" where nothing is."""
    nouns = ("compute trays", "switch trays") if rack.has_trays else ("nodes", "switches")
    said: list[str] = []
    for kind, noun in zip((Kind.NODE, Kind.SWITCH), nouns, strict=True):
        those = [entry for entry in rack.entries if entry.kind is kind]
        healthy = sum(entry.state.tone is Tone.OK for entry in those)
        if those:
            said.append(f"{noun} {'' if said else 'healthy '}{healthy}/{len(those)}")
    return ", ".join(said) or "empty"


def sentence(entry: Entry, beside: Sequence[str] = ()) -> str:
    """Return everything about an entry: "n-01: U12–U19, 8 GPUs free, healthy"."""
    said = [units(entry), "" if entry.face is Face.BOTH else f"{entry.face} only"]
    if entry.kind is Kind.SWITCH:
        said.append("switch")
    else:
        said.append(pips.words(entry.pips) if entry.gpus_known else "GPUs not counted")
    said += [entry.hardware, entry.state.word, *entry.words]
    said += ["runs " + ", ".join(entry.services)] if entry.services else []
    said += ["shares its height with " + ", ".join(beside)] if beside else []
    return f"{entry.name}: {', '.join(part for part in said if part)}"


def _elevation(rack: Rack, drawing: "_Drawing") -> Elevation:
    mounting = mount(rack, drawing.face)
    summary = (
        f"Rack {rack.name}, {drawing.face}: {plural(rack.u_height, 'unit')}, {headline(rack)}"
    )
    return Elevation(
        name=rack.name,
        href=rack.href,
        headline=headline(rack),
        summary=summary,
        svg=finished(drawing.drawn(mounting, summary)),
        beneath=mounting.beneath,
    )


@dataclass(frozen=True, slots=True)
class _Drawing:
    looks: Looks
    face: Face
    page: str
    rack: Rack
    tallest: int
    number: int

    @property
    def uid(self) -> str:
        return f"{self.page}-{self.number}"

    @property
    def top(self) -> float:
        """Return where the rack begins: all stand on the floor of the tallest."""
        return _HEAD + (self.tallest - self.rack.u_height) * _U

    @property
    def sides(self) -> tuple[Face, ...]:
        return (Face.FRONT, Face.REAR) if self.face is Face.BOTH else (self.face,)

    def side_x(self, side: Face) -> float:
        return _GUTTER + self.sides.index(side) * (_BODY + _BETWEEN)

    def drawn(self, mounting: Mounting, summary: str) -> Element:
        width = 2 * _GUTTER + len(self.sides) * (_BODY + _BETWEEN) - _BETWEEN
        height = _HEAD + self.tallest * _U + 1
        name = {"aria_label": summary, "data_tree": ""}
        drawing = root(width, height, class_="drawing rack", role="group", **name)
        symbols.define(drawing, self.uid)
        self.frame(sub(drawing, "g", aria_hidden="true"), width)
        for slot in sorted(mounting.slots, key=lambda one: not one.is_back):
            self.back(drawing, slot) if slot.is_back else self.entry(drawing, slot)
        return drawing

    def frame(self, frame: Element, width: float) -> None:
        body = self.rack.u_height * _U
        for side in self.sides:
            x = self.side_x(side)
            write(frame, side.capitalize(), (x, self.top - 8), "heading")
            sub(frame, "rect", x=x, y=self.top, width=_BODY, height=body, class_="body")
            lines = "".join(
                f"M{x:g} {self.top + unit * _U:g}h{_BODY:g}"
                for unit in range(1, self.rack.u_height)
            )
            sub(frame, "path", d=lines, class_="rail")
        for row in range(self.rack.u_height):
            y = self.top + row * _U + 16
            is_down = self.rack.numbering is Numbering.TOP_DOWN
            unit = str(row + 1 if is_down else self.rack.u_height - row)
            write(frame, unit, (_GUTTER - _PAD, y), "units end")
            write(frame, unit, (width - _GUTTER + _PAD, y), "units")

    def place(self, slot: Slot) -> tuple[float, float, float, float]:
        wide = _BODY / slot.lanes
        x = self.side_x(slot.side) + slot.lane * wide
        y = self.top + slot.top * _U
        return x + 1, y + 1, wide - 2, max(1, slot.entry.u_height) * _U - 2

    def back(self, drawing: Element, slot: Slot) -> None:
        x, y, width, height = self.place(slot)
        behind = sub(drawing, "g", class_="back", aria_hidden="true")
        sub(behind, "rect", x=x, y=y, width=width, height=height, rx=2)
        write(behind, fit(slot.entry.name, width - 2 * _PAD, _SMALL), (x + _PAD, y + 15), "quiet")

    def entry(self, drawing: Element, slot: Slot) -> None:
        one, (x, y, width, height) = slot.entry, self.place(slot)
        look = self.looks.of(one)
        tone = symbols.class_of(look.tone) if look.tone else ""
        told = sentence(one, slot.beside)
        name = {"class_": f"box {one.kind} {tone}".strip(), "data_depth": "0", "aria_label": told}
        link = sub(drawing, "a", href=one.href, **name)
        sub(link, "title", told)
        sub(link, "rect", x=x, y=y, width=width, height=height, rx=2, class_="ground")
        is_narrow = width < _NARROW
        tab, pad = (5.0, 4.0) if is_narrow else (_TAB, _PAD)
        fill = self.looks.attributes(look, self.uid)
        sub(link, "rect", x=x, y=y, width=tab, height=height, **fill)
        area = _Area(x + tab + pad, y, width - tab - 2 * pad, height)
        symbols.icon(link, self.uid, one.state.tone, (area.x, y + 4.5), min(_ICON, area.width))
        if is_narrow and height > _U:
            _narrow(link, one, area)
        elif height > _U:
            _tall(link, one, area, look.word)
        else:
            _low(link, one, area, look.word)


@dataclass(frozen=True, slots=True)
class _Area:
    """What is left of an entry for icon, words and squares."""

    x: float
    y: float
    width: float
    height: float

    @property
    def beside_icon(self) -> float:
        return self.width - _ICON - _PAD


def _low(link: Element, one: Entry, area: _Area, word: str) -> None:
    """Fill an entry of one unit: the squares are at the right end of its line."""
    laid = pips.grid(len(one.pips), area.width / 2, area.height - 4) if one.pips else None
    if laid is None:
        _titled(link, one, area, word, area.beside_icon)
        return
    _titled(link, one, area, "", area.beside_icon - laid.width - _PAD)
    top = area.y + (area.height - laid.height) / 2 + 1
    pips.draw(link, one.pips, laid, (area.x + area.width - laid.width, top))


def _tall(link: Element, one: Entry, area: _Area, word: str) -> None:
    """Fill an entry of several units: squares under its name, then as many words as fit."""
    told = _titled(link, one, area, word, area.beside_icon)
    y = area.y + _LINE + 2
    laid = pips.grid(len(one.pips), area.width, area.height - _LINE - 4) if one.pips else None
    if laid:
        pips.draw(link, one.pips, laid, (area.x, y))
        y += laid.height
    said = (pips.words(one.pips) if one.pips else "", one.hardware, ", ".join(one.services or ()))
    for words in said:
        if words not in {"", told} and y + _LINE <= area.y + area.height:
            write(link, fit(words, area.width, _SMALL), (area.x, y + 14), "quiet")
            y += _LINE - 3


def _narrow(link: Element, one: Entry, area: _Area) -> None:
    """Fill one of several entries side by side: icon, name and squares under one another."""
    write(link, fit(one.name, area.width, _TINY), (area.x, area.y + 29), "name tiny")
    laid = pips.grid(len(one.pips), area.width, area.height - 34) if one.pips else None
    if laid:
        pips.draw(link, one.pips, laid, (area.x, area.y + 34))


def _titled(link: Element, one: Entry, area: _Area, word: str, room: float) -> str:
    """Write the name beside the icon, a word at the end of the line; return what fitted of it."""
    x, y = area.x + _ICON + _PAD, area.y + 15.5
    name = fit(one.name, room, _SMALL)
    write(link, name, (x, y), "name")
    left = room - width_of(name, _SMALL) - 2 * _PAD
    if left <= _LEAST_WORD:
        return ""
    told = fit(word, left, _SMALL)
    write(link, told, (x + room, y), "quiet end")
    return told
