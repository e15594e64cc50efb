"""The one clock that leases, cooldowns, expiry and ages go by: the database's."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Return the time at the database, that of the present statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return row[0]
