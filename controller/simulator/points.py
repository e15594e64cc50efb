"""Measured points as files: bytes in, points out, and an error that names the line and column."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.fitting import DecodePoints, PrefillPoints
from controller.simulator.profiles import MS

MOST_BYTES: Final = 16 * 2**20
"""Largest file read, unpacked."""

KEPT_UP_FRAC: Final = 0.9
"""Share of the asked batch that must have run for a point to be about that batch."""

LEAST: Final = 1e-6
MOST: Final = 1e12
"""No length, batch or time in milliseconds is beyond these, and their squares stay finite."""

_GZIP_MAGIC: Final = b"\x1f\x8b"

TOKENS: Final = ("tokens", "input_tokens", "prompt_tokens", "prompt_size", "input_len", "isl")
PREFILL_MS: Final = ("latency_ms", "ttft_ms", "prefill_ms", "prompt_ms")
BATCH: Final = ("batch", "batch_size", "batch_est")
CONTEXT: Final = ("context", "context_len", "context_tokens")
KV_TOKENS: Final = ("kv_tokens",)
STEP_MS: Final = ("itl_ms", "tpot_ms", "latency_ms", "token_ms")
RAN_BATCH: Final = ("batch_from_tput",)
CAPACITY: Final = ("max_kv_tokens",)


class PointsError(ValueError):
    """A file of points that can't be used; ``where`` says in which file, line and column."""

    def __init__(self, where: str, problem: str) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"{where}: {problem}")


@dataclass(frozen=True, slots=True)
class DecodeFile:
    """Decode points and what else their file says.

    ``kv_capacity_tokens`` is None where the file doesn't say; ``set_aside`` counts the points at
    which the engine ran fewer sequences than were asked of it.
    """

    points: DecodePoints
    kv_capacity_tokens: int | None
    set_aside: int


def read_prefill_points(data: bytes, name: str) -> PrefillPoints:
    """Return the points of a plain or gzipped CSV with a header; other columns are ignored.

    Columns as in ``TOKENS`` and ``PREFILL_MS``, optionally ``BATCH`` (1 when absent). Raises
    :class:`PointsError` when a column is missing or a cell is no number above 0.
    """
    table = _Table(data, name)
    tokens, latency_ms = table.column(TOKENS), table.column(PREFILL_MS)
    batch = table.column(BATCH) if table.has(BATCH) else np.ones_like(tokens)
    return PrefillPoints(tokens, batch, latency_ms * MS)


def read_decode_points(data: bytes, name: str) -> DecodeFile:
    """Return the points of a plain or gzipped CSV with a header; other columns are ignored.

    Columns as in ``BATCH``, ``STEP_MS`` and either ``CONTEXT`` (tokens of each sequence) or
    ``KV_TOKENS`` (of all). Raises :class:`PointsError` as :func:`read_prefill_points`.
    """
    table = _Table(data, name)
    batch, step_ms = table.column(BATCH), table.column(STEP_MS)
    if table.has(KV_TOKENS):
        context = table.column(KV_TOKENS) / batch
    else:
        context = table.column(CONTEXT)
    ran = table.column(RAN_BATCH) if table.has(RAN_BATCH) else batch
    kept = ran > KEPT_UP_FRAC * batch
    if not np.any(kept):
        raise PointsError(name, "no point ran the batch that was asked of it")
    capacity = int(np.max(table.column(CAPACITY))) if table.has(CAPACITY) else None
    points = DecodePoints(batch[kept], context[kept], step_ms[kept] * MS)
    return DecodeFile(points, capacity, int(np.sum(~kept)))


class _Table:
    """The rows of one file with the line each came from."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        rows = csv.reader(io.StringIO(_text(data, name), newline=""))
        try:
            self.header = [cell.strip().lower() for cell in next(rows, [])]
            numbered = [(rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise PointsError(f"{name}, line {rows.line_num}", f"no CSV: {error}") from error
        if not numbered:
            raise PointsError(name, "there is no row of points under a header")
        self.rows: Sequence[tuple[int, Mapping[str, str]]] = [
            (line, self._row(line, row)) for line, row in numbered
        ]

    def has(self, names: Sequence[str]) -> bool:
        """Whether there is a column with one of the names."""
        return any(name in self.header for name in names)

    def column(self, names: Sequence[str]) -> Floats:
        """Return the first column with one of the names, shape ``(rows,)``, each above 0."""
        found = next((name for name in names if name in self.header), None)
        if found is None:
            raise PointsError(
                f"{self.name}, line 1", f"no column {names[0]} (or {', '.join(names[1:])})"
            )
        return np.array([self._number(line, found, row[found]) for line, row in self.rows])

    def _row(self, line: int, row: Sequence[str]) -> Mapping[str, str]:
        if len(row) != len(self.header):
            problem = f"{len(row)} cells where the header has {len(self.header)}"
            raise PointsError(f"{self.name}, line {line}", problem)
        return dict(zip(self.header, row, strict=True))

    def _number(self, line: int, column: str, cell: str) -> float:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if LEAST <= value <= MOST:
            return value
        size = "above 0" if math.isnan(value) or value <= 0 else f"from {LEAST:g} to {MOST:g}"
        where = f"{self.name}, line {line}, column {column}"
        raise PointsError(where, f"'{cell}' is no number {size}")


def _text(data: bytes, name: str) -> str:
    if data.startswith(_GZIP_MAGIC):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
                data = packed.read(MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise PointsError(name, f"the gzip data is damaged: {error}") from error
    if len(data) > MOST_BYTES:
        raise PointsError(name, f"more than {MOST_BYTES // 2**20} MiB of points")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise PointsError(f"{name}, line {line}", "neither UTF-8 text nor gzip") from error
