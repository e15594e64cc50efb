"""F14: what each pool could give, against all of its services at their maximum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    from controller.selectors.capacity import Headroom, Headrooms

COLUMNS: Final = (
    "cluster",
    "hardware",
    "usable [GPUs]",
    "in use [GPUs]",
    "use unknown [GPUs]",
    "all services at their minimum [GPUs]",
    "all services at their maximum [GPUs]",
    "lacking at the maxima [GPUs]",
    "services",
)
ROW_PX: Final = 96
COMPACT_ROW_PX: Final = 118
GAP: Final = 0.42


def headroom(found: Headrooms, _clock: Clock) -> Plot:
    """Return for each pool three bars: usable, all at their maxima, all at their minima."""
    pools = [pool for pool in reversed(found.pools) if pool.usable or pool.most]
    if not any(pool.claims for pool in pools):
        return nothing(
            "No service may use GPUs here, so nothing can come to ask for them.", COLUMNS
        )
    names = [f"{escape(pool.cluster)} · {escape(pool.word)}" for pool in pools]
    longest = max(max(pool.usable + pool.use_unknown, pool.most) for pool in pools)
    inside = [pool.most - pool.lacking for pool in pools]
    return {
        # The lowest first, as bars of a group are stacked upwards.
        "data": [
            _bars("all at minimum", names, [p.least for p in pools], 0, token("muted-fill", 0.7)),
            _bars("all at maximum", names, inside, 1, token("accent", 0.6)),
            _hatched("lacking", names, [pool.lacking for pool in pools], 1, "crit-fill")
            | {"base": inside},
            _bars("usable", names, [pool.usable for pool in pools], 2, token("ok-fill", 0.55)),
            _hatched("use unknown", names, [pool.use_unknown for pool in pools], 2, "accent")
            | {"base": [pool.usable for pool in pools]},
        ],
        "layout": layout(
            barmode="group",
            bargap=GAP,
            bargroupgap=0.12,
            hovermode="closest",
            showlegend=True,
            legend=legend(traceorder="reversed"),
            margin={"l": 16, "r": 20, "t": 56, "b": 40},
            height=96 + ROW_PX * max(2, len(pools)),
            xaxis=axis(
                title=titled("GPUs"),
                range=[0, max(longest, 1) * 1.02],
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
                range=[-0.5, max(2, len(pools)) - 0.35],
            ),
            annotations=_labels(pools, names, "  ", ROW_PX),
        ),
        "summary": _summary(found),
        "table": {"columns": list(COLUMNS), "rows": [_row(pool) for pool in found.pools]},
        "compact": {
            "annotations": _labels(pools, names, "<br>", COMPACT_ROW_PX),
            "height": 150 + COMPACT_ROW_PX * max(2, len(pools)),
            "margin.t": 110,
            "yaxis.range": [-0.5, max(2, len(pools)) - 0.25],
        },
        "as_of_s": found.now_s,
        "live": True,
    }


def _row(pool: Headroom) -> list[Any]:
    return [
        pool.cluster,
        pool.word,
        pool.usable,
        pool.in_use,
        pool.use_unknown,
        pool.least,
        pool.most,
        pool.lacking,
        ", ".join(f"{claim.service} {claim.least}–{claim.most}" for claim in pool.claims),
    ]


def _bars(name: str, names: Sequence[str], gpus: Sequence[int], lane: int, color: str) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": list(gpus),
        "y": list(names),
        "offsetgroup": str(lane),
        "marker": {"color": color, "line": {"width": 1, "color": token("card")}},
        "hovertemplate": f"%{{fullData.name}}: {'%{x:,d}'} GPUs<extra></extra>",
    }


def _hatched(name: str, names: Sequence[str], gpus: Sequence[int], lane: int, tone: str) -> Trace:
    bars = _bars(name, names, gpus, lane, token(tone))
    bars["marker"]["pattern"] = {
        "shape": "\\" if name == "use unknown" else "x",
        "fillmode": "replace",
        "fgcolor": token(tone),
        "bgcolor": token("card"),
        "size": 6,
        "solidity": 0.45,
    }
    bars["visible"] = any(gpus)
    bars["customdata"] = list(gpus)
    bars["hovertemplate"] = f"{name}: %{{customdata:,d}} GPUs<extra></extra>"
    return bars


def _labels(
    pools: Sequence[Headroom], names: Sequence[str], between: str, row_px: float
) -> list[Trace]:
    return [
        {
            "text": f"{name}{between}{said(pool)}",
            "xref": "paper",
            "x": 0,
            "yref": "y",
            "y": name,
            "xanchor": "left",
            "yanchor": "bottom",
            "yshift": (1 - GAP) * row_px / 2 + 1,
            "align": "left",
            "showarrow": False,
            "font": {"color": token("text"), "size": 12},
        }
        for pool, name in zip(pools, names, strict=True)
    ]


def said(pool: Headroom) -> str:
    """Return in a clause what becomes of a pool with every service at its maximum."""
    if pool.lacking:
        return f"lacks {_lacking(pool)} GPUs at the maxima"
    if pool.is_open:
        return f"can't be told: the use of {pool.use_unknown:,} GPUs is unknown"
    return f"{pool.spare:,} GPUs to spare at the maxima"


def _lacking(pool: Headroom) -> str:
    # All GPUs of unknown use are taken for usable, so it is the least that lacks.
    return f"at least {pool.lacking:,}" if pool.use_unknown else f"{pool.lacking:,}"


def _summary(found: Headrooms) -> str:
    short = sorted((one for one in found.pools if one.lacking), key=lambda one: -one.lacking)
    if short:
        told = ", ".join(
            f"{one.word} in {one.cluster} would lack {_lacking(one)} GPUs" for one in short[:5]
        )
        return f"If every service went to its maximum, {told}."
    if any(one.is_open for one in found.pools):
        return "Whether every service could go to its maximum depends on GPUs of unknown use."
    return "Every service could go to its maximum at the same time."
