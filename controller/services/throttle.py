"""Counts wrong answers at the door and shuts it for a while; rows, so a restart forgets none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_network
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils.crypto import salted_hmac

from controller.core import throttle
from controller.core.phrases import duration
from controller.models import SignInTries
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import MissingError, TooManyError
from controller.services.people import Person

Kind = SignInTries.Kind
WHOLE_NETWORK: Final = 64
RULES: Final = {
    Kind.PAIR: throttle.PAIR,
    Kind.ADDRESS: throttle.ADDRESS,
    Kind.ACCOUNT: throttle.ACCOUNT,
}


class ShutError(TooManyError):
    """Too many wrong answers: nothing was looked at; ``wait_s`` says for how long."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(waiting_text(wait_s))
        self.wait_s = wait_s


@dataclass(frozen=True, slots=True)
class Door:
    """Who asks, as typed, and from which address, of IPv6 the network."""

    name: str
    address: str

    @classmethod
    def of(cls, name: str) -> Door:
        """Return the door that this name stands at in this request."""
        return cls(name, network_of(audit.ADDRESS.get()))

    def keys(self) -> dict[SignInTries.Kind, str]:
        """Return the keys of the rows that count the tries."""
        parts = {
            Kind.PAIR: f"{self.name}\n{self.address}",
            Kind.ADDRESS: self.address,
            Kind.ACCOUNT: self.name,
        }
        return {
            kind: salted_hmac(f"sign-in {kind}", text, algorithm="sha256").hexdigest()
            for kind, text in parts.items()
        }


def network_of(address: str) -> str:
    """Return the address, of IPv6 its /64: who has one address there has the others as well."""
    if ":" not in address:
        return address
    whole = IPv6Address(address)
    return str(whole.ipv4_mapped or ip_network((int(whole), WHOLE_NETWORK), strict=False))


def waiting_text(wait_s: float) -> str:
    """Return the sentence that says how long to wait."""
    return f"Too many wrong answers: wait {duration(max(1.0, wait_s))}, then try again."


def claim(door: Door) -> None:
    """Count one try before it is looked at, so that many at once are no way round the lock.

    A name that does not exist costs the same statements and leaves the same rows. Raises
    :class:`ShutError` while the door is shut; that try is not counted.
    """
    keys = door.keys()
    with transaction.atomic():
        account = User.objects.filter(username=door.name).values_list("pk", flat=True).first()
        now = database_now()
        SignInTries.objects.bulk_create(
            [_new(kind, key, door, account, now) for kind, key in _in_order(keys)],
            ignore_conflicts=True,
        )
        rows = _locked(keys)
        now = database_now()
        if (wait_s := max(_left_s(row, now) for row in _that_bind(rows, now))) > 0.0:
            raise ShutError(wait_s)
        for row in rows.values():
            _count(row, now)
        SignInTries.objects.bulk_update(rows.values(), ("failures", "last_at", "shut_until"))


def refund(door: Door) -> None:
    """Take back the try that was counted: the answer was right, and another question follows."""
    SignInTries.objects.filter(key__in=door.keys().values()).update(
        failures=Greatest(F("failures") - 1, 0), shut_until=None
    )


def welcome(door: Door) -> None:
    """Forget the wrong answers of this name from this address: the person is in."""
    refund(door)
    SignInTries.objects.filter(key=door.keys()[Kind.PAIR]).update(
        failures=0, welcome_at=database_now()
    )


def refused(door: Door) -> float:
    """Return how long the door is shut after this wrong answer [s], and audit that it shut."""
    now = database_now()
    rows = SignInTries.objects.filter(key__in=door.keys().values()).select_related("account")
    longest = max(rows, key=lambda row: _left_s(row, now), default=None)
    if longest is None or (wait_s := _left_s(longest, now)) <= 0.0:
        return 0.0
    audit.record(
        actor=longest.account.username if longest.account else "a visitor",
        verb="was locked out",
        obj=longest.account or longest,
        after={
            "by": longest.get_kind_display(),
            "address": door.address,
            "wrong": longest.failures,
            "wait_s": round(wait_s),
        },
    )
    return wait_s


def lift(key: str, *, user: Person) -> SignInTries:
    """Open a door again; raises :class:`ForbiddenError`, :class:`MissingError`."""
    people.require(user, people.PEOPLE)
    with transaction.atomic():
        row = SignInTries.objects.select_for_update(of=("self",)).filter(key=key).first()
        if row is None:
            raise MissingError("There is no such lock any more.")
        before = {"wrong": row.failures, "address": row.address}
        SignInTries.objects.filter(key=key).update(failures=0, shut_until=None)
        audit.record(
            actor=user.get_username(),
            verb="lifted a lock",
            obj=row.account or row,
            before=before,
            after={"wrong": 0},
        )
    return row


def _new(
    kind: SignInTries.Kind, key: str, door: Door, account: int | None, now: datetime
) -> SignInTries:
    return SignInTries(
        key=key,
        kind=kind,
        account_id=None if kind == Kind.ADDRESS else account,
        address="" if kind == Kind.ACCOUNT else door.address,
        last_at=now,
    )


def _in_order(keys: dict[SignInTries.Kind, str]) -> list[tuple[SignInTries.Kind, str]]:
    # Everybody takes the rows in one order, so that two tries can't wait for each other.
    return sorted(keys.items(), key=lambda pair: pair[1])


def _locked(keys: dict[SignInTries.Kind, str]) -> dict[str, SignInTries]:
    found = SignInTries.objects.select_for_update().filter(key__in=keys.values()).order_by("key")
    return {row.kind: row for row in found}


def _that_bind(rows: dict[str, SignInTries], now: datetime) -> list[SignInTries]:
    """Return the rows that may shut this door: strangers don't slow an address that is known."""
    met = rows[Kind.PAIR].welcome_at
    is_known = met is not None and (now - met).total_seconds() < throttle.WELCOME_S
    return [row for row in rows.values() if not (is_known and row.kind == Kind.ACCOUNT)]


def _left_s(row: SignInTries, now: datetime) -> float:
    return (row.shut_until - now).total_seconds() if row.shut_until else 0.0


def _count(row: SignInTries, now: datetime) -> None:
    is_old = (now - row.last_at).total_seconds() > throttle.FORGET_S
    row.failures = 1 if is_old else row.failures + 1
    row.last_at = now
    shut_s = RULES[SignInTries.Kind(row.kind)].shut_s(row.failures)
    row.shut_until = now + timedelta(seconds=shut_s) if shut_s else None
