"""Ticks whose signals come from endpoints of metrics: what each fault leads to (M01 to M18)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import monotonic

import numpy as np
import pytest

from controller import loop, wiring
from controller.adapters.measured import Measured, Pace, Terms
from controller.adapters.turn import Turn
from controller.core.ports import MetricsSource
from controller.core.readings.asking import Reading, Wanted
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.sources import EndpointKind, Source
from controller.core.readings.tables import Answer, Buckets, Table
from controller.core.types import Role
from controller.models import (
    Decision,
    EndpointStatus,
    PoolSample,
    Sample,
    ScrapeMark,
    ServiceStatus,
    Tick,
)
from controller.services import leadership, metrics_plan
from inventory.models import Cluster, MetricsEndpoint, Service, ServiceMetrics
from tests.factories import make_hardware, make_nodes, make_service
from tests.sources import ArraySource

SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)
PACE = Pace(15.0, 4, 60.0)
BOUNDS = np.array([0.25, 0.5, np.inf])
COUNTS = {Role.PREFILL: 2, Role.DECODE: 4}
USUAL: Mapping[str, float] = {
    "vllm:generation_tokens_total": 4000.0,
    "vllm:prompt_tokens_total": 20_000.0,
    "vllm:prompt_tokens_by_source_total": 15_000.0,
    "vllm:request_success_total": 18.0,
    "vllm:num_requests_waiting": 0.0,
    "DCGM_FI_DEV_GPU_UTIL": 60.0,
    "up": 4.0,
}


@dataclass
class Endpoints:
    """Endpoints that answer every leaf alike; each may be broken."""

    values: dict[str, float] = field(default_factory=dict)
    age_s: float = 2.0
    share: float = 1.0
    without: Callable[[Leaf], bool] = lambda _: False
    partial: bool = False
    dead: dict[str, str] = field(default_factory=dict)
    stuck: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    silent: tuple[int, int] = (0, 1)
    unanswered: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()

    def read(self, source: Source, wanted: Wanted, turn: Turn) -> Reading:
        """Answer as Prometheus would."""
        self.asked.append(source.name)
        if source.name in self.stuck:
            threading.Event().wait(max(turn.until - monotonic(), 0.0) + 0.2)
        if source.name in self.dead:
            return Reading({}, told=(self.dead[source.name],))
        leaves = {
            leaf: self._answer(leaf, wanted)
            for leaf in wanted.leaves
            if leaf.names[0] not in self.unanswered
        }
        marks = b"marks" if source.kind is EndpointKind.SCRAPE else b""
        return Reading(
            leaves,
            frozenset(leaves) if self.partial else frozenset(),
            ("Looked.",),
            marks,
            self.silent,
        )

    def _answer(self, leaf: Leaf, wanted: Wanted) -> Answer:
        shape = (len(wanted.scope.services), wanted.grid.samples)
        at_s = np.broadcast_to(wanted.grid.times_s - self.age_s, shape).copy()
        count = COUNTS[leaf.role] if leaf.role else 1
        reporting = np.full(shape, round(self.share * count))
        known = leaf.names[0] in {*USUAL, *self.known} or leaf.kind is Kind.BUCKETS
        if self.without(leaf) or not known:
            at_s[:], reporting[:] = np.nan, 0
        if leaf.kind is Kind.BUCKETS:
            rates = np.zeros((shape[0], 3, shape[1])) + np.array([0.0, 9.0, 9.0])[:, None]
            return Buckets(
                BOUNDS, np.where(np.isnan(at_s)[:, None], np.nan, rates), at_s, reporting
            )
        value = self.values.get(leaf.names[0], USUAL.get(leaf.names[0], 0.0))
        return Table(np.full(shape, value), at_s, reporting)

    def source_of(
        self, own: MetricsSource, within_s: float = 5.0
    ) -> Callable[[Mapping[str, str]], MetricsSource]:
        """Return what the loop is handed: rows as they are, read by these endpoints."""

        def turn_of(now_s: float) -> Turn:
            rng = np.random.default_rng(1)
            return Turn(now_s, monotonic() + within_s, rng, lambda _: None)

        def build(kinds: Mapping[str, str]) -> MetricsSource:
            counting = frozenset(slug for slug, kind in kinds.items() if kind == "record")
            read = dict.fromkeys(EndpointKind, self.read)
            terms = Terms(read, PACE, turn_of, counting, wiring.recorded_pools)
            return Measured(own, metrics_plan.plan(), metrics_plan.standings(), terms)

        return build


def connect(
    service: Service, name: str = "eu", *, presets: tuple[str, ...] = ("vllm",), **facts: object
) -> MetricsEndpoint:
    """Let a service read from an endpoint."""
    endpoint, _ = MetricsEndpoint.objects.get_or_create(
        slug=name, defaults={"url": f"http://{name}:9090", **facts}
    )
    rank = ServiceMetrics.objects.filter(service=service).count() + 1
    ServiceMetrics.objects.create(
        service=service, endpoint=endpoint, presets=list(presets), rank=rank
    )
    return endpoint


def tick(
    endpoints: Endpoints, own: MetricsSource | None = None, within_s: float = 5.0
) -> dict[str, Decision]:
    """Run one tick as if a period had passed; the newest decision of each service."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("test", seconds=60)
    assert lease is not None
    loop.run(
        lease, source_of=endpoints.source_of(own or ArraySource(), within_s), settings=SETTINGS
    )
    leadership.give_back(lease)
    return {
        row.service.slug: row.decision
        for row in ServiceStatus.objects.select_related("service", "decision")
        if row.decision
    }


