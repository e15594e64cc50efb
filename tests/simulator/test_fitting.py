"""The fit finds the figures points were made with, and says in words when it can't be trusted."""

from itertools import product

import numpy as np
import pytest

from controller.core.types import Floats
from controller.simulator.fitting import (
    DecodePoints,
    PrefillPoints,
    fit_decode,
    fit_prefill,
    non_negative_least_squares,
)
from controller.simulator.profiles import PROFILES

DENSE = PROFILES["qwen3-32b-fp8/h100"]
MOE = PROFILES["qwen3-30b-a3b/h100"]
LENGTHS = np.array([128.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0])


def steps(profile: object, batches: list[float], contexts: list[float]) -> DecodePoints:
    batch, context = (np.array(column) for column in zip(*product(batches, contexts), strict=True))
    seconds = profile.step_s(batch, batch * context)  # type: ignore[attr-defined]
    return DecodePoints(batch, context, seconds)


@pytest.mark.parametrize(
    ("matrix", "target", "expect"),
    [
        pytest.param([[1, 0], [0, 1]], [2, 3], [2, 3], id="nothing binds: the solution itself"),
        pytest.param([[1, 0], [0, 1]], [2, -3], [2, 0], id="-3 can't be met: 0 is nearest"),
        pytest.param([[1, 1], [1, 2]], [2, 1], [1.5, 0], id="slope -1: the mean of 2 and 1"),
        pytest.param([[1, 0], [0, 0]], [-1, 5], [0, 0], id="all below 0: nothing"),
        pytest.param([[1, 2], [2, 4]], [1, 2], [1, 0], id="collinear: the first alone will do"),
        pytest.param([[0, 1], [0, 2]], [3, 6], [0, 3], id="a column of zeros stays out"),
    ],
)
def test_least_squares_without_negative_figures(
    matrix: list[list[float]], target: list[float], expect: list[float]
) -> None:
    found = non_negative_least_squares(np.array(matrix, float), np.array(target, float))
    assert found == pytest.approx(expect)


@pytest.mark.parametrize("seed", range(5))
def test_no_small_step_from_the_solution_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(12, 4)), rng.normal(size=12)
    found = non_negative_least_squares(matrix, target)

    def left(x: Floats) -> float:
        return float(np.linalg.norm(matrix @ x - target))

    nearby = [np.maximum(found + sign * 1e-3 * unit, 0) for unit in np.eye(4) for sign in (1, -1)]
    assert all(left(found) <= left(x) + 1e-12 for x in nearby)


def test_prefill_figures_are_found_again() -> None:
    fit = fit_prefill(PrefillPoints(LENGTHS, np.ones(7), DENSE.prefill_s(LENGTHS)))
    assert fit.figures == pytest.approx([DENSE.a, DENSE.b, DENSE.c], rel=1e-6)
    assert (fit.doubts, fit.mean_error_frac < 1e-9) == ((), True)


def test_prompts_that_share_a_prefill_share_its_fixed_cost() -> None:
    batch = np.array([1.0, 2, 4, 8, 1, 2, 4])
    took_s = DENSE.a + batch * (DENSE.prefill_s(LENGTHS) - DENSE.a)
    fit = fit_prefill(PrefillPoints(LENGTHS, batch, took_s))
    assert fit.figures == pytest.approx([DENSE.a, DENSE.b, DENSE.c], rel=1e-6)


@pytest.mark.parametrize(
    ("profile", "experts"),
    [
        pytest.param(DENSE, (0, 0), id="dense: three figures"),
        pytest.param(MOE, (8, 128), id="8 of 128 experts: four"),
    ],
)
def test_decode_figures_are_found_again(profile: object, experts: tuple[int, int]) -> None:
    fit = fit_decode(steps(profile, [1, 4, 16, 64, 128], [512, 4096]), experts)
    expect = [profile.c0, profile.c1, profile.c2, profile.c3]  # type: ignore[attr-defined]
    assert fit.figures == pytest.approx(expect, rel=1e-6)
    assert fit.doubts == ()


def test_errors_are_relative_and_the_worst_come_first() -> None:
    seconds = DENSE.prefill_s(LENGTHS) * np.array([1, 1, 1, 1, 1.3, 1, 1])
    fit = fit_prefill(PrefillPoints(LENGTHS, np.ones(7), seconds))
    assert fit.worst(1) == [4]
    assert fit.errors[4] < -0.15
    assert fit.mean_error_frac < fit.p95_error_frac <= abs(float(fit.errors[4]))


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        pytest.param([512, 4096, 8192], "3 points for 3 figures", id="three points"),
        pytest.param([512, 512, 8192, 8192, 8192], "can't be told apart", id="two lengths"),
        pytest.param([128, 256, 512, 1024, 2048], "no prompt is longer than 2,048", id="short"),
    ],
)
def test_prefill_doubts(lengths: list[float], words: str) -> None:
    tokens = np.array(lengths, float)
    fit = fit_prefill(PrefillPoints(tokens, np.ones_like(tokens), DENSE.prefill_s(tokens)))
    assert [doubt for doubt in fit.doubts if words in doubt]


@pytest.mark.parametrize(
    ("batches", "contexts", "words"),
    [
        pytest.param([1, 2, 4, 8], [512, 4096], "the batch is never over 8", id="batch 8"),
        pytest.param([1, 8, 32, 64, 128], [1000], "every context has 1,000", id="one context"),
        pytest.param([1, 64], [500, 1000], "4 points for 3 figures", id="four points"),
    ],
)
def test_decode_doubts(batches: list[float], contexts: list[float], words: str) -> None:
    fit = fit_decode(steps(DENSE, batches, contexts))
    assert [doubt for doubt in fit.doubts if words in doubt]


def test_points_the_formula_can_not_describe_are_doubted_with_the_error() -> None:
    seconds = 1e-6 * LENGTHS * np.array([1, 3, 1, 3, 1, 3, 1])
    fit = fit_prefill(PrefillPoints(LENGTHS, np.ones(7), seconds))
    assert fit.mean_error_frac > 0.15
    assert [doubt for doubt in fit.doubts if f"by {fit.mean_error_frac:.0%} on average" in doubt]
