"""Locks of the inventory's tables, always taken whole, in one order, before any row's."""

from collections.abc import Sequence
from typing import LiteralString

from django.db import connection
from django.db.models import Model
from psycopg import sql

from inventory.models import Binding, InventoryVersion
from inventory.services.columns import MODELS


def lock_inventory() -> None:
    """Wait until nobody writes the inventory, and keep others from it while the transaction lasts.

    Call it first in a transaction: whoever holds rows and waits for others would be in the way.
    """
    _lock("SHARE ROW EXCLUSIVE")


def lock_for_edit() -> None:
    """Wait until no import writes the inventory; edits don't wait for each other here.

    Call it first in a transaction that edits. A row lock alone does not wait for an import, but
    writing the row then does: an import that comes to that row meanwhile would wait for the edit,
    and each for the other.
    """
    _lock("ROW EXCLUSIVE")


def lock_bindings() -> None:
    """Keep everybody else from writing bindings while the transaction lasts."""
    _lock_tables([Binding], "SHARE ROW EXCLUSIVE")


def lock_for_binding() -> None:
    """Wait until nobody brings bindings in line with reports, or imports.

    Call it first in a transaction that binds; two of them don't wait for each other here.
    """
    lock_for_edit()
    _lock_tables([Binding], "ROW EXCLUSIVE")


def _lock(mode: LiteralString) -> None:
    _lock_tables([*MODELS.values(), InventoryVersion], mode)


def _lock_tables(models: Sequence[type[Model]], mode: LiteralString) -> None:
    names = [sql.Identifier(model._meta.db_table) for model in models]  # noqa: SLF001 - public by custom
    statement = sql.SQL("LOCK TABLE {} IN {} MODE").format(
        sql.SQL(", ").join(names), sql.SQL(mode)
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
