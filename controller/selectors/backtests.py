"""Backtests as people read them: the list, and one with its question and its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db.models import Q

from controller.core import wording
from controller.core.backtest_states import State
from controller.models import Backtest, Trace
from controller.models.backtests import MOST_ATTEMPTS
from inventory.models import Service

PAGE: Final = 25
MOST_TRIES: Final = MOST_ATTEMPTS
LEAST_TOLD: Final = 0.1
SILENT_S: Final = 20.0
"""A worker tells every 10 s that it lives; two times missed, the page says so."""

GOAL_FRAC: Final = 0.99
"""The share of requests that should be within both goals, where an answer names no other."""

TONES: Final[Mapping[str, str]] = {
    State.QUEUED: "muted",
    State.RUNNING: "busy",
    State.DONE: "ok",
    State.FAILED: "crit",
    State.CANCELLED: "muted",
}
ICONS: Final[Mapping[str, str]] = {
    State.QUEUED: "clock",
    State.RUNNING: "busy",
    State.DONE: "ok",
    State.FAILED: "crit",
    State.CANCELLED: "pause",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list shows; empty means all."""

    state: str = ""
    mine: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.state or self.mine)

    @property
    def words(self) -> str:
        """The filters in words, for the page that found nothing."""
        return ", ".join([*([self.state] if self.state else []), *(["mine"] if self.mine else [])])


@dataclass(frozen=True, slots=True)
class Best:
    """The policy an answer speaks for: its label and what it cost and kept, in words.

    ``standing`` is "best", or "nearest" where no policy kept the goals for as many requests as it
    should; it is empty where nothing is known of the goals.
    """

    label: str
    standing: str
    gpu_hours: str
    over_bound: str
    attained: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    pk: UUID
    state: str
    created_at: datetime
    by: str
    load: str
    policies: Sequence[str]
    best: Best | None
    percent: int
    took_s: float | None
    error: str

    @property
    def tone(self) -> str:
        """The tone of the state."""
        return TONES[self.state]

    @property
    def icon(self) -> str:
        """The icon of the state."""
        return ICONS[self.state]

    @property
    def took(self) -> str:
        """How long its last try took, in words."""
        return length(self.took_s)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the list, numbered from 1."""

    rows: Sequence[Row]
    page: int
    more: bool
    has_any: bool


def states() -> Sequence[str]:
    """Return every state a backtest can be in."""
    return [state.value for state in State]


def listing(filters: Filters, page: int, reader: int | None) -> Listing:
    """Return one page, newest first; two queries at most, however many rows there are."""
    wanted = Q()
    if filters.state:
        wanted &= Q(state=filters.state)
    if filters.mine:
        wanted &= Q(created_by=reader)
    first = (page - 1) * PAGE
    found = list(
        Backtest.objects.filter(wanted)
        .select_related("created_by")
        .defer("series", "generator")
        .order_by("-created_at", "-pk")[first : first + PAGE + 1]
    )
    return Listing(
        rows=[row_of(backtest) for backtest in found[:PAGE]],
        page=page,
        more=len(found) > PAGE,
        has_any=bool(found) or Backtest.objects.exists(),
    )


def row_of(backtest: Backtest) -> Row:
    """Return a backtest as one line."""
    return Row(
        pk=backtest.pk,
        state=backtest.state,
        created_at=backtest.created_at,
        by=backtest.created_by.get_username() if backtest.created_by else "",
        load=backtest.load_name,
        policies=[str(name) for name in backtest.asked.get("policies", ())],
        best=best_of(backtest.answer),
        percent=math.floor(100 * backtest.progress_frac),
        took_s=_took_s(backtest),
        error=backtest.error,
    )


def _took_s(backtest: Backtest) -> float | None:
    if backtest.started_at is None or backtest.finished_at is None:
        return None
    return (backtest.finished_at - backtest.started_at).total_seconds()


def goal_of(answer: Mapping[str, Any]) -> float:
    """Return the share of requests that should be within both goals."""
    return float(answer["slo"].get("goal", GOAL_FRAC))


def keeps_goal(answer: Mapping[str, Any], run: Mapping[str, Any]) -> bool:
    """Return whether a policy kept both goals for as many requests as it should."""
    share = run["slo_attainment"]
    return share is not None and share >= goal_of(answer)


def by_merit(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the scores, the best first: cheapest of those that keep the goals, then most kept."""

    def merit(run: Mapping[str, Any]) -> tuple[bool, float, float]:
        keeps = keeps_goal(answer, run)
        share = -1.0 if run["slo_attainment"] is None else run["slo_attainment"]
        return (not keeps, 0.0 if keeps else -share, run["gpu_hours"])

    return sorted(answer["runs"], key=merit)


def best_of(answer: Mapping[str, Any] | None) -> Best | None:
    """Return the best policy in words, or the nearest; ``None`` without an answer."""
    if not answer or not answer["runs"]:
        return None
    run = by_merit(answer)[0]
    return Best(
        label=run["label"],
        standing=_standing(answer, run),
        gpu_hours=hours(run["gpu_hours"]),
        over_bound=times(run["gpu_hours_over_clairvoyant"]),
        attained=attained(run["slo_attainment"]),
    )


