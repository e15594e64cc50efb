"""How many requests an instance still works on, by the gauges of its engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.core.readings.presets import PRESETS
from controller.core.readings.recipe import Leaf, Load
from controller.core.readings.sources import Use


@dataclass(frozen=True, slots=True)
class Question:
    """Which instances of a service to ask about at one endpoint, where it has a name of its own.

    Samples that are older than ``max_age_s`` at ``at_s`` [s since the epoch] say nothing.
    """

    known_as: str
    names: tuple[str, ...]
    loads: tuple[Load, ...]
    at_s: float
    max_age_s: float

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """All that is to be read, each once."""
        return tuple(dict.fromkeys(leaf for load in self.loads for leaf in load.leaves))

    def answer(self, figures: Mapping[str, Mapping[Leaf, float]]) -> dict[str, int]:
        """Return the requests of each instance, given its figures; who is not known is absent.

        Of an instance that two engines speak for, both count.
        """
        found: dict[str, int] = {}
        for name, mine in figures.items():
            counts = [requests_of(load, mine) for load in self.loads if _speaks(load, mine)]
            known = [each for each in counts if each is not None]
            if name in self.names and known and len(known) == len(counts):
                found[name] = sum(known)
        return found


def question(use: Use, names: Sequence[str], *, at_s: float, max_age_s: float) -> Question | None:
    """Return what to ask where a service is read; ``None`` where no preset tells of requests."""
    loads = [PRESETS[name].load for name in use.presets]
    known = tuple(load for load in loads if load is not None)
    if not known:
        return None
    return Question(use.known_as, tuple(names), known, at_s, max_age_s)


def _speaks(load: Load, figures: Mapping[Leaf, float]) -> bool:
    return any(leaf in figures for leaf in load.leaves)


def requests_of(load: Load, figures: Mapping[Leaf, float]) -> int | None:
    """Return how many requests an instance works on, ``None`` where not all of it is known.

    ``figures`` are its gauges, each added up over its engines; one without a sample is absent.
    """
    whole = any(all(leaf in figures for leaf in each) for each in load.either)
    needed = load.always if load.held is None else (*load.always, load.held)
    if not whole or any(leaf not in figures for leaf in needed):
        return None
    counts = [figures[leaf] for leaf in load.counted if leaf in figures]
    held = 0.0 if load.held is None else figures[load.held]
    if not all(math.isfinite(each) and each >= 0 for each in (*counts, held)):
        return None
    return math.ceil(sum(counts)) or int(held > 0)


def total_of(names: Sequence[str], answers: Sequence[Mapping[str, int]]) -> int | None:
    """Return the requests of all instances together; ``None`` if one of them is not known.

    Of several endpoints that know an instance the one that saw more counts.
    """
    each = [[answer[name] for answer in answers if name in answer] for name in names]
    return sum(map(max, each)) if all(each) else None
