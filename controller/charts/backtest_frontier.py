"""What each policy of a backtest cost against what it kept: the frontier."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from controller.charts.backtest import (
    COMPACT_PX,
    LEGEND,
    LEGEND_ROW_PX,
    SYMBOLS,
    color_of,
    legend_rows,
)
from controller.charts.panels import LABEL_PX, spread
from controller.charts.plot import (
    Layout,
    Plot,
    Trace,
    axis,
    cell,
    escape,
    layout,
    nothing,
    titled,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.backtest_series import BacktestSeries, RunSeries

ROOM: Final = 0.04
"""Of the axis above 100 %, so that a point there is not cut in half."""

STEPS: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 25.0)
MOST_STEPS: Final = 7
PLOT_PX: Final = 244.0
"""Height of the figure between its margins."""

COLUMNS: Final = ("policy", "GPU-hours", "× bound", "within both goals [%]", "on the frontier")


def backtest_frontier(found: BacktestSeries, clock: Clock) -> Plot:
    """Return a point a policy; a line joins those that no other beats in both, left to right."""
    del clock
    known = [run for run in found.runs if run.attained is not None]
    legend_px = LEGEND_ROW_PX * legend_rows(found.runs, COMPACT_PX) + 8
    if not known:
        return nothing("No request arrived, so no policy kept or missed a goal.", COLUMNS)
    frontier = _frontier(known)
    lowest = min(_percent(run) for run in known)
    low = max(-2.0, lowest - max(2.0, (100 - lowest) * 0.25))
    span = low, 100 + ROOM * (100 - low)
    highest = max(run.gpu_hours for run in known)
    return {
        "data": [_line(frontier), *(_point(run) for run in known)],
        "layout": layout(
            margin={"l": 56, "r": 24, "t": 28, "b": 48},
            hovermode="closest",
            xaxis=axis(title=titled("GPU-hours"), range=[0, highest * 1.18], nticks=7),
            yaxis=axis(
                title=titled("Requests within both goals [%]"),
                range=list(span),
                tickvals=_ticks(span[0]),
            ),
            shapes=[_bound(found.bound_gpu_hours)],
            annotations=[_bound_label(found.bound_gpu_hours), *_names(known, span)],
        ),
        "summary": _summary(frontier),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    run.label,
                    cell(run.gpu_hours, 2),
                    cell(run.over_bound, 3),
                    None if run.attained is None else cell(_percent(run), 2),
                    "yes" if run in frontier else "no",
                ]
                for run in found.runs
            ],
        },
        # Names beside the points would leave a narrow figure at its right.
        "compact": {
            "showlegend": True,
            "legend": LEGEND,
            "annotations": [],
            "margin.t": legend_px,
            "height": round(PLOT_PX) + 48 + legend_px,
        },
        "live": False,
    }


def _percent(run: RunSeries) -> float:
    return 100.0 * (run.attained or 0.0)


def _frontier(runs: Sequence[RunSeries]) -> list[RunSeries]:
    """Return the runs that no other beats, cheapest first; equal ones are all among them."""
    chosen: list[RunSeries] = []
    for run in sorted(runs, key=lambda each: (each.gpu_hours, -_percent(each))):
        if not chosen or _percent(run) > _percent(chosen[-1]) or _place(run) == _place(chosen[-1]):
            chosen.append(run)
    return chosen


def _place(run: RunSeries) -> tuple[float, float]:
    return run.gpu_hours, _percent(run)


def _ticks(lowest: float) -> list[float]:
    """Return about five round percentages from ``lowest`` to 100, none above it."""
    step = next(size for size in STEPS if (100 - lowest) / size <= MOST_STEPS)
    first = math.ceil(max(lowest, 0.0) / step)
    return [round(step * i, 3) for i in range(first, round(100 / step) + 1)]


def _line(frontier: Sequence[RunSeries]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "frontier",
        "x": [run.gpu_hours for run in frontier],
        "y": [_percent(run) for run in frontier],
        "line": {"color": token("control"), "width": 1, "dash": "dot", "shape": "hv"},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _point(run: RunSeries) -> Trace:
    name = escape(run.label)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [run.gpu_hours],
        "y": [_percent(run)],
        "marker": {
            "symbol": SYMBOLS[(run.index + run.index // len(SYMBOLS)) % len(SYMBOLS)],
            "size": 11,
            "color": color_of(run.index),
        },
        "hovertemplate": f"{name}: %{{x:,.4~g}} GPU-hours, %{{y:.2f}} %<extra></extra>",
        "cliponaxis": False,
    }


def _names(runs: Sequence[RunSeries], span: tuple[float, float]) -> list[Layout]:
    """Return each point's name at its right, moved apart where points are close."""
    rising = sorted(runs, key=lambda run: (_percent(run), -run.gpu_hours))
    wanted = [(_percent(run) - span[0]) / (span[1] - span[0]) * PLOT_PX for run in rising]
    placed = spread(wanted, gap=LABEL_PX, top=PLOT_PX)
    return [
        {
            "name": "point",
            "text": escape(run.label),
            "x": run.gpu_hours,
            "y": _percent(run),
            "ax": 22,
            "ay": round(want - at, 1),
            "xanchor": "left",
            "standoff": 6,
            "showarrow": True,
            "arrowhead": 0,
            "arrowwidth": 1,
            "arrowcolor": token("control"),
            "font": {"size": 12, "color": token("text")},
        }
        for run, want, at in zip(rising, wanted, placed, strict=True)
    ]


def _bound(gpu_hours: float) -> Layout:
    return {
        "type": "line",
        "xref": "x",
        "yref": "y domain",
        "x0": gpu_hours,
        "x1": gpu_hours,
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "color": token("text")},
    }


def _bound_label(gpu_hours: float) -> Layout:
    return {
        "text": "clairvoyant bound",
        "xref": "x",
        "yref": "paper",
        "x": gpu_hours,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": token("text-2")},
    }


def _summary(frontier: Sequence[RunSeries]) -> str:
    said = [
        f"{run.label} ({run.gpu_hours:,.4g} GPU-hours, {_percent(run):.1f} %)" for run in frontier
    ]
    return f"No policy beats {', '.join(said)} in both cost and goals kept."
