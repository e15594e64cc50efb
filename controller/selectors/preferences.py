"""How one reader likes the pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from controller.models import Preference


@dataclass(frozen=True, slots=True)
class Preferences:
    """The reader's theme ("system", "light" or "dark") and time zone."""

    theme: str = "system"
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))


def read_preferences(user_pk: int | None) -> Preferences:
    """Return what the person chose; the defaults for someone who chose nothing."""
    row = Preference.objects.filter(user_id=user_pk).first() if user_pk else None
    if row is None:
        return Preferences()
    try:
        return Preferences(row.theme, ZoneInfo(row.time_zone))
    except (ZoneInfoNotFoundError, ValueError):
        return Preferences(row.theme)
