"""What a figure is: traces, layout, a sentence and a table, as plain dicts.

Colours are written ``token:<name>`` or ``token:<name>/<alpha>``; the page resolves them against
its style sheet, so that one figure serves both themes.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, NotRequired, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.core.types import Floats

Cell = str | float | int | None
Trace = dict[str, Any]
Layout = dict[str, Any]

# Names, reasons and labels are cut here in figures; tables keep them whole.
LONGEST_NAME: Final = 40
CLEAR: Final = "rgba(0,0,0,0)"


class Table(TypedDict):
    """The same figures as rows. ``note`` says what was left out, if anything was."""

    columns: list[str]
    rows: list[list[Cell]]
    note: NotRequired[str]


class Plot(TypedDict):
    """One figure.

    ``summary`` is its accessible name. ``compact`` holds layout changes for narrow screens, keyed
    like ``xaxis.range``. ``empty`` says in words why there is nothing to draw; ``as_of_s`` is the
    time of the newest measurement [s]. ``live`` says whether it can still change, where that does
    not follow from the range asked for.
    """

    data: list[Trace]
    layout: Layout
    summary: str
    table: Table
    compact: NotRequired[Layout]
    empty: NotRequired[str]
    live: NotRequired[bool]
    as_of_s: NotRequired[float]


def token(name: str, alpha: float | None = None) -> str:
    """Return a colour of the style sheet, for the page to resolve."""
    return f"token:{name}" if alpha is None else f"token:{name}/{alpha:g}"


def escape(text: str, *, longest: int | None = LONGEST_NAME) -> str:
    """Return ``text`` safe inside Plotly, which reads a subset of HTML in every label."""
    cut = text if longest is None or len(text) <= longest else text[: longest - 1] + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def packed(values: Floats) -> dict[str, str]:
    """Return values as a typed array, NaN for none. Single precision: never for times."""
    return {
        "dtype": "f4",
        "bdata": base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode("ascii"),
    }


def cell(value: float | None, digits: int = 3) -> Cell:
    """Return a number for a table: rounded, whole where it is whole, ``None`` where unknown."""
    if value is None or not np.isfinite(value):
        return None
    rounded = round(float(value), digits)
    return int(rounded) if rounded == int(rounded) else rounded


def layout(**parts: Any) -> Layout:  # noqa: ANN401 - Plotly's own shapes
    """Return the layout every figure starts from, with ``parts`` on top."""
    return {
        "autosize": True,
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": token("text-2")},
        "margin": {"l": 48, "r": 16, "t": 24, "b": 44, "pad": 0},
        "showlegend": False,
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": token("card"),
            "bordercolor": token("control"),
            "font": {"color": token("text"), "size": 12},
            "align": "left",
        },
        "dragmode": "zoom",
        "uirevision": "constant",
        "modebar": {
            "bgcolor": CLEAR,
            "color": token("control"),
            "activecolor": token("accent"),
            "orientation": "h",
        },
    } | parts


def legend(side: str = "left", *, traceorder: str = "normal") -> Layout:
    """Return a legend along the top, at its ``side``; a click hides nothing, so no figure lies."""
    return {
        "orientation": "h",
        "x": 0 if side == "left" else 1,
        "y": 1,
        "xanchor": side,
        "yanchor": "top",
        "yref": "container",
        "traceorder": traceorder,
        "font": {"color": token("text")},
        "itemclick": False,
        "itemdoubleclick": False,
    }


def axis(**parts: Any) -> Layout:  # noqa: ANN401 - Plotly's own shapes
    """Return a quiet axis: thin grid, no zero line, labels that keep their room."""
    return {
        "gridcolor": token("line"),
        "linecolor": token("control"),
        "tickcolor": token("line"),
        "zeroline": False,
        "automargin": False,
        "fixedrange": True,
    } | parts


def titled(text: str) -> Layout:
    """Return an axis title."""
    return {"text": text, "standoff": 8, "font": {"size": 12}}


def nothing(text: str, columns: Sequence[str]) -> Plot:
    """Return a figure without data that says why."""
    return {
        "data": [],
        "layout": layout(),
        "summary": text,
        "table": {"columns": list(columns), "rows": []},
        "empty": text,
    }
