"""Few points, nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.charts.thinning import downsample, spans, with_gaps

CASES = st.tuples(
    st.integers(0, 3_000), st.integers(20, 400), st.integers(0, 2**32 - 1), st.floats(0, 0.9)
)


def a_line(count: int, seed: int, missing: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    values[rng.random(count) < missing] = np.nan
    return values, rng.integers(0, max(count, 1), size=8) if count else np.empty(0, dtype=int)


@settings(deadline=None)
@given(CASES)
def test_thinning_stays_below_its_limit_and_in_order(case: tuple[int, int, int, float]) -> None:
    count, limit, seed, missing = case
    values, keep = a_line(count, seed, missing)
    at = downsample(values, limit=limit, keep=keep)
    assert len(at) <= max(limit, 0)
    assert (np.diff(at) > 0).all()
    assert set(keep.tolist()) <= set(at.tolist())


@settings(deadline=None)
@given(CASES)
def test_extremes_ends_and_gaps_survive(case: tuple[int, int, int, float]) -> None:
    count, limit, seed, missing = case
    values, keep = a_line(count, seed, missing)
    thinned = values[downsample(values, limit=limit, keep=keep)]
    assert np.isnan(values).any() == np.isnan(thinned).any()
    if np.isfinite(values).any():
        assert np.nanmin(thinned) == np.nanmin(values)
        assert np.nanmax(thinned) == np.nanmax(values)
    if count:
        np.testing.assert_array_equal(thinned[[0, -1]], values[[0, -1]])


def test_every_bucket_keeps_its_spike() -> None:
    values = np.zeros(10_000)
    spikes = np.arange(50, 10_000, 100)
    values[spikes] = 1.0
    assert set(spikes.tolist()) <= set(downsample(values, limit=2_000).tolist())


def test_too_many_points_to_keep_are_refused() -> None:
    with pytest.raises(ValueError, match="60 points to keep do not fit into 100"):
        downsample(np.zeros(1_000), limit=100, keep=np.arange(60))


@pytest.mark.parametrize(
    ("pause_s", "gaps"),
    [
        pytest.param(37.5, 0, id="2.5 ticks: still one line"),
        pytest.param(38.0, 1, id="more than 2.5 ticks: a gap"),
    ],
)
def test_a_line_breaks_where_samples_are_missing(pause_s: float, gaps: int) -> None:
    times = np.array([0.0, 15.0, 15.0 + pause_s, 30.0 + pause_s])
    at, values = with_gaps(times, np.arange(4.0), step_s=15.0)
    assert int(np.isnan(values).sum()) == gaps
    assert (np.diff(at) > 0).all()


def test_a_run_lasts_one_step_beyond_its_last_sample() -> None:
    times = np.array([0.0, 15.0, 30.0, 45.0, 60.0, 200.0])
    flags = np.array([False, True, True, False, False, True])
    assert spans(flags, times, step_s=15.0) == [(15.0, 45.0), (200.0, 215.0)]
