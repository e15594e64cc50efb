"""The fluid against the exact engines, and these against closed forms, one row a check."""

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.validation_rows import Row
from controller.core.types import SIGNAL_INDEX, SIGNALS, Floats, Instances
from controller.simulator.arrivals import (
    BLOCK,
    FIELDS,
    INPUT,
    OUTPUT,
    REQUESTS,
    Feed,
    LoadClock,
    Single,
    slowest_prefill_s,
)
from controller.simulator.decode import FluidDecode, StepTimes
from controller.simulator.exact import ExactDecode, simulate, weighted_quantiles
from controller.simulator.model import NodeSpec, ServiceModel, Transfer
from controller.simulator.prefill import ExactPrefill, FluidPrefill
from controller.simulator.profiles import PROFILES
from controller.simulator.sampling import PERCENTILES
from controller.simulator.workload import (
    LEVELS,
    NODES,
    Generator,
    Requests,
    RequestTrace,
    read_trace,
)
from controller.simulator.world import EXACT_ABOVE_S, SAMPLE_S, Setup, World

PROFILE: Final = PROFILES["qwen3-32b-fp8/h100"]
AZURE: Final = "azure_llm_2023_conv.csv.gz"
MOONCAKE: Final = "mooncake_fast25_conversation.csv.gz"
HERE: Final = Transfer(setup_s=0.0, overlap_frac=1.0)
"""A transfer that takes no time: what is compared are engines."""

MEAN, TAIL, TBT, TPS = 0.20, 0.25, 0.05, 0.02
"""How far the fluid may be from the exact engines while no prompt outlasts half a bin."""


def row(check: str, unit: str, pair: tuple[float, float], limit_frac: float) -> Row:
    """Return the check of ``pair``, a reference and ours."""
    reference, ours = map(float, pair)
    error = abs(ours - reference) / (abs(reference) or 1.0)
    return Row(check, unit, reference, ours, error, limit_frac)


@dataclass(frozen=True, slots=True)
class Case:
    """Instances that serve a recorded trace ``faster`` than it came."""

    prefill: int
    decode: int
    faster: float

    @property
    def label(self) -> str:
        """The case in words."""
        return f"{self.prefill}P {self.decode}D, Azure x{self.faster:g}"

    @property
    def instances(self) -> Instances:
        """The counts."""
        return Instances(self.prefill, self.decode)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a case is judged by: TTFT mean and 99th percentile [s], TBT mean [s], tokens/s."""

    ttft_s: float
    ttft_p99_s: float
    tbt_s: float
    tps: float


CASES: Final = (Case(1, 1, 1.0), Case(1, 2, 1.6), Case(2, 3, 3.0), Case(6, 8, 12.0))

PROTOTYPE: Final = (
    (Figures(0.232, 1.81, 0.0163, 1_162), Figures(0.271, 1.89, 0.0164, 1_167)),
    (Figures(20.3, 98.6, 0.0159, 1_859), Figures(20.5, 98.9, 0.0159, 1_868)),
    (Figures(6.03, 35.8, 0.0163, 3_484), Figures(6.15, 35.9, 0.0163, 3_501)),
    (Figures(13.5, 31.6, 0.0174, 13_659), Figures(13.6, 31.7, 0.0173, 13_919)),
)
"""Exact and fluid as an independent prototype found them, per case. It merges no prompts, its TTFT
ends with prefill, its decode takes requests as they arrive, not as prefill finishes them, and its
exact throughput is all tokens over the time of the last."""


def recorded(traces: Path, name: str, faster: float = 1.0) -> RequestTrace:
    """Return a recorded trace with its gaps divided by ``faster``."""
    with (traces / name).open("rb") as stream:
        trace = read_trace(stream, name)
    if not isinstance(trace, RequestTrace):
        raise TypeError(f"{name} has no single requests")
    seen = trace.arrivals
    return RequestTrace(name, replace(seen, t_s=seen.t_s / faster))


def service_of(trace: RequestTrace, instances: Instances) -> ServiceModel:
    """Return the service that serves a trace."""
    return ServiceModel("chat", "here", PROFILE, PROFILE, trace, instances, transfer=HERE)


def whole_s(trace: RequestTrace) -> int:
    """Return the whole samples of a trace [s]."""
    return int(trace.arrivals.t_s[-1]) // SAMPLE_S * SAMPLE_S


# Exact


def exact_figures(trace: RequestTrace, instances: Instances) -> Figures:
    """Return what the exact engines make of a trace."""
    out = simulate(trace.arrivals, PROFILE, PROFILE, [(0.0, instances)])
    made = out.taken.bins.made.sum(axis=0)
    end = whole_s(trace)
    return Figures(
        float(out.ttft_s.mean()),
        float(np.quantile(out.ttft_s, 0.99)),
        float(out.taken.bins.sequence_s.sum() / made.sum()),
        float(made[:end].sum() / end),
    )


def separate_figures(trace: RequestTrace, instances: Instances) -> Figures:
    """Return what the exact engines make of a trace as :data:`PROTOTYPE` has them."""
    seen = trace.arrivals
    ttft_s = prefilled_s(_single(seen), instances.prefill, 0.0)
    decode = ExactDecode(PROFILE)
    decode.resize(instances.decode, 0.0)
    decode.offer(seen.t_s, seen.t_s, seen.input_tokens, seen.output_tokens)
    decode.run(inf)
    taken = decode.take()
    made = float(taken.bins.made.sum())
    return Figures(
        float(ttft_s.mean()),
        float(np.quantile(ttft_s, 0.99)),
        float(taken.bins.sequence_s.sum()) / made,
        made / float(taken.done_s.max()),
    )


def _single(seen: Requests) -> Single:
    uncached = np.maximum(seen.input_tokens - seen.cached_tokens, 1.0)
    service_s = PROFILE.prefill_s(uncached)
    return Single(seen.t_s, service_s, seen.input_tokens, uncached, seen.output_tokens)


def prefilled_s(single: Single, instances: int, fixed_s: float) -> Floats:
    """Return wait plus prefill of each request, from the exact queue [s]."""
    queue = ExactPrefill(fixed_s)
    queue.resize(instances, 0.0)
    queue.offer(single, 0.0)
    queue.run(float(single.t_s[-1] + single.service_s.sum()) + 1)
    return queue.ttft_s()


# Fluid


def arrivals_of(service: ServiceModel, end_s: int) -> Floats:
    """Return the bins of a service's load up to ``end_s``, shape ``(end_s, FIELDS, 1)``."""
    feed, clock = Feed(service, 1, single=True), LoadClock(0.0, 0.0, 1.0)
    blocks = [feed.block(begin, clock).fields.T for begin in range(0, end_s, BLOCK)]
    return np.concatenate(blocks)[:end_s].reshape(-1, FIELDS, 1)


