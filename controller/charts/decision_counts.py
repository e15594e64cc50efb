"""F16: what the decisions of each hour came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.charts.panels import Panel, height_of, stack, time_axis
from controller.charts.plot import Plot, Trace, axis, layout, legend, nothing, token
from controller.core.types import Move

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.core.types import Counts
    from controller.selectors.decision_counts import DecisionCounts

# What it came to, its word, colour and pattern: direction is a pattern, never green or red.
OUTCOMES: Final = (
    (Move.SCALE_OUT, "out", token("accent"), ""),
    (Move.SCALE_IN, "in", token("accent", 0.55), "\\"),
    (Move.REBALANCE, "rebalance", token("third"), "-"),
    (Move.PROPOSE, "proposed", token("fourth"), "."),
    (Move.BLOCKED, "blocked", token("warn-fill"), "/"),
    ("failed", "failed", token("crit-fill"), "x"),
)
COLUMNS: Final = (
    "hour from",
    *(f"{word} [decisions]" for _, word, _, _ in OUTCOMES),
    "hold [decisions]",
    "all [decisions]",
)
HALF_HOUR_MS: Final = 1_800_000
BAR_MS: Final = 3_000_000


def decision_counts(found: DecisionCounts, clock: Clock) -> Plot:
    """Return stacked bars, one an hour; holds, which outnumber the rest, in a panel of their own.

    A decision that held over many ticks is one of each.
    """
    if not found.counts:
        return nothing(_none(narrow=found.is_narrow), COLUMNS)
    upper, lower = stack([("Decisions an hour that are no hold", 150), ("Holds an hour", 56)])
    x = clock.axes(found.hours_s + HALF_HOUR_MS / 1_000)
    shown = [one for one in OUTCOMES if one[0] in found.counts]
    traces = [
        _bars(upper, word, x, found.counts[key], color, pattern)
        for key, word, color, pattern in shown
    ]
    if Move.HOLD in found.counts:
        traces.append(_bars(lower, "hold", x, found.counts[Move.HOLD], token("muted-fill"), ""))
    return {
        "data": traces,
        "layout": layout(
            barmode="stack",
            showlegend=True,
            legend=legend("right"),
            margin={"l": 56, "r": 16, "t": 24, "b": 52},
            height=round(height_of((upper, lower))) + 76,
            xaxis=time_axis(clock, found.since_s, found.until_s, anchor=lower.axis),
            yaxis=_counted(upper),
            yaxis2=_counted(lower),
            annotations=[upper.heading(), lower.heading()],
        ),
        "summary": _summary(found, clock),
        "table": {"columns": list(COLUMNS), "rows": _rows(found, clock)},
    }


def _none(*, narrow: bool) -> str:
    which = " that the filters keep" if narrow else ""
    return f"No decision{which} in this range."


def _counted(panel: Panel) -> Trace:
    return axis(domain=[panel.bottom, panel.top], rangemode="tozero", tickformat=",d", nticks=4)


def _bars(  # noqa: PLR0913, PLR0917 - where, what, how it looks
    panel: Panel, word: str, x: list[str], counts: Counts, color: str, pattern: str
) -> Trace:
    look = {"shape": pattern, "fillmode": "overlay", "fgcolor": token("card"), "size": 6}
    return {
        "type": "bar",
        "name": word,
        "x": x,
        "y": counts.tolist(),
        "xaxis": "x",
        "yaxis": panel.axis,
        "width": BAR_MS,
        "marker": {"color": color, "pattern": look | {"solidity": 0.3}},
        "hovertemplate": "%{y:,d}",
    }


def _rows(found: DecisionCounts, clock: Clock) -> list[list[str | float | int | None]]:
    keys = [*(key for key, *_ in OUTCOMES), Move.HOLD]
    return [
        [clock.full(at_s), *(each := [_at(found, key, i) for key in keys]), sum(each)]
        for i, at_s in enumerate(found.hours_s.tolist())
    ]


def _at(found: DecisionCounts, key: str, hour: int) -> int:
    return int(found.counts[key][hour]) if key in found.counts else 0


def _summary(found: DecisionCounts, clock: Clock) -> str:
    totals = {key: int(counts.sum()) for key, counts in found.counts.items()}
    words = [(word, totals.get(key, 0)) for key, word, _, _ in OUTCOMES]
    told = ", ".join(f"{number:,} {word}" for word, number in words if number) or "no change"
    return (
        f"Between {clock.between(found.since_s, found.until_s)} {sum(totals.values()):,} "
        f"decisions: {told}, {totals.get(Move.HOLD, 0):,} hold."
    )
