"""What every page shows: the strip, the counters, the reader's preferences."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from controller.selectors.preferences import Preferences, read_preferences
from controller.selectors.strip import StripState, read_strip


@dataclass(frozen=True, slots=True)
class Chrome:
    """The frame of a page for one reader; ``strip`` is absent before sign-in."""

    preferences: Preferences
    strip: StripState | None

    @property
    def theme(self) -> str:
        """The reader's theme."""
        return self.preferences.theme

    @property
    def zone(self) -> ZoneInfo:
        """The zone every time on the page is told in."""
        return self.preferences.zone


def context(request: HttpRequest) -> dict[str, Any]:
    """Return ``now`` and ``chrome``; a page that shows neither asks the database nothing."""
    now = timezone.now()
    return {"now": now, "chrome": SimpleLazyObject(lambda: read_chrome(request, now))}


def read_chrome(request: HttpRequest, now: datetime) -> Chrome:
    """Return the frame for the signed-in person; a stranger gets the defaults and no strip.

    It is read once per request, so that a page and everything inside it tell the same state.
    """
    known: Chrome | None = getattr(request, "chrome", None)
    if known is None:
        known = _read(request, now)
        request.chrome = known  # type: ignore[attr-defined]
    return known


def _read(request: HttpRequest, now: datetime) -> Chrome:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return Chrome(Preferences(), None)
    return Chrome(read_preferences(user.pk), read_strip(user, now))
