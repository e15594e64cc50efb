"""A window becomes one value and one quality per signal."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.signals import summarise
from controller.core.types import SIGNALS, Quality, Signal, Window
from tests.core.build import NOW_S, window

MAX_AGE_S = 45.0


def one(name: str, samples: list[float | None]) -> Signal:
    """Return what becomes of one signal's samples."""
    return summarise(window({name: samples}), now_s=NOW_S, max_age_s=MAX_AGE_S)[name]


@pytest.mark.parametrize(
    ("name", "samples", "value"),
    [
        pytest.param("decode_tps", [100.0, 200.0, 300.0, 400.0], 250.0, id="rate: mean of 4"),
        pytest.param(
            "decode_tps", [None, 200.0, None, 400.0], 300.0, id="rate: mean of 2 present"
        ),
        pytest.param("ttft_s", [9.0, 9.0, 1.0, 2.0], 1.5, id="latency: mean of the newer 2 of 4"),
        pytest.param("tbt_s", [9.0, 9.0, 1.0, 2.0, 3.0], 2.0, id="latency: newer 3 of 5"),
        pytest.param("ttft_s", [4.0, 2.0, None, None], 3.0, id="latency: older ones if no newer"),
        pytest.param("request_rps", [0.0, 0.0, 0.0, 0.0], 0.0, id="idle: 0 is a value"),
    ],
)
def test_value_of_a_window(name: str, samples: list[float | None], value: float) -> None:
    found = one(name, samples)
    assert found.value == pytest.approx(value)
    assert found.quality is Quality.OK


def test_missing_is_not_zero_m04() -> None:
    found = one("decode_tps", [None, None, None, None])
    assert found == Signal("decode_tps", None, "tok/s", None, 4, 4, Quality.MISSING)


def test_empty_window_misses_everything_m04() -> None:
    found = summarise(window({"decode_tps": []}), now_s=NOW_S, max_age_s=MAX_AGE_S)
    assert {signal.quality for signal in found.values()} == {Quality.MISSING}
    assert set(found) == {kind.name for kind in SIGNALS}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(math.nan, id="NaN"),
        pytest.param(math.inf, id="+Inf"),
        pytest.param(-math.inf, id="-Inf"),
        pytest.param(-1.0, id="negative"),
        pytest.param(-0.0, id="negative zero"),
        pytest.param(1e308, id="1e308: four of them overflow"),
        pytest.param(1e-320, id="1e-320: denormal"),
    ],
)
@pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.name)
def test_invalid_sample_has_no_value_m05_m06(kind: object, bad: float) -> None:
    name = str(getattr(kind, "name", ""))
    found = one(name, [1.0, 1.0, 1.0, bad])
    assert (found.value, found.quality) == (None, Quality.INVALID)


@pytest.mark.parametrize(
    ("ago_s", "quality"),
    [
        pytest.param(45.0, Quality.OK, id="45 s of 45 s: still fresh"),
        pytest.param(46.0, Quality.STALE, id="46 s of 45 s: stale"),
        pytest.param(-4.0, Quality.OK, id="4 s ahead: clocks differ"),
        pytest.param(-600.0, Quality.INVALID, id="10 min ahead: not fresh for 10 min"),
        pytest.param(math.nan, Quality.INVALID, id="no date"),
    ],
)
def test_age_of_the_newest_sample_m07_m08(ago_s: float, quality: Quality) -> None:
    seen = window({"decode_tps": [100.0] * 4})
    moved = replace(seen, times_s=seen.times_s - ago_s)
    found = summarise(moved, now_s=NOW_S, max_age_s=MAX_AGE_S)["decode_tps"]
    assert found.quality is quality
    assert (found.value is None) is (quality is Quality.INVALID)


def test_newest_present_sample_dates_the_signal() -> None:
    found = one("decode_tps", [1.0, 1.0, None, None])
    assert found.measured_at_s == NOW_S - 30.0


@pytest.mark.parametrize(
    ("reporting", "expected", "needed", "quality"),
    [
        pytest.param(4, 4, 1.0, Quality.OK, id="4 of 4"),
        pytest.param(3, 4, 1.0, Quality.PARTIAL, id="3 of 4"),
        pytest.param(2, 4, 0.9, Quality.PARTIAL, id="2 of 4: half renamed their metric (M14)"),
        pytest.param(9, 10, 0.9, Quality.OK, id="9 of 10 where 90 % will do"),
        pytest.param(8, 10, 0.9, Quality.PARTIAL, id="8 of 10 where 90 % are needed"),
        pytest.param(0, 0, 1.0, Quality.MISSING, id="nobody expected, nobody reports"),
    ],
)
def test_coverage_of_the_role_m10_m14(
    reporting: int, expected: int, needed: float, quality: Quality
) -> None:
    seen = window({"decode_tps": [5.0] * 4}, reporting=(0, reporting), expected=(0, expected))
    found = summarise(seen, now_s=NOW_S, max_age_s=MAX_AGE_S, coverage_ok_frac=needed)
    assert found["decode_tps"].quality is quality


def test_each_role_has_its_own_coverage_m09() -> None:
    seen = window({"decode_tps": [5.0] * 4, "prefill_tps_uncached": [5.0] * 4}, reporting=(1, 4))
    found = summarise(seen, now_s=NOW_S, max_age_s=MAX_AGE_S)
    assert found["decode_tps"].quality is Quality.OK
    assert found["prefill_tps_uncached"].quality is Quality.PARTIAL


SAMPLES = st.none() | st.floats(0.001, 1e6)


@given(
    rows=st.lists(st.tuples(SAMPLES, SAMPLES), min_size=1, max_size=6),
    at=st.integers(0, 5),
)
def test_a_duplicated_sample_does_not_matter_m12(
    rows: list[tuple[float | None, float | None]], at: int
) -> None:
    once = window({"decode_tps": [tps for tps, _ in rows], "ttft_s": [s for _, s in rows]})
    twice = at % len(rows)
    order = [*range(twice + 1), twice, *range(twice + 1, len(rows))]
    again = Window(
        times_s=once.times_s[order],
        values=once.values[:, order],
        present=once.present[:, order],
        reporting=once.reporting[:, order],
        expected=once.expected[:, order],
    )
    one, two = (summarise(seen, now_s=NOW_S, max_age_s=MAX_AGE_S) for seen in (once, again))
    for name in ("decode_tps", "ttft_s"):
        assert two[name] == replace(one[name], value=two[name].value)
        assert two[name].value == pytest.approx(one[name].value)


def test_worse_quality_comes_first() -> None:
    seen = window({"decode_tps": [math.nan] * 4}, reporting=(0, 1))
    late = replace(seen, times_s=seen.times_s - 300.0)
    found = summarise(late, now_s=NOW_S, max_age_s=MAX_AGE_S)["decode_tps"]
    assert found.quality is Quality.INVALID
    fixed = replace(late, values=np.ones_like(late.values))
    found = summarise(fixed, now_s=NOW_S, max_age_s=MAX_AGE_S)["decode_tps"]
    assert found.quality is Quality.STALE
