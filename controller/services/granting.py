"""Roles of one person within a scope: given with a reason, and ended."""

from datetime import datetime
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from controller.core import phrases
from controller.models import Grant
from controller.models.clock import database_now
from controller.models.scopes import About, key_of, keys_of, name_of
from controller.services import audit, people
from controller.services.accounts import ROLES
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from controller.services.people import Person

ITS_TIME: Final = "its time was over"


def grant(  # noqa: PLR0913 - the columns of one row
    user: User, role: str, scope: About, *, reason: str, expires_at: datetime | None, by: Person
) -> Grant:
    """Give a person a role within a scope, ``None`` being the fleet.

    Raises :class:`ForbiddenError` without the right over that scope and for oneself,
    :class:`InvalidError`, and :class:`ConflictError` naming who gave it already.
    """
    people.require(by, people.GRANT, scope)
    _refuse_self(user, role, scope, by)
    if role not in ROLES:
        raise InvalidError("role", f"There is no role {role}: choose one of {', '.join(ROLES)}.")
    if not user.is_active:
        raise InvalidError("user", f"The account of {user.get_username()} is disabled.")
    if expires_at is not None and expires_at <= database_now():
        raise InvalidError("expires_at", "That is in the past: leave it empty for no end.")
    reason = people.reason_text(reason, needed=True)
    row = {"user": user, "role": role, **keys_of(scope)}
    try:
        with transaction.atomic():
            _close_expired(row)
            made = Grant.objects.create(
                **row,
                reason=reason,
                by_name=by.get_username(),
                granted_at=Now(),
                expires_at=expires_at,
            )
            _record(made, by, "granted a role", reason, is_held=True)
    except IntegrityError:
        raise _already(row, scope) from None
    made.refresh_from_db()
    return made


def end(pk: int, *, reason: str, by: Person) -> Grant:
    """Take a role within a scope back; takes the right to grant it.

    Raises :class:`ForbiddenError`, :class:`InvalidError` without a reason, :class:`MissingError`
    and :class:`ConflictError` when somebody was faster.
    """
    found = _find(pk)
    people.require(by, people.GRANT, found.about)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        if Grant.objects.filter(pk=pk, ended_at=None).update(
            ended_at=Now(), ended_by_name=by.get_username()
        ):
            _record(found, by, "ended a role", reason, is_held=False)
            return _find(pk)
    found = _find(pk)
    since_s = (database_now() - (found.ended_at or database_now())).total_seconds()
    raise ConflictError(f"{found.ended_by_name} ended it {phrases.ago(since_s)}.")


def _refuse_self(user: User, role: str, scope: About, by: Person) -> None:
    """Refuse a role for oneself, whoever one is, and record the attempt."""
    if people.account_of(by) != user:
        return
    text = f"{by.get_username()} may not grant a role to themselves: another Admin has to."
    audit.record(
        actor=by.get_username(),
        verb="was refused a role",
        obj=scope,
        after={"role": role, "scope": key_of(scope)},
        reason=text,
    )
    raise ForbiddenError(text)


def _close_expired(row: dict[str, object]) -> None:
    """End what ran out, so that the same role may be given again."""
    _close(Grant.objects.filter(**row))


def note_over() -> int:
    """Write once into the audit which roles ran out; returns how many."""
    with transaction.atomic():
        return _close(Grant.objects.all())


def _close(grants: QuerySet[Grant]) -> int:
    over = grants.filter(ended_at=None, expires_at__lte=Now())
    parts = ("user", "region", "cluster", "service")
    rows = list(over.select_for_update(of=("self",)).select_related(*parts))
    if not rows:
        return 0
    Grant.objects.filter(pk__in=[row.pk for row in rows]).update(
        ended_at=F("expires_at"), ended_by_name=ITS_TIME
    )
    audit.record_each(
        ((row, _told(row), {}) for row in rows), actor="controller", verb="role ran out"
    )
    return len(rows)


def _already(row: dict[str, object], scope: About) -> ConflictError:
    found = Grant.objects.filter(**row, ended_at=None).first()
    if found is None:
        return ConflictError("It was granted and ended just now: look again.")
    since_s = (database_now() - found.granted_at).total_seconds()
    return ConflictError(
        f"{found.by_name} granted {found.role} of {name_of(scope)} {phrases.ago(since_s)} already:"
        f" {found.reason}"
    )


def _find(pk: int) -> Grant:
    parts = ("user", "region", "cluster__region", "service__cluster__region")
    found = Grant.objects.select_related(*parts).filter(pk=pk).first()
    if found is None:
        raise MissingError(f"There is no grant {pk}.")
    return found


def _record(row: Grant, by: Person, verb: str, reason: str, *, is_held: bool) -> None:
    told = _told(row)
    audit.record(
        actor=by.get_username(),
        verb=verb,
        obj=row,
        before={} if is_held else told,
        after=told if is_held else {},
        reason=reason,
    )


def _told(row: Grant) -> dict[str, Any]:
    return {
        "person": row.user.get_username(),
        "role": row.role,
        "scope": key_of(row.about),
        "until": row.expires_at.isoformat() if row.expires_at else None,
    }
