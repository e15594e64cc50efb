"""Ranges of host names: ``gpu[001-032,040]`` to names and back, bounded."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import Final

MOST: Final = 100_000
"""Names one list may stand for."""

_PART: Final = re.compile(r"\[([^\[\]]*)\]")
_ITEM: Final = re.compile(r"(\d{1,15})(?:-(\d{1,15}))?\Z")
# The second is how ansible begins what a host said: ``gpu1 | CHANGED | rc=0 >>``.
_HOST_LINE: Final = re.compile(
    r"(?m)^(?:###[ \t]+(\S{1,253})[ \t]*\r?|(\S{1,253}) \| [A-Z]+!? (?:\||=>).*)$"
)
_NUMBERED: Final = re.compile(r"(.*?)(\d{1,15})(\D*)\Z", re.DOTALL)


class HostListError(ValueError):
    """A list of hosts that can't be read, or that stands for too many."""


def expand(text: str, *, most: int = MOST) -> list[str]:
    """Return the names a list stands for, in its order.

    Items are separated by commas; an item may hold several ranges. A range counts up and keeps
    the width of its first number: ``[08-10]`` is 08, 09, 10. Raises :class:`HostListError`,
    before anything is expanded, for more than ``most`` names.
    """
    names: list[str] = []
    for item in _items(text):
        names += _expand_item(item, most - len(names))
    return names


def fold(names: Sequence[str]) -> list[str]:
    """Return ranges that :func:`expand` to the same names in the same order."""
    folded: list[str] = []
    run: list[str] = []
    for name in names:
        if run and not _follows(run[-1], run[0], name):
            folded.append(_range(run))
            run = []
        run.append(name)
    return [*folded, _range(run)] if run else folded


def _items(text: str) -> Iterator[str]:
    depth = begin = 0
    for place, sign in enumerate(text):
        depth += (sign == "[") - (sign == "]")
        if depth not in {0, 1}:
            raise HostListError(f"the brackets of {text[:60]!r} don't match")
        if sign == "," and depth == 0:
            yield text[begin:place].strip()
            begin = place + 1
    if depth:
        raise HostListError(f"the brackets of {text[:60]!r} don't match")
    yield text[begin:].strip()


def _expand_item(item: str, most: int) -> list[str]:
    if not item:
        raise HostListError("a name between two commas is missing")
    pieces = _PART.split(item)
    ranges = [_ranges(piece) for piece in pieces[1::2]]
    total = 1
    for one in ranges:
        total *= sum(high - low + 1 for low, high, _ in one)
    if total > most:
        raise HostListError(f"{item[:60]!r} stands for {total:,} names, at most {most:,} are read")
    if not ranges:
        return [item]
    choices = [
        [str(number).zfill(width) for low, high, width in one for number in range(low, high + 1)]
        for one in ranges
    ]
    fixed = pieces[0::2]
    return [
        fixed[0]
        + "".join(f"{chosen}{after}" for chosen, after in zip(row, fixed[1:], strict=True))
        for row in product(*choices)
    ]


def _ranges(inside: str) -> list[tuple[int, int, int]]:
    """Return what stands between two brackets as (first, last, width)."""
    found = []
    for item in inside.split(","):
        match = _ITEM.match(item.strip())
        if match is None:
            raise HostListError(f"[{inside[:40]}] is no range like [001-032,040]")
        low, high = match[1], match[2] or match[1]
        if int(high) < int(low):
            raise HostListError(f"[{inside[:40]}] counts down")
        found.append((int(low), int(high), len(low)))
    return found


def _follows(last: str, first: str, name: str) -> bool:
    """Return whether a name is the next of a run, with the width of the run's first number."""
    before, begun, now = _NUMBERED.match(last), _NUMBERED.match(first), _NUMBERED.match(name)
    if before is None or begun is None or now is None:
        return False
    return (before[1], before[3]) == (now[1], now[3]) and now[2] == str(int(before[2]) + 1).zfill(
        len(begun[2])
    )


def _range(run: Sequence[str]) -> str:
    first, last = _NUMBERED.match(run[0]), _NUMBERED.match(run[-1])
    if len(run) == 1 or first is None or last is None:
        return run[0]
    return f"{first[1]}[{first[2]}-{last[2]}]{first[3]}"


def lines_of(text: str) -> Iterator[str]:
    """Return the lines of a text one after the other, with what ends them."""
    # A list of all of them would take eight times the memory of a file of empty lines.
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin) + 1 or len(text)
        yield text[begin:end]
        begin = end


def sections(text: str, file: str) -> list[tuple[str, int, str]]:
    """Return (host, line before its first, text) of a file with ``### host`` lines.

    Without such lines the whole is of the host that the file is named after. Raises
    :class:`HostListError` for more than ``MOST`` hosts.
    """
    marks = list(islice(_HOST_LINE.finditer(text), MOST + 1))
    if len(marks) > MOST:
        raise HostListError(f"more than {MOST:,} hosts are not read at once")
    if not marks:
        stem = re.split(r"[\\/]", file)[-1]
        return [(re.sub(r"\.(csv|xml|json|txt|out|log)\Z", "", stem), 0, text)]
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    found, line = [], text.count("\n", 0, marks[0].end()) + 1
    for mark, end in zip(marks, ends, strict=True):
        body = text[mark.end() : end].removeprefix("\n")
        found.append((mark[1] or mark[2], line, body))
        line += text.count("\n", mark.end(), end)
    return found