@dataclass(frozen=True, slots=True)
class FluidRun:
    """Each bin of a fluid run, shape ``(T,)``: waits of prefill, and decode step and tokens."""

    wait_s: Floats
    stationary_s: Floats
    step_s: Floats
    made: Floats


def fluid_run(service: ServiceModel, end_s: int, *, separate: bool = False) -> FluidRun:
    """Run the fluid engines as the world does, sample by sample; or as :data:`PROTOTYPE` did."""
    load = arrivals_of(service, end_s)
    prefill = FluidPrefill(np.array([0.0 if separate else PROFILE.a]), 1)
    decode = FluidDecode(StepTimes([PROFILE]), 1)
    count = np.array([float(service.initial.prefill)])
    serving = np.array([[float(service.initial.decode)], [0.0]])
    rows = []
    for begin in range(0, end_s, SAMPLE_S):
        bins = load[begin : begin + SAMPLE_S]
        prefilled = prefill.run(bins, np.tile(count, (len(bins), 1)))
        flow = bins if separate else prefilled.flow
        decoded = decode.run(
            flow[:, [REQUESTS, OUTPUT, INPUT]], np.tile(serving, (len(bins), 1, 1))
        )
        stationary_s = np.full_like(decoded.made, prefill.stationary_s(bins[-1], count)[0])
        rows.append((prefilled.wait_s, stationary_s, decoded.step_s, decoded.made))
    return FluidRun(*(np.concatenate(column)[:, 0] for column in zip(*rows, strict=True)))


def fluid_ttft_s(run: FluidRun, single: Single) -> Floats:
    """Return the TTFT up to the end of prefill of each request, from the wait of its bin [s]."""
    bins = np.minimum(single.t_s.astype(np.int64), len(run.wait_s) - 1)
    rng = np.random.default_rng(9)
    drawn_s = run.stationary_s[bins] * -np.log1p(-rng.choice(LEVELS, len(bins)))
    found: Floats = np.maximum(run.wait_s[bins], drawn_s) + single.service_s
    return found


