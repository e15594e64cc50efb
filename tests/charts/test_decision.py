"""F9 and F10: one decision explained."""

from __future__ import annotations

import numpy as np

from controller.charts.clock import Clock
from controller.charts.decision_steps import decision_steps
from controller.charts.decision_window import decision_window
from controller.core.types import Instances
from controller.selectors.series import DecisionRecord, DecisionWindow, InputRow, StepRow
from tests.charts.reading import texts, trace_named, validated
from tests.charts.values import NOON_S, a_mark, a_series

UTC = Clock()
RECORD = DecisionRecord(
    mark=a_mark(3, NOON_S + 300),
    name="Chat",
    driver="decode_tps",
    steps=(
        StepRow("policy", Instances(2, 4), Instances(3, 7), "ABOVE_TARGET", "18 % over."),
        StepRow("step", Instances(3, 7), Instances(3, 6), "STEP_LIMITED", "<b>2</b> at most."),
        StepRow("cooldown", Instances(3, 6), Instances(3, 6), "UNCHANGED", ""),
    ),
    inputs=(InputRow("decode_tps", "decode", 4_000.0, "tok/s", 3.0, "ok"),),
)
WINDOW = DecisionWindow(RECORD, a_series(), 60.0)


def test_each_step_stands_between_what_it_got_and_what_it_left() -> None:
    plot = decision_steps(RECORD, UTC)
    base, change = (trace_named(plot, name) for name in ("decode base", "decode"))
    assert change["y"] == ["now", "policy", "largest step", "cooldown", "decided"]
    assert base["x"] == [0, 4, 6, 6, 0]
    assert change["x"] == [4, 3, 1, 0, 6]
    assert change["text"] == ["4", "+3 → 7", "−1 → 6", "6", "6"]
    assert base["marker"]["color"] == "rgba(0,0,0,0)"


def test_the_second_half_of_an_exchange_stands_after_what_is_decided() -> None:
    mark = a_mark(3, NOON_S, current=Instances(10, 2), final=Instances(6, 2), then=Instances(6, 6))
    plot = decision_steps(DecisionRecord(mark, "Chat", "", (), ()), UTC)
    change = trace_named(plot, "decode")
    assert change["y"] == ["now", "decided", "second half"]
    assert change["text"] == ["2", "2", "+4 → 6"]
    assert trace_named(plot, "decode base")["x"] == [0, 0, 2]
    assert "Then prefill 6, decode 6." in plot["summary"]


def test_a_step_that_runs_twice_keeps_its_own_row() -> None:
    twice = DecisionRecord(RECORD.mark, "Chat", "", RECORD.steps[:1] * 2, ())
    assert decision_steps(twice, UTC)["data"][0]["y"][1:3] == ["policy", "policy 2"]


def test_details_cannot_carry_markup() -> None:
    plot = decision_steps(RECORD, UTC)
    assert (
        "STEP_LIMITED: &lt;b&gt;2&lt;/b&gt; at most." in trace_named(plot, "decode")["customdata"]
    )
    assert not [text for text in texts(plot["data"]) if "<b>" in text]


def test_the_evaluation_window_is_shaded_before_the_decision() -> None:
    shade, line = decision_window(WINDOW, UTC)["layout"]["shapes"][:2]
    assert (shade["x0"], shade["x1"]) == ("2026-03-01T12:04:00", "2026-03-01T12:05:00")
    assert line["x0"] == "2026-03-01T12:05:00"


def test_the_driver_comes_first_then_the_latencies() -> None:
    plot = decision_window(WINDOW, UTC)
    assert plot["table"]["columns"] == [
        "time",
        "Decode throughput [tok/s per decode instance]",
        "TTFT p95 [ms]",
        "TBT p95 [ms]",
    ]
    assert plot["layout"]["xaxis"]["range"] == ["2026-03-01T11:50:00", "2026-03-01T12:20:00"]


def test_only_a_fresh_decision_is_still_followed() -> None:
    assert decision_window(WINDOW, UTC)["live"] is True
    old = DecisionWindow(RECORD, a_series(until_s=NOON_S + 1_200), 60.0)
    assert decision_window(old, UTC)["live"] is False
    assert decision_steps(RECORD, UTC)["live"] is False


def test_lost_samples_are_said_to_be_lost() -> None:
    lost = DecisionWindow(RECORD, a_series(0), 60.0)
    assert decision_window(lost, UTC)["empty"].startswith("No samples are kept around 12:05 UTC")


def test_the_sentence_has_the_means_of_the_window() -> None:
    WINDOW.series.signals["ttft_s"][:] = np.nan
    assert decision_window(WINDOW, UTC)["summary"] == (
        "In the 60 s before 12:05 UTC: Decode throughput 1,000 tok/s per decode instance "
        "(target 1,000); TTFT p95 not reported (SLO 1,000); TBT p95 30 ms (SLO 50)."
    )


def test_plotly_knows_every_part() -> None:
    kinds = [
        {trace.type for trace in validated(plot).data}
        for plot in (decision_steps(RECORD, UTC), decision_window(WINDOW, UTC))
    ]
    assert kinds == [{"bar"}, {"scatter"}]
