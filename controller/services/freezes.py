"""A person stops automatic change, and a person lets it go on."""

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.models import Freeze, ServiceStatus
from controller.models.clock import database_now
from controller.services import audit, exchanges, people
from controller.services.errors import ConflictError
from controller.services.people import Person
from inventory.models import Service


def freeze(*, service: Service | None, user: Person, reason: str) -> Freeze:
    """Stop new actions for the service, or for the whole fleet without one.

    Raises :class:`ConflictError` naming who froze it already, :class:`ForbiddenError`, and
    :class:`InvalidError` without a reason.
    """
    people.require(user, people.FREEZE, service)
    reason = people.reason_text(reason, needed=True)
    try:
        with transaction.atomic():
            made = Freeze.objects.create(
                service=service,
                by=people.account_of(user),
                by_name=user.get_username(),
                reason=reason,
                since=Now(),
            )
            audit.record(
                actor=user.get_username(),
                verb="froze",
                obj=service,
                after={"frozen": True, "scope": made.scope},
                reason=reason,
            )
    except IntegrityError:
        raise ConflictError(_already(service)) from None
    # After the freeze is in force, and each on its own: no tick's locks can keep a freeze waiting.
    _end_exchanges(service, f"Frozen ({made.scope}) by {made.by_name}: {reason}")
    made.refresh_from_db()
    return made


def resume(*, service: Service | None, user: Person, reason: str) -> Freeze:
    """End the freeze of exactly this scope; returns it as ended.

    Raises :class:`ConflictError` when somebody was faster, :class:`ForbiddenError`, and
    :class:`InvalidError` without a reason.
    """
    people.require(user, people.RESUME, service)
    reason = people.reason_text(reason, needed=True)
    found = Freeze.objects.select_related("service").filter(service=service, ended_at=None).first()
    if found is None:
        raise ConflictError(_not_frozen(service))
    with transaction.atomic():
        if Freeze.objects.filter(pk=found.pk, ended_at=None).update(
            ended_at=Now(), ended_by_name=user.get_username(), end_reason=reason
        ):
            audit.record(
                actor=user.get_username(),
                verb="resumed",
                obj=service,
                before={
                    "frozen": True,
                    "scope": found.scope,
                    "by": found.by_name,
                    "reason": found.reason,
                },
                after={"frozen": False, "scope": found.scope},
                reason=reason,
            )
            found.refresh_from_db()
            return found
    raise ConflictError(_not_frozen(service))


def _end_exchanges(service: Service | None, why: str) -> None:
    """End what waits at once: a freeze that is over before the next tick counts as well."""
    waiting = ServiceStatus.objects.exclude(exchange={})
    if service is not None:
        waiting = waiting.filter(service=service)
    for one in waiting.order_by("service").values_list("service", flat=True):
        exchanges.end(one, why)


def _scope(service: Service | None) -> str:
    return service.slug if service else "the fleet"


def _already(service: Service | None) -> str:
    found = Freeze.objects.filter(service=service, ended_at__isnull=True).first()
    if found is None:
        return f"{_scope(service)} was frozen and resumed just now: look again."
    since_s = (database_now() - found.since).total_seconds()
    return (
        f"{found.by_name} already froze {_scope(service)} {phrases.ago(since_s)}: {found.reason}"
    )


def _not_frozen(service: Service | None) -> str:
    last = Freeze.objects.filter(service=service).order_by("-ended_at").first()
    if last is None or last.ended_at is None:
        return f"{_scope(service)} is not frozen."
    since_s = (database_now() - last.ended_at).total_seconds()
    return f"{last.ended_by_name} resumed {_scope(service)} {phrases.ago(since_s)}."
