"""Services as the tables and the service page show them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q, QuerySet

from controller.core import phrases
from controller.core.config_check import validate_policy
from controller.core.overrides import fault_of, told
from controller.core.types import Quality
from controller.models import Decision, Proposal, ServiceStatus, holds
from controller.models.steering import OPEN_PROPOSAL
from controller.selectors.in_use import set_ratio
from controller.selectors.sparklines import Sparkline, read_sparklines
from controller.selectors.stops import Stop, over, read_stops
from inventory.models import Cluster, Service
from inventory.snapshot import policy_config

NEAR_FRAC: Final = 0.9
TRUSTED: Final = frozenset({Quality.OK, Quality.PARTIAL})
# How bad a service is, for "worst first".
BREACH, FAILED, BLIND, ASKS, NEAR, FROZEN, CALM = range(7)
OVERVIEW: Final = 40
"""More rows would make the overview heavier than a slow line carries at once."""


@dataclass(frozen=True, slots=True)
class Latency:
    """One latency against its goal. ``value_s`` is absent when it is unknown or too old."""

    name: str
    value_s: float | None
    goal_s: float | None
    breach_since: datetime | None
    last_s: float | None = None
    measured_at: datetime | None = None

    @property
    def tone(self) -> str:
        """The state: ok, warn (from 90 % of the goal), crit (over it) or muted (unknown)."""
        if self.value_s is None or self.goal_s is None:
            return "muted"
        if self.value_s > self.goal_s:
            return "crit"
        return "warn" if self.value_s >= NEAR_FRAC * self.goal_s else "ok"

    @property
    def word(self) -> str:
        """The state in a word."""
        return {"ok": "within", "warn": "near", "crit": "over", "muted": "unknown"}[self.tone]


@dataclass(frozen=True, slots=True)
class RoleCounts:
    """Instances of one role as the cluster last reported them."""

    ready: int
    starting: int
    desired: int
    draining: int = 0
    failed: int = 0
    held: int = 0

    @property
    def settled(self) -> bool:
        """Whether what is ready is what was asked for."""
        return self.ready == self.desired and not self.starting and not self.draining


@dataclass(frozen=True, slots=True)
class RatioBand:
    """Prefill instances per decode instance within the band the policy allows."""

    value: float | None
    target: float
    low: float
    high: float
    set_by: str = ""
    """Who set this band over the policy's, until when and why; empty where it is the policy's."""

    @property
    def usable(self) -> bool:
        """Whether there is a band: a policy row can hold what no form would accept."""
        return 0 < self.low <= self.high < math.inf

    @property
    def outside(self) -> bool:
        """Whether the ratio is known and out of its band."""
        if self.value is None or not self.usable:
            return False
        return not self.low <= self.value <= self.high


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """A decision in one line of a table; identical holds share one with their count."""

    pk: int
    service: str
    first_at: datetime
    last_at: datetime
    count: int
    move: str
    gate: str
    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ProposalLine:
    """An open proposal in a few words."""

    pk: int
    state: str
    sentence: str
    before: tuple[int, int]
    after: tuple[int, int]
    then: tuple[int, int] | None
    created_at: datetime
    expires_at: datetime

    @property
    def change(self) -> str:
        """The change in words, both halves of an exchange: "decode 4 → 6, prefill 2 → 3"."""
        return phrases.halves(self.before, self.after, self.then)


@dataclass(frozen=True, slots=True)
class Metrics:
    """Whether the driver can be trusted: its quality and how many instances reported."""

    driver: str
    quality: str
    reporting: int
    expected: int
    measured_at: datetime | None

    @property
    def trusted(self) -> bool:
        """Whether the numbers may be read as now."""
        return self.quality in TRUSTED


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """One service now; ``stale`` means the cluster has not answered for two ticks.

    ``problem`` names the first unusable field of the policy and what to enter; empty when usable.
    """

    pk: UUID
    slug: str
    name: str
    model: str
    purpose: str
    cluster: str
    simulated: bool
    mode: str
    observed_at: datetime | None
    stale: bool
    failure: str
    ttft: Latency
    tbt: Latency
    prefill: RoleCounts
    decode: RoleCounts
    ratio: RatioBand | None
    metrics: Metrics
    last_change_at: datetime | None
    decision: DecisionLine | None = None
    freeze: Stop | None = None
    proposal: ProposalLine | None = None
    spark: Sparkline | None = None
    problem: str = ""

    @property
    def latencies(self) -> tuple[Latency, Latency]:
        """Both latencies, in the order they are told."""
        return (self.ttft, self.tbt)

    @property
    def unregistered(self) -> int:
        """Instances that are up and that nobody registers, as nothing is written of the service.

        The simulator registers its own.
        """
        if self.simulated or self.mode != Service.Mode.OBSERVE:
            return 0
        return self.prefill.held + self.decode.held

    @property
    def blind(self) -> bool:
        """Whether the controller cannot see this service well enough to judge it."""
        unknown = any(latency.tone == "muted" for latency in self.latencies)
        return self.stale or bool(self.failure) or not self.metrics.trusted or unknown

    @property
    def severity(self) -> int:
        """How much it needs a person: 0 a breach … 6 nothing."""
        tones = {latency.tone for latency in self.latencies}
        checks = (
            ("crit" in tones, BREACH),
            (bool(self.failure or self.problem), FAILED),
            (self.blind or self.metrics.quality == Quality.PARTIAL, BLIND),
            (self.proposal is not None, ASKS),
            ("warn" in tones, NEAR),
            (self.freeze is not None, FROZEN),
        )
        return next((rank for holds, rank in checks if holds), CALM)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reader narrowed the table to; empty strings narrow nothing."""

    text: str = ""
    mode: str = ""
    cluster: str = ""

    @property
    def active(self) -> Mapping[str, str]:
        """The filters in use, by the name a reader knows them by."""
        named = {"text": self.text, "mode": self.mode, "cluster": self.cluster}
        return {name: value for name, value in named.items() if value}


