"""F16 and F17: decisions by the hour, and who turns back."""

from __future__ import annotations

import numpy as np

from controller.charts.clock import Clock
from controller.charts.decision_counts import decision_counts
from controller.charts.reversals import MOST, reversals
from controller.selectors.decision_counts import DecisionCounts, Reversals, Turns
from tests.charts.reading import trace_named, validated
from tests.charts.values import NOON_S

UTC = Clock()
COUNTED = DecisionCounts(
    since_s=NOON_S - 7_200,
    until_s=NOON_S,
    hours_s=np.array([NOON_S - 7_200, NOON_S - 3_600]),
    counts={
        "hold": np.array([238, 239]),
        "scale_out": np.array([2, 0]),
        "failed": np.array([0, 1]),
    },
    is_narrow=False,
)
TURNING = Reversals(
    NOON_S - 7_200,
    NOON_S,
    (Turns("chat", 9, 4, 3), Turns("search", 2, 1, 0), *(Turns(f"s{i:02}") for i in range(20))),
    is_narrow=False,
)


def test_changes_are_not_drowned_by_holds() -> None:
    plot = decision_counts(COUNTED, UTC)
    validated(plot)  # type: ignore[arg-type]
    assert [trace["name"] for trace in plot["data"]] == ["out", "failed", "hold"]
    assert trace_named(plot, "out")["yaxis"] != trace_named(plot, "hold")["yaxis"]  # type: ignore[arg-type]
    assert plot["table"]["rows"][0] == ["2026-03-01T10:00:00+00:00", 2, 0, 0, 0, 0, 0, 238, 240]
    assert plot["summary"] == (
        "Between 10:00 and 12:00 UTC 480 decisions: 2 out, 1 failed, 477 hold."
    )


def test_nothing_decided_is_said() -> None:
    empty = DecisionCounts(NOON_S - 60, NOON_S, np.array([NOON_S - 60]), {}, is_narrow=True)
    assert (
        decision_counts(empty, UTC)["empty"] == "No decision that the filters keep in this range."
    )
    none = Reversals(NOON_S - 60, NOON_S, (), is_narrow=False)
    assert reversals(none, UTC)["empty"] == "No decision in this range."


def test_who_turns_back_most_is_named() -> None:
    plot = reversals(TURNING, UTC)
    validated(plot)  # type: ignore[arg-type]
    soon, later = plot["data"]
    assert (soon["y"][-1], soon["x"][-1], later["x"][-1]) == ("chat", 3, 1)
    assert len(soon["y"]) == MOST
    assert len(plot["table"]["rows"]) == 22
    assert plot["summary"] == (
        "Between 10:00 and 12:00 UTC 2 of 22 services turned back at least once, most of all "
        "chat: 4 of 9 changes went against the one before, 3 of them within 10 min."
    )
