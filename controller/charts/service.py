"""F4–F8: one service over time, in panels that share one time axis."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from controller.charts.driver import Driver
from controller.charts.marks import lane_marks, legend, word_of
from controller.charts.panels import (
    Brush,
    Label,
    Panel,
    edge_labels,
    height_of,
    level,
    rect,
    stack,
    time_axis,
    top_of,
)
from controller.charts.plot import (
    Layout,
    Plot,
    Trace,
    axis,
    cell,
    escape,
    layout,
    nothing,
    packed,
    token,
)
from controller.charts.thinning import downsample, spans
from controller.core.types import Role
from controller.core.words import number

if TYPE_CHECKING:
    from controller.charts.clock import Clock
    from controller.core.types import Floats
    from controller.selectors.series import FreezeSpan, ServiceSeries

ROLES: Final = (Role.PREFILL, Role.DECODE)
SYMBOLS: Final = {Role.PREFILL: "circle", Role.DECODE: "square"}
RATIO_TICKS: Final = {0.125: "1:8", 0.25: "1:4", 0.5: "1:2", 1.0: "1:1", 2.0: "2:1"}
RATIO_SPAN: Final = (0.11, 2.3)
MS: Final = 1_000.0
# Latency percentiles: signal suffix, word, line width, dash.
PERCENTILES: Final = (
    ("_p99_s", "p99", 1.0, "dashdot"),
    ("_s", "p95", 2.0, "solid"),
    ("_p50_s", "p50", 1.0, "solid"),
)
LATENCIES: Final = (("ttft", "TTFT", Role.PREFILL), ("tbt", "TBT", Role.DECODE))
FREEZE_WORDS: Final = 26
WORD_LINES: Final = 4
# Past this many the shading would cost more than it tells: the nearest breaches are joined.
MAX_BREACHES: Final = 80
COLUMNS: Final = (
    "time",
    *(
        f"{role} {what} [instances]"
        for role in ROLES
        for what in ("ready", "starting", "held", "desired")
    ),
    "prefill per decode",
    *(f"{word} {share} [ms]" for _, word, _ in LATENCIES for share in ("p50", "p95", "p99")),
)


@dataclass(frozen=True, slots=True)
class Part:
    """What one panel adds to the figure."""

    traces: list[Trace]
    axes: dict[str, Layout]
    shapes: list[Layout]
    labels: list[Layout]


def service(series: ServiceSeries, clock: Clock) -> Plot:
    """Return replicas, P/D ratio, driver, latencies and decisions of one service."""
    driver = Driver.of(series)
    columns = [*COLUMNS, driver.column, "coverage [%]", "decision"]
    if not len(series.times_s):
        return nothing(
            f"No samples of {series.name} in this range. Expected: {driver.label} and the "
            f"counts of both roles from {series.spec.cluster}.",
            columns,
        )
    words = {word_of(mark, role) for mark in series.decisions for role in ROLES}
    panels = stack(
        [
            (f"Replicas [instances] · {_limits(series)}", 190),
            ("P/D ratio [prefill per decode instance]", 110),
            (driver.title, 150),
            ("", 20),
            ("TTFT [ms]", 120),
            ("TBT [ms]", 120),
            (f"Decisions {legend(tuple(words))}", 52),
        ]
    )
    keep = np.searchsorted(series.times_s, [mark.first_s for mark in series.decisions])
    keep = np.unique(np.minimum(keep, len(series.times_s) - 1)).astype(np.int64)
    brush = Brush(series.times_s, series.step_s, clock, keep)
    parts = [
        _replicas(series, brush, panels[0]),
        _ratio(series, brush, panels[1]),
        _driver(driver, brush, panels[2], panels[3]),
        *(
            _latency(series, brush, panel, what)
            for panel, what in zip(panels[4:6], LATENCIES, strict=True)
        ),
        _lane(series, clock, panels[6]),
    ]
    axes = {key: value for part in parts for key, value in part.axes.items()}
    return {
        "data": [trace for part in parts for trace in part.traces],
        "layout": layout(
            margin={"l": 52, "r": 104, "t": 4, "b": 56},
            height=height_of(panels) + 60,
            hoversubplots="axis",
            xaxis=time_axis(
                clock, series.since_s, series.until_s, anchor=panels[-1].axis, domain=[0, 1]
            ),
            shapes=[shape for part in parts for shape in part.shapes],
            annotations=[
                *(panel.heading() for panel in panels if panel.title),
                *(label for part in parts for label in part.labels),
            ],
            **axes,
        ),
        "summary": _summary(series, driver, clock),
        "table": _table(series, driver, clock, columns),
        "as_of_s": float(series.times_s[-1]),
    }


def _limits(series: ServiceSeries) -> str:
    low, high = series.spec.limits.minimum, series.spec.limits.maximum
    if low.prefill == low.decode and high.prefill == high.decode:
        return f"each role {low.prefill}–{high.prefill}"
    return f"prefill {low.prefill}–{high.prefill}, decode {low.decode}–{high.decode}"


def _replicas(series: ServiceSeries, brush: Brush, panel: Panel) -> Part:
    """F4: ready solid, desired dashed, limits thin if near, stops and overrides shaded.

    What somebody else changed is a mark at the count it came to, and leads to its page.
    """
    top = top_of(series.ready, series.desired, floor=2.0, room=1.25)
    traces: list[Trace] = []
    labels: list[Label] = []
    shapes: list[Layout] = []
    for i, role in enumerate(ROLES):
        color = token(role.value)
        ready, desired = series.ready[i].astype(float), series.desired[i].astype(float)
        traces += [
            brush.line(
                panel, f"{role} desired", desired, color=color, dash="dash", width=1.5, steps=True
            ),
            brush.line(
                panel, f"{role} ready", ready, color=color, symbol=SYMBOLS[role], steps=True
            ),
        ]
        labels.append(Label(ready[-1], f"{role} {ready[-1]:.0f}", color))
        if desired[-1] != ready[-1]:
            labels.append(Label(desired[-1], f"{desired[-1]:.0f} desired", color))
    if series.outside:
        traces.append(_outside_marks(series, brush.clock, panel))
    for word, bound in (("min", series.spec.limits.minimum), ("max", series.spec.limits.maximum)):
        for value, whose in _bounds(bound.prefill, bound.decode):
            if value <= top:
                shapes.append(level(panel, value))
                labels.append(Label(value, f"{whose}{word} {value}"))
    frozen, words = _freezes(series, brush.clock, panel)
    return Part(
        traces,
        {panel.key: _count_axis(panel, top)},
        [*frozen, *shapes],
        [*edge_labels(panel, labels, span=(0, top)), *words],
    )


def _outside_marks(series: ServiceSeries, clock: Clock, panel: Panel) -> Trace:
    changed = [
        (one, role)
        for one in series.outside
        for role in ROLES
        if one.before.of(role) != one.after.of(role)
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "changed from outside",
        "x": clock.axes(one.at_s for one, _ in changed),
        "y": [one.after.of(role) for one, role in changed],
        "xaxis": "x",
        "yaxis": panel.axis,
        "marker": {"symbol": "star-diamond", "size": 12, "color": token("warn-fill")},
        "text": [f"{role} {one.before.of(role)} → {one.after.of(role)}" for one, role in changed],
        "hovertemplate": "%{text}",
        "customdata": [one.url for one, _ in changed],
        "cliponaxis": False,
    }


def _count_axis(panel: Panel, top: float) -> Layout:
    return axis(
        domain=[panel.bottom, panel.top], range=[0, top], nticks=6, tickformat=",d", anchor="x"
    )


def _bounds(prefill: int, decode: int) -> list[tuple[int, str]]:
    if prefill == decode:
        return [(prefill, "")]
    return [(prefill, "prefill "), (decode, "decode ")]


def _freezes(
    series: ServiceSeries, clock: Clock, panel: Panel
) -> tuple[list[Layout], list[Layout]]:
    shapes: list[Layout] = []
    words: list[Layout] = []
    for at, freeze in enumerate(series.freezes):
        color = "busy" if freeze.is_stop else "accent"
        begin_s = max(freeze.since_s, series.since_s)
        end_s = min(freeze.until_s or series.until_s, series.until_s)
        shapes.append(rect(panel, (clock.axis(begin_s), clock.axis(end_s)), None, _shade(freeze)))
        share = (begin_s - series.since_s) / (series.until_s - series.since_s)
        late = share > 0.5  # noqa: PLR2004 - beyond it the words would run out of the panel
        said = escape(f"{freeze.word} by {freeze.by}: {freeze.reason}", longest=FREEZE_WORDS)
        words.append(
            {
                "text": said,
                "hovertext": escape(f"{freeze.scope} {freeze.reason}", longest=200),
                "xref": "x",
                "x": clock.axis(end_s if late else begin_s),
                "yref": f"{panel.axis} domain",
                "y": 1,
                "xanchor": "right" if late else "left",
                "yanchor": "top",
                # Several at once are told below each other.
                "yshift": -12 - 14 * (at % WORD_LINES),
                "showarrow": False,
                "font": {"size": 12, "color": token(color)},
            }
        )
    return shapes, words


def _shade(one: FreezeSpan) -> str:
    return token("busy-fill", 0.14) if one.is_stop else token("accent", 0.1)


def pd_ratio(series: ServiceSeries) -> Floats:
    """Return ready prefill per ready decode instance, shape ``(T,)``; NaN without either."""
    prefill, decode = series.ready.astype(float)
    ratio = np.full(prefill.shape, np.nan)
    np.divide(prefill, decode, out=ratio, where=(decode > 0) & (prefill > 0))
    return ratio


def _ratio(series: ServiceSeries, brush: Brush, panel: Panel) -> Part:
    """F5: prefill per decode on a logarithmic axis, with the band the policy keeps."""
    policy, ratio = series.spec.policy, pd_ratio(series)
    goal = policy.pd_ratio if series.in_use is None else series.in_use.pd_ratio
    low, high = (goal * (1 + sign * policy.ratio_tolerance) for sign in (-1, 1))
    outside = np.isfinite(ratio) & ((ratio < low) | (ratio > high))
    span = _ratio_span(ratio, low, high)
    last = float(ratio[-1])
    labels = [
        *_goals(series),
        *([Label(last, f"{last:.2g} now", token("accent"))] if last != goal else []),
    ]
    return Part(
        [
            brush.line(
                panel, "prefill per decode", ratio, color=token("accent"), steps=True, hover=".2f"
            ),
            _outside(series, brush, panel, np.where(outside, ratio, np.nan)),
        ],
        {
            panel.key: axis(
                domain=[panel.bottom, panel.top],
                type="log",
                range=[float(np.log10(edge)) for edge in span],
                tickvals=list(RATIO_TICKS),
                ticktext=list(RATIO_TICKS.values()),
                anchor="x",
            )
        },
        [
            rect(panel, None, (low, high), token("accent", 0.12)),
            level(panel, goal, dash="dot"),
        ],
        edge_labels(panel, labels, span=span, log=True),
    )


def _goals(series: ServiceSeries) -> list[Label]:
    ratio = series.spec.policy.pd_ratio
    configured = Label(ratio, f"target {ratio:.2g}")
    if series.in_use is None:
        return [configured]
    used = series.in_use.pd_ratio
    return [Label(used, f"in use {used:.2g}"), configured]


def _ratio_span(ratio: Floats, low: float, high: float) -> tuple[float, float]:
    """Return the axis' ends: 1:8 to 2:1, wider where the band or the ratio leaves them."""
    known = ratio[np.isfinite(ratio)]
    least = min(float(known.min()) if len(known) else low, low) * 0.9
    most = max(float(known.max()) if len(known) else high, high) * 1.1
    return min(RATIO_SPAN[0], max(least, 0.001)), max(RATIO_SPAN[1], most)


