"""How many: the driver over its target sizes both roles."""

from dataclasses import replace

import pytest

from controller.core.policies.proportional import proportional, provided
from controller.core.reasons import Code
from controller.core.types import Forecast, Instances, Quality
from tests.core.build import context, graded, healthy, policy, valued

FOUR = Instances(2, 4)


@pytest.mark.parametrize(
    ("tps", "want", "code"),
    [
        pytest.param(4390.0, FOUR, Code.WITHIN_TOLERANCE, id="4390 of 4000 is 1.0975: inside"),
        pytest.param(4400.0, FOUR, Code.WITHIN_TOLERANCE, id="4400 of 4000 is 1.1: on the edge"),
        pytest.param(4401.0, Instances(3, 5), Code.ABOVE_TARGET, id="1.10025: ceil(4.401)=5, P=3"),
        pytest.param(6000.0, Instances(3, 6), Code.ABOVE_TARGET, id="1.5: ceil(6)=6, P=3"),
        pytest.param(6000.000000001, Instances(3, 6), Code.ABOVE_TARGET, id="noise adds nothing"),
        pytest.param(3600.0, FOUR, Code.WITHIN_TOLERANCE, id="3600 of 4000 is 0.9: on the edge"),
        pytest.param(3500.0, FOUR, Code.WITHIN_TOLERANCE, id="0.875: ceil(3.5)=4 is what we have"),
        pytest.param(
            3000.0, Instances(2, 3), Code.BELOW_TARGET, id="0.75: ceil(3)=3, P=ceil(1.5)"
        ),
        pytest.param(100.0, Instances(1, 1), Code.BELOW_TARGET, id="0.025: ceil(0.1)=1, P=1"),
        pytest.param(
            0.0, Instances(0, 0), Code.BELOW_TARGET, id="nothing: the floor is the limits'"
        ),
    ],
)
def test_decode_follows_its_tokens(tps: float, want: Instances, code: Code) -> None:
    found = proportional(context(FOUR, tps))
    assert (found.want, found.reason.code) == (want, code)
    assert found.load == pytest.approx(tps / 4000.0)


def test_prefill_driver_sizes_prefill_first() -> None:
    spec = policy(driver="prefill_tps_uncached", target=500.0)
    signals = valued(healthy(4000.0, FOUR), prefill_tps_uncached=1600.0)
    found = proportional(context(FOUR, 4000.0, spec=spec, signals=signals))
    # 1600 of 1000: P = ceil(3.2) = 4, D = ceil(4 / 0.5) = 8.
    assert found.want == Instances(4, 8)
    assert found.load == pytest.approx(1.6)


def test_a_share_counts_as_often_as_it_is_reported() -> None:
    spec = policy(driver="prefill_util", target=0.6)
    signals = valued(healthy(4000.0, Instances(4, 8)), prefill_util=0.9)
    found = proportional(context(Instances(4, 8), 4000.0, spec=spec, signals=signals))
    # 0.9 * 4 reporting = 3.6 of 0.6 * 4 = 2.4: load 1.5, P = 6, D = 12.
    assert found.want == Instances(6, 12)
    assert found.load == pytest.approx(1.5)


def test_starting_instances_are_supply() -> None:
    ctx = context(Instances(3, 6), 6000.0)
    half = replace(ctx.state, decode=replace(ctx.state.decode, ready=4, starting=2))
    assert proportional(replace(ctx, state=half)).reason.code is Code.WITHIN_TOLERANCE


@pytest.mark.parametrize(
    ("current", "tps", "want"),
    [
        pytest.param(
            Instances(5, 4), 6000.0, Instances(5, 6), id="out: 5 prefill stay, 3 would do"
        ),
        pytest.param(
            Instances(1, 8), 4000.0, Instances(1, 4), id="in: 1 prefill stays, 2 would do"
        ),
    ],
)
def test_one_direction_at_a_time(current: Instances, tps: float, want: Instances) -> None:
    assert proportional(context(current, tps)).want == want


