"""The database without its guards, as its super-user has it, and as the application has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

from heteroscale_site.connections import APPLICATION_USER


@contextmanager
def unguarded() -> Iterator[None]:
    """Let everything be changed: no trigger of the database runs meanwhile."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        yield
        cursor.execute("SET LOCAL session_replication_role = origin")


@contextmanager
def as_application() -> Iterator[None]:
    """Be the role that the web server and the workers connect as."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {APPLICATION_USER}")
        try:
            with transaction.atomic():
                yield
        finally:
            cursor.execute("RESET ROLE")
