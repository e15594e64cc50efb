"""What every page shows: the strip, the counters, the reader's preferences."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from controller.selectors.preferences import Preferences, read_preferences
from controller.selectors.strip import StripState, read_strip
from controller.services import people, queueing
from controller.services.rights import Rights


@dataclass(frozen=True, slots=True)
class Chrome:
    """The frame of a page for one reader and their rights; no ``strip`` before sign-in."""

    preferences: Preferences
    strip: StripState | None
    rights: Rights = field(repr=False)
    queue_fault: str = ""
    """That the queue is unreachable, empty while it is not, or nothing shows that it may be."""

    @property
    def theme(self) -> str:
        """The reader's theme."""
        return self.preferences.theme

    @property
    def zone(self) -> ZoneInfo:
        """The zone every time on the page is told in."""
        return self.preferences.zone

    @property
    def may_freeze(self) -> bool:
        """Whether the reader may freeze the whole fleet."""
        return self.rights.may(people.FREEZE)

    @property
    def may_freeze_parts(self) -> bool:
        """Whether the reader may freeze anything at all."""
        return self.rights.somewhere(people.FREEZE)


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


def rights_of(request: HttpRequest) -> Rights:
    """Return what the person may do; read once per request, when it is first asked."""
    known: Rights | None = getattr(request, "rights", None)
    if known is None:
        known = Rights(getattr(request, "user", None) or AnonymousUser())
        request.rights = known  # type: ignore[attr-defined]
    return known


def _read(request: HttpRequest, now: datetime) -> Chrome:
    user = getattr(request, "user", None) or AnonymousUser()
    rights = rights_of(request)
    if not user.is_authenticated:
        return Chrome(Preferences(), None, rights)
    strip = read_strip(user, now, mine=rights.reach(people.APPROVE))
    return Chrome(read_preferences(user.pk), strip, rights, _queue_fault(strip))


def _queue_fault(strip: StripState) -> str:
    """Say that the queue is unreachable; asked where the loop is late, or it failed before."""
    down = queueing.LINE.fault or strip.tone != "ok"
    return "queue unreachable" if down and not queueing.is_reachable() else ""
