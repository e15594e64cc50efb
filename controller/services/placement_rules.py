"""A person changes how near and how spread a service is placed: versioned and audited."""

from collections.abc import Mapping
from typing import Any, Final

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from controller.core import phrases
from controller.models import AuditEvent
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from inventory.models import Service

RULES: Final = ("affinity_level", "affinity_required", "spread_level", "spread_domains")


def save_rules(
    service: Service, values: Mapping[str, Any], *, opened: int, user: User, reason: str
) -> Service:
    """Write the placement rules of a service and return it; the next placement keeps to them.

    ``opened`` is the version the person saw. Nothing that runs is moved. Raises
    :class:`ForbiddenError`, :class:`InvalidError` for a lacking reason or a spread nearer than
    the affinity, and :class:`ConflictError` when somebody changed the service since or nothing
    differs.
    """
    people.require(user, people.EDIT_POLICY, service)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        row = Service.objects.select_for_update(of=("self",)).filter(pk=service.pk).first()
        if row is None:
            raise MissingError(f"Service {service.slug} is there no more.")
        if row.version != opened:
            raise ConflictError(_overtaken(row))
        before = {name: getattr(row, name) for name in RULES}
        after = {name: values[name] for name in RULES}
        changed = [name for name in RULES if before[name] != after[name]]
        if not changed:
            raise ConflictError("Nothing differs from what holds now: nothing was saved.")
        for name in changed:
            setattr(row, name, after[name])
        _check(row)
        row.version += 1
        row.save(update_fields=[*changed, "version", "updated"])
        audit.record(
            actor=user.get_username(),
            verb="changed placement of",
            obj=row,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
            reason=reason,
        )
    return row


def _check(row: Service) -> None:
    others = {field.name for field in Service._meta.fields} - {*RULES}  # noqa: SLF001 - public by custom
    try:
        row.clean_fields(exclude=others)
        row.clean()
    except ValidationError as fault:
        field, texts = next(iter(fault.message_dict.items()))
        raise InvalidError(field, " ".join(texts)) from fault


def _overtaken(row: Service) -> str:
    """Return who changed a service last, as far as the audit knows."""
    last = (
        AuditEvent.objects.filter(object_type="service", object_id=str(row.pk))
        .order_by("-at")
        .first()
    )
    if last is None:
        return f"{row} was changed since you opened it."
    since_s = (database_now() - last.at).total_seconds()
    return f"{row} was changed since you opened it, last by {last.actor} {phrases.ago(since_s)}."
