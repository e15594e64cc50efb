"""Seals for what is final: audit events, decisions that another follows, removals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Model

from controller.core.chain import NOTHING, End, digest, linked
from controller.models import AuditEvent, Decision, Removal, Seal, ToSeal
from controller.models.clock import database_now
from inventory.services import bulk

LOCK: Final = 0x5EA1
"""The advisory lock under which the chain grows: its order is that of one writer."""

AT_ONCE: Final = 500
"""Records sealed in one transaction; a decision takes some kilobytes."""

Named = tuple[str, str]
_MODELS: Final[Mapping[str, type[Model]]] = {
    "audit": AuditEvent,
    "decision": Decision,
    "removal": Removal,
}
_COLUMNS: Final = ("seq", "kind", "object_id", "digest", "hash", "at")


def seal(most: int) -> int:
    """Seal at most about ``most`` records that wait; returns how many were sealed.

    Nothing is done while another process seals.
    """
    done = 0
    while done < most:
        taken = _seal_some()
        done += taken
        if taken < AT_ONCE:
            break
    return done


def _seal_some() -> int:
    with transaction.atomic():
        if not take_turn():
            return 0
        waiting = list(ToSeal.objects.values_list("pk", "kind", "object_id")[:AT_ONCE])
        if not waiting:
            return 0
        named = _unsealed([(kind, name) for _, kind, name in waiting])
        found = digests_of(named)
        links = linked(end(), [(*one, found.get(one, NOTHING)) for one in named])
        now = database_now()
        rows = [(x.seq, x.kind, x.name, x.digest, x.hash, now) for x in links]
        bulk.copy(Seal, _COLUMNS, rows)
        ToSeal.objects.filter(pk__in=[pk for pk, _, _ in waiting]).delete()
    return len(waiting)


def take_turn() -> bool:
    """Take the lock of the chain until the transaction ends; False when another holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        row: tuple[bool] = cursor.fetchone()
    return row[0]


def end() -> End:
    """Return the end of the chain."""
    last = Seal.objects.order_by("-seq").values_list("seq", "hash").first()
    return End(*last) if last else End()


def _unsealed(named: Sequence[Named]) -> list[Named]:
    """Return each once, without those that have a seal."""
    names = [name for _, name in named]
    sealed = set(Seal.objects.filter(object_id__in=names).values_list("kind", "object_id"))
    return [one for one in dict.fromkeys(named) if one not in sealed]


def digests_of(named: Iterable[Named]) -> dict[Named, str]:
    """Return the digests of records as they are now; what is gone is not in it."""
    by_kind: dict[str, dict[int, str]] = defaultdict(dict)
    for kind, name in named:
        by_kind[kind][key_of(name)] = name
    return {
        (kind, names[row["id"]]): digest(row)
        for kind, names in by_kind.items()
        if kind in _MODELS
        for row in _rows(_MODELS[kind], list(names))
    }


def key_of(name: str) -> int:
    """Return the number of the row that a name in the chain stands for; 0 for none."""
    text = name.rpartition("/")[2]
    return int(text) if text.isdecimal() else 0


def _rows(model: type[Model], keys: Sequence[int]) -> Iterable[dict[str, Any]]:
    columns = [field.attname for field in model._meta.concrete_fields]  # noqa: SLF001
    rows: Iterable[dict[str, Any]] = model._default_manager.filter(pk__in=keys).values(*columns)  # noqa: SLF001
    return rows
