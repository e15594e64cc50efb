"""Each signal against the load: one small panel a signal, one point a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from controller.charts.plot import (
    Cell,
    Layout,
    Plot,
    Trace,
    axis,
    cell,
    escape,
    layout,
    nothing,
    packed,
    token,
)
from controller.core.signal_study import LOAD, STUDIED
from controller.core.types import SIGNAL_INDEX, SIGNALS, Role

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.core.signal_study import Studied
    from controller.core.types import Counts
    from controller.selectors.signal_samples import StudyOf

MOST_POINTS: Final = 400
WIDE: Final = 3
NARROW: Final = 2
PANEL_PX: Final = 190
SYMBOLS: Final = {Role.PREFILL: "circle", Role.DECODE: "square"}
COLUMNS: Final = (
    "window from",
    "requests [req/s]",
    *(
        f"{SIGNALS[SIGNAL_INDEX[name]].label} [{SIGNALS[SIGNAL_INDEX[name]].unit}]"
        for name in STUDIED
    ),
)


def signals(found: StudyOf, clock: Clock) -> Plot:
    """Return a scatter a signal: its mean in a window over the requests of the window."""
    study = found.found
    asked = np.isfinite(study.means[LOAD])
    windows = np.flatnonzero(asked)
    if not len(windows):
        return nothing(study.lacking, COLUMNS)
    shown = thinned(windows)
    drawn: Plot = {
        "data": [
            _points(
                each, study.loads[each.kind.name][shown], study.means[each.kind.name][shown], at
            )
            for at, each in enumerate(study.signals)
        ],
        "layout": layout(
            margin={"l": 44, "r": 12, "t": 30, "b": 24},
            hovermode="closest",
            annotations=_headings(study.signals, WIDE),
            **_axes(len(study.signals), WIDE),
        ),
        "summary": _summary(found, len(windows)),
        "table": {
            "columns": list(COLUMNS),
            "rows": [_row(found, int(at), clock) for at in shown],
        },
        "compact": {
            "annotations": _headings(study.signals, NARROW),
            "height": PANEL_PX * -(-len(study.signals) // NARROW),
            "margin.l": 36,
            **{
                f"{name}.domain": place
                for name, place in _domains(len(study.signals), NARROW).items()
            },
        },
    }
    if len(shown) < len(windows):
        drawn["table"]["note"] = f"{len(shown)} of {len(windows)} windows, evenly spread."
    return drawn


def thinned(windows: Counts) -> Counts:
    """Return at most 400 windows, evenly spread, the first and the last among them."""
    if len(windows) <= MOST_POINTS:
        return windows
    return windows[np.linspace(0, len(windows) - 1, MOST_POINTS).round().astype(np.int64)]


def _number(at: int) -> str:
    return "" if at == 0 else f"{at + 1}"


def _points(each: Studied, load: object, means: object, at: int) -> Trace:
    unit = "%" if each.kind.unit == "share" else each.kind.unit
    scale = 100.0 if each.kind.unit == "share" else 1.0
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(each.kind.label),
        "x": packed(np.asarray(load)),
        "y": packed(scale * np.asarray(means)),
        "xaxis": f"x{_number(at)}",
        "yaxis": f"y{_number(at)}",
        "marker": {
            "symbol": SYMBOLS[each.kind.role],
            "size": 4,
            "opacity": 0.6,
            "color": token(each.kind.role.value),
        },
        "hovertemplate": f"%{{y:,.3~g}} {unit} at %{{x:,.3~g}} req/s<extra></extra>",
    }


def _place(at: int, count: int, columns: int) -> tuple[list[float], list[float]]:
    """Return where a panel lies as shares of the width and of the height."""
    rows, row, column = -(-count // columns), at // columns, at % columns
    gap_x, gap_y = 0.08 if columns == WIDE else 0.14, 0.34 / rows
    width, height = (1 - gap_x * (columns - 1)) / columns, (1 - gap_y * (rows - 1)) / rows
    left, top = column * (width + gap_x), 1 - row * (height + gap_y)
    return [left, min(left + width, 1.0)], [max(top - height, 0.0), top]


def _domains(count: int, columns: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for at in range(count):
        x, y = _place(at, count, columns)
        found |= {f"xaxis{_number(at)}": x, f"yaxis{_number(at)}": y}
    return found


def _axes(count: int, columns: int) -> Layout:
    return {
        name: axis(
            domain=domain,
            anchor=f"{'y' if name.startswith('x') else 'x'}{name.removeprefix(name[:5])}",
            rangemode="tozero",
            nticks=4,
            tickfont={"size": 11},
        )
        for name, domain in _domains(count, columns).items()
    }


def _headings(found: tuple[Studied, ...], columns: int) -> list[Layout]:
    heads = []
    for at, each in enumerate(found):
        x, y = _place(at, len(found), columns)
        unit = "%" if each.kind.unit == "share" else each.kind.unit
        heads.append(
            {
                "name": "heading",
                "text": f"{_short(each, columns)} [{unit}]",
                "xref": "paper",
                "yref": "paper",
                "x": x[0],
                "y": y[1],
                "xanchor": "left",
                "yanchor": "bottom",
                "yshift": 3,
                "showarrow": False,
                "font": {"size": 12, "color": token("text-2")},
            }
        )
    return heads


SHORT: Final = {
    "decode_tps": "decode tokens",
    "prefill_tps_uncached": "uncached prefill",
    "prefill_util": "prefill GPU",
    "prefill_sm": "prefill SM",
    "prefill_tps": "prefill, cached too",
    "decode_util": "decode GPU",
    "decode_sm": "decode SM",
    "tbt_s": "TBT p95",
    "ttft_s": "TTFT p95",
}


def _short(each: Studied, columns: int) -> str:
    # Two panels a row leave no room for the whole name.
    return SHORT[each.kind.name] if columns == NARROW else escape(each.kind.label)


def _row(found: StudyOf, at: int, clock: Clock) -> list[Cell]:
    study = found.found
    return [
        clock.full(float(study.starts_s[at])),
        cell(float(study.means[LOAD][at])),
        *(cell(float(study.means[name][at]), 4) for name in STUDIED),
    ]


def _summary(found: StudyOf, windows: int) -> str:
    best = found.found.advised(found.driver)
    told = f" {best.kind.label} follows it closely." if best else ""
    return (
        f"{found.name}: nine signals against the requests in {windows} windows of "
        f"{found.found.window_s / 60:g} min.{told}"
    )
