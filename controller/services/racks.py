"""A person changes facts of a rack or moves a node: never over a change unseen, always audited."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Model

from controller.core import phrases
from controller.models import AuditEvent
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from inventory.models import InventoryVersion, Node, Rack
from inventory.services import racks
from inventory.services.locks import lock_for_edit
from inventory.services.versions import stamp


def save_facts(
    rack: Rack, values: Mapping[str, Any], *, opened: int, user: Person, reason: str = ""
) -> Rack:
    """Write the facts of a rack and return it.

    ``opened`` is the version the person saw. Raises :class:`ForbiddenError`,
    :class:`InvalidError` naming the field, :class:`ConflictError` when somebody changed the rack
    since or nothing differs, and :class:`MissingError` when it is gone.
    """
    people.require(user, people.EDIT_FLEET, rack)
    reason = people.reason_text(reason, needed=False)
    with transaction.atomic():
        lock_for_edit()
        row = Rack.objects.select_for_update().filter(pk=rack.pk).first()
        if row is None:
            raise MissingError(f"Rack {rack.name} is there no more.")
        _check_version(row, opened)
        try:
            before = racks.save_facts(row, values)
        except ValidationError as fault:
            raise _invalid(fault) from fault
        if before is None:
            raise ConflictError("Nothing differs from what is stored: nothing was saved.")
        after = {name: getattr(row, name) for name in before}
        _told(row, "changed rack", before, after, user=user, reason=reason)
    return row


def move_node(
    node: Node, place: Mapping[str, Any], *, opened: int, user: Person, reason: str = ""
) -> Node:
    """Move a node to ``place``, its rack, u_position and face, and return it.

    Raises what :func:`save_facts` raises.
    """
    people.require(user, people.EDIT_FLEET, node)
    reason = people.reason_text(reason, needed=False)
    with transaction.atomic():
        lock_for_edit()
        rack = _locked(place["rack"])
        row = Node.objects.select_for_update(of=("self",)).filter(pk=node.pk).first()
        if row is None:
            raise MissingError(f"Node {node.name} is there no more.")
        _check_version(row, opened)
        try:
            with transaction.atomic():
                before = racks.place_node(row, rack, place["u_position"], place["face"])
        except ValidationError as fault:
            raise _invalid(fault) from fault
        except IntegrityError as fault:
            # Whoever moves nodes without the rack's lock, such as an import, can be faster.
            text = "Those units were taken a moment ago: look at the rack again."
            raise ConflictError(text) from fault
        if before is None:
            raise ConflictError(f"{row.name} stands there already: nothing was saved.")
        _told(row, "moved node", before, racks.place_of(row), user=user, reason=reason)
    return row


def _locked(rack: UUID | None) -> Rack | None:
    if rack is None:
        return None
    found = Rack.objects.select_for_update().filter(pk=rack).first()
    if found is None:
        raise InvalidError("rack", "That rack is there no more: choose another.")
    return found


def _check_version(row: Rack | Node, opened: int) -> None:
    if row.version != opened:
        raise ConflictError(_overtaken(row))


def _overtaken(row: Model) -> str:
    """Return who changed a row last, as far as the audit knows."""
    last = (
        AuditEvent.objects.filter(object_type=row._meta.model_name, object_id=str(row.pk))  # noqa: SLF001
        .order_by("-at")
        .first()
    )
    if last is None:
        return f"{row} was changed since you opened it, by an import or a program."
    since_s = (database_now() - last.at).total_seconds()
    return f"{row} was changed since you opened it, last by {last.actor} {phrases.ago(since_s)}."


def _invalid(fault: ValidationError) -> InvalidError:
    field, texts = next(iter(fault.message_dict.items()))
    return InvalidError(field, " ".join(texts))


def _told(  # noqa: PLR0913 - the columns of an audit event
    row: Rack | Node,
    verb: str,
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    user: Person,
    reason: str,
) -> None:
    by = user.get_username()
    audit.record(actor=by, verb=verb, obj=row, before=before, after=after, reason=reason)
    stamp(InventoryVersion.Cause.EDIT, by, counts={"change": 1})
