"""The rules of the Kubernetes autoscaler. Cases named after its own tests use their figures."""

import pytest

from controller.simulator.references.hpa import (
    PARAMS,
    Autoscaler,
    Behaviour,
    Pods,
    Share,
    behaviour,
    wish_for_share,
    wish_for_total,
)

DEFAULTS = {name: param.default for name, param in PARAMS.items()}


def rules(**changed: float) -> Behaviour:
    return behaviour(DEFAULTS | changed)


@pytest.mark.parametrize(
    ("pods", "mean", "target", "expect"),
    [
        pytest.param(Pods(3, 3, 3), 0.90, 0.70, 4, id="90 of 70 %: ceil(3 × 1.286) = 4"),
        pytest.param(Pods(4, 4, 4), 2.00, 1.00, 8, id="documentation: 200 of 100 doubles"),
        pytest.param(Pods(4, 4, 4), 0.50, 1.00, 2, id="documentation: 50 of 100 halves"),
        pytest.param(Pods(10, 10, 10), 0.77, 0.70, 10, id="ratio 1.100: within tolerance"),
        pytest.param(Pods(10, 10, 10), 0.771, 0.70, 12, id="ratio 1.1014: ceil(11.01) = 12"),
        pytest.param(Pods(10, 10, 10), 0.63, 0.70, 10, id="ratio 0.900: within tolerance"),
        pytest.param(Pods(10, 10, 10), 0.62, 0.70, 9, id="ratio 0.886: ceil(8.86) = 9"),
        pytest.param(Pods(3, 3, 3), 1.02, 1.00, 3, id="Tolerance: 102 of 100 stays"),
        pytest.param(Pods(4, 4, 4), 0.0, 0.70, 0, id="idle: ceil(0) = 0, the floor is elsewhere"),
        pytest.param(Pods(5, 5, 5), 0.28, 0.50, 3, id="IgnoresFailedPods: ceil(5 × 0.56) = 3"),
        pytest.param(
            Pods(5, 3, 3, 2), 0.30, 0.50, 2, id="unready left out on the way down: ceil(3×0.6)=2"
        ),
        pytest.param(
            Pods(6, 3, 3, 3), 1.20, 0.60, 6, id="unready idle: 3.6/6 = 0.6 of 0.6, within"
        ),
        pytest.param(
            Pods(4, 3, 3, 1), 1.20, 0.60, 6, id="unready idle: 3.6/4 = 0.9, ceil(1.5 × 4) = 6"
        ),
        pytest.param(
            Pods(4, 2, 2, 2), 0.80, 0.60, 4, id="unready idle: 1.6/4 = 0.4 would turn it: stays"
        ),
        pytest.param(
            Pods(4, 4, 2), 0.2475, 1.00, 3, id="MissingMetrics: (0.495+2)/4 = 0.62, ceil(2.5) = 3"
        ),
        pytest.param(Pods(2, 2, 1), 1.00, 1.00, 2, id="NoChangeEq: 100 of 100"),
        pytest.param(Pods(2, 2, 1), 1.90, 1.00, 2, id="NoChangeGt: 1.9/2 = 0.95 would turn it"),
        pytest.param(Pods(2, 2, 1), 0.60, 1.00, 2, id="NoChangeLt: 1.6/2 = 0.8, ceil(1.6) = 2"),
        pytest.param(
            Pods(3, 2, 1, 1), 0.45, 0.50, 3, id="UnreadyChange: 1.45/2 = 0.725 would turn it"
        ),
        pytest.param(
            Pods(3, 2, 1, 1), 2.00, 0.50, 4, id="UnreadyScaleUp: 2/3 of 0.5, ceil(1.33 × 3) = 4"
        ),
        pytest.param(
            Pods(4, 3, 2, 1), 0.10, 0.50, 3, id="UnreadyScaleDown: 1.2/3 of 0.5, ceil(2.4) = 3"
        ),
        pytest.param(Pods(4, 4, 0), 0.90, 0.70, None, id="no pod reports: no wish"),
    ],
)
def test_a_share_is_brought_to_its_target(
    pods: Pods, mean: float, target: float, expect: int | None
) -> None:
    assert wish_for_share(pods, mean, Share(target, missing=1.0, tolerance=0.1)) == expect


@pytest.mark.parametrize(
    ("missing", "expect"),
    [
        pytest.param(0.5, 3, id="at the target: (0.2 + 2 × 0.5)/0.5 = 2.4"),
        pytest.param(1.0, 4, id="at 100 %: (0.2 + 2 × 1)/0.5 = 4.4 would turn it"),
    ],
)
def test_silent_pods_count_as_told_on_the_way_down(missing: float, expect: int) -> None:
    assert wish_for_share(Pods(4, 4, 2), 0.1, Share(0.5, missing, tolerance=0.1)) == expect


