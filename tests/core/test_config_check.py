"""What a form or a row is told about a configuration that can't be used."""

from dataclasses import fields as dataclass_fields
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.config_check import (
    validate_gpus,
    validate_limits,
    validate_policy,
    validate_slo,
    validate_spec,
)
from controller.core.policies import recommend
from controller.core.reasons import Code
from controller.core.schedule import schedule_plain
from controller.core.types import SIGNALS, Instances, Limits, Period, PolicyConfig, Slo
from tests.core.build import SPEC, context, policy


def test_the_defaults_are_sound() -> None:
    assert validate_spec(SPEC) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "target",
            float("inf"),
            "target is inf; give a number from 0.000001 to 1,000,000,000,000",
        ),
        (
            "pd_ratio",
            None,
            "pd_ratio is empty; give a number from 0.001 to 1,000 prefill per decode",
        ),
        ("theta_in", 1.0, "theta_in is 1; give a number from 0 to 0.99"),
        ("step_abs", 2.5, "step_abs is 2.5; give a whole number from 1 to 100,000 instances"),
        ("step_abs", True, "step_abs is True; give a whole number from 1 to 100,000 instances"),
        ("cooldown_in_s", -1.0, "cooldown_in_s is -1; give a number from 0 to 604,800 s"),
        (
            "name",
            "magic",
            "policy 'magic' is unknown; choose from latency, periodic, proportional, or join",
        ),
        ("name", None, "policy empty is unknown; choose from latency"),
        ("name", "latency+magic", "policy 'magic' is unknown; choose from latency"),
        ("name", "proportional+", "'proportional+' has an empty part; choose from latency"),
        ("name", "latency+ +proportional", "'latency+ +proportional' has an empty part; choose"),
        ("name", "latency + latency", "policy latency is named 2 times; once will do"),
        ("driver", "prefill_tps", "prefill_tps can't drive: the cache hit rate moves it"),
        ("driver", "decode_sm", "decode_sm can't drive: it is high even at light load"),
        ("driver", "ttft_s", "ttft_s can't drive: it does not grow in proportion to the load"),
        ("driver", "", "driver '' is unknown; choose from decode_tps"),
        ("driver", [], "driver [] is unknown; choose from decode_tps"),
        ("step_out_frac", 10.1, "step_out_frac is 10.1; give a number from 0 to 10"),
        ("damp_frac", 0.0, "damp_frac is 0; give a number from 0.01 to 1"),
        ("ratio_band", 0.5, "ratio_band is 0.5; give a number from 1 to 100 times the ratio"),
        ("hold_s", 86_401.0, "hold_s is 86,401; give a number from 0 to 86,400 s"),
        ("lead_s", 3601.0, "lead_s is 3,601; give a number from 0 to 3,600 s, or leave it empty"),
        ("lead_s", "soon", "lead_s is 'soon'; give a number from 0 to 3,600 s, or leave it empty"),
        (
            "margin_frac",
            -0.1,
            "margin_frac is -0.1; give a number from 0 to 10, or leave it empty",
        ),
        ("drain_s", None, "drain_s is empty; give a number from 0 to 3,600 s"),
        ("slo_margin_frac", 0.91, "slo_margin_frac is 0.91; give a number from 0 to 0.9"),
        ("latency_severe", 101.0, "latency_severe is 101; give a number from 1 to 100 times"),
        ("latency_severe", 1.1, "latency_severe 1.1 is not above latency_moderate 1.1; raise it"),
        ("latency_moderate", 1.0, "latency_moderate is 1; give a number above 1"),
        ("latency_moderate", 0.9, "latency_moderate is 0.9; give a number from 1 to 100 times"),
        (
            "latency_idle",
            0.0,
            "latency_idle is 0; give a number between 0 and 1, neither included",
        ),
        (
            "latency_idle",
            1.0,
            "latency_idle is 1; give a number between 0 and 1, neither included",
        ),
        ("latency_idle", 1.5, "latency_idle is 1.5; give a number from 0 to 1 times the goal"),
        ("force_driver", "yes", "force_driver is 'yes'; give true or false"),
        ("adapt", "maybe", "adapt is 'maybe'; choose from off, propose, automatic"),
        ("adapt", [], "adapt is []; choose from off, propose, automatic"),
        ("time_zone", "Mars/Olympus", "time zone 'Mars/Olympus' is unknown; give a zone such as"),
        ("time_zone", "Europe", "time zone 'Europe' is unknown; give a zone such as"),
        ("time_zone", "../etc/passwd", "time zone '../etc/passwd' is unknown; give a zone"),
        ("time_zone", "", "time zone '' is unknown; give a zone such as Europe/Berlin or UTC"),
        ("time_zone", None, "time zone empty is unknown; give a zone such as Europe/Berlin"),
        ("time_zone", "UTC\0", "time zone 'UTC\\x00' is unknown; give a zone such as"),
        ("schedule", None, "schedule is empty; give a list of windows"),
        ("schedule", "daily", "schedule is 'daily'; give a list of windows"),
    ],
)
def test_a_policy_field_is_named_with_its_fix_c01(field: str, value: object, message: str) -> None:
    problems = validate_policy(policy(**{field: value}).policy)
    assert [problem.field for problem in problems] == [field]
    assert problems[0].message.startswith(message)


