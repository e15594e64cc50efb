"""F10: the signals a decision read, a quarter of an hour before and after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from controller.charts.driver import Driver
from controller.charts.panels import (
    Brush,
    Label,
    Panel,
    edge_labels,
    height_of,
    level,
    rect,
    stack,
    time_axis,
    top_of,
)
from controller.charts.plot import Layout, Plot, Trace, axis, cell, layout, nothing, token
from controller.core.types import SIGNAL_INDEX, SIGNALS, Role
from controller.core.words import number

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.core.types import Floats
    from controller.selectors.series import DecisionWindow

MAX_INPUTS: Final = 4
MS: Final = 1_000.0
MARGIN_S: Final = 900
ALWAYS: Final = ("ttft_s", "tbt_s")
SYMBOLS: Final = {Role.PREFILL: "circle", Role.DECODE: "square"}


@dataclass(frozen=True, slots=True)
class Input:
    """One signal as shown: ``values`` of shape ``(T,)`` in ``unit``, its role and its limit."""

    title: str
    unit: str
    role: Role
    values: Floats
    goal: float | None
    goal_word: str
    band: tuple[float, float] | None


def decision_window(window: DecisionWindow, clock: Clock) -> Plot:
    """Return one panel an input, the driver first, with the evaluation window shaded."""
    series, mark = window.series, window.record.mark
    inputs = _inputs(window)
    columns = ["time", *(f"{given.title} [{given.unit}]" for given in inputs)]
    if not len(series.times_s):
        return nothing(
            f"No samples are kept around {clock.hour(mark.first_s)} {clock.title}; the inputs "
            "the decision read are in its record.",
            columns,
        )
    panels = stack([(f"{given.title} [{given.unit}]", 110) for given in inputs])
    brush = Brush(series.times_s, series.step_s, clock, np.empty(0, dtype=np.int64))
    parts = [
        _panel(given, panel, brush, window) for given, panel in zip(inputs, panels, strict=True)
    ]
    axes: dict[str, Layout] = {}
    for part in parts:
        axes |= part[1]
    return {
        "data": [part[0] for part in parts],
        "layout": layout(
            margin={"l": 52, "r": 104, "t": 4, "b": 56},
            height=height_of(panels) + 60,
            hoversubplots="axis",
            xaxis=time_axis(
                clock,
                mark.first_s - MARGIN_S,
                max(mark.first_s + MARGIN_S, series.until_s),
                anchor=panels[-1].axis,
                domain=[0, 1],
            ),
            shapes=[shape for part in parts for shape in part[2]],
            annotations=[
                *(panel.heading() for panel in panels),
                *(label for part in parts for label in part[3]),
                _now_label(panels[0], clock.axis(mark.first_s)),
            ],
            **axes,
        ),
        "summary": _summary(window, inputs, clock),
        "table": {
            "columns": columns,
            "rows": [
                [
                    clock.full(float(at_s)),
                    *(cell(float(given.values[i]), 3) for given in inputs),
                ]
                for i, at_s in enumerate(series.times_s)
            ],
        },
        "as_of_s": float(series.times_s[-1]),
        "live": series.until_s < mark.first_s + MARGIN_S,
    }


def _inputs(window: DecisionWindow) -> list[Input]:
    series = window.series
    driver = Driver.of(series)
    shown = [
        Input(
            driver.title.rsplit(" [", 1)[0],
            driver.unit,
            driver.role,
            driver.counted,
            driver.target,
            "target" if driver.configured is None else "in use",
            (driver.floor, driver.ceiling),
        )
    ]
    named = [given.name for given in window.record.inputs if given.name in SIGNAL_INDEX]
    for name in dict.fromkeys([*named, *ALWAYS]):
        if name != driver.kind.name and len(shown) < MAX_INPUTS:
            shown.append(_plain(window, name))
    return shown


def _plain(window: DecisionWindow, name: str) -> Input:
    kind = SIGNALS[SIGNAL_INDEX[name]]
    values = window.series.signals[name]
    title = kind.label[:1].upper() + kind.label[1:]
    slo = {"ttft_s": window.series.spec.slo.ttft_s, "tbt_s": window.series.spec.slo.tbt_s}
    if kind.unit == "s":
        goal = MS * slo[name] if name in slo else None
        return Input(title, "ms", kind.role, MS * values, goal, "SLO", None)
    if kind.unit == "share":
        return Input(title, "%", kind.role, 100.0 * values, None, "", None)
    return Input(title, kind.unit, kind.role, values, None, "", None)


def _panel(
    given: Input, panel: Panel, brush: Brush, window: DecisionWindow
) -> tuple[Trace, dict[str, Layout], list[Layout], list[Layout]]:
    clock, at_s = brush.clock, window.record.mark.first_s
    top = top_of(
        given.values, floor=1.2 * max(given.goal or 0.0, (given.band or (0, 0))[1]) or 1.0
    )
    color = token(given.role.value)
    labels = [
        *([Label(given.goal, f"{given.goal_word} {number(given.goal)}")] if given.goal else []),
        *_last(given, color),
    ]
    shapes = [
        rect(
            panel,
            (clock.axis(at_s - window.window_s), clock.axis(at_s)),
            None,
            token("accent", 0.16),
        ),
        {
            "type": "line",
            "xref": "x",
            "yref": f"{panel.axis} domain",
            "x0": clock.axis(at_s),
            "x1": clock.axis(at_s),
            "y0": 0,
            "y1": 1,
            "line": {"width": 1, "color": token("text")},
        },
        *([rect(panel, None, given.band, token("muted-fill", 0.14))] if given.band else []),
        *([level(panel, given.goal)] if given.goal else []),
    ]
    return (
        brush.line(
            panel,
            given.title,
            given.values,
            color=color,
            symbol=SYMBOLS[given.role],
            hover=",.0f" if top >= 100 else ",.3~g",  # noqa: PLR2004 - three digits are enough
        ),
        {panel.key: axis(domain=[panel.bottom, panel.top], range=[0, top], nticks=5, anchor="x")},
        shapes,
        edge_labels(panel, labels, span=(0, top)),
    )


def _last(given: Input, color: str) -> list[Label]:
    known = given.values[np.isfinite(given.values)]
    return (
        [Label(float(known[-1]), f"{number(float(known[-1]))} last", color)] if len(known) else []
    )


def _now_label(panel: Panel, x: str) -> Layout:
    return {
        "text": "decided",
        "xref": "x",
        "x": x,
        "yref": f"{panel.axis} domain",
        "y": 1,
        "xanchor": "left",
        "yanchor": "top",
        "xshift": 4,
        "showarrow": False,
        "font": {"size": 12, "color": token("text")},
    }


def _summary(window: DecisionWindow, inputs: list[Input], clock: Clock) -> str:
    mark, series = window.record.mark, window.series
    inside = (series.times_s > mark.first_s - window.window_s) & (series.times_s <= mark.first_s)
    said = []
    for given in inputs:
        known = given.values[inside & np.isfinite(given.values)]
        goal = f" ({given.goal_word} {number(given.goal)})" if given.goal else ""
        mean = f"{number(float(known.mean()))} {given.unit}" if len(known) else "not reported"
        said.append(f"{given.title} {mean}{goal}")
    return (
        f"In the {window.window_s:g} s before {clock.hour(mark.first_s)} {clock.title}: "
        f"{'; '.join(said)}."
    )