@pytest.mark.parametrize(
    ("existing", "total", "target", "expect"),
    [
        pytest.param(3, 8.6, 2.9, 3, id="TolerancePerPodCMExternal: 8.6/(2.9 × 3) = 0.989"),
        pytest.param(4, 30.0, 5.0, 6, id="30 waiting at 5 each: 6"),
        pytest.param(4, 22.0, 5.0, 4, id="22/20 = 1.1: within tolerance"),
        pytest.param(4, 22.1, 5.0, 5, id="22.1/20 = 1.105: ceil(4.42) = 5"),
        pytest.param(4, 0.0, 5.0, 0, id="an empty queue asks for none"),
        pytest.param(0, 7.0, 5.0, 2, id="no pod yet: ceil(1.4) = 2"),
        pytest.param(0, 0.0, 5.0, 0, id="no pod and no queue: none"),
    ],
)
def test_a_total_is_shared_out(existing: int, total: float, target: float, expect: int) -> None:
    assert wish_for_total(existing, total, target, 0.1) == expect


@pytest.mark.parametrize(
    ("current", "wish", "expect"),
    [
        pytest.param(1, 20, 5, id="max(1 × 2, 1 + 4) = 5"),
        pytest.param(4, 20, 8, id="max(4 × 2, 4 + 4) = 8"),
        pytest.param(8, 30, 16, id="max(8 × 2, 8 + 4) = 16"),
        pytest.param(8, 9, 9, id="less than allowed: 9"),
        pytest.param(20, 90, 32, id="max(40, 24) = 40, the ceiling is 32"),
    ],
)
def test_growth_is_the_larger_of_a_share_and_four_pods(
    current: int, wish: int, expect: int
) -> None:
    assert Autoscaler(rules(), 1, 32).next(0.0, current, wish) == expect


def test_what_a_period_added_already_counts_against_it() -> None:
    scaler = Autoscaler(rules(scale_up_period_s=60), 1, 100)
    assert scaler.next(0.0, 4, 50) == 8
    assert scaler.next(15.0, 8, 50) == 8
    assert scaler.next(45.0, 8, 50) == 8
    assert scaler.next(60.0, 8, 50) == 16


def test_what_a_period_removed_gives_room_to_grow_again() -> None:
    fast = rules(scale_down_window_s=0, scale_up_percent=0, scale_up_period_s=60)
    scaler = Autoscaler(fast, 1, 100)
    assert scaler.next(0.0, 10, 10) == 10
    assert scaler.next(15.0, 10, 3) == 3
    assert scaler.next(30.0, 3, 50) == 14


def test_shrinking_waits_for_the_highest_wish_of_the_last_five_minutes() -> None:
    scaler = Autoscaler(rules(), 1, 100)
    assert scaler.next(0.0, 10, 10) == 10
    assert scaler.next(15.0, 10, 6) == 10
    assert scaler.next(150.0, 10, 4) == 10
    assert scaler.next(285.0, 10, 2) == 10
    assert scaler.next(300.0, 10, 2) == 6
    assert scaler.next(315.0, 6, 2) == 4
    assert scaler.next(450.0, 4, 2) == 2


def test_the_count_at_the_start_is_the_first_wish() -> None:
    scaler = Autoscaler(rules(), 1, 100)
    found = [scaler.next(now_s, 10, 1) for now_s in (0.0, 150.0, 299.0, 300.0)]
    assert found == [10, 10, 10, 1]


def test_growing_waits_for_the_lowest_wish_when_its_window_says_so() -> None:
    scaler = Autoscaler(rules(scale_up_window_s=60), 1, 100)
    found = [scaler.next(now_s, 4, 8) for now_s in (0.0, 30.0, 59.0, 60.0)]
    assert found == [4, 4, 4, 8]


def test_shrinking_is_paced_too() -> None:
    paced = rules(scale_down_window_s=0, scale_down_percent=50, scale_down_period_s=60)
    scaler = Autoscaler(paced, 1, 100)
    assert scaler.next(0.0, 10, 1) == 5
    assert scaler.next(30.0, 5, 1) == 5
    assert scaler.next(60.0, 5, 1) == 2


@pytest.mark.parametrize(
    ("current", "expect"),
    [
        pytest.param(40, 32, id="40 above the ceiling of 32"),
        pytest.param(1, 2, id="1 below the floor of 2"),
        pytest.param(10, 10, id="10 within"),
    ],
)
@pytest.mark.parametrize("wish", [None, 10])
def test_without_a_metric_only_the_limits_move_the_count(
    current: int, expect: int, wish: int | None
) -> None:
    assert Autoscaler(rules(), 2, 32).next(0.0, current, wish) == expect


def test_a_tick_without_a_metric_is_no_wish() -> None:
    scaler = Autoscaler(rules(scale_down_window_s=60), 1, 100)
    assert scaler.next(0.0, 10, 4) == 10
    assert scaler.next(45.0, 10, None) == 10
    assert scaler.next(60.0, 10, 4) == 4


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        pytest.param("tolerance", -0.1, "tolerance is -0.1: enter a figure from 0 to 1", id="<0"),
        pytest.param(
            "scale_down_percent",
            150.0,
            "scale_down_percent is 150: enter a figure from 0 to 100",
            id="more than all",
        ),
        pytest.param(
            "scale_down_window_s",
            float("nan"),
            "scale_down_window_s is nan: enter a figure from 0 to 3600",
            id="no number",
        ),
    ],
)
def test_a_behaviour_that_cannot_be_is_refused(name: str, value: float, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        rules(**{name: value})
