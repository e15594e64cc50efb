"""What an instance sustains, worked out by hand."""

import math

import pytest

from controller.simulator.capacity import (
    Demand,
    TooSlowError,
    demand_of,
    per_instance_capacity,
)
from controller.simulator.profiles import PROFILES
from tests.simulator.examples import STEADY

ENGINE = PROFILES["qwen3-32b-fp8/h800"]


def test_capacity_of_conversations_on_h800() -> None:
    demand = Demand(input_tokens=1_155, output_tokens=211, spread=math.exp(0.8**2))
    found = per_instance_capacity(ENGINE, ENGINE, demand, tbt_goal_s=0.05)
    # E[S] = 10.6 + 73.6 + 1.23e-6 x 1155^2 x 1.90 = 87.3 ms, so 0.8 / 0.0873 = 9.16 requests/s.
    assert found.prefill_rps == pytest.approx(9.16, rel=0.002)
    # Memory: 152,776 / 1,366 = 111 sequences; a step takes 14.5 + 4.0 + 6.5 = 25.0 ms.
    assert found.batch == 111
    assert found.tbt_s == pytest.approx(0.02498, rel=0.002)
    assert found.decode_rps == pytest.approx(111 / 0.02498 / 211, rel=0.002)
    assert found.pd_ratio == pytest.approx(21.06 / 9.16, rel=0.005)


@pytest.mark.parametrize(
    ("goal_s", "batch"),
    [
        pytest.param(0.020, 58, id="goal: 14.5 + 58 x 0.0943 = 19.99 ms, 59 would take 20.1"),
        pytest.param(0.050, 111, id="memory: 111 sequences"),
    ],
)
def test_the_batch_is_bounded_by_goal_or_memory(goal_s: float, batch: int) -> None:
    demand = Demand(input_tokens=1_155, output_tokens=211)
    assert per_instance_capacity(ENGINE, ENGINE, demand, tbt_goal_s=goal_s).batch == batch


def test_a_cache_hit_costs_no_prefill() -> None:
    cold, warm = (
        per_instance_capacity(ENGINE, ENGINE, Demand(2_000, 200, share), tbt_goal_s=0.05)
        for share in (0.0, 0.5)
    )
    assert warm.prefill_rps > 1.7 * cold.prefill_rps
    assert warm.decode_rps == cold.decode_rps


def test_a_goal_no_batch_can_keep_is_refused_with_the_figure() -> None:
    with pytest.raises(TooSlowError, match=r"takes 14\.6 ms a token, the goal is 10\.0 ms"):
        per_instance_capacity(ENGINE, ENGINE, Demand(1_000, 200), tbt_goal_s=0.01)


def test_the_demand_of_a_workload_is_that_of_its_requests() -> None:
    found = demand_of(STEADY)
    assert (found.input_tokens, found.output_tokens) == pytest.approx((800, 200))
    # Log-normal with sigma 0.8, cut at the outermost of 200 nodes: a little below e^0.64 = 1.90.
    assert found.spread == pytest.approx(1.82, abs=0.05)
