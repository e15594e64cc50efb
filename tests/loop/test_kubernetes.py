"""Ticks over clusters of Kubernetes: the watcher looks, the tick decides, nothing is made up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections

from controller import wiring
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.adapters.kube.api import Api, Credentials, Pause
from controller.core.kube.counts import counted
from controller.management import watching
from controller.management.watching import Watcher
from controller.models import (
    Breaker,
    ClusterSight,
    Decision,
    PoolSample,
    ServiceSight,
    ServiceStatus,
)
from controller.models.clock import database_now
from controller.services import sights
from controller.services.sights import Watched, seen_of
from inventory.models import ClusterAccess, Node, Service, Workload
from inventory.services.importing import Upload, Wanted, bring, found_in
from tests.clusters_of_kubernetes import NAMESPACE, make_kube_service, make_watched
from tests.factories import make_hardware, make_nodes
from tests.kube import Double, autoscaler, deployment, faults
from tests.loop import test_measured
from tests.loop.test_measured import Endpoints, connect, tick

pytestmark = pytest.mark.django_db
PACE = Pace(jitter=lambda: 0.5, watch_s=2.0, first_wait_s=0.02, longest_wait_s=0.1)


@dataclass
class Stand:
    """A watcher over doubles, by the slug of their cluster."""

    kubes: dict[str, Double]
    watcher: Watcher = field(init=False)
    apis: list[Api] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watcher = Watcher(self._server_of, PACE)

    def _server_of(self, about: Watched, pause: Pause) -> Api:
        kube = self.kubes[about.cluster.slug]
        api = Api(Credentials(server=kube.address, token=kube.token), pause=pause)
        self.apis.append(api)
        return api

    def until(self, holds: Any) -> None:
        """Let the watcher work until something holds."""
        ends = time.monotonic() + 10.0
        while not holds():
            assert time.monotonic() < ends, "it did not come to pass"
            self.watcher.round()
            time.sleep(0.01)

    def seen(self, cluster: str = "k-1") -> ClusterSight | None:
        return ClusterSight.objects.filter(cluster__slug=cluster, begun_at__isnull=False).first()

    def settled(self, *clusters: str) -> None:
        """Let the watcher have seen clusters as a whole, in more than one tick."""
        for slug in clusters or ("k-1",):
            self.until(lambda slug=slug: self.seen(slug))
        ClusterSight.objects.update(begun_at=ClusterSight.objects.first().begun_at - timedelta(60))  # type: ignore[union-attr]
        self.until(lambda: all(self.seen(slug).rounds > 1 for slug in clusters or ("k-1",)))  # type: ignore[union-attr]


@pytest.fixture
def stand(kube: Double, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Return a watcher of the double as cluster k-1, and of an empty one as k-2."""
    monkeypatch.setattr(watching, "CONFIG_S", 0.0)
    monkeypatch.setattr(watching, "NOTE_S", 0.0)
    # Nodes are taken over on a connection of its own, which sees nothing of this transaction.
    monkeypatch.setattr(watching, "FEED_S", float("inf"))
    with Double() as other:
        made = Stand({"k-1": kube, "k-2": other})
        yield made
        made.watcher.stop()
        for api in made.apis:
            api.close()


def furnish(service: Service) -> None:
    """Let the inventory have the cluster's nodes."""
    for number, node in enumerate(make_nodes(service.cluster, make_hardware(), 16)):
        Node.objects.filter(pk=node.pk).update(name=f"gpu-{number:04d}")


def decided(endpoints: Endpoints | None = None) -> dict[str, Decision]:
    """Run a tick whose counts are those the watcher noted."""
    kinds = {"k-1": "kubernetes", "k-2": "kubernetes"}
    return tick(endpoints or Endpoints(), wiring.cluster_source(kinds, wiring.simulated.lend))


def status(slug: str = "chat") -> ServiceStatus:
    return ServiceStatus.objects.get(service__slug=slug)


