"""Times as an address gives them: each checked, each refusal naming its fix."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

SHORTEST: Final = timedelta(minutes=1)
LONGEST: Final = timedelta(days=14)

_RANGE: Final = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_MINUTES: Final = {"m": 1, "h": 60, "d": 1_440}
_BOUNDS: Final = "a number of m, h or d from 1m to 14d, such as 3h"


class BadAskError(ValueError):
    """A parameter can't be used; ``where`` names it and the message says what would do."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.where = where


def length_of(text: str) -> timedelta:
    """Return how long a relative range is. Raises :class:`BadAskError`."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise BadAskError("range", f"Use {_BOUNDS}.")
    length = timedelta(minutes=int(found[1]) * _MINUTES[found[2]])
    if not SHORTEST <= length <= LONGEST:
        raise BadAskError("range", f"Use {_BOUNDS}.")
    return length


def time_of(text: str, where: str, zone: ZoneInfo) -> datetime:
    """Return one end of a range; without an offset it is in ``zone``.

    Raises :class:`BadAskError`.
    """
    # In an address a plus sign that was not encoded arrives as a space.
    try:
        at = datetime.fromisoformat(text.strip().replace(" ", "+") if "T" in text else text)
        at = at if at.tzinfo else at.replace(tzinfo=zone)
        at = at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadAskError(where, "Use a time such as 2026-03-01T12:00:00Z.") from None
    if not 1970 < at.year < 9000:  # noqa: PLR2004 - what a clock and a database both can tell
        raise BadAskError(where, "Use a time such as 2026-03-01T12:00:00Z.")
    return at


def zone_of(text: str, default: ZoneInfo) -> ZoneInfo:
    """Return the zone of an address, the reader's without one. Raises :class:`BadAskError`."""
    if not text:
        return default
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadAskError("tz", "Use a time zone such as UTC or Europe/Berlin.") from None