@pytest.mark.django_db
def test_signals_are_those_of_the_endpoint_and_counts_those_of_the_cluster() -> None:
    service = make_service("chat")
    connect(service)
    decision = tick(Endpoints())["chat"]
    inputs = {one["name"]: one for one in decision.inputs}
    assert inputs["decode_tps"]["value"] == 4000.0
    assert (inputs["decode_tps"]["reporting"], inputs["decode_tps"]["expected"]) == (4, 4)
    assert inputs["decode_tps"]["age_s"] == pytest.approx(2.0, abs=0.2)
    assert inputs["decode_tps"]["source"] == "eu"
    # Half of 9 requests/s lie below the middle of the bucket that holds them all: 0.25 to 0.5 s.
    assert inputs["ttft_p50_s"]["value"] == pytest.approx(0.375)
    assert Sample.objects.get(service=service).decode_tps == 4000.0
    status = EndpointStatus.objects.get()
    assert (status.state, status.services, status.answered, status.failures) == ("ok", 1, 1, 0)
    assert status.told == ["Looked."]


@pytest.mark.django_db
def test_m01_an_endpoint_that_refuses_holds_its_services_and_is_asked_less_and_less() -> None:
    connect(make_service("chat"))
    make_service("code")
    endpoints = Endpoints(dead={"eu": "It can't be reached."})
    decisions = tick(endpoints)
    assert (decisions["chat"].code, decisions["chat"].gate) == ("METRIC_MISSING", "none")
    assert decisions["code"].code != "METRIC_MISSING"
    said = ServiceStatus.objects.get(service__slug="chat").failure
    assert said == "eu does not answer. It can't be reached."
    first = EndpointStatus.objects.get()
    assert (first.state, first.failures, first.again_at) == ("failed", 1, None)
    tick(endpoints)
    second = EndpointStatus.objects.get()
    assert (second.failures, second.since) == (2, first.since)
    assert second.again_at is not None
    wait_s = (second.again_at - second.asked_at).total_seconds()
    assert 15 * 0.8 <= wait_s <= 15 * 1.2
    tick(endpoints)
    assert endpoints.asked == ["eu", "eu"]
    assert ServiceStatus.objects.get(service__slug="chat").failure == said


@pytest.mark.django_db
def test_m01_the_floor_is_kept_while_nothing_is_measured() -> None:
    service = make_service("chat")
    connect(service)
    service.roles.filter(role="decode").update(minimum=6, maximum=20)
    decision = tick(Endpoints(dead={"eu": "It can't be reached."}))["chat"]
    assert (decision.current_decode, decision.final_decode) == (4, 6)


@pytest.mark.django_db
def test_m02_an_endpoint_that_never_answers_costs_the_others_nothing() -> None:
    connect(make_service("chat"), "slow")
    connect(make_service("code"), "eu")
    begun = monotonic()
    decisions = tick(Endpoints(stuck=frozenset({"slow"})), within_s=0.3)
    assert monotonic() - begun < SETTINGS.tick_s
    assert decisions["chat"].code == "METRIC_MISSING"
    assert decisions["code"].code != "METRIC_MISSING"
    assert EndpointStatus.objects.get(endpoint__slug="slow").told == ["It did not answer in time."]
    assert EndpointStatus.objects.get(endpoint__slug="eu").state == "ok"


