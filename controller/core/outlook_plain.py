"""What is learnt of a service as plain JSON values, and back without losing a digit."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from math import inf, isfinite
from typing import Any, Final

from controller.core.foresight import METHODS
from controller.core.outlook import (
    NOTHING_LEARNT,
    OUTRAN,
    Foreseen,
    Guess,
    Learnt,
    Outlook,
    Peak,
    Started,
)

Reader = Callable[[object], object]
_NUMBERS: Final = frozenset({float, int})


def as_plain(outlook: Outlook) -> dict[str, Any]:
    """Return the outlook as an object of numbers and short lists; empty for nothing learnt."""
    if outlook == NOTHING_LEARNT:
        return {}
    plain: dict[str, Any] = {name: getattr(outlook, name) for name in _SCALARS}
    for name in _ROWS:
        plain[name] = list(map(list, getattr(outlook, name)))
    plain["prefill"], plain["decode"] = map(_of_role, (outlook.prefill, outlook.decode))
    return plain


def from_plain(value: object) -> Outlook:
    """Return the outlook :func:`as_plain` made this of; whatever else it is, nothing learnt.

    A row edited by hand must not stop the loop. A field that is missing has its default: rows can
    be older than the field.
    """
    try:
        return _outlook(_object(value))
    except _MalformedError:
        return NOTHING_LEARNT


def fault_of(plain: Mapping[str, object]) -> str | None:
    """Return the first field of an outlook that can't be read, ``None`` where all can."""
    for name, value in plain.items():
        try:
            _outlook({name: value})
        except _MalformedError:
            return name
    return None


class _MalformedError(ValueError):
    """A value no outlook has."""


def _of_role(learnt: Learnt) -> dict[str, Any]:
    return {
        **{name: getattr(learnt, name) for name in (*_ROLE_SCALARS, "slope", "wished", "ready")},
        "outran": list(learnt.outran),
        "errors": list(learnt.errors),
        "took_s": list(learnt.took_s),
        "waits": list(map(list, learnt.waits)),
    }


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _MalformedError
    return value


def _read(plain: Mapping[str, object], readers: Mapping[str, Reader]) -> dict[str, Any]:
    return {name: read(plain[name]) for name, read in readers.items() if name in plain}


def _figures(value: object, *, least: float = 0.0) -> tuple[float, ...]:
    """Return a list of numbers; a float that is whole may have become an integer on its way."""
    if not isinstance(value, list) or not _NUMBERS.issuperset(map(type, value)):
        raise _MalformedError
    try:
        figures = tuple(map(float, value))
    except OverflowError as fault:
        raise _MalformedError from fault
    if not all(map(isfinite, figures)) or min(figures, default=0.0) < least:
        raise _MalformedError
    return figures


def _scalars(plain: Mapping[str, object], names: Iterable[str]) -> dict[str, Any]:
    """Return the single numbers of an object; a ratio that is not known is null."""
    given = {name: plain[name] for name in names if name in plain}
    found: dict[str, Any] = {"ratio": given.pop("ratio")} if given.get("ratio", 0) is None else {}
    return found | dict(zip(given, _figures(list(given.values())), strict=True))


def _slope(value: object) -> float:
    return _figures([value], least=-inf)[0]


def _took_s(value: object) -> tuple[float, ...]:
    # A clock that is put back makes a start seem to end before it began.
    return _figures(value, least=-inf)


def _outran(value: object) -> tuple[float, ...]:
    counts = _figures(value)
    if len(counts) not in {0, len(OUTRAN) + 1}:
        raise _MalformedError
    return counts


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _MalformedError
    return value


def _rows(value: object, length: int) -> list[tuple[float, ...]]:
    """Return a list of rows of numbers, all checked at once because there are dozens."""
    if not isinstance(value, list):
        raise _MalformedError
    if any(not isinstance(row, list) or len(row) != length for row in value):
        raise _MalformedError
    flat = _figures([part for row in value for part in row])
    return [flat[at : at + length] for at in range(0, len(flat), length)]


def _errors(value: object) -> tuple[float, ...]:
    errors = _figures(value)
    if len(errors) not in {0, len(METHODS)}:
        raise _MalformedError
    return errors


def _peaks(value: object) -> tuple[Peak, ...]:
    return tuple(Peak(*row) for row in _rows(value, 3))


def _foreseen(value: object) -> tuple[Foreseen, ...]:
    return tuple(Foreseen(*row) for row in _rows(value, 3))


def _guesses(value: object) -> tuple[Guess, ...]:
    return tuple(Guess(*row) for row in _rows(value, len(Guess._fields)))


def _waits(value: object) -> tuple[Started, ...]:
    rows = _rows(value, 2)
    if not all(count.is_integer() for _, count in rows):
        raise _MalformedError
    return tuple(Started(at_s, int(count)) for at_s, count in rows)


_LEARNT: Final[Mapping[str, Reader]] = {
    "outran": _outran,
    "errors": _errors,
    "slope": _slope,
    "took_s": _took_s,
    "waits": _waits,
    "wished": _whole,
    "ready": _whole,
}


_ROLE_SCALARS: Final = tuple(field.name for field in fields(Learnt) if field.name not in _LEARNT)


def _learnt(value: object) -> Learnt:
    plain = _object(value)
    return Learnt(**_scalars(plain, _ROLE_SCALARS), **_read(plain, _LEARNT))


_ROWS: Final[Mapping[str, Reader]] = {
    "peaks": _peaks,
    "foreseen": _foreseen,
    "minutes": _peaks,
    "hours": _peaks,
    "guesses": _guesses,
}
_NESTED: Final[Mapping[str, Reader]] = {
    **_ROWS,
    "prefill": _learnt,
    "decode": _learnt,
}
_SCALARS: Final = tuple(field.name for field in fields(Outlook) if field.name not in _NESTED)


def _outlook(plain: Mapping[str, object]) -> Outlook:
    return Outlook(**_scalars(plain, _SCALARS), **_read(plain, _NESTED))
