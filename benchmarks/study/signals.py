"""Which signals follow the load: a day of recorded traffic on a fixed fleet."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from controller.core.types import SIGNALS, Floats, Instances, Role
from controller.simulator.arrivals import mean_lengths
from controller.simulator.capacity import demand_of, per_instance_capacity
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import WindowTrace, Workload
from controller.simulator.world import World

START_S: Final = 1_800_000_000.0
DAY_S: Final = 86_400.0
WINDOW_S: Final = 600.0
SAMPLE_S: Final = 15.0
TBT_GOAL_S: Final = 0.05
TTFT_GOAL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal over a day: Pearson's r of its means over windows with three loads.

    ``tokens`` are those a request gives the signal's own role: uncached input tokens or output
    tokens. ``swing`` is its mean in the tenth of the windows with most tokens over that in the
    tenth with fewest.
    """

    signal: str
    role: str
    r_requests: float
    r_tokens: float
    r_tokens_in_a_minute: float
    swing: float


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a service: samples of every signal, and what was offered at each."""

    service: ServiceModel
    values: Floats
    requests: Floats
    uncached: Floats
    output: Floats

    def load(self, role: Role) -> Floats:
        """Return the offered tokens/s of a role, shape ``(samples,)``."""
        return self.uncached if role is Role.PREFILL else self.output

    def kept_frac(self, signal: str, goal: float) -> float:
        """Return the share of samples in which a latency was within its goal."""
        column = self.values[[kind.name for kind in SIGNALS].index(signal)]
        return float(np.nanmean(column[~np.isnan(column)] <= goal))


def fitted(engine: Profile, trace: Workload, days: float = 1.0) -> ServiceModel:
    """Return a service with the instances its busiest window needs (see ``capacity``)."""
    mean = demand_of(trace)
    cached = float(mean_lengths(trace).cached_frac[0])
    most = Instances(1, 1)
    offered = trace.rates(np.arange(0.0, days * DAY_S, WINDOW_S), WINDOW_S)
    for rps, inputs, outputs in zip(
        offered.rps, offered.input_tokens, offered.output_tokens, strict=True
    ):
        demand = replace(mean, input_tokens=inputs, output_tokens=outputs, cached_frac=cached)
        one = per_instance_capacity(engine, engine, demand, tbt_goal_s=TBT_GOAL_S)
        need = Instances(ceil(rps / one.prefill_rps), ceil(rps / one.decode_rps))
        most = Instances(max(most.prefill, need.prefill), max(most.decode, need.decode))
    return ServiceModel("service", "here", engine, engine, trace, most, seed=1)


def steady(trace: WindowTrace) -> WindowTrace:
    """Return the trace with the lengths of every window at its means over the first day."""
    mean = demand_of(trace)
    known = ~np.isnan(trace.offered.rps)
    held = replace(
        trace.offered,
        input_tokens=np.where(known, mean.input_tokens, np.nan),
        output_tokens=np.where(known, mean.output_tokens, np.nan),
    )
    return replace(trace, name=f"{trace.name}, lengths held", offered=held)


def day_of(trace: Workload, *, speed: float = 1.0, days: float = 1.0, seed: int = 1) -> Day:
    """Return ``days`` of a trace on Qwen3-32B FP8, H100, with the instances its peak needs.

    ``speed`` load seconds pass per second: fewer samples, the same windows.
    """
    service = fitted(PROFILES["qwen3-32b-fp8/h100"], trace, days)
    total = service.initial.prefill + service.initial.decode
    nodes = [NodeSpec(f"n{at}", "here", "h100", "s1", "s2", 8) for at in range(ceil(total / 8))]
    world = World([service], nodes, start_s=START_S, seed=seed, speed=speed)
    parts, times = [], []
    for at_s in np.arange(2, days * DAY_S / speed / SAMPLE_S + 1, 2) * SAMPLE_S:
        world.advance(START_S + at_s)
        window = world.observe([service.key], world.now_s, 2 * SAMPLE_S)[service.key].window
        parts.append(window.values)
        times.append(window.times_s)
    load_s = (np.concatenate(times) - START_S - SAMPLE_S) * speed
    offered = trace.rates(load_s, SAMPLE_S * speed)
    return Day(
        service,
        np.concatenate(parts, axis=1),
        offered.rps,
        offered.rps * offered.input_tokens * (1 - offered.cached_frac),
        offered.rps * offered.output_tokens,
    )


def signal_rows(day: Day, *, speed: float = 1.0) -> list[SignalRow]:
    """Return how each signal of a day goes with the load."""
    per_window = round(WINDOW_S / SAMPLE_S / speed)
    per_minute = 4
    rows = []
    for kind, values in zip(SIGNALS, day.values, strict=True):
        tokens = _means(day.load(kind.role), per_window)
        means = _means(values, per_window)
        rows.append(
            SignalRow(
                kind.name,
                kind.role.value,
                correlation(means, _means(day.requests, per_window)),
                correlation(means, tokens),
                correlation(_means(values, per_minute), _means(day.load(kind.role), per_minute)),
                _swing(means, tokens),
            )
        )
    return rows


def correlation(first: Floats, second: Floats) -> float:
    """Return Pearson's r where both are known; NaN when one of them never moves."""
    known = ~np.isnan(first + second)
    one, other = first[known], second[known]
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one, other)[0, 1])


def _means(values: Floats, per: int) -> Floats:
    whole = len(values) // per * per
    rows = values[:whole].reshape(-1, per)
    known = ~np.isnan(rows)
    found: Floats = np.where(known, rows, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    found[~known.any(axis=1)] = np.nan
    return found


def _swing(means: Floats, load: Floats) -> float:
    order = np.argsort(load)
    tenth = max(len(order) // 10, 1)
    low, high = np.nanmean(means[order[:tenth]]), np.nanmean(means[order[-tenth:]])
    return float(high / low) if low > 0 else float("nan")
