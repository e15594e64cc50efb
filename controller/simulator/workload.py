"""Who asks for what: the one door to offered load, generated or from a trace, and its facts."""

from collections.abc import Mapping
from typing import IO, Final

import numpy as np

from controller.core.types import Flags, Floats
from controller.simulator.cache_switch import CacheScaleError, with_cache, with_cache_steps
from controller.simulator.generated import Generator
from controller.simulator.length_shapes import shapes_of
from controller.simulator.offered import (
    LEVELS,
    NODES,
    NORMAL,
    About,
    Lengths,
    Offered,
    Requests,
    Workload,
)
from controller.simulator.tracefile import (
    CACHED_COLUMN,
    CLIENTS_COLUMN,
    LENGTH_COLUMNS,
    Table,
    TraceError,
    read_quantiles,
    read_table,
)
from controller.simulator.traces import (
    ASSUMED,
    LengthShapes,
    LengthTrace,
    RequestTrace,
    WindowTrace,
)

__all__ = [
    "LEVELS",
    "NODES",
    "NORMAL",
    "About",
    "CacheScaleError",
    "Generator",
    "LengthShapes",
    "LengthTrace",
    "Lengths",
    "Offered",
    "RequestTrace",
    "Requests",
    "TraceError",
    "WindowTrace",
    "Workload",
    "companion_name",
    "facts",
    "read_trace",
    "with_cache",
    "with_cache_steps",
]

DEFAULT_RATE_RPS: Final = 1.0
"""Requests/s of lengths without times when nobody says a rate."""

SHORTEST_S: Final = 1.0
"""Shortest trace of requests: it begins again when it ends, so its length makes its rate."""

FACT_STEP_S: Final = 60.0
FACT_STEPS: Final = 50_000
"""Rates in facts are means over a minute, or longer ones where a pass has too many minutes."""

WINDOW_ENDING: Final = "_10min.csv"
QUANTILE_ENDING: Final = "_length_quantiles.csv"


def read_trace(
    stream: IO[bytes] | IO[str] | bytes,
    name: str,
    scale: float = 1.0,
    *,
    rate_rps: float | None = None,
    quantiles: bytes | None = None,
) -> Workload:
    """Return the workload in a trace file, told by its columns.

    ``t_s, input_tokens, output_tokens`` are single requests, the last two alone are lengths that
    arrive at ``rate_rps`` (``DEFAULT_RATE_RPS`` when none is said), both optionally with
    ``cached_tokens_ideal``; ``t_s, rate_rps, mean_input_tokens, mean_output_tokens`` are windows,
    whose lengths spread as the table ``quantiles`` (the content of the file
    :func:`companion_name` names) says. ``scale`` multiplies the rate. Raises :class:`TraceError`
    with line and column when the file can't be used, and when ``rate_rps`` or ``quantiles`` is
    given for a file that has no use for it.
    """
    table = read_table(stream, name)
    windows = table.has("rate_rps") and not table.has("input_tokens")
    if quantiles is not None and not windows:
        raise TraceError(name, "its lengths are recorded: length quantiles are for windows")
    if rate_rps is not None and table.has("t_s"):
        raise TraceError(name, "it has arrival times: a rate is for lengths only, use a scale")
    if windows:
        shapes = ASSUMED
        if quantiles is not None:
            shapes = shapes_of(read_quantiles(quantiles, companion_name(name) or name))
        return _windows(table, scale, shapes)
    if table.has("t_s"):
        t_s = table.columns["t_s"] - table.columns["t_s"][0]
        trace = RequestTrace(name, _rows(table, t_s), scale, table.has(CACHED_COLUMN))
        if t_s[-1] < SHORTEST_S:
            problem = f"all requests come within {t_s[-1]:g} s: a trace lasts at least a second"
            raise table.fail("t_s", len(t_s) - 1, problem)
        return trace
    return _lengths(table, scale, DEFAULT_RATE_RPS if rate_rps is None else rate_rps)


def companion_name(name: str) -> str | None:
    """Return the name of the length quantiles that belong to a trace of windows, if it has any.

    ``servegen_m-large_10min.csv.gz`` has ``servegen_m-large_length_quantiles.csv.gz``.
    """
    stem, ending, packed = name.rpartition(WINDOW_ENDING)
    if not ending or packed not in {"", ".gz"}:
        return None
    return f"{stem}{QUANTILE_ENDING}{packed}"


