"""Names to objects: which source answers for a cluster, and which actuator acts on it."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

import numpy as np
import structlog
from django.conf import settings

from controller.adapters import in_flight, trying
from controller.adapters.actuators.kubernetes import Known, Kubernetes
from controller.adapters.actuators.record import RecordOnly
from controller.adapters.fleet.kubernetes.source import Kept, KubernetesSource
from controller.adapters.kube.api import Api, Pause, UnreachableError
from controller.adapters.kube.discovery import KubeDiscovery
from controller.adapters.kube.offered import nodes as listed_nodes
from controller.adapters.kube.offered import nodes_under as pods_by_node
from controller.adapters.kube.offered import offered
from controller.adapters.measured import Measured, Pace, Reader, Terms
from controller.adapters.metrics.nothing import NoSource
from controller.adapters.metrics.prometheus import in_flight as prometheus_in_flight
from controller.adapters.metrics.prometheus import promql
from controller.adapters.metrics.prometheus.about import version_of
from controller.adapters.metrics.prometheus.client import Endpoint, SourceError
from controller.adapters.metrics.prometheus.nodes import reporting_at
from controller.adapters.metrics.prometheus.source import endpoint_of, read_source
from controller.adapters.metrics.prometheus.survey import DEADLINE_S, survey
from controller.adapters.metrics.prometheus.who import who
from controller.adapters.metrics.scrape import in_flight as scraped_in_flight
from controller.adapters.metrics.scrape import reader as scraping
from controller.adapters.turn import Turn
from controller.core.breaker import Thresholds
from controller.core.budgets import FleetRules
from controller.core.counted_pools import NodeGpus, Place, counted_pools
from controller.core.kube.offers import Offer, Offered
from controller.core.ports import Actuator, Discovery, MetricsSource, Pool, RefusedError, View
from controller.core.reach import Reach
from controller.core.readings.asking import Reading, Scope, Wanted
from controller.core.readings.detection import Detection, UnansweredError, detect
from controller.core.readings.in_flight import Question
from controller.core.readings.recipe import Leaf
from controller.core.readings.sources import EndpointKind, Plan, Source, Use
from controller.core.readings.trying import Ready, SourceTrial, Trial
from controller.core.types import ROLES, Observation, ServiceSpec
from controller.models.clock import database_now
from controller.selectors.profiles import every_profile
from controller.selectors.recordings import recorded_load
from controller.services import (
    cluster_access,
    metrics_plan,
    sights,
    simulated,
    withdrawing,
    workloads,
)
from controller.services.backtest_load import Sources
from controller.services.cluster_pause import RowPause
from controller.simulator.engines import OpenEngines
from controller.simulator.ports import SimulatedCluster, SimulatorSource
from controller.simulator.profile_file import ProfileError
from controller.simulator.profiles import PROFILES
from inventory.models import Cluster, ClusterAccess, MetricsEndpoint, Service

TRY_S = 5.0
"""So long a person waits for a test."""
LOAD_S = 3.0
"""So long a worker waits to hear what instances that are to go still work on."""
LIST_S = 10.0
"""So long a person waits for all objects of a cluster."""

log = structlog.get_logger(__name__)

_OPENED: Final[dict[tuple[int, UUID], tuple[tuple[UUID, int], Api]]] = {}
_OPENED_LOCK: Final = threading.Lock()

METRICS: Mapping[str, Callable[[OpenEngines], MetricsSource]] = {
    Cluster.Kind.SIMULATED: lambda lend: SimulatorSource(lend, window_s=settings.WINDOW_S),
    Cluster.Kind.RECORD: lambda _: NoSource(),
    Cluster.Kind.KUBERNETES: lambda _: KubernetesSource(
        Kept(sights.sights_of, watched_pools, settings.MAX_AGE_S)
    ),
}
ACTUATORS: Mapping[str, Callable[[OpenEngines], Actuator]] = {
    Cluster.Kind.SIMULATED: SimulatedCluster,
    Cluster.Kind.RECORD: lambda _: RecordOnly(),
    Cluster.Kind.KUBERNETES: lambda _: Kubernetes(known_of),
}


class EveryCluster:
    """Asks the source of each kind of cluster for its own services; a dead one hurts no other."""

    def __init__(self, sources: Mapping[str, MetricsSource], kinds: Mapping[str, str]) -> None:
        self._sources = sources
        self._kinds = kinds

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return what all sources saw, as one view."""
        observations: dict[str, Observation] = {}
        failures: dict[str, str] = {}
        pools: list[Pool] = []
        rivals: dict[str, Sequence[str]] = {}
        for kind, source in self._sources.items():
            asked = [spec for spec in services if self._kinds[spec.cluster] == kind]
            if not asked:
                continue
            try:
                view = source.observe(asked, now_s=now_s)
            except Exception as fault:  # noqa: BLE001 - a failing source must not stop the others (S24)
                text = f"The {kind} source failed: {type(fault).__name__}: {fault}"
                failures |= {spec.key: text for spec in asked}
                continue
            observations |= view.observations
            failures |= view.failures
            pools += view.pools
            rivals |= view.rivals
        return View(observations, pools, failures, rivals=rivals)