def _outside(series: ServiceSeries, brush: Brush, panel: Panel, values: Floats) -> Trace:
    at = np.flatnonzero(np.isfinite(values))
    at = at[downsample(values[at])]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "outside the band",
        "x": brush.clock.axes(series.times_s[at]),
        "y": packed(values[at]),
        "xaxis": "x",
        "yaxis": panel.axis,
        "marker": {
            "symbol": "diamond-open",
            "size": 7,
            "color": token("warn"),
            "maxdisplayed": 25,
        },
        "hovertemplate": "%{y:.2f}",
    }


def _driver(driver: Driver, brush: Brush, panel: Panel, strip: Panel) -> Part:
    """F6: the policy's signal per instance, its target and tolerance; coverage underneath."""
    color = token(driver.role.value)
    top = top_of(driver.observed, np.array([driver.ceiling]), floor=driver.ceiling)
    last = driver.observed[np.isfinite(driver.observed)]
    labels = [
        *(Label(*goal) for goal in driver.goals),
        *(
            [Label(float(last[-1]), f"{driver.write(float(last[-1]))} now", color)]
            if len(last)
            else []
        ),
    ]
    traces = [
        brush.line(
            panel,
            "observed",
            driver.observed,
            color=color,
            symbol=SYMBOLS[driver.role],
            hover=driver.format,
        ),
        brush.line(
            strip,
            "coverage",
            driver.coverage * 100,
            color=token("muted-fill"),
            width=1,
            steps=True,
            fill=token("muted-fill", 0.35),
            hover=".0f",
        ),
    ]
    if driver.differs:
        # First, so that it lies below the line it is compared with.
        traces.insert(
            0,
            brush.line(
                panel,
                "as the controller counts",
                driver.counted,
                color=token("text-2"),
                width=1,
                hover=driver.format,
            ),
        )
    return Part(
        traces,
        {
            panel.key: axis(
                domain=[panel.bottom, panel.top], range=[0, top], nticks=5, anchor="x"
            ),
            strip.key: axis(
                domain=[strip.bottom, strip.top],
                range=[0, 100],
                showticklabels=False,
                ticks="",
                showgrid=False,
                anchor="x",
            ),
        },
        [
            rect(panel, None, (driver.floor, driver.ceiling), token("accent", 0.12)),
            level(panel, driver.target),
        ],
        [
            *edge_labels(panel, labels, span=(0, top)),
            *edge_labels(strip, [Label(50, driver.coverage_now, token("text-2"))], span=(0, 100)),
        ],
    )


