"""How many decisions there were by the hour, and which services turn round and round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.fields import BooleanField, CharField
from django.db.models.functions import TruncHour

from controller.core.lifecycle import ActionState
from controller.core.types import Counts, Floats, Gate, Role
from controller.models import Action, Decision
from controller.selectors.series import Ask

HOUR_S: Final = 3_600.0
TURNED_WITHIN: Final = timedelta(minutes=10)
"""As a backtest counts them."""


@dataclass(frozen=True, slots=True)
class DecisionCounts:
    """Ticks by the hour in a range [s since the epoch]; a decision is one of each of its ticks.

    ``hours_s`` are the beginnings of the hours, shape ``(T,)``; ``counts`` maps what the
    decisions came to, a move or ``failed``, to ticks of shape ``(T,)``.
    """

    since_s: float
    until_s: float
    hours_s: Floats
    counts: Mapping[str, Counts]
    is_narrow: bool


@dataclass(frozen=True, slots=True)
class Turns:
    """One service's changes in a range, those against the one before, and those soon after it."""

    service: str
    changes: int = 0
    turned: int = 0
    soon: int = 0


@dataclass(frozen=True, slots=True)
class Reversals:
    """Every service that decided in a range [s], those that turned most often first."""

    since_s: float
    until_s: float
    services: tuple[Turns, ...]
    is_narrow: bool


def decision_counts(ask: Ask) -> DecisionCounts:
    """Count the ticks of a range by hour and what they came to; two queries.

    Rows within one hour are added up where they are. One that spans hours, of which a service has
    at most one an hour, is a run of holds: its ticks are spread evenly over its time.
    """
    rows = _chosen(ask).annotate(
        word=Case(
            When(Exists(_failed()), then=Value("failed")),
            default=F("move"),
            output_field=CharField(),
        ),
        hour=TruncHour("first_at", tzinfo=UTC),
        last_hour=TruncHour("last_at", tzinfo=UTC),
    )
    inside = Q(first_at__gte=ask.since, last_at__lte=ask.until, hour=F("last_hour"))
    since_s, until_s = ask.since.timestamp(), ask.until.timestamp()
    first, last = since_s // HOUR_S, until_s // HOUR_S
    edges = np.arange(first, last + 2) * HOUR_S
    counts: dict[str, Counts] = {}
    for word, hour, ticks in (
        rows.filter(inside).order_by().values_list("word", "hour").annotate(Sum("count"))
    ):
        at = int((hour.timestamp() - edges[0]) // HOUR_S)
        _of(counts, word, len(edges) - 1)[at] += ticks
    for word, first_at, last_at, ticks in rows.exclude(inside).values_list(
        "word", "first_at", "last_at", "count"
    ):
        spread = np.linspace(first_at.timestamp(), last_at.timestamp(), ticks)
        spread = spread[(spread >= since_s) & (spread <= until_s)]
        _of(counts, word, len(edges) - 1)[:] += np.histogram(spread, edges)[0]
    return DecisionCounts(since_s, until_s, edges[:-1], counts, bool(ask.filters.query))


def _of(counts: dict[str, Counts], word: str, hours: int) -> Counts:
    return counts.setdefault(word, np.zeros(hours, dtype=np.int64))


def reversals(ask: Ask) -> Reversals:
    """Count the changes that turn a role's direction, by service; two queries.

    A change is one that a cluster took. It is held against the last change of the same role,
    wherever that is; ``soon`` are those within 10 min of it, as in a backtest.
    """
    chosen = _chosen(ask)
    slugs = list(
        chosen.order_by("service__slug").values_list("service__slug", flat=True).distinct()
    )
    changes = chosen.filter(_carried()).filter(_moved(Role.PREFILL) | _moved(Role.DECODE))
    turned, soon = Q(), Q()
    for role in Role:
        changes = changes.annotate(**dict(_before(role)))
        turn = _moved(role) & (
            Q(**{f"{role}_grew": True}) & _grows(role, grew=False)
            | Q(**{f"{role}_grew": False}) & _grows(role, grew=True)
        )
        turned |= turn
        soon |= turn & Q(**{f"{role}_at__gte": F("first_at") - TURNED_WITHIN})
    found = {
        slug: Turns(slug, *numbers)
        for slug, *numbers in changes.order_by()
        .values_list("service__slug")
        .annotate(
            made=Count("pk"),
            turned=Count("pk", filter=turned),
            soon=Count("pk", filter=soon),
        )
    }
    services = [found.get(slug, Turns(slug)) for slug in slugs]
    services.sort(key=lambda one: (-one.soon, -one.turned, -one.changes, one.service))
    return Reversals(
        ask.since.timestamp(), ask.until.timestamp(), tuple(services), bool(ask.filters.query)
    )


def _chosen(ask: Ask) -> QuerySet[Decision]:
    between: dict[str, datetime] = {"last_at__gte": ask.since, "first_at__lte": ask.until}
    return Decision.objects.filter(ask.filters.what, **between)


def _failed() -> QuerySet[Action]:
    return Action.objects.filter(decision=OuterRef("pk"), state=ActionState.FAILED)


def _carried() -> Q:
    """Return the decisions whose change a cluster took, or whose action nobody kept."""
    actions = Action.objects.filter(decision=OuterRef("pk"))
    took = Exists(actions.filter(applied_at__isnull=False))
    return Q(took) | (Q(gate=Gate.ACT) & Q(~Exists(actions)))


def _moved(role: Role) -> Q:
    return ~Q(**{f"current_{role}": F(f"final_{role}")})


def _grows(role: Role, *, grew: bool) -> Q:
    way = "gt" if grew else "lt"
    return Q(**{f"final_{role}__{way}": F(f"current_{role}")})


def _before(role: Role) -> Iterator[tuple[str, Any]]:
    """Yield when the role's last change before a decision was and whether it grew."""
    last = (
        Decision.objects.filter(_carried(), _moved(role))
        .filter(service=OuterRef("service"), seq__lt=OuterRef("seq"))
        .order_by("-seq")
    )
    grew = ExpressionWrapper(_grows(role, grew=True), output_field=BooleanField())
    yield f"{role}_at", Subquery(last.values("first_at")[:1])
    yield f"{role}_grew", Subquery(last.annotate(grew=grew).values("grew")[:1])
