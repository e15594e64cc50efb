"""Targets of a direct scrape as people write them: one a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from controller.core.readings.attach_plain import MOST_TARGETS, PlainError, targets_of
from controller.core.readings.sources import Target

NONE: Final = "-"
"""Stands where a line leaves out what others after it need."""
MOST_FAULTS: Final = 5
_PARTS: Final = 4
_FIRST: Final = "Target 1"


def targets_in(text: str) -> tuple[Target, ...]:
    """Return the targets of lines ``URL [service] [role] [instance]``; ``-`` stands for none.

    Empty lines and those that begin with ``#`` are left out. Raises :class:`PlainError` for
    ``targets``, with the number of each line that can't be used, the first few of them.
    """
    found: list[Target] = []
    faults: list[str] = []
    first: dict[str, int] = {}
    for at, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            target = _target(words)
        except PlainError as fault:
            faults.append(str(fault).replace(_FIRST, f"Line {at}"))
            continue
        before = first.setdefault(target.url, at)
        if before != at:
            faults.append(f"Line {at} names what line {before} does: {target.url}.")
        found.append(target)
    if len(found) > MOST_TARGETS:
        faults.append(f"{len(found)} targets are more than {MOST_TARGETS}.")
    if faults:
        more = len(faults) - MOST_FAULTS
        rest = (f"And {more} more lines.",) if more > 0 else ()
        raise PlainError("targets", " ".join((*faults[:MOST_FAULTS], *rest)))
    return tuple(found)


def _target(words: Sequence[str]) -> Target:
    if len(words) > _PARTS:
        said = "has more than an address, a service, a role and an instance"
        raise PlainError("targets", f"{_FIRST} {said}.")
    url, service, role, instance = (*words, *([NONE] * (_PARTS - len(words))))
    given = {"url": url, "service": service, "role": role.lower(), "instance": instance}
    plain = {name: "" if value == NONE else value for name, value in given.items()}
    return targets_of([plain])[0]


def lines_of(targets: Sequence[Target]) -> str:
    """Return the lines that :func:`targets_in` reads back."""
    return "\n".join(map(_line, targets))


def _line(target: Target) -> str:
    usual = target.url.split("//", 1)[1].split("/", 1)[0]
    instance = "" if target.instance == usual else target.instance
    words = [target.url, target.service, target.role.value if target.role else "", instance]
    while not words[-1]:
        words.pop()
    return " ".join(word or NONE for word in words)