def fluid_figures(trace: RequestTrace, instances: Instances, *, separate: bool = False) -> Figures:
    """Return what the fluid makes of a trace; or as :data:`PROTOTYPE` has it."""
    end = whole_s(trace)
    run = fluid_run(service_of(trace, instances), end, separate=separate)
    single = _single(trace.arrivals)
    ttft_s = fluid_ttft_s(run, single)
    if not separate:
        ttft_s = ttft_s + run.step_s[np.minimum(single.t_s.astype(np.int64), end - 1)]
    return Figures(
        float(ttft_s.mean()),
        float(np.quantile(ttft_s, 0.99)),
        float((run.step_s * run.made).sum() / run.made.sum()),
        float(run.made.sum() / end),
    )


# Rows


def compared(check: str, reference: Figures, ours: Figures) -> Iterator[Row]:
    """Yield the four figures of a case with the limits of the fluid."""
    for name, unit, at, limit in (
        ("TTFT mean", "s", 0, MEAN),
        ("TTFT p99", "s", 1, TAIL),
        ("TBT mean", "s", 2, TBT),
        ("decode TPS", "tokens/s", 3, TPS),
    ):
        pair = astuple(reference)[at], astuple(ours)[at]
        yield row(f"{check}: {name}", unit, pair, limit)


def azure_rows(traces: Path, case: Case) -> Iterator[Row]:
    """Yield fluid against exact."""
    trace = recorded(traces, AZURE, case.faster)
    exact = exact_figures(trace, case.instances)
    fluid = fluid_figures(trace, case.instances)
    yield from compared(f"Fluid against exact, {case.label}", exact, fluid)


def prototype_rows(traces: Path, at: int) -> Iterator[Row]:
    """Yield both fidelities against an independent prototype of them."""
    case, (exact, fluid) = CASES[at], PROTOTYPE[at]
    trace = recorded(traces, AZURE, case.faster)
    ours = separate_figures(trace, case.instances)
    yield from compared(f"Exact against prototype, {case.label}", exact, ours)
    ours = fluid_figures(trace, case.instances, separate=True)
    yield from compared(f"Fluid against prototype, {case.label}", fluid, ours)


SIGNAL_LIMITS: Final = {
    "ttft_p50_s": MEAN,
    "ttft_s": MEAN,
    "ttft_p99_s": TAIL,
    "tbt_p50_s": TBT,
    "decode_tps": TPS,
}


def world_rows(traces: Path, case: Case) -> Iterator[Row]:
    """Yield signals of the world against the exact engines, sample by sample."""
    trace = recorded(traces, AZURE, case.faster)
    exact = exact_signals(trace, case.instances)
    found = world_signals(service_of(trace, case.instances), whole_s(trace))
    for name, *pair in zip(SIGNAL_LIMITS, exact, found, strict=True):
        unit = SIGNALS[SIGNAL_INDEX[name]].unit
        check = f"World against exact, {case.label}: {name}"
        yield row(check, unit, (pair[0], pair[1]), SIGNAL_LIMITS[name])


def exact_world_rows(traces: Path, case: Case) -> Iterator[Row]:
    """Yield tokens of a world that is exact throughout against one run over all requests."""
    trace = recorded(traces, AZURE, case.faster)
    end = whole_s(trace)
    out = simulate(trace.arrivals, PROFILE, PROFILE, [(0.0, case.instances)])
    world = world_of(service_of(trace, case.instances), Setup(fidelity="exact"))
    world.advance(end)
    pair = out.taken.bins.made[:, :end].sum(), world.made[0]
    yield row(f"Exact world against one run, {case.label}: tokens made", "", pair, 0.0)


