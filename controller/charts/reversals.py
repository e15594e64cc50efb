"""F17: which services turn round and round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.charts.plot import (
    Plot,
    Trace,
    axis,
    escape,
    layout,
    legend,
    nothing,
    titled,
    token,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.decision_counts import Reversals, Turns

COLUMNS: Final = (
    "service",
    "changes",
    "against the one before",
    "of these within 10 min of it",
)
MOST: Final = 12
"""A figure shows at most so many services; the table has all."""

ROW_PX: Final = 22
FRAME_PX: Final = 110


def reversals(found: Reversals, clock: Clock) -> Plot:
    """Return one bar a service: its changes that turn back, those soon after another apart."""
    if not found.services:
        which = " that the filters keep" if found.is_narrow else ""
        return nothing(f"No decision{which} in this range.", COLUMNS)
    rows = list(reversed(found.services[:MOST]))
    soon = {"shape": "/", "fillmode": "replace", "size": 6, "solidity": 0.5}
    return {
        "data": [
            _bars("within 10 min", rows, [one.soon for one in rows], soon),
            _bars("later", rows, [one.turned - one.soon for one in rows], {}),
        ],
        "layout": layout(
            barmode="stack",
            bargap=0.35,
            hovermode="closest",
            showlegend=True,
            legend=legend("right"),
            margin={"l": 140, "r": 16, "t": 28, "b": 48},
            height=FRAME_PX + ROW_PX * len(rows),
            xaxis=axis(
                title=titled("Changes against the one before"),
                range=[0, max(4, *(one.turned for one in rows)) * 1.05],
                tickformat=",d",
                nticks=6,
            ),
            yaxis=axis(type="category", automargin=True, showgrid=False, tickfont={"size": 12}),
        ),
        "summary": _summary(found, clock),
        "table": {
            "columns": list(COLUMNS),
            "rows": [[one.service, one.changes, one.turned, one.soon] for one in found.services],
        },
    }


def _bars(name: str, rows: Sequence[Turns], numbers: Sequence[int], pattern: Trace) -> Trace:
    look = {"fgcolor": token("warn-fill"), "bgcolor": token("card")}
    marker: Trace = {"color": token("warn-fill"), "pattern": pattern | look} if pattern else {}
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(numbers),
        "y": [escape(one.service, longest=None) for one in rows],
        "marker": marker or {"color": token("accent", 0.6)},
        "hovertemplate": f"%{{y}}: %{{x:,d}} {name}<extra></extra>",
        "customdata": [f"/decisions/?service={one.service}&changes=1" for one in rows],
    }


def _summary(found: Reversals, clock: Clock) -> str:
    span = clock.between(found.since_s, found.until_s)
    turning = [one for one in found.services if one.turned]
    if not turning:
        return f"Between {span} no change went against the one before it."
    worst = turning[0]
    return (
        f"Between {span} {len(turning)} of {len(found.services)} services turned back at least "
        f"once, most of all {escape(worst.service)}: {worst.turned} of {worst.changes} changes "
        f"went against the one before, {worst.soon} of them within 10 min."
    )
