"""F11: the nodes of each S1 a service uses, how full they are, and its instances on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.charts.plot import (
    CLEAR,
    Cell,
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
from controller.core.phrases import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from controller.charts.clock import Clock
    from controller.selectors.placement_map import Cell as NodeCell
    from controller.selectors.placement_map import PlacementMap, Row

COLUMNS: Final = (
    "S1 domain",
    "position",
    "node",
    "GPUs",
    "GPUs in use",
    "in use [%]",
    "prefill instances",
    "decode instances",
)
NO_NAME: Final = "no S1 named"
ROW_PX: Final = 40
TOP_PX: Final = 48
BOTTOM_PX: Final = 48
LEAST_ROWS: Final = 3
LETTERS: Final = 4
"""More letters than this are counted: "6P 8D"."""
WIDE: Final = 16
"""Columns that leave room for a percentage in each cell."""
COMPACT_COLUMNS: Final = 6
PERCENT: Final = 100


def placement_map(found: PlacementMap, clock: Clock) -> Plot:
    """Return a heat map: a row an S1, a column a node, deeper where more GPUs are in use.

    Cells whose use nobody knows are a trace of their own, without colour and with a "?".
    """
    del clock
    if not found.rows:
        return nothing(_nothing(found), COLUMNS)
    # Reversed: the first domain stands on top.
    rows = list(reversed(found.rows))
    names = [_name(row) for row in rows]
    width = max(len(row.cells) for row in rows)
    plot: Plot = {
        "data": [
            _cells(rows, names, width, is_known=True),
            _cells(rows, names, width, is_known=False),
        ],
        "layout": layout(
            hovermode="closest",
            margin={
                "l": min(190, 20 + 7 * max(map(len, names))),
                "r": 16,
                "t": TOP_PX,
                "b": BOTTOM_PX,
            },
            xaxis=axis(
                range=[0.5, width + 0.5],
                title=titled("Node, by its position in the domain"),
                showgrid=False,
                dtick=max(1, -(-width // WIDE)),
                fixedrange=False,
            ),
            yaxis=axis(
                type="category",
                categoryorder="array",
                categoryarray=names,
                showgrid=False,
                range=[-0.5, max(len(names), LEAST_ROWS) - 0.5],
                tickfont={"color": token("text")},
                dtick=1,
            ),
            coloraxis=_scale(),
            height=TOP_PX + BOTTOM_PX + ROW_PX * max(len(names), LEAST_ROWS),
        ),
        "summary": _summary(found),
        "table": {"columns": list(COLUMNS), "rows": _rows(found)},
        # The words above the figure say what the colour is; a scale has no room here.
        "compact": {
            "coloraxis.showscale": False,
            "margin.t": 12,
            "height": 12 + BOTTOM_PX + ROW_PX * max(len(names), LEAST_ROWS),
            "xaxis.range": [0.5, min(width, COMPACT_COLUMNS) + 0.5],
            "xaxis.dtick": 1,
            "dragmode": "pan",
            "yaxis.tickfont.size": 11,
        },
        "live": True,
    }
    if found.observed_s is not None:
        plot["as_of_s"] = found.observed_s
    if left := _left_out(found):
        plot["table"]["note"] = left
    return plot


def _scale() -> dict[str, Any]:
    # One hue that only gets deeper, and never so deep that text on it is hard to read.
    return {
        "cmin": 0,
        "cmax": PERCENT,
        "colorscale": [[0, token("accent", 0.04)], [1, token("accent", 0.5)]],
        "colorbar": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "len": 0.5,
            "thickness": 10,
            "outlinewidth": 0,
            "tickvals": [0, 25, 50, 75, 100],
            "ticktext": ["0 %", "25 %", "50 %", "75 %", "100 % of GPUs in use"],
            "tickfont": {"color": token("text-2"), "size": 11},
        },
    }


def _cells(rows: Sequence[Row], names: Sequence[str], width: int, *, is_known: bool) -> Trace:
    def each(what: Callable[[Row, NodeCell], Any], other: object) -> list[list[Any]]:
        return [
            [
                what(row, row.cells[at])
                if at < len(row.cells) and (row.cells[at].share is not None) is is_known
                else other
                for at in range(width)
            ]
            for row in rows
        ]

    roomy = width <= WIDE
    look: Trace = {"coloraxis": "coloraxis"}
    if not is_known:
        look = {"colorscale": [[0, CLEAR], [1, CLEAR]], "zmin": 0, "zmax": 1, "showscale": False}
    return {
        "type": "heatmap",
        "name": "share in use" if is_known else "use not known",
        "x": list(range(1, width + 1)),
        "y": list(names),
        "z": each(lambda _, one: _percent(one) if is_known else 0, None),
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "text": each(lambda _, one: _text(one, roomy=roomy), ""),
        "texttemplate": "%{text}",
        "textfont": {"color": token("text"), "size": 11},
        "hovertext": each(_hover, ""),
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": each(lambda _, one: one.address, ""),
    } | look


def letters(one: NodeCell) -> str:
    """Return the instances on a node: "PPDD", or "6P 8D" where there are many."""
    if one.prefill + one.decode <= LETTERS:
        return "P" * one.prefill + "D" * one.decode
    many = ((one.prefill, "P"), (one.decode, "D"))
    return " ".join(f"{count}{letter}" for count, letter in many if count)


def _text(one: NodeCell, *, roomy: bool) -> str:
    if one.share is None:
        return f"{letters(one)} ?".strip()
    figure = f"{_percent(one):.0f} %" if roomy else ""
    return "<br>".join(filter(None, (letters(one), figure)))


def _percent(one: NodeCell) -> float | None:
    return None if one.share is None else PERCENT * one.share


def _hover(row: Row, one: NodeCell) -> str:
    has = "GPUs not counted" if one.gpus is None else f"{one.used} of {one.gpus} GPUs in use"
    if one.gpus is not None and one.used is None:
        has = f"{one.gpus} GPUs, their use is not known"
    mine = f"<br>{one.prefill} prefill, {one.decode} decode of this service"
    state = f"<br>{escape(one.word)}" if one.word else ""
    return f"{escape(one.node)} in {_name(row)}<br>{has}{mine}{state}"


def _name(row: Row) -> str:
    return escape(row.name, longest=24) if row.name else NO_NAME


def _rows(found: PlacementMap) -> list[list[Cell]]:
    return [
        [
            row.name or NO_NAME,
            at,
            one.node,
            one.gpus,
            one.used,
            cell(_percent(one), 1),
            one.prefill,
            one.decode,
        ]
        for row in found.rows
        for at, one in enumerate(row.cells, start=1)
    ]


def _nothing(found: PlacementMap) -> str:
    if found.unknown:
        return f"{_unknown(found)}: there is no domain to draw."
    return f"No instance of {found.service} is on a node, so there is no domain to draw."


def _unknown(found: PlacementMap) -> str:
    nodes = "node that is" if found.unknown == 1 else "nodes that are"
    return f"{found.service} runs on {found.unknown:,} {nodes} not in the inventory"


def _left_out(found: PlacementMap) -> str:
    shown = sum(bool(row.name) for row in found.rows)
    if shown >= found.domains:
        return ""
    return f"The first {shown} of {found.domains:,} S1 domains, by name."


def _summary(found: PlacementMap) -> str:
    used = [one for row in found.rows for one in row.cells if one.prefill or one.decode]
    nodes, domains = plural(len(used), "node"), plural(found.domains, "S1 domain")
    said = f"{found.service} is on {nodes} of {domains}."
    if found.unknown:
        said += f" {_unknown(found)}."
    if left := _left_out(found):
        said += f" {left}"
    return said
