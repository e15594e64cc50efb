"""F13–F15: what fits, what services may ask for, what is to come."""

from __future__ import annotations

import pytest

from controller.charts.clock import Clock
from controller.charts.fragmentation import fragmentation
from controller.charts.headroom import headroom
from controller.charts.peak_forecast import MOST_POOLS, peak_forecast
from controller.core.peaks import AHEAD, HOUR_S, forecast
from controller.selectors.capacity import Claim, Fits, Headroom, Headrooms
from controller.selectors.capacity_peaks import Peaks, PoolPeaks
from inventory.capacity import Fit
from tests.charts.reading import texts, trace_named, validated
from tests.charts.values import NOON_S

UTC = Clock()
FITS = Fits(NOON_S, (Fit(1, 24, 24), Fit(2, 12, 12), Fit(4, 5, 6), Fit(8, 1, 3)), 24, 0)
POOL = Headroom(
    "eu-1-a", "h800", "H800", usable=30, in_use=10, use_unknown=0, claims=(Claim("chat", 8, 64),)
)


def peaks(hours: int, hardware: str = "H800", usable: int | None = 30) -> PoolPeaks:
    seen = {int(NOON_S) - back * HOUR_S: 10.0 + back % 24 for back in range(hours)}
    return PoolPeaks(
        "eu-1-a", hardware, tuple(sorted(seen.items())), forecast(seen, NOON_S), usable
    )


def test_what_fits_and_what_is_apart_add_up_to_what_is_free() -> None:
    plot = fragmentation(FITS, UTC)
    fit, apart = plot["data"]
    assert fit["x"] == ["1", "2", "4", "8"]
    assert [a + b for a, b in zip(fit["y"], apart["y"], strict=True)] == [24, 24, 24, 24]
    assert "pattern" in apart["marker"]
    assert [note["text"] for note in plot["layout"]["annotations"]] == [
        "24 of 24", "12 of 12", "5 of 6", "1 of 3",
    ]  # fmt: skip
    # Positions, as a category that is a number would be read as one.
    assert [note["x"] for note in plot["layout"]["annotations"]] == [0, 1, 2, 3]


def test_fragmentation_is_told_in_a_sentence() -> None:
    assert fragmentation(FITS, UTC)["summary"] == (
        "24 GPUs are free; groups of up to 8 fit under one S1. Of 8 GPUs 1 groups fit where the"
        " free GPUs would make 3."
    )
    assert fragmentation(Fits(NOON_S, (), 0, 0), UTC)["empty"] == "No GPU is free here."


def test_what_is_lacking_stands_on_what_there_is() -> None:
    plot = headroom(Headrooms(NOON_S, (POOL,)), UTC)
    inside, lacking = trace_named(plot, "all at maximum"), trace_named(plot, "lacking")
    assert (inside["x"], lacking["x"], lacking["base"]) == ([30], [34], [30])
    assert inside["offsetgroup"] == lacking["offsetgroup"]
    assert plot["table"]["rows"] == [["eu-1-a", "H800", 30, 10, 0, 8, 64, 34, "chat 8–64"]]
    assert "H800 in eu-1-a would lack 34 GPUs" in plot["summary"]


@pytest.mark.parametrize(
    ("usable", "unknown", "said"),
    [
        (30, 0, "lacks 34 GPUs at the maxima"),
        (30, 10, "lacks at least 24 GPUs at the maxima"),
        (30, 40, "can't be told: the use of 40 GPUs is unknown"),
        (64, 0, "0 GPUs to spare at the maxima"),
        (70, 0, "6 GPUs to spare at the maxima"),
    ],
)
def test_each_pool_says_what_becomes_of_it(usable: int, unknown: int, said: str) -> None:
    pool = Headroom("eu-1-a", "h800", "H800", usable, 10, unknown, POOL.claims)
    assert texts(headroom(Headrooms(NOON_S, (pool,)), UTC)["layout"]["annotations"])[0].endswith(
        said
    )


def test_without_services_nothing_is_asked_for() -> None:
    bare = Headroom("eu-1-a", "h800", "H800", 30, 0, 0, ())
    assert headroom(Headrooms(NOON_S, (bare,)), UTC)["empty"].startswith("No service")
    assert headroom(Headrooms(NOON_S, ()), UTC)["empty"]


def test_a_forecast_is_dotted_and_labelled_and_begins_after_now() -> None:
    plot = peak_forecast(Peaks(NOON_S, (peaks(60),)), UTC)
    line = trace_named(plot, "forecast")
    assert line["line"]["dash"] == "dot"
    assert line["x"][0] == "2026-03-01T13:00:00"
    assert len(line["x"]) == AHEAD + 1
    assert {trace["name"] for trace in plot["data"]} == {
        "held at most", "band from", "band to", "forecast",
    }  # fmt: skip
    kinds = [row[3] for row in plot["table"]["rows"]]
    assert kinds.count("forecast") == AHEAD
    assert "is forecast to hold at most" in plot["summary"]
    assert "(band " in plot["summary"]


def test_too_little_history_says_so_and_draws_no_forecast() -> None:
    plot = peak_forecast(Peaks(NOON_S, (peaks(6),)), UTC)
    assert [trace["name"] for trace in plot["data"]] == ["held at most"]
    assert "Not enough history yet: 5 of 24 hours." in texts(plot["layout"])
    assert plot["summary"] == "H800 in eu-1-a: not enough history yet: 5 of 24 hours."
    assert peak_forecast(Peaks(NOON_S, ()), UTC)["empty"].startswith("Nobody has counted")


def test_pools_beyond_those_drawn_are_in_the_table() -> None:
    many = tuple(peaks(30, f"T{n}") for n in range(MOST_POOLS + 2))
    plot = peak_forecast(Peaks(NOON_S, many), UTC)
    assert plot["table"]["note"] == "6 of 8 pools are drawn, the fullest."
    assert {row[2] for row in plot["table"]["rows"]} == {pool.hardware for pool in many}


def test_plotly_knows_every_part() -> None:
    validated(fragmentation(FITS, UTC))
    validated(headroom(Headrooms(NOON_S, (POOL,)), UTC))
    validated(peak_forecast(Peaks(NOON_S, (peaks(60), peaks(6, "H20", None))), UTC))


def test_names_cannot_smuggle_markup() -> None:
    pool = Headroom("<b>", "h", "<i>x", 1, 0, 0, POOL.claims)
    for text in texts(headroom(Headrooms(NOON_S, (pool,)), UTC)["layout"]):
        assert "<b>" not in text
        assert "<i>" not in text
