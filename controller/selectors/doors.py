"""What is known of people at the door: sessions, second factors, locks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Now

from controller.models import RecoveryCode, SecondFactor, Session, SignInTries

MOST_LOCKS: Final = 50
MOST_PEOPLE: Final = 100
BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session as its owner reads it."""

    handle: str
    started_at: datetime | None
    seen_at: datetime | None
    address: str
    browser: str
    is_this: bool


@dataclass(frozen=True, slots=True)
class FactorState:
    """The second factor of a person: since when, or waiting for its first code."""

    confirmed_at: datetime | None = None
    waiting: SecondFactor | None = None
    codes_left: int = 0


@dataclass(frozen=True, slots=True)
class People:
    """The people a search finds, by name; ``more`` is how many it finds beyond those."""

    rows: Sequence[User]
    more: int


def active_account(pk: int) -> User | None:
    """Return the account unless it was disabled or removed."""
    return User.objects.filter(pk=pk, is_active=True).first()


def account_named(name: str) -> User | None:
    """Return the account of that name."""
    return User.objects.filter(username=name).first()


def read_sessions(account: User, this: str | None) -> list[SessionRow]:
    """Return the person's sessions, the one used last first; ``this`` is the reader's key."""
    return [
        SessionRow(
            handle=row.handle,
            started_at=row.started_at,
            seen_at=row.seen_at,
            address=row.address or "unknown",
            browser=browser_of(row.browser),
            is_this=row.session_key == this,
        )
        for row in _going_on().filter(account=account).order_by("-seen_at")
    ]


def read_roles(account: User) -> list[str]:
    """Return the names of the person's roles."""
    return list(account.groups.order_by("name").values_list("name", flat=True))


def read_factor(account: User) -> FactorState:
    """Return where the person's second factor stands."""
    row = SecondFactor.objects.filter(account=account).first()
    if row is None:
        return FactorState()
    if row.confirmed_at is None:
        return FactorState(waiting=row)
    left = RecoveryCode.objects.filter(account=account, used_at=None).count()
    return FactorState(confirmed_at=row.confirmed_at, codes_left=left)


def read_locks() -> list[SignInTries]:
    """Return the doors that are shut now, the latest first."""
    shut = SignInTries.objects.filter(shut_until__gt=Now()).select_related("account")
    return list(shut.order_by("-last_at")[:MOST_LOCKS])


def read_people(query: str) -> People:
    """Return accounts whose name holds the query, each with sessions and second factor."""
    found = User.objects.filter(username__icontains=query) if query else User.objects.all()
    going_on = _going_on().values("session_key")
    rows = found.annotate(
        sessions_count=Count(
            "doors_sessions", filter=Q(doors_sessions__session_key__in=going_on), distinct=True
        ),
        factor_at=F("second_factor__confirmed_at"),
    ).order_by("username")
    total = found.count()
    return People(list(rows[:MOST_PEOPLE]), max(0, total - MOST_PEOPLE))


def browser_of(agent: str) -> str:
    """Return "Firefox on Linux" for what a browser says of itself."""
    browser = next((name for mark, name in BROWSERS if mark in agent), "")
    system = next((name for mark, name in SYSTEMS if mark in agent), "")
    return " on ".join(filter(None, (browser, system))) or "an unknown browser"


def _going_on() -> QuerySet[Session]:
    idle = timedelta(seconds=settings.IDLE_S)
    whole = timedelta(seconds=settings.SESSION_S)
    return Session.objects.filter(
        expire_date__gt=Now(), seen_at__gt=Now() - idle, started_at__gt=Now() - whole
    )
