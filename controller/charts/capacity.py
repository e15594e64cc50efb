"""F2: who holds the GPUs now."""

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
    from controller.charts.clock import Clock
    from controller.selectors.fleet_series import Pool, Pools

# Part, word, colour, pattern: what cannot be used carries a pattern besides its colour.
PARTS: Final = (
    ("busy", "busy", token("accent"), ""),
    ("held_idle", "held idle", token("accent", 0.45), ""),
    ("in_use", "in use", token("accent", 0.75), ""),
    ("free", "free", token("ok-fill", 0.55), ""),
    ("reserved", "reserved", token("warn-fill", 0.55), ""),
    ("maintenance", "maintenance", token("muted-fill"), "/"),
    ("unhealthy", "unhealthy", token("crit-fill"), "x"),
    ("unknown", "unknown", token("muted-fill"), "."),
    ("use_unknown", "use unknown", token("accent"), "\\"),
)
COLUMNS: Final = (
    "cluster",
    "hardware",
    "as of",
    *(f"{word} [GPUs]" for _, word, _, _ in PARTS),
    "total [GPUs]",
    "largest free under one S1 [GPUs]",
)
GAP: Final = 0.55
ROW_PX: Final = 58
COMPACT_ROW_PX: Final = 84
# A segment narrower than this share of the longest bar has no number inside.
NARROW: Final = 0.045


def capacity(pools: Pools, clock: Clock) -> Plot:
    """Return stacked bars, one a cluster and hardware type, in GPUs."""
    if not pools.pools:
        return nothing(
            "No pool has reported for an hour, and the inventory has no nodes.",
            COLUMNS,
        )
    rows = list(reversed(pools.pools))
    names = [_name(pool) for pool in rows]
    longest = max(pool.total for pool in rows) or 1
    return {
        "data": [
            _bars(rows, names, part, longest)
            for part in PARTS
            if any(pool.parts.get(part[0]) for pool in rows)
        ],
        "layout": layout(
            barmode="stack",
            bargap=GAP,
            hovermode="closest",
            showlegend=True,
            legend=legend(),
            margin={"l": 16, "r": 20, "t": 56, "b": 40},
            height=56 + 40 + ROW_PX * max(2, len(rows)),
            xaxis=axis(
                title=titled("GPUs"),
                range=[0, longest * 1.02],
                rangemode="tozero",
                tickformat=",d",
                nticks=8,
            ),
            yaxis=axis(
                type="category",
                categoryorder="array",
                categoryarray=names,
                showticklabels=False,
                ticks="",
                showgrid=False,
                range=[-0.5, max(2, len(rows)) - 0.35],
            ),
            annotations=[
                _label(pool, name, "  ", ROW_PX) for pool, name in zip(rows, names, strict=True)
            ],
        ),
        "summary": _summary(pools, clock),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    pool.cluster,
                    pool.hardware,
                    clock.full(pool.at_s),
                    *(pool.parts.get(part) for part, _, _, _ in PARTS),
                    pool.total,
                    pool.largest_free,
                ]
                for pool in pools.pools
            ],
        },
        "compact": {
            "annotations": [
                _label(pool, name, "<br>", COMPACT_ROW_PX)
                for pool, name in zip(rows, names, strict=True)
            ],
            "height": 110 + 40 + COMPACT_ROW_PX * max(2, len(rows)),
            "margin.t": 110,
            "yaxis.range": [-0.5, max(2, len(rows)) - 0.2],
        },
        "as_of_s": min(pool.at_s for pool in pools.pools),
    }


def _bars(
    rows: list[Pool], names: list[str], part: tuple[str, str, str, str], longest: int
) -> Trace:
    key, word, color, pattern = part
    counts = [pool.parts.get(key, 0) for pool in rows]
    marker: Trace = {"color": color, "line": {"width": 1, "color": token("card")}}
    if pattern:
        marker["pattern"] = {
            "shape": pattern,
            "fillmode": "replace",
            "fgcolor": color,
            "bgcolor": token("card"),
            "size": 6,
            "solidity": 0.45,
        }
    return {
        "type": "bar",
        "orientation": "h",
        "name": word,
        "x": counts,
        "y": names,
        "marker": marker,
        "text": [
            f"{count:,}" if not pattern and count > NARROW * longest else "" for count in counts
        ],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "insidetextfont": {"color": token("on-accent") if key == "busy" else token("text")},
        "constraintext": "none",
        "hovertemplate": f"%{{x:,d}} GPUs {word}<extra></extra>",
    }


def _name(pool: Pool) -> str:
    return f"{escape(pool.cluster)} · {escape(pool.hardware)}"


def _label(pool: Pool, name: str, between: str, row_px: float) -> Trace:
    held = f"{pool.total:,} GPUs · largest free under one S1: {pool.largest_free:,}"
    return {
        "text": f"{name}{between}{held}",
        "xref": "paper",
        "x": 0,
        "yref": "y",
        "y": name,
        "xanchor": "left",
        "yanchor": "bottom",
        # Half a bar higher than its middle.
        "yshift": (1 - GAP) * row_px / 2 + 1,
        "align": "left",
        "showarrow": False,
        "font": {"color": token("text"), "size": 12},
    }


def _summary(pools: Pools, clock: Clock) -> str:
    total = sum(pool.total for pool in pools.pools)
    said = ", ".join(
        f"{count:,} {word}"
        for part, word, _, _ in PARTS
        if (count := sum(pool.parts.get(part, 0) for pool in pools.pools))
    )
    best = max(pools.pools, key=lambda pool: pool.largest_free)
    oldest_s = min(pool.at_s for pool in pools.pools)
    return (
        f"{total:,} GPUs as of {clock.hour(oldest_s)} {clock.title}: {said}. Most free under one "
        f"S1 switch: {best.largest_free:,} ({best.cluster}, {best.hardware})."
    )
