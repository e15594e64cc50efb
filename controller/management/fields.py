"""Fields of a JSON document that somebody wrote: read, or refused with the name of the field."""

import json
import sys
from pathlib import Path
from typing import Any, Final

from controller.management.answering import AnswerError
from controller.management.inputs import read_file

MISSING: Final = object()
Plain = Any
"""What a file holds."""


def read_document(name: str) -> dict[str, Plain]:
    """Return the object in a file, or of standard input for a dash.

    Raises :class:`AnswerError` for what can't be read or is no object.
    """
    raw = sys.stdin.buffer.read() if name == "-" else read_file(Path(name))
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise AnswerError("bad_json", str(fault), name) from fault
    if not isinstance(plain, dict):
        raise AnswerError("bad_document", "the file must hold one object", name)
    return plain


def bad(said: str, where: str) -> AnswerError:
    """Return the refusal of a field."""
    return AnswerError("bad_document", said, where.lstrip("."))


def get(told: Plain, key: str, where: str) -> Plain:
    """Return a field of an object, ``MISSING`` where it is not there."""
    if not isinstance(told, dict):
        raise bad("an object is needed", where)
    return told.get(key, MISSING)


def an_object(told: Plain, key: str, where: str, default: Plain = MISSING) -> dict[str, Plain]:
    """Return a field that is an object."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    if not isinstance(found, dict):
        raise bad("an object is needed", f"{where}.{key}")
    return found


def a_list(told: Plain, key: str, where: str = "", default: Plain = MISSING) -> list[Plain]:
    """Return a field that is a list."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    if not isinstance(found, list):
        raise bad("a list is needed", f"{where}.{key}")
    return found


def a_text(told: Plain, key: str, where: str, default: Plain = MISSING) -> str:
    """Return a field that is a text; without a default an empty one is refused."""
    found = get(told, key, where)
    if (found is MISSING or found is None) and default is not MISSING:
        return str(default)
    if not isinstance(found, str) or (not found and default is MISSING):
        raise bad("a text is needed", f"{where}.{key}")
    return found


def a_count(  # noqa: PLR0913 - the field, its bounds, and what it is without
    told: Plain,
    key: str,
    where: str,
    *,
    least: int = 0,
    most: int = 1024,
    default: int | None = None,
) -> int:
    """Return a field that is a whole number within bounds."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found <= most:
        raise bad(f"a whole number from {least} to {most} is needed", f"{where}.{key}")
    return found


def a_number(told: Plain, key: str, where: str, *, default: float) -> float:
    """Return a field that is a number above 0 and at most a thousand."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    isnt = isinstance(found, bool) or not isinstance(found, int | float)
    if isnt or not 0 < found <= 1000:  # noqa: PLR2004 - far beyond any ratio or speed
        raise bad("a number above 0 and at most 1000 is needed", f"{where}.{key}")
    return float(found)


def a_flag(told: Plain, key: str, where: str, *, default: bool) -> bool:
    """Return a field that is true or false."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    if not isinstance(found, bool):
        raise bad("true or false is needed", f"{where}.{key}")
    return found


def one_of(told: Plain, key: str, where: str, known: tuple[str, ...], default: str) -> str:
    """Return a field that is one of some words."""
    found = get(told, key, where)
    found = default if found is MISSING else found
    if found not in known:
        raise bad(f"use {', '.join(known)}", f"{where}.{key}")
    return str(found)