@dataclass(frozen=True, slots=True)
class Services:
    """The table: rows worst first, how many there are without filters, and the clusters."""

    rows: tuple[ServiceRow, ...]
    total: int
    filters: Filters = field(default_factory=Filters)
    clusters: tuple[str, ...] = ()

    @property
    def first(self) -> tuple[ServiceRow, ...]:
        """The rows the overview has room for, the worst."""
        return self.rows[:OVERVIEW]

    @property
    def further(self) -> int:
        """How many more there are."""
        return max(0, len(self.rows) - OVERVIEW)


def read_services(now: datetime, filters: Filters | None = None) -> Services:
    """Return the services a reader asked for, worst first; the query count is constant."""
    filters = filters or Filters()
    rows = read_rows(_narrowed(filters), now)
    total = Service.objects.count() if filters.active else len(rows)
    clusters = tuple(Cluster.objects.values_list("slug", flat=True).order_by("slug"))
    return Services(rows, total, filters, clusters)


def _narrowed(filters: Filters) -> QuerySet[Service]:
    found = Service.objects.all()
    if filters.text:
        text = filters.text
        found = found.filter(
            Q(slug__icontains=text) | Q(name__icontains=text) | Q(model_name__icontains=text)
        )
    if filters.cluster:
        found = found.filter(cluster__slug=filters.cluster)
    if filters.mode == "frozen":
        return found.filter(holds.held("pk"))
    return found.filter(mode=filters.mode) if filters.mode else found


def read_rows(found: QuerySet[Service], now: datetime) -> tuple[ServiceRow, ...]:
    """Return rows for the services of a query, worst first; four queries for any number."""
    services = list(
        found.select_related("cluster", "slo", "policy", "status__decision").order_by("slug")
    )
    pks = [service.pk for service in services]
    stops = read_stops()
    proposals = {
        proposal.service_id: proposal_line(proposal)
        for proposal in Proposal.objects.filter(service_id__in=pks, state__in=OPEN_PROPOSAL)
    }
    sparks = read_sparklines(pks, now)
    rows = (
        _row(
            service,
            now,
            freeze=over(stops, service),
            proposal=proposals.get(service.pk),
            spark=sparks.get(service.pk),
        )
        for service in services
    )
    return tuple(sorted(rows, key=lambda row: (row.severity, row.slug)))


def _row(
    service: Service,
    now: datetime,
    *,
    freeze: Stop | None,
    proposal: ProposalLine | None,
    spark: Sparkline | None,
) -> ServiceRow:
    status = _related(service, "status") or ServiceStatus(service=service)
    slo = _related(service, "slo")
    decision = status.decision
    return ServiceRow(
        pk=service.pk,
        slug=service.slug,
        name=service.name,
        model=service.model_name,
        purpose=service.purpose,
        cluster=service.cluster.slug,
        simulated=service.cluster.is_simulated,
        mode=service.mode,
        observed_at=status.observed_at,
        stale=is_stale(status.observed_at, now),
        failure=status.failure,
        ttft=_latency("TTFT", slo, status, now),
        tbt=_latency("TBT", slo, status, now),
        prefill=_counts(status, "prefill"),
        decode=_counts(status, "decode"),
        ratio=_ratio(_related(service, "policy"), status, now),
        metrics=_metrics(_related(service, "policy"), status, now),
        last_change_at=max(
            filter(None, (status.last_scale_out_at, status.last_scale_in_at)), default=None
        ),
        decision=decision_line(decision, service.slug) if decision else None,
        freeze=freeze,
        proposal=proposal,
        spark=spark,
        problem=_problem(_related(service, "policy")),
    )


