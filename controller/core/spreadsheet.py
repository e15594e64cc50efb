"""Cells that a spreadsheet shows and does not run."""

from typing import Final, TypeVar

_T = TypeVar("_T")
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")


def cell_text(value: _T) -> _T | str:
    """Return a cell no spreadsheet runs: text that looks like a formula gets an apostrophe."""
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