def test_what_the_watcher_saw_is_what_the_tick_decides_on(stand: Stand) -> None:
    service = make_kube_service("chat")
    connect(service)
    furnish(service)
    stand.settled()
    decision = decided(Endpoints({"vllm:generation_tokens_total": 8000.0}))["chat"]
    assert decision.current_decode == 4
    assert (decision.gate, decision.final_decode) == ("act", 8), decision.sentence
    row = status()
    assert (row.prefill_ready, row.decode_ready, row.failure) == (2, 4, "")
    assert len(row.instances) == 6
    assert {one["node"][:4] for one in row.instances} == {"gpu-"}
    inputs = {one["name"]: one for one in decision.inputs}
    assert inputs["decode_tps"]["expected"] == 4
    pool = PoolSample.objects.get()
    assert (pool.total, pool.busy, pool.free) == (128, 12, 116)


def test_nothing_is_done_in_the_first_tick_after_a_start(stand: Stand) -> None:
    service = make_kube_service("chat")
    connect(service)
    furnish(service)
    stand.until(stand.seen)
    busy = Endpoints({"vllm:generation_tokens_total": 8000.0})
    decision = decided(busy)["chat"]
    assert (decision.code, decision.gate, decision.final_decode) == ("UNSETTLED", "none", 4)
    assert "the watch of cluster k-1 has only begun" in decision.sentence
    stand.settled()
    assert decided(busy)["chat"].gate == "act"


def test_without_metrics_it_holds_and_floors_are_kept(stand: Stand) -> None:
    service = make_kube_service("chat")
    furnish(service)
    stand.settled()
    decision = decided()["chat"]
    assert (decision.code, decision.gate) == ("METRIC_MISSING", "none")
    service.roles.filter(role="decode").update(minimum=5)
    decision = decided()["chat"]
    assert (decision.gate, decision.final_decode) == ("act", 5), decision.sentence


def test_no_workloads_no_look_no_answer() -> None:
    service = make_kube_service("chat")
    decided()
    assert status().failure.startswith("Nobody looks at cluster k-1: give it an access")
    service.workloads.all().delete()
    decided()
    assert status().failure.startswith("No workloads are chosen for it")


def test_one_odd_object_holds_its_service_alone_k19(stand: Stand, kube: Double) -> None:
    make_kube_service("chat")
    make_kube_service("code")
    odd = deployment(NAMESPACE, "code-decode", 2)
    odd["spec"]["replicas"] = "2"
    kube.delete("deployments", NAMESPACE, "code-decode")
    kube.put(odd, checked=False)
    stand.settled()
    decided()
    assert status("chat").failure == ""
    assert status("code").failure.startswith(
        'Deployment prod/code-decode can\'t be read: spec.replicas is "2"'
    )


@pytest.mark.parametrize(
    ("budget", "code", "final"),
    [
        pytest.param(24, "BUDGET_EXHAUSTED", 4, id="12 here and 12 there as last known are all"),
        pytest.param(36, "ABOVE_TARGET", 8, id="12 more: 4 decode and 2 prefill of 2 GPUs each"),
    ],
)
def test_a_dead_cluster_holds_its_services_and_what_they_held_k17(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, budget: int, code: str, final: int
) -> None:
    for slug, cluster, mode in (("chat", "k-1", "automatic"), ("code", "k-2", "observe")):
        service = make_kube_service(slug, cluster, mode=mode)
        connect(service)
        furnish(service)
    other = stand.kubes["k-2"]
    for role in ("prefill", "decode"):
        other.put(deployment(NAMESPACE, f"code-{role}", 3, gpus=2))
    other.settle()
    stand.settled("k-1", "k-2")
    assert decided()["code"].current_decode == 3
    other.close()
    heard = ClusterSight.objects.get(cluster__slug="k-2").heard_at
    assert heard is not None
    ClusterSight.objects.filter(cluster__slug="k-2").update(heard_at=heard - timedelta(hours=1))
    rules = replace(test_measured.SETTINGS.rules, max_gpus=budget)
    settings = replace(test_measured.SETTINGS, rules=rules)
    monkeypatch.setattr(test_measured, "SETTINGS", settings)
    decisions = decided(Endpoints({"vllm:generation_tokens_total": 8000.0}))
    assert decisions["code"].code == "METRIC_MISSING"
    assert status("code").failure.startswith("Nothing was heard of cluster k-2 for 3,6")
    assert (status("code").decode_desired, status("code").prefill_desired) == (3, 3)
    assert (decisions["chat"].code, decisions["chat"].final_decode) == (code, final)


