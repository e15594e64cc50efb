"""The autoscalers by utilisation and by queue, each role alone."""

import pytest

from controller.core.types import Instances, Quality, RoleState
from controller.simulator.references.port import Seen
from tests.simulator.references.examples import built, seen, signals, state


@pytest.mark.parametrize(
    ("prefill_util", "decode_util", "expect"),
    [
        pytest.param(
            0.9, 0.7, Instances(6, 4), id="prefill ceil(4 × 1.285) = 6, decode at target"
        ),
        pytest.param(0.7, 0.95, Instances(4, 6), id="decode ceil(4 × 1.357) = 6 alone"),
        pytest.param(0.75, 0.65, Instances(4, 4), id="1.071 and 0.929: within tolerance"),
        pytest.param(0.1, 0.1, Instances(4, 4), id="shrinking waits for five minutes"),
        pytest.param(None, 0.95, Instances(4, 6), id="no prefill metric: prefill stays"),
        pytest.param(None, None, Instances(4, 4), id="no metric: nothing changes"),
    ],
)
def test_each_role_follows_its_own_utilisation(
    prefill_util: float | None, decode_util: float | None, expect: Instances
) -> None:
    look = seen(0.0, prefill_util=prefill_util, decode_util=decode_util)
    assert built("hpa-util").want(look) == expect


def test_instances_that_start_hold_growth_back() -> None:
    starting = state(RoleState(desired=6, ready=4, starting=2), 4)
    look = Seen(0.0, signals(prefill_util=0.95), starting)
    # (4 × 0.95 + 2 × 0) / 6 = 0.63 of 0.7: fewer than now, so nothing changes.
    assert built("hpa-util").want(look) == Instances(6, 4)


def test_draining_and_failed_instances_are_left_out() -> None:
    mixed = state(RoleState(desired=4, ready=4, draining=3, failed=2), 4)
    look = Seen(0.0, signals(prefill_util=0.9), mixed)
    assert built("hpa-util").want(look) == Instances(6, 4)


def test_silent_instances_count_as_busy_before_shrinking() -> None:
    policy = built("hpa-util", scale_down_window_s=0)
    look = Seen(0.0, signals(Instances(2, 4), prefill_util=0.1), state(4, 4))
    # (2 × 0.1 + 2 × 1.0) / 4 = 0.55 of 0.7: ceil(0.786 × 4) = 4 instead of ceil(0.143 × 4) = 1.
    assert policy.want(look) == Instances(4, 4)


def test_the_age_of_a_metric_is_not_looked_at() -> None:
    look = Seen(0.0, signals(quality=Quality.STALE, prefill_util=0.9), state(4, 4))
    assert built("hpa-util").want(look) == Instances(6, 4)


def test_decode_that_always_looks_busy_is_never_shrunk() -> None:
    policy = built("hpa-util")
    counts = Instances(8, 8)
    for tick in range(80):
        look = seen(15.0 * tick, counts, prefill_util=0.05, decode_util=0.998)
        counts = policy.want(look)
    assert counts == Instances(1, 64)


@pytest.mark.parametrize(
    ("prefill_waiting", "decode_waiting", "expect"),
    [
        pytest.param(30.0, 21.0, Instances(6, 4), id="30/5 = 6; 21/20 = 1.05 is within tolerance"),
        pytest.param(500.0, 0.0, Instances(8, 4), id="100 wanted, 8 allowed; decode waits 5 min"),
        pytest.param(None, 30.0, Instances(4, 6), id="no prefill metric: prefill stays"),
        pytest.param(None, None, Instances(4, 4), id="no metric: nothing changes"),
    ],
)
def test_each_role_follows_its_own_queue(
    prefill_waiting: float | None, decode_waiting: float | None, expect: Instances
) -> None:
    look = seen(0.0, prefill_waiting=prefill_waiting, decode_waiting=decode_waiting)
    assert built("hpa-queue").want(look) == expect


def test_starting_instances_share_the_queue_already() -> None:
    starting = state(RoleState(desired=8, ready=2, starting=6), 4)
    look = Seen(0.0, signals(Instances(2, 4), prefill_waiting=40.0), starting)
    assert built("hpa-queue").want(look) == Instances(8, 4)


def test_an_empty_queue_takes_a_busy_service_to_its_floor() -> None:
    policy = built("hpa-queue")
    policy.want(seen(0.0, prefill_util=0.9))
    assert policy.want(seen(300.0, prefill_util=0.9)) == Instances(1, 1)


@pytest.mark.parametrize(
    ("name", "field", "value", "text"),
    [
        pytest.param(
            "hpa-util", "target", 0.0, "target is 0: enter a figure from 0.01 to 1", id="0"
        ),
        pytest.param("hpa-util", "target", 70.0, "target is 70: .* from 0.01 to 1", id="per cent"),
        pytest.param(
            "hpa-queue", "decode_target", 0.0, "decode_target is 0: .* 0.001", id="queue"
        ),
    ],
)
def test_a_target_that_cannot_be_is_refused(
    name: str, field: str, value: float, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        built(name, **{field: value})
