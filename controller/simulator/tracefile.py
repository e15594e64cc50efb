"""Trace files: bytes in, columns out, and an error that names the line and the column."""

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Final

import numpy as np

from controller.core.types import Floats

MOST_BYTES: Final = 64 * 2**20
"""Largest trace read, unpacked."""

MOST_ROWS: Final = 1_000_000
"""Most rows read: more would take over half a GiB while they are text."""

_GZIP_MAGIC: Final = b"\x1f\x8b"

REQUEST_COLUMNS: Final = ("t_s", "input_tokens", "output_tokens")
WINDOW_COLUMNS: Final = ("t_s", "rate_rps", "mean_input_tokens", "mean_output_tokens")
LENGTH_COLUMNS: Final = REQUEST_COLUMNS[1:]
CACHED_COLUMN: Final = "cached_tokens_ideal"
CLIENTS_COLUMN: Final = "active_clients"

QUANTILE_COLUMNS: Final = ("window_start_s", "field")
LEAST_LEVELS: Final = 5
"""Fewer quantiles than this don't describe a distribution."""


class TraceError(ValueError):
    """A trace file that can't be used; says where (``line`` counts from 1) and what is wrong."""

    def __init__(
        self, name: str, problem: str, line: int | None = None, column: str | None = None
    ) -> None:
        self.name = name
        self.problem = problem
        self.line = line
        self.column = column
        where = [name]
        if line is not None:
            where.append(f"line {line}")
        if column is not None:
            where.append(f"column {column}")
        super().__init__(f"{', '.join(where)}: {problem}")


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of a trace as floats, NaN where a cell is empty, and the line each row came from."""

    name: str
    columns: Mapping[str, Floats]
    lines: Sequence[int]

    def has(self, *columns: str) -> bool:
        """Whether every named column is there."""
        return all(column in self.columns for column in columns)

    def fail(self, column: str, row: int, problem: str) -> TraceError:
        """Return the error for one cell."""
        return TraceError(self.name, problem, self.lines[row], column)


@dataclass(frozen=True, slots=True)
class QuantileTable:
    """Length quantiles per window, NaN where a window has none.

    ``start_s`` has shape ``(k,)``, ascending; ``levels`` ``(q,)`` within 0 to 1, ascending;
    ``input_tokens`` and ``output_tokens`` ``(k, q)``.
    """

    name: str
    start_s: Floats
    levels: Floats
    input_tokens: Floats
    output_tokens: Floats


def read_table(stream: IO[bytes] | IO[str] | bytes, name: str) -> Table:
    """Return the numeric columns a trace can have; other columns are ignored.

    Plain or gzipped CSV with a header. Raises :class:`TraceError` for anything that isn't: no
    text, no rows, a row of the wrong width, a cell that is no finite non-negative number, times
    that go back.
    """
    header, cells, lines = _cells(_text(stream, name), name)
    known = (*REQUEST_COLUMNS, *WINDOW_COLUMNS, CACHED_COLUMN, CLIENTS_COLUMN)
    columns = {
        column: _numbers([row[at] for row in cells], lines, (name, column))
        for at, column in enumerate(header)
        if column in known
    }
    table = Table(name, columns, lines)
    _check_layout(table)
    if not cells:
        raise TraceError(name, "there is a header and no rows")
    if table.has("t_s"):
        _check_times(table)
    return table


def read_quantiles(stream: IO[bytes] | IO[str] | bytes, name: str) -> QuantileTable:
    """Return a table of ``window_start_s, field, q0 ... q1`` with one row per window and field.

    Fields other than ``input_tokens`` and ``output_tokens`` are ignored, as are other columns.
    Raises :class:`TraceError` as :func:`read_table` does, and for quantiles that descend.
    """
    header, cells, lines = _cells(_text(stream, name), name)
    levels = _levels(header, name)
    columns = [header.index(f"q{text}") for text in levels]
    at, kind = (header.index(column) for column in QUANTILE_COLUMNS)
    starts_s = _numbers([row[at] for row in cells], lines, (name, QUANTILE_COLUMNS[0]))
    for row in np.flatnonzero(np.isnan(starts_s)):
        raise TraceError(name, "is empty", lines[row], QUANTILE_COLUMNS[0])
    start_s = np.unique(starts_s)
    if not cells:
        raise TraceError(name, "there is a header and no window")
    values = {field: np.full((len(start_s), len(levels)), np.nan) for field in LENGTH_COLUMNS}
    for cell, line, begin_s in zip(cells, lines, starts_s, strict=True):
        if cell[kind] in values:
            found = [_numbers([cell[at]], [line], (name, header[at]))[0] for at in columns]
            _check_ascending(np.array(found), line, name)
            values[cell[kind]][np.searchsorted(start_s, begin_s)] = found
    numbers = np.array([float(text) for text in levels])
    return QuantileTable(name, start_s, numbers, *(values[field] for field in LENGTH_COLUMNS))


def _levels(header: Sequence[str], name: str) -> list[str]:
    """Return the texts after the "q" of the quantile columns, ascending."""
    missing = [column for column in QUANTILE_COLUMNS if column not in header]
    if missing:
        raise TraceError(name, "a table of length quantiles needs it", 1, ", ".join(missing))
    texts = [column[1:] for column in header if re.fullmatch(r"q[01](\.\d+)?", column)]
    if len(texts) < LEAST_LEVELS:
        problem = f"{len(texts)} columns with quantiles (q0, q0.5, q1, ...): {LEAST_LEVELS} needed"
        raise TraceError(name, problem, 1)
    return sorted(texts, key=float)


def _check_ascending(values: Floats, line: int, name: str) -> None:
    if (np.diff(values) < 0).any():
        raise TraceError(name, "the quantiles descend", line)


def _text(stream: IO[bytes] | IO[str] | bytes, name: str) -> str:
    data = stream if isinstance(stream, bytes) else stream.read(MOST_BYTES + 1)
    if isinstance(data, str):
        return data
    if data.startswith(_GZIP_MAGIC):
        data = _unpacked(data, name)
    elif name.endswith(".gz"):
        raise TraceError(name, "the name ends in .gz and the content is not gzip")
    if len(data) > MOST_BYTES:
        raise TraceError(name, f"more than {MOST_BYTES // 2**20} MiB unpacked: cut it into parts")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TraceError(name, "not UTF-8 text (nor gzip)", line) from error


def _unpacked(data: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            return packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise TraceError(name, f"the gzip data is damaged: {error}") from error


def _cells(text: str, name: str) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the header, the other rows and the line each of these ends on."""
    rows = csv.reader(io.StringIO(text, newline=""))
    cells: list[list[str]] = []
    lines: list[int] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        for row in rows:
            if row and len(row) != len(header):
                problem = f"{len(row)} cells where the header has {len(header)}"
                raise TraceError(name, problem, rows.line_num)
            if row:
                cells.append(row)
                lines.append(rows.line_num)
            if len(cells) > MOST_ROWS:
                problem = f"more than {MOST_ROWS:,} rows: cut it into parts"
                raise TraceError(name, problem, rows.line_num)
    except csv.Error as error:
        raise TraceError(name, f"not a CSV file: {error}", rows.line_num) from error
    if not any(header):
        raise TraceError(name, "the file is empty")
    return header, cells, lines


