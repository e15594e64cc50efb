"""Exporters by hand: metrics with their values, as scrapes of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controller.core.readings.cook import cook
from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Recipe
from controller.core.readings.scrapes import Instance, Sample, Scrape, leaves_from
from controller.core.readings.tables import Leaves, Table
from controller.core.signals import summarise
from controller.core.types import Role, Signal, Window

STEP_S = 15.0
NOW_S = 1_000.0

Metrics = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


def one(value: float, **labels: str) -> Sequence[tuple[Mapping[str, str], float]]:
    """Return a metric of one series."""
    return [(labels, value)]


def scrape(metrics: Metrics, at_s: float = NOW_S) -> Scrape:
    samples = {
        name: [Sample(labels, value) for labels, value in series]
        for name, series in metrics.items()
    }
    return Scrape(at_s, samples, frozenset(samples))


def instance(
    name: str,
    now: Metrics,
    before: Metrics | None = None,
    *,
    role: Role = Role.DECODE,
    elapsed_s: float = STEP_S,
) -> Instance:
    earlier = None if before is None else scrape(before, NOW_S - elapsed_s)
    return Instance(name, "chat", role, scrape(now), earlier)


def recipe(signal: str, preset: str = "vllm") -> Recipe:
    return PRESETS[preset].recipes[signal]


def read(made: Recipe, instances: Sequence[Instance]) -> Leaves:
    return leaves_from(leaves_of((made,)), instances, ["chat"])


def table(made: Recipe, instances: Sequence[Instance]) -> Table:
    """Return what a recipe makes of the instances of the service ``chat``."""
    return cook(made, read(made, instances), (1, 1))


def value(made: Recipe, instances: Sequence[Instance]) -> float | None:
    """Return the figure, ``None`` where it is absent."""
    found = table(made, instances)
    return float(found.values[0, 0]) if found.present[0, 0] else None


def graded(window: Window, name: str, now_s: float = NOW_S) -> Signal:
    return summarise(window, now_s=now_s, max_age_s=45.0)[name]


def times(samples: int, until_s: float = NOW_S) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return until_s - STEP_S * np.arange(samples - 1, -1, -1, dtype=np.float64)
