"""What a form or a row is told about a configuration that can't be used."""

import pytest

from controller.core.config_check import (
    validate_gpus,
    validate_limits,
    validate_policy,
    validate_slo,
    validate_spec,
)
from controller.core.types import SIGNALS, Instances, Limits, Slo
from tests.core.build import SPEC, policy


def test_the_defaults_are_sound() -> None:
    assert validate_spec(SPEC) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("target", float("inf"), "target is inf; give a number from 1e-06 to 1e+12 per instance"),
        (
            "pd_ratio",
            None,
            "pd_ratio is empty; give a number from 0.001 to 1,000 prefill per decode",
        ),
        ("theta_in", 1.0, "theta_in is 1.0; give a number from 0 to 0.99"),
        ("step_abs", 2.5, "step_abs is 2.5; give a whole number from 1 to 100,000 instances"),
        ("step_abs", True, "step_abs is True; give a whole number from 1 to 100,000 instances"),
        ("cooldown_in_s", -1.0, "cooldown_in_s is -1.0; give a number from 0 to 604,800 s"),
        ("name", "magic", "policy 'magic' is unknown; choose from proportional"),
        ("driver", "prefill_tps", "prefill_tps can't drive: the cache hit rate moves it"),
        ("driver", "decode_sm", "decode_sm can't drive: it is high even at light load"),
        ("driver", "ttft_s", "ttft_s can't drive: it does not grow in proportion to the load"),
        ("driver", "", "driver '' is unknown; choose from decode_tps"),
        ("driver", [], "driver [] is unknown; choose from decode_tps"),
    ],
)
def test_a_policy_field_is_named_with_its_fix_c01(field: str, value: object, message: str) -> None:
    problems = validate_policy(policy(**{field: value}).policy)
    assert [problem.field for problem in problems] == [field]
    assert problems[0].message.startswith(message)


@pytest.mark.parametrize("kind", SIGNALS, ids=lambda kind: kind.name)
def test_only_linear_signals_drive(kind: object) -> None:
    name, linear = str(getattr(kind, "name", "")), bool(getattr(kind, "linear", False))
    problems = validate_policy(policy(driver=name, target=0.5).policy)
    assert (not problems) is linear


def test_a_share_has_a_target_of_at_most_one() -> None:
    problems = validate_policy(policy(driver="prefill_util", target=70.0).policy)
    assert problems == [
        ("target", "target is 70; prefill_util is a share, so at most 1"),
    ]


def test_limits_are_compared_with_each_other() -> None:
    upside_down = Limits(Instances(3, 1), Instances(2, 8), 64)
    assert validate_limits(upside_down) == [
        ("minimum.prefill", "minimum 3 prefill is above the maximum 2; lower it or raise that"),
    ]


def test_the_budget_holds_the_floor() -> None:
    tight = Limits(Instances(2, 4), Instances(8, 8), 19)
    assert validate_limits(tight) == []
    assert validate_limits(tight, Instances(2, 4)) == [
        ("max_gpus", "the minimum needs 20 GPUs and max_gpus is 19; give at least 20"),
    ]


def test_a_floor_of_zero_could_never_be_left() -> None:
    problems = validate_limits(Limits(Instances(0, 1), Instances(2, 8), 64))
    assert [problem.field for problem in problems] == ["minimum.prefill"]


def test_slo_and_gpus() -> None:
    assert [problem.field for problem in validate_slo(Slo(0.0, -1.0, 2.0))] == [
        "ttft_s",
        "tbt_s",
        "goal_frac",
    ]
    assert [p.field for p in validate_gpus(Instances(0, 1))] == ["gpus_per_instance.prefill"]
