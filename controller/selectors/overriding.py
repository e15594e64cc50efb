"""What people set over services for a while, and what it does now."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from controller.core.overrides import Override as Value
from controller.core.overrides_plain import plain_of
from controller.models import Override, orders
from controller.models.clock import database_now
from controller.models.orders import Orders

PARTS = ("region", "cluster__region", "service__cluster__region")


def in_force() -> Orders:
    """Return what is in force over every service."""
    return orders.read()


def one(pk: int) -> Override | None:
    """Return an override, ``None`` when there is none of that number."""
    return Override.objects.select_related(*PARTS).filter(pk=pk).first()


def from_now(length: timedelta) -> datetime:
    """Return the time after a length of time from now."""
    return database_now() + length


def not_over() -> Sequence[Override]:
    """Return what is in force or still to begin, by when it ends; one query."""
    rows = Override.objects.filter(ended_at=None, ends_at__gt=Now()).select_related(*PARTS)
    return list(rows.order_by("ends_at", "pk"))


def plain(row: Override) -> dict[str, Any]:
    """Return an override as commands and the API show it."""
    value = orders.value_of(row)
    known = plain_of(value) if isinstance(value, Value) else {"id": row.pk, "fault": value}
    times = {"since": row.starts_at, "until": row.ends_at, "bound_at": row.bound_at}
    return known | {name: at and at.isoformat(timespec="seconds") for name, at in times.items()}
