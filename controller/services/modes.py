"""What the controller may do with a service: only record, propose, or act; a person says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from inventory.models import Service

if TYPE_CHECKING:
    from controller.services.people import Person


def change(slug: str, mode: str, *, seen: str, user: Person, reason: str) -> bool:
    """Write another mode; returns False where it is that already.

    ``seen`` is the mode that the person saw. Raises :class:`ForbiddenError`,
    :class:`MissingError`, :class:`InvalidError` for a mode there is not and a lacking reason, and
    :class:`ConflictError` when somebody else changed it meanwhile.
    """
    known = Service.objects.select_related("cluster__region").filter(slug=slug).first()
    if known is None:
        raise MissingError(f"There is no service {slug}.")
    people.require(user, people.CHANGE_MODE, known)
    reason = people.reason_text(reason, needed=True)
    if mode not in Service.Mode.values:
        raise InvalidError("mode", f"Choose one of {', '.join(Service.Mode.values)}.")
    with transaction.atomic():
        service = Service.objects.select_for_update(of=("self",)).get(pk=known.pk)
        if service.mode == mode:
            return False
        if service.mode != seen:
            said = f"{slug} is in mode {service.mode} by now: look at it again."
            raise ConflictError(said)
        Service.objects.filter(pk=service.pk).update(
            mode=mode, version=F("version") + 1, updated=Now()
        )
        audit.record(
            actor=user.get_username(),
            verb="changed the mode of",
            obj=service,
            before={"mode": service.mode},
            after={"mode": mode},
            reason=reason,
        )
    return True
