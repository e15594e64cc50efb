"""The parts of the overview, each read for itself so that one may fail alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from django.db.models import Q

from controller.core.reasons import PASSING
from controller.core.types import Move
from controller.models import Decision, PoolSample, Rearrangement
from controller.selectors import outside
from controller.selectors.attention import (
    Attention,
    Moves,
    Other,
    attention,
    read_broken_glass,
    read_dark,
    read_latest_actions,
    read_moves,
    read_silent,
)
from controller.selectors.overrides import SOON, ending_soon
from controller.selectors.services import (
    DecisionLine,
    Services,
    decision_line,
    is_stale,
    read_services,
)
from controller.selectors.strip import StripState
from controller.selectors.suggestions import suggested

RECENT: Final = 10
OUT: Final = ("reserved", "maintenance", "unhealthy", "unknown")
POOL_MEMORY: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one hardware type in one cluster; busy, held idle, free and out are the total."""

    cluster: str
    hardware: str
    hardware_slug: str
    at: datetime
    stale: bool
    total: int
    busy: int
    held_idle: int
    free: int
    out_of: tuple[tuple[str, int], ...]
    largest_free: int

    @property
    def out(self) -> int:
        """GPUs nothing can be placed on now."""
        return sum(count for _, count in self.out_of)

    @property
    def nodes(self) -> str:
        """The address of its nodes, to which ``&gpus=free`` and the like may be added."""
        return f"/fleet/?{urlencode({'cluster': self.cluster, 'hardware': self.hardware_slug})}"

    @property
    def out_words(self) -> str:
        """What keeps them out: "8 maintenance, 1 unhealthy"."""
        return ", ".join(f"{count} {name}" for name, count in self.out_of if count) or "none"


@dataclass(frozen=True, slots=True)
class State:
    """The attention list and the table of services, from the same rows."""

    attention: Attention
    services: Services


def read_state(
    strip: StripState, now: datetime, decides: Callable[[Rearrangement], bool] = lambda _row: True
) -> State:
    """Return what needs attention and every service, worst first; twelve queries for any fleet.

    ``decides`` is whether the reader may answer moves that wait.
    """
    services = read_services(now)
    actions, suggestions = read_latest_actions(), suggested(now)
    next_end = strip.fleet.overrides.ends_at
    ending = ending_soon(now) if next_end and next_end < now + SOON else []
    others: list[Other] = [
        *read_broken_glass(now),
        *(Moves(row, decides(row)) for row in read_moves(now)),
        *outside.read_open(now),
        *read_silent(now),
        *read_dark(now),
        *ending,
    ]
    found = attention(services.rows, actions, suggestions, strip, others)
    return State(found, services)


def read_pools(now: datetime) -> tuple[Pool, ...]:
    """Return the newest sample of each pool, in one query."""
    newest = (
        PoolSample.objects.filter(at__gt=now - POOL_MEMORY)
        .order_by("cluster_id", "hardware_id", "-at")
        .distinct("cluster_id", "hardware_id")
        .select_related("cluster", "hardware")
    )
    pools = [
        Pool(
            cluster=row.cluster.slug,
            hardware=row.hardware.gpu_model,
            hardware_slug=row.hardware.slug,
            at=row.at,
            stale=is_stale(row.at, now),
            total=row.total,
            busy=row.busy,
            held_idle=row.held_idle,
            free=row.free,
            out_of=tuple((name, getattr(row, name)) for name in OUT),
            largest_free=row.largest_free,
        )
        for row in newest
    ]
    return tuple(sorted(pools, key=lambda pool: (pool.cluster, pool.hardware)))


def read_recent_decisions() -> tuple[DecisionLine, ...]:
    """Return the newest decisions that are neither plain holds nor waits that pass."""
    waits = Q(move=Move.HOLD) | Q(move=Move.BLOCKED, code__in=PASSING)
    rows = Decision.objects.exclude(waits).select_related("service")[:RECENT]
    return tuple(decision_line(row, row.service.slug) for row in rows)
