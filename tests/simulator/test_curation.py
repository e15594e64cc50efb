"""What curation finds: ratios from first principles, the tent over splits, who is chosen."""

from dataclasses import replace
from pathlib import Path

import pytest

from controller.core.types import Instances, Slo
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.curation import (
    MOST_SPLITS,
    Curation,
    CurationQuestion,
    as_curation,
    choose,
    curate,
    listed,
    splits,
)
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Workload, companion_name, read_trace
from tests.simulator.backtest.examples import STEADY

AZURE = "azure_llm_2023_conv.csv.gz"
MOONCAKE = "mooncake_fast25_conversation.csv.gz"
REASONING = "servegen_deepseek-r1_10min.csv.gz"
FP8 = "qwen3-32b-fp8"


def recording(shared: Path, name: str) -> Workload:
    folder = shared / "data" / "traces"
    companion = companion_name(name)
    quantiles = (folder / companion).read_bytes() if companion else None
    return read_trace((folder / name).read_bytes(), name, 1.0, quantiles=quantiles)


def curated(load: Workload, engines: tuple[str, str], tbt_s: float = 0.05) -> Curation:
    """Curate five minutes of a load for 24 GPUs."""
    asked = Question(
        workload=load,
        prefill=PROFILES[engines[0]],
        decode=PROFILES[engines[1]],
        slo=Slo(1.0, tbt_s),
        candidates=[],
        span_s=300.0,
        fidelity="fluid",
    )
    return curate(CurationQuestion(asked, gpus=24), clock=lambda: 0.0, progress=lambda _: None)


@pytest.mark.parametrize(
    ("trace", "engines", "tbt_s", "ratio"),
    [
        pytest.param(AZURE, (f"{FP8}/h100", f"{FP8}/h100"), 0.05, 2.5, id="H100 + H100"),
        pytest.param(AZURE, (f"{FP8}/h100", f"{FP8}/h200"), 0.05, 4.2, id="H100 + H200"),
        pytest.param(AZURE, ("qwen3-8b/l40s", "qwen3-8b/l40s"), 0.03, 0.7, id="L40S, 30 ms"),
        pytest.param(AZURE, ("qwen3-8b/l40s", "qwen3-8b/l40s"), 0.05, 1.2, id="L40S, 50 ms"),
        pytest.param(AZURE, ("qwen3-8b/h100", "qwen3-8b/a100"), 0.05, 1.1, id="H100 + A100"),
        pytest.param(MOONCAKE, (f"{FP8}/h100", f"{FP8}/h100"), 0.05, 1.6, id="Mooncake, H100"),
        pytest.param(MOONCAKE, (f"{FP8}/h100", f"{FP8}/h200"), 0.05, 3.3, id="Mooncake, H200"),
        pytest.param(REASONING, (f"{FP8}/h100", f"{FP8}/h100"), 0.05, 0.23, id="reasoning, H100"),
        pytest.param(REASONING, (f"{FP8}/h100", f"{FP8}/h200"), 0.05, 0.44, id="reasoning, H200"),
    ],
)
def test_the_ratio_is_that_of_first_principles(
    shared: Path, trace: str, engines: tuple[str, str], tbt_s: float, ratio: float
) -> None:
    """Worked out by hand: 0.8 of the time for prefill, the largest batch in goal and memory."""
    found = curated(recording(shared, trace), engines, tbt_s)
    assert found.capacity.pd_ratio == pytest.approx(ratio, rel=0.2)


def test_the_sweep_is_a_tent_with_its_top_at_the_ratio(shared: Path) -> None:
    """24 H100 under Azure conversation: by hand 18, 73, 110, 146, 132 and 44 requests/s."""
    found = curated(recording(shared, AZURE), (f"{FP8}/h100", f"{FP8}/h100"))
    goodput = {split.instances.prefill: split.goodput_rps for split in found.sweep}
    for prefill, by_hand in {2: 18, 8: 73, 12: 110, 16: 146, 18: 132, 22: 44}.items():
        assert goodput[prefill] == pytest.approx(by_hand, rel=0.1)
    top = found.best.instances.prefill
    rising, falling = range(1, top), range(top, 23)
    assert all(goodput[p] < goodput[p + 1] for p in rising)
    assert all(goodput[p] > goodput[p + 1] for p in falling)
    assert found.best.instances.pd_ratio == pytest.approx(found.capacity.pd_ratio, rel=0.2)


def test_the_cheapest_that_keeps_the_goal_is_chosen() -> None:
    found = curated(STEADY, (f"{FP8}/h100", f"{FP8}/h100"))
    keeping = [one for one in found.answer.runs if (one.score.slo_attainment or 0.0) >= 0.99]
    assert found.chosen.score.gpu_hours == min(one.score.gpu_hours for one in keeping)
    document = as_curation(found)
    assert {"pd_ratio", "sweep", "targets", "chosen", "runs"} <= set(document)


@pytest.mark.parametrize(
    ("kept", "goal_frac", "says"),
    [
        pytest.param(0.9991, 0.999, "that keep 99.9% of requests", id="a goal of three digits"),
        pytest.param(0.98999, 0.99, "keeps most, 98.99%", id="0.98999 misses 0.99"),
        pytest.param(None, 0.99, "no request came", id="nothing known"),
    ],
)
def test_the_choice_says_the_goal_and_what_is_kept_as_they_are(
    kept: float | None, goal_frac: float, says: str
) -> None:
    one = curated(STEADY, (f"{FP8}/h100", f"{FP8}/h100")).answer.runs[0]
    _, why = choose([replace(one, score=replace(one.score, slo_attainment=kept))], goal_frac)
    assert says in why


def test_no_pair_fits_one_gpu() -> None:
    capacity = curated(STEADY, (f"{FP8}/h100", f"{FP8}/h100")).capacity
    with pytest.raises(QuestionError, match="1 GPUs hold no pair"):
        splits(1, Instances(1, 1), capacity)


def test_of_many_splits_some_are_listed_and_all_around_the_top() -> None:
    capacity = curated(STEADY, (f"{FP8}/h100", f"{FP8}/h100")).capacity
    every = splits(1000, Instances(1, 1), capacity)
    best = max(every, key=lambda split: split.goodput_rps)
    shown = listed(every, best)
    assert len(every) == 999
    assert len(shown) <= MOST_SPLITS + 10
    top = every.index(best)
    assert set(map(id, every[top - 4 : top + 5])) <= set(map(id, shown))
