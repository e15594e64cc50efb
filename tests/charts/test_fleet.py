"""F1–F3: the fleet at a glance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from controller.charts.capacity import capacity
from controller.charts.clock import Clock
from controller.charts.fleet_trend import fleet_trend
from controller.charts.slo_map import slo_map
from controller.selectors.fleet_series import FleetTrend, Pool, Pools, ServiceBins, SloBins
from tests.charts.reading import numbers, texts, trace_named, validated
from tests.charts.values import NOON_S, a_mark

UTC = Clock()
NAN = float("nan")
BINS = SloBins(
    since_s=NOON_S,
    bin_s=300.0,
    columns=4,
    rows=(
        ServiceBins("chat", "Chat", np.array([0, 1, 2, 3]), np.array([0.0, 0.2, 0.9, NAN])),
        ServiceBins("search", "Search", np.array([0, 0, 0, 0]), np.zeros(4)),
    ),
    page=1,
    pages=1,
    services=2,
)
POOL = Pool(
    cluster="eu-1-a",
    hardware="H800",
    at_s=NOON_S,
    total=64,
    parts={
        "busy": 30,
        "held_idle": 4,
        "free": 16,
        "reserved": 0,
        "maintenance": 8,
        "unhealthy": 4,
        "unknown": 2,
    },
    largest_free=16,
)
TREND = FleetTrend(
    since_s=NOON_S - 600,
    until_s=NOON_S + 60,
    step_s=15.0,
    times_s=NOON_S + np.array([0.0, 15.0, 30.0]),
    allocated_frac=np.array([0.5, 0.6, 0.75]),
    busy_frac=np.array([0.4, 0.5, 0.5]),
    schedulable=np.array([100.0, 100.0, 100.0]),
    decisions=(a_mark(5),),
    left_out=0,
)


def test_each_state_has_a_glyph_and_its_own_colour() -> None:
    quiet, loud = slo_map(BINS, UTC)["data"]
    assert quiet["y"] == ["search", "chat"]
    assert quiet["text"] == [["✓"] * 4, ["✓", "", "", "?"]]
    assert loud["text"] == [[""] * 4, ["", "!", "✕", ""]]
    assert (quiet["z"][1], loud["z"][1]) == ([0, None, None, 1], [None, 0, 1, None])
    colours = {color for trace in (quiet, loud) for _, color in trace["colorscale"]}
    assert len(colours) == 4


def test_a_cell_opens_the_service_around_its_time() -> None:
    _, loud = slo_map(BINS, UTC)["data"]
    assert loud["customdata"][1][2] == (
        "/services/chat/?from=2026-03-01T11:40:00Z&to=2026-03-01T12:45:00Z"
    )


def test_the_map_names_the_worst() -> None:
    assert slo_map(BINS, UTC)["summary"] == (
        "1 of 2 services were over their SLO between 12:00 and 12:20 UTC: chat 5 min."
    )


def test_unknown_is_unknown_in_the_table() -> None:
    rows = slo_map(BINS, UTC)["table"]["rows"]
    assert rows[2:4] == [
        ["2026-03-01T12:10:00+00:00", "chat", "over the SLO", 90],
        ["2026-03-01T12:15:00+00:00", "chat", "unknown", None],
    ]


def test_an_empty_fleet_says_so() -> None:
    assert slo_map(replace(BINS, rows=()), UTC)["empty"].startswith("No services yet")
    assert capacity(Pools(NOON_S, 30.0, ()), UTC)["empty"].startswith("No pool has reported")


def test_a_pool_is_a_bar_whose_parts_add_up() -> None:
    plot = capacity(Pools(NOON_S, 30.0, (POOL,)), UTC)
    parts = {trace["name"]: trace["x"][0] for trace in plot["data"]}
    assert sum(parts.values()) == 64
    assert "reserved" not in parts
    patterns = [t["name"] for t in plot["data"] if "pattern" in t["marker"]]
    assert patterns == ["maintenance", "unhealthy", "unknown"]


def test_a_pool_says_its_total_and_what_fits() -> None:
    plot = capacity(Pools(NOON_S, 30.0, (POOL,)), UTC)
    assert plot["layout"]["annotations"][0]["text"] == (
        "eu-1-a · H800  64 GPUs · largest free under one S1: 16"
    )


def test_the_band_between_allocated_and_busy_is_filled() -> None:
    plot = fleet_trend(TREND, UTC)
    busy, allocated, marks = plot["data"]
    assert numbers(busy) == [40, 50, 50]
    assert numbers(allocated) == [50, 60, 75]
    assert allocated["fill"] == "tonexty"
    assert busy["x"] == allocated["x"]
    assert marks["customdata"] == ["/decisions/5/"]
    assert plot["layout"]["yaxis"]["range"] == [0, 104]


def test_names_cannot_carry_markup() -> None:
    evil = replace(POOL, cluster="<i>x</i>", hardware="a&b")
    plot = capacity(Pools(NOON_S, 30.0, (evil,)), UTC)
    assert not [text for text in texts(plot["layout"]) + texts(plot["data"]) if "<i" in text]
    named = replace(BINS, rows=(replace(BINS.rows[0], slug="<i>x"),))
    assert slo_map(named, UTC)["data"][0]["y"] == ["&lt;i&gt;x"]


def test_plotly_knows_every_part() -> None:
    pools = Pools(NOON_S, 30.0, (POOL, replace(POOL, hardware="L20")))
    kinds = [
        {trace.type for trace in validated(plot).data}
        for plot in (slo_map(BINS, UTC), capacity(pools, UTC), fleet_trend(TREND, UTC))
    ]
    assert kinds == [{"heatmap"}, {"bar"}, {"scatter"}]
    assert trace_named(capacity(pools, UTC), "busy")["orientation"] == "h"
