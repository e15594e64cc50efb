"""What each split of the GPUs carries within the goals, and the best of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.charts.plot import Plot, Trace, axis, cell, layout, nothing, titled, token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.backtest_series import BacktestSeries

COLUMNS: Final = (
    "prefill",
    "decode",
    "P/D ratio",
    "simulated [requests/s]",
    "by first principles [requests/s]",
)


def curation_sweep(found: BacktestSeries, clock: Clock) -> Plot:
    """Return requests/s over prefill instances: what was simulated, above it what was computed."""
    del clock
    if not found.curation:
        return nothing("This backtest was not asked for a ratio.", COLUMNS)
    sweep, best = found.curation["sweep"], found.curation["best"]
    note = found.curation.get("note")
    return {
        "data": [_computed(sweep), _simulated(sweep)],
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
            f"{f' {note}.' if note else ''}"
        ),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    split["prefill"],
                    split["decode"],
                    cell(split["prefill"] / split["decode"]),
                    cell(_played_rps(split)),
                    cell(_first_rps(split)),
                ]
                for split in sweep
            ],
        },
        "live": False,
    }


def _played_rps(split: dict[str, Any]) -> float | None:
    return split["goodput_rps"] if split["simulated"] else None


def _first_rps(split: dict[str, Any]) -> float | None:
    """Return what was computed; earlier curations kept it only of what was not simulated."""
    unplayed = None if split["simulated"] else split["goodput_rps"]
    return split.get("computed_rps", unplayed)


def _computed(sweep: Sequence[dict[str, Any]]) -> Trace:
    return _course("by first principles", sweep, [_first_rps(split) for split in sweep]) | {
        "marker": {"symbol": "circle-open", "size": 7, "color": token("control")},
        "line": {"color": token("control"), "width": 1, "dash": "dot"},
    }


def _simulated(sweep: Sequence[dict[str, Any]]) -> Trace:
    return _course("by simulation", sweep, [_played_rps(split) for split in sweep]) | {
        "marker": {"symbol": "circle", "size": 9, "color": token("accent")},
        "line": {"color": token("accent"), "width": 2},
    }


def _course(name: str, sweep: Sequence[dict[str, Any]], rates: Sequence[float | None]) -> Trace:
    """Return a line of its own, with a gap where there is no figure."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": [split["prefill"] for split in sweep],
        "y": list(rates),
        "text": [f"{split['prefill']} prefill, {split['decode']} decode" for split in sweep],
        "hovertemplate": f"%{{text}} {name}: %{{y:,.4~g}} requests/s<extra></extra>",
        "connectgaps": False,
    }