def metrics_source(
    kinds: Mapping[str, str], *, lend: OpenEngines = simulated.lend
) -> MetricsSource:
    """Return the source for all clusters, given the kind of each by slug; at most five queries."""
    clusters = cluster_source(kinds, lend)
    plan = metrics_plan.plan()
    if not plan.uses and not plan.broken:
        return clusters
    counting = frozenset(slug for slug, kind in kinds.items() if kind == Cluster.Kind.RECORD)
    terms = Terms(readers(plan), pace(), turn_of, counting, recorded_pools)
    return Measured(clusters, plan, metrics_plan.standings(), terms)


def recorded_pools(held: Mapping[Place, int]) -> Sequence[Pool]:
    """Return the pools of clusters that only record, given the GPUs held there; one query."""
    return _counted(Cluster.Kind.RECORD, held)


def watched_pools(held: Mapping[Place, int]) -> Sequence[Pool]:
    """Return the pools of clusters of Kubernetes, given the GPUs held there; one query.

    Nodes are as the inventory has them, which follows the cluster's own.
    """
    return _counted(Cluster.Kind.KUBERNETES, held)


def _counted(kind: str, held: Mapping[Place, int]) -> Sequence[Pool]:
    nodes = [
        NodeGpus((node.cluster, node.hardware), node.s1, node.gpus, node.state)
        for node in simulated.node_specs(kind)
        if node.hardware
    ]
    return counted_pools(nodes, held)


def cluster_source(kinds: Mapping[str, str], lend: OpenEngines) -> MetricsSource:
    """Return what the clusters tell by themselves, whatever endpoints there are."""
    return EveryCluster({kind: build(lend) for kind, build in METRICS.items()}, kinds)


def readers(plan: Plan) -> Mapping[EndpointKind, Reader]:
    """Return who reads each kind of endpoint; what scrapes remember is read here, once."""
    remembered = metrics_plan.marks(plan.sources.values())

    def scrape(source: Source, wanted: Wanted, turn: Turn) -> Reading:
        reading, marks = scraping.read(source, wanted, turn, remembered.get(source.name))
        return replace(reading, marks=marks)

    return {EndpointKind.PROMETHEUS: read_source, EndpointKind.SCRAPE: scrape}


def pace() -> Pace:
    """Return how often and over how long signals are sampled."""
    samples = max(round(settings.WINDOW_S / settings.TICK_S), 2)
    return Pace(settings.TICK_S, samples, settings.WINDOW_S)


def turn_of(now_s: float, *, within_s: float | None = None) -> Turn:
    """Return a look at endpoints that begins now and ends in time for the tick."""
    until = time.monotonic() + (settings.OBSERVE_S if within_s is None else within_s)
    rng = np.random.default_rng()
    return Turn(now_s, until, rng, time.sleep, within=settings.METRICS_REACH)


def detected(source: Source, now_s: float, within: Reach) -> Detection:
    """Return what the last 24 h of a Prometheus propose, within 20 s.

    Raises :class:`UnansweredError` when it can't be asked at all.
    """
    turn = replace(turn_of(now_s, within_s=DEADLINE_S), within=within)
    try:
        return detect(survey(endpoint_of(source), turn))
    except SourceError as fault:
        raise UnansweredError(str(fault)) from None


def fleet_rules() -> FleetRules:
    """Return what the settings allow all services together."""
    return FleetRules(settings.REMOVAL_FRAC, settings.REMOVAL_WINDOW_S, settings.MAX_GPUS or None)


def breaker_thresholds() -> Thresholds:
    """Return from when on the settings let the controller stop itself."""
    return Thresholds(**settings.BREAKER)


