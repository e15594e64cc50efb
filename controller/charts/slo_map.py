"""F1: which service met its SLO when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.charts.clock import link_time
from controller.charts.plot import Plot, Trace, axis, cell, escape, layout, nothing, titled, token

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.selectors.fleet_series import ServiceBins, SloBins

COLUMNS: Final = ("time", "service", "state", "breaching [% of samples]")
WORDS: Final = ("within SLO", "some samples over the SLO", "over the SLO", "unknown")
GLYPHS: Final = ("✓", "!", "✕", "?")
# A link opens the service half an hour before and after the column.
MARGIN_S: Final = 1_800
COMPACT_COLUMNS: Final = 16
ROW_PX: Final = 24


def slo_map(bins: SloBins, clock: Clock) -> Plot:
    """Return a heat map, one row a service and one column a bin, four states with a glyph each.

    Quiet states (met, unknown) and loud ones (some, breach) are two traces, because a trace has
    one text colour.
    """
    if not bins.rows:
        return nothing("No services yet, so there is no SLO to map.", COLUMNS)
    starts = [bins.since_s + i * bins.bin_s for i in range(bins.columns)]
    until_s = bins.since_s + bins.columns * bins.bin_s
    # Reversed: the first service stands on top.
    rows = list(reversed(bins.rows))
    quiet = _cells(bins, rows, clock, (0, 3), token("text-2"))
    loud = _cells(bins, rows, clock, (1, 2), token("on-accent"))
    names = [escape(row.slug, longest=24) for row in rows]
    compact_since_s = until_s - COMPACT_COLUMNS * bins.bin_s
    plot: Plot = {
        "data": [quiet, loud],
        "layout": layout(
            hovermode="closest",
            margin={"l": min(190, 20 + 7 * max(map(len, names))), "r": 12, "t": 28, "b": 44},
            xaxis=axis(
                type="date",
                range=[clock.axis(bins.since_s), clock.axis(until_s)],
                title=titled(f"Time in {bins.bin_s / 60:g}-min columns, {clock.title}"),
                showgrid=False,
                nticks=8,
                tickangle=0,
                tickformat="%H:%M",
                fixedrange=False,
            ),
            yaxis=axis(
                type="category",
                categoryorder="array",
                categoryarray=names,
                showgrid=False,
                range=[-0.5, max(len(names), 4) - 0.5],
                tickfont={"color": token("text")},
                dtick=1,
            ),
            height=28 + 44 + ROW_PX * max(len(names), 4),
        ),
        "summary": _summary(bins, clock, until_s),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    clock.full(start),
                    row.slug,
                    WORDS[int(row.states[i])],
                    cell(float(row.breach_frac[i]) * 100, 1),
                ]
                for row in bins.rows
                for i, start in enumerate(starts)
            ],
        },
        "compact": {
            "xaxis.range": [clock.axis(compact_since_s), clock.axis(until_s)],
            "dragmode": "pan",
            "margin.l": min(160, 18 + 6.5 * max(map(len, names))),
            "yaxis.tickfont.size": 11,
        },
    }
    return plot


def _cells(
    bins: SloBins, rows: list[ServiceBins], clock: Clock, states: tuple[int, int], text: str
) -> Trace:
    low, high = states
    colors = {
        0: token("ok-fill", 0.22),
        1: token("warn-fill"),
        2: token("crit-fill"),
        3: token("muted-fill", 0.16),
    }
    middles = [bins.since_s + (i + 0.5) * bins.bin_s for i in range(bins.columns)]
    shown = np.array([row.states for row in rows])
    mine = (shown == low) | (shown == high)
    return {
        "type": "heatmap",
        "name": "state",
        "x": clock.axes(middles),
        "y": [escape(row.slug, longest=24) for row in rows],
        "z": [
            [int(state == high) if own else None for state, own in zip(line, flags, strict=True)]
            for line, flags in zip(shown, mine, strict=True)
        ],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [
            [0, colors[low]],
            [0.5, colors[low]],
            [0.5, colors[high]],
            [1, colors[high]],
        ],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 2,
        "text": _each(shown, mine, lambda i, j: GLYPHS[int(shown[i, j])]),
        "texttemplate": "%{text}",
        "textfont": {"color": text},
        "hovertext": _each(shown, mine, lambda i, j: _hover(bins, rows[i], j, clock)),
        "hovertemplate": "%{hovertext}<extra></extra>",
        "customdata": _each(shown, mine, lambda i, j: _link(bins, rows[i].slug, j)),
    }


def _each(shown: Any, mine: Any, what: Any) -> list[list[str]]:  # noqa: ANN401 - arrays, a callable
    return [
        [what(i, j) if mine[i, j] else "" for j in range(shown.shape[1])]
        for i in range(shown.shape[0])
    ]


def _hover(bins: SloBins, row: ServiceBins, column: int, clock: Clock) -> str:
    start_s = bins.since_s + column * bins.bin_s
    share = row.breach_frac[column]
    part = f", {share:.0%} of samples" if share > 0 else ""
    span = f"{clock.hour(start_s)}–{clock.hour(start_s + bins.bin_s)}"
    return f"{escape(row.slug)}<br>{span}: {WORDS[int(row.states[column])]}{part}"


def _link(bins: SloBins, slug: str, column: int) -> str:
    start_s = bins.since_s + column * bins.bin_s
    since, until = link_time(start_s - MARGIN_S), link_time(start_s + bins.bin_s + MARGIN_S)
    return f"/services/{slug}/?from={since}&to={until}"


def _summary(bins: SloBins, clock: Clock, until_s: float) -> str:
    span = f"between {clock.between(bins.since_s, until_s)}"
    over = [
        (int(np.sum(row.states == 2)), row.slug)  # noqa: PLR2004 - the state "breach"
        for row in bins.rows
    ]
    worst = sorted((-count, slug) for count, slug in over if count)
    blind = sum(int((row.states == 3).all()) for row in bins.rows)  # noqa: PLR2004 - "unknown"
    unseen = f" {blind} of {len(bins.rows)} reported no latency." if blind else ""
    page = f" Page {bins.page} of {bins.pages}." if bins.pages > 1 else ""
    minutes = bins.bin_s / 60
    if not worst:
        what = f"No service of {len(bins.rows)} was over its SLO {span}."
    else:
        named = ", ".join(f"{slug} {-count * minutes:g} min" for count, slug in worst[:3])
        what = f"{len(worst)} of {len(bins.rows)} services were over their SLO {span}: {named}."
    return what + unseen + page