LOW = {"vllm:generation_tokens_total": 400.0, "vllm:request_success_total": 1.8}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param({"without": lambda _: True}, "METRIC_MISSING", id="M04: an empty vector"),
        pytest.param({"age_s": 60.0}, "METRIC_STALE", id="M07: 60 s old, 45 s allowed"),
        pytest.param({"age_s": -600.0}, "METRIC_INVALID", id="M08: ten minutes ahead"),
        pytest.param(
            {"without": lambda leaf: leaf.role is Role.DECODE},
            "METRIC_MISSING",
            id="M09: prefill only",
        ),
        pytest.param(
            {"without": lambda leaf: leaf.role is Role.PREFILL},
            "METRIC_MISSING",
            id="M09: decode only",
        ),
        pytest.param({"share": 0.6}, "METRIC_PARTIAL", id="M10: 60 % of pods report, 90 % needed"),
        pytest.param({"partial": True}, "METRIC_PARTIAL", id="M17: warnings in the answer"),
        *(
            pytest.param(
                {"values": {**LOW, "vllm:generation_tokens_total": value}},
                "METRIC_INVALID",
                id=f"M05, M06: {value}",
            )
            for value in (np.nan, np.inf, -np.inf, -4000.0, -0.0, 1e308, 1e-320)
        ),
    ],
)
def test_what_can_not_be_trusted_takes_nothing_away(fault: dict[str, object], code: str) -> None:
    connect(make_service("chat"))
    endpoints = replace(Endpoints(values=dict(LOW)), **fault)  # type: ignore[arg-type]
    for _ in range(3):
        decision = tick(endpoints)["chat"]
    assert (decision.final_prefill, decision.final_decode) == (2, 4)
    assert decision.gate == "none"
    assert code in {decision.code, *(step["code"] for step in decision.steps)}
    # What is unknown is nowhere kept as 0.
    kept = Sample.objects.order_by("-at").first()
    assert kept is not None
    driver = next(one for one in decision.inputs if one["name"] == "decode_tps")
    if driver["quality"] in {"missing", "invalid"}:
        assert driver["value"] is None
        assert kept.decode_tps is None or "values" in fault


@pytest.mark.django_db
def test_m18_after_an_outage_windows_begin_anew() -> None:
    connect(make_service("chat"))
    endpoints = Endpoints(dead={"eu": "It can't be reached."})
    tick(endpoints)
    EndpointStatus.objects.update(
        since=EndpointStatus.objects.get().since - timedelta(hours=1), again_at=None
    )
    endpoints.dead = {}
    tick(endpoints)
    status = EndpointStatus.objects.get()
    assert (status.state, status.failures) == ("ok", 0)
    assert status.back_since == status.asked_at
    # Of four samples only the newest is not older than the return.
    plan, standings = metrics_plan.plan(), metrics_plan.standings()
    assert set(plan.uses) == {"chat"}
    source = endpoints.source_of(ArraySource())({})
    specs = [loop.snapshot.read(lambda _: {}).specs[0]]
    view = source.observe(specs, now_s=status.asked_at.timestamp() + 1.0)
    assert standings["eu"].back_s == status.asked_at.timestamp()
    present = view.observations["chat"].window.present[0]
    assert present.tolist() == [False, False, False, True]


@pytest.mark.django_db
def test_two_endpoints_tell_one_service() -> None:
    service = make_service("chat")
    connect(service, "eu")
    connect(service, "gpus", presets=("dcgm",))
    decision = tick(Endpoints())["chat"]
    inputs = {one["name"]: one for one in decision.inputs}
    assert (inputs["decode_tps"]["source"], inputs["decode_util"]["source"]) == ("eu", "gpus")
    assert inputs["decode_util"]["value"] == pytest.approx(0.6)
    # One of them dead: what the other says still counts.
    decision = tick(Endpoints(dead={"gpus": "It can't be reached."}))["chat"]
    inputs = {one["name"]: one for one in decision.inputs}
    assert (inputs["decode_tps"]["quality"], inputs["decode_util"]["quality"]) == ("ok", "missing")
    assert ServiceStatus.objects.get().failure == ""