def _problem(policy: Any) -> str:  # noqa: ANN401
    try:
        found = validate_policy(policy_config(policy)) if policy else []
    except ValueError as fault:
        return str(fault)
    return found[0].message if found else ""


def _related(service: Service, name: str) -> Any:  # noqa: ANN401 - whichever row it is
    try:
        return getattr(service, name)
    except ObjectDoesNotExist:
        return None


def is_stale(at: datetime | None, now: datetime) -> bool:
    """Return whether a state read at ``at`` is older than two ticks, or was never read."""
    return at is None or now - at > timedelta(seconds=2 * settings.TICK_S)


def _oldest_measurement(now: datetime) -> datetime:
    return now - timedelta(seconds=max(2 * settings.TICK_S, settings.MAX_AGE_S))


def _measured_at(signal: Mapping[str, Any]) -> datetime | None:
    at_s = signal.get("measured_at_s")
    return None if at_s is None else datetime.fromtimestamp(at_s, tz=UTC)


def _quality(signal: Mapping[str, Any], now: datetime) -> str:
    at = _measured_at(signal)
    if at is None or signal.get("value") is None:
        return str(signal.get("quality") or Quality.MISSING)
    if at < _oldest_measurement(now):
        return Quality.STALE
    return str(signal.get("quality") or Quality.MISSING)


def _latency(name: str, slo: Any, status: ServiceStatus, now: datetime) -> Latency:  # noqa: ANN401
    signal = status.signals.get(f"{name.lower()}_s") or {}
    value_s = signal.get("value")
    known = _quality(signal, now) in TRUSTED and value_s is not None
    return Latency(
        name=name,
        value_s=value_s if known else None,
        goal_s=getattr(slo, f"{name.lower()}_s", None),
        breach_since=getattr(status, f"{name.lower()}_breach_since"),
        last_s=value_s,
        measured_at=_measured_at(signal),
    )


def _counts(status: ServiceStatus, role: str) -> RoleCounts:
    names = ("ready", "starting", "desired", "draining", "failed", "held")
    return RoleCounts(**{name: getattr(status, f"{role}_{name}") for name in names})


def _ratio(policy: Any, status: ServiceStatus, now: datetime) -> RatioBand | None:  # noqa: ANN401
    if policy is None:
        return None
    value = status.prefill_ready / status.decode_ready if status.decode_ready else None
    one = set_ratio(status.decision, now)
    if one is not None and fault_of(one.kind, one.values) is None:
        low, high = one.values["min"], one.values["max"]
        return RatioBand(value, (low + high) / 2, low, high, told(one, now.timestamp()))
    spread = policy.ratio_tolerance * policy.pd_ratio
    return RatioBand(value, policy.pd_ratio, policy.pd_ratio - spread, policy.pd_ratio + spread)


def _metrics(policy: Any, status: ServiceStatus, now: datetime) -> Metrics:  # noqa: ANN401
    driver = policy.driver if policy else "decode_tps"
    signal = status.signals.get(driver) or {}
    return Metrics(
        driver=driver,
        quality=_quality(signal, now),
        reporting=signal.get("reporting", 0),
        expected=signal.get("expected", 0),
        measured_at=_measured_at(signal),
    )


def decision_line(decision: Decision, service: str) -> DecisionLine:
    """Return a decision as one line."""
    return DecisionLine(
        pk=decision.pk,
        service=service,
        first_at=decision.first_at,
        last_at=decision.last_at,
        count=decision.count,
        move=decision.move,
        gate=decision.gate,
        code=decision.code,
        sentence=decision.sentence,
    )


def proposal_line(proposal: Proposal) -> ProposalLine:
    """Return a proposal as one line."""
    return ProposalLine(
        pk=proposal.pk,
        state=proposal.state,
        sentence=proposal.sentence,
        before=(proposal.from_prefill, proposal.from_decode),
        after=(proposal.to_prefill, proposal.to_decode),
        then=proposal.then,
        created_at=proposal.created_at,
        expires_at=proposal.expires_at,
    )
