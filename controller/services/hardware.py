"""Hardware types as people change them: who may, the change, and its record in one transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from psycopg import sql

from controller.core import phrases
from controller.core.words import clean
from controller.models import AuditEvent, PoolSample
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from inventory.models import HardwareType
from inventory.selectors.hardware import gpus_of, merge_refusal, users_of
from inventory.services import hardware
from inventory.services.hardware import Merged
from inventory.services.locks import lock_for_edit

LONGEST_WORD: Final = 253
Change = tuple[dict[str, Any], dict[str, Any]]
"""What was, and what is."""


def edit(pk: UUID, values: Mapping[str, Any], *, seen: int, user: Person, reason: str) -> bool:
    """Write facts of a type; returns False where nothing differs.

    Raises :class:`ForbiddenError`, :class:`InvalidError` for a lacking reason, and
    :class:`ConflictError` when somebody else changed it since version ``seen``.
    """
    people.require(user, people.EDIT_FLEET)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        lock_for_edit()
        row = _locked(pk)
        done = hardware.edit(pk, values, seen=seen, by=user.get_username())
        if done is None:
            raise ConflictError(overtaken(row))
        before, after = done
        if after:
            _record(user, "changed", row, (_plain(before), _plain(after)), reason)
    return bool(after)


def add_word(pk: UUID, text: str, *, user: Person) -> str:
    """Let imports call a type by one more word; returns it.

    Raises :class:`ForbiddenError`, and :class:`InvalidError` naming the type that has the word.
    """
    people.require(user, people.EDIT_FLEET)
    word = clean(text).strip()
    if not word or len(word) > LONGEST_WORD:
        raise InvalidError("text", f"Give a word of 1 to {LONGEST_WORD} characters.")
    with transaction.atomic():
        lock_for_edit()
        row = _locked(pk)
        if taken := hardware.holder_of(word):
            means = "this type" if taken.pk == pk else taken.slug
            raise InvalidError("text", f"Imports know {word} already: it means {means}.")
        hardware.add_word(pk, word, by=user.get_username())
        _record(user, "added an alias to", row, ({}, {"alias": word}))
    return word


def remove_word(pk: UUID, word: str, *, user: Person) -> None:
    """Let imports call a type by a word no longer. Raises :class:`ForbiddenError`."""
    people.require(user, people.EDIT_FLEET)
    with transaction.atomic():
        lock_for_edit()
        row = _locked(pk)
        if hardware.remove_word(pk, word, by=user.get_username()):
            _record(user, "removed an alias from", row, ({"alias": word}, {}))


@dataclass(frozen=True, slots=True)
class Consent:
    """What a person agrees to: both versions they saw, the GPUs they typed, and why."""

    seen: int
    seen_target: int
    gpus: int | None
    reason: str


def merge(source: UUID, target: UUID, *, consent: Consent, user: Person) -> Merged:
    """Make one type of two: all that is of ``source`` becomes of ``target``.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError` for a lacking
    reason or another number of GPUs than the nodes have, and :class:`ConflictError` when either
    was changed since or the simulator knows the type by its name.
    """
    people.require(user, people.EDIT_FLEET)
    reason = people.reason_text(consent.reason, needed=True)
    with transaction.atomic():
        lock_for_edit()
        rows = {row.pk: row for row in _both(source, target)}
        if len(rows) < 2:  # noqa: PLR2004 - both
            raise MissingError("One of the two types is not there any more, or they are the same.")
        old, new = rows[source], rows[target]
        for row, seen in ((old, consent.seen), (new, consent.seen_target)):
            if row.version != seen:
                raise ConflictError(overtaken(row))
        if text := merge_refusal(old):
            raise ConflictError(text)
        if consent.gpus != (gpus := gpus_of(old)):
            raise InvalidError("gpus", f"Type the number of GPUs that move: {gpus}.")
        before = {"type": old.slug, "gpus": gpus}
        _join_samples(old, new)
        done = hardware.merge(old, new, by=user.get_username())
        after = {
            "type": new.slug,
            "nodes": done.nodes,
            "roles": done.roles,
            "inventory_version": done.inventory_version,
        }
        _record(user, "merged into", new, (before, after), reason)
    return done


def delete(pk: UUID, *, seen: int, user: Person, reason: str) -> None:
    """Remove a type that nothing uses.

    Raises :class:`ForbiddenError`, :class:`InvalidError` for a lacking reason, and
    :class:`ConflictError` naming what uses it, or when it was changed since.
    """
    people.require(user, people.EDIT_FLEET)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        lock_for_edit()
        row = _locked(pk)
        if row.version != seen:
            raise ConflictError(overtaken(row))
        if used := users_of(row):
            raise ConflictError(f"{row.slug} is in use: {' and '.join(used)}.")
        if PoolSample.objects.filter(hardware=row).exists():
            raise ConflictError(
                f"What was measured of {row.slug} in the last days would go with it: wait until"
                " it is too old to be kept, or merge it."
            )
        facts = {name: getattr(row, name) for name in hardware.FACTS}
        _record(user, "removed", row, (_plain(facts | {"slug": row.slug}), {}), reason)
        hardware.remove(row, by=user.get_username())


def overtaken(row: HardwareType) -> str:
    """Return in a sentence who changed a type last."""
    last = AuditEvent.objects.filter(object_type="hardwaretype", object_id=str(row.pk)).first()
    if last is None:
        return f"{row.slug} was changed meanwhile, by an import perhaps."
    since_s = (database_now() - last.at).total_seconds()
    return (
        f"{row.slug} was changed meanwhile: {last.actor} {last.verb} it, {phrases.ago(since_s)}."
    )


def _locked(pk: UUID) -> HardwareType:
    row = HardwareType.objects.select_for_update().filter(pk=pk).first()
    if row is None:
        raise MissingError("This hardware type is not there any more.")
    return row


def _both(source: UUID, target: UUID) -> list[HardwareType]:
    """Return both rows, locked in one order so that two merges don't deadlock."""
    rows = HardwareType.objects.filter(pk__in=(source, target)).order_by("pk")
    return list(rows.select_for_update())


def _join_samples(old: HardwareType, new: HardwareType) -> None:
    """Count what was measured of one type to the other, so that the fleet's history stays."""
    names = [field.column for field in PoolSample._meta.concrete_fields if field.column]  # noqa: SLF001
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    values = sql.SQL(", ").join(
        sql.SQL("%s::uuid") if name == "hardware_id" else sql.Identifier(name) for name in names
    )
    statement = sql.SQL(
        "INSERT INTO {table} AS t ({columns}) SELECT {values} FROM {table} WHERE hardware_id = %s"
        " ON CONFLICT (cluster_id, hardware_id, at) DO UPDATE SET {sums},"
        " largest_free = greatest(t.largest_free, excluded.largest_free)"
    ).format(
        sums=sql.SQL(", ").join(
            sql.SQL("{0} = t.{0} + excluded.{0}").format(sql.Identifier(name))
            for name in ("total", *PoolSample.PARTS)
        ),
        table=sql.Identifier(PoolSample._meta.db_table),  # noqa: SLF001 - public by custom
        columns=columns,
        values=values,
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [new.pk, old.pk])


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Decimal) else value for name, value in values.items()
    }


def _record(user: Person, verb: str, row: HardwareType, change: Change, reason: str = "") -> None:
    before, after = change
    audit.record(
        actor=user.get_username(), verb=verb, obj=row, before=before, after=after, reason=reason
    )
