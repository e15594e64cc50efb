"""How long an API server asked all of us to wait: a row, so that every process keeps to it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import DatabaseError
from django.db.models.functions import Now

from controller.models import ClusterSight

if TYPE_CHECKING:
    from uuid import UUID


class RowPause:
    """The pause of one cluster.

    What this process was told itself holds without the row too: a server that is too busy must not
    be asked more because our database is away.
    """

    def __init__(self, cluster: UUID) -> None:
        self._cluster = cluster
        self._until = 0.0

    def left_s(self) -> float:
        """Return how much is left [s]; one query."""
        own_s = max(0.0, self._until - time.monotonic())
        if own_s:
            return own_s
        waits = ClusterSight.objects.filter(pk=self._cluster, wait_until__gt=Now())
        try:
            row = waits.values_list("wait_until", Now()).first()
        except DatabaseError:
            return own_s
        return (row[0] - row[1]).total_seconds() if row else 0.0

    def told(self, wait_s: float) -> None:
        """Remember it for all; a shorter wait than one that is kept changes nothing."""
        self._until = max(self._until, time.monotonic() + wait_s)
        until = Now() + timedelta(seconds=wait_s)
        rows = ClusterSight.objects.filter(pk=self._cluster).exclude(wait_until__gt=until)
        try:
            rows.update(wait_until=until)
        except DatabaseError:
            return
