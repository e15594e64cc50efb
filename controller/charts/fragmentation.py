"""F13: how many groups of each size fit, against what the free GPUs would make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.charts.plot import Plot, Trace, axis, layout, legend, nothing, titled, token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.selectors.capacity import Fits
    from inventory.capacity import Fit

COLUMNS: Final = (
    "group [GPUs]",
    "groups that fit within one S1",
    "groups the free GPUs would make",
    "lost to fragmentation [groups]",
    "lost to fragmentation [%]",
)
HEIGHT_PX: Final = 320
PERCENT: Final = 100


def fragmentation(found: Fits, _clock: Clock) -> Plot:
    """Return two bars a size of group; what the second has more is lost to fragmentation."""
    if not found.fits:
        return nothing(_nothing_free(found), COLUMNS)
    sizes = [f"{fit.size:,}" for fit in found.fits]
    lost = [fit.allowed - fit.fitting for fit in found.fits]
    return {
        "data": [
            _bars("fit within one S1", sizes, [fit.fitting * fit.size for fit in found.fits], {}),
            _bars(
                "free, but apart",
                sizes,
                [count * fit.size for count, fit in zip(lost, found.fits, strict=True)],
                {"shape": "/", "fgcolor": token("warn-fill"), "bgcolor": token("card")},
            ),
        ],
        "layout": layout(
            barmode="stack",
            bargap=0.35,
            hovermode="x unified",
            showlegend=True,
            legend=legend(),
            margin={"l": 56, "r": 16, "t": 52, "b": 48},
            height=HEIGHT_PX,
            xaxis=axis(
                type="category",
                categoryorder="array",
                categoryarray=sizes,
                title=titled("Group [GPUs of one type under one S1]"),
                showgrid=False,
            ),
            yaxis=axis(title=titled("Free GPUs"), rangemode="tozero", tickformat=",d", nticks=6),
            annotations=[_label(at, fit) for at, fit in enumerate(found.fits)],
        ),
        "summary": _summary(found),
        "table": {
            "columns": list(COLUMNS),
            "rows": [
                [
                    fit.size,
                    fit.fitting,
                    fit.allowed,
                    fit.allowed - fit.fitting,
                    round(fit.lost_frac * PERCENT, 1),
                ]
                for fit in found.fits
            ],
        },
        "compact": {
            # Where all fit the bar says it; so many labels have no room side by side.
            "annotations": [
                _label(at, fit, short=True)
                for at, fit in enumerate(found.fits)
                if fit.fitting < fit.allowed
            ]
        },
        "as_of_s": found.now_s,
        "live": True,
    }


def _bars(name: str, sizes: Sequence[str], gpus: Sequence[int], pattern: Trace) -> Trace:
    marker: Trace = {"color": token("ok-fill", 0.6), "line": {"width": 1, "color": token("card")}}
    if pattern:
        look = {"fillmode": "replace", "size": 6, "solidity": 0.45}
        marker |= {"color": token("warn-fill"), "pattern": pattern | look}
    return {
        "type": "bar",
        "name": name,
        "x": list(sizes),
        "y": list(gpus),
        "marker": marker,
        "hovertemplate": f"%{{y:,d}} GPUs {name}<extra></extra>",
    }


def _label(at: int, fit: Fit, *, short: bool = False) -> Trace:
    of = f"{fit.fitting:,}/{fit.allowed:,}" if short else f"{fit.fitting:,} of {fit.allowed:,}"
    return {
        "text": of,
        # A category by its place: "16" would be read as the sixteenth.
        "x": at,
        "y": fit.allowed * fit.size,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"color": token("text"), "size": 10 if short else 12},
    }


def _nothing_free(found: Fits) -> str:
    if found.unknown:
        return f"Nothing is known to be free: nobody reports what runs on {found.unknown:,} GPUs."
    return "No GPU is free here."


def _summary(found: Fits) -> str:
    largest = max((fit for fit in found.fits if fit.fitting), key=lambda fit: fit.size)
    said = f"{found.free:,} GPUs are free; groups of up to {largest.size:,} fit under one S1"
    worst = max(found.fits, key=lambda fit: fit.lost_frac)
    if worst.lost_frac:
        said += (
            f". Of {worst.size:,} GPUs {worst.fitting:,} groups fit where the free GPUs would make"
            f" {worst.allowed:,}"
        )
    if found.unknown:
        said += f". The use of {found.unknown:,} more is not known"
    return said + "."
