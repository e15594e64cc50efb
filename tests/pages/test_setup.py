"""The checklist from an empty database to a watched service: what is done, what is not known."""

from __future__ import annotations

from html import unescape

import pytest
from django.conf import LazySettings
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.core.reach import Reach
from controller.models import ServiceStatus
from controller.selectors import node_match
from inventory.models import Cluster, Fabric, Link, Node, Switch
from tests import factories
from tests.adapters.prometheus.test_protocol import Said, as_json, serving
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


def reading(text: str) -> str:
    """What a person reads, without the marks of bold."""
    return " ".join(unescape(text).replace("<b>", "").replace("</b>", "").split())


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
    assert "not all is well" in text
    assert "to look at: Metrics that match the nodes" in text
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


def _told(*hosts: str) -> Said:
    series = [{"metric": {"Hostname": host}, "values": [[1, "1"]]} for host in hosts]
    return as_json({"status": "success", "data": {"resultType": "matrix", "result": series}})


@pytest.fixture
def admin(settings: LazySettings) -> Client:
    settings.METRICS_REACH = Reach()
    made = Client()
    made.force_login(person("ada", "Admin"))
    return made


def test_the_match_says_which_nodes_report_their_gpus(admin: Client) -> None:
    real(count=3)
    factories.make_nodes(factories.make_cluster(), factories.make_hardware(), 2)
    with serving(_told("H800-000.lab", "h800-002", "new-7")) as server:
        factories.make_source("eu-prom", url=server.base)
        text = reading(admin.post("/setup/match/").text)
        part = admin.post("/setup/match/", headers={"HX-Request": "true"}).text
    assert "Asked: eu-prom." in text
    assert "own-1: 2 of 3 nodes report DCGM by hostname; 1 unmatched: h800-001." in text
    assert "Unknown: 1 host reports and is no node known here: new-7." in text
    assert "eu-1-a: " not in text, "simulated nodes report nowhere"
    assert "2 of 3 nodes" in part
    assert "<html" not in part
    (query,) = {form["query"][0] for _, form in server.asked}
    assert query.startswith("group by (Hostname,")


def test_the_match_says_who_can_not_be_asked(admin: Client) -> None:
    real()
    assert "No Prometheus is asked yet" in admin.post("/setup/match/").content.decode()
    factories.make_source("eu-prom", url="http://127.0.0.1:9")
    text = reading(admin.post("/setup/match/").text)
    assert "eu-prom: can't be asked: It can't be reached" in text
    assert "nodes report DCGM" not in text, "nobody knows"


def test_nobody_is_asked_by_looking_and_the_match_takes_the_right_to_test(client: Client) -> None:
    real()
    with serving(_told()) as server:
        factories.make_source("eu-prom", url=server.base)
        text = words(client)
        assert client.post("/setup/match/").status_code == 403
        assert server.asked == []
    assert "Test the match" in text
    assert "disabled>Test the match" in text


@pytest.mark.parametrize("clusters", [1, 3])
def test_the_match_takes_the_same_queries_for_any_fleet(
    clusters: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for at in range(clusters):
        real(f"own-{at}")
    with django_assert_num_queries(1):
        found = node_match.lines({"eu": [{"node": "h800-000"}]})
    assert len(found) == clusters
