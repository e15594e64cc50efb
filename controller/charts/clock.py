"""Times as a reader sees them: one zone, one offset for a whole figure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

HALF_DAY_S: Final = 43_200


@dataclass(frozen=True, slots=True)
class Clock:
    """Writes times in a zone with one fixed offset, so that an axis never runs backwards.

    ``offset_s`` [s east of UTC] is the zone's offset at the end of the figure's range: where a
    clock change falls into the range, the whole axis keeps the later offset and its title says so.
    """

    zone: str = "UTC"
    offset_s: float = 0.0

    @classmethod
    def at(cls, zone: ZoneInfo, until_s: float) -> Clock:
        """Return the clock of ``zone`` with the offset that holds at ``until_s`` [s]."""
        offset = datetime.fromtimestamp(until_s, zone).utcoffset() or timedelta()
        return cls(zone.key, offset.total_seconds())

    @property
    def title(self) -> str:
        """The zone and its offset, as in ``Europe/Berlin, UTC+02:00``."""
        if self.offset_s == 0 and self.zone == "UTC":
            return "UTC"
        sign = "-" if self.offset_s < 0 else "+"
        hours, seconds = divmod(abs(int(self.offset_s)), 3600)
        return f"{self.zone}, UTC{sign}{hours:02}:{seconds // 60:02}"

    def wall(self, at_s: float) -> datetime:
        """Return the time on the reader's clock."""
        return datetime.fromtimestamp(at_s, timezone(timedelta(seconds=self.offset_s)))

    def axis(self, at_s: float) -> str:
        """Return a time for a date axis: ISO without an offset, to the second."""
        return f"{self.wall(at_s):%Y-%m-%dT%H:%M:%S}"

    def axes(self, times_s: Iterable[float]) -> list[str]:
        """Return many times for a date axis."""
        return [self.axis(float(at_s)) for at_s in times_s]

    def hour(self, at_s: float) -> str:
        """Return hours and minutes, as in ``03:12``."""
        return f"{self.wall(at_s):%H:%M}"

    def between(self, first_s: float, last_s: float) -> str:
        """Return two times in words, with their days where a midnight and 12 h part them."""
        first, last = self.wall(first_s), self.wall(last_s)
        near = first.date() == last.date() or last_s - first_s < HALF_DAY_S
        form = "%H:%M" if near else "%-d %b %H:%M"
        return f"{first:{form}} and {last:{form}} {self.title}"

    def full(self, at_s: float) -> str:
        """Return a time for a table, with its offset: ``2026-03-01T12:00:00+00:00``."""
        return self.wall(at_s).isoformat(timespec="seconds")


def link_time(at_s: float) -> str:
    """Return a time for an address, to the second in UTC."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