def _latency(
    series: ServiceSeries, brush: Brush, panel: Panel, what: tuple[str, str, Role]
) -> Part:
    """F7: p50, p95 and p99 with the SLO as a line and breaches of the p95 tinted."""
    stem, _, role = what
    slo_ms = MS * (series.spec.slo.ttft_s if stem == "ttft" else series.spec.slo.tbt_s)
    lines = {word: MS * series.signals[f"{stem}{suffix}"] for suffix, word, _, _ in PERCENTILES}
    top = top_of(lines["p95"], floor=1.25 * slo_ms)
    highest = top_of(lines["p99"], floor=top)
    # A wild p99 may leave the panel rather than flatten the line the SLO is about.
    top = min(highest, 2.0 * top)
    labels = [Label(slo_ms, f"SLO {number(slo_ms)}")]
    traces = []
    for _, word, width, dash in PERCENTILES:
        values = lines[word]
        traces.append(
            brush.line(
                panel,
                word,
                values,
                color=token(role.value, 1.0 if word == "p95" else 0.75),
                width=width,
                dash=dash,
                hover=",.0f" if slo_ms >= MS / 10 else ",.1f",
                symbol=SYMBOLS[role] if word == "p95" else None,
            )
        )
        known = values[np.isfinite(values)]
        if len(known):
            labels.append(
                Label(float(known[-1]), f"{word} {number(float(known[-1]))}", token(role.value))
            )
    over = spans(lines["p95"] > slo_ms, series.times_s, step_s=series.step_s)
    return Part(
        traces,
        {panel.key: axis(domain=[panel.bottom, panel.top], range=[0, top], nticks=5, anchor="x")},
        [
            *(
                rect(
                    panel,
                    (brush.clock.axis(begin), brush.clock.axis(end)),
                    None,
                    token("crit-fill", 0.14),
                )
                for begin, end in joined(over, MAX_BREACHES)
            ),
            level(panel, slo_ms, color=token("crit")),
        ],
        edge_labels(panel, labels, span=(0, top)),
    )


