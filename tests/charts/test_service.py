"""F4–F8: what an operator reads about one service."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from controller.charts.clock import Clock
from controller.charts.service import joined, pd_ratio, service
from controller.core.types import Instances
from controller.selectors.in_use import InUse
from controller.selectors.series import OutsideMark
from tests.charts.reading import numbers, texts, trace_named, validated
from tests.charts.values import NOON_S, STEP_S, a_freeze, a_mark, a_series, a_spec

UTC = Clock()


def test_prefill_is_blue_with_circles_and_decode_orange_with_squares() -> None:
    plot = service(a_series(), UTC)
    looks = {
        role: (
            trace_named(plot, f"{role} ready")["line"],
            trace_named(plot, f"{role} ready")["marker"]["symbol"],
            trace_named(plot, f"{role} desired")["line"]["dash"],
        )
        for role in ("prefill", "decode")
    }
    solid = {"width": 2, "dash": "solid", "shape": "hv"}
    assert looks == {
        "prefill": ({"color": "token:prefill", **solid}, "circle", "dash"),
        "decode": ({"color": "token:decode", **solid}, "square", "dash"),
    }


def test_counts_start_at_zero_and_show_limits_that_are_near() -> None:
    plot = service(a_series(), UTC)
    assert plot["layout"]["yaxis"]["range"] == [0, 5.0]
    labels = [note["text"] for note in plot["layout"]["annotations"]]
    assert "min 1" in labels
    assert "max 8" not in labels
    assert labels[0] == "Replicas [instances] · each role 1–8"


def test_a_gap_in_the_samples_stays_a_gap() -> None:
    times = NOON_S + STEP_S * np.array([0, 1, 2, 10, 11])
    series = a_series(5, times_s=times, until_s=float(times[-1]))
    line = trace_named(service(series, UTC), "prefill ready")
    assert numbers(line) == [2, 2, 2, None, 2, 2]
    assert line["connectgaps"] is False
    assert line["x"][:4] == [
        "2026-03-01T12:00:00",
        "2026-03-01T12:00:15",
        "2026-03-01T12:00:30",
        "2026-03-01T12:00:45",
    ]


def test_a_missing_signal_is_no_zero() -> None:
    series = a_series(4)
    series.signals["decode_tps"][1] = np.nan
    assert numbers(trace_named(service(series, UTC), "observed")) == [1000, None, 1000, 1000]


def test_the_ratio_is_drawn_in_octaves_with_its_band() -> None:
    plot = service(a_series(), UTC)
    axis = plot["layout"]["yaxis2"]
    assert axis["type"] == "log"
    assert dict(zip(axis["tickvals"], axis["ticktext"], strict=True)) == {
        0.125: "1:8",
        0.25: "1:4",
        0.5: "1:2",
        1.0: "1:1",
        2.0: "2:1",
    }
    band = next(
        shape
        for shape in plot["layout"]["shapes"]
        if shape["yref"] == "y2" and shape["type"] == "rect"
    )
    assert (band["y0"], band["y1"]) == (0.375, 0.625)


def test_ratios_outside_the_band_carry_a_marker() -> None:
    series = a_series(3)
    series.ready[0] = [2, 1, 3]
    outside = trace_named(service(series, UTC), "outside the band")
    assert pd_ratio(series).tolist() == [0.5, 0.25, 0.75]
    assert numbers(outside) == [0.25, 0.75]


def test_no_instances_give_no_ratio() -> None:
    series = a_series(2)
    series.ready[1] = [0, 4]
    assert np.isnan(pd_ratio(series)[0])


@pytest.mark.parametrize(
    ("driver", "target", "title", "first"),
    [
        pytest.param(
            "decode_tps",
            1_000.0,
            "Decode throughput [tok/s per decode instance]",
            1_000.0,
            id="4,000 over 4 decode instances",
        ),
        pytest.param(
            "prefill_util", 0.6, "Prefill GPU utilisation [%]", 55.0, id="a share is no sum"
        ),
        pytest.param(
            "ttft_s", 1.0, "TTFT p95 [s]", 0.5, id="a latency is the same for one and for all"
        ),
    ],
)
def test_the_driver_is_the_policys_own(
    driver: str, target: float, title: str, first: float
) -> None:
    series = replace(a_series(), spec=a_spec(driver=driver, target=target))
    series.signals["prefill_util"][:] = 0.55
    plot = service(series, UTC)
    assert title in [note["text"] for note in plot["layout"]["annotations"]]
    assert numbers(trace_named(plot, "observed"))[0] == pytest.approx(first)


def test_the_driver_shows_target_and_tolerance() -> None:
    shapes = service(a_series(), UTC)["layout"]["shapes"]
    mine = [(s["type"], s["y0"], s["y1"]) for s in shapes if s["yref"] == "y3"]
    assert mine == [("rect", 900.0, pytest.approx(1_100.0)), ("line", 1_000.0, 1_000.0)]


def test_a_target_and_a_ratio_in_use_stand_beside_the_configured_ones() -> None:
    plot = service(replace(a_series(), in_use=InUse(0.62, 820.0)), UTC)
    labels = [note["text"] for note in plot["layout"]["annotations"]]
    assert {"in use 820", "target 1,000", "in use 0.62", "target 0.5"} <= set(labels)
    assert "target 820 in use, 1,000 configured." in plot["summary"]


def test_latencies_are_in_milliseconds_with_breaches_tinted() -> None:
    series = a_series(6)
    series.signals["ttft_s"][2:4] = 1.2
    plot = service(series, UTC)
    p95 = [t for t in plot["data"] if t["name"] == "p95" and t["yaxis"] == "y5"]
    assert numbers(p95[0])[1:3] == [500, 1200]
    tints = [
        (s["x0"], s["x1"])
        for s in plot["layout"]["shapes"]
        if s["yref"] == "y5 domain" and s["type"] == "rect"
    ]
    assert tints == [("2026-03-01T12:00:30", "2026-03-01T12:01:00")]
    slo = [s["y0"] for s in plot["layout"]["shapes"] if s["yref"] == "y5" and s["type"] == "line"]
    assert slo == [1_000.0]


def test_counts_changed_from_outside_are_a_mark_that_leads_to_its_page() -> None:
    mark = OutsideMark(NOON_S + 60, Instances(2, 5), Instances(2, 4), "/services/chat/outside/1/")
    plot = service(a_series(outside=(mark,)), UTC)
    (found,) = [trace for trace in plot["data"] if trace["name"] == "changed from outside"]
    assert found["y"] == [4]
    assert found["text"] == ["decode 5 → 4"]
    assert found["customdata"] == ["/services/chat/outside/1/"]


def test_a_freeze_is_shaded_and_says_who() -> None:
    plot = service(a_series(freezes=(a_freeze(),)), UTC)
    assert "frozen by ana: deploy" in [n["text"] for n in plot["layout"]["annotations"]]
    shade = plot["layout"]["shapes"][0]
    assert (shade["x0"], shade["x1"]) == ("2026-03-01T12:02:00", "2026-03-01T12:05:00")


@pytest.mark.parametrize(
    ("fields", "symbols"),
    [
        pytest.param({}, ("triangle-up", "triangle-up"), id="out"),
        pytest.param(
            {"move": "scale_in", "final": Instances(2, 3)},
            ("circle", "triangle-down"),
            id="in: only decode changes",
        ),
        pytest.param({"move": "hold", "final": Instances(2, 4)}, ("circle", "circle"), id="hold"),
        pytest.param({"move": "blocked"}, ("square", "square"), id="blocked"),
        pytest.param({"move": "propose"}, ("diamond", "diamond"), id="proposed"),
        pytest.param({"failed": True}, ("x", "x"), id="failed"),
        pytest.param(
            {"move": "rebalance", "final": Instances(3, 3)},
            ("triangle-up", "triangle-down"),
            id="rebalance: each role its own way",
        ),
    ],
)
def test_decisions_have_one_symbol_a_role(
    fields: dict[str, object], symbols: tuple[str, str]
) -> None:
    plot = service(a_series(decisions=(a_mark(7, NOON_S + 60, **fields),)), UTC)
    lanes = [trace_named(plot, role) for role in ("prefill", "decode")]
    assert tuple(lane["marker"]["symbol"][0] for lane in lanes) == symbols
    assert [lane["customdata"] for lane in lanes] == [["/decisions/7/"]] * 2


def test_long_ranges_are_thinned_and_keep_every_decision() -> None:
    decisions = tuple(a_mark(i, NOON_S + STEP_S * 37 * i) for i in range(1, 600))
    series = a_series(40_000, decisions=decisions)
    series.signals["decode_tps"][:] = np.random.default_rng(1).normal(4_000, 50, 40_000)
    plot = service(series, UTC)
    observed = trace_named(plot, "observed")
    assert max(len(trace["x"]) for trace in plot["data"]) <= 2_000
    assert {UTC.axis(mark.first_s) for mark in decisions} <= set(observed["x"])
    assert plot["table"]["note"].endswith("of 40,000 samples; extremes are kept.")


def test_the_summary_says_what_happened() -> None:
    series = a_series(decisions=(a_mark(),))
    series.ready[1, 20:] = 6
    assert service(series, UTC)["summary"] == (
        "Chat between 12:00 and 12:09 UTC: prefill stayed at 2; decode ready went from 4 to 6 "
        "(between 4 and 6). Decode throughput is 667 tok/s per decode instance, target 1,000. "
        "TTFT and TBT p95 stayed within their SLO. 1 decision to change."
    )


def test_the_table_has_the_same_numbers() -> None:
    series = a_series(2, decisions=(a_mark(1, NOON_S + STEP_S),))
    series.held[1, 1] = 3
    table = service(series, UTC)["table"]
    assert table["columns"][-3:] == [
        "decode throughput [tok/s per decode instance]",
        "coverage [%]",
        "decision",
    ]
    assert table["rows"][1] == [
        "2026-03-01T12:00:15+00:00",
        *(2, 0, 0, 2, 4, 0, 3, 4),
        0.5,
        *(None, 500, None, None, 30, None),
        *(1000, 100, "Decode 4 → 6."),
    ]


def test_no_samples_say_what_was_expected() -> None:
    plot = service(a_series(0), UTC)
    assert plot["data"] == []
    assert plot["empty"].startswith(
        "No samples of Chat in this range. Expected: decode throughput"
    )


def test_names_and_reasons_cannot_carry_markup() -> None:
    evil = '<a href="javascript:alert(1)">x</a>&'
    series = a_series(
        name=evil,
        freezes=(a_freeze(by=evil, reason=evil),),
        decisions=(a_mark(service=evil, sentence=evil),),
    )
    plot = service(series, UTC)
    drawn = texts(plot["data"]) + texts(plot["layout"])
    bare = [re.sub("&(lt|gt|amp);|<br>", "", text) for text in drawn]
    assert not [text for text in bare if re.search("[<&]", text)]


def test_plotly_knows_every_part() -> None:
    series = a_series(freezes=(a_freeze(until_s=None),), decisions=(a_mark(),))
    assert {trace.type for trace in validated(service(series, UTC)).data} == {"scatter"}


def test_many_breaches_are_joined_over_the_shortest_pauses() -> None:
    assert joined([(0, 1), (2, 3), (10, 11)], 2) == [(0, 3), (10, 11)]
