"""The exact prefill queue against closed forms, and the fluid against the exact queue."""

from pathlib import Path

import numpy as np
import pytest

from controller.core.types import Floats
from controller.simulator.arrivals import BLOCK, Feed, LoadClock, Single
from controller.simulator.model import ServiceModel
from controller.simulator.prefill import ExactPrefill, FluidPrefill, stationary_wait_s
from controller.simulator.workload import LEVELS, Requests, RequestTrace, read_trace
from tests.simulator.examples import SERVICE as EXAMPLE

MANY = 100_000


def mean_wait_s(service_s: Floats, instances: int, load: float, seed: int) -> float:
    rng = np.random.default_rng(seed)
    gap_s = service_s.mean() / instances / load
    t_s = np.cumsum(rng.exponential(gap_s, len(service_s)))
    tokens = np.ones_like(t_s)
    queue = ExactPrefill(fixed_s=0.0)
    queue.resize(instances, 0.0)
    queue.offer(Single(t_s, service_s, tokens, tokens, tokens), 0.0)
    queue.run(float(t_s[-1]) + 1e6)
    return float((queue.ttft_s() - service_s).mean())


def test_constant_prefill_waits_as_long_as_theory_says() -> None:
    # M/D/1: rho S / (2 (1 - rho)) = 0.5 x 0.2 / (2 x 0.5) = 0.1 s.
    waits = [mean_wait_s(np.full(MANY, 0.2), 1, 0.5, seed) for seed in range(5)]
    assert np.mean(waits) == pytest.approx(0.1, rel=0.02)


def test_varied_prefill_waits_as_long_as_theory_says() -> None:
    rng = np.random.default_rng(11)
    service_s = rng.gamma(2.0, 0.1, MANY)
    # M/G/1: lambda E[S^2] / (2 (1 - rho)) with E[S] = 0.2, E[S^2] = 0.06: 0.15 s at rho 0.5.
    waits = [mean_wait_s(service_s, 1, 0.5, seed) for seed in range(5)]
    assert np.mean(waits) == pytest.approx(0.15, rel=0.02)
    formula = stationary_wait_s(
        np.array([0.5]), np.array([1.0]), np.array([0.2]), np.array([0.06])
    )
    assert formula[0] == pytest.approx(0.15)


def test_results_do_not_depend_on_how_time_is_cut() -> None:
    rng = np.random.default_rng(4)
    t_s = np.sort(rng.uniform(0, 300, 900))
    tokens = np.rint(rng.uniform(1, 900, 900))
    ran = []
    for step_s in (300, 15, 1):
        queue = ExactPrefill(fixed_s=0.05)
        queue.offer(Single(t_s, np.full(900, 0.6), tokens, tokens, tokens), 0.0)
        queue.resize(2, 0.0)
        for until_s in range(step_s, 301, step_s):
            queue.run(until_s)
        ran.append(queue.ttft_s().tolist())
    assert ran[0] == ran[1] == ran[2]


def test_waiting_requests_profit_from_a_new_instance() -> None:
    alone, helped = ExactPrefill(0.0), ExactPrefill(0.0)
    t_s, ones = np.zeros(10), np.ones(10)
    for queue in (alone, helped):
        queue.resize(1, 0.0)
        queue.offer(Single(t_s, ones, ones, ones, ones), 0.0)
        queue.run(2.0)
    helped.resize(2, 2.0)
    for queue in (alone, helped):
        queue.run(100.0)
    # Two have started by 2 s; the other eight end at 10 s alone, at 6 s with two instances.
    assert (alone.ttft_s().max(), helped.ttft_s().max()) == (10.0, 6.0)


def azure(shared: Path, faster: float) -> RequestTrace:
    with (shared / "data/traces/azure_llm_2023_conv.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "azure")
    assert isinstance(trace, RequestTrace)
    seen = trace.arrivals
    return RequestTrace(
        trace.name,
        Requests(seen.t_s / faster, seen.input_tokens, seen.output_tokens, seen.cached_tokens),
    )


def exact_ttft_s(single: Single, instances: int, end_s: float, fixed_s: float) -> Floats:
    queue = ExactPrefill(fixed_s)
    queue.resize(instances, 0.0)
    queue.offer(single, 0.0)
    queue.run(end_s)
    return queue.ttft_s()


def fluid_ttft_s(fields: Floats, single: Single, instances: int, fixed_s: float) -> Floats:
    """Return the TTFT of each request: the wait of its bin and its own prefill time."""
    fluid = FluidPrefill(np.array([fixed_s]), 1)
    count = np.array([float(instances)])
    waits_s, stationary_s = [], []
    for at in range(fields.shape[1]):
        arrivals = fields[:, at, np.newaxis]
        waits_s.append(fluid.run(arrivals[np.newaxis], count[np.newaxis]).wait_s[0, 0])
        stationary_s.append(fluid.stationary_s(arrivals, count)[0])
    bins = single.t_s.astype(np.int64)
    rng = np.random.default_rng(9)
    random_s = np.array(stationary_s)[bins] * -np.log1p(-rng.choice(LEVELS, len(bins)))
    wait_s: Floats = np.maximum(np.array(waits_s)[bins], random_s)
    return wait_s + single.service_s


def joined(parts: list[Single]) -> Single:
    columns = (
        np.concatenate([getattr(part, name) for part in parts]) for name in Single.__slots__
    )
    return Single(*columns)


@pytest.mark.parametrize(
    ("instances", "faster"),
    [
        pytest.param(1, 1.0, id="one instance, native rate"),
        pytest.param(1, 1.6, id="one instance, overload"),
        pytest.param(2, 3.0, id="two instances near their limit"),
        pytest.param(4, 5.0, id="four instances, calm"),
        pytest.param(6, 12.0, id="six instances, overload"),
    ],
)
def test_the_fluid_agrees_with_the_exact_queue(
    instances: int, faster: float, shared: Path
) -> None:
    service = ServiceModel(
        "azure", "here", EXAMPLE.prefill, EXAMPLE.decode, azure(shared, faster), EXAMPLE.initial
    )
    fixed_s = service.prefill.a
    blocks = int(3_500 / faster) // BLOCK + 1
    clock = LoadClock(0.0, 0.0, 1.0)
    feed = Feed(service, 1, single=True)
    made = [feed.block(at * BLOCK, clock) for at in range(blocks)]
    fields = np.concatenate([block.fields for block in made], axis=1)
    single = joined([block.single for block in made if block.single is not None])
    exact = exact_ttft_s(single, instances, 1e9, fixed_s)
    fluid = fluid_ttft_s(fields, single, instances, fixed_s)
    assert fluid.mean() == pytest.approx(exact.mean(), rel=0.20)
    assert np.quantile(fluid, 0.99) == pytest.approx(np.quantile(exact, 0.99), rel=0.25)