def simulated_cluster(lend: OpenEngines) -> Actuator:
    """Return the actuator of engines that are lent by somebody else than the rows."""
    return ACTUATORS[Cluster.Kind.SIMULATED](lend)


def actuator_of(service: Service, *, lend: OpenEngines = simulated.lend) -> Actuator:
    """Return who acts on the cluster of a service."""
    return ACTUATORS[service.cluster.kind](lend)


def discovery_of(service: Service) -> Discovery | None:
    """Return who lets instances of a service into service discovery, where its cluster can."""
    if service.cluster.kind != Cluster.Kind.KUBERNETES:
        return None
    return KubeDiscovery(lambda _: (api_of(service.cluster), workloads.refs_of(service)))


def softly() -> withdrawing.Tools:
    """Return who carries actions out, and how long instances are watched before they go."""
    return withdrawing.Tools(
        actuator_of=actuator_of,
        discovery_of=discovery_of,
        window_s=settings.SOFT_S,
        drain_s=settings.DRAIN_S,
        max_age_s=settings.MAX_AGE_S,
        load_of=load_of,
    )


def load_of(service: Service, names: Sequence[str]) -> int | None:
    """Return how many requests instances still work on by their own gauges, within ``LOAD_S``.

    ``None`` where that is not known of each of them. Of one that is several pods it is not: an
    engine may have ranks in each of them, and nobody knows how many. Six queries.
    """
    if workloads.in_groups(service, names):
        return None
    turn = turn_of(database_now().timestamp(), within_s=LOAD_S)
    plan, standings = metrics_plan.plan(), metrics_plan.standings()
    due = {
        name: source
        for name, source in plan.sources.items()
        if name not in standings or not standings[name].rests(turn.now_s)
    }

    def asked(source: Source, question: Question, turn: Turn) -> Mapping[str, int]:
        endpoint = endpoint_of(source)
        return prometheus_in_flight.in_flight(endpoint, source.attach, question, turn)

    asking = in_flight.Asking(
        {EndpointKind.PROMETHEUS: asked, EndpointKind.SCRAPE: scraped_in_flight.in_flight},
        settings.MAX_AGE_S,
    )
    return in_flight.in_flight(replace(plan, sources=due), service.slug, names, asking, turn)


def api_of(cluster: Cluster) -> Api:
    """Return who speaks to the API server of a cluster, the same one until its access changes.

    One query. Raises :class:`UnreachableError` where nobody said how it is reached, or what was
    said can't be used any more.
    """
    row = ClusterAccess.objects.select_related("cluster").filter(cluster=cluster).first()
    if row is None:
        text = f"Nobody said how {cluster.slug} is reached: connect it."
        raise UnreachableError(text, sent=False)
    key, version = (os.getpid(), cluster.pk), (row.pk, row.version)
    with _OPENED_LOCK:
        kept = _OPENED.get(key)
        if kept is None or kept[0] != version:
            # The former one may serve another thread still, and closes when that is done.
            kept = _OPENED[key] = version, new_api(row)
    return kept[1]


def known_of(slug: str) -> Known:
    """Return the API server and the workloads of a service; three queries.

    Raises :class:`RefusedError` where nobody chose its workloads, or they can't be used.
    """
    service = Service.objects.select_related("cluster").get(slug=slug)
    try:
        refs = workloads.refs_of(service)
        api = api_of(service.cluster)
    except ValueError as fault:
        raise RefusedError(f"a workload of {slug} can't be used: {fault}") from None
    except UnreachableError as fault:
        raise RefusedError(fault.text) from None
    if {ref.role for ref in refs} != set(ROLES):
        raise RefusedError(f"choose the workloads of both roles of {slug} first.")
    return Known(api, refs)


def offers_of(cluster: Cluster) -> Offered:
    """Return the workloads of a cluster that may become services, within 10 s.

    Raises :class:`KubeError`.
    """
    access = ClusterAccess.objects.get(cluster=cluster)
    return offered(api_of(cluster), access.namespaces, until=time.monotonic() + LIST_S)


def nodes_of(cluster: Cluster) -> bytes:
    """Return the nodes of a cluster as a file that imports read. Raises :class:`KubeError`."""
    return listed_nodes(api_of(cluster), until=time.monotonic() + LIST_S)


