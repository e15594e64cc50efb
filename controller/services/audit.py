"""The record of who did what to what, and why: rows that are only ever added."""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Final

from django.db.models import Model
from django.db.models.functions import Now

from controller.core.words import clean
from controller.models import AuditEvent, PolicySuggestion, Proposal, Rearrangement

# Set once a request, so that every event of a request shares them.
REQUEST_ID: Final[ContextVar[str]] = ContextVar("request_id", default="")
ADDRESS: Final[ContextVar[str]] = ContextVar("address", default="")


def record(  # noqa: PLR0913 - the columns of one row
    *,
    actor: str,
    verb: str,
    obj: Model | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    request_id: str | None = None,
) -> None:
    """Add one event at the database's time; without ``obj`` it is about the fleet.

    Call it inside the transaction of the change: either both are there or neither.
    """
    AuditEvent.objects.create(
        at=Now(),
        actor=clean(actor)[:160],
        verb=verb[:40],
        object_type=obj._meta.model_name or "" if obj else "fleet",  # noqa: SLF001 - public by custom
        object_id=str(obj.pk)[:64] if obj else "",
        service=_service_of(obj),
        before=before or {},
        after=after or {},
        reason=clean(reason),
        request_id=REQUEST_ID.get() if request_id is None else request_id,
        address=ADDRESS.get(),
    )


def record_each(
    changes: Iterable[tuple[Model, Mapping[str, Any], Mapping[str, Any]]],
    *,
    actor: str,
    verb: str,
    reason: str = "",
) -> None:
    """Add an event for each object with what it was and what it is, in one statement."""
    AuditEvent.objects.bulk_create(
        AuditEvent(
            at=Now(),
            actor=clean(actor)[:160],
            verb=verb[:40],
            object_type=obj._meta.model_name or "",  # noqa: SLF001 - public by custom
            object_id=str(obj.pk)[:64],
            service=_service_of(obj),
            before=dict(before),
            after=dict(after),
            reason=clean(reason),
            request_id=REQUEST_ID.get(),
            address=ADDRESS.get(),
        )
        for obj, before, after in changes
    )


def record_sign_in(name: str, verb: str, *, pk: int | None, reason: str = "") -> None:
    """Add that somebody signed in or out, or tried to under ``name``; no password is ever known.

    ``pk`` is the account, ``None`` where the name and the password fitted none: then the object is
    the name as typed, which may be the number of an account and is none.
    """
    AuditEvent.objects.create(
        at=Now(),
        actor=clean(name)[:160] if pk is not None else "anonymous",
        verb=verb,
        object_type="user" if pk is not None else "name",
        object_id=str(pk) if pk is not None else clean(name)[:64],
        reason=reason,
        request_id=REQUEST_ID.get(),
        address=ADDRESS.get(),
    )


def was_told(verb: str, *, within_s: float) -> bool:
    """Return whether an event of that kind was added so short a while ago."""
    since = Now() - timedelta(seconds=within_s)
    return AuditEvent.objects.filter(verb=verb, at__gt=since).exists()


def too_late(found: Proposal | PolicySuggestion | Rearrangement, actor: str, text: str) -> None:
    """Add that somebody decided on what had been decided or changed already; ``text`` says how."""
    record(
        actor=actor,
        verb="was too late to decide",
        obj=found,
        after={"state": found.state, "version": found.version},
        reason=text,
    )


def _service_of(obj: Model | None) -> str:
    service = getattr(obj, "service", obj)
    return str(getattr(service, "slug", "")) if getattr(service, "model_name", "") else ""