def _numbers(cells: Sequence[str], lines: Sequence[int], where: tuple[str, str]) -> Floats:
    values = np.empty(len(cells))
    name, column = where
    for at, cell in enumerate(cells):
        try:
            value = float(cell) if cell.strip() else math.nan
        except ValueError as error:
            raise TraceError(name, f"'{cell}' is not a number", lines[at], column) from error
        if cell.strip() and not math.isfinite(value):
            raise TraceError(name, f"'{cell}' is not a finite number", lines[at], column)
        if value < 0:
            raise TraceError(name, f"'{cell}' is negative", lines[at], column)
        values[at] = value
    return values


def _check_layout(table: Table) -> None:
    layouts = {
        "requests": REQUEST_COLUMNS,
        "windows": WINDOW_COLUMNS,
        "lengths only": LENGTH_COLUMNS,
    }
    if any(table.has(*columns) for columns in layouts.values()):
        return
    windows = any(column in table.columns for column in WINDOW_COLUMNS[1:])
    kind = "windows" if windows else "requests"
    missing = [column for column in layouts[kind] if column not in table.columns]
    wanted = "; ".join(f"{kind}: {', '.join(columns)}" for kind, columns in layouts.items())
    problem = f"a trace of {kind} needs it. Columns of a trace are one of {wanted}"
    raise TraceError(table.name, problem, 1, ", ".join(missing))


def _check_times(table: Table) -> None:
    times = table.columns["t_s"]
    for at in np.flatnonzero(np.isnan(times)):
        raise table.fail("t_s", int(at), "is empty")
    for at in np.flatnonzero(np.diff(times) < 0):
        here, before = times[at + 1], times[at]
        raise table.fail("t_s", int(at) + 1, f"{here:g} comes after {before:g}: sort by time")
