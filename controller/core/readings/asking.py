"""What is asked of an endpoint at one look, and what it answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from controller.core.readings.attach import Attach
from controller.core.readings.recipe import Leaf
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

    def newer_half(self) -> Grid:
        """Return what counts of it for latencies."""
        return Grid(self.newest_s, self.step_s, self.samples - self.samples // 2)


@dataclass(frozen=True, slots=True)
class Scope:
    """The services asked for, by name, and the window of rates [s]."""

    services: Sequence[str]
    over_s: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to read: leaves and where their service is known from, the services, the grid."""

    leaves: Mapping[Leaf, Attach]
    scope: Scope
    grid: Grid


@dataclass(frozen=True, slots=True)
class Reading:
    """What one endpoint answered.

    A leaf without an answer is absent. ``partial`` are those of which series are known to be
    missing, whatever the count of instances says. ``told`` are sentences for the operator, and
    ``marks`` is what the next look needs of this one, where the endpoint keeps nothing itself.
    """

    leaves: Leaves
    partial: frozenset[Leaf] = frozenset()
    told: tuple[str, ...] = ()
    marks: bytes = field(default=b"", repr=False)
