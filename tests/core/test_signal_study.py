"""The study of signals: what follows the load is found, what is unknown never becomes 0."""

from __future__ import annotations

from math import inf, isnan, nan

import numpy as np
import pytest

from controller.core.signal_study import (
    STUDIED,
    Samples,
    Studied,
    Study,
    correlation,
    study,
    window_length_s,
)
from controller.core.types import Floats, Role

DAY_S = 86_400.0
STEP_S = 15.0
NOON_S = 1_772_366_400.0


def requests(count: int = 5_760) -> Floats:
    """Return a day of requests/s: 10 in the quiet hours, 30 in the busy ones."""
    return 20.0 - 10.0 * np.cos(2.0 * np.pi * np.arange(count) / 5_760)


def samples(ready: tuple[int, int] = (2, 4), **values: Floats) -> Samples:
    """Return samples 15 s apart of the signals given; all instances report."""
    count = len(next(iter(values.values())))
    pair = np.array(ready, dtype=np.int64)[:, np.newaxis].repeat(count, axis=1)
    return Samples(NOON_S + STEP_S * np.arange(count), values, pair, pair, pair)


def row(found: Study, name: str) -> Studied:
    """Return the row of a signal."""
    return next(each for each in found.signals if each.kind.name == name)


def advised(found: Study, driver: str = "") -> str | None:
    """Return the name of the driver to use where ``driver`` is in force."""
    best = found.advised(driver)
    return None if best is None else best.kind.name


def test_a_signal_in_step_with_the_load_has_r_1_and_is_the_driver_to_use() -> None:
    load = requests()
    found = study(
        samples(request_rps=load, decode_tps=200.0 * load, decode_util=np.full(len(load), 0.95)),
        coverage_frac=0.9,
    )
    assert row(found, "decode_tps").r_load == pytest.approx(1.0)
    assert isnan(row(found, "decode_util").r_load), "what never moves follows nothing"
    assert advised(found) == "decode_tps"
    assert (found.window_s, len(found.starts_s), found.lacking) == (600.0, 144, "")


@pytest.mark.parametrize(
    ("base", "rise", "follows"),
    [
        pytest.param(0.0, 1.0, True, id="in proportion: gain 1"),
        pytest.param(10.0, 1.0, True, id="20 to 40 for 10 to 30: 1 of 2"),
        pytest.param(50.0, 1.0, False, id="60 to 80 for 10 to 30: 0.33 of 2"),
        pytest.param(50.0, -1.0, False, id="falls"),
    ],
)
def test_what_hardly_rises_does_not_follow_however_close_it_is(
    base: float,
    rise: float,
    follows: bool,  # noqa: FBT001 - a case of the table
) -> None:
    load = np.repeat([10.0, 16.0, 24.0, 30.0], 40 * 36)
    found = study(samples(request_rps=load, decode_tps=base + rise * load), coverage_frac=0.9)
    assert abs(row(found, "decode_tps").r_load) == pytest.approx(1.0)
    assert row(found, "decode_tps").follows is follows
    assert (advised(found) is not None) is follows


def test_quarters_are_means_where_the_load_is_least_and_most() -> None:
    load = np.repeat([10.0, 20.0, 30.0, 40.0], 40 * 24)
    found = study(samples(request_rps=load, decode_tps=100.0 * load), coverage_frac=0.9)
    decode = row(found, "decode_tps")
    assert (decode.quarters.quiet, decode.quarters.busy) == (1_000.0, 4_000.0)
    assert (decode.load.quiet, decode.load.busy, decode.quarters.swing) == (10.0, 40.0, 4.0)


def test_a_share_goes_with_the_load_of_each_instance_which_scaling_keeps_level() -> None:
    load = requests()
    grown = np.where(load > 20.0, 4, 2)
    given = samples(request_rps=load, prefill_util=load / grown / 20.0, prefill_tps=load)
    pair = np.array([grown, grown])
    found = study(Samples(given.times_s, given.values, pair, pair, pair), coverage_frac=0.9)
    assert row(found, "prefill_util").r_load == pytest.approx(1.0, abs=0.01)
    assert correlation(found.means["prefill_util"], found.means["request_rps"]) < 0.7


