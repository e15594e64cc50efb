"""Queries of the operator's own: what may be written, what is filled in, what they read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

import promql_parser as promql

from controller.core.readings.attach import INFO, Attach, ByInfo, ByLabels

LONGEST_QUERY: Final = 4000
LONGEST_RANGE: Final = timedelta(hours=1)
DEEPEST: Final = 40
"""Brackets in brackets."""
SERVICE: Final = "$service"
_RATES: Final = frozenset({"rate", "irate", "increase"})
_TOKEN: Final = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"""|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)"""
    r"|(?P<hole>\$\w*)",
    re.ASCII,
)
_IN_TEXT: Final = re.compile(r"\$service(?![A-Za-z0-9])")
_MASK: Final = re.compile(r'"q(\d+)"')
_MATCHES: Final = re.compile(r"[=!]~\s*\Z")
_FOREIGN: Final = re.compile(r"[^\w\s(){}\[\]<>=!~+\-*/%^.,:@$]", re.ASCII)
_UNKNOWN: Final = re.compile(r"unknown function with name '(\w+)'")
_RANGE: Final = re.compile(r"expected type matrix in call to function '(\w+)', got vector")
_CLOSES: Final = {")": "(", "]": "[", "}": "{"}
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")


class WrittenError(ValueError):
    """A query can't be used; the text says where and how to mend it."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Series that a query reads: as text without a range, the labels it matches.

    ``counted`` series are taken as rates: one sample alone says nothing.
    """

    text: str
    name: str
    labels: frozenset[str]
    counted: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be used: in one line, whether it is a number without labels, its series."""

    text: str
    scalar: bool
    selectors: tuple[Selector, ...]

    def tells_role(self, attach: Attach) -> bool:
        """Return whether it reads instances of one role, so that they can be counted."""
        return any(self.speaks(each, attach) for each in self.selectors)

    def speaks(self, selector: Selector, attach: Attach) -> bool:
        """Return whether the series of a selector are of instances of one role."""
        match attach:
            case ByLabels():
                return attach.role in selector.labels
            case ByInfo():
                joined = [each for each in self.selectors if each.name == INFO]
                return selector.name != INFO and any("role" in each.labels for each in joined)
            case _:
                return attach.pod in selector.labels


def check_written(text: str) -> None:
    """Raise :class:`WrittenError` for a query that can't be used as a signal.

    It must be PromQL as Prometheus 2.45 reads it, give a number or a vector, and name series whose
    newest samples tell how old its figure is: no subquery, no ``offset``, no ``@``, no range of
    more than an hour.
    """
    parsed(text)


def remarks_on(text: str, attach: Attach) -> tuple[str, ...]:
    """Return what the operator should know of a query that can be used. Raises as the check."""
    query, found = parsed(text), []
    if SERVICE not in query.text:
        found.append(f"It does not name {SERVICE}: it says the same of every service.")
    if not query.tells_role(attach):
        found.append(
            "It reads no series of one role: it counts as speaking for the whole service, and an"
            " instance that is missing is not noticed."
        )
    return tuple(found)


def filled(text: str, service: str, window_s: int) -> str:
    """Return text of a query with its placeholders filled in, so that they mean themselves."""

    def fill(token: re.Match[str]) -> str:
        if token["hole"]:
            return f"{window_s}s"
        if not token["string"]:
            return " "
        matched = _MATCHES.search(token.string, 0, token.start()) is not None
        return _with(token["string"], _SPECIAL.sub(r"\\\g<0>", service) if matched else service)

    return _TOKEN.sub(fill, text)


def _with(string: str, service: str) -> str:
    quote = string[0]
    if quote == "`":
        if quote in service and _IN_TEXT.search(string):
            raise WrittenError(f"The name {service!r} can't stand in backquotes: use \" instead.")
        return _IN_TEXT.sub(lambda _: service, string)
    for letter, escape in (("\\", "\\\\"), (quote, f"\\{quote}"), ("\n", "\\n")):
        service = service.replace(letter, escape)
    return _IN_TEXT.sub(lambda _: service, string)


@lru_cache(maxsize=1024)
def parsed(text: str) -> Query:
    """Return what a query reads. Raises :class:`WrittenError`."""
    if len(text) > LONGEST_QUERY:
        raise WrittenError(
            f"It has {len(text):,} letters, {LONGEST_QUERY:,} are allowed: make a recording rule"
            " of it."
        )
    _check_text(text)
    strings: list[str] = []

    def mask(token: re.Match[str]) -> str:
        if token["string"]:
            strings.append(token["string"])
            return f'"q{len(strings) - 1}"'
        return "60s" if token["hole"] else " "

    masked = " ".join(_TOKEN.sub(mask, text).split())
    if not masked:
        raise WrittenError("Nothing is written.")
    scalar = _is_scalar(masked, text)
    selectors = tuple(dict.fromkeys(_selectors(masked, strings)))
    if not selectors:
        raise WrittenError(
            "It reads no series, so nothing tells how old its figure is: name a metric."
        )
    # A comment would hide what is put behind the query.
    line = _TOKEN.sub(lambda token: " " if token["comment"] else token[0], text)
    return Query(line.strip(), scalar, selectors)


