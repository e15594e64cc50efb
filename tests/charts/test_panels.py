"""Panels above one another, labels beside one another, one clock."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.charts.clock import Clock
from controller.charts.panels import height_of, spread, stack


@settings(deadline=None)
@given(st.lists(st.floats(0, 200), max_size=9).map(sorted))
def test_labels_never_cover_each_other(wanted: list[float]) -> None:
    placed = spread(wanted, gap=15.0, top=207.5)
    assert all(b - a >= 15.0 - 1e-6 for a, b in pairwise(placed))
    assert all(at <= 207.5 + 1e-6 for at in placed)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([10.0, 40.0, 90.0], gap=15.0, top=200.0) == [10.0, 40.0, 90.0]


def test_panels_fill_the_height_without_overlap() -> None:
    panels = stack([("Top", 100), ("", 20), ("Bottom", 80)])
    assert [panel.axis for panel in panels] == ["y", "y2", "y3"]
    assert [panel.key for panel in panels] == ["yaxis", "yaxis2", "yaxis3"]
    assert panels[-1].bottom == pytest.approx(0.0)
    assert all(a.bottom > b.top for a, b in pairwise(panels))
    assert height_of(panels) == pytest.approx(100 + 20 + 80 + 34 + 10 + 34)


def test_the_axis_never_runs_backwards_when_the_clocks_change() -> None:
    # Berlin leaves summer time on 2026-10-25 at 01:00 UTC.
    until = datetime(2026, 10, 25, 3, 0, tzinfo=UTC).timestamp()
    clock = Clock.at(ZoneInfo("Europe/Berlin"), until)
    times = clock.axes(until - 600 * i for i in range(18, -1, -1))
    assert times == sorted(times)
    assert times[-1] == "2026-10-25T04:00:00"
    assert clock.title == "Europe/Berlin, UTC+01:00"


@pytest.mark.parametrize(
    ("zone", "title"),
    [("UTC", "UTC"), ("America/St_Johns", "America/St_Johns, UTC-03:30")],
)
def test_the_zone_is_named(zone: str, title: str) -> None:
    at = datetime(2026, 1, 5, tzinfo=UTC).timestamp()
    assert Clock.at(ZoneInfo(zone), at).title == title
