"""Limits on what people may leave behind: counting and adding, one after the other."""

from typing import Final

from django.db import connection

_LOCK: Final = 7_205_861


def one_at_a_time() -> None:
    """Wait until no other transaction counts or adds; held until this transaction ends."""
    # Counting and adding must not interleave, or the limits would be wishes.
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
