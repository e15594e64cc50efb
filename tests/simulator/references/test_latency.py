"""Fixed steps on latency: how far, in which order, how often."""

import pytest

from controller.core.types import Instances, Quality
from controller.simulator.references.latency import stepped
from controller.simulator.references.port import Seen
from tests.simulator.references.examples import built, seen, signals, state

TEN = Instances(10, 20)


@pytest.mark.parametrize(
    ("ttft_s", "tbt_s", "expect"),
    [
        pytest.param(1.21, 0.04, Instances(12, 24), id="TTFT 1.21 of goal: × 1.20"),
        pytest.param(1.20, 0.04, Instances(11, 22), id="TTFT 1.20, not above: × 1.10"),
        pytest.param(1.06, 0.04, Instances(11, 22), id="TTFT 1.06: × 1.10"),
        pytest.param(1.05, 0.04, TEN, id="TTFT 1.05, not above: stays"),
        pytest.param(0.3, 0.061, Instances(12, 24), id="TBT 1.22 wins over a relaxed TTFT"),
        pytest.param(1.1, 0.061, Instances(12, 24), id="TBT 1.22 wins over TTFT 1.10"),
        pytest.param(0.69, 0.03, Instances(9, 19), id="0.69 and 0.60: × 0.95, 9.5 down to 9"),
        pytest.param(0.69, 0.036, TEN, id="TBT 0.72 is not relaxed: stays"),
        pytest.param(None, 0.03, TEN, id="no TTFT: no shrinking on TBT alone"),
        pytest.param(None, 0.061, Instances(12, 24), id="no TTFT: TBT alone may ask for more"),
        pytest.param(None, None, TEN, id="neither: stays"),
    ],
)
def test_the_more_urgent_latency_moves_both_roles(
    ttft_s: float | None, tbt_s: float | None, expect: Instances
) -> None:
    assert built("latency-only").want(seen(0.0, TEN, ttft_s=ttft_s, tbt_s=tbt_s)) == expect


@pytest.mark.parametrize(
    ("count", "factor", "expect"),
    [
        pytest.param(1, 1.10, 2, id="1.1 up to 2"),
        pytest.param(10, 1.10, 11, id="11.000000000000002 is 11"),
        pytest.param(20, 0.95, 19, id="19 exactly"),
        pytest.param(3, 0.95, 2, id="2.85 down to 2"),
        pytest.param(1, 0.95, 0, id="0.95 down to 0: the floor is elsewhere"),
        pytest.param(7, 1.0, 7, id="no step"),
    ],
)
def test_a_step_is_never_lost_to_rounding(count: int, factor: float, expect: int) -> None:
    assert stepped(count, factor) == expect


@pytest.mark.parametrize(
    "quality", [Quality.STALE, Quality.PARTIAL, Quality.MISSING, Quality.INVALID]
)
@pytest.mark.parametrize("ttft_s", [0.1, 5.0])
def test_latencies_that_are_not_ok_change_nothing(quality: Quality, ttft_s: float) -> None:
    look = Seen(0.0, signals(TEN, quality, ttft_s=ttft_s, tbt_s=0.001), state(10, 20))
    assert built("latency-only").want(look) == TEN


def test_it_rests_a_minute_after_growing() -> None:
    policy = built("latency-only")
    found = [policy.want(seen(now_s, TEN, ttft_s=3.0)) for now_s in (0.0, 15.0, 45.0, 60.0)]
    assert found == [Instances(12, 24), TEN, TEN, Instances(12, 24)]


def test_it_rests_five_minutes_after_shrinking_even_when_late() -> None:
    policy = built("latency-only")
    assert policy.want(seen(0.0, TEN, ttft_s=0.1, tbt_s=0.01)) == Instances(9, 19)
    assert policy.want(seen(285.0, TEN, ttft_s=3.0)) == TEN
    assert policy.want(seen(300.0, TEN, ttft_s=3.0)) == Instances(12, 24)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        pytest.param("alpha", 1.0, "alpha is 1: enter a figure at least 1.05", id="below beta"),
        pytest.param("beta", 0.9, "beta is 0.9: enter a figure at least 1", id="beta below goal"),
        pytest.param("gamma", 1.1, "gamma is 1.1: .* from 0 to 1", id="gamma above goal"),
        pytest.param("cooldown_in_s", -1.0, "cooldown_in_s is -1", id="negative time"),
    ],
)
def test_thresholds_out_of_order_are_refused(field: str, value: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        built("latency-only", **{field: value})