@pytest.mark.django_db
def test_a_cluster_that_tells_no_counts_is_counted_where_its_metrics_are() -> None:
    service = make_service("chat")
    Cluster.objects.update(kind=Cluster.Kind.RECORD)
    connect(service)
    make_nodes(service.cluster, make_hardware(), 4)
    own = ArraySource(silent=frozenset({"chat"}), pools=())
    decision = tick(Endpoints(), own)["chat"]
    status = ServiceStatus.objects.get()
    assert (status.prefill_ready, status.decode_ready, status.failure) == (2, 4, "")
    inputs = {one["name"]: one for one in decision.inputs}
    assert (inputs["decode_tps"]["reporting"], inputs["decode_tps"]["expected"]) == (4, 4)
    # Six instances of two GPUs hold 12 of 4 x 8.
    pool = PoolSample.objects.get()
    assert (pool.total, pool.busy, pool.free) == (32, 12, 20)
    decision = tick(Endpoints(without=lambda _: True), own)["chat"]
    said = ServiceStatus.objects.get().failure
    assert said == "No instance of it is known at eu (as 'chat')."
    assert decision.code == "METRIC_MISSING"


@pytest.mark.django_db
def test_what_is_kept_and_can_not_be_read_stops_its_own_services_alone() -> None:
    connect(make_service("chat"), "odd", secret="not encrypted", login="bearer")
    connect(make_service("code"), "eu")
    decisions = tick(Endpoints())
    assert decisions["chat"].code == "METRIC_MISSING"
    said = ServiceStatus.objects.get(service__slug="chat").failure
    assert said.startswith("odd can't be used:")
    assert "Enter it again." in said
    assert decisions["code"].code != "METRIC_MISSING"


@pytest.mark.django_db
def test_marks_of_direct_scrapes_are_kept_with_the_tick() -> None:
    connect(make_service("chat"), "direct", kind="scrape")
    tick(Endpoints())
    assert bytes(ScrapeMark.objects.get(endpoint__slug="direct").body) == b"marks"


@pytest.mark.django_db
def test_without_uses_the_clusters_are_asked_alone() -> None:
    make_service("chat")
    assert isinstance(wiring.metrics_source({}), wiring.EveryCluster)
    connect(Service.objects.get())
    assert isinstance(wiring.metrics_source({}), Measured)
    MetricsEndpoint.objects.update(enabled=False)
    assert isinstance(wiring.metrics_source({}), wiring.EveryCluster)


@pytest.mark.django_db
@pytest.mark.parametrize("ahead_s", [np.inf, 1e300, 1.7e12])
def test_m06_samples_of_no_time_cost_one_endpoint_and_no_tick(ahead_s: float) -> None:
    connect(make_service("chat"))
    make_service("code")
    decisions = tick(Endpoints(age_s=-ahead_s))
    assert decisions["chat"].gate == "none"
    assert decisions["code"].code != "METRIC_MISSING"
    assert EndpointStatus.objects.get().newest_at is None


@pytest.mark.django_db
def test_m16_exporters_of_which_none_answers_are_an_endpoint_that_does_not() -> None:
    connect(make_service("chat"), "direct", kind="scrape")
    tick(Endpoints(silent=(2, 6)))
    assert EndpointStatus.objects.get().state == "partial"
    tick(Endpoints(silent=(6, 6), without=lambda _: True))
    status = EndpointStatus.objects.get()
    assert (status.state, status.failures) == ("failed", 1)


@pytest.mark.django_db
def test_m17_a_sum_of_which_a_part_was_not_answered_is_partial() -> None:
    connect(make_service("chat"), presets=("sglang",))
    lost = "sglang:num_prefill_bootstrap_queue_reqs"
    endpoints = Endpoints(unanswered=frozenset({lost}), known=frozenset({"sglang:num_queue_reqs"}))
    inputs = {one["name"]: one for one in tick(endpoints)["chat"].inputs}
    assert inputs["prefill_waiting"]["quality"] == "partial"
    assert inputs["decode_waiting"]["quality"] == "ok"


@pytest.mark.django_db
def test_two_services_of_one_name_at_an_endpoint_are_told_apart() -> None:
    connect(make_service("chat"))
    connect(make_service("code"))
    ServiceMetrics.objects.filter(service__slug="code").update(known_as="chat")
    decisions = tick(Endpoints())
    assert decisions["chat"].code != "METRIC_MISSING"
    said = ServiceStatus.objects.get(service__slug="code").failure
    assert said == "At eu it has the name of chat: give it its own."
