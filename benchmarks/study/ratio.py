"""Throughput within goals against the P/D ratio: a tent, by formula and request by request."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.types import Instances
from controller.simulator.capacity import Capacity, Demand, demand_of, per_instance_capacity
from controller.simulator.exact import simulate
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import Requests, Workload

DAY_S: Final = 86_400.0
KEPT_FRAC: Final = 0.99
STEPS: Final = 7
SOUGHT: Final = (0.2, 1.4)
"""Where the largest rate is looked for, in units of the formula's: found to a hundredth of it."""


@dataclass(frozen=True, slots=True)
class Case:
    """Requests of a trace on a pair of engines, with goals [s]."""

    trace: str
    workload: Workload
    prefill: Profile
    decode: Profile
    tbt_goal_s: float
    ttft_goal_s: float = 1.0

    @classmethod
    def of(cls, trace: str, workload: Workload, engines: tuple[str, str], tbt_ms: float) -> "Case":
        """Return a case from the names of its prefill and decode profiles."""
        prefill, decode = (PROFILES[name] for name in engines)
        return cls(trace, workload, prefill, decode, tbt_ms / 1e3)

    def capacity(self) -> Capacity:
        """Return what one instance of each role sustains with memory for mean lengths only."""
        return self._capacity(replace(demand_of(self.workload), output_spread=1.0))

    def _capacity(self, demand: Demand) -> Capacity:
        return per_instance_capacity(self.prefill, self.decode, demand, tbt_goal_s=self.tbt_goal_s)

    def held(self) -> tuple[float, Capacity]:
        """Return the tokens a running sequence reserves on average, and the capacity with them.

        A long answer holds memory for longer, so among those that run there are more long ones
        than among those that come.
        """
        seen = one_day(self.workload, np.random.default_rng(1))
        whole = seen.input_tokens + seen.output_tokens
        tokens = float((seen.output_tokens * whole).sum() / seen.output_tokens.sum())
        demand = demand_of(self.workload)
        longer = replace(demand, input_tokens=max(tokens - demand.output_tokens, 1.0))
        capacity = self.capacity()
        return tokens, replace(capacity, decode_rps=self._capacity(longer).decode_rps)


@dataclass(frozen=True, slots=True)
class RatioRow:
    """The best ratio of a case by formula: requests/s per instance and P per D.

    The last two are with the tokens that a running sequence reserves (see :meth:`Case.held`).
    """

    trace: str
    prefill: str
    decode: str
    tbt_goal_ms: float
    rps_per_prefill: float
    rps_per_decode: float
    batch: int
    tbt_ms: float
    prefill_per_decode: float
    reserved_tokens: float
    ratio_reserved: float


@dataclass(frozen=True, slots=True)
class TentRow:
    """A split of a budget: requests/s within goals by formula, and found by simulation."""

    prefill: int
    decode: int
    formula_rps: float
    simulated_rps: float | None
    of_best_frac: float


def ratio_rows(cases: Sequence[Case]) -> list[RatioRow]:
    """Return the best ratio of each case by formula."""
    rows = []
    for one in cases:
        found = one.capacity()
        reserved, held = one.held()
        rows.append(
            RatioRow(
                one.trace,
                one.prefill.name,
                one.decode.name,
                one.tbt_goal_s * 1e3,
                found.prefill_rps,
                found.decode_rps,
                found.batch,
                found.tbt_s * 1e3,
                found.pd_ratio,
                reserved,
                held.pd_ratio,
            )
        )
    return rows


def formula_rps(one: Capacity, split: Instances) -> float:
    """Return what the slower role of a split sustains."""
    return min(split.prefill * one.prefill_rps, split.decode * one.decode_rps)


def tent(
    of: Case, budget: int, simulated: Sequence[int], *, seconds: float, seed: int = 1
) -> list[TentRow]:
    """Return every split of ``budget`` instances; those with a prefill in ``simulated`` are run.

    ``of_best_frac`` is by formula.
    """
    one = of.capacity()
    splits = [Instances(prefill, budget - prefill) for prefill in range(1, budget)]
    best = max(formula_rps(one, split) for split in splits)
    rows = []
    for split in splits:
        guess = formula_rps(one, split)
        run = split.prefill in simulated
        found = sustained_rps(of, split, seconds=seconds, seed=seed) if run else None
        rows.append(TentRow(split.prefill, split.decode, guess, found, guess / best))
    return rows


def sustained_rps(of: Case, split: Instances, *, seconds: float, seed: int = 1) -> float:
    """Return the largest Poisson rate of which ``KEPT_FRAC`` of the requests keep both goals.

    Every prompt and every decode step is simulated for ``seconds`` of arrivals; the first quarter
    is not judged. Looked for within ``SOUGHT``: its lower end stands for less, too.
    """
    guess = formula_rps(of.capacity(), split)
    low, high = (share * guess for share in SOUGHT)
    for _ in range(STEPS):
        middle = (low + high) / 2
        if kept_frac(of, split, middle, (seconds, seed)) >= KEPT_FRAC:
            low = middle
        else:
            high = middle
    return low


def kept_frac(of: Case, split: Instances, rps: float, run: tuple[float, int]) -> float:
    """Return the share of requests within both goals at a rate; ``run`` is (seconds, seed)."""
    seconds, seed = run
    requests = poisson(of.workload, rps, seconds, np.random.default_rng(seed))
    outcome = simulate(requests, of.prefill, of.decode, [(0.0, split)])
    judged = requests.t_s >= seconds / 4
    # A request of one token has no time between tokens, and so none above the goal.
    kept = (outcome.ttft_s <= of.ttft_goal_s) & ~(outcome.tbt_s > of.tbt_goal_s)
    return float(kept[judged].mean())


def one_day(workload: Workload, rng: np.random.Generator) -> Requests:
    """Return up to about 50,000 requests of the first day of a workload."""
    offered = workload.rates(np.arange(0.0, DAY_S, 600.0), 600.0)
    day = float(np.nansum(offered.rps)) * 600.0
    return workload.requests(0.0, DAY_S, min(50_000.0 / day, 1.0), rng)


def poisson(workload: Workload, rps: float, seconds: float, rng: np.random.Generator) -> Requests:
    """Return requests with the lengths of a workload's first day that come at a steady rate."""
    seen = one_day(workload, rng)
    count = int(rng.poisson(rps * seconds))
    pick = rng.integers(len(seen.t_s), size=count)
    return Requests(
        np.sort(rng.random(count) * seconds),
        seen.input_tokens[pick],
        seen.output_tokens[pick],
        seen.cached_tokens[pick],
    )
