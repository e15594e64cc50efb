"""Less of a prefix cache than was recorded, never more."""

from pathlib import Path

import numpy as np
import pytest

from controller.simulator.workload import (
    CacheScaleError,
    RequestTrace,
    Workload,
    facts,
    read_trace,
    with_cache,
    with_cache_steps,
)
from tests.simulator.loads import CACHED, every_kind

KINDS = every_kind()
# One request a second, 1,000 tokens in, 400 of them cached.
HITS = read_trace((CACHED + "".join(f"{t},1000,10,400\n" for t in range(3_600))).encode(), "hits")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_without_a_cache_everything_else_stays(kind: str) -> None:
    load = KINDS[kind]
    off = with_cache(load, 0.0)
    at = np.arange(0.0, 3_000.0, 10.0)
    before, after = load.rates(at, 10.0), off.rates(at, 10.0)
    np.testing.assert_array_equal(after.rps, before.rps)
    np.testing.assert_array_equal(after.input_tokens, before.input_tokens)
    np.testing.assert_array_equal(after.output_tokens, before.output_tokens)
    np.testing.assert_array_equal(after.cached_frac, 0.0 * before.cached_frac)
    assert not off.requests(0.0, 900.0, 1.0, np.random.default_rng(1)).cached_tokens.any()
    assert (off.recorded, off.about.kind) == (load.recorded, load.about.kind)


@pytest.mark.parametrize(
    ("frac", "cached_frac"),
    [
        pytest.param(0.0, 0.0, id="off"),
        pytest.param(0.25, 0.1, id="a quarter of 400 is 100 of 1,000"),
        pytest.param(1.0, 0.4, id="as recorded"),
    ],
)
def test_hits_scale_with_the_share(frac: float, cached_frac: float) -> None:
    assert facts(with_cache(HITS, frac))["cached_frac"] == cached_frac


def test_another_cache_is_another_load_by_name() -> None:
    assert with_cache(HITS, 1.0) is HITS
    assert with_cache(HITS, 0.5).name == "hits, 0.5 of its cached tokens"
    assert (
        with_cache_steps(HITS, [(0, 1), (60, 0)]).name
        == "hits, share of its cached tokens 1 from 0 s, 0 from 60 s"
    )


@pytest.mark.parametrize("frac", [1.01, -0.1, float("nan"), float("inf")])
def test_more_hits_than_recorded_are_refused(frac: float) -> None:
    with pytest.raises(CacheScaleError, match=r"choose 0 \(no cache\) to 1 \(as recorded\)"):
        with_cache(HITS, frac)
    with pytest.raises(CacheScaleError, match="choose 0"):
        with_cache_steps(HITS, [(0, frac)])


@pytest.mark.parametrize(
    "times", [pytest.param((60, 60), id="the same"), pytest.param((-1, 5), id="before the start")]
)
def test_steps_in_disorder_are_refused(times: tuple[float, float]) -> None:
    with pytest.raises(CacheScaleError, match="times ascend from 0 on"):
        with_cache_steps(HITS, [(at, 0.5) for at in times])


@pytest.mark.parametrize(
    ("at_s", "step_s", "cached_frac"),
    [
        pytest.param(0.0, 60.0, 0.4, id="before the first step: as recorded"),
        pytest.param(600.0, 60.0, 0.0, id="switched off"),
        pytest.param(1_200.0, 60.0, 0.2, id="half of 400"),
        pytest.param(540.0, 120.0, 0.2, id="half a step on, half off"),
        pytest.param(4_200.0, 60.0, 0.2, id="the last share stays in the second pass"),
    ],
)
def test_a_switched_cache_is_that_of_its_time(
    at_s: float, step_s: float, cached_frac: float
) -> None:
    load = with_cache_steps(HITS, [(600, 0.0), (1_200, 0.5)])
    assert load.rates(np.array([at_s]), step_s).cached_frac == pytest.approx([cached_frac])


def test_single_requests_have_the_cache_of_their_arrival() -> None:
    load = with_cache_steps(HITS, [(600, 0.0), (1_200, 0.5)])
    found = load.requests(598.0, 1_202.0, 1.0, np.random.default_rng(0))
    assert found.t_s.tolist() == list(range(598, 1_202))
    assert found.cached_tokens.tolist() == [400] * 2 + [0] * 600 + [200] * 2


def _computed_tps(load: Workload, at_s: float) -> tuple[float, float]:
    rates = load.rates(np.array([at_s]), 900.0)
    prompt = float(rates.rps[0] * rates.input_tokens[0])
    return prompt, prompt * (1 - float(rates.cached_frac[0]))


def test_switching_the_cache_fools_raw_prefill_throughput(shared: Path) -> None:
    with (shared / "data/traces/mooncake_fast25_conversation.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "mooncake")
    assert isinstance(trace, RequestTrace)
    load = with_cache_steps(trace, [(0, 0.0), (trace.span_s, 1.0)])
    (raw_off, work_off), (raw_on, work_on) = (
        _computed_tps(load, turn * trace.span_s + 900.0) for turn in (0, 1)
    )
    # The same traffic: raw prefill throughput says nothing changed, the work fell by the hits.
    assert raw_on == pytest.approx(raw_off)
    assert work_on / work_off == pytest.approx(1 - 0.374, abs=0.03)
