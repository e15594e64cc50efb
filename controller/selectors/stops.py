"""All that keeps automatic change from happening now: freezes, timed ones and open breakers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import DateTimeField, F, QuerySet, Value
from django.db.models.functions import Cast, Now
from django.urls import reverse

from controller.core import phrases
from controller.core.overrides import OverrideKind
from controller.models import Breaker, Freeze, Override
from controller.models.holds import BY_ITSELF
from controller.models.scopes import FLEET, PARTS, in_time
from inventory.models import Service


class StopKind(StrEnum):
    """What stops it, in the order it is told."""

    FREEZE = "freeze"
    TIMED = "timed"
    BREAKER = "breaker"


@dataclass(frozen=True, slots=True)
class Stop:
    """One stop in force: who set it and why, what it holds for; ``until`` where it ends itself."""

    kind: StopKind
    pk: int
    by: str
    reason: str
    since: datetime
    until: datetime | None
    slugs: tuple[str | None, str | None, str | None]
    keys: tuple[UUID | None, UUID | None, UUID | None]

    @property
    def part(self) -> str:
        """What it holds for: fleet, region, cluster or service."""
        return next((part for part, slug in zip(PARTS, self.slugs, strict=True) if slug), "fleet")

    @property
    def slug(self) -> str:
        """The slug of what it holds for; empty for the fleet."""
        return next(filter(None, self.slugs), "")

    @property
    def scope(self) -> str:
        """How a sentence calls what it holds for."""
        if self.part == "fleet":
            return FLEET
        return self.slug if self.part == "service" else f"{self.part} {self.slug}"

    @property
    def subject(self) -> str:
        """The same at the beginning of a sentence; names of services stay as they are."""
        return self.scope if self.is_own else f"{self.scope[0].upper()}{self.scope[1:]}"

    @property
    def key(self) -> str:
        """How an address names what it holds for."""
        return "fleet" if self.part == "fleet" else f"{self.part}:{self.slug}"

    @property
    def only(self) -> UUID | None:
        """The key of what it holds for; ``None`` for the fleet."""
        return next(filter(None, self.keys), None)

    @property
    def is_breaker(self) -> bool:
        """Whether the controller stopped itself."""
        return self.kind is StopKind.BREAKER

    @property
    def is_own(self) -> bool:
        """Whether it holds for one service alone."""
        return self.part == "service"

    @property
    def resume(self) -> str:
        """The address of the page that ends it; a timed freeze ends as any override does."""
        if self.kind is not StopKind.FREEZE:
            name = "breaker-reset" if self.is_breaker else "override"
            return reverse(name, args=[self.pk])
        if self.is_own:
            return reverse("resume-service", args=[self.slug])
        return f"{reverse('resume')}?{urlencode({'scope': self.key})}"

    def covers(self, service: Service) -> bool:
        """Return whether the service, read with its cluster, is stopped by it."""
        if self.part == "fleet":
            return True
        own = (service.cluster.region_id, service.cluster_id, service.pk)
        return any(key == its for key, its in zip(self.keys, own, strict=True) if key is not None)


def read_stops() -> tuple[Stop, ...]:
    """Return every stop in force, the widest scope first; one query."""
    freezes = _plain(
        Freeze.objects.filter(ended_at=None), StopKind.FREEZE, "by_name", "reason", "since"
    )
    timed = _plain(
        Override.objects.filter(in_time(Now()), kind=OverrideKind.FREEZE),
        StopKind.TIMED,
        "by_name",
        "reason",
        "starts_at",
        ends="ends_at",
    )
    open_ones = Breaker.objects.filter(ended_at=None)
    breakers = _plain(open_ones, StopKind.BREAKER, Value(BY_ITSELF), "cause", "opened_at")
    found = [_stop(row) for row in freezes.union(timed, breakers, all=True)]
    order, kinds = ("fleet", *PARTS), list(StopKind)
    return tuple(
        sorted(found, key=lambda one: (order.index(one.part), kinds.index(one.kind), one.since))
    )


def _plain(  # noqa: PLR0913 - the columns that differ
    rows: QuerySet[Any],
    kind: StopKind,
    by: str | Value,
    reason: str,
    since: str,
    *,
    ends: str = "",
) -> QuerySet[Any, Any]:
    until = F(ends) if ends else Cast(Value(None), DateTimeField())
    named = {
        "what": Value(kind.value),
        "row": F("pk"),
        "who": F(by) if isinstance(by, str) else by,
        "why": F(reason),
        "begun": F(since),
        "until": until,
        **{f"{part}_slug": F(f"{part}__slug") for part in PARTS},
        **{f"{part}_key": F(f"{part}_id") for part in PARTS},
    }
    columns: QuerySet[Any, Any] = rows.order_by().annotate(**named).values_list(*named)
    return columns


def _stop(row: tuple[Any, ...]) -> Stop:
    kind, pk, by, reason, since, until, *where = row
    slugs, keys = tuple(where[:3]), tuple(where[3:])
    return Stop(StopKind(kind), pk, by, reason, since, until, slugs, keys)


def over(stops: Iterable[Stop], service: Service) -> Stop | None:
    """Return what stops a service below the fleet: its own stop before those of wider scopes."""
    found = [one for one in stops if one.part != "fleet" and one.covers(service)]
    return next((one for one in found if one.is_own), found[0] if found else None)


def outstanding_words(count: int) -> str:
    """Return whether a freeze is complete: it is once every request sent has its answer (S16)."""
    if not count:
        return "stopped: no request is outstanding"
    return f"stopping: {phrases.plural(count, 'request')} outstanding"
