"""F15: the GPUs each pool held at most in each hour, and what the next hours may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from controller.charts.panels import (
    Label,
    Panel,
    edge_labels,
    height_of,
    level,
    stack,
    time_axis,
    top_of,
)
from controller.charts.plot import (
    Cell,
    Layout,
    Plot,
    Table,
    Trace,
    axis,
    cell,
    escape,
    layout,
    nothing,
    token,
)
from controller.core.peaks import AHEAD, DAY, HOUR_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.capacity_peaks import Peaks, PoolPeaks

COLUMNS: Final = (
    "hour from",
    "cluster",
    "hardware",
    "kind",
    "peak [GPUs held]",
    "band from [GPUs]",
    "band to [GPUs]",
    "usable now [GPUs]",
)
MOST_POOLS: Final = 6
PANEL_PX: Final = 120


def peak_forecast(found: Peaks, clock: Clock) -> Plot:
    """Return a panel a pool: steps of the last day, and dotted what is forecast, with its band."""
    if not found.pools:
        return nothing("Nobody has counted a pool in the last two days.", COLUMNS)
    shown = found.pools[:MOST_POOLS]
    this_s = found.now_s // HOUR_S * HOUR_S
    since_s, until_s = this_s - DAY * HOUR_S, this_s + (AHEAD + 1) * HOUR_S
    panels = stack([(_title(pool), PANEL_PX) for pool in shown])
    traces: list[Trace] = []
    shapes: list[Layout] = []
    notes: list[Layout] = []
    axes: dict[str, Layout] = {}
    for panel, pool in zip(panels, shown, strict=True):
        drawn = _Drawn(panel, pool, clock, since_s)
        traces += drawn.traces()
        shapes += drawn.shapes(found.now_s)
        notes += drawn.notes(found.now_s)
        axes[panel.key] = drawn.axis()
    height = height_of(panels) + 60
    return {
        "data": traces,
        "layout": layout(
            margin={"l": 48, "r": 116, "t": 8, "b": 52},
            height=height,
            hovermode="closest",
            xaxis=time_axis(clock, since_s, until_s, anchor=panels[-1].axis),
            shapes=shapes,
            annotations=notes,
            **axes,
        ),
        "summary": _summary(found, clock),
        "table": _table(found, clock),
        "as_of_s": found.now_s,
        "live": True,
    }


class _Drawn:
    """One pool in its panel."""

    def __init__(self, panel: Panel, pool: PoolPeaks, clock: Clock, since_s: float) -> None:
        self._panel, self._pool, self._clock = panel, pool, clock
        self._seen = [(at_s, peak) for at_s, peak in pool.peaks if at_s >= since_s]
        self._ahead = pool.forecast.hours

    @property
    def _top(self) -> float:
        values = [peak for _, peak in self._seen]
        values += [hour.high or hour.peak for hour in self._ahead]
        return top_of(np.array(values or [0.0]), np.array([self._pool.usable or 0.0]), floor=1.0)

    def axis(self) -> Layout:
        return axis(
            domain=[self._panel.bottom, self._panel.top],
            range=[0, self._top],
            tickformat=",d",
            nticks=4,
        )

    def traces(self) -> list[Trace]:
        seen = self._line("held at most", [one[0] for one in self._seen], token("accent"), "solid")
        seen["y"] = [peak for _, peak in self._seen]
        # A step is drawn to the end of its hour.
        if self._seen:
            seen["x"].append(self._clock.axis(self._seen[-1][0] + HOUR_S))
            seen["y"].append(self._seen[-1][1])
        if not self._ahead:
            return [seen]
        hours = [hour.since_s for hour in self._ahead]
        line = self._line("forecast", [*hours, hours[-1] + HOUR_S], token("accent"), "dot")
        line["y"] = [*(hour.peak for hour in self._ahead), self._ahead[-1].peak]
        return [seen, *self._band(hours), line]

    def _band(self, hours: Sequence[int]) -> list[Trace]:
        known = [(hour.low, hour.high) for hour in self._ahead if hour.low is not None]
        if len(known) < len(self._ahead):
            return []
        ends = [*hours, hours[-1] + HOUR_S]
        low = self._line("band from", ends, token("accent", 0.35), "dot", width=0)
        low["y"] = [*(one[0] for one in known), known[-1][0]]
        high = self._line("band to", ends, token("accent", 0.35), "dot", width=0)
        high["y"] = [*(one[1] for one in known), known[-1][1]]
        return [low, high | {"fill": "tonexty", "fillcolor": token("accent", 0.16)}]

    def _line(
        self, name: str, times_s: Sequence[int], color: str, dash: str, width: int = 2
    ) -> Trace:
        return {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": self._clock.axes(times_s),
            "xaxis": "x",
            "yaxis": self._panel.axis,
            "connectgaps": False,
            "line": {"color": color, "width": width, "dash": dash, "shape": "hv"},
            "hovertemplate": f"{name} %{{y:,.0f}} GPUs from %{{x|%H:%M}}<extra></extra>",
        }

    def shapes(self, now_s: float) -> list[Layout]:
        at = self._clock.axis(now_s)
        now = level(self._panel, 0, dash="dot", color=token("control")) | {
            "xref": "x",
            "x0": at,
            "x1": at,
            "yref": f"{self._panel.axis} domain",
            "y1": 1,
        }
        usable = self._pool.usable
        return [now] if usable is None else [now, level(self._panel, usable)]

    def notes(self, now_s: float) -> list[Layout]:
        pool, labels = self._pool, []
        if pool.usable is not None:
            labels.append(Label(pool.usable, f"usable {pool.usable:,}", token("text")))
        if highest := pool.forecast.highest:
            labels.append(Label(highest.peak, f"peak ≈ {highest.peak:,.0f}", token("accent")))
        notes = [self._panel.heading(), *edge_labels(self._panel, labels, span=(0, self._top))]
        if pool.forecast.lacking:
            notes.append(
                {
                    "text": pool.forecast.lacking,
                    "xref": "x",
                    "x": self._clock.axis(now_s + AHEAD / 2 * HOUR_S),
                    "yref": f"{self._panel.axis} domain",
                    "y": 0.5,
                    "showarrow": False,
                    "width": 150,
                    "font": {"size": 11, "color": token("text-2")},
                }
            )
        return notes


def _title(pool: PoolPeaks) -> str:
    return f"{escape(pool.cluster)} · {escape(pool.hardware)}: GPUs held, peak of each hour"


def _table(found: Peaks, clock: Clock) -> Table:
    rows: list[list[Cell]] = []
    for pool in found.pools:
        own: list[Cell] = [pool.cluster, pool.hardware]
        rows += [
            [clock.full(at_s), *own, "measured", cell(peak, 0), None, None, None]
            for at_s, peak in pool.peaks
        ]
        rows += [
            [
                clock.full(hour.since_s),
                *own,
                "forecast",
                *(cell(value, 0) for value in (hour.peak, hour.low, hour.high)),
                pool.usable,
            ]
            for hour in pool.forecast.hours
        ]
    table: Table = {"columns": list(COLUMNS), "rows": rows}
    if len(found.pools) > MOST_POOLS:
        table["note"] = f"{MOST_POOLS} of {len(found.pools)} pools are drawn, the fullest."
    return table


def sentence(pool: PoolPeaks, clock: Clock) -> str:
    """Return what is expected of a pool, or why nothing is."""
    where = f"{pool.hardware} in {pool.cluster}"
    highest = pool.forecast.highest
    if highest is None:
        return f"{where}: {pool.forecast.lacking[0].lower()}{pool.forecast.lacking[1:]}"
    of = "" if pool.usable is None else f" of {pool.usable:,} usable"
    said = (
        f"{where} is forecast to hold at most {highest.peak:,.0f}{of} GPUs in the next "
        f"{AHEAD} h, from {clock.hour(highest.since_s)} {clock.title}"
    )
    if highest.low is not None and highest.high is not None:
        return f"{said} (band {highest.low:,.0f}–{highest.high:,.0f})."
    return f"{said}; how wrong this may be is not known before {2 * DAY} h of history."


def _summary(found: Peaks, clock: Clock) -> str:
    told = [sentence(pool, clock) for pool in found.pools[:3]]
    return " ".join(text[0].upper() + text[1:] for text in told)
