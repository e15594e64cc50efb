"""What is fixed before the clock runs: limits, shares, first counts, nodes, refusals."""

from dataclasses import replace
from itertools import product
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.types import Instances, Limits, Slo
from controller.simulator.backtest.plan import MOST_CONTESTANTS, plan
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.capacity import demand_of, per_instance_capacity
from controller.simulator.profiles import Profile
from tests.simulator.backtest.examples import H100, STEADY, minutes, question

H100X4 = replace(H100, tp=4)


def test_without_a_limit_there_is_room_for_three_times_the_peak_and_two_pairs() -> None:
    made = plan(question("default"))
    capacity = per_instance_capacity(H100, H100, demand_of(STEADY), tbt_goal_s=0.05)
    peak = ceil(20 / capacity.prefill_rps) + ceil(20 / capacity.decode_rps)
    most = 3 * peak + 2 * 2
    assert made.stage.capacity == capacity
    assert made.stage.limits == Limits(Instances(1, 1), Instances(most - 1, most - 1), most)
    assert made.initial == Instances(
        ceil(1.25 * 20 / capacity.prefill_rps), ceil(1.25 * 20 / capacity.decode_rps)
    )


def test_a_role_may_have_all_gpus_but_one_instance_of_the_other() -> None:
    made = plan(question("default", decode=H100X4, max_gpus=14))
    # 14 - 4 = 10 prefill of one GPU; (14 - 1) // 4 = 3 decode of four.
    assert made.stage.limits == Limits(Instances(1, 1), Instances(10, 3), 14)


def test_references_share_the_gpus_as_the_peaks_need_them() -> None:
    load = replace(STEADY, low_rps=100.0, peak_rps=100.0)
    made = plan(question("static-peak", workload=load, max_gpus=20))
    # 100 requests/s need 100 / 10.45 = 9.6 prefill and 100 / 13.9 = 7.2 decode: 10 and 8 whole
    # ones. Decode has 20 * 8 / 18 = 8.9 GPUs, prefill what is left of 20.
    assert made.stage.briefing.limits.maximum == Instances(12, 8)


def test_first_counts_beyond_the_gpus_keep_their_proportion() -> None:
    load = replace(STEADY, low_rps=100.0, peak_rps=100.0)
    made = plan(question("default", workload=load, max_gpus=14))
    # 1.25 of 9.6 and 7.2 are 12 and 9 whole ones: 14 * 9 / 21 = 6 decode.
    assert made.initial == Instances(8, 6)


@settings(max_examples=60, deadline=None)
@given(
    engines=st.sampled_from(list(product((H100, H100X4), repeat=2))),
    rps=st.floats(0.1, 300.0),
    output_tokens=st.floats(5.0, 3000.0),
    spare=st.integers(0, 60),
)
def test_nobody_begins_with_or_is_given_more_gpus_than_there_are(
    engines: tuple[Profile, Profile], rps: float, output_tokens: float, spare: int
) -> None:
    prefill, decode = engines
    load = replace(STEADY, low_rps=rps, peak_rps=rps, output_tokens=output_tokens)
    most = prefill.tp + decode.tp + spare
    asked = question(
        "default", workload=load, prefill=prefill, decode=decode, max_gpus=most, span_s=600.0
    )
    made = plan(asked)
    for counts in (made.initial, made.stage.briefing.limits.maximum):
        assert min(counts) >= 1
        assert counts.gpus(Instances(prefill.tp, decode.tp)) <= most


def test_each_contestant_has_a_cluster_of_its_own_with_all_gpus() -> None:
    made = plan(question("default", "hpa-util", max_gpus=19))
    nodes = made.nodes()
    assert {node.cluster for node in nodes} == {"default", "hpa-util"}
    assert [node.gpus for node in nodes] == [8, 8, 3, 8, 8, 3]
    assert len({node.name for node in nodes}) == 6
    assert {service.stream for service in made.services()} == {"load"}


def test_two_types_of_hardware_have_all_gpus_each() -> None:
    other = replace(H100, hardware="h200")
    nodes = plan(question("default", decode=other, max_gpus=8)).nodes()
    assert sorted((node.hardware, node.gpus) for node in nodes) == [("h100", 8), ("h200", 8)]


@pytest.mark.parametrize(
    ("asked", "code", "where", "said"),
    [
        pytest.param(
            question(),
            "bad_policy",
            "policy",
            "no policy to compare: name at least one",
            id="none",
        ),
        pytest.param(
            question(*(f"default:target={at + 1}" for at in range(MOST_CONTESTANTS + 1))),
            "too_many",
            "policy",
            "13 policies at once: at most 12",
            id="12 + 1 policies",
        ),
        pytest.param(
            question("default", max_gpus=1),
            "too_few_gpus",
            "max_gpus",
            "1 GPUs hold no pair: one of each role needs 2",
            id="1 GPU for 1 + 1",
        ),
        pytest.param(
            question("default", decode=H100X4, max_gpus=4),
            "too_few_gpus",
            "max_gpus",
            "4 GPUs hold no pair: one of each role needs 5",
            id="4 GPUs for 1 + 4",
        ),
        pytest.param(
            question("default", workload=minutes(1, float("nan"), 1), start_s=60.0, span_s=60.0),
            "unknown_load",
            "hours",
            "the load is unknown in the whole span: choose another one",
            id="the hole of a load",
        ),
        pytest.param(
            question("default", "hpa-util", fidelity="exact", span_s=260_000.0),
            "too_large",
            "fidelity",
            "2 policies with 5,200,800 requests, played one by one: at most 10,000,000 in all."
            " Take fewer hours or policies, or the fluid",
            id="exact: 2 x 20/s x 4,334 min x 60 s",
        ),
        pytest.param(
            question("default", "hpa-util", max_gpus=100_001),
            "too_large",
            "max_gpus",
            "2 policies with up to 100,001 GPUs each: at most 200,000 in all.",
            id="2 x 100,001 GPUs",
        ),
        pytest.param(
            question("default", slo=Slo(1.0, 0.001)),
            "too_slow",
            "tbt_slo_s",
            "qwen3-32b-fp8/h100 can't keep the TBT goal: one sequence of 1300 tokens takes",
            id="1 ms a token",
        ),
    ],
)
def test_what_cant_be_played_names_the_field_and_the_fix(
    asked: Question, code: str, where: str, said: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        plan(asked)
    error = caught.value
    assert (error.code, error.where) == (code, where)
    assert error.message.startswith(said)


def test_by_itself_too_many_long_prompts_are_played_as_a_fluid() -> None:
    """2 x 20/s x 260,000 s are 10.4 million prompts of 20,000 tokens: over the limit."""
    long = minutes(20, tokens=(20_000.0, 300.0))
    many = plan(question("default", "hpa-util", workload=long, span_s=260_000.0)).fidelity
    assert (many.wanted, "too many requests" in many.rule) == ("fluid", True)
    few = plan(question("default", "hpa-util", workload=long, span_s=3600.0)).fidelity
    assert few.wanted == "exact"


def test_the_fluid_plays_any_number_of_requests() -> None:
    made = plan(question("default", fidelity="fluid", span_s=260_000.0))
    assert made.contestants[0].key == "default"