def joined(found: list[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """Return at most ``limit`` spans, closing the shortest pauses between them first."""
    if len(found) <= limit:
        return found
    pauses = np.array([after[0] - before[1] for before, after in pairwise(found)])
    kept = set(np.argsort(pauses)[::-1][: limit - 1].tolist())
    out = [found[0]]
    for i, span in enumerate(found[1:]):
        if i in kept:
            out.append(span)
        else:
            out[-1] = (out[-1][0], span[1])
    return out


def _lane(series: ServiceSeries, clock: Clock, panel: Panel) -> Part:
    """F8: one lane a role, the same symbols as in tables."""
    heights = {Role.PREFILL: 1.0, Role.DECODE: 0.0}
    return Part(
        [lane_marks(panel, series.decisions, clock, role, heights[role]) for role in ROLES],
        {
            panel.key: axis(
                domain=[panel.bottom, panel.top],
                range=[-0.6, 1.6],
                tickvals=[1, 0],
                ticktext=["prefill", "decode"],
                anchor="x",
            )
        },
        [],
        [],
    )


def _summary(series: ServiceSeries, driver: Driver, clock: Clock) -> str:
    span = clock.between(float(series.times_s[0]), float(series.times_s[-1]))
    moved = "; ".join(_moved(role, series.ready[i]) for i, role in enumerate(ROLES))
    over = [
        f"{word} p95 was over its SLO in {share:.0%} of samples"
        for stem, word, _ in LATENCIES
        if (share := _share_over(series, stem)) > 0
    ]
    slo = f" {' and '.join(over)}." if over else " TTFT and TBT p95 stayed within their SLO."
    changes = sum(word_of(mark) not in {"hold", "blocked"} for mark in series.decisions)
    more = f" {series.left_out} further holds are not shown." if series.left_out else ""
    return (
        f"{series.name} between {span}: {moved}. {driver.sentence}{slo} "
        f"{changes} {'decision' if changes == 1 else 'decisions'} to change.{more}"
    )


def _moved(role: Role, ready: Any) -> str:  # noqa: ANN401 - one row of counts
    first, last = int(ready[0]), int(ready[-1])
    low, high = int(ready.min()), int(ready.max())
    if low == high:
        return f"{role} stayed at {first}"
    return f"{role} ready went from {first} to {last} (between {low} and {high})"


def _share_over(series: ServiceSeries, stem: str) -> float:
    slo_s = series.spec.slo.ttft_s if stem == "ttft" else series.spec.slo.tbt_s
    values = series.signals[f"{stem}_s"]
    known = np.isfinite(values)
    return float((values[known] > slo_s).mean()) if known.any() else 0.0


def _table(series: ServiceSeries, driver: Driver, clock: Clock, columns: list[str]) -> Any:  # noqa: ANN401
    """Return one row a sample, thinned like the lines where there are too many."""
    at = downsample(driver.observed)
    said = _said(series)
    ratio = pd_ratio(series)
    rows = []
    for i in at.tolist():
        counted = [
            int(what[role, i])
            for role in range(len(ROLES))
            for what in (series.ready, series.starting, series.held, series.desired)
        ]
        latencies = [
            cell(MS * float(series.signals[f"{stem}{suffix}"][i]), 1)
            for stem, _, _ in LATENCIES
            for suffix in ("_p50_s", "_s", "_p99_s")
        ]
        rows.append(
            [
                clock.full(float(series.times_s[i])),
                *counted,
                cell(float(ratio[i])),
                *latencies,
                cell(float(driver.observed[i]), 2),
                cell(100 * float(driver.coverage[i]), 0),
                said.get(i, ""),
            ]
        )
    table: dict[str, Any] = {"columns": columns, "rows": rows}
    if len(at) < len(series.times_s):
        table["note"] = f"{len(at):,} of {len(series.times_s):,} samples; extremes are kept."
    return table


def _said(series: ServiceSeries) -> dict[int, str]:
    """Return the sentences of changes and blocks by the index of the sample they fall on."""
    said: dict[int, str] = {}
    for mark in series.decisions:
        if word_of(mark) != "hold":
            i = min(int(np.searchsorted(series.times_s, mark.first_s)), len(series.times_s) - 1)
            said[i] = f"{said[i]} {mark.sentence}" if i in said else mark.sentence
    return said