def test_noise_is_how_far_means_spread_over_how_far_samples_scatter() -> None:
    rng = np.random.default_rng(1)
    load = np.repeat(rng.normal(1_000.0, 90.0, 144), 40)
    found = study(
        samples(
            request_rps=load,
            decode_tps=load + rng.normal(0.0, 30.0, len(load)),
            prefill_tps_uncached=load,
        ),
        coverage_frac=0.9,
    )
    assert row(found, "decode_tps").noise == pytest.approx(3.0, rel=0.25), "90 over 30"
    assert row(found, "prefill_tps_uncached").noise == inf, "no scatter at all"


def test_what_is_not_reported_is_left_out_and_never_0() -> None:
    load = requests()
    holes = 200.0 * load
    holes[::4] = nan
    whole = study(samples(request_rps=load, decode_tps=200.0 * load), coverage_frac=0.9)
    found = study(samples(request_rps=load, decode_tps=holes), coverage_frac=0.9)
    assert row(found, "decode_tps").read_frac == 0.75
    assert row(found, "decode_tps").quarters.quiet == pytest.approx(
        row(whole, "decode_tps").quarters.quiet, rel=0.01
    )
    assert advised(found) is None, "read in 75 % of samples, 90 % are wanted"
    silent = row(found, "ttft_s")
    assert silent.read_frac == 0.0
    assert isnan(silent.r_load)
    assert isnan(silent.quarters.busy)
    assert isnan(silent.noise)


@pytest.mark.parametrize("odd", [nan, inf, -inf, -1.0], ids=["NaN", "∞", "-∞", "below 0"])
def test_a_value_that_cannot_be_is_no_value(odd: float) -> None:
    load, tokens = requests(), 200.0 * requests()
    tokens[100] = odd
    found = study(samples(request_rps=load, decode_tps=tokens), coverage_frac=0.9)
    assert row(found, "decode_tps").read_frac == pytest.approx(5_759 / 5_760)
    assert row(found, "decode_tps").r_load == pytest.approx(1.0, abs=1e-4)


def test_covered_is_the_share_of_samples_that_enough_instances_reported_with() -> None:
    given = samples(ready=(2, 10), request_rps=requests(100), decode_tps=requests(100))
    reporting = given.reporting.copy()
    reporting[1, :40] = 8
    reporting[1, 40:50] = 9
    heard = Samples(given.times_s, given.values, given.ready, reporting, given.expected)
    found = study(heard, coverage_frac=0.9)
    assert row(found, "decode_tps").covered_frac == 0.6, "8 of 10 is under 90 %, 9 is not"
    assert row(found, "decode_tps").read_frac == 1.0


