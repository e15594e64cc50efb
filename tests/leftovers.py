"""Takes away what a test committed and puts back what the migrations had made.

Django truncates every table instead, with new files for each and for its indexes, and makes all
content types and permissions anew. Most tests leave a few rows in a few tables.
"""

from __future__ import annotations

from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from psycopg import sql

MADE = "made_by_migrations"
# All tables are emptied together, so no row is left without the one it refers to; and audit
# events, which refuse to be deleted one by one, are no exception here.
UNCHECKED = sql.SQL("SET LOCAL session_replication_role = replica")
HAS_ROWS = sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})")
COPY = sql.SQL("CREATE TABLE {} AS TABLE {}")
EMPTY = sql.SQL("DELETE FROM {}")
DROP_OTHERS = sql.SQL(
    "DELETE FROM {0} AS now WHERE NOT EXISTS (SELECT FROM {1} AS made WHERE made = now)"
)
ADD_MISSING = sql.SQL("INSERT INTO {0} TABLE {1} EXCEPT TABLE {0}")


def _run(statements: list[sql.Composable]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("; ").join(statements))


def _with_rows(tables: list[str]) -> list[str]:
    asked = [HAS_ROWS.format(name, sql.Identifier(name)) for name in tables]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(" UNION ALL ").join(asked))
        return [name for (name,) in cursor.fetchall()]


class Leftovers:
    """What one database held when its migrations had run."""

    def __init__(self) -> None:
        tables = connection.introspection.django_table_names(only_existing=True)
        full = _with_rows(tables)
        self.made = [(sql.Identifier(name), sql.Identifier(MADE, name)) for name in full]
        self.empty = [name for name in tables if name not in full]
        _run(
            [
                sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(MADE)),
                *(COPY.format(copy, table) for table, copy in self.made),
            ]
        )

    def take_away(self) -> None:
        """Leave every table as the migrations had; sequences go on, as with Django's own way."""
        with transaction.atomic():
            _run(
                [
                    UNCHECKED,
                    *(EMPTY.format(sql.Identifier(name)) for name in _with_rows(self.empty)),
                    *(DROP_OTHERS.format(*both) for both in self.made),
                    *(ADD_MISSING.format(*both) for both in self.made),
                ]
            )
        ContentType.objects.clear_cache()
