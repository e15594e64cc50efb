"""F12: who holds what over the automatic decisions, from when until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.charts.panels import time_axis
from controller.charts.plot import Plot, Trace, axis, escape, layout, nothing, token
from controller.core.phrases import duration, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.overrides import Span, Timeline

COLUMNS: Final = ("scope", "what", "by", "reason", "from", "until", "state")
ROW_PX: Final = 44
LEAST_ROWS: Final = 2
TOP_PX: Final = 8
BOTTOM_PX: Final = 56
COMPACT_LETTERS: Final = 34
MS: Final = 1_000.0
STATES: Final = (("active", "in force"), ("upcoming", "upcoming"), ("past", "over"))


def override_timeline(found: Timeline, clock: Clock) -> Plot:
    """Return a bar for each override and freeze, by scope, with a line at now."""
    if not found.spans:
        return nothing("No override and no freeze held or will hold in this range.", COLUMNS)
    # Reversed: the first stands on top. A place on the axis is a number, as names may repeat.
    spans = list(reversed(found.spans))
    height = TOP_PX + BOTTOM_PX + ROW_PX * max(LEAST_ROWS, len(spans))
    plot: Plot = {
        "data": [_bars(spans, found, clock, state, word) for state, word in STATES],
        "layout": layout(
            barmode="overlay",
            bargap=0.6,
            hovermode="closest",
            margin={"l": 16, "r": 16, "t": TOP_PX, "b": BOTTOM_PX},
            height=height,
            xaxis=time_axis(clock, found.since_s, found.until_s, anchor="y"),
            yaxis=axis(
                range=[-0.5, max(LEAST_ROWS, len(spans)) - 0.5],
                showticklabels=False,
                ticks="",
                showgrid=False,
            ),
            shapes=[_now_line(found, clock)],
            annotations=_labels(spans, None),
        ),
        "summary": _summary(found),
        "table": {
            "columns": list(COLUMNS),
            "rows": [_row(one, clock) for one in found.spans],
        },
        "compact": {"annotations": _labels(spans, COMPACT_LETTERS), "xaxis.nticks": 4},
        "as_of_s": found.now_s,
        "live": True,
    }
    if found.left_out:
        plot["table"]["note"] = f"{found.left_out:,} more are not shown; the list has all."
    return plot


def _bars(spans: Sequence[Span], found: Timeline, clock: Clock, state: str, word: str) -> Trace:
    rows = [(at, one) for at, one in enumerate(spans) if one.state == state]
    begins = [max(one.since_s, found.since_s) for _, one in rows]
    ends = [_end_s(one, found) for _, one in rows]
    return {
        "type": "bar",
        "orientation": "h",
        "name": word,
        "y": [at for at, _ in rows],
        "base": clock.axes(begins),
        "x": [max(0.0, end - begin) * MS for begin, end in zip(begins, ends, strict=True)],
        "marker": _look(rows, state),
        "hovertext": [_hover(one, clock) for _, one in rows],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "visible": bool(rows),
    }


def _end_s(one: Span, found: Timeline) -> float:
    return min(found.until_s if one.until_s is None else one.until_s, found.until_s)


def _look(rows: Sequence[tuple[int, Span]], state: str) -> dict[str, Any]:
    if state == "past":
        return {"color": token("muted-fill", 0.6)}
    stops = [one.kind == "freeze" for _, one in rows]
    colors = [token("crit-fill") if stop else token("accent") for stop in stops]
    if state == "active":
        return {"color": colors}
    return {
        "color": [token("card")] * len(rows),
        "line": {"width": 1, "color": colors},
        "pattern": {
            "shape": "/",
            "fillmode": "replace",
            "fgcolor": colors,
            "bgcolor": token("card"),
            "size": 6,
            "solidity": 0.3,
        },
    }


def _now_line(found: Timeline, clock: Clock) -> dict[str, Any]:
    at = clock.axis(found.now_s)
    return {
        "type": "line",
        "layer": "above",
        "xref": "x",
        "yref": "paper",
        "x0": at,
        "x1": at,
        "y0": 0,
        "y1": 1,
        "line": {"width": 1, "dash": "dot", "color": token("text")},
        "label": {
            "text": "now",
            "textposition": "end",
            "textangle": 0,
            "xanchor": "left",
            "yanchor": "top",
            "font": {"size": 12, "color": token("text")},
        },
    }


def _labels(spans: Sequence[Span], longest: int | None) -> list[Trace]:
    return [
        {
            "text": escape(f"{one.scope} · {one.label} · {one.by}", longest=longest or 90),
            "xref": "paper",
            "x": 0,
            "yref": "y",
            "y": at,
            "xanchor": "left",
            "yanchor": "bottom",
            "yshift": 8,
            "showarrow": False,
            "font": {"color": token("text-2" if one.state == "past" else "text"), "size": 12},
        }
        for at, one in enumerate(spans)
    ]


def _until(one: Span, clock: Clock) -> str:
    return "until resumed" if one.until_s is None else f"until {clock.hour(one.until_s)}"


def _hover(one: Span, clock: Clock) -> str:
    told = f"{one.label} of {one.scope} by {one.by}"
    times = f"{clock.hour(one.since_s)} {_until(one, clock)} {clock.title}"
    return "<br>".join((escape(told, longest=120), times, escape(one.reason, longest=120)))


def _row(one: Span, clock: Clock) -> list[Any]:
    until = None if one.until_s is None else clock.full(one.until_s)
    return [
        one.scope,
        one.label,
        one.by,
        one.reason,
        clock.full(one.since_s),
        until,
        dict(STATES)[one.state],
    ]


def _summary(found: Timeline) -> str:
    active = [one for one in found.spans if one.state == "active"]
    coming = sum(one.state == "upcoming" for one in found.spans)
    said = f"{plural(len(active), 'order')} of people in force, {coming} upcoming."
    ends = [one.until_s for one in active if one.until_s is not None]
    if not ends:
        return said
    return f"{said} The next ends in {duration(min(ends) - found.now_s)}."
