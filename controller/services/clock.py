"""The one clock that leases, cooldowns, expiry and ages are measured by: the database's."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """Return the time at the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row: tuple[datetime] = cursor.fetchone()
    return row[0]