@pytest.mark.parametrize(
    ("answer", "large"),
    [
        pytest.param((200.0, 200.0), False, id="200 throughout"),
        pytest.param((200.0, 240.0), False, id="20 % more is within 25 %"),
        pytest.param((200.0, 300.0), True, id="50 % more"),
    ],
)
def test_tokens_per_request_are_told_where_they_drift(
    answer: tuple[float, float],
    large: bool,  # noqa: FBT001 - a case of the table
) -> None:
    load = requests()
    per_request = np.repeat(answer, len(load) // 2)
    found = study(samples(request_rps=load, decode_tps=per_request * load), coverage_frac=0.9)
    drift = found.tokens[Role.DECODE]
    assert (drift.low, drift.high) == pytest.approx(answer)
    assert drift.is_large is large
    assert isnan(found.tokens[Role.PREFILL].middle)


def test_the_usual_driver_is_kept_where_another_is_hardly_better() -> None:
    rng = np.random.default_rng(2)
    load = requests()
    noisy = np.repeat(1.0 + rng.normal(0.0, 0.08, 144), 40) * load
    given = samples(request_rps=load, decode_tps=noisy, prefill_tps_uncached=load)
    found = study(given, coverage_frac=0.9)
    assert 0.95 < row(found, "decode_tps").r_load < row(found, "prefill_tps_uncached").r_load
    assert advised(found) == "decode_tps"
    assert advised(found, "prefill_tps_uncached") == "prefill_tps_uncached", "a tie: no switch"
    assert advised(found, "prefill_util") == "decode_tps", "one that was not read can't tie"


def test_a_driver_in_force_that_another_is_clearly_better_than_is_not_kept() -> None:
    rng = np.random.default_rng(3)
    load = requests()
    noisy = np.repeat(1.0 + rng.normal(0.0, 0.16, 144), 40) * load
    found = study(
        samples(request_rps=load, decode_tps=noisy, prefill_tps_uncached=load), coverage_frac=0.9
    )
    assert 0.8 < row(found, "decode_tps").r_load < 0.95
    assert advised(found, "decode_tps") == "prefill_tps_uncached"


@pytest.mark.parametrize(
    ("count", "load", "lacking"),
    [
        pytest.param(0, "moves", "No request rate was reported", id="no sample"),
        pytest.param(5_760, "silent", "No request rate was reported", id="no rate"),
        pytest.param(80, "moves", "20 windows of 1 min with a request rate; 24", id="20 min"),
        pytest.param(5_760, "level", "The load hardly moved: 20 requests/s", id="level"),
        pytest.param(5_760, "idle", "The load hardly moved: 0 requests/s", id="idle"),
    ],
)
def test_too_little_is_said_with_what_is_there_and_what_is_needed(
    count: int, load: str, lacking: str
) -> None:
    kinds = {
        "moves": requests(count),
        "silent": np.full(count, nan),
        "level": np.full(count, 20.0),
        "idle": np.zeros(count),
    }
    found = study(samples(request_rps=kinds[load], decode_tps=kinds[load]), coverage_frac=0.9)
    assert found.lacking.startswith(f"There are {lacking}" if count == 80 else lacking)
    assert advised(found) is None
    assert [each.kind.name for each in found.signals] == list(STUDIED)


@pytest.mark.parametrize(
    ("span_s", "step_s", "window_s"),
    [
        pytest.param(600.0, 15.0, 60.0, id="10 min / 72 is 8 s"),
        pytest.param(3_600.0, 15.0, 60.0, id="1 h / 72 is 50 s"),
        pytest.param(21_600.0, 15.0, 300.0, id="6 h / 72 is 300 s"),
        pytest.param(DAY_S, 15.0, 600.0, id="1 d: ten minutes as in the study"),
        pytest.param(7 * DAY_S, 60.0, 600.0, id="7 d: ten minutes still"),
        pytest.param(7 * DAY_S, 300.0, 1_200.0, id="4 samples of 300 s"),
    ],
)
def test_a_window_holds_enough_samples(span_s: float, step_s: float, window_s: float) -> None:
    assert window_length_s(np.arange(0.0, span_s + step_s, step_s)) == window_s


@pytest.mark.parametrize(
    ("one", "other", "r"),
    [
        pytest.param([1.0, 2.0, 3.0], [2.0, 4.0, 6.0], 1.0, id="in step"),
        pytest.param([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0, id="opposite"),
        pytest.param([1.0, 2.0, nan, 3.0], [2.0, 4.0, 0.0, 6.0], 1.0, id="unknown is left out"),
        pytest.param([1.0, 2.0], [1.0, 2.0], nan, id="two pairs always agree"),
        pytest.param([0.3, 0.1 + 0.2, 0.3], [1.0, 2.0, 3.0], nan, id="rounding is no movement"),
        pytest.param([0.0, 0.0, 0.0], [1.0, 2.0, 3.0], nan, id="level"),
    ],
)
def test_correlation_counts_known_pairs(one: list[float], other: list[float], r: float) -> None:
    assert correlation(np.array(one), np.array(other)) == pytest.approx(r, nan_ok=True)
