"""What the role that web server and workers connect as may do: all but change the record."""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.models import Model
from psycopg import sql

from controller.models import AuditEvent, Decision, Removal, Seal, ToSeal, Verdict
from controller.services.recording import HEAD_COLUMNS

ADDED: Final[tuple[type[Model], ...]] = (AuditEvent, Seal)
"""Tables that only grow."""

DAYS: Final = ("heteroscale_make_sample_days", "heteroscale_drop_sample_days")
"""What only the tables' owner could do, and the application has to: within their own bounds."""

READ: Final = ("django_migrations",)


def grant(role: str) -> None:
    """Give a role its rights on every table, and take away any others; as the tables' owner.

    Of a decision only what an equal one changes of the newest may be set; that it is the newest,
    and that decisions go only with their service, is for the triggers to say.
    """
    name = sql.Identifier(role)
    head = sql.SQL(", ").join(map(sql.Identifier, (*HEAD_COLUMNS, "count")))
    added = sql.SQL(", ").join(map(_table, ADDED))
    statements = (
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {0}"),
        sql.SQL("GRANT USAGE ON SCHEMA public TO {0}"),
        sql.SQL("GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {0}"),
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {0}"),
        sql.SQL("REVOKE UPDATE, DELETE ON {added} FROM {0}"),
        sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {removal}, {read} FROM {0}"),
        sql.SQL("REVOKE INSERT, UPDATE ON {queue} FROM {0}"),
        sql.SQL("REVOKE UPDATE ON {decision}, {verdict} FROM {0}"),
        sql.SQL("GRANT UPDATE ({head}) ON {decision} TO {0}"),
        sql.SQL("GRANT EXECUTE ON FUNCTION {days} TO {0}"),
    )
    named = {
        "added": added,
        "removal": _table(Removal),
        "read": sql.SQL(", ").join(map(sql.Identifier, READ)),
        "queue": _table(ToSeal),
        "decision": _table(Decision),
        "verdict": _table(Verdict),
        "head": head,
        "days": sql.SQL(", ").join(map(sql.Identifier, DAYS)),
    }
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement.format(name, **named))


def _table(model: type[Model]) -> sql.Identifier:
    return sql.Identifier(model._meta.db_table)  # noqa: SLF001 - public by custom
