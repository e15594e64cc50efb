"""Where the entries of a rack stand; those that cannot be drawn are said, never dropped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controller.core.phrases import plural
from controller.drawings.mounted import Entry, Face, Kind, Numbering, Rack

MOST_LANES: Final = 8
"""So many entries at one height are drawn beside one another."""
_SIDES: Final = {
    Face.FRONT: (Face.FRONT,),
    Face.REAR: (Face.REAR,),
    Face.BOTH: (Face.FRONT, Face.REAR),
}


@dataclass(frozen=True, slots=True)
class Slot:
    """An entry on one side: ``top`` units below the top, lane ``lane`` of ``lanes`` from the left.

    ``is_back`` where it is the other side of what is drawn on the front already. ``beside`` are
    the names of entries that claim the same height.
    """

    entry: Entry
    side: Face
    top: int
    lane: int = 0
    lanes: int = 1
    is_back: bool = False
    beside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beneath:
    """Entries that are listed beneath a rack rather than drawn, and why in words."""

    words: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Mounting:
    """Every entry of a rack, in one slot that is no back or in one list beneath."""

    slots: tuple[Slot, ...]
    beneath: tuple[Beneath, ...]


def mount(rack: Rack, face: Face) -> Mounting:
    """Return where the entries of a rack stand when it shows one side or both."""
    nowhere = [one for one in rack.entries if one.u_position is None]
    outside = [one for one in rack.entries if one.u_position is not None and not _fits(one, rack)]
    inside = [one for one in rack.entries if one.u_position is not None and _fits(one, rack)]
    hidden = [one for one in inside if face is not Face.BOTH and one.face not in {face, Face.BOTH}]
    drawn: list[Slot] = []
    crowded: list[Entry] = []
    for side in _SIDES[face]:
        stands = [_slot(one, side, rack) for one in inside if one.face in {side, Face.BOTH}]
        slots = [replace(s, is_back=_is_back(s, face)) for s in stands]
        for slot in _in_lanes(slots):
            if slot.lane < MOST_LANES:
                drawn.append(slot)
            elif not slot.is_back:
                crowded.append(slot.entry)
    lists = (
        (nowhere, "without a position"),
        (outside, f"outside its {rack.u_height} units"),
        (hidden, "on the rear" if face is Face.FRONT else "on the front"),
        (crowded, "at a height where others already are"),
    )
    beneath = tuple(Beneath(_said(those, why), tuple(those)) for those, why in lists if those)
    return Mounting(tuple(drawn), beneath)


def units(entry: Entry) -> str:
    """Return at which heights an entry is: "U12", "U12-U15"; empty where nobody knows."""
    if entry.u_position is None:
        return ""
    last = entry.u_position + max(1, entry.u_height) - 1
    return f"U{entry.u_position}" + (f"–U{last}" if last > entry.u_position else "")


def _fits(entry: Entry, rack: Rack) -> bool:
    low = entry.u_position or 0
    return low >= 1 and low + max(1, entry.u_height) - 1 <= rack.u_height


def _slot(entry: Entry, side: Face, rack: Rack) -> Slot:
    low = entry.u_position or 1
    high = low + max(1, entry.u_height) - 1
    top = low - 1 if rack.numbering is Numbering.TOP_DOWN else rack.u_height - high
    return Slot(entry, side, top)


def _is_back(slot: Slot, face: Face) -> bool:
    return face is Face.BOTH and slot.side is Face.REAR and slot.entry.face is Face.BOTH


def _in_lanes(slots: Sequence[Slot]) -> Iterator[Slot]:
    """Yield slots in lanes of their own where their heights overlap, top first."""
    in_order = sorted(slots, key=lambda one: (one.top, one.entry.name, one.entry.href))
    run: list[Slot] = []
    end = 0
    for slot in in_order:
        if run and slot.top >= end:
            yield from _laid(run)
            run = []
        run.append(slot)
        end = max(end, _bottom(slot)) if len(run) > 1 else _bottom(slot)
    yield from _laid(run)


def _laid(run: Sequence[Slot]) -> Iterator[Slot]:
    ends: list[int] = []
    lanes: list[int] = []
    for slot in run:
        free = [lane for lane, end in enumerate(ends) if end <= slot.top]
        lane = free[0] if free else len(ends)
        ends[lane : lane + 1] = [_bottom(slot)]
        lanes.append(lane)
    count = min(MOST_LANES, len(ends))
    for slot, lane in zip(run, lanes, strict=True):
        yield replace(slot, lane=lane, lanes=count, beside=_beside(slot, run))


def _beside(slot: Slot, run: Sequence[Slot]) -> tuple[str, ...]:
    return tuple(
        other.entry.name
        for other in run
        if other is not slot and other.top < _bottom(slot) and slot.top < _bottom(other)
    )


def _bottom(slot: Slot) -> int:
    return slot.top + max(1, slot.entry.u_height)


def _said(entries: Sequence[Entry], why: str) -> str:
    """Return how many there are: "3 nodes and 1 switch without a position"."""
    nodes = sum(one.kind is Kind.NODE for one in entries)
    switches = len(entries) - nodes
    said = [plural(nodes, "node")] if nodes else []
    if switches:
        said.append(f"{switches:,} {'switch' if switches == 1 else 'switches'}")
    return f"{' and '.join(said)} {why}"