def facts(
    workload: Workload, played: tuple[float, float] | None = None
) -> Mapping[str, str | float | None]:
    """Return what a report says of a workload, plain JSON values, ``None`` for what is unknown.

    Means are over one pass (``span_s`` [s]), the rates' extremes over minutes: ``mean_rps``,
    ``min_rps``, ``max_rps`` [requests/s], ``input_tokens`` and ``output_tokens`` per request,
    ``cached_frac`` of input tokens, ``known_frac`` of the time. ``requests`` and ``lengths`` say
    what is recorded and what is drawn; ``scale`` is in the rates already. With ``played``, from
    and to in load time [s], all of it is of that part.
    """
    about = workload.about
    begin_s, end_s = played or (0.0, about.span_s or FACT_STEP_S)
    span_s = end_s - begin_s
    count = int(np.clip(np.ceil(span_s / FACT_STEP_S), 1, FACT_STEPS))
    step_s = span_s / count
    offered = workload.rates(begin_s + step_s * np.arange(count, dtype=np.float64), step_s)
    known: Flags = ~np.isnan(offered.rps)
    rps = offered.rps[known]
    asked = rps * offered.input_tokens[known]
    cached = _mean(offered.cached_frac[known], asked) if about.cache_known else None
    return {
        "kind": about.kind,
        "name": workload.name,
        "requests": about.requests,
        "lengths": about.lengths,
        "scale": float(about.scale),
        "span_s": _plain(span_s) if played or about.span_s is not None else None,
        "known_frac": _plain(known.mean()),
        "mean_rps": _plain(rps.mean()) if len(rps) else None,
        "min_rps": _plain(rps.min()) if len(rps) else None,
        "max_rps": _plain(rps.max()) if len(rps) else None,
        "input_tokens": _mean(offered.input_tokens[known], rps),
        "output_tokens": _mean(offered.output_tokens[known], rps),
        "cached_frac": cached,
    }


def _mean(values: Floats, weight: Floats) -> float | None:
    total = float(weight.sum())
    return _plain((values * weight).sum() / total) if total else None


def _plain(value: float) -> float:
    """Return six significant digits, which no report shows more of."""
    return float(f"{value:.6g}")


def _rows(table: Table, t_s: Floats) -> Requests:
    """Return the rows as requests; an engine reads and makes a token at least, so 0 is 1."""
    columns = table.columns
    nothing = np.zeros_like(columns["input_tokens"])
    given = [(name, columns[name]) for name in LENGTH_COLUMNS]
    given.append((CACHED_COLUMN, columns.get(CACHED_COLUMN, nothing)))
    for name, values in given:
        for at in np.flatnonzero(np.isnan(values)):
            raise table.fail(name, int(at), "is empty")
        for at in np.flatnonzero(values != np.rint(values)):
            raise table.fail(name, int(at), f"{values[at]:g} is no whole number of tokens")
    inputs, outputs, cached = (values for _, values in given)
    for at in np.flatnonzero(cached > inputs):
        problem = f"{cached[at]:g} cached tokens of {inputs[at]:g} input tokens"
        raise table.fail(CACHED_COLUMN, int(at), problem)
    return Requests(t_s, np.maximum(inputs, 1.0), np.maximum(outputs, 1.0), cached)


def _lengths(table: Table, scale: float, rate_rps: float) -> LengthTrace:
    if not 0 < rate_rps < np.inf:
        raise TraceError(table.name, f"{rate_rps:g} requests/s: lengths need a positive rate")
    rows = _rows(table, np.zeros(len(table.lines)))
    return LengthTrace(table.name, rows, rate_rps, scale, table.has(CACHED_COLUMN))


def _windows(table: Table, scale: float, shapes: LengthShapes) -> WindowTrace:
    t_s = table.columns["t_s"]
    gaps = np.diff(t_s)
    for at in np.flatnonzero(gaps == 0):
        raise table.fail("t_s", int(at) + 1, "the window is there twice")
    width_s = float(np.median(gaps)) if len(gaps) else 600.0
    rps, inputs, outputs = (
        table.columns[name] for name in ("rate_rps", "mean_input_tokens", "mean_output_tokens")
    )
    known = _idle(table) | ((rps > 0) & ~np.isnan(inputs + outputs))
    offered = Offered(
        *(np.where(known, values, np.nan) for values in (rps, inputs, outputs, np.zeros_like(rps)))
    )
    return WindowTrace(table.name, t_s, offered, width_s, scale, shapes)


def _idle(table: Table) -> Flags:
    """Return where a rate of 0 is load that was not there, not a collector that was not there.

    With a column of active clients, one of them must have been seen: in ServeGen's series windows
    without any are gaps of the collector. Without the column the file's word is taken.
    """
    idle: Flags = table.columns["rate_rps"] == 0
    if table.has(CLIENTS_COLUMN):
        idle &= table.columns[CLIENTS_COLUMN] > 0
    return idle
