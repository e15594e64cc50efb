"""A backtest over time: the load, and what each policy held and kept, on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from controller.charts.panels import (
    Label,
    Panel,
    edge_labels,
    height_of,
    level,
    stack,
    top_of,
)
from controller.charts.plot import (
    Layout,
    Plot,
    Trace,
    axis,
    cell,
    escape,
    layout,
    nothing,
    packed,
    titled,
    token,
)
from controller.charts.thinning import downsample
from controller.core import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.charts.plot import Cell, Table
    from controller.core.types import Floats
    from controller.selectors.backtest_series import BacktestSeries, RunSeries

COLORS: Final = ("prefill", "decode", "third", "fourth", "muted-fill")
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash")
SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "x")
HOUR_S: Final = 3600.0
MINUTE_S: Final = 60.0
MOST_ROWS: Final = 300
BELOW_PX: Final = 52
LEGEND_ROW_PX: Final = 21
WIDE_PX: Final = 1000
COMPACT_PX: Final = 250
# Above the panels, from where the lines are read; below it would be a screen away.
LEGEND: Final[Layout] = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 1,
    "yanchor": "bottom",
    "font": {"size": 12, "color": token("text")},
    "tracegroupgap": 0,
    "itemclick": "toggle",
    "itemdoubleclick": "toggleothers",
}
MOST_LATENCY: Final = 4.0
"""A latency axis ends at so many goals, or the goal could not be told from zero."""


class View(NamedTuple):
    """One panel of policies: title, height [px], the series it shows, times ``factor``."""

    title: str
    height_px: float
    series: str
    factor: float = 1.0
    unit: str = ""
    steps: bool = False


VIEWS: Final[tuple[View, ...]] = (
    View("GPUs held", 170, "gpus", unit="GPUs", steps=True),
    View("Prefill instances ready", 110, "prefill_ready", unit="prefill instances", steps=True),
    View("Decode instances ready", 110, "decode_ready", unit="decode instances", steps=True),
    View("TTFT p95 [s]", 120, "ttft_p95_s", unit="s"),
    View("TBT p95 [ms]", 120, "tbt_p95_s", 1e3, "ms"),
    View("Requests within both goals [%]", 110, "attained_frac", 100.0, "%"),
)


def color_of(index: int) -> str:
    """Return the colour of the policy in place ``index``; the first ten looks all differ."""
    return token(COLORS[index % len(COLORS)])


def dash_of(index: int) -> str:
    """Return the dash of the policy in place ``index``; neighbours differ in it too."""
    return DASHES[(index + index // len(COLORS)) % len(DASHES)]


def backtest(found: BacktestSeries, clock: Clock) -> Plot:
    """Return panels from the load to attainment; a policy's lines share one legend entry.

    ``clock`` is not used: the axis counts hours from the begin of the load.
    """
    del clock
    if not len(found.t_s):
        return nothing("The answer holds no time series.", ["time [h]"])
    panels = stack(
        [("Load [requests/s]", 90), *((_title(found, view), view.height_px) for view in VIEWS)]
    )
    lines = [_load(found, panels[0]), _bound(found, panels[1])]
    for run in found.runs:
        lines += [
            _line(found, run, panel, view) for panel, view in zip(panels[1:], VIEWS, strict=True)
        ]
    tops = _tops(found)
    rows, compact_rows = (legend_rows(found.runs, width) for width in (WIDE_PX, COMPACT_PX))
    top_px, compact_px = LEGEND_ROW_PX * rows + 8, LEGEND_ROW_PX * compact_rows + 8
    return {
        "data": lines,
        "layout": layout(
            margin={"l": 52, "r": 96, "t": top_px, "b": BELOW_PX},
            height=round(height_of(panels)) + top_px + BELOW_PX,
            showlegend=True,
            legend=LEGEND,
            hoversubplots="axis",
            xaxis=_time_axis(found, panels[-1]),
            **{
                panel.key: axis(domain=[panel.bottom, panel.top], range=[0, top], nticks=5)
                for panel, top in zip(panels, tops, strict=True)
            },
            shapes=_goals(found, panels),
            annotations=[
                *(panel.heading() for panel in panels),
                *_goal_labels(found, panels, tops),
            ],
        ),
        "summary": _summary(found),
        "table": _table(found),
        "compact": {
            "margin.r": 76,
            "margin.t": compact_px,
            "height": round(height_of(panels)) + compact_px + BELOW_PX,
            "legend.font.size": 11,
        },
        "live": False,
    }


def _cap(found: BacktestSeries, view: View) -> float:
    """Return where the axis of a latency ends, in the view's unit; others have no such end."""
    goals_s = {"ttft_p95_s": found.ttft_slo_s, "tbt_p95_s": found.tbt_slo_s}
    return goals_s.get(view.series, np.inf) * MOST_LATENCY * view.factor


def _title(found: BacktestSeries, view: View) -> str:
    """Return a panel's title; where its axis leaves something out, with the worst value."""
    cap = _cap(found, view)
    worst = {
        run.label: float(np.nanmax(run.values[view.series]))
        for run in found.runs
        if np.isfinite(run.values[view.series]).any()
    }
    if not worst or max(worst.values()) * view.factor <= cap:
        return view.title
    label = max(worst, key=lambda name: worst[name])
    told = wording.duration if worst[label] >= MINUTE_S else wording.latency
    return (
        f"{view.title} · cut at {cap:.4g} {view.unit}, worst {told(worst[label])} "
        f"({escape(label)})"
    )


