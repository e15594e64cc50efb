"""The lines of a file that can't be used, as a table with what is wrong with each."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from inventory.importers.detect import detect
from inventory.importers.found import RefusedError
from inventory.importers.hostlist import lines_of
from inventory.importers.table import delimiter_of

ERROR: Final = "error"
LONGEST: Final = 1_000
_HEAD: Final = 65_536


def bad_rows(body: bytes, faults: Iterable[tuple[int | None, str]], form: str) -> list[list[str]]:
    """Return a header and the lines with faults: of a table its columns, else line and text.

    ``faults`` are pairs of line and message; ``form`` is the format, empty where it is told by
    the content. The last column is the error, so that a table can be mended and read again.
    """
    said: dict[int, dict[str, None]] = defaultdict(dict)
    for line, message in faults:
        if line:
            said[line][message] = None
    text = body.decode("utf-8-sig", "replace")
    if _is_table(text, form):
        return _of_table(text, said)
    return _of_text(text, said)


def _is_table(text: str, form: str) -> bool:
    if form:
        return form == "csv"
    try:
        return detect(text[:_HEAD]) == "csv"
    except RefusedError:
        return False


def _of_table(text: str, said: dict[int, dict[str, None]]) -> list[list[str]]:
    delimiter, skip = delimiter_of(text)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    rows: list[list[str]] = []
    begin = 1
    try:
        for number, cells in enumerate(reader):
            if number == skip:
                rows.append([*cells, ERROR])
            elif number > skip and begin in said:
                width = len(rows[0]) - 1
                filled = [*cells[:width], *[""] * (width - len(cells))]
                rows.append([*filled, _joined(said[begin])])
            begin = reader.line_num + 1
    except csv.Error:
        # What can't be read as a row ends the table, as it did when it was imported.
        return _of_text(text, said)
    return rows


def _of_text(text: str, said: dict[int, dict[str, None]]) -> list[list[str]]:
    rows = [["line", "text", ERROR]]
    for number, line in enumerate(lines_of(text), start=1):
        if number in said:
            rows.append([str(number), line.strip()[:LONGEST], _joined(said[number])])
    return rows


def _joined(messages: Sequence[str] | dict[str, None]) -> str:
    return "; ".join(messages)
