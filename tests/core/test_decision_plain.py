"""A decision's values as JSON: nothing is lost on the way, and what can't be used is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from controller.core.decide import decide
from controller.core.decision_plain import (
    DocumentError,
    context_from,
    document_of,
    record_of,
)
from controller.core.types import Context, Instances, Mode, Quality
from tests.core.build import NOW_S, context
from tests.core.strategies import contexts


def document(**signal: object) -> dict[str, Any]:
    """Return a small document with decode throughput as given."""
    return {
        "now_s": NOW_S,
        "service": {
            "slo": {"ttft_s": 1.0, "tbt_s": 0.05},
            "policy": {"target": 1000.0, "pd_ratio": 0.5},
        },
        "state": {"ready": {"prefill": 2, "decode": 4}},
        "signals": {"decode_tps": {"value": 4000.0, **signal}},
    }


@given(contexts())
def test_a_context_that_went_through_json_gives_the_same_decision(ctx: Context) -> None:
    there = json.dumps(document_of(ctx), allow_nan=False)
    assert record_of(decide(context_from(json.loads(there))), ctx.hold) == record_of(
        decide(ctx), ctx.hold
    )


def test_goals_counts_and_sizing_are_enough() -> None:
    ctx = context_from(document())
    assert ctx.state.desired == Instances(2, 4)
    assert ctx.signals["decode_tps"].reporting == 4
    assert ctx.hold is None


def with_engine(prefill_s: list[float], step_s: list[float]) -> dict[str, Any]:
    """Return a document of a service with an engine of these times [s]."""
    plain, memory = document(), {"kv_capacity_tokens": 1e6}
    plain["service"]["engine"] = {"prefill_s": prefill_s, "step_s": step_s} | memory
    return plain


@pytest.mark.parametrize(
    "step_s",
    [
        pytest.param([0.02, 0.0, 0.0, 0.03], id="only experts lengthen a step"),
        pytest.param([0.05, 0.0, 3e-7, 0.0], id="only context does"),
    ],
)
def test_an_engine_of_which_some_time_is_0_can_be_given(step_s: list[float]) -> None:
    found = context_from(with_engine([0.04, 5e-5, 3e-9], step_s)).spec.engine
    assert found is not None
    assert found.step_s == tuple(step_s)


@pytest.mark.parametrize(
    ("prefill_s", "step_s", "where"),
    [
        pytest.param([0.04, 5e-5, 0.0], [0.02, 0.0, 0.0, 0.0], "step_s", id="no step grows"),
        pytest.param([0.04, 0.0, 3e-9], [0.02, 1e-4, 0.0, 0.0], "prefill_s", id="free prompt"),
    ],
)
def test_an_engine_that_does_any_work_in_the_same_time_is_refused(
    prefill_s: list[float], step_s: list[float], where: str
) -> None:
    with pytest.raises(DocumentError) as fault:
        context_from(with_engine(prefill_s, step_s))
    assert fault.value.where == f"service.engine.{where}"


@pytest.mark.parametrize(
    ("signal", "quality"),
    [
        pytest.param({}, Quality.OK, id="4 of the 4 ready, now"),
        pytest.param(
            {"measured_at_s": NOW_S - 45.0}, Quality.OK, id="45 s old: as old as allowed"
        ),
        pytest.param({"measured_at_s": NOW_S - 46.0}, Quality.STALE, id="46 s old: over 45"),
        pytest.param({"reporting": 3}, Quality.PARTIAL, id="3 of 4 is 75 %, below 90 %"),
        pytest.param({"value": None}, Quality.MISSING, id="no value"),
        pytest.param({"reporting": 0}, Quality.MISSING, id="a value, but 0 of 4 report it"),
        pytest.param({"value": 1e16}, Quality.INVALID, id="above 1e15"),
        pytest.param({"value": "NaN"}, Quality.INVALID, id="NaN is not 0"),
        pytest.param({"value": "-inf"}, Quality.INVALID, id="minus infinity"),
        pytest.param({"value": -1.0}, Quality.INVALID, id="below 0"),
        pytest.param({"measured_at_s": NOW_S + 6.0}, Quality.INVALID, id="6 s ahead: over 5"),
    ],
)
def test_quality_follows_from_value_age_and_coverage(
    signal: dict[str, object], quality: Quality
) -> None:
    found = context_from(document(**signal)).signals["decode_tps"]
    assert found.quality is quality
    assert (found.value is None) == (quality in (Quality.MISSING, Quality.INVALID))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"now_s": None}, "now_s", id="no time"),
        pytest.param({"now": 1.0}, "now", id="an unknown field"),
        pytest.param({"service": []}, "service", id="a list for an object"),
        pytest.param(
            {"service": {"slo": {"ttft_s": 1, "tbt_s": 1}}},
            "service.policy.target",
            id="no target",
        ),
        pytest.param({"service": {"policy": {}}}, "service.slo.ttft_s", id="no goals"),
        pytest.param({"state": {}}, "state.ready", id="no counts"),
        pytest.param(
            {"state": {"ready": {"prefill": 2, "decode": True}}}, "state.ready.decode", id="true"
        ),
        pytest.param(
            {"signals": {"decode_tps": {"value": "many"}}}, "signals.decode_tps.value", id="a word"
        ),
        pytest.param({"signals": {"qps": {}}}, "signals.qps", id="an unknown signal"),
        pytest.param({"history": [{"at_s": 1.0}]}, "history[0].prefill", id="half a wish"),
        pytest.param({"overrides": [{"kind": "hover"}]}, "overrides[0].kind", id="no kind"),
        pytest.param(
            {"overrides": [{"kind": "pin", "values": {"prefill": 2}}]},
            "overrides[0].values.decode",
            id="a pin of one role",
        ),
        pytest.param(
            {"overrides": [{"kind": "out_only", "by": "ana", "reason": "x"}]},
            "overrides[0].until_s",
            id="without an end",
        ),
        pytest.param(
            {"overrides": [{"kind": "freeze", "reason": "x"}]}, "overrides[0].by", id="nobody's"
        ),
        pytest.param(
            {"overrides": [{"kind": "freeze", "by": "ana", "reason": " "}]},
            "overrides[0].reason",
            id="a freeze without a reason",
        ),
        pytest.param(
            {"signals": {"decode_tps": {"value": 1.0, "reporting": 9, "expected": 4}}},
            "signals.decode_tps.reporting",
            id="9 of 4 report",
        ),
        pytest.param({"usual_start_s": {"a": -1}}, "usual_start_s.a", id="a start of -1 s"),
        pytest.param({"outlook": {"x": 1}}, "outlook.x", id="nothing an outlook has"),
        pytest.param({"outlook": {"decode": {"x": 1}}}, "outlook.decode.x", id="nor a role of it"),
        pytest.param({"outlook": {"rps": "many"}}, "outlook.rps", id="a rate that is none"),
        pytest.param({"outlook": {"decode": {"outran": [1]}}}, "outlook.decode", id="1 bin of 17"),
        pytest.param(
            {"history": [{"at_s": NOW_S + 1.0, "prefill": 1, "decode": 1}]},
            "history[0].at_s",
            id="a wish of the future",
        ),
        pytest.param(
            {"history": [{"at_s": NOW_S - 9.0, "since_s": NOW_S, "prefill": 1, "decode": 1}]},
            "history[0].since_s",
            id="a wish that began after it ended",
        ),
        pytest.param(
            {"state": {"ready": {"prefill": 2, "decode": 4}, "last_scale_in_s": NOW_S + 1.0}},
            "state.last_scale_in_s",
            id="a change of the future",
        ),
    ],
)
def test_a_value_that_cant_be_used_is_named(change: dict[str, object], where: str) -> None:
    with pytest.raises(DocumentError) as fault:
        context_from(document() | change)
    assert fault.value.where == where


def test_a_pin_of_a_document_rules_and_is_told() -> None:
    pin = {"kind": "pin", "values": {"prefill": 2, "decode": 6}, "until_s": NOW_S + 60.0}
    ctx = context_from(document() | {"overrides": [pin | {"by": "ana", "reason": "x"}]})
    again = context_from(json.loads(json.dumps(document_of(ctx))))
    assert again.spec.overrides == ctx.spec.overrides
    record = record_of(decide(ctx), ctx.hold, ctx.spec.overrides)
    assert (record["final"], record["overrides"][0]["binding"]) == (pin["values"], True)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_document_keeps_the_mode_that_advisory_takes_the_place_of(mode: Mode) -> None:
    advisory = {"kind": "advisory", "until_s": NOW_S + 60.0, "by": "ana", "reason": "x"}
    plain = document() | {"overrides": [advisory]}
    plain["service"]["mode"] = mode.value
    ctx = context_from(plain)
    again = context_from(json.loads(json.dumps(document_of(ctx))))
    set_before = None if mode is Mode.OBSERVE else mode
    assert (again.spec.mode, again.spec.mode_set) == (Mode.OBSERVE, set_before)


@pytest.mark.parametrize(
    ("until_s", "held"),
    [
        pytest.param(None, ["ana"], id="until resumed"),
        pytest.param(NOW_S + 1.0, ["ana"], id="1 s left"),
        pytest.param(NOW_S, [], id="just over"),
    ],
)
def test_a_freeze_holds_until_its_end(until_s: float | None, held: list[str]) -> None:
    freeze = {"kind": "freeze", "by": "ana", "reason": "incident", "until_s": until_s}
    hold = context_from(document() | {"overrides": [freeze]}).hold
    assert [each.by for each in (hold,) if each] == held


def test_the_record_has_the_steps_of_the_decision() -> None:
    decision = decide(context(Instances(2, 4), 8000.0))
    record = record_of(decision)
    assert [step["name"] for step in record["steps"]] == [step.name for step in decision.steps]
    assert record["final"] == decision.final._asdict()
    assert record["action"] == decision.move
