"""What one look at a service gave, figure by figure, for a person who sets up where it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from controller.core.readings.asking import Grid
from controller.core.readings.cook import Recipes, figures
from controller.core.readings.presets import KINDS
from controller.core.readings.recipe import First, Less, Mean, Plus, Quantile, Recipe, Times
from controller.core.readings.tables import WHOLE, Leaves, Table
from controller.core.signals import FUTURE_SLACK_S
from controller.core.types import Quality, Role, SignalKind

Names = frozenset[str]
Named = Mapping[Recipe, Names]
"""The instances behind each leaf of a service; of one nobody named, it is absent."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One figure: its value and age [s], who reports of how many, and who is missing by name.

    ``whole`` is said by one that speaks for all instances, as a frontend does. ``named`` is
    whether anybody was asked for names.
    """

    kind: SignalKind
    quality: Quality
    value: float | None = None
    age_s: float | None = None
    reporting: int = 0
    expected: int = 0
    missing: tuple[str, ...] = ()
    whole: bool = False
    named: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """How one endpoint answered: its state in a word, how long it took [s], what it told."""

    name: str
    state: str
    took_s: float
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """What a look at one service gave: its figures by name, and how each endpoint answered."""

    figures: Mapping[str, Tried]
    answered: tuple[Answered, ...]


@dataclass(frozen=True, slots=True)
class SourceTrial:
    """What a look at one endpoint gave.

    ``version`` is empty where it doesn't tell; ``known`` are the instances of each service it
    knows, by role; ``asked`` is how many services were asked for.
    """

    answered: Answered
    version: str
    known: Mapping[str, Mapping[Role, int]]
    asked: int


@dataclass(frozen=True, slots=True)
class Ready:
    """Instances that should report, by role: how many serve, and the names their cluster has."""

    counts: Mapping[Role, int]
    names: Mapping[Role, Names]


@dataclass(frozen=True, slots=True)
class Seen:
    """What figures are held against: the times of the look, who should report, who was named.

    A value older than ``max_age_s`` is stale.
    """

    grid: Grid
    ready: Ready
    named: Named
    max_age_s: float

    def everybody(self, role: Role) -> Names:
        """Return the names of the instances of a role that anything speaks of."""
        behind = [
            names for term, names in self.named.items() if getattr(term, "role", None) is role
        ]
        heard = frozenset[str]().union(*behind)
        # Names that a cluster and an endpoint don't share say nothing of one another.
        own = self.ready.names.get(role, frozenset())
        return heard | own if heard & own else heard


def tried(recipes: Recipes, leaves: Leaves, seen: Seen) -> dict[str, Tried]:
    """Return the figures of one service that has these recipes, by name; leaves have one row."""
    tables = figures([recipes], leaves, list(recipes), seen.grid.samples)
    return {
        name: _one(KINDS[name], recipe, tables[name], seen) for name, recipe in recipes.items()
    }


def _one(kind: SignalKind, recipe: Recipe, table: Table, seen: Seen) -> Tried:
    everybody, behind = seen.everybody(kind.role), names_behind(recipe, seen.named)
    due = max(seen.ready.counts.get(kind.role, 0), len(everybody))
    missing = () if behind is None else tuple(sorted(everybody - behind))
    there = np.flatnonzero(table.present[0])
    if not there.size:
        named = behind is not None
        return Tried(kind, Quality.MISSING, expected=due, missing=missing, named=named)
    at = int(there[-1])
    value, age_s = float(table.values[0, at]), seen.grid.newest_s - float(table.at_s[0, at])
    whole = int(table.reporting[0, at]) == WHOLE
    heard = due if whole else int(table.reporting[0, at])
    if not isfinite(value) or age_s < -FUTURE_SLACK_S:
        quality = Quality.INVALID
    elif age_s > seen.max_age_s:
        quality = Quality.STALE
    else:
        quality = Quality.PARTIAL if heard < due else Quality.OK
    told = value if isfinite(value) else None
    missing = () if whole else missing
    return Tried(kind, quality, told, age_s, heard, due, missing, whole, named=behind is not None)


def names_behind(recipe: Recipe, named: Named) -> Names | None:  # noqa: PLR0911 - one for each form
    """Return the instances that all parts of a figure come from; ``None`` where nobody named any.

    Of alternatives counts the first that has any.
    """
    match recipe:
        case Mean(total, count):
            return _all([total, count], named)
        case Quantile(buckets=leaf):
            return named.get(leaf)
        case Less(whole, part):
            return _all([whole, part], named)
        case Plus(parts):
            found = [each for part in parts if (each := names_behind(part, named)) is not None]
            return frozenset().union(*found) if found else None
        case Times(inner):
            return names_behind(inner, named)
        case First(of):
            found = [each for one in of if (each := names_behind(one, named)) is not None]
            return next((each for each in found if each), frozenset() if found else None)
        case _:
            return named.get(recipe)


def _all(parts: Sequence[Recipe], named: Named) -> Names | None:
    found = [each for part in parts if (each := names_behind(part, named)) is not None]
    return frozenset.intersection(*found) if found else None
