"""The checklist from an empty database to a watched service: what is done, what is not known."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import ServiceStatus
from inventory.models import Cluster, Fabric, Link, Node, Switch
from tests import factories
from tests.services.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    made = Client()
    made.force_login(person("vic", "Viewer"))
    return made


def words(client: Client) -> str:
    answer = client.get("/setup/")
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def real(slug: str = "own-1", count: int = 3) -> Cluster:
    cluster = factories.make_cluster(slug, kind="record")
    factories.make_nodes(cluster, factories.make_hardware(), count)
    return cluster


def test_an_empty_database_begins_at_the_first_step(client: Client) -> None:
    text = words(client)
    assert "0 of 5 steps are done" in text
    assert "next: A cluster, or a demo" in text
    assert "No metrics source is configured yet, so what runs on the nodes is unknown" in text
    assert 'class="button primary" href="/clusters/new/"' in text


def test_the_overview_shows_the_same_steps_while_there_is_no_service(client: Client) -> None:
    text = client.get("/").content.decode()
    assert "Its nodes" in text
    assert 'href="/setup/"' in text


def test_a_demo_is_named_as_one_and_own_nodes_are_still_to_do(client: Client) -> None:
    factories.make_nodes(factories.make_cluster(), factories.make_hardware(), 2)
    text = words(client)
    assert "The simulated fleet eu-1-a (2 nodes) is there, to try everything on." in text
    assert "next: Its nodes" in text


def test_own_nodes_are_counted_with_the_domains_they_are_in(client: Client) -> None:
    real()
    Cluster.objects.update(level_keys=["own/leaf", "own/spine"])
    text = words(client)
    assert "1 cluster of your own: own-1 (3 nodes)." in text
    assert (
        "own-1: 1 S1 domain of 3 nodes on average in 1 S2 domain by own/leaf, own/spine." in text
    )
    assert 'href="/fleet/topology/?cluster=own-1"' in text


def test_nodes_without_a_domain_are_to_be_looked_at(client: Client) -> None:
    real()
    Node.objects.filter(name="h800-000").update(s1_domain=None)
    assert "of 2 nodes on average in 1 S2 domain; 1 node under none." in words(client)
    Node.objects.update(missing_since=timezone.now())
    assert "own-1 (3 nodes)" not in words(client), "what is no longer listed is not counted"


def test_cables_racks_and_switches_are_optional_and_counted(client: Client) -> None:
    cluster = real()
    assert "1 rack." in words(client)
    fabric = Fabric.objects.create(cluster=cluster, name="ib")
    leaf = Switch.objects.create(cluster=cluster, fabric=fabric, name="leaf-1", tier=0)
    node = Node.objects.get(name="h800-000")
    Link.objects.create(cluster=cluster, switch=leaf, port="1", node=node, peer_port="mlx5_0")
    assert "1 switch, 1 cable, 1 rack." in words(client)


def test_instance_lists_are_matched_with_the_nodes(client: Client) -> None:
    cluster = real()
    service = factories.make_service(cluster=cluster)
    instances = [
        {"name": f"p{i}", "role": "prefill", "group": "g", "node": node, "state": "ready"}
        for i, node in enumerate(("H800-000", "h800-001", "lost-1"))
    ]
    ServiceStatus.objects.update(observed_at=timezone.now(), instances=instances)
    text = words(client)
    assert "Instance lists arrive for own-1." in text
    assert "2 of 3 nodes they name are known here; unknown: own-1/lost-1." in text
    ServiceStatus.objects.update(instances=instances[:2])
    assert "2 of 2 nodes they name are known here." in words(client)
    assert "Nothing is left to do" in words(client)
    assert service.slug


def test_a_cluster_that_nobody_reports_is_unknown_and_not_idle(client: Client) -> None:
    simulated = factories.make_cluster()
    factories.make_nodes(simulated, factories.make_hardware(), 1)
    factories.make_service(cluster=simulated)
    ServiceStatus.objects.update(observed_at=timezone.now(), instances=[])
    real()
    text = words(client)
    assert "No source is configured for own-1: use there is unknown." in text


def test_queries_do_not_grow_with_the_fleet(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counts = []
    for number in (1, 5):
        for i in range(number):
            real(f"own-{number}-{i}", number)
        client.get("/setup/")
        with django_assert_max_num_queries(40) as seen:
            client.get("/setup/")
        counts.append(len(seen))
    assert counts[0] == counts[1]


def test_strangers_sign_in_first() -> None:
    assert Client().get("/setup/").status_code == 302