def test_a_cluster_that_hangs_makes_no_other_late_k06_k17(stand: Stand) -> None:
    make_kube_service("chat", "k-1")
    make_kube_service("code", "k-2")
    stand.kubes["k-2"].pause()
    stand.settled("k-1")
    assert stand.seen("k-2") is None
    first = stand.seen()
    assert first is not None
    stand.until(lambda: stand.seen().heard_at > first.heard_at)  # type: ignore[union-attr]
    stand.kubes["k-2"].resume()


def test_a_rival_opens_the_breaker_of_its_service_k13(stand: Stand, kube: Double) -> None:
    for slug in ("chat", "code"):
        connect(make_kube_service(slug))
    furnish(Service.objects.get(slug="chat"))
    kube.put(autoscaler(NAMESPACE, kube.get("deployments", NAMESPACE, "chat-decode")))
    stand.settled()
    decisions = decided(Endpoints({"vllm:generation_tokens_total": 8000.0}))
    breaker = Breaker.objects.get()
    assert breaker.scope == "service:chat" or breaker.service.slug == "chat"  # type: ignore[union-attr]
    assert breaker.cause == (
        "Somebody else scales it: the HorizontalPodAutoscaler prod/chat-decode, which scales "
        "Deployment prod/chat-decode."
    )
    assert (decisions["chat"].code, decisions["chat"].gate) == ("BREAKER_OPEN", "none")
    assert decisions["code"].code != "BREAKER_OPEN"


def test_a_rival_of_a_service_that_is_observed_opens_nothing(stand: Stand, kube: Double) -> None:
    make_kube_service("chat", mode="observe")
    kube.put(autoscaler(NAMESPACE, kube.get("deployments", NAMESPACE, "chat-decode")))
    stand.settled()
    decided()
    assert not Breaker.objects.exists()


def test_who_changes_it_outside_is_seen_before_it_is_overwritten(
    stand: Stand, kube: Double
) -> None:
    service = make_kube_service("chat")
    connect(service)
    furnish(service)
    stand.settled()
    decided(Endpoints())
    kube.scale("deployments", NAMESPACE, "chat-decode", 6, by="kubectl")
    kube.settle()
    busy = Endpoints({"vllm:generation_tokens_total": 8000.0})
    stand.until(lambda: counted(seen_of(["chat"])["chat"]).instances[7:])
    assert (decided(busy)["chat"].code, status().decode_ready) == ("CHANGED_OUTSIDE", 6)
    assert decided(busy)["chat"].gate == "act"


def test_an_access_that_is_withdrawn_ends_the_watch(stand: Stand) -> None:
    make_kube_service("chat")
    stand.settled()
    ClusterAccess.objects.update(watching=False)
    stand.watcher.round()
    assert stand.watcher._clusters == {}
    assert stand.kubes["k-1"] is not None


def test_a_service_that_is_added_is_noticed(stand: Stand) -> None:
    make_kube_service("chat")
    stand.settled()
    make_kube_service("code")
    stand.until(lambda: decided() and status("code").decode_ready == 2)


def test_an_account_without_rights_is_told(stand: Stand, kube: Double) -> None:
    make_kube_service("chat")
    kube.fault(faults.answer(403), path="/pods", times=None)
    stand.until(lambda: ClusterSight.objects.filter(state="partial").exists())
    sight = ClusterSight.objects.get()
    assert any("list pods in all namespaces" in text for text in sight.told)


