"""States as drawings show them: a shape, a word and a colour, never a colour alone."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Tone(StrEnum):
    """How a state looks; each has a shape and a colour of its own, the last four a pattern too."""

    OK = "ok"
    BUSY = "busy"
    WARN = "warn"
    CRIT = "crit"
    RESERVED = "reserved"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


PATTERNED: Final = (Tone.CRIT, Tone.RESERVED, Tone.MAINTENANCE, Tone.UNKNOWN)
WORST_FIRST: Final = (
    Tone.CRIT,
    Tone.WARN,
    Tone.UNKNOWN,
    Tone.MAINTENANCE,
    Tone.RESERVED,
    Tone.BUSY,
    Tone.OK,
)


@dataclass(frozen=True, slots=True)
class State:
    """A state of one thing: how it looks and the word for it ("unhealthy", "in maintenance")."""

    tone: Tone
    word: str


UNKNOWN: Final = State(Tone.UNKNOWN, "unknown")


def tally(states: Iterable[State]) -> tuple[tuple[State, int], ...]:
    """Return how many there are of each state, the worst first."""
    counted = Counter(states)
    return tuple(
        sorted(counted.items(), key=lambda one: (WORST_FIRST.index(one[0].tone), one[0].word))
    )


@dataclass(frozen=True, slots=True)
class Key:
    """One line of a legend: a small SVG that looks like what is drawn, and its word."""

    swatch: str
    word: str
