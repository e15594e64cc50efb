"""Target and ratio while a person waits: those of curation, and a bound on what is played."""

import pytest

from controller.core.types import Slo
from controller.simulator.backtest.question import QuestionError
from controller.simulator.profiles import PROFILES
from controller.simulator.quick_stress import MOST_PAIRS, USUAL, Lengths, size

FP8 = PROFILES["qwen3-32b-fp8/h100"]
GOALS = Slo(1.0, 0.05, 0.99)


def test_it_is_the_best_split_of_the_gpus_that_are_there() -> None:
    found = size((FP8, FP8), USUAL, GOALS, 12)
    # Prefill is full at 5.4 requests/s, decode at 8.8: 7 and 5 carry min(38.1, 43.8).
    assert (found.gpus, found.best.instances) == (12, (7, 5))
    assert found.best.simulated
    assert found.best.goodput_rps == pytest.approx(38.1, rel=0.01)
    # Three quarters of 2,628 tokens/s; 1.61 prefill for each decode instance.
    assert (found.target, found.pd_ratio) == (2000.0, pytest.approx(1.61, abs=0.01))


@pytest.mark.parametrize(
    ("gpus", "played"),
    [
        pytest.param(0, 2, id="nothing runs: one pair"),
        pytest.param(12, 12, id="what runs"),
        pytest.param(4000, 2 * MOST_PAIRS, id="4,000 GPUs: 16 pairs"),
    ],
)
def test_what_is_played_is_bounded(gpus: int, played: int) -> None:
    assert size((FP8, FP8), USUAL, GOALS, gpus).gpus == played


def test_longer_answers_want_more_decode_and_equal_questions_have_equal_answers() -> None:
    short, long = (size((FP8, FP8), Lengths(2000, each), GOALS, 16) for each in (100, 1000))
    assert short.pd_ratio > 5 * long.pd_ratio
    assert size((FP8, FP8), Lengths(2000, 1000), GOALS, 16) == long


@pytest.mark.parametrize(
    ("goals", "field", "said"),
    [
        pytest.param(Slo(1.0, 0.001, 0.99), "tbt_slo_s", "can't keep the TBT goal", id="TBT"),
        pytest.param(Slo(0.01, 0.05, 0.99), "ttft_s", "0% of the prompts", id="no prompt"),
        pytest.param(Slo(0.1, 0.05, 0.99), "ttft_s", "0.1 s is hardly in reach", id="TTFT"),
    ],
)
def test_goals_out_of_reach_are_told_and_nothing_is_proposed(
    goals: Slo, field: str, said: str
) -> None:
    with pytest.raises(QuestionError, match=said) as caught:
        size((FP8, FP8), USUAL, goals, 12)
    assert caught.value.where == field