def _standing(answer: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    if run["slo_attainment"] is None:
        return ""
    return "best" if keeps_goal(answer, run) else "nearest"


def hours(value: float | None) -> str:
    """Return GPU-hours with three digits at least, so that those of a column compare."""
    if value is None:
        return wording.UNKNOWN
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0  # noqa: PLR2004
    return f"{value:,.{digits}f}"


def length(seconds: float | None) -> str:
    """Return how long something took: "under 1 s", "4 min"."""
    return "under 1 s" if seconds is not None and seconds < 1 else wording.duration(seconds)


def times(value: float | None) -> str:
    """Return a multiple of the bound: "1.38 ×"."""
    return wording.UNKNOWN if value is None else f"{value:.2f} ×"


def attained(share: float | None) -> str:
    """Return a share of requests, rounded down, so that 100 % means every one."""
    if share is None:
        return wording.UNKNOWN
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f} %"


@dataclass(frozen=True, slots=True)
class Found:
    """One backtest with what its page tells beside its answer.

    ``before`` is how many run or wait before it. The time series are not read.
    """

    backtest: Backtest
    row: Row
    before: int
    elapsed_s: float | None
    silent_s: float | None

    @property
    def is_ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.backtest.finished_at is not None

    @property
    def is_silent(self) -> bool:
        """Whether its worker was not heard of for longer than one that lives needs."""
        return self.silent_s is not None and self.silent_s > SILENT_S

    @property
    def since_asked(self) -> str:
        """How long it took from being asked to its end, in words."""
        ended, asked = self.backtest.finished_at, self.backtest.created_at
        return length((ended - asked).total_seconds() if ended else None)

    @property
    def left_s(self) -> float | None:
        """How long it takes still at the speed so far, told once a tenth is done."""
        frac = self.backtest.progress_frac
        if self.elapsed_s is None or frac < LEAST_TOLD or self.is_silent:
            return None
        return self.elapsed_s * (1 - frac) / frac

    @property
    def state(self) -> tuple[object, ...]:
        """What the page shows of it, for telling whether something happened."""
        given = self.backtest
        return (
            given.state,
            given.attempts,
            round(given.progress_frac, 3),
            given.cancel_requested_at,
            self.before,
            self.is_silent,
        )


def find(pk: UUID, now: datetime) -> Found | None:
    """Return one backtest, ``None`` when there is none of that id; two queries at most."""
    backtest = (
        Backtest.objects.select_related("created_by", "cancel_requested_by", "service", "trace")
        .defer("series", "trace__content")
        .filter(pk=pk)
        .first()
    )
    if backtest is None:
        return None
    started, heard = backtest.started_at, backtest.heartbeat_at
    is_running = backtest.state == State.RUNNING
    return Found(
        backtest=backtest,
        row=row_of(backtest),
        before=_before(backtest) if backtest.state == State.QUEUED else 0,
        elapsed_s=(now - started).total_seconds() if started else None,
        silent_s=(now - heard).total_seconds() if heard and is_running else None,
    )


def whole(pk: UUID) -> Backtest | None:
    """Return one backtest with everything that was answered, ``None`` when there is none."""
    return (
        Backtest.objects.select_related("created_by", "trace")
        .defer("trace__content")
        .filter(pk=pk)
        .first()
    )


def _before(backtest: Backtest) -> int:
    earlier = Q(created_at__lt=backtest.created_at) | Q(
        created_at=backtest.created_at, pk__lt=backtest.pk
    )
    return Backtest.objects.filter(
        Q(state=State.RUNNING) | (Q(state=State.QUEUED) & earlier)
    ).count()


@dataclass(frozen=True, slots=True)
class TraceLine:
    """An uploaded trace as the form offers it."""

    pk: int
    name: str
    kind: str
    rows: int
    span_s: float | None

    @property
    def words(self) -> str:
        """Name, size and length."""
        size = f"{self.name}: {self.rows:,} {self.kind}"
        if self.span_s is None:
            return f"{size} without times, played at 1 request/s"
        return f"{size} over {wording.duration(self.span_s)}"


MOST_TRACES: Final = 100


def traces() -> Sequence[TraceLine]:
    """Return the newest uploaded traces."""
    rows = Trace.objects.values_list("pk", "name", "kind", "rows", "span_s")[:MOST_TRACES]
    return [TraceLine(*row) for row in rows]


def trace_line(row: Trace) -> TraceLine:
    """Return a trace as the form offers it."""
    return TraceLine(row.pk, row.name, row.kind, row.rows, row.span_s)


def trace(pk: int) -> Trace | None:
    """Return one uploaded trace with its content, ``None`` when there is none."""
    return Trace.objects.filter(pk=pk).first()


def services() -> Sequence[tuple[str, str]]:
    """Return every service: slug and name."""
    return list(Service.objects.order_by("slug").values_list("slug", "name"))


def service(slug: str) -> Service | None:
    """Return one service with its goals and roles, ``None`` when there is none."""
    if "\0" in slug:  # PostgreSQL refuses to look for one
        return None
    return (
        Service.objects.select_related("slo")
        .prefetch_related("roles__hardware")
        .filter(slug=slug)
        .first()
    )