def _load(found: BacktestSeries, panel: Panel) -> Trace:
    return _trace(found.t_s, found.request_rps, panel) | {
        "name": "load",
        "line": {"color": token("text"), "width": 1.5},
        "hovertemplate": "%{y:,.1f} requests/s<extra>load</extra>",
        "showlegend": False,
    }


def _bound(found: BacktestSeries, panel: Panel) -> Trace:
    return _trace(found.t_s, found.bound_gpus, panel) | {
        "name": "clairvoyant bound",
        "line": {"color": token("text"), "width": 1, "shape": "hv"},
        "fill": "tozeroy",
        "fillcolor": token("muted-fill", 0.16),
        "hovertemplate": "%{y:,.0f} GPUs<extra>clairvoyant bound</extra>",
    }


def _line(found: BacktestSeries, run: RunSeries, panel: Panel, view: View) -> Trace:
    name = escape(run.label)
    return _trace(found.t_s, run.values[view.series] * view.factor, panel) | {
        "name": name,
        "legendgroup": str(run.index),
        "showlegend": view is VIEWS[0],
        "line": {
            "color": color_of(run.index),
            "width": 2,
            "dash": dash_of(run.index),
            "shape": "hv" if view.steps else "linear",
        },
        "hovertemplate": f"%{{y:,.4~r}} {view.unit}<extra>{name}</extra>",
    }


def _trace(t_s: Floats, values: Floats, panel: Panel) -> Trace:
    at = downsample(values)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [round(float(t) / HOUR_S, 5) for t in t_s[at]],
        "y": packed(values[at]),
        "xaxis": "x",
        "yaxis": panel.axis,
        "connectgaps": False,
    }


def _time_axis(found: BacktestSeries, lowest: Panel) -> Layout:
    return axis(
        range=[float(found.t_s[0]) / HOUR_S, _end_h(found)],
        anchor=lowest.axis,
        fixedrange=False,
        title=titled("Time since the begin [h]"),
        nticks=9,
        hoverformat=".2f",
        ticksuffix=" h",
        showspikes=True,
        spikemode="across",
        spikesnap="cursor",
        spikethickness=1,
        spikedash="dot",
        spikecolor=token("control"),
    )


def _end_h(found: BacktestSeries) -> float:
    step_s = float(found.t_s[-1] - found.t_s[-2]) if len(found.t_s) > 1 else HOUR_S
    return (float(found.t_s[-1]) + step_s) / HOUR_S


def legend_rows(runs: Sequence[RunSeries], width_px: int) -> int:
    """Return how many rows the legend needs, each name with its line as wide as it is."""
    rows, left_px = 1, width_px
    for name in ("clairvoyant bound", *(escape(run.label) for run in runs)):
        entry_px = min(46 + 7 * len(name), width_px)
        if entry_px > left_px:
            rows, left_px = rows + 1, width_px
        left_px -= entry_px
    return rows


def _tops(found: BacktestSeries) -> list[float]:
    """Return the end of each panel's axis; a latency's is a few goals at most."""
    tops = [top_of(found.request_rps, floor=1.0)]
    for view in VIEWS:
        values = [run.values[view.series] * view.factor for run in found.runs]
        if view.series == "gpus":
            values.append(found.bound_gpus)
        cap = _cap(found, view)
        floor = cap / MOST_LATENCY * 1.25 if np.isfinite(cap) else 1.0
        tops.append(min(top_of(*values, floor=floor), cap))
    tops[-1] = 104.0
    return tops


def _goals(found: BacktestSeries, panels: Sequence[Panel]) -> list[Layout]:
    return [level(panels[4], found.ttft_slo_s), level(panels[5], found.tbt_slo_s * 1e3)]


def _goal_labels(
    found: BacktestSeries, panels: Sequence[Panel], tops: Sequence[float]
) -> list[Layout]:
    goals = (
        (4, found.ttft_slo_s, f"SLO {found.ttft_slo_s:g} s"),
        (5, found.tbt_slo_s * 1e3, f"SLO {found.tbt_slo_s * 1e3:g} ms"),
    )
    return [
        label
        for i, value, text in goals
        for label in edge_labels(panels[i], [Label(value, text)], span=(0, tops[i]))
    ]


def _summary(found: BacktestSeries) -> str:
    said = [
        f"{run.label} held {np.nanmin(run.values['gpus']):,.0f}–"
        f"{np.nanmax(run.values['gpus']):,.0f} GPUs"
        for run in found.runs
        if np.isfinite(run.values["gpus"]).any()
    ]
    bound = ""
    if np.isfinite(found.bound_gpus).any():
        bound = f" The bound needs {np.nanmax(found.bound_gpus):,.0f} GPUs at most."
    return f"{_end_h(found):.3g} h of {found.load}. {'; '.join(said)}.{bound}"


def _table(found: BacktestSeries) -> Table:
    stride = -(-len(found.t_s) // MOST_ROWS)
    at = np.arange(0, len(found.t_s), stride)
    columns = ["time [h]", "load [requests/s]", "bound [GPUs]"]
    values: list[Floats] = [found.t_s / HOUR_S, found.request_rps, found.bound_gpus]
    for run in found.runs:
        for view in VIEWS:
            columns.append(f"{run.label}: {view.title}")
            values.append(run.values[view.series] * view.factor)
    rows: list[list[Cell]] = [[cell(float(column[i])) for column in values] for i in at]
    table: Table = {"columns": columns, "rows": rows}
    if stride > 1:
        table["note"] = f"Every {stride}th of {len(found.t_s):,} times; the CSV has all."
    return table