def nodes_under(cluster: Cluster, offer: Offer) -> Mapping[str, int]:
    """Return how many pods of a workload run on each node. Raises :class:`KubeError`."""
    return pods_by_node(api_of(cluster), offer, until=time.monotonic() + TRY_S)


def new_api(row: ClusterAccess, pause: Pause | None = None) -> Api:
    """Return who speaks to an API server as a row says. Raises :class:`UnreachableError`."""
    try:
        credentials = cluster_access.credentials_of(row)
    except cluster_access.UnusableError as fault:
        raise UnreachableError(str(fault), sent=False) from None
    return Api(credentials, pause=pause or RowPause(row.cluster_id))


def backtest_sources() -> Sources:
    """Return what questions of backtests are made of, as it is now; one query.

    A kept profile that can't be read hides all kept ones, and no page.
    """
    try:
        profiles = every_profile()
    except ProfileError as fault:
        log.warning("kept profiles left out", fault=str(fault))
        profiles = PROFILES
    return Sources(profiles, recorded_load)


def trial_of(service: Service, uses: Sequence[Use], ready: Ready) -> Trial:
    """Return what a service has now at what it would read from, within ``TRY_S``.

    Raises :class:`controller.services.metrics_plan.UnusableError` for an endpoint that can't be
    used as it is kept, and nothing for what endpoints answer.
    """
    rows = MetricsEndpoint.objects.filter(slug__in={use.source for use in uses})
    sources = {row.slug: metrics_plan.source_of(row) for row in rows}
    plan = Plan(sources, {service.slug: [use for use in uses if use.source in sources]})
    turn = turn_of(database_now().timestamp(), within_s=TRY_S)
    return trying.try_service(plan, service.slug, ready, _trying(plan), turn)


def source_trial_of(row: MetricsEndpoint, services: Sequence[str]) -> SourceTrial:
    """Return whether an endpoint answers, and what it knows of services of these names.

    Raises as :func:`trial_of`.
    """
    source = metrics_plan.source_of(row)
    turn = turn_of(database_now().timestamp(), within_s=TRY_S)
    return trying.try_source(source, services, _trying(Plan({source.name: source}, {})), turn)


def hosts_at(rows: Sequence[MetricsEndpoint]) -> dict[str, Sequence[Mapping[str, str]] | str]:
    """Return the labels of the hosts that report GPUs to each Prometheus, within ``TRY_S`` in all.

    In their place stands a sentence where one can't be asked, or did not answer.
    """
    turn = turn_of(database_now().timestamp(), within_s=TRY_S)
    found: dict[str, Sequence[Mapping[str, str]] | str] = {}
    endpoints: dict[str, Endpoint] = {}
    for row in rows:
        try:
            endpoints[row.slug] = endpoint_of(metrics_plan.source_of(row))
        except metrics_plan.UnusableError as fault:
            found[row.slug] = str(fault)
    return found | reporting_at(endpoints, turn)


def queries_of(source: Source, known_as: str, leaves: Iterable[Leaf]) -> Mapping[Leaf, str]:
    """Return what a Prometheus is asked for the values of each leaf, where it can be asked."""
    if source.kind is not EndpointKind.PROMETHEUS:
        return {}
    scope = Scope((known_as,), pace().over_s(source))
    found: dict[Leaf, str] = {}
    for leaf in leaves:
        try:
            found[leaf] = promql.query(promql.Ask(leaf, source.attach, promql.Form.VALUES), scope)
        except promql.AttachError as fault:
            found[leaf] = f"# {fault}"
    return found


def _trying(plan: Plan) -> trying.Trying:
    remembered = metrics_plan.marks(plan.sources.values())

    def scraped(source: Source, wanted: Wanted, turn: Turn) -> trying.Named:
        found = scraping.who(source, wanted, turn, remembered.get(source.name))
        return dict(found.items())

    def asked_who(source: Source, wanted: Wanted, turn: Turn) -> trying.Named:
        return who(endpoint_of(source), wanted, turn)

    def version(source: Source, turn: Turn) -> str:
        if source.kind is not EndpointKind.PROMETHEUS:
            return ""
        return version_of(endpoint_of(source), turn)

    terms = Terms(readers(plan), pace(), turn_of)
    return trying.Trying(
        terms,
        {EndpointKind.SCRAPE: scraped, EndpointKind.PROMETHEUS: asked_who},
        version,
        max_age_s=settings.MAX_AGE_S,
    )
