"""Who may take part in a backtest, and what a mistake is told."""

from dataclasses import fields

import pytest

from controller.core.types import PolicyConfig
from controller.simulator.backtest.contestants import (
    OURS,
    PARAMETERS,
    POLICY_NAMES,
    Contestant,
    Stage,
    describe,
    enter,
)
from controller.simulator.backtest.plan import plan
from controller.simulator.backtest.question import QuestionError, parse_candidate
from controller.simulator.capacity import default_policy
from controller.simulator.references import REFERENCES
from tests.simulator.backtest.examples import question


@pytest.fixture(scope="module")
def stage() -> Stage:
    return plan(question("default")).stage


def entered(stage: Stage, *texts: str) -> list[Contestant]:
    return enter([parse_candidate(text) for text in texts], stage)


def test_every_name_has_a_sentence_and_takes_part(stage: Stage) -> None:
    assert len(set(POLICY_NAMES)) == len(POLICY_NAMES) == len(OURS) + len(REFERENCES)
    assert all(describe(name).endswith(".") for name in POLICY_NAMES)
    assert [made.key for made in entered(stage, *POLICY_NAMES)] == list(POLICY_NAMES)


def test_default_is_what_a_service_gets_of_which_only_the_goals_are_known(stage: Stage) -> None:
    (made,) = entered(stage, "default")
    assert made.spec.policy == default_policy(stage.capacity)
    assert made.params == {name: getattr(made.spec.policy, name) for name in PARAMETERS}
    assert made.reference is None


def test_parameters_are_read_as_the_policy_has_them(stage: Stage) -> None:
    text = "proportional:driver=prefill_tps_uncached,target=9000,pd_ratio=0.5,step_abs=2"
    (made,) = entered(stage, text)
    policy = made.spec.policy
    assert made.key == text
    assert (policy.driver, policy.target, policy.pd_ratio) == ("prefill_tps_uncached", 9000.0, 0.5)
    assert (policy.step_abs, type(policy.step_abs)) == (2, int)


def test_a_driver_sets_the_target_of_its_own_unit(stage: Stage) -> None:
    made = entered(stage, "default", "default:driver=prefill_tps_uncached")
    targets = [one.spec.policy.target for one in made]
    assert targets == [
        default_policy(stage.capacity, driver).target
        for driver in ("decode_tps", "prefill_tps_uncached")
    ]
    assert targets[0] != targets[1]


def test_a_reference_runs_with_its_defaults_but_for_what_is_said(stage: Stage) -> None:
    (made,) = entered(stage, "hpa-util:target=0.6")
    usual = {name: param.default for name, param in REFERENCES["hpa-util"].params.items()}
    assert made.params == usual | {"target": 0.6}
    assert made.reference is not None


def test_several_policies_run_together_under_one_name(stage: Stage) -> None:
    (made,) = entered(stage, "proportional:name=proportional+latency")
    assert made.spec.policy.name == "proportional+latency"


def test_every_field_of_a_policy_is_a_parameter_or_has_no_use_here() -> None:
    left_out = {f.name for f in fields(PolicyConfig)} - set(PARAMETERS)
    assert left_out == {
        *("version", "proposal_ttl_s", "proposal_ttl_in_s"),
        *("schedule", "time_zone"),
    }


@pytest.mark.parametrize(
    ("texts", "code", "said"),
    [
        pytest.param(
            ["nobody"],
            "unknown_policy",
            f"there is no policy 'nobody': choose from {', '.join(POLICY_NAMES)}",
            id="a policy nobody knows",
        ),
        pytest.param(
            ["default", "hpa-util", "default"],
            "bad_policy",
            "'default' is there twice: leave one out",
            id="a policy twice",
        ),
        pytest.param(
            ["default:speed=2"],
            "bad_policy",
            f"default has no parameter 'speed': it has {', '.join(PARAMETERS)}",
            id="a parameter ours does not have",
        ),
        pytest.param(
            ["default:version=2"],
            "bad_policy",
            "default has no parameter 'version': it has",
            id="a field that is none of its parameters",
        ),
        pytest.param(
            ["static-mean:percentile=95"],
            "bad_policy",
            "static-mean has no parameter 'percentile': it has factor",
            id="a parameter of another reference",
        ),
        pytest.param(
            ["default:target=much"],
            "bad_policy",
            "default:target=much: target is 'much', a number is wanted",
            id="a word for a number",
        ),
        pytest.param(
            ["hpa-util:target=much"],
            "bad_policy",
            "hpa-util:target=much: target is 'much', a number is wanted",
            id="a word for a number of a reference",
        ),
        pytest.param(
            ["default:step_abs=2.5"],
            "bad_policy",
            "default:step_abs=2.5: step_abs is '2.5', a whole number is wanted",
            id="half an instance",
        ),
        pytest.param(
            ["default:target=nan"],
            "bad_policy",
            "default:target=nan: target is nan; give a number from",
            id="NaN",
        ),
        pytest.param(
            ["default:pd_ratio=0"],
            "bad_policy",
            "default:pd_ratio=0: pd_ratio is 0; give a number from 0.001 to 1,000",
            id="no prefill at all",
        ),
        pytest.param(
            ["hpa-util:target=2"],
            "bad_policy",
            "hpa-util:target=2: target is 2: enter a figure from 0.01 to 1",
            id="200 % utilisation",
        ),
        pytest.param(
            ["default:driver=prefill_util"],
            "bad_policy",
            "default:driver=prefill_util: how much prefill_util an instance sustains isn't known:"
            " add target=…",
            id="a driver of unknown capacity",
        ),
        pytest.param(
            ["default:driver=prefill_tps,target=9000"],
            "bad_policy",
            "default:driver=prefill_tps,target=9000: prefill_tps can't drive: the cache hit rate"
            " moves it; use prefill_tps_uncached",
            id="a driver that is not linear",
        ),
    ],
)
def test_who_cant_take_part_is_told_why(
    stage: Stage, texts: list[str], code: str, said: str
) -> None:
    with pytest.raises(QuestionError) as caught:
        entered(stage, *texts)
    error = caught.value
    assert (error.code, error.where) == (code, "policy")
    assert error.message.startswith(said)