DAY = Period("day", "08:00", "20:00", Instances(4, 8))
PLAIN = schedule_plain([DAY])[0]
MEANT = "add periodic to the policies or leave the schedule empty"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"name": " "}, "name is ' '; give a name of at most 60", id="no name"),
        pytest.param({"name": "d\n"}, None, id="space around a name is nothing"),
        pytest.param({"name": "a\nb"}, "name is 'a\\nb'; give a name of at", id="a name of lines"),
        pytest.param({"name": "d" * 61}, "name is 'dddd", id="a name of 61 characters"),
        pytest.param({"begin": "8:00"}, "begin is '8:00'; give a time from 00:00", id="8:00"),
        pytest.param({"begin": "24:00"}, "begin is '24:00'; give a time from 00:00", id="24:00"),
        pytest.param({"begin": "0\u0668:00"}, "begin is '0\u0668:00'; give a time", id="a digit"),
        pytest.param(
            {"end": "08:60"}, "end is '08:60'; give a time from 00:00 to 23:59", id=":60"
        ),
        pytest.param({"end": 8}, "end is 8; give a time from 00:00 to 23:59", id="end 8"),
        pytest.param({"end": "08:00"}, None, id="a whole day"),
        pytest.param(
            {"counts": Instances(0, 8)},
            "prefill is 0; give a whole number from 1 to 100,000 instances",
            id="0 prefill",
        ),
        pytest.param({"counts": Instances(1, 100_001)}, "decode is 100001; give a", id="100001"),
        pytest.param({"kind": "most"}, "kind is 'most'; choose from floor, target", id="kind"),
        pytest.param({"kind": "target"}, None, id="a kind as its text"),
        pytest.param({"days": (7,)}, "days is (7,); give days from 0 for Monday", id="day 7"),
        pytest.param({"days": (True,)}, "days is (True,); give days from 0", id="day true"),
        pytest.param({"days": "Mon"}, "days is 'Mon'; give days from 0 for Monday", id="day Mon"),
        pytest.param({"days": None, "dates": ("2026-12-24",)}, "days is empty; give", id="days"),
        pytest.param({"days": (), "dates": ("2026-12-24",)}, None, id="dates alone"),
        pytest.param(
            {"dates": ("2027-02-29",)},
            "dates is ('2027-02-29',); give dates such as",
            id="no leap",
        ),
        pytest.param({"dates": ("2028-02-29",)}, None, id="29 February 2028"),
        pytest.param({"dates": ("20281224",)}, "dates is ('20281224',); give", id="no hyphens"),
        pytest.param({"dates": ("9999-12-31",)}, "dates is ('9999-12-31',)", id="the last day"),
        pytest.param({"except_dates": (5,)}, "except_dates is (5,); give dates", id="exception 5"),
    ],
)
def test_a_window_is_named_with_its_fix_c01(fields: dict[str, Any], message: str | None) -> None:
    config = policy(name="periodic", schedule=(DAY, DAY, replace(DAY, **fields))).policy
    found = [problem.message for problem in validate_policy(config)]
    if message is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"schedule[2].{message}")


