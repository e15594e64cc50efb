"""Every change of what exists is a new version, which decisions name."""

from django.db.models.functions import Now

from inventory.models import ImportRun, InventoryVersion


def stamp(
    cause: InventoryVersion.Cause,
    by: str,
    *,
    run: ImportRun | None = None,
    counts: dict[str, int] | None = None,
) -> int:
    """Add a version at the database's time and return its number.

    Call it inside the transaction of the change: either both are there or neither.
    """
    made = InventoryVersion.objects.create(
        at=Now(), cause=cause, by=by[:160], run=run, counts=counts or {}
    )
    return int(made.pk)
