"""What is learnt of a service as plain JSON values, and back without losing a digit."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from math import isfinite
from typing import Any, Final

from controller.core.outlook import (
    NOTHING_LEARNT,
    OUTRAN,
    Foreseen,
    Learnt,
    Outlook,
    Peak,
    Started,
)

Reader = Callable[[object], object]


def as_plain(outlook: Outlook) -> dict[str, Any]:
    """Return the outlook as an object of numbers and short lists; empty for nothing learnt."""
    return {} if outlook == NOTHING_LEARNT else _fields_of(outlook)


def from_plain(value: object) -> Outlook:
    """Return the outlook :func:`as_plain` made this of; whatever else it is, nothing learnt.

    A row edited by hand must not stop the loop. A field that is missing has its default: rows can
    be older than the field.
    """
    try:
        return Outlook(**_read(value, _OUTLOOK))
    except _MalformedError:
        return NOTHING_LEARNT


class _MalformedError(ValueError):
    """A value no outlook has."""


def _fields_of(value: Outlook | Learnt) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _plain(value: object) -> object:
    if isinstance(value, Learnt):
        return _fields_of(value)
    return list(map(_plain, value)) if isinstance(value, tuple) else value


def _read(value: object, readers: Mapping[str, Reader]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _MalformedError
    return {name: read(value[name]) for name, read in readers.items() if name in value}


def _finite(value: object) -> float:
    """Return a number; a float that is whole may have become an integer on its way."""
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise _MalformedError
    try:
        figure = float(value)
    except OverflowError as fault:
        raise _MalformedError from fault
    if not isfinite(figure):
        raise _MalformedError
    return figure


def _amount(value: object) -> float:
    """Return a number that counts or measures something: never below 0."""
    figure = _finite(value)
    if figure < 0.0:
        raise _MalformedError
    return figure


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _MalformedError
    return value


def _ratio(value: object) -> float | None:
    return None if value is None else _amount(value)


def _listed(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise _MalformedError
    return value


def _numbers(value: object) -> tuple[float, ...]:
    return tuple(map(_finite, _listed(value)))


def _counts(value: object) -> tuple[float, ...]:
    counts = tuple(map(_amount, _listed(value)))
    if len(counts) not in (0, len(OUTRAN) + 1):
        raise _MalformedError
    return counts


def _rows(*readers: Reader) -> Callable[[object], list[list[Any]]]:
    """Return a reader of a list of lists, each as long as there are readers for its parts."""

    def read(value: object) -> list[list[Any]]:
        rows = [_listed(row) for row in _listed(value)]
        if any(len(row) != len(readers) for row in rows):
            raise _MalformedError
        return [[part(given) for part, given in zip(readers, row, strict=True)] for row in rows]

    return read


_NEEDS: Final = _rows(_finite, _amount, _amount)
_STARTS: Final = _rows(_finite, _whole)


def _peaks(value: object) -> tuple[Peak, ...]:
    return tuple(Peak(*row) for row in _NEEDS(value))


def _foreseen(value: object) -> tuple[Foreseen, ...]:
    return tuple(Foreseen(*row) for row in _NEEDS(value))


def _waits(value: object) -> tuple[Started, ...]:
    return tuple(Started(*row) for row in _STARTS(value))


_LEARNT: Final[Mapping[str, Reader]] = {
    "outran": _counts,
    "took_s": _numbers,
    "waits": _waits,
    "wished": _whole,
    "ready": _whole,
}


def _learnt(value: object) -> Learnt:
    return Learnt(**_read(value, _LEARNT))


_OUTLOOK: Final[Mapping[str, Reader]] = {
    **{field.name: _amount for field in fields(Outlook)},
    "at_s": _finite,
    "ratio": _ratio,
    "peaks": _peaks,
    "foreseen": _foreseen,
    "prefill": _learnt,
    "decode": _learnt,
}
