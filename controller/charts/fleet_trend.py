"""F3: how much of the fleet is allocated, and how much of that works."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from controller.charts.marks import lane_marks
from controller.charts.panels import Brush, Label, edge_labels, stack, time_axis
from controller.charts.plot import Plot, axis, cell, layout, nothing, token

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.selectors.fleet_series import FleetTrend

COLUMNS: Final = (
    "time",
    "allocated [% of schedulable GPUs]",
    "busy [% of schedulable GPUs]",
    "schedulable [GPUs]",
)


def fleet_trend(trend: FleetTrend, clock: Clock) -> Plot:
    """Return two lines from 0 to 100 %; the band between them is allocated but idle."""
    if not len(trend.times_s):
        return nothing("No fleet history in this range yet.", COLUMNS)
    panel, lane = stack([("GPUs [% of schedulable]", 196), ("", 22)])
    brush = Brush(trend.times_s, trend.step_s, clock, np.empty(0, dtype=np.int64))
    allocated, busy = trend.allocated_frac * 100, trend.busy_frac * 100
    line = brush.line(
        panel, "busy", busy, color=token("third"), hover=".0f", symbol="circle", width=2
    )
    outline = brush.line(panel, "allocated", allocated, color=token("text"), hover=".0f", width=2)
    # The filled band needs both lines at the same times: bins of at most 1,000 are never thinned.
    outline |= {"fill": "tonexty", "fillcolor": token("warn-fill", 0.18)}
    labels = [
        Label(_last(allocated), f"allocated {_last(allocated):.0f} %", token("text")),
        Label(_last(busy), f"busy {_last(busy):.0f} %", token("third")),
    ]
    return {
        "data": [line, outline, lane_marks(lane, trend.decisions, clock)],
        "layout": layout(
            margin={"l": 44, "r": 104, "t": 8, "b": 52},
            xaxis=time_axis(clock, trend.since_s, trend.until_s, anchor=lane.axis),
            yaxis=axis(domain=[panel.bottom, panel.top], range=[0, 104], ticksuffix="", dtick=25),
            yaxis2=axis(
                domain=[lane.bottom, lane.top],
                range=[-1, 1],
                showgrid=False,
                showticklabels=False,
                ticks="",
            ),
            annotations=[panel.heading(), *edge_labels(panel, labels, span=(0, 104))],
        ),
        "summary": _summary(trend, allocated, busy, clock),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [clock.full(at_s), cell(some, 1), cell(working, 1), cell(whole, 0)]
                for at_s, some, working, whole in zip(
                    trend.times_s.tolist(),
                    allocated.tolist(),
                    busy.tolist(),
                    trend.schedulable.tolist(),
                    strict=True,
                )
            ],
        },
        "as_of_s": min(float(trend.times_s[-1]) + trend.step_s, trend.until_s),
    }


def _last(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) else float("nan")


def _summary(trend: FleetTrend, allocated: np.ndarray, busy: np.ndarray, clock: Clock) -> str:
    span = clock.between(float(trend.times_s[0]), float(trend.times_s[-1]))
    waste = float(np.nanmean(allocated - busy)) if np.isfinite(allocated - busy).any() else 0.0
    return (
        f"Between {span} allocation was "
        f"{np.nanmin(allocated):.0f}–{np.nanmax(allocated):.0f} % of the schedulable GPUs and "
        f"{np.nanmin(busy):.0f}–{np.nanmax(busy):.0f} % were busy; on average {waste:.0f} % were "
        f"held but idle. {len(trend.decisions) + trend.left_out:,} changes carried out."
    )
