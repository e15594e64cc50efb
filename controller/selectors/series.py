"""What figures show, read from the rows: one service over a time, and one decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Case, Exists, OuterRef, Q, Value, When
from django.urls import reverse

from controller.core.config_check import validate_policy
from controller.core.lifecycle import ActionState
from controller.core.override_words import title_of, values_words
from controller.core.overrides import OverrideKind
from controller.core.types import (
    SIGNAL_INDEX,
    SIGNALS,
    Counts,
    Floats,
    Instances,
    Role,
    ServiceSpec,
)
from controller.models import Action, Decision, Freeze, OutsideChange, Override, Sample
from controller.models.scopes import chain_of
from controller.selectors.decision_filters import NONE, Filters
from controller.selectors.in_use import InUse, in_use
from inventory.models import Service
from inventory.snapshot import service_spec

# A figure shows at most so many decisions, those that change something first.
MAX_DECISIONS: Final = 900
MAX_FREEZES: Final = 50
DECISION_MARGIN: Final = timedelta(minutes=15)

_COUNTED: Final = ("desired", "ready", "starting", "held", "reporting", "expected")
_ROLES: Final = (Role.PREFILL, Role.DECODE)
_COUNT_COLUMNS: Final = tuple(f"{role.value}_{what}" for what in _COUNTED for role in _ROLES)
_SIGNAL_COLUMNS: Final = tuple(kind.name for kind in SIGNALS)


class UnknownServiceError(LookupError):
    """No service has this slug."""


class UnknownDecisionError(LookupError):
    """No decision has this number."""


class BrokenServiceError(ValueError):
    """The service can't be drawn; the message says what to complete or to enter."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a reader wants to see: of whom, from when until when, as of which moment.

    ``tick_s`` is the time between two samples and ``window_s`` the evaluation window [s].
    ``runs`` are the places of a backtest's policies; none means all. ``cluster`` and ``hardware``
    are slugs; none means all. ``filters`` choose decisions.
    """

    since: datetime
    until: datetime
    now: datetime
    tick_s: float
    window_s: float
    service: str = ""
    decision: int = 0
    page: int = 1
    backtest: str = ""
    runs: tuple[int, ...] = ()
    cluster: str = ""
    hardware: str = ""
    filters: Filters = NONE


@dataclass(frozen=True, slots=True)
class DecisionMark:
    """One decision on a time axis; identical holds in a row are one, ``count`` of them."""

    pk: int
    service: str
    first_s: float
    last_s: float
    count: int
    move: str
    gate: str
    code: str
    sentence: str
    current: Instances
    raw: Instances
    final: Instances
    failed: bool
    then: Instances | None = None

    @property
    def url(self) -> str:
        """The page of the decision."""
        return f"/decisions/{self.pk}/"


@dataclass(frozen=True, slots=True)
class FreezeSpan:
    """A stop of automatic change, or an override, whose ``word`` says what it does.

    ``until_s`` is absent while a stop lasts.
    """

    scope: str
    by: str
    reason: str
    since_s: float
    until_s: float | None
    word: str = "frozen"

    @property
    def is_stop(self) -> bool:
        """Whether nothing was changed meanwhile."""
        return self.word == "frozen"


@dataclass(frozen=True, slots=True)
class OutsideMark:
    """Counts that somebody else changed, as first seen."""

    at_s: float
    before: Instances
    after: Instances
    url: str


@dataclass(frozen=True, slots=True)
class ServiceSeries:
    """One service from ``since_s`` to ``until_s`` [s since the epoch], oldest first.

    ``times_s`` has shape ``(T,)``; ``desired``, ``ready``, ``starting``, ``held``, ``reporting``
    and ``expected`` have shape ``(2, T)``: (prefill, decode) instances. ``signals`` maps a
    signal's name to shape ``(T,)`` in its own unit, NaN where nothing was reported. ``step_s`` is
    the usual time between two samples [s]. ``left_out`` counts decisions of the range that are
    not listed. ``in_use`` are ratio and target in place of the policy's, where they adapt.
    """

    name: str
    spec: ServiceSpec
    since_s: float
    until_s: float
    step_s: float
    times_s: Floats
    desired: Counts
    ready: Counts
    starting: Counts
    held: Counts
    reporting: Counts
    expected: Counts
    signals: Mapping[str, Floats]
    decisions: tuple[DecisionMark, ...] = ()
    freezes: tuple[FreezeSpan, ...] = ()
    outside: tuple[OutsideMark, ...] = ()
    left_out: int = 0
    in_use: InUse | None = None


@dataclass(frozen=True, slots=True)
class StepRow:
    """One row of a decision's constraint table."""

    name: str
    before: Instances
    after: Instances
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class InputRow:
    """One signal a decision read; ``value`` is absent where it had none."""

    name: str
    role: str
    value: float | None
    unit: str
    age_s: float | None
    quality: str


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision with its steps and inputs."""

    mark: DecisionMark
    name: str
    driver: str
    steps: tuple[StepRow, ...]
    inputs: tuple[InputRow, ...]


@dataclass(frozen=True, slots=True)
class DecisionWindow:
    """A decision and its service ±15 min around it; ``window_s`` [s] is what was evaluated."""

    record: DecisionRecord
    series: ServiceSeries
    window_s: float


def service_series(ask: Ask) -> ServiceSeries:
    """Read one service over a range with its decisions and freezes; nine queries at most."""
    service = _service(ask.service)
    return _series(service, ask)


def decision_record(ask: Ask) -> DecisionRecord:
    """Read one decision with its steps and inputs."""
    row = _decision(ask.decision)
    return _record(row)


def decision_window(ask: Ask) -> DecisionWindow:
    """Read the samples ±15 min around one decision."""
    row = _decision(ask.decision)
    around = Ask(
        since=row.first_at - DECISION_MARGIN,
        until=min(row.first_at + DECISION_MARGIN, max(ask.now, row.first_at)),
        now=ask.now,
        tick_s=ask.tick_s,
        window_s=ask.window_s,
    )
    service = _service(row.service.slug)
    series = _series(service, around, row)
    return DecisionWindow(_record(row), series, ask.window_s)


def marks(chosen: Q, ask: Ask, *, holds: bool) -> tuple[tuple[DecisionMark, ...], int]:
    """Read the decisions of a range, oldest first, and how many more there are."""
    rows = Decision.objects.filter(chosen, last_at__gte=ask.since, first_at__lte=ask.until)
    if not holds:
        rows = rows.exclude(move="hold")
    failed = Action.objects.filter(decision=OuterRef("pk"), state=ActionState.FAILED)
    quiet = Case(When(move="hold", then=Value(1)), default=Value(0))
    newest = list(
        rows.select_related("service")
        .defer("inputs", "steps")
        .annotate(failed=Exists(failed), quiet=quiet)
        .order_by("quiet", "-last_at", "-id")[: MAX_DECISIONS + 1]
    )
    more = rows.count() - MAX_DECISIONS if len(newest) > MAX_DECISIONS else 0
    found = [_mark(row, failed=row.failed) for row in newest[:MAX_DECISIONS]]
    return tuple(sorted(found, key=lambda mark: (mark.first_s, mark.pk))), more


def _service(slug: str) -> Service:
    row = (
        Service.objects.select_related("cluster", "slo", "policy")
        .prefetch_related(
            "roles__hardware", "roles__alternatives__hardware", "roles__parts__hardware"
        )
        .filter(slug=slug)
        .first()
    )
    if row is None:
        raise UnknownServiceError(slug)
    return row


def _decision(pk: int) -> Decision:
    row = Decision.objects.select_related("service").filter(pk=pk).first()
    if row is None:
        raise UnknownDecisionError(str(pk))
    return row


def _series(service: Service, ask: Ask, decision: Decision | None = None) -> ServiceSeries:
    """Read one service with its decisions and freezes, or what a single decision is shown by."""
    decisions = decision is None
    try:
        spec = service_spec(service)
    except (ObjectDoesNotExist, KeyError) as fault:
        text = "The service lacks its SLO, its policy or a role: complete its configuration."
        raise BrokenServiceError(text) from fault
    except ValueError as fault:
        raise BrokenServiceError(f"The configuration can't be read: {fault}.") from fault
    # Unusable numbers leave a line out; of a signal nobody knows there is nothing to draw.
    if spec.policy.driver not in SIGNAL_INDEX:
        said = next(one.message for one in validate_policy(spec.policy) if one.field == "driver")
        raise BrokenServiceError(f"The configuration can't be used: {said}.")
    columns = _samples(service, ask)
    counts = {
        what: columns[1 + 2 * i : 3 + 2 * i].astype(np.int64) for i, what in enumerate(_COUNTED)
    }
    first_signal = 1 + len(_COUNT_COLUMNS)
    found, more = marks(Q(service=service), ask, holds=True) if decisions else ((), 0)
    return ServiceSeries(
        name=service.name,
        spec=spec,
        since_s=ask.since.timestamp(),
        until_s=ask.until.timestamp(),
        step_s=_step_s(columns[0], ask.tick_s),
        times_s=columns[0],
        **counts,
        signals={name: columns[first_signal + i] for i, name in enumerate(_SIGNAL_COLUMNS)},
        decisions=found,
        freezes=(*_freezes(service, ask), *_overrides(service, ask)) if decisions else (),
        outside=_outside(service, ask) if decisions else (),
        left_out=more,
        in_use=in_use(service, decision),
    )


def _samples(service: Service, ask: Ask) -> Floats:
    """Return the samples as columns, shape ``(1 + counts + signals, T)``, the time first."""
    names = ("at", *_COUNT_COLUMNS, *_SIGNAL_COLUMNS)
    rows = (
        Sample.objects.filter(service=service, at__gte=ask.since, at__lte=ask.until)
        .order_by("at")
        .values_list(*names)
    )
    table = [(at.timestamp(), *rest) for at, *rest in rows.iterator(chunk_size=5_000)]
    if not table:
        return np.empty((len(names), 0))
    return np.array(table, dtype=np.float64).T.copy()


def _step_s(times_s: Floats, tick_s: float) -> float:
    """Return the usual time between samples [s]: the tick, or more where history is coarser."""
    if len(times_s) < 3:  # noqa: PLR2004 - too few to speak of a usual time
        return tick_s
    return max(tick_s, float(np.median(np.diff(times_s))))


def _overrides(service: Service, ask: Ask) -> tuple[FreezeSpan, ...]:
    rows = Override.objects.filter(
        chain_of(service).covering,
        Q(ended_at=None) | Q(ended_at__gte=ask.since),
        ends_at__gte=ask.since,
        starts_at__lte=ask.until,
    ).select_related("service", "cluster", "region")[:MAX_FREEZES]
    return tuple(
        FreezeSpan(
            scope=row.scope,
            by=row.by_name,
            reason=row.reason,
            since_s=row.starts_at.timestamp(),
            until_s=(row.ended_at or row.ends_at).timestamp(),
            word=_word(row),
        )
        for row in rows
    )


def _outside(service: Service, ask: Ask) -> tuple[OutsideMark, ...]:
    rows = OutsideChange.objects.filter(
        service=service, seen_at__gte=ask.since, seen_at__lte=ask.until
    )[:MAX_FREEZES]
    return tuple(
        OutsideMark(
            row.seen_at.timestamp(),
            *row.ends,
            reverse("outside-change", args=[service.slug, row.pk]),
        )
        for row in rows
    )


def _word(row: Override) -> str:
    if row.kind == OverrideKind.FREEZE:
        return "frozen"
    return f"{title_of(row.kind)} {values_words(row.kind, row.values)}".strip()


def _freezes(service: Service, ask: Ask) -> tuple[FreezeSpan, ...]:
    rows = Freeze.objects.filter(
        chain_of(service).covering,
        Q(ended_at=None) | Q(ended_at__gte=ask.since),
        since__lte=ask.until,
    ).select_related("service", "cluster", "region")[:MAX_FREEZES]
    return tuple(
        FreezeSpan(
            scope=row.scope,
            by=row.by_name,
            reason=row.reason,
            since_s=row.since.timestamp(),
            until_s=row.ended_at.timestamp() if row.ended_at else None,
        )
        for row in rows
    )


def _mark(row: Decision, *, failed: bool) -> DecisionMark:
    return DecisionMark(
        pk=row.pk,
        service=row.service.slug,
        first_s=row.first_at.timestamp(),
        last_s=row.last_at.timestamp(),
        count=row.count,
        move=row.move,
        gate=row.gate,
        code=row.code,
        sentence=row.sentence,
        current=Instances(row.current_prefill, row.current_decode),
        raw=Instances(row.raw_prefill, row.raw_decode),
        final=Instances(row.final_prefill, row.final_decode),
        failed=failed,
        then=row.then,
    )


def _record(row: Decision) -> DecisionRecord:
    failed = row.actions.filter(state=ActionState.FAILED).exists()
    return DecisionRecord(
        mark=_mark(row, failed=failed),
        name=row.service.name,
        driver=row.driver,
        steps=tuple(
            StepRow(
                name=str(step.get("name", "")),
                before=_pair(step["before"]),
                after=_pair(step["after"]),
                code=str(step.get("code", "")),
                detail=str(step.get("detail", "")),
            )
            for step in row.steps
        ),
        inputs=tuple(
            InputRow(
                name=str(given.get("name", "")),
                role=str(given.get("role", "")),
                value=given.get("value"),
                unit=str(given.get("unit", "")),
                age_s=given.get("age_s"),
                quality=str(given.get("quality", "")),
            )
            for given in row.inputs
        ),
    )


def _pair(given: Mapping[str, int]) -> Instances:
    return Instances(int(given["prefill"]), int(given["decode"]))
