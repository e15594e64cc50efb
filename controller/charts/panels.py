"""Panels that share one time axis, one above the other, and the marks on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.charts.plot import CLEAR, Layout, Trace, axis, packed, titled, token
from controller.charts.thinning import downsample, with_gaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from controller.charts.clock import Clock
    from controller.core.types import Counts, Floats

# Room for a panel's title above it, and for one line of label [px].
TITLE_PX: Final = 34
LABEL_PX: Final = 15


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its axis (``y``, ``y2`` …), title, share of the height and its height [px]."""

    axis: str
    title: str
    bottom: float
    top: float
    height_px: float

    @property
    def key(self) -> str:
        """The axis' name in a layout: ``yaxis``, ``yaxis2`` …."""
        return self.axis.replace("y", "yaxis")

    def heading(self) -> Layout:
        """Return the title as an annotation above the panel's left corner."""
        return {
            "name": "heading",
            "text": self.title,
            "xref": "paper",
            "yref": "paper",
            "x": 0,
            "y": self.top,
            "xanchor": "left",
            "yanchor": "bottom",
            "yshift": 4,
            "showarrow": False,
            "font": {"size": 12, "weight": 600, "color": token("text-2")},
        }


def stack(panels: Sequence[tuple[str, float]]) -> tuple[Panel, ...]:
    """Return panels from (title, height [px]), the first on top; untitled ones sit close."""
    gaps = [TITLE_PX if title else 10.0 for title, _ in panels]
    total = sum(gaps) + sum(height for _, height in panels)
    made: list[Panel] = []
    edge = total
    for i, ((title, height), gap) in enumerate(zip(panels, gaps, strict=True)):
        edge -= gap
        made.append(
            Panel(
                axis="y" if i == 0 else f"y{i + 1}",
                title=title,
                bottom=max(0.0, (edge - height) / total),
                top=edge / total,
                height_px=height,
            )
        )
        edge -= height
    return tuple(made)


def height_of(panels: Sequence[Panel]) -> float:
    """Return the height of all panels together with their titles [px]."""
    return panels[0].height_px / (panels[0].top - panels[0].bottom)


@dataclass(frozen=True, slots=True)
class Brush:
    """Draws one service's series: times [s] of shape ``(T,)``, the usual step, the clock.

    ``keep`` are indices into ``times_s`` that thinning may not drop.
    """

    times_s: Floats
    step_s: float
    clock: Clock
    keep: Counts

    def line(self, panel: Panel, name: str, values: Floats, **look: object) -> Trace:
        """Return a line of ``values``, shape ``(T,)``, broken at gaps and thinned.

        ``look``: ``color``, ``dash``, ``width``, ``symbol`` (none: no markers), ``steps``,
        ``fill``, ``hover`` (a number format and unit).
        """
        times_s, drawn = with_gaps(self.times_s, values, step_s=self.step_s)
        keep = np.searchsorted(times_s, self.times_s[self.keep])
        at = downsample(drawn, keep=keep)
        return {
            "type": "scatter",
            "mode": "lines+markers" if look.get("symbol") else "lines",
            "name": name,
            "x": self.clock.axes(times_s[at]),
            "y": packed(drawn[at]),
            "xaxis": "x",
            "yaxis": panel.axis,
            "connectgaps": False,
            "line": {
                "color": look.get("color", token("text")),
                "width": look.get("width", 2),
                "dash": look.get("dash", "solid"),
                "shape": "hv" if look.get("steps") else "linear",
            },
            # A few markers tell the roles apart by shape as well as by colour.
            **(
                {
                    "marker": {
                        "symbol": look["symbol"],
                        "size": 7,
                        "maxdisplayed": 8,
                        "color": look.get("color", token("text")),
                    }
                }
                if look.get("symbol")
                else {}
            ),
            **({"fill": "tozeroy", "fillcolor": look["fill"]} if look.get("fill") else {}),
            "hovertemplate": f"%{{y:{look.get('hover', ',.0f')}}}",
        }


