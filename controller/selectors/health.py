"""Whether the product works, and the figures a monitoring system scrapes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Q
from django.db.models.functions import Now
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.core.decision_plain import stage_from
from controller.core.lifecycle import ActionState, ProposalState, SuggestionState
from controller.models import (
    Action,
    Breaker,
    DecisionTally,
    EndpointStatus,
    PolicySuggestion,
    Proposal,
    ServiceStatus,
    Tick,
)
from controller.models.clock import database_now
from controller.selectors import schema
from inventory.models import Workload

_UP = {"ok": 1.0, "partial": 0.5, "failed": 0.0}
LATE_AFTER = 4
"""A loop that missed this many periods has stopped."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a load balancer needs: an answer, and why not."""

    ready: bool
    checks: dict[str, str]


def readiness() -> Readiness:
    """Check the database; the loop's age is told but does not take the pages away."""
    differs = schema.difference()
    if differs is not None:
        return Readiness(ready=False, checks={"database": differs.sentence})
    age_s = loop_age_s()
    late = age_s is None or age_s > LATE_AFTER * settings.TICK_S
    loop = "no tick yet" if age_s is None else f"{age_s:.0f} s ago"
    database = "can only be read" if _is_read_only() else "ok"
    return Readiness(
        ready=True, checks={"database": database, "loop": f"late: {loop}" if late else loop}
    )


def _is_read_only() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        return bool(cursor.fetchone() == ("on",))


def loop_age_s() -> float | None:
    """Return the age of the newest finished tick [s] by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM statement_timestamp() - at)::float8 FROM controller_tick"
            " WHERE finished_at IS NOT NULL ORDER BY slot DESC LIMIT 1"
        )
        row = cursor.fetchone()
    return float(row[0]) if row else None


class FleetCollector:
    """Figures read from the rows at each scrape; ten queries however large the fleet is."""

    def collect(self) -> Iterator[Metric]:
        """Return every family of ``/metrics``."""
        yield from _loop()
        yield _decisions()
        yield _states("heteroscale_proposals_open", "Open proposals.", _open_proposals())
        suggestions = PolicySuggestion.objects.filter(
            state=SuggestionState.OPEN, expires_at__gt=Now()
        )
        yield _gauge(
            "heteroscale_policy_suggestions_open",
            "Open policy suggestions.",
            suggestions.count(),
        )
        yield _gauge(
            "heteroscale_breakers_open",
            "Open circuit breakers.",
            Breaker.objects.filter(ended_at=None).count(),
        )
        yield _states("heteroscale_actions", "Actions by state.", _by_state())
        yield from _services()
        yield from _sources()


def _loop() -> Iterator[Metric]:
    age_s = loop_age_s()
    if age_s is not None:
        yield _gauge("heteroscale_loop_age_seconds", "Time since the newest finished tick.", age_s)
    last = Tick.objects.filter(finished_at__isnull=False).order_by("-slot").first()
    if last is None:
        return
    stages = GaugeMetricFamily(
        "heteroscale_tick_stage_seconds", "Time of the newest tick by stage.", labels=["stage"]
    )
    for stage, spent_ms in last.stages_ms.items():
        stages.add_metric([stage], spent_ms / 1000)
    yield stages
    if last.services:
        share = last.fresh / last.services
        yield _gauge(
            "heteroscale_metrics_fresh_ratio", "Share of services with a driver ok.", share
        )


def _decisions() -> Metric:
    family = CounterMetricFamily(
        "heteroscale_decisions",
        "Decisions by action and reason code.",
        labels=["action", "reason"],
    )
    for row in DecisionTally.objects.all():
        family.add_metric([row.move, row.code], row.total)
    return family


def _states(name: str, text: str, counts: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    for state, count in counts.items():
        family.add_metric([state], count)
    return family


def _open_proposals() -> dict[str, int]:
    wanted = (ProposalState.PENDING, ProposalState.APPROVED, ProposalState.APPLYING)
    found = dict(
        Proposal.objects.filter(state__in=wanted)
        .values_list("state")
        .annotate(n=Count("pk"))
        .order_by()
    )
    return {str(state): found.get(state, 0) for state in wanted}


def _by_state() -> dict[str, int]:
    # An applied action that a later one overtook waits for nothing any more.
    overtaken = Q(state=ActionState.APPLIED, ended_at__isnull=False)
    counted = Action.objects.exclude(overtaken).values_list("state")
    found = dict(counted.annotate(n=Count("pk")).order_by())
    return {str(state): found.get(state, 0) for state in ActionState}


def _services() -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "heteroscale_signal_age_seconds",
        "Age of the newest sample of a signal.",
        labels=["service", "signal"],
    )
    instances = GaugeMetricFamily(
        "heteroscale_instances", "Instances by state.", labels=["service", "role", "state"]
    )
    info = GaugeMetricFamily(
        "heteroscale_instance_info",
        "One series an instance, to join other series to service and role.",
        labels=["service", "role", "group", "namespace", "pod", "node", "state"],
    )
    now_s, waiting = database_now().timestamp(), 0
    seen = ServiceStatus.objects.filter(observed_at__isnull=False)
    namespaces = _namespaces()
    for row in seen.select_related("service__cluster"):
        slug, cluster = row.service.slug, row.service.cluster.slug
        stage = stage_from(row.exchange)
        waiting += stage is not None and now_s < stage.until_s
        for name, signal in row.signals.items():
            if signal["measured_at_s"] is not None:
                age.add_metric([slug, name], max(now_s - signal["measured_at_s"], 0.0))
        for role in ("prefill", "decode"):
            for state in ("desired", "ready", "starting", "held", "draining", "failed"):
                instances.add_metric([slug, role, state], getattr(row, f"{role}_{state}"))
        for one in row.instances:
            namespace = namespaces.get((row.service_id, one["role"]), cluster)
            where = [one["group"], namespace, one["name"], one["node"], one["state"]]
            info.add_metric([slug, one["role"], *where], 1)
    yield from (age, instances, info)
    yield _gauge(
        "heteroscale_exchanges_waiting",
        "Exchanges whose second half waits for its GPUs.",
        waiting,
    )


def _namespaces() -> Mapping[tuple[UUID, str], str]:
    """Return where the pods of each service and role are, of those that have workloads."""
    rows = Workload.objects.order_by("pk").values_list("service", "role", "namespace")
    return {(service, role): namespace for service, role, namespace in rows}


def _sources() -> Iterator[Metric]:
    up, age, took = (
        GaugeMetricFamily(f"heteroscale_source_{name}", text, labels=["source"])
        for name, text in (
            ("up", "Whether an endpoint of metrics answers: 1 in full, 0.5 in part, 0 not."),
            ("age_seconds", "Age of the newest sample of an endpoint."),
            ("duration_seconds", "How long the last look at an endpoint took."),
        )
    )
    now = database_now()
    rows = EndpointStatus.objects.filter(endpoint__enabled=True).select_related("endpoint")
    for row in rows.order_by("endpoint__slug"):
        source = [row.endpoint.slug]
        up.add_metric(source, _UP[row.state])
        if row.newest_at is not None:
            age.add_metric(source, max((now - row.newest_at).total_seconds(), 0.0))
        if row.took_ms is not None:
            took.add_metric(source, row.took_ms / 1000)
    yield from (up, age, took)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