def world_of(service: ServiceModel, setup: Setup) -> World:
    """Return a world of one service with room for it."""
    count = service.initial.prefill + service.initial.decode
    nodes = [NodeSpec(f"n{at}", "here", "h100", "a", "a", 8) for at in range(count // 8 + 1)]
    return World([service], nodes, start_s=0.0, seed=3, setup=setup)


def world_signals(service: ServiceModel, end_s: int) -> list[float]:
    """Return the means of signals over samples, weighted by requests."""
    world = world_of(service, Setup(fidelity="fluid"))
    values = []
    for now_s in range(SAMPLE_S, end_s + 1, SAMPLE_S):
        world.advance(now_s)
        values.append(world.observe(["chat"], now_s, SAMPLE_S)["chat"].window.values[:, -1])
    table = np.array(values)
    requests = np.nan_to_num(table[:, SIGNAL_INDEX["request_rps"]])
    means = []
    for name in SIGNAL_LIMITS:
        column = table[:, SIGNAL_INDEX[name]]
        weight = np.ones_like(column) if name == "decode_tps" else requests * ~np.isnan(column)
        means.append(float((np.nan_to_num(column) * weight).sum() / weight.sum()))
    return means


def exact_signals(trace: RequestTrace, instances: Instances) -> list[float]:
    """Return the same figures from the exact engines: requests by the sample they came in."""
    out = simulate(trace.arrivals, PROFILE, PROFILE, [(0.0, instances)])
    end = whole_s(trace)
    edges = np.searchsorted(trace.arrivals.t_s, np.arange(0, end + 1, SAMPLE_S))
    samples = [out.ttft_s[a:b] for a, b in pairwise(edges) if b > a]
    places = np.array(
        [[np.sort(one)[len(one) * place // NODES] for place in PERCENTILES] for one in samples]
    )
    weight = np.array([len(one) for one in samples])
    ttft_s = (places * weight[:, np.newaxis]).sum(axis=0) / weight.sum()
    tbt_s = weighted_quantiles(out.taken.step_s, out.taken.tokens, [0.5])[0]
    tps = out.taken.bins.made.sum(axis=0)[:end].mean()
    return [*map(float, ttft_s), float(tbt_s), float(tps)]


PREFILL_ONLY: Final = tuple(
    (instances, load) for instances in (1, 2, 4, 8) for load in (0.24, 0.45, 0.66)
)


def prefill_rows(traces: Path) -> Iterator[Row]:
    """Yield the fluid's TTFT against the exact queue at moderate load."""
    native = recorded(traces, AZURE)
    single = _single(native.arrivals)
    offered = float(single.service_s.sum() / single.t_s[-1])
    for instances, load in PREFILL_ONLY:
        faster = load * instances / offered
        trace = recorded(traces, AZURE, faster)
        exact_s, fluid_s = prefill_pair(trace, instances)
        case = f"Fluid against exact prefill, {instances}P, load {load:.2f}"
        medians, tails = np.quantile((exact_s, fluid_s), (0.5, 0.99), axis=1)
        yield row(f"{case}: TTFT mean", "s", (exact_s.mean(), fluid_s.mean()), MEAN)
        yield row(f"{case}: TTFT p99", "s", tuple(tails), TAIL)
        yield row(f"Median of {case[0].lower()}{case[1:]}: TTFT p50", "s", tuple(medians), MEAN)


def prefill_pair(trace: RequestTrace, instances: int) -> tuple[Floats, Floats]:
    """Return wait plus prefill of each request, from the exact queue and from the fluid [s]."""
    single = _single(trace.arrivals)
    service = service_of(trace, Instances(instances, 1))
    end_s = -(-int(single.t_s[-1] + 1) // SAMPLE_S) * SAMPLE_S
    exact_s = prefilled_s(single, instances, PROFILE.a)
    return exact_s, fluid_ttft_s(fluid_run(service, end_s), single)


def mooncake_rows(traces: Path) -> Iterator[Row]:
    """Yield where the fluid is bad, and that the world doesn't use it there."""
    trace = recorded(traces, MOONCAKE)
    cold = replace(trace.arrivals, cached_tokens=np.zeros_like(trace.arrivals.t_s))
    for name, which, counts in (
        ("ideal cache", trace, (4, 6, 8)),
        ("no cache", RequestTrace("cold", cold), (6, 8)),
    ):
        service = service_of(which, Instances(4, 4))
        slowest_s = slowest_prefill_s(service)
        exact = world_of(service, Setup()).fidelity("chat") == "exact prefill"
        case = f"Exact prefill for Mooncake, {name}: p99(S) {slowest_s:.1f} > {EXACT_ABOVE_S} s"
        yield row(case, "1 = yes", (slowest_s > EXACT_ABOVE_S, exact), 0.0)
        for instances in counts:
            exact_s, fluid_s = prefill_pair(which, instances)
            pair = exact_s.mean(), fluid_s.mean()
            yield row(f"Mooncake, fluid prefill, {name}, {instances}P: TTFT mean", "s", pair, MEAN)


MANY: Final = 100_000
SEEDS: Final = 10


def mean_wait_s(service_s: Floats, load: float, seeds: int) -> float:
    """Return the mean wait at one exact prefill instance with Poisson arrivals [s]."""
    waits_s = []
    ones = np.ones_like(service_s)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        t_s = np.cumsum(rng.exponential(service_s.mean() / load, len(service_s)))
        single = Single(t_s, rng.permutation(service_s), ones, ones, ones)
        waits_s.append((prefilled_s(single, 1, 0.0) - single.service_s).mean())
    return float(np.mean(waits_s))


def closed_form_rows(seeds: int = SEEDS) -> Iterator[Row]:
    """Yield the exact queue's wait against Pollaczek and Khinchine's."""
    rng = np.random.default_rng(11)
    shapes = {
        "M/D/1": np.full(MANY, 0.2),
        "M/G/1, gamma of shape 2": rng.gamma(2.0, 0.1, MANY),
        "M/G/1, exponential": rng.exponential(0.2, MANY),
    }
    for name, service_s in shapes.items():
        for load in (0.3, 0.5, 0.7):
            rate = load / service_s.mean()
            theory_s = float(rate * (service_s**2).mean() / (2 * (1 - load)))
            found_s = mean_wait_s(service_s, load, seeds)
            check = f"{name}, load {load}, {seeds} x {MANY:,} requests: mean wait"
            yield row(check, "s", (theory_s, found_s), 0.02)


def conservation_rows(traces: Path, case: Case) -> Iterator[Row]:
    """Yield tokens and requests that went in against those that came out, and Little's law."""
    trace = recorded(traces, AZURE, case.faster)
    seen = trace.arrivals
    ready_s = seen.t_s + prefilled_s(_single(seen), case.prefill, PROFILE.a)
    decode = ExactDecode(PROFILE)
    decode.resize(case.decode, 0.0)
    decode.offer(ready_s, seen.t_s, seen.input_tokens, seen.output_tokens)
    decode.run(whole_s(trace) / 2)
    half, inside = decode.take(), decode.inside()
    out = half.bins.made.sum() + inside[1].sum()
    ended = len(half.finished) + inside[0].sum()
    where = f"half way through {case.label}"
    yield row(f"Tokens in = out + in flight, {where}", "", (seen.output_tokens.sum(), out), 0.0)
    yield row(f"Requests in = out + in flight, {where}", "", (len(seen.t_s), ended), 0.0)
    decode.run(inf)
    rest = decode.take()
    ends_s = half.done_s.sum() + rest.done_s.sum()
    begins_s = ready_s.sum() + half.waited_s.sum() + rest.waited_s.sum()
    batch_s = half.bins.sequence_s.sum() + rest.bins.sequence_s.sum()
    check = f"Little's law, {case.label}: sequence-seconds = time spent in decode"
    yield row(check, "s", (ends_s - begins_s, batch_s), 1e-9)


LONG: Final = Generator(
    "long",
    seed=1,
    low_rps=12.0,
    peak_rps=12.0,
    input_tokens=900,
    output_tokens=3000,
    bursts_per_day=0,
    noise_frac=0.0,
    drift_frac=0.0,
)
"""Answers for which 20 decode instances have no memory when they spread."""

SIGMAS: Final = (0.5, 0.83, 1.1)
"""Of log-normal answers whose spread, cut at the outermost nodes, is 1.3, 1.9 and 2.9."""

FULL: Final = 0.08
"""How far the fluid's throughput may be off while memory is full."""


def saturation_rows() -> Iterator[Row]:
    """Yield the tokens/s of decode without free memory, after ten minutes to fill it."""
    for sigma in SIGMAS:
        load = replace(LONG, output_sigma=sigma)
        service = ServiceModel("chat", "here", PROFILE, PROFILE, load, Instances(4, 20))
        made = []
        for fidelity in ("exact", "fluid"):
            world = world_of(service, Setup(fidelity))
            world.advance(600)
            before = float(world.made[0])
            world.advance(1_800)
            made.append((float(world.made[0]) - before) / 1_200)
        spread = float(np.mean(load.lengths.output**2))
        check = f"Full memory, answers of spread {spread:.1f}: decode TPS"
        yield row(check, "tokens/s", (made[0], made[1]), FULL)


def fidelity_rows(traces: Path) -> Iterator[Row]:
    """Yield every check of the two fidelities against each other and against theory."""
    for at, case in enumerate(CASES):
        yield from azure_rows(traces, case)
        yield from prototype_rows(traces, at)
        yield from world_rows(traces, case)
        yield from exact_world_rows(traces, case)
    yield from prefill_rows(traces)
    yield from mooncake_rows(traces)
    yield from saturation_rows()
    yield from closed_form_rows()
    for case in CASES:
        yield from conservation_rows(traces, case)