def test_a_database_that_is_away_does_not_end_the_watch(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_kube_service("chat")
    stand.settled()
    before = stand.seen()

    def away() -> None:
        raise OperationalError("server closed the connection unexpectedly")

    closed: list[bool] = []
    with monkeypatch.context() as patch:
        patch.setattr(watching.sights, "watched", away)
        patch.setattr(watching.connection, "close", lambda: closed.append(True))
        stand.watcher.round()
    assert closed == [True]
    stand.until(lambda: stand.seen().heard_at > before.heard_at)  # type: ignore[union-attr]


def test_nodes_are_left_alone_before_a_person_took_them_over(stand: Stand) -> None:
    make_kube_service("chat")
    stand.settled()
    assert Node.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_nodes_follow_the_cluster_once_a_person_took_them_over(
    stand: Stand, kube: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_watched()
    listed = json.dumps({"kind": "List", "items": kube.all("nodes")}).encode()
    wanted = Wanted(form="kubernetes", cluster=cluster.slug)
    bring(found_in([Upload("nodes.json", listed)], wanted), by="ana")
    monkeypatch.setattr(watching, "FEED_S", 0.0)
    stand.until(stand.seen)
    kube.change("nodes", "", "gpu-0003", {"spec": {"unschedulable": True}})
    stand.until(lambda: Node.objects.get(name="gpu-0003").admin_state == "cordoned")
    for number in range(8):
        kube.delete("nodes", "", f"gpu-{number:04d}")
    stand.until(lambda: "no longer listed" in " ".join(ClusterSight.objects.get().told))
    # Of 16 nodes 3 are less than a fifth, and 4 are not: whatever parts the 8 went in.
    assert Node.objects.exclude(missing_since=None).count() <= 3


@pytest.mark.django_db(transaction=True)
def test_of_two_watchers_one_has_a_cluster_until_it_is_gone(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_kube_service("chat")
    stand.settled()
    other = connections["default"].copy()
    second = Watcher(stand._server_of, PACE)

    def has_it() -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(sights, "connection", other)
            second.round()
        return bool(second._clusters)

    try:
        assert not has_it()
        stand.watcher.stop()
        assert has_it()
    finally:
        second.stop()
        other.close()


def test_what_a_standby_did_not_have_is_written_anew(
    stand: Stand, kube: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_kube_service("chat")
    stand.settled()
    earlier = ServiceSight.objects.get().body
    kube.scale("deployments", NAMESPACE, "chat-decode", 6, by="kubectl")
    kube.settle()
    stand.until(lambda: len(counted(seen_of(["chat"])["chat"]).instances) == 8)

    def away() -> None:
        raise OperationalError("terminating connection due to administrator command")

    with monkeypatch.context() as patch:
        patch.setattr(watching.sights, "watched", away)
        patch.setattr(watching.connection, "close", lambda: None)
        stand.watcher.round()
    ServiceSight.objects.update(body=earlier)
    stand.until(lambda: len(counted(seen_of(["chat"])["chat"]).instances) == 8)


def test_a_sight_of_a_later_time_is_none_and_is_mended_t01(stand: Stand) -> None:
    make_kube_service("chat")
    stand.settled()
    ClusterSight.objects.update(heard_at=database_now() + timedelta(hours=1))
    decided()
    assert status().failure.startswith("Cluster k-1 was heard 3,600 s from now")
    stand.until(lambda: stand.seen().heard_at <= database_now())  # type: ignore[union-attr]
    decided()
    assert status().failure == ""


@pytest.mark.parametrize(
    "wrong", [{"kind": "job"}, {"role": "router"}, {"selector": ["app"]}], ids=str
)
def test_a_row_gone_wrong_holds_its_service_alone_s24(stand: Stand, wrong: dict[str, Any]) -> None:
    make_kube_service("chat")
    make_kube_service("code")
    Workload.objects.filter(service__slug="code", name="code-decode").update(**wrong)
    stand.settled()
    decided()
    assert status("chat").failure == ""
    assert status("code").failure.startswith("It was not seen in cluster k-1 yet")


def test_counts_that_no_row_holds_stop_their_service_alone_k19(stand: Stand, kube: Double) -> None:
    make_kube_service("chat")
    service = make_kube_service("code")
    for number in range(2):
        name = f"huge-{number}"
        Workload.objects.create(service=service, role="decode", namespace=NAMESPACE, name=name)
        huge = deployment(NAMESPACE, name, 2)
        huge["spec"]["replicas"] = 2_000_000_000
        kube.put(huge, checked=False)
    stand.settled()
    decided()
    assert status("chat").failure == ""
    assert "decode workloads ask for 4,000,000,002 instances" in status("code").failure
