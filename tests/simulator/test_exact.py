"""Exact decode: equal to stepping token by token, conserving, and the same however it is cut."""

from dataclasses import astuple, replace
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.types import Floats, Instances
from controller.simulator.exact import ExactDecode, Taken, simulate
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import Requests, RequestTrace, read_trace
from tests.simulator.reference import decode_stepwise

DENSE = PROFILES["qwen3-32b-fp8/h100"]
MOE = PROFILES["qwen3-30b-a3b/h20"]
TIGHT = replace(DENSE, kv_capacity_tokens=3_000, max_seqs=5)
Arrivals = tuple[Floats, Floats, Floats]


def some(seed: int, count: int, gap_s: float) -> Arrivals:
    """Poisson arrivals of prompts up to 1,000 and outputs up to 60 tokens."""
    rng = np.random.default_rng(seed)
    t_s = np.cumsum(rng.exponential(gap_s, count))
    tokens = rng.integers(1, [1_000, 60], size=(count, 2)).astype(np.float64)
    return t_s, tokens[:, 0], tokens[:, 1]


def offered(profile: Profile, instances: int, arrivals: Arrivals) -> ExactDecode:
    decode = ExactDecode(profile)
    decode.resize(instances, 0.0)
    t_s, inputs, outputs = arrivals
    decode.offer(t_s, t_s, inputs, outputs)
    return decode


def flat(taken: Taken) -> list[bytes]:
    return [np.asarray(part).tobytes() for part in (*astuple(taken.bins), *astuple(taken)[1:])]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    instances=st.integers(1, 3),
    gap_s=st.sampled_from([0.01, 0.1, 1.0]),
    profile=st.sampled_from([DENSE, MOE, TIGHT]),
)
def test_jumping_over_steps_equals_making_each_of_them(
    seed: int, instances: int, gap_s: float, profile: Profile
) -> None:
    arrivals = some(seed, 40, gap_s)
    decode = offered(profile, instances, arrivals)
    decode.run(inf)
    found = decode.take()
    first_s, done_s = decode_stepwise(profile, instances, arrivals)
    assert found.started.tolist() == found.finished.tolist() == list(range(40))
    assert arrivals[0] + found.ttft_s == pytest.approx(first_s, abs=1e-9)
    assert found.done_s == pytest.approx(done_s, abs=1e-9)


def test_one_sequence_takes_the_sum_of_its_steps() -> None:
    decode = offered(DENSE, 1, (np.array([2.0]), np.array([500.0]), np.array([100.0])))
    decode.run(inf)
    found = decode.take()
    steps_s = DENSE.step_s(1.0, 500.0 + np.arange(100))
    assert found.ttft_s == pytest.approx(steps_s[:1])
    assert found.done_s == pytest.approx(2 + steps_s.sum())
    assert found.tbt_s == pytest.approx(steps_s[1:].mean())
    # Steps of 14.57 ms: 69 begin within the first second.
    assert found.bins.made.sum(axis=0).tolist() == [0, 0, 69, 31]


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    moves=st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=6),
)
def test_tokens_and_sequences_are_conserved_through_every_change(
    seed: int, moves: list[tuple[int, bool]]
) -> None:
    arrivals = some(seed, 200, 0.02)
    decode = offered(TIGHT, 2, arrivals)
    made = finished = 0
    for second, (instances, release) in enumerate(moves, start=1):
        decode.give_back(instances // 2, second)
        decode.resize(instances, second)
        if release:
            decode.release(second + 0.3)
        taken = decode.take()
        made += int(taken.bins.made.sum())
        finished += len(taken.finished)
        inside = decode.inside()
        assert inside[0].sum() + finished == 200
        assert inside[1].sum() + made == arrivals[2].sum()
        assert taken.bins.queued[-1] == inside[0, 1]
    decode.resize(1, 10.0)
    decode.run(inf)
    assert decode.inside().sum() == 0
    assert made + decode.take().bins.made.sum() == arrivals[2].sum()


@pytest.mark.parametrize("profile", [DENSE, MOE, TIGHT], ids=["dense", "experts", "small memory"])
def test_littles_law_holds_for_every_request(profile: Profile) -> None:
    arrivals = some(3, 300, 0.05)
    decode = offered(profile, 2, arrivals)
    decode.run(inf)
    found = decode.take()
    # Sequence-seconds in the instances are the sum of the times requests spend there.
    spent_s = found.done_s - arrivals[0] - found.waited_s
    assert found.bins.sequence_s.sum() == pytest.approx(spent_s.sum(), rel=1e-12)
    # And the TBT of all tokens is the sequence-seconds over the tokens.
    mean_s = found.bins.sequence_s.sum() / found.bins.made.sum()
    assert (found.step_s * found.tokens).sum() / found.tokens.sum() == pytest.approx(mean_s)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.floats(0.0, 30.0), max_size=12))
def test_results_do_not_depend_on_how_time_is_cut(seed: int, cuts: list[float]) -> None:
    arrivals = some(seed, 150, 0.15)
    once, often = (offered(TIGHT, 2, arrivals) for _ in range(2))
    for cut_s in sorted(cuts):
        often.run(cut_s)
    for decode in (once, often):
        decode.run(30.0)
    assert flat(once.take()) == flat(often.take())


def test_bins_are_the_same_however_often_one_looks() -> None:
    arrivals = some(8, 300, 0.1)
    once, often = (offered(DENSE, 2, arrivals) for _ in range(2))
    once.run(30.0)
    whole = once.take().bins
    looks = []
    for second in (4, 5, 15, 30):
        often.run(second)
        looks.append(often.take().bins)
    joined = [np.concatenate(part, axis=-1) for part in zip(*map(astuple, looks), strict=True)]
    assert [part.tolist() for part in joined] == [part.tolist() for part in astuple(whole)]


