"""A day of a Prometheus in few queries: which engines are there, and what they counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from time import monotonic
from typing import Final

import numpy as np

from controller.adapters.metrics.prometheus.client import Endpoint, SourceError, ask
from controller.adapters.metrics.prometheus.filling import number
from controller.adapters.metrics.prometheus.promql import quoted
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid
from controller.core.readings.recipe import Kind, Leaf, Preset
from controller.core.readings.survey import (
    BOUND,
    COARSE,
    DAY_S,
    GPU_METRICS,
    GPU_MODEL,
    GPU_OWNER,
    HOUR_S,
    INFO,
    KEPT,
    QUARTER_S,
    SOURCE,
    SOURCES,
    Row,
    Survey,
    asked_of,
    proofs,
    surveyed,
)
from controller.core.types import Floats

DEADLINE_S: Final = 20.0
AT_ONCE: Final = 4
MANY: Final = 200
"""From so many instances on, buckets are not told apart by instance, and rates are of 5 min."""
SHORT_S: Final = 300
MOST_SERIES: Final = 20_000
SCRAPES_S: Final = 600
_DIGITS: Final = 0.5
LATE: Final = "It did not answer in time."

_Queries = Mapping[str, tuple[str, Grid]]


def survey(endpoint: Endpoint, turn: Turn) -> Survey:
    """Return what the last 24 h of an endpoint look like, by ``turn.until``.

    About 8 queries for each engine that is there. Raises :class:`SourceError` when it can't be
    asked at all; what fails afterwards is told in the survey.
    """
    now = Grid(turn.now_s, QUARTER_S, 1)
    every = f"count by (__name__) ({{__name__=~{_either(proofs())}}})"
    names = frozenset(
        row.labels.get("__name__", "")
        for row in _rows(ask(endpoint, every, now, turn).result, now)
    )
    presets = [each for each in surveyed() if names.intersection(each.proof)]
    first, told = _asked(endpoint, dict(_first(presets, names, turn.now_s)), turn)
    instances = {each.name: first.get(f"{each.name} instances", []) for each in presets}
    many = {name for name, rows in instances.items() if len(rows) > MANY}
    over_s = SHORT_S if many else HOUR_S
    second, further = _asked(endpoint, dict(_second(presets, many, over_s, turn.now_s)), turn)
    return Survey(
        names,
        instances,
        {
            (preset.name, what): second[f"{preset.name} {what}"]
            for preset in presets
            for what in asked_of(preset)
            if f"{preset.name} {what}" in second
        },
        gpus=first.get("gpus", []),
        infos=first.get("infos", []),
        scrape_s=dict(_scrapes(presets, first)),
        over_s=over_s,
        told=tuple(dict.fromkeys((*told, *further))),
    )


def _first(
    presets: Sequence[Preset], names: frozenset[str], now_s: float
) -> Iterator[tuple[str, tuple[str, Grid]]]:
    now = Grid(now_s, QUARTER_S, 1)
    looks = Grid(now_s, QUARTER_S, DAY_S // QUARTER_S + 1)
    for preset in presets:
        there = [name for name in preset.proof if name in names]
        one = f"group by ({','.join(KEPT)}) ({{__name__=~{_either(there)}}})"
        yield f"{preset.name} instances", (one, looks)
        counts = " or ".join(f"count_over_time({name}[{SCRAPES_S}s])" for name in there)
        yield f"{preset.name} scrapes", (f"quantile(0.5, {counts})", now)
    if names.intersection(GPU_METRICS):
        owner = ",".join((*GPU_OWNER, GPU_MODEL))
        each = f"group by ({owner},UUID) ({{__name__=~{_either(GPU_METRICS)}}})"
        yield "gpus", (f"count by ({owner}) ({each})", now)
    if INFO in names:
        yield "infos", (f"group by (service,role,namespace,pod) ({INFO})", now)


def _second(
    presets: Sequence[Preset], many: set[str], over_s: int, now_s: float
) -> Iterator[tuple[str, tuple[str, Grid]]]:
    hours = Grid(now_s, HOUR_S, DAY_S // HOUR_S)
    for preset in presets:
        for what, leaf in asked_of(preset).items():
            coarse = preset.name in many and leaf.kind is Kind.BUCKETS
            labels = list(COARSE if coarse else KEPT)
            labels += [BOUND] if leaf.kind is Kind.BUCKETS else []
            labels += [SOURCE] if what == SOURCES else []
            yield f"{preset.name} {what}", (_rates(leaf, labels, over_s), hours)


def _rates(leaf: Leaf, labels: Sequence[str], over_s: int) -> str:
    having = ",".join(f"{name}=~{quoted(text)}" for name, text in leaf.having)
    return " or ".join(
        f"sum by ({','.join(labels)}) (rate({name}{{{having}}}[{over_s}s]))" for name in leaf.names
    )


def _either(names: Sequence[str]) -> str:
    return quoted("|".join(names))


def _scrapes(
    presets: Sequence[Preset], first: Mapping[str, Sequence[Row]]
) -> Iterator[tuple[str, float]]:
    for preset in presets:
        for row in first.get(f"{preset.name} scrapes", ())[:1]:
            if row.values[-1] > 0:
                yield preset.name, SCRAPES_S / float(row.values[-1])


def _asked(
    endpoint: Endpoint, queries: _Queries, turn: Turn
) -> tuple[dict[str, list[Row]], list[str]]:
    """Return the rows of each query that was answered in time, and sentences for the rest."""
    told: list[str] = []

    def job(query: str, grid: Grid) -> Callable[[], list[Row]]:
        def once() -> list[Row]:
            answer = ask(endpoint, query, grid, turn)
            told.extend(answer.told)
            return _rows(answer.result, grid)

        return once

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="survey")
    futures = {pool.submit(job(*each)): name for name, each in queries.items()}
    done, late = wait(futures, timeout=max(turn.until - monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    found: dict[str, list[Row]] = {}
    for future in done:
        try:
            found[futures[future]] = future.result()
        except SourceError as fault:
            told.append(f"{futures[future]}: {fault}")
    told += [f"{futures[each]}: {LATE}" for each in late]
    told += [
        f"{name}: of more than {MOST_SERIES:,} series the rest was left out."
        for name, rows in found.items()
        if len(rows) >= MOST_SERIES
    ]
    return found, told


def _rows(result: Sequence[object], grid: Grid) -> list[Row]:
    """Return series as rows (T,) of the grid; of anything else nothing."""
    found = []
    for series in result[:MOST_SERIES]:
        match series:
            case {"metric": {**labels}, "values": [*points]}:
                told = {str(name): text for name, text in labels.items() if isinstance(text, str)}
                found.append(Row(told, _values(points, grid)))
            case _:
                continue
    return found


def _values(points: Sequence[object], grid: Grid) -> Floats:
    values = np.full(grid.samples, np.nan)
    for point in points:
        match point:
            case [int() | float() as at_s, text]:
                step = int((at_s - grid.oldest_s) / grid.step_s + _DIGITS)
                if 0 <= step < grid.samples:
                    values[step] = number(text)
            case _:
                continue
    return values
