"""Who may act: one leased row with a fencing epoch, by the database's clock."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection, transaction

from controller.services import audit
from controller.services.errors import InvalidError, NotLeadingError

LOOP: Final = "loop"
LARGEST_EPOCH: Final = 10**15
"""Below what a JSON number holds exactly; one a second would take thirty million years."""


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


def raise_epoch(at_least: int, *, by: str, reason: str) -> int:
    """Begin no earlier than at ``at_least`` from now on; returns the epoch there was.

    A database that was restored, or whose replica took over, may be behind what a cluster was
    last written under, and everything it sends is refused there (D04). Whoever holds the lease
    has lost it. Raises :class:`InvalidError` for what is not above the present epoch: one that
    went back would let the past write again.
    """
    if not reason.strip():
        raise InvalidError("reason", "Say why: it is kept in the audit.")
    if not 0 < at_least <= LARGEST_EPOCH:
        raise InvalidError("at-least", f"Give a whole number from 1 to {LARGEST_EPOCH}.")
    with transaction.atomic():
        before = _supersede(at_least)
        audit.record(
            actor=by,
            verb="raised the epoch",
            obj=None,
            before={"epoch": before},
            after={"epoch": at_least},
            reason=reason,
        )
    return before


def _supersede(at_least: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO controller_controllerlease (name, holder, epoch, expires_at)"
            " VALUES (%s, '', 0, clock_timestamp()) ON CONFLICT DO NOTHING",
            [LOOP],
        )
        cursor.execute(
            "SELECT epoch FROM controller_controllerlease WHERE name = %s FOR UPDATE", [LOOP]
        )
        before = int(cursor.fetchone()[0])
        if at_least <= before:
            raise InvalidError(
                "at-least", f"The epoch is {before} already, and it never goes back."
            )
        cursor.execute(
            "UPDATE controller_controllerlease SET epoch = %s, holder = '',"
            " expires_at = clock_timestamp() WHERE name = %s",
            [at_least, LOOP],
        )
    return before


def end_all() -> None:
    """End whatever lease there is, under the next epoch: what its holder has yet to write is void.

    For a database that was just brought to another version (P08).
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE controller_controllerlease SET epoch = epoch + 1, holder = '',"
            " expires_at = clock_timestamp() WHERE name = %s",
            [LOOP],
        )
