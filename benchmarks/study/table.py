"""Rows as a Markdown table."""

from collections.abc import Sequence
from dataclasses import Field, astuple, fields
from math import isnan
from typing import Any, ClassVar, Protocol


class Row(Protocol):
    """A dataclass: one column a field."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def table(rows: Sequence[Row], formats: Sequence[str]) -> str:
    """Return the rows under their field names, each cell in the format of its column.

    ``None`` and NaN are a dash.
    """
    names = [field.name.replace("_", " ") for field in fields(rows[0])]
    lines = [names, ["---"] * len(names)]
    lines += [
        [_cell(value, form) for value, form in zip(astuple(row), formats, strict=True)]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object, form: str) -> str:
    if value is None or (isinstance(value, float) and isnan(value)):
        return "–"
    return format(value, form)
