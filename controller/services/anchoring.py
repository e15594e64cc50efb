"""The end of the chain, written down outside the database: a tail cut off there is missed here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Final

import structlog
from django.db import transaction

from controller.models import Seal
from controller.services import sealing

LONGEST_LINE: Final = 1_024
PRIVATE: Final = 0o600

log = structlog.get_logger(__name__)


class AnchorError(Exception):
    """A file of anchors can't be read; the text names it and the line."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of the chain at one time."""

    seq: int
    hash: str
    at: str


def keep(path: Path, now: datetime, *, every_s: float) -> Anchor | None:
    """Append the end of the chain unless it stands there or was written within ``every_s``.

    Returns what was appended. Nothing is added after a line that the chain contradicts: that line
    is the evidence. Raises :class:`OSError` when the file can't be written.
    """
    with transaction.atomic():
        if not sealing.take_turn():
            return None
        end, last = sealing.end(), newest(path)
        if end.seq == 0 or (last is not None and not _is_due(last, end.seq, now, every_s)):
            return None
        made = Anchor(end.seq, end.hash, now.isoformat(timespec="seconds"))
        _append(path, made)
    log.info("audit anchor", **asdict(made))
    return made


def _is_due(last: Anchor, end: int, now: datetime, every_s: float) -> bool:
    stands = Seal.objects.filter(seq=last.seq, hash=last.hash).exists()
    age_s = (now - datetime.fromisoformat(last.at)).total_seconds()
    return stands and end > last.seq and age_s >= every_s


def _append(path: Path, made: Anchor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
    with os.fdopen(descriptor, "ab") as file:
        file.write(f"{json.dumps(asdict(made))}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def newest(path: Path) -> Anchor | None:
    """Return the last line of a file of anchors, ``None`` when there is no such file or line.

    Raises :class:`AnchorError` when it can't be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2 * LONGEST_LINE))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return None
    except OSError as fault:
        raise AnchorError(f"{path}: {fault.strerror}") from fault
    return _parsed(lines[-1], path, "the last line") if lines else None


def stretches(path: Path, most: int) -> Iterator[list[Anchor]]:
    """Yield all anchors of a file, ``most`` at a time; nothing when there is none.

    Raises :class:`AnchorError` naming the line that can't be read.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while lines := list(islice(file, most)):
                yield [
                    _parsed(line, path, f"line {number + at}")
                    for at, line in enumerate(lines, start=1)
                ]
                number += len(lines)
    except FileNotFoundError:
        return
    except OSError as fault:
        raise AnchorError(f"{path}: {fault.strerror}") from fault


def _parsed(line: bytes, path: Path, where: str) -> Anchor:
    try:
        given = json.loads(line)
        anchor = Anchor(int(given["seq"]), str(given["hash"]), str(given["at"]))
        datetime.fromisoformat(anchor.at)
    except (ValueError, KeyError, TypeError) as fault:
        raise AnchorError(f"{path}: {where} is no anchor") from fault
    return anchor