def test_what_exceeds_the_memory_waits_its_turn() -> None:
    # 3,000 tokens of KV hold two of 1,000 + 200 tokens; the third joins when the first two leave.
    arrivals = (np.zeros(3), np.full(3, 1_000.0), np.full(3, 200.0))
    decode = offered(TIGHT, 1, arrivals)
    decode.run(1.0)
    assert decode.inside()[0].tolist() == [2, 1, 0]
    decode.run(inf)
    found = decode.take()
    assert found.waited_s[:2].tolist() == [0.0, 0.0]
    assert found.waited_s[2] == found.done_s[0] == found.done_s[1]


def test_a_request_larger_than_the_memory_runs_alone_and_is_counted() -> None:
    arrivals = (np.zeros(3), np.array([9_000.0, 10.0, 10.0]), np.full(3, 20.0))
    decode = offered(TIGHT, 1, arrivals)
    decode.run(inf)
    found = decode.take()
    assert decode.oversized == 1
    assert found.waited_s[1] == found.waited_s[2] == found.done_s[0]


def test_a_draining_instance_finishes_and_takes_nothing_new() -> None:
    arrivals = (np.array([0.0, 0.0, 5.0]), np.full(3, 100.0), np.array([900.0, 300.0, 300.0]))
    decode = offered(DENSE, 2, arrivals)
    decode.resize(1, 1.0)
    decode.run(4.0)
    assert decode.instances == (1, 1)
    decode.run(6.0)
    assert decode.instances == (1, 0)
    assert decode.inside()[0].tolist() == [2, 0, 0]
    draining = decode.take().bins.made[1]
    # Steps of 14.56 ms: 69 of its 300 tokens were made in the second before.
    assert draining.sum() == 300 - 69


def test_the_instance_that_began_to_drain_last_stays_or_returns() -> None:
    # Outstanding 900 > 600 > 300: the third instance drains first, then the second.
    arrivals = (np.zeros(3), np.full(3, 100.0), np.array([900.0, 600.0, 300.0]))
    kept, returned = (offered(DENSE, 3, arrivals) for _ in range(2))
    for decode in (kept, returned):
        decode.resize(2, 0.5)
        decode.resize(1, 1.0)
        assert decode.instances == (1, 2)
    kept.release(2.0, keep=1)
    assert (kept.instances, kept.recomputed) == ((1, 1), 1)
    returned.give_back(1, 2.0)
    assert returned.instances == (2, 1)
    late = (np.array([2.5]), np.array([2.5]), np.array([100.0]), np.array([10.0]))
    returned.offer(*late)
    returned.run(inf)
    # Steps of 14.57 ms: 35 of 300 tokens were made before 0.5 s, and 69 of the 600 from 1 to 2 s.
    draining = (300 - 35) + 69
    assert returned.take().bins.made.sum(axis=1).tolist() == [1_810 - draining, draining]
    assert returned.recomputed == 0


def test_what_a_lost_instance_has_not_finished_goes_on_elsewhere() -> None:
    arrivals = (np.zeros(2), np.full(2, 100.0), np.array([900.0, 300.0]))
    decode = offered(DENSE, 2, arrivals)
    decode.resize(1, 1.0)
    decode.release(2.0)
    assert decode.instances == (1, 0)
    assert decode.recomputed == 1
    assert decode.inside()[0].tolist() == [2, 0, 0]
    decode.run(inf)
    found = decode.take()
    assert found.bins.made.sum() == 1_200
    assert found.started.tolist() == found.finished.tolist() == [0, 1]


def test_without_instances_everything_waits() -> None:
    arrivals = some(1, 10, 0.1)
    decode = offered(DENSE, 0, arrivals)
    decode.run(100.0)
    totals = [10, int(arrivals[2].sum()), int(arrivals[1].sum())]
    assert decode.inside().tolist() == [[0, total, 0] for total in totals]


def test_more_instances_from_a_time_on_serve_what_waits() -> None:
    t_s = np.arange(0.0, 60.0, 0.05)
    requests = Requests(t_s, np.full(1_200, 1_000.0), np.full(1_200, 100.0), np.zeros(1_200))
    alone = simulate(requests, DENSE, DENSE, [(0.0, Instances(1, 1))])
    helped = simulate(requests, DENSE, DENSE, [(0.0, Instances(1, 1)), (10.0, Instances(3, 2))])
    # 20 requests a second, one instance prefills 13: half a minute behind at the end.
    assert alone.ttft_s[-1] > 15
    assert helped.ttft_s[-1] < 0.5
    assert (helped.ttft_s <= alone.ttft_s + 1e-9).mean() > 0.99


def test_requests_nobody_serves_have_no_times() -> None:
    requests = Requests(np.zeros(2), np.full(2, 10.0), np.full(2, 5.0), np.zeros(2))
    for counts in (Instances(0, 1), Instances(1, 0)):
        out = simulate(requests, DENSE, DENSE, [(0.0, counts)])
        assert np.isnan([out.ttft_s, out.tbt_s, out.done_s]).all()


def test_an_hour_of_conversation_ends_with_every_token_made(shared: Path) -> None:
    with (shared / "data/traces/azure_llm_2023_conv.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "azure")
    assert isinstance(trace, RequestTrace)
    out = simulate(trace.arrivals, DENSE, DENSE, [(0.0, Instances(1, 1))])
    asked = trace.arrivals.output_tokens
    assert out.taken.bins.made.sum() == asked.sum() == 4_088_665
    assert not np.isnan(out.ttft_s).any()
    assert np.isnan(out.tbt_s).tolist() == (asked == 1).tolist()
