"""How entries of a rack are coloured: by health, use, service or hardware type."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.drawings import symbols
from controller.drawings.mounted import Entry, Kind, Pip
from controller.drawings.state import WORST_FIRST, Key, Tone


class ColourBy(StrEnum):
    """What the fill of an entry says."""

    HEALTH = "health"
    USE = "use"
    SERVICE = "service"
    HARDWARE = "hardware"


OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class Look:
    """What an entry is filled with: a tone, a category by its name, or nothing (``""``)."""

    word: str
    tone: Tone | None = None
    category: str = ""


_PARTLY: Final = "partly in use"
_UNCOUNTED: Final = Look("GPUs not counted", Tone.UNKNOWN)
_SWITCH: Final = Look("switch")


@dataclass(frozen=True, slots=True)
class Looks:
    """The looks of all entries of some racks; categories have their slots by how many they are."""

    colour_by: ColourBy
    slots: Mapping[str, int]

    def of(self, entry: Entry) -> Look:
        """Return how an entry looks."""
        return _LOOKS[self.colour_by](entry)

    def attributes(self, look: Look, uid: str) -> dict[str, str]:
        """Return the attributes of a shape with that look."""
        if look.tone is not None:
            return symbols.filled(uid, look.tone)
        if look.category:
            return symbols.series(uid, self.slots.get(look.category, symbols.SERIES - 1))
        return {"class_": "fill switch" if look == _SWITCH else "fill none"}


def looks_of(entries: Sequence[Entry], colour_by: ColourBy) -> Looks:
    """Return the looks of entries; the most frequent categories get a slot of their own."""
    if colour_by is ColourBy.USE:
        # The stripes of the first colour, which is that of "in use".
        return Looks(colour_by, {_PARTLY: symbols.SERIES // 2})
    found = Counter(_LOOKS[colour_by](entry).category for entry in entries)
    del found[""]
    in_order = sorted(found, key=lambda name: (-found[name], name))
    own = symbols.SERIES if len(in_order) <= symbols.SERIES else symbols.SERIES - 1
    return Looks(colour_by, {name: slot for slot, name in enumerate(in_order[:own])})


def legend(looks: Looks, entries: Iterable[Entry], uid: str) -> tuple[Key, ...]:
    """Return one line per look that occurs: states from good to bad, then categories."""
    found = {looks.of(entry) for entry in entries}
    tones = [look for look in found if look.tone is not None]
    tones.sort(key=lambda look: (-WORST_FIRST.index(look.tone or Tone.OK), look.word))
    named = sorted(
        (look for look in found if look.category in looks.slots),
        key=lambda look: looks.slots[look.category],
    )
    plain = sorted((look for look in found if _is_plain(look)), key=lambda look: look.word)
    keys = [symbols.key(looks.attributes(look, uid), look.word) for look in (*named, *plain)]
    if any(look.category and look.category not in looks.slots for look in found):
        keys.append(symbols.key(symbols.series(uid, symbols.SERIES - 1), OTHERS))
    if looks.colour_by is ColourBy.HEALTH:
        return (*(symbols.key_of_tone(uid, one.tone or Tone.OK, one.word) for one in tones), *keys)
    return (*(symbols.key(looks.attributes(one, uid), one.word) for one in tones), *keys)


def _is_plain(look: Look) -> bool:
    return look.tone is None and not look.category


def _by_health(entry: Entry) -> Look:
    return Look(entry.state.word, entry.state.tone)


def _by_use(entry: Entry) -> Look:
    if entry.kind is Kind.SWITCH:
        return _SWITCH
    if not entry.gpus_known:
        return _UNCOUNTED
    return next((look for pips, look in _USES if _is_use(entry, pips)), Look("no GPUs"))


# The first that holds of the GPUs of a node; those before it do not.
_USES: Final[tuple[tuple[frozenset[Pip], Look], ...]] = (
    (frozenset({Pip.IN_USE, Pip.FREE}), Look(_PARTLY, category=_PARTLY)),
    (frozenset({Pip.IN_USE}), Look("in use", Tone.BUSY)),
    (frozenset({Pip.FREE}), Look("free", Tone.OK)),
    (frozenset({Pip.UNKNOWN}), Look("use unknown", Tone.UNKNOWN)),
    (frozenset({Pip.HELD}), Look("held back", Tone.MAINTENANCE)),
    (frozenset({Pip.FAILED}), Look("failed", Tone.CRIT)),
)


def _is_use(entry: Entry, pips: frozenset[Pip]) -> bool:
    return pips <= set(entry.pips)


def _by_service(entry: Entry) -> Look:
    if entry.kind is Kind.SWITCH:
        return _SWITCH
    if entry.services is None:
        return Look("services unknown", Tone.UNKNOWN)
    names = ", ".join(sorted(entry.services))
    return Look(names, category=names) if names else Look("no service")


def _by_hardware(entry: Entry) -> Look:
    if entry.hardware:
        return Look(entry.hardware, category=entry.hardware)
    return _SWITCH if entry.kind is Kind.SWITCH else Look("type unknown", Tone.UNKNOWN)


_LOOKS: Final = {
    ColourBy.HEALTH: _by_health,
    ColourBy.USE: _by_use,
    ColourBy.SERVICE: _by_service,
    ColourBy.HARDWARE: _by_hardware,
}
