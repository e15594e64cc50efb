"""What is asked of an endpoint at one look, and what it answered."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.core.readings.attach import Attach
from controller.core.readings.recipe import Leaf, Term, Written
from controller.core.readings.tables import Leaves
from controller.core.types import Floats


@dataclass(frozen=True, slots=True)
class Grid:
    """Equal steps of time, the newest last."""

    newest_s: float
    step_s: float
    samples: int

    @property
    def oldest_s(self) -> float:
        """The first of them [s since the epoch]."""
        return self.newest_s - self.step_s * (self.samples - 1)

    @property
    def times_s(self) -> Floats:
        """All of them, shape (T,)."""
        return self.oldest_s + self.step_s * np.arange(self.samples, dtype=np.float64)

    def for_latencies(self, over_s: float) -> Grid:
        """Return what is asked of it for latencies, of which its newer half counts.

        If a window of rates that ends now begins before that half does, its newest sample alone:
        what came within that time is in it once, instead of in part again and again.
        """
        half = self.samples - self.samples // 2
        enough = over_s >= self.step_s * (half - 1)
        return Grid(self.newest_s, self.step_s, 1 if enough else half)


@dataclass(frozen=True, slots=True)
class Scope:
    """The services asked for, by name, and the window of rates [s]."""

    services: Sequence[str]
    over_s: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: leaves and where their service is known from, the services, the grid.

    A written query is asked for the services of ``written_for`` alone, for all if it isn't there.
    """

    leaves: Mapping[Term, Attach]
    scope: Scope
    grid: Grid
    written_for: Mapping[Written, Collection[str]] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[Leaf, Attach]:
        """The leaves that are metrics."""
        return {each: by for each, by in self.leaves.items() if isinstance(each, Leaf)}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one endpoint answered.

    A leaf without an answer is absent. ``partial`` are those of which series are known to be
    missing, whatever the count of instances says. ``told`` are sentences for the operator, and
    ``marks`` is what the next look needs of this one, where the endpoint keeps nothing itself.
    ``silent`` is how many of how many exporters did not answer, where they are asked one by one.
    """

    leaves: Leaves
    partial: frozenset[Term] = frozenset()
    told: tuple[str, ...] = ()
    marks: bytes = field(default=b"", repr=False)
    silent: tuple[int, int] = (0, 1)
