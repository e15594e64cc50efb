"""What was recorded of a service that is only observed: what would have been done by now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import Count, F, Max, Q

from controller.core.kube.preflight import Check, Found, checks_of
from controller.core.types import Gate
from controller.models import Decision
from inventory.models import ClusterAccess, Service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

DAYS: Final = 7
"""So far back it is counted."""
SHOWN: Final = 50
_WANTED: Final = (
    ~Q(raw_prefill=F("current_prefill")) | ~Q(raw_decode=F("current_decode")) | ~Q(gate=Gate.NONE)
)
_WOULD: Final = Q(gate=Gate.RECORD)
_COUNTS: Final = {
    "wanted": Count("pk", filter=_WANTED),
    "would": Count("pk", filter=_WOULD),
    "newest": Max("last_at", filter=_WOULD),
}


@dataclass(frozen=True, slots=True)
class WouldHave:
    """Changes that were wanted within ``DAYS``, and of them those that would have been made."""

    wanted: int
    would: int
    last_at: datetime | None

    @property
    def held(self) -> int:
        """How many the guards held back."""
        return self.wanted - self.would


@dataclass(frozen=True, slots=True)
class ActPage:
    """What was recorded, the newest first, and which rights lack before anything can be done."""

    service: Service
    counted: WouldHave
    decisions: Sequence[Decision]
    lacking: tuple[Check, ...]


def counted(now: datetime) -> Mapping[str, WouldHave]:
    """Return what was recorded of each service that is only observed, by slug; one query."""
    rows = Decision.objects.filter(
        service__mode=Service.Mode.OBSERVE, last_at__gte=now - timedelta(days=DAYS)
    )
    told = rows.order_by().values("service__slug").annotate(**_COUNTS)
    columns = told.values_list("service__slug", *_COUNTS)
    return {slug: WouldHave(*counts) for slug, *counts in columns if counts[0]}


def find(slug: str) -> Service | None:
    """Return a service with where it is, by its name."""
    return Service.objects.select_related("cluster__region").filter(slug=slug).first()


def read(service: Service, now: datetime) -> ActPage:
    """Read the page of a service; three queries."""
    rows = service.decisions.filter(last_at__gte=now - timedelta(days=DAYS))
    told = rows.aggregate(**_COUNTS)
    shown = rows.filter(_WOULD).order_by("-last_at", "-id")[:SHOWN]
    return ActPage(
        service,
        WouldHave(told["wanted"], told["would"], told["newest"]),
        list(shown),
        _lacking(service),
    )


def _lacking(service: Service) -> tuple[Check, ...]:
    """Return the rights to change something that the last look did not find."""
    kept = ClusterAccess.objects.filter(cluster=service.cluster_id).values_list(
        "checks", flat=True
    )
    return tuple(
        check
        for check in checks_of(next(iter(kept), None))
        if check.what.startswith("patch ") and check.found is not Found.OK
    )
