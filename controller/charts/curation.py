"""What each split of the GPUs carries within the goals, and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.charts.plot import Plot, Trace, axis, cell, layout, nothing, titled, token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.backtest_series import BacktestSeries

COLUMNS: Final = ("prefill", "decode", "P/D ratio", "goodput [requests/s]", "found by")
WORDS: Final = {True: "simulation", False: "first principles"}


def curation_sweep(found: BacktestSeries, clock: Clock) -> Plot:
    """Return requests/s over prefill instances; simulated splits are full, computed ones open."""
    del clock
    if not found.curation:
        return nothing("This backtest was not asked for a ratio.", COLUMNS)
    sweep, best = found.curation["sweep"], found.curation["best"]
    return {
        "data": [_line(sweep), *(_points(sweep, simulated=kind) for kind in (True, False))],
        "layout": layout(
            margin={"l": 56, "r": 24, "t": 48, "b": 48},
            hovermode="closest",
            showlegend=True,
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"},
            xaxis=axis(title=titled("Prefill instances"), nticks=8),
            yaxis=axis(title=titled("Within both goals [requests/s]"), rangemode="tozero"),
        ),
        "summary": (
            f"Of {found.curation['gpus']} GPUs {best['prefill']} prefill and {best['decode']} "
            f"decode instances carry most: {best['goodput_rps']:,.4g} requests/s."
        ),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    split["prefill"],
                    split["decode"],
                    cell(split["prefill"] / split["decode"]),
                    cell(split["goodput_rps"]),
                    WORDS[split["simulated"]],
                ]
                for split in sweep
            ],
        },
        "live": False,
    }


def _line(sweep: Sequence[dict[str, Any]]) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [split["prefill"] for split in sweep],
        "y": [split["goodput_rps"] for split in sweep],
        "line": {"color": token("control"), "width": 1},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _points(sweep: Sequence[dict[str, Any]], *, simulated: bool) -> Trace:
    shown = [split for split in sweep if split["simulated"] is simulated]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"by {WORDS[simulated]}",
        "x": [split["prefill"] for split in shown],
        "y": [split["goodput_rps"] for split in shown],
        "text": [f"{split['prefill']} prefill, {split['decode']} decode" for split in shown],
        "marker": {
            "symbol": "circle" if simulated else "circle-open",
            "size": 9,
            "color": token("accent"),
        },
        "hovertemplate": "%{text}: %{y:,.4~g} requests/s<extra></extra>",
    }