def rect(
    panel: Panel, x: tuple[str, str] | None, y: tuple[float, float] | None, color: str
) -> Layout:
    """Return a shaded area behind the lines; ``None`` spans the panel in that direction."""
    return {
        "type": "rect",
        "layer": "below",
        "xref": "x" if x else "x domain",
        "yref": panel.axis if y else f"{panel.axis} domain",
        "x0": x[0] if x else 0,
        "x1": x[1] if x else 1,
        "y0": y[0] if y else 0,
        "y1": y[1] if y else 1,
        "fillcolor": color,
        "line": {"width": 0},
    }


def level(panel: Panel, value: float, *, dash: str = "solid", color: str | None = None) -> Layout:
    """Return a thin line across the panel at ``value``: a limit, a target, an SLO."""
    return {
        "type": "line",
        "layer": "above",
        "xref": "x domain",
        "yref": panel.axis,
        "x0": 0,
        "x1": 1,
        "y0": value,
        "y1": value,
        "line": {"width": 1, "dash": dash, "color": color or token("text")},
    }


@dataclass(frozen=True, slots=True)
class Label:
    """Words at a panel's right edge, beside a value on its axis; higher ``rank`` yields first."""

    value: float
    text: str
    color: str = "token:text"
    rank: int = 0


def edge_labels(
    panel: Panel, labels: Sequence[Label], *, span: tuple[float, float], log: bool = False
) -> list[Layout]:
    """Return the labels as annotations moved apart so that none covers another.

    ``span`` is the axis' (lowest, highest) value. Labels outside it are left out.
    """
    low, high = span
    inside = sorted(
        (label for label in labels if np.isfinite(label.value) and low <= label.value <= high),
        key=lambda label: label.value,
    )
    wanted = [_height(label.value, span, log=log) * panel.height_px for label in inside]
    placed = spread(wanted, gap=LABEL_PX, top=panel.height_px + LABEL_PX / 2)
    return [
        {
            "name": "edge",
            "text": label.text,
            "xref": "paper",
            "yref": panel.axis,
            "x": 1,
            "y": float(np.log10(label.value)) if log else label.value,
            "xanchor": "left",
            "yanchor": "middle",
            "xshift": 6,
            "yshift": round(at - want, 1),
            "showarrow": False,
            "align": "left",
            "font": {"size": 12, "color": label.color},
            "bgcolor": CLEAR,
        }
        for label, want, at in zip(inside, wanted, placed, strict=True)
    ]


def spread(wanted: Sequence[float], *, gap: float, top: float) -> list[float]:
    """Return places for increasing ``wanted`` [px], at least ``gap`` apart and at most ``top``.

    Each moves as little as this allows; with too little room the lowest leave at the bottom.
    """
    placed = list(wanted)
    for _ in range(len(placed)):
        for i in range(1, len(placed)):
            short = gap - (placed[i] - placed[i - 1])
            if short > 0:
                placed[i - 1] -= short / 2
                placed[i] += short / 2
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    ceiling = top
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    return placed


def time_axis(clock: Clock, since_s: float, until_s: float, **parts: object) -> Layout:
    """Return the shared date axis from ``since_s`` to ``until_s`` [s], its zone in the title."""
    return axis(
        type="date",
        range=[clock.axis(since_s), clock.axis(until_s)],
        fixedrange=False,
        title=titled(f"Time, {clock.title}"),
        nticks=9,
        tickangle=0,
        tickformatstops=[
            {"dtickrange": [None, 60_000], "value": "%H:%M:%S"},
            {"dtickrange": [60_000, 43_200_000], "value": "%H:%M\n%-d %b"},
            {"dtickrange": [43_200_000, None], "value": "%-d %b"},
        ],
        hoverformat="%-d %b %H:%M:%S",
        showspikes=True,
        spikemode="across",
        spikesnap="cursor",
        spikethickness=1,
        spikedash="dot",
        spikecolor=token("control"),
        **parts,
    )


def top_of(*series: NDArray[Any], floor: float, room: float = 1.12) -> float:
    """Return a top for an axis from 0: ``room`` times the largest value, at least ``floor``."""
    highest = max((float(np.nanmax(s)) for s in series if np.isfinite(s).any()), default=0.0)
    return max(highest * room, floor)


def _height(value: float, span: tuple[float, float], *, log: bool) -> float:
    low, high = span
    if log:
        return float(np.log(value / low) / np.log(high / low))
    return (value - low) / (high - low)
