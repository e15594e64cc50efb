"""What of a plan a cluster of Kubernetes can be told, as the operator reads it."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.plain import plain
from controller.core.kube.values import ServiceSeen, WorkloadRef, WorkloadSeen
from controller.models import ServiceSight
from inventory.models import Cluster, Node, Service
from tests import factories
from tests.core.kube.objects import ref
from tests.factories import an_instance, observe
from tests.pages.reading import reading
from tests.pages.test_placement_tab import elsewhere
from tests.services.people import person

pytestmark = pytest.mark.django_db
TAB = "/services/chat/placement/"
LEAF = "network.topology.nvidia.com/leaf"


@pytest.fixture
def vera(client: Client) -> Client:
    client.force_login(person("vera", "Viewer"))
    return client


@pytest.fixture
def service() -> Service:
    """The service chat in Kubernetes, in one group whose nodes bear the label of their leaf."""
    cluster = factories.make_cluster("eu-1-k", "kubernetes")
    Cluster.objects.update(level_keys=[LEAF])
    found = factories.make_service("chat", cluster=Cluster.objects.get(), affinity_level="s1")
    factories.make_nodes(cluster, factories.make_hardware())
    Node.objects.update(labels={LEAF: "leaf-01"})
    return found


def see(service: Service, *workloads: tuple[WorkloadRef, WorkloadSeen]) -> None:
    seen = ServiceSeen(tuple((one, found, ()) for one, found in workloads))
    ServiceSight.objects.create(service=service, changed_at=timezone.now(), body=plain(seen))


def decode(kind: str = "deployment", gate: Gate = Gate.LABEL) -> WorkloadRef:
    return ref(WorkloadKind(kind), gate=gate, group="chat-g1")


def grouped(service: Service, *nodes: str) -> None:
    observe(
        service,
        *(
            an_instance(f"chat-d-{number}", node, group="chat-g1")
            for number, node in enumerate(nodes)
        ),
    )


def test_pods_that_are_outside_of_their_domain_are_counted(vera: Client, service: Service) -> None:
    elsewhere(service, "far-1")
    grouped(service, "h800-000", "h800-001", "far-1")
    see(service, (decode(), WorkloadSeen("u", "1", 3)))
    page = reading(vera, TAB)
    assert "1 of 3 instances of group chat-g1 is outside S1 s1-01." in page
    assert f"add the node selector {LEAF}=leaf-01 to its template" in page


def test_a_workload_that_names_no_group_is_in_the_only_one(vera: Client, service: Service) -> None:
    grouped(service, "h800-000", "h800-001")
    bare = ref(WorkloadKind.DEPLOYMENT, gate=Gate.LABEL, group="")
    see(service, (bare, WorkloadSeen("u", "1", 2)))
    assert f"add the node selector {LEAF}=leaf-01 to its template" in reading(vera, TAB)


def test_a_template_that_keeps_them_is_told(vera: Client, service: Service) -> None:
    grouped(service, "h800-000", "h800-001")
    kept = WorkloadSeen("u", "1", 2, domains={LEAF: ("leaf-01",)})
    see(service, (decode(), kept))
    page = reading(vera, TAB)
    assert f"its template keeps new pods in S1 s1-01 ({LEAF}=leaf-01)" in page
    assert "outside" not in page


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("statefulset", "the highest ordinals go first, whoever a plan names"),
        ("rolebasedgroup", "its operator chooses who goes, whoever a plan names"),
        ("dynamo", "its operator makes the pods"),
    ],
)
def test_what_a_kind_can_not_express_is_said(
    vera: Client, service: Service, kind: str, said: str
) -> None:
    grouped(service, "h800-000")
    see(service, (decode(kind), WorkloadSeen("u", "1", 1)))
    assert said in reading(vera, TAB)


def test_without_a_gate_that_nobody_is_watched_first_is_said(
    vera: Client, service: Service
) -> None:
    see(service, (decode(gate=Gate.NONE), WorkloadSeen("u", "1", 1)))
    assert "go without being watched first" in reading(vera, TAB)


def test_what_was_not_seen_or_can_not_be_read_is_no_plan_kept(
    vera: Client, service: Service
) -> None:
    assert "Its workloads were not seen yet." in reading(vera, TAB)
    ServiceSight.objects.create(service=service, changed_at=timezone.now(), body={"workloads": 7})
    assert "can't be read" in reading(vera, TAB)


def test_other_clusters_are_told_what_they_do_and_have_no_such_part(vera: Client) -> None:
    factories.make_service("chat")
    assert "can be told" not in reading(vera, TAB)


def test_it_costs_the_same_for_any_number_of_pods(vera: Client, service: Service) -> None:
    see(service, (decode(), WorkloadSeen("u", "1", 3)))
    counted = []
    for nodes in (["h800-000"], ["h800-000", "h800-001", "h800-002"]):
        grouped(service, *nodes)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            reading(vera, TAB)
        counted.append(len(queries))
    assert counted[0] == counted[1]
