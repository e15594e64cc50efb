"""Who may act: one leased row with a fencing epoch, by the database's clock."""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction

from controller.services.errors import NotLeadingError

LOOP = "loop"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act, as epoch ``epoch``, from ``now`` on by the database's clock."""

    holder: str
    epoch: int
    now: datetime


def take(holder: str, *, seconds: float) -> Lease | None:
    """Return the lease, or ``None`` while somebody else holds it.

    ``holder`` names the execution, not the machine, so that an orphan and its replacement differ.
    The epoch grows whenever the holder changes.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO controller_controllerlease AS lease (name, holder, epoch, expires_at)
            VALUES (%s, %s, 1, clock_timestamp() + %s * interval '1 second')
            ON CONFLICT (name) DO UPDATE SET
                epoch = lease.epoch + (lease.holder <> excluded.holder)::int,
                holder = excluded.holder,
                expires_at = excluded.expires_at
            WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()
            RETURNING epoch, clock_timestamp()
            """,
            [LOOP, holder, seconds],
        )
        row = cursor.fetchone()
    return Lease(holder, row[0], row[1]) if row else None


def give_back(lease: Lease) -> None:
    """End the lease now, so that the next tick need not wait for it to run out."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE controller_controllerlease SET expires_at = clock_timestamp()"
            " WHERE name = %s AND holder = %s AND epoch = %s",
            [LOOP, lease.holder, lease.epoch],
        )


def confirm(lease: Lease) -> None:
    """Hold the lease row for this transaction. Raises :class:`NotLeadingError` when it is old."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM controller_controllerlease WHERE name = %s AND holder = %s"
            " AND epoch = %s AND expires_at > clock_timestamp() FOR SHARE",
            [LOOP, lease.holder, lease.epoch],
        )
        if cursor.fetchone() is None:
            raise NotLeadingError(f"Epoch {lease.epoch} of {lease.holder} is over.")


def current_epoch() -> int:
    """Return the newest epoch that was given out; 0 before the first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT epoch FROM controller_controllerlease WHERE name = %s", [LOOP])
        row = cursor.fetchone()
    return int(row[0]) if row else 0