@pytest.mark.parametrize(
    ("name", "schedule", "problem"),
    [
        pytest.param(
            "proportional+periodic",
            (),
            ("schedule", "policy periodic has no window; add one"),
            id="no window",
        ),
        pytest.param(
            "proportional",
            (DAY, DAY),
            (
                "schedule",
                f"schedule has 2 windows that no policy reads; {MEANT}",
            ),
            id="not named",
        ),
        pytest.param(
            "periodic",
            (replace(DAY, days=()),),
            ("schedule[0].days", "schedule[0] begins on no day; give days or dates"),
            id="no day",
        ),
        pytest.param(
            "periodic", (DAY, 7), ("schedule[1]", "schedule[1] is 7; give a window"), id="a number"
        ),
        pytest.param(
            "periodic",
            ({**PLAIN, "begin": ""},),
            ("schedule[0].begin", "schedule[0].begin is ''; give a time from 00:00 to 23:59"),
            id="a plain window names its own fault first",
        ),
    ],
)
def test_a_schedule_and_its_policy_go_together(
    name: str, schedule: Any, problem: tuple[str, str]
) -> None:
    assert validate_policy(policy(name=name, schedule=schedule).policy) == [problem]


def test_counts_that_are_none_are_named_by_role() -> None:
    broken: Any = replace(DAY, counts=(4, 8))  # type: ignore[arg-type]
    found = validate_policy(policy(name="periodic", schedule=(broken,)).policy)
    assert [problem.field for problem in found] == ["schedule[0].prefill", "schedule[0].decode"]


def test_a_plain_window_is_none_yet() -> None:
    found = validate_policy(policy(name="periodic", schedule=(PLAIN,)).policy)
    assert [problem.field for problem in found] == ["schedule[0]"]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"name": "proportional + latency"}, id="space around the sign"),
        pytest.param({"name": "proportional+latency+periodic", "schedule": (DAY,)}, id="all"),
        pytest.param({"name": "periodic", "schedule": [DAY]}, id="a list of windows"),
        pytest.param({"lead_s": 90.0, "margin_frac": 0.2}, id="what may be measured is given"),
        pytest.param({"lead_s": None, "margin_frac": None}, id="and is measured"),
        pytest.param({"adapt": "automatic"}, id="adapt as its text"),
        pytest.param({"time_zone": "Asia/Kathmandu"}, id="a zone of 45 minutes"),
        pytest.param({"step_out_frac": 0.0, "damp_frac": 0.01, "hold_s": 0}, id="the least"),
        pytest.param({"latency_severe": 1.2, "latency_moderate": 1.1}, id="severe over moderate"),
    ],
)
def test_what_is_usable_is_not_refused(fields: dict[str, Any]) -> None:
    assert validate_policy(policy(**fields).policy) == []


@pytest.mark.parametrize("driver", ["decode_util", "decode_sm"])
def test_force_driver_lifts_the_refusal_of_decodes_shares(driver: str) -> None:
    assert validate_policy(policy(driver=driver, target=0.8, force_driver=True).policy) == []
    over = validate_policy(policy(driver=driver, target=80.0, force_driver=True).policy)
    assert over == [("target", f"target is 80; {driver} is a share, so at most 1")]
    refused = validate_policy(policy(driver=driver, target=0.8).policy)
    assert [problem.field for problem in refused] == ["driver"]
    assert refused[0].message.endswith("or set force_driver")


@pytest.mark.parametrize("driver", ["prefill_tps", "ttft_s", "request_rps", "prefill_waiting"])
def test_force_driver_lifts_no_other_refusal(driver: str) -> None:
    found = validate_policy(policy(driver=driver, force_driver=True).policy)
    assert [problem.field for problem in found] == ["driver"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
FIELDS = sorted(field.name for field in dataclass_fields(PolicyConfig))
PERIOD_FIELDS = sorted(field.name for field in dataclass_fields(Period))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=4))
def test_whatever_a_row_holds_is_judged_and_never_raises(fields: dict[str, Any]) -> None:
    found = validate_policy(policy(**fields).policy)
    assert all(problem.field and problem.message for problem in found)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(PERIOD_FIELDS), ANYTHING, min_size=1, max_size=3))
def test_whatever_a_window_holds_is_judged_or_usable(fields: dict[str, Any]) -> None:
    spec = policy(name="periodic", schedule=(replace(DAY, **fields),))
    problems = validate_policy(spec.policy)
    assert all(problem.field.startswith("schedule[0]") for problem in problems)
    if not problems:
        found = recommend(context(Instances(2, 4), 0.0, spec=spec, signals={}))
        assert found.reason.code is Code.SCHEDULED


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
