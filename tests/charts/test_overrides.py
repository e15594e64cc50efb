"""F12: overrides over time."""

from __future__ import annotations

from dataclasses import replace

from controller.charts.clock import Clock
from controller.charts.override_timeline import override_timeline
from controller.selectors.overrides import Span, Timeline
from tests.charts.reading import texts, trace_named, validated
from tests.charts.values import NOON_S

UTC = Clock()
HOUR_S = 3_600.0
PIN = Span("Pin decode 4", "chat", "pin", "ana", "test", NOON_S - 3_600, NOON_S + 1_800, "active")
LATER = replace(
    PIN, label="Bounds", since_s=NOON_S + 1_800, until_s=NOON_S + 9e9, state="upcoming"
)
FREEZE = replace(PIN, label="Frozen <b>", scope="the fleet", kind="freeze", until_s=None)
FOUND = Timeline((FREEZE, PIN, LATER), NOON_S - 12 * HOUR_S, NOON_S + 12 * HOUR_S, NOON_S, 2)


def test_bars_begin_and_end_where_the_overrides_do() -> None:
    plot = override_timeline(FOUND, UTC)
    bars = trace_named(plot, "in force")
    assert bars["base"] == ["2026-03-01T11:00:00", "2026-03-01T11:00:00"]
    assert bars["x"] == [5_400_000.0, 13 * HOUR_S * 1_000]  # the pin, and a freeze without an end
    assert trace_named(plot, "over")["visible"] is False
    assert plot["layout"]["shapes"][0]["x0"] == "2026-03-01T12:00:00"
    validated(plot)


def test_the_table_and_the_sentence_say_the_same() -> None:
    plot = override_timeline(FOUND, UTC)
    assert plot["summary"] == ("2 orders of people in force, 1 upcoming. The next ends in 30 min.")
    assert plot["table"]["rows"][1] == [
        "chat", "Pin decode 4", "ana", "test",
        "2026-03-01T11:00:00+00:00", "2026-03-01T12:30:00+00:00", "in force",
    ]  # fmt: skip
    assert plot["table"]["rows"][0][5] is None
    assert plot["table"]["note"] == "2 more are not shown; the list has all."


def test_what_people_wrote_is_no_markup() -> None:
    assert not [text for text in texts(override_timeline(FOUND, UTC)["data"]) if "<b>" in text]


def test_nothing_is_said_in_words() -> None:
    assert "No override" in override_timeline(replace(FOUND, spans=()), UTC)["empty"]