def test_load_without_instances_is_above_target() -> None:
    signals = healthy(1500.0, FOUR)
    found = proportional(context(Instances(0, 0), 1500.0, signals=signals))
    assert (found.want, found.load) == (Instances(1, 2), None)
    assert found.reason.code is Code.ABOVE_TARGET


def test_partial_driver_counts_the_silent_as_zero_m10() -> None:
    # Two of four report, and what they make is 6,000.
    signals = graded(healthy(12_000.0, FOUR), "decode_tps", Quality.PARTIAL)
    assert proportional(context(FOUR, 0.0, signals=signals)).want == Instances(3, 6)


def test_silent_instances_count_as_loaded_before_a_scale_in_m10() -> None:
    ten = Instances(5, 10)
    signals = healthy(6100.0, ten)
    signals["decode_tps"] = replace(signals["decode_tps"], reporting=9)
    # 6100 and one silent at its target of 1000: ceil(7.1) = 8, and as loaded as the others 6.8.
    assert proportional(context(ten, 0.0, signals=signals)).want == Instances(4, 8)


@pytest.mark.parametrize(
    ("total", "reporting", "want"),
    [
        pytest.param(21_000.0, 20, (10, 20), id="all of 20: 21,000 is 1.05"),
        pytest.param(21_000.0, 19, (12, 23), id="21,000 · 20 / 19 = 22,105 is 1.105"),
        pytest.param(20_800.0, 19, (10, 20), id="20,800 · 20 / 19 = 21,895 is 1.095"),
        pytest.param(21_000.0, 18, (12, 24), id="21,000 · 20 / 18 = 23,333"),
        pytest.param(21_000.0, 2, (12, 24), id="no more than 1 / 0.9: 23,333"),
    ],
)
def test_a_total_is_corrected_by_coverage_within_bounds(
    total: float, reporting: int, want: tuple[int, int]
) -> None:
    twenty = Instances(10, 20)
    signals = healthy(total, twenty)
    signals["decode_tps"] = replace(signals["decode_tps"], reporting=reporting)
    assert proportional(context(twenty, 0.0, signals=signals)).want == Instances(*want)


@pytest.mark.parametrize(
    ("quality", "code"),
    [
        (Quality.MISSING, Code.METRIC_MISSING),
        (Quality.INVALID, Code.METRIC_INVALID),
        (Quality.STALE, Code.METRIC_STALE),
    ],
)
def test_unread_driver_keeps_the_pair_m04_m05_m07(quality: Quality, code: Code) -> None:
    signals = graded(healthy(9000.0, FOUR), "decode_tps", quality)
    found = proportional(context(FOUR, 0.0, signals=signals))
    assert (found.want, found.reason.code, found.load) == (FOUR, code, None)


def test_a_value_that_is_no_number_is_refused_whatever_its_quality_m05() -> None:
    for value in (float("nan"), float("inf"), -1.0):
        signals = valued(healthy(9000.0, FOUR), decode_tps=value)
        found = proportional(context(FOUR, 0.0, signals=signals))
        assert (found.want, found.reason.code) == (FOUR, Code.METRIC_INVALID)


def test_what_is_provided_is_the_peak_with_its_margin_and_the_backlog() -> None:
    """1.2 · 10 and 0.25 for the queue are 12.25 of decode; prefill has no peak: 1.5 · 4."""
    forecast = Forecast(
        120.0, needs=(4.0, 8.0), peaks=(None, 10.0), margins=(0.5, 0.2), backlog=(0.0, 0.25)
    )
    assert provided(forecast, 1) == pytest.approx(12.25)
    assert provided(forecast, 0) == pytest.approx(6.0)


def test_what_is_forecast_is_provided_for_with_the_margin() -> None:
    """1.25 · max(4.0 needed, 5.0 at the peak, 6.4 ahead) = 8 decode, and 1.25 · 3 prefill."""
    found = Forecast(60.0, (2.0, 4.0), (3.0, 5.0), (0.25, 0.25), ahead=(2.0, 6.4))
    assert provided(found, 1) == pytest.approx(8.0)
    assert provided(found, 0) == pytest.approx(3.75)
