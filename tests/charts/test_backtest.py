"""A backtest as figures: policies over time beside the bound, and cost against goals kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from controller.charts.backtest import MOST_ROWS, backtest, color_of, dash_of, legend_rows
from controller.charts.backtest_frontier import backtest_frontier
from controller.charts.clock import Clock
from controller.selectors.backtest_series import BacktestSeries, RunSeries
from tests.backtests import series
from tests.charts.reading import numbers, texts, validated

NAN = float("nan")
UTC = Clock()


def a_run(
    index: int, label: str, gpu_hours: float, attained: float | None, level: float = 2.0
) -> RunSeries:
    made = series(level)
    values = {name: getattr(made, name) for name in type(made).__dataclass_fields__}
    over = gpu_hours / 300
    return RunSeries(index, label, gpu_hours, attained, over, values)


FOUND = BacktestSeries(
    load="azure-conv",
    ttft_slo_s=1.0,
    tbt_slo_s=0.05,
    bound_gpu_hours=300.0,
    t_s=np.array([0.0, 900.0, 1800.0, 2700.0]),
    request_rps=np.array([2.0, 4.0, NAN, 8.0]),
    bound_gpus=np.array([8.0, 10.0, NAN, 16.0]),
    runs=(a_run(0, "default", 414.0, 0.992), a_run(1, "hpa-util", 510.0, 0.97, 3.0)),
)


def test_each_policy_has_a_line_in_each_panel_under_one_legend_entry() -> None:
    plot = backtest(FOUND, UTC)
    validated(plot)

    lines = [(t["name"], t["yaxis"], t.get("showlegend")) for t in plot["data"]]

    assert lines == [
        ("load", "y", False),
        ("clairvoyant bound", "y2", None),
        *((name, axis, axis == "y2") for name in ("default", "hpa-util") for axis in AXES),
    ]
    groups = {trace["name"]: trace.get("legendgroup") for trace in plot["data"]}
    assert groups == {"load": None, "clairvoyant bound": None, "default": "0", "hpa-util": "1"}


AXES = ("y2", "y3", "y4", "y5", "y6", "y7")


def test_the_axis_counts_hours_and_unknown_stays_a_gap() -> None:
    plot = backtest(FOUND, UTC)
    load, bound, *lines = plot["data"]

    assert load["x"] == [0.0, 0.25, 0.5, 0.75]
    assert numbers(load) == [2.0, 4.0, None, 8.0]
    assert numbers(bound) == [8.0, 10.0, None, 16.0]
    assert [numbers(line) for line in lines[:6]] == [
        [12.0] * 4,
        [2.0] * 4,
        [4.0] * 4,
        pytest.approx([0.4, None, 0.8, 1.2]),
        pytest.approx([30.0] * 4),
        pytest.approx([99.0] * 4),
    ]
    assert plot["layout"]["xaxis"]["range"] == [0.0, 1.0]
    assert plot["layout"]["xaxis"]["title"]["text"] == "Time since the begin [h]"
    assert not plot["live"]


def test_the_goals_are_lines_in_their_own_panels() -> None:
    plot = backtest(FOUND, UTC)

    assert [(s["yref"], s["y0"]) for s in plot["layout"]["shapes"]] == [("y5", 1.0), ("y6", 50.0)]
    assert [t for t in texts(plot["layout"]["annotations"]) if t.startswith("SLO")] == [
        "SLO 1 s",
        "SLO 50 ms",
    ]


def test_a_latency_axis_ends_at_four_goals() -> None:
    late = replace(FOUND.runs[0], values=FOUND.runs[0].values | {"ttft_p95_s": np.full(4, 3600.0)})
    layout = backtest(replace(FOUND, runs=(late,)), UTC)["layout"]
    assert layout["yaxis5"]["range"] == [0, 4.0]


def headings(found: BacktestSeries) -> list[str]:
    """Return the titles of the two latency panels."""
    notes = backtest(found, UTC)["layout"]["annotations"]
    return [note["text"] for note in notes if note.get("name") == "heading"][4:6]


@pytest.mark.parametrize(
    ("ttft_s", "tbt_s", "titles"),
    [
        pytest.param(4.0, 0.2, ["TTFT p95 [s]", "TBT p95 [ms]"], id="4 × 1 s, 4 × 50 ms: all is"),
        pytest.param(
            3420.0,
            0.25,
            [
                "TTFT p95 [s] · cut at 4 s, worst 57 min (hpa-util)",
                "TBT p95 [ms] · cut at 200 ms, worst 0.25 s (hpa-util)",
            ],
            id="57 × 60 s = 3,420 s",
        ),
        pytest.param(
            4.5,
            0.03,
            ["TTFT p95 [s] · cut at 4 s, worst 4.5 s (hpa-util)", "TBT p95 [ms]"],
            id="one of them",
        ),
    ],
)
def test_a_cut_panel_says_where_and_names_the_worst(
    ttft_s: float, tbt_s: float, titles: list[str]
) -> None:
    slow = {
        "ttft_p95_s": np.array([0.4, np.nan, ttft_s, 1.2]),
        "tbt_p95_s": np.array([0.03, 0.03, tbt_s, 0.03]),
    }
    late = replace(FOUND.runs[1], values=FOUND.runs[1].values | slow)

    assert headings(replace(FOUND, runs=(FOUND.runs[0], late))) == titles


def test_what_the_panel_cuts_hover_and_table_still_tell() -> None:
    late = replace(FOUND.runs[0], values=FOUND.runs[0].values | {"ttft_p95_s": np.full(4, 3420.0)})
    plot = backtest(replace(FOUND, runs=(late,)), UTC)

    (line,) = [trace for trace in plot["data"] if trace["yaxis"] == "y5"]
    assert numbers(line) == [3420.0] * 4
    assert line["hovertemplate"] == "%{y:,.4~r} s<extra>default</extra>"
    column = plot["table"]["columns"].index("default: TTFT p95 [s]")
    assert [row[column] for row in plot["table"]["rows"]] == [3420] * 4


def test_ten_policies_look_different_and_neighbours_differ_in_dash() -> None:
    looks = [(color_of(i), dash_of(i)) for i in range(10)]

    assert len(set(looks)) == 10
    assert all(dash_of(i) != dash_of(i + 1) for i in range(9))


def test_a_policy_keeps_its_look_whichever_are_shown() -> None:
    alone = backtest(replace(FOUND, runs=FOUND.runs[1:]), UTC)["data"][2]
    among = backtest(FOUND, UTC)["data"][8]
    assert (alone["name"], alone["line"]) == (among["name"], among["line"])


def test_the_table_says_the_same_with_units() -> None:
    table = backtest(replace(FOUND, runs=FOUND.runs[:1]), UTC)["table"]

    assert table["columns"] == [
        "time [h]",
        "load [requests/s]",
        "bound [GPUs]",
        "default: GPUs held",
        "default: Prefill instances ready",
        "default: Decode instances ready",
        "default: TTFT p95 [s]",
        "default: TBT p95 [ms]",
        "default: Requests within both goals [%]",
    ]
    assert table["rows"] == [
        [0, 2, 8, 12, 2, 4, 0.4, 30, 99],
        [0.25, 4, 10, 12, 2, 4, None, 30, 99],
        [0.5, None, None, 12, 2, 4, 0.8, 30, 99],
        [0.75, 8, 16, 12, 2, 4, 1.2, 30, 99],
    ]
    assert "note" not in table


def test_a_long_table_says_what_it_leaves_out() -> None:
    count = MOST_ROWS * 4 + 1
    flat = np.ones(count)
    long = replace(
        FOUND,
        t_s=15.0 * np.arange(count),
        request_rps=flat,
        bound_gpus=flat,
        runs=(replace(FOUND.runs[0], values=dict.fromkeys(FOUND.runs[0].values, flat)),),
    )
    table = backtest(long, UTC)["table"]

    assert len(table["rows"]) == 241  # every fifth of 1,201
    assert table["note"] == "Every 5th of 1,201 times; the CSV has all."


def test_the_summary_reads_as_sentences() -> None:
    assert backtest(FOUND, UTC)["summary"] == (
        "1 h of azure-conv. default held 12–12 GPUs; hpa-util held 18–18 GPUs."
        " The bound needs 16 GPUs at most."
    )


def test_names_cannot_become_markup() -> None:
    odd = replace(FOUND, runs=(replace(FOUND.runs[0], label="<b>x</b>"),))
    for plot in (backtest(odd, UTC), backtest_frontier(odd, UTC)):
        assert not [t for t in texts([plot["data"], plot["layout"]]) if "<b>" in t]


# Cost against goals.


def test_the_frontier_joins_what_nothing_beats() -> None:
    runs = (
        a_run(0, "default", 414.0, 0.992),
        a_run(1, "hpa-util", 510.0, 0.97),
        a_run(2, "static-peak", 900.0, 1.0),
        a_run(3, "latency-only", 350.0, 0.9),
    )
    plot = backtest_frontier(replace(FOUND, runs=runs), UTC)
    validated(plot)
    line, *points = plot["data"]

    assert (line["x"], line["y"]) == ([350.0, 414.0, 900.0], pytest.approx([90.0, 99.2, 100.0]))
    assert [(p["name"], p["x"], p["y"]) for p in points] == [
        (run.label, [run.gpu_hours], [pytest.approx(100 * (run.attained or 0))]) for run in runs
    ]
    assert plot["layout"]["shapes"][0]["x0"] == 300.0
    assert plot["table"]["rows"] == [
        ["default", 414, 1.38, 99.2, "yes"],
        ["hpa-util", 510, 1.7, 97, "no"],
        ["static-peak", 900, 3, 100, "yes"],
        ["latency-only", 350, 1.167, 90, "yes"],
    ]
    assert plot["summary"] == (
        "No policy beats latency-only (350 GPU-hours, 90.0 %), default (414 GPU-hours, 99.2 %),"
        " static-peak (900 GPU-hours, 100.0 %) in both cost and goals kept."
    )


def test_equal_policies_are_all_on_the_frontier() -> None:
    runs = [
        a_run(0, "default", 414.0, 0.992),
        a_run(1, "static-peak", 414.0, 0.992),
        a_run(2, "hpa-util", 414.0, 0.99),
        a_run(3, "periodic", 500.0, 0.992),
    ]
    rows = backtest_frontier(replace(FOUND, runs=runs), UTC)["table"]["rows"]

    assert [(row[0], row[-1]) for row in rows] == [
        ("default", "yes"),
        ("static-peak", "yes"),
        ("hpa-util", "no"),
        ("periodic", "no"),
    ]


@pytest.mark.parametrize(
    ("lowest", "ticks", "end"),
    [
        pytest.param(1.0, [98, 98.5, 99, 99.5, 100], 100.08, id="98 to 100: 2 / 0.5 = 4 steps"),
        pytest.param(0.9, [88, 90, 92, 94, 96, 98, 100], 100.5, id="87.5 to 100: 12.5 / 2 = 6.25"),
        pytest.param(0.0, [0, 20, 40, 60, 80, 100], 104.08, id="-2 to 100: 102 / 20 = 5.1"),
    ],
)
def test_the_percent_axis_has_room_above_100_and_no_number(
    lowest: float, ticks: list[float], end: float
) -> None:
    runs = [a_run(0, "default", 414.0, 1.0), a_run(1, "hpa-util", 510.0, lowest)]
    plot = backtest_frontier(replace(FOUND, runs=runs), UTC)
    validated(plot)

    assert plot["layout"]["yaxis"]["tickvals"] == ticks
    assert plot["layout"]["yaxis"]["range"][1] == pytest.approx(end)


def test_ten_points_differ_in_shape_or_colour() -> None:
    runs = [a_run(i, f"p{i}", 300.0 + i, 0.9) for i in range(10)]
    points = backtest_frontier(replace(FOUND, runs=runs), UTC)["data"][1:]
    assert len({(p["marker"]["symbol"], p["marker"]["color"]) for p in points}) == 10


def test_without_requests_there_is_no_frontier_and_words_say_so() -> None:
    plot = backtest_frontier(replace(FOUND, runs=(a_run(0, "default", 12.0, None),)), UTC)
    assert plot["empty"] == "No request arrived, so no policy kept or missed a goal."


def test_without_time_series_words_say_so() -> None:
    none = np.empty(0)
    plot = backtest(replace(FOUND, t_s=none, request_rps=none, bound_gpus=none), UTC)
    assert plot["empty"] == "The answer holds no time series."


@pytest.mark.parametrize(
    ("labels", "width_px", "rows"),
    [
        pytest.param(["default", "hpa-util"], 1000, 1, id="165 + 95 + 102 of 1,000"),
        pytest.param(["default", "hpa-util"], 250, 2, id="165, then 95 + 102 of 250"),
        pytest.param(["x" * 40], 250, 2, id="326 of 250 has a row of its own"),
    ],
)
def test_the_legend_has_the_rows_it_needs(labels: list[str], width_px: int, rows: int) -> None:
    runs = [a_run(i, label, 300.0, 0.9) for i, label in enumerate(labels)]
    assert legend_rows(runs, width_px) == rows
