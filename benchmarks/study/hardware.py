"""Cost of a token when both roles use one GPU type, and when each has the one that suits it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np

from benchmarks.study.ratio import Case
from controller.simulator.capacity import TooSlowError, demand_of
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import Workload

PRICES: Final[Mapping[str, float]] = {
    "h100": 1.0,
    "h200": 1.33,
    "a100": 0.60,
    "l40s": 0.39,
    "h20": 0.44,
}
"""GPU-hours in hours of an H100: list prices are told apart less by vendor that way.

A100 1.35, L40S 0.87 and H100 2.25 USD an hour (aihardwareindex.com, December 2025); H200 3.50-4.50
against H100 2.50-3.50 at specialised clouds (mercatus-ai.com, May 2026); servers of eight H20
against eight H100, 1.2 against 2.7 million yuan (Huxiu, July 2024).
"""

EVEN: Final[Mapping[str, float]] = dict.fromkeys(PRICES, 1.0)
"""Every GPU-hour costs the same: the plain count."""


@dataclass(frozen=True, slots=True)
class CostRow:
    """A pair of engines at its best ratio: GPU-hours a million output tokens cost, priced."""

    model: str
    trace: str
    prefill: str
    decode: str
    prefill_per_decode: float
    cost: float
    above_best_frac: float


@dataclass(frozen=True, slots=True)
class PremiumRow:
    """What one type for both roles costs above the best pair, of any types."""

    model: str
    trace: str
    best_pair: str
    cost: float
    best_single: str
    best_single_premium: float
    h100_premium: float | None
    worst_single: str
    worst_single_premium: float


@dataclass(frozen=True, slots=True)
class Load:
    """What is served and how fast: a trace and its goals [s]."""

    trace: str
    workload: Workload
    ttft_goal_s: float
    tbt_goal_s: float


def cost_rows(model: str, load: Load, prices: Mapping[str, float]) -> list[CostRow]:
    """Return every pair of priced types a model has profiles for, the cheapest first.

    Modelled profiles only: other sources are faster or slower as such. Of several engines of one
    type the one that makes the pair cheapest. Pairs that can't keep the goals are left out: the
    95th percentile of a prompt alone, or one sequence alone, takes longer.
    """
    engines = [
        p
        for p in PROFILES.values()
        if p.model == model and p.hardware in prices and p.kind == "modelled"
    ]
    found = list(_costs(engines, load, prices))
    best = min(row[0] for row in found)
    found.sort(key=lambda row: (row[1].hardware, row[2].hardware, row[0]))
    cheapest = [
        next(rows)
        for _, rows in groupby(found, key=lambda row: (row[1].hardware, row[2].hardware))
    ]
    cheapest.sort(key=lambda row: row[0])
    return [
        CostRow(model, load.trace, p.name, d.name, ratio, cost, cost / best - 1)
        for cost, p, d, ratio in cheapest
    ]


def _costs(
    engines: Sequence[Profile], load: Load, prices: Mapping[str, float]
) -> Iterator[tuple[float, Profile, Profile, float]]:
    demand = demand_of(load.workload)
    long = float(np.quantile(load.workload.lengths.input, 0.95)) * demand.uncached_tokens
    for prefill in engines:
        if prefill.prefill_s(long) > load.ttft_goal_s:
            continue
        for decode in engines:
            case = Case(load.trace, load.workload, prefill, decode, load.tbt_goal_s)
            try:
                one = case.capacity()
            except TooSlowError:
                continue
            hourly = (
                prices[prefill.hardware] * prefill.tp / one.prefill_rps
                + prices[decode.hardware] * decode.tp / one.decode_rps
            )
            yield hourly / 3600 / demand.output_tokens * 1e6, prefill, decode, one.pd_ratio


def premium_rows(
    models: Sequence[str], loads: Sequence[Load], prices: Mapping[str, float]
) -> list[PremiumRow]:
    """Return, per model and trace, what homogeneous hardware costs above the best pair."""
    rows = []
    for model in models:
        for load in loads:
            pairs = cost_rows(model, load, prices)
            single = [row for row in pairs if _type(row.prefill) == _type(row.decode)]
            h100 = [row.above_best_frac for row in single if _type(row.prefill) == "h100"]
            best, least, most = pairs[0], single[0], single[-1]
            rows.append(
                PremiumRow(
                    model,
                    load.trace,
                    f"{_engine(best.prefill)} + {_engine(best.decode)}",
                    best.cost,
                    _type(least.prefill),
                    least.above_best_frac,
                    h100[0] if h100 else None,
                    _type(most.prefill),
                    most.above_best_frac,
                )
            )
    return rows


def _engine(name: str) -> str:
    return name.partition("/")[2]


def _type(name: str) -> str:
    return PROFILES[name].hardware
