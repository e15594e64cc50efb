"""The decode fluid: conservation, Little's law, the memory limit, and the exact engines."""

from pathlib import Path

import numpy as np
import pytest

from controller.core.types import Floats
from controller.simulator.decode import Decoded, FluidDecode, StepTimes
from controller.simulator.exact import ExactDecode
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import RequestTrace, read_trace

DENSE = PROFILES["qwen3-32b-fp8/h800"]
MOE = PROFILES["qwen3-30b-a3b/h20"]


def fluid(*profiles: Profile) -> FluidDecode:
    return FluidDecode(StepTimes(profiles), len(profiles))


def second(decode: FluidDecode, arrivals: Floats, instances: Floats) -> Decoded:
    """Advance one second with arrivals of shape ``(3, n)``."""
    return decode.run(arrivals[np.newaxis], instances[np.newaxis])


def counts(serving: float, draining: float = 0.0, rows: int = 1) -> Floats:
    return np.array([[serving] * rows, [draining] * rows])


@pytest.mark.parametrize("profile", [DENSE, MOE], ids=lambda p: p.name)
def test_step_times_as_arrays_are_those_of_the_profile(profile: Profile) -> None:
    batch = np.array([[1.0], [20.0], [200.0]])
    found = StepTimes([profile]).step_s(batch, np.array([900.0]))
    assert found == pytest.approx(profile.step_s(batch, 900.0 * batch))


def test_tokens_in_are_tokens_out_and_tokens_in_flight() -> None:
    decode = fluid(DENSE, MOE)
    rng = np.random.default_rng(5)
    asked = made = np.zeros(2)
    for at in range(2_000):
        count = rng.poisson([4.0, 9.0]).astype(np.float64)
        arrivals = np.array([count, count * 210, count * 900])
        if at == 700:
            decode.drain(0, 0.5)
        if at == 760:
            decode.release(0)
        draining = 1.0 if 700 <= at < 760 else 0.0
        made = made + second(decode, arrivals, counts(2.0, draining, 2)).made[0]
        asked = asked + arrivals[1]
    assert asked == pytest.approx(made + decode.inside()[1], rel=1e-12)
    assert (decode.inside() >= 0).all()


def test_littles_law_holds_exactly_in_the_steady_state() -> None:
    decode = fluid(DENSE)
    arrivals = np.array([[6.0], [6.0 * 200], [6.0 * 800]])
    made = 0.0
    for _ in range(3_000):
        made = second(decode, arrivals, counts(2.0)).made[0, 0]
    # Sequences = requests per second x (tokens x step time), at the batch the step starts with.
    inside = decode.batch[0] * 2
    assert inside == pytest.approx(6.0 * 200 * decode.step_s[0], rel=1e-6)
    assert made == pytest.approx(1_200.0, rel=1e-6)


def test_what_exceeds_the_memory_waits_in_front() -> None:
    decode = fluid(DENSE)
    # 152,776 tokens of KV cache hold 28.8 sequences of 5,000 tokens and 300 still to make.
    done = second(decode, np.array([[50.0], [50.0 * 300], [50.0 * 5_000]]), counts(1.0))
    assert done.admitted[0, 0] == pytest.approx(152_776 / 5_300)
    assert decode.queue[0, 0] == pytest.approx(50 - 152_776 / 5_300)


def test_without_instances_everything_waits() -> None:
    decode = fluid(DENSE)
    done = second(decode, np.array([[5.0], [500.0], [4_000.0]]), counts(0.0))
    assert done.made.sum() == 0
    assert decode.inside()[:, 0].tolist() == [5.0, 500.0, 4_000.0]


@pytest.mark.parametrize(
    ("instances", "faster"),
    [
        pytest.param(1, 1.0, id="one instance, native rate"),
        pytest.param(3, 3.0, id="three instances, three times the rate"),
        pytest.param(8, 12.0, id="eight instances, twelve times the rate"),
    ],
)
def test_the_fluid_agrees_with_the_exact_engines(
    instances: int, faster: float, shared: Path
) -> None:
    with (shared / "data/traces/azure_llm_2023_conv.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "azure")
    assert isinstance(trace, RequestTrace)
    seen = trace.arrivals
    t_s, end_s = seen.t_s / faster, float(int(3_400 / faster))
    exact = ExactDecode(DENSE)
    exact.resize(instances, 0.0)
    exact.offer(t_s, t_s, seen.input_tokens, seen.output_tokens)
    exact.run(end_s)
    bins = exact.take().bins
    tbt_s, tps = bins.sequence_s.sum() / bins.made.sum(), bins.made.sum() / end_s
    decode, second_of = fluid(DENSE), t_s.astype(np.int64)
    rows = np.array(
        [
            np.bincount(second_of, weights)
            for weights in (None, seen.output_tokens, seen.input_tokens)
        ]
    )
    tokens = weighted_s = 0.0
    for at in range(int(end_s)):
        made = second(decode, rows[:, at, np.newaxis], counts(instances)).made[0, 0]
        tokens += made
        weighted_s += made * decode.step_s[0]
    assert weighted_s / tokens == pytest.approx(tbt_s, rel=0.05)
    assert tokens / end_s == pytest.approx(tps, rel=0.02)