def _check_text(text: str) -> None:
    """Look at what a parser would tell without a position."""
    blank = _TOKEN.sub(lambda token: token["hole"] or " " * len(token[0]), text)
    if quote := re.search("[\"'`]", blank):
        raise _at(quote.start(), f"the quote {quote[0]} is not closed.")
    for hole in re.finditer(r"\$\w*", blank, re.ASCII):
        _check_hole(hole[0], blank[: hole.start()].rstrip()[-1:], hole.start())
    if foreign := _FOREIGN.search(blank):
        raise _at(foreign.start(), f"{foreign[0]!r} is not of the language.")
    _check_brackets(blank)


def _check_hole(hole: str, before: str, at: int) -> None:
    if hole == SERVICE:
        raise _at(at, f'{SERVICE} stands in quotes: {{service="{SERVICE}"}}.')
    if hole != "$window":
        raise _at(at, f"{hole} is not known here: write $window or {SERVICE}.")
    if before != "[":
        raise _at(at, "$window stands in brackets: rate(x[$window]).")


def _check_brackets(blank: str) -> None:
    opened: list[tuple[str, int]] = []
    for at, letter in enumerate(blank):
        if letter in "([{":
            opened.append((letter, at))
            if len(opened) > DEEPEST:
                raise _at(at, f"more than {DEEPEST} brackets in one another.")
        elif letter in _CLOSES:
            if not opened or opened[-1][0] != _CLOSES[letter]:
                raise _at(at, f"{letter} closes nothing.")
            opened.pop()
    if opened:
        raise _at(opened[-1][1], f"{opened[-1][0]} is not closed.")


def _is_scalar(masked: str, text: str) -> bool:
    """Return whether it is a number without labels. Raises for neither that nor a vector."""
    try:
        promql.parse(masked)
    except ValueError as fault:
        raise _unreadable(str(fault), text) from None
    if _reads(f"vector({masked})"):
        return True
    if _reads(f"abs({masked})"):
        return False
    if _reads(f"last_over_time({masked})"):
        raise WrittenError("It gives samples of a range: wrap it, as in rate(x[$window]).")
    raise WrittenError("It gives no number.")


def _reads(masked: str) -> bool:
    try:
        promql.parse(masked)
    except ValueError:
        return False
    return True


def _unreadable(said: str, text: str) -> WrittenError:
    if unknown := _UNKNOWN.search(said):
        return _at(
            text.find(unknown[1]), f"{unknown[1]} is no function of Prometheus 2.45 or before."
        )
    if ranged := _RANGE.search(said):
        name = ranged[1]
        return _at(text.find(name), f"{name} needs a range: {name}(x[$window]).")
    return WrittenError(f"It can't be read: {said}.")


def _selectors(masked: str, strings: list[str]) -> Iterator[Selector]:
    todo: list[tuple[promql.Expr, bool]] = [(promql.parse(masked), False)]
    while todo:
        expr, counted = todo.pop()
        match expr:
            case promql.VectorSelector():
                yield _selector(expr, counted, strings)
            case promql.MatrixSelector():
                if expr.range > LONGEST_RANGE:
                    raise WrittenError(
                        f"A range of {expr.range} is too slow to decide by: at most"
                        f" {LONGEST_RANGE}; as a rule, [$window]."
                    )
                todo.append((expr.vector_selector, counted))
            case _:
                todo.extend((inner, _rates(expr)) for inner in reversed(_inside(expr)))


def _rates(expr: promql.Expr) -> bool:
    return isinstance(expr, promql.Call) and expr.func.name in _RATES


def _inside(expr: promql.Expr) -> list[promql.Expr]:
    match expr:
        case promql.SubqueryExpr():
            raise WrittenError(
                "A subquery hides how old its samples are: make a recording rule of it."
            )
        case promql.AggregateExpr():
            found = [expr.expr, expr.param]
        case promql.UnaryExpr() | promql.ParenExpr():
            found = [expr.expr]
        case promql.BinaryExpr():
            found = [expr.lhs, expr.rhs]
        case promql.Call():
            found = list(expr.args)
        case _:
            found = []
    return [each for each in found if isinstance(each, promql.Expr)]


def _selector(expr: promql.VectorSelector, counted: bool, strings: list[str]) -> Selector:  # noqa: FBT001 - of two
    if expr.offset is not None or expr.at is not None:
        what = "offset" if expr.offset is not None else "@"
        raise WrittenError(
            f"With {what} it reads samples of another time, so its age would be wrong:"
            " leave it out."
        )
    text = _MASK.sub(lambda found: strings[int(found[1])], " ".join(expr.prettify().split()))
    either = [each for some in expr.matchers.or_matchers for each in some]
    labels = frozenset(each.name for each in (*expr.matchers.matchers, *either))
    return Selector(text, expr.name or "", labels, counted)


def _at(at: int, said: str) -> WrittenError:
    return WrittenError(f"At letter {at + 1}: {said}")
