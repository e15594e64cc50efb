"""How many instances a load needs, by figures that can be reckoned by hand."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.engine import (
    Engine,
    Mix,
    decode_tps,
    largest_batch,
    mean_wait_s,
    predicted_tbt_s,
    predicted_ttft_s,
    prefill_needed,
    request_s,
    step_s,
)

# A prefill of 1,000 tokens takes 0.1 s, a step of B sequences of 1,000 tokens 10 ms + B · 0.2 ms.
ENGINE = Engine(
    prefill_s=(0.0, 1e-4, 0.0),
    step_s=(0.01, 1e-4, 1e-7, 0.0),
    miss_frac=0.0,
    kv_capacity_tokens=1e6,
    max_seqs=256,
    prompt_spread=1.0,
    output_spread=1.0,
)
MIX = Mix(input_tokens=900.0, uncached_tokens=1000.0, output_tokens=200.0)


def test_times_of_a_prefill_and_of_a_step() -> None:
    assert request_s(ENGINE, 1000.0) == pytest.approx(0.1)
    assert request_s(replace(ENGINE, prefill_s=(0.01, 1e-4, 1e-8)), 1000.0) == pytest.approx(0.12)
    assert step_s(ENGINE, 100.0, 1000.0) == pytest.approx(0.01 + 100 * 2e-4)


@pytest.mark.parametrize(
    ("engine", "batch"),
    [
        pytest.param(ENGINE, 200.0, id="goal: (50 - 10) ms / 0.2 ms"),
        pytest.param(replace(ENGINE, max_seqs=64), 64.0, id="64 sequences at most"),
        pytest.param(
            replace(ENGINE, kv_capacity_tokens=55_000.0), 50.0, id="memory: 55,000 / (900 + 200)"
        ),
        pytest.param(
            replace(ENGINE, kv_capacity_tokens=55_000.0, output_spread=2.0),
            pytest.approx(55_000 / 1300),
            id="long answers run longer: 55,000 / (900 + 2 · 200)",
        ),
        pytest.param(replace(ENGINE, step_s=(0.06, 1e-4, 1e-7, 0.0)), 1.0, id="never below one"),
        pytest.param(replace(ENGINE, step_s=(0.01, 0.0, 0.0, 0.0)), 256.0, id="a flat step"),
    ],
)
def test_the_largest_batch(engine: Engine, batch: float) -> None:
    assert largest_batch(engine, MIX, 0.05) == pytest.approx(batch)


def test_a_decode_instance_makes_its_batch_each_step() -> None:
    # 200 sequences a step of 50 ms.
    assert decode_tps(ENGINE, MIX, 0.05) == pytest.approx(4000.0)


def test_a_single_server_waits_as_in_the_textbook() -> None:
    # M/D/1 at 0.5: 0.5 / (2 · 0.5) of a service; M/M/1 (spread 2) twice that.
    assert mean_wait_s(0.5, 1.0, 0.1, 1.0) == pytest.approx(0.05)
    assert mean_wait_s(0.5, 1.0, 0.1, 2.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("rps", "least", "most"),
    [
        pytest.param(0.0, 0.0, 0.0, id="no load"),
        pytest.param(100.0, 10.0 / 0.97, 12.0, id="10 busy: little beyond"),
        pytest.param(1000.0, 100.0 / 0.97, 105.0, id="100 busy: a pool wastes less"),
        pytest.param(3.0, 0.3, 1.0, id="0.3 busy: one will do"),
    ],
)
def test_prefill_needs_its_work_and_a_little_room(rps: float, least: float, most: float) -> None:
    needed = prefill_needed(ENGINE, rps, 1000.0, ttft_s=1.0, goal_frac=0.99)
    assert least <= needed <= most


@given(
    rps=st.floats(0.0, 2000.0),
    more=st.floats(1.0, 3.0),
    tokens=st.floats(1.0, 5000.0),
    spread=st.floats(1.0, 5.0),
)
def test_more_load_never_needs_less(rps: float, more: float, tokens: float, spread: float) -> None:
    engine = replace(ENGINE, prompt_spread=spread)
    few = prefill_needed(engine, rps, tokens, ttft_s=1.0, goal_frac=0.99)
    many = prefill_needed(engine, rps * more, tokens, ttft_s=1.0, goal_frac=0.99)
    assert many >= few * (1.0 - 1e-3)


def test_predictions() -> None:
    # Two prefills and, at 0.5 of one instance, a wait of 0.05 s times ln 20.
    assert predicted_ttft_s(ENGINE, 5.0, 1000.0, 1) == pytest.approx(0.2 + 0.05 * 2.9957, rel=1e-3)
    assert predicted_ttft_s(ENGINE, 10.0, 1000.0, 1) == inf
    # 4,000 tok/s of one instance are its batch of 200 at 50 ms; half of it is a batch of 33.
    assert predicted_tbt_s(ENGINE, MIX, 4000.0, 1) == pytest.approx(0.05)
    assert predicted_tbt_s(ENGINE, MIX, 4000.0, 2) == pytest.approx(0.01 / (1 - 2000 * 2e-4))
    assert predicted_tbt_s(ENGINE, MIX, 5000.0, 1) == inf
