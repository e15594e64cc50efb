"""The topology of a cluster: what is drawn, told, found and asked for."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from inventory.models import (
    Cluster,
    HealthEvent,
    InventoryVersion,
    LocalityDomain,
    Node,
    NvlinkDomain,
    Switch,
)
from tests import factories
from tests.pages.reading import reading, words
from tests.pages.test_switch import make_fabric, run

PAGE = "/fleet/topology/"


@pytest.fixture
def reader(client: Client, db: None) -> Client:  # noqa: ARG001
    client.force_login(User.objects.create_user("ana", password="a long enough phrase"))
    return client


def test_the_page_draws_and_tells_the_tree(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    run("h800-001")
    answer = reader.get(PAGE)
    page = words(answer.text)
    assert "Topology of eu-1-a" in page
    assert 'role="group"' in answer.text
    assert answer.text.count("data-depth") == 1 + 1 + 1 + 4
    # The table beside it says the same.
    assert "S1 s1-01" in page
    assert "S1 heterogeneous: high priority to spare H20, H800" in page
    assert "4 × 400 Gb/s" in page
    assert "2 × 800 Gb/s" in page
    assert "1 in tier 0 (S1), 1 in tier 1 (S2)" in page


def test_the_largest_cluster_is_shown_first_and_others_are_links(reader: Client) -> None:
    factories.make_nodes(factories.make_cluster("eu-1-a"), factories.make_hardware(), 2)
    factories.make_nodes(factories.make_cluster("eu-1-b"), factories.make_hardware(), 3)
    page = reading(reader, PAGE)
    assert "Topology of eu-1-b" in page
    assert "eu-1-b 3 nodes, 24 GPUs eu-1-a 2 nodes, 16 GPUs" in page
    assert "Topology of eu-1-a" in reading(reader, PAGE + "?cluster=EU-1-A")


@pytest.mark.parametrize(
    ("focus", "said"),
    [
        pytest.param("s1-01", "Around S1 s1-01", id="a domain by its bare name"),
        pytest.param("s2:S2-01", "Around S2 s2-01", id="by kind, any case"),
        pytest.param("rack:r01", "Around rack r01", id="a rack"),
        pytest.param("h800-002", "Around node h800-002", id="a node"),
        pytest.param("leaf-1", "Switch leaf-1 is one of those that make", id="a switch"),
        pytest.param("at:s2-01/s1-01", "Around S1 s1-01", id="a path of the drawing"),
        pytest.param("nix", "Nothing here is called “nix”: the whole cluster is shown", id="none"),
        pytest.param("at:*/*", "Around no S1", id="the nodes that have no S1"),
        pytest.param("at:nix", "Nothing here is called “nix”", id="a path that is not there"),
        pytest.param("core-9", "Switch core-9 makes no S1 or S2 domain", id="a core switch"),
    ],
)
def test_a_reader_narrows_it(reader: Client, focus: str, said: str) -> None:
    cluster = factories.make_cluster()
    leaf = make_fabric(cluster)
    Node.objects.create(cluster=cluster, name="stray")
    Switch.objects.create(cluster=cluster, fabric=leaf.fabric, name="core-9", tier=2)
    assert said in reading(reader, f"{PAGE}?focus={focus}")


def test_an_nvlink_domain_narrows_it_to_its_nodes(reader: Client) -> None:
    cluster = factories.make_cluster()
    make_fabric(cluster)
    domain = NvlinkDomain.objects.create(cluster=cluster, name="nvl-1")
    Node.objects.filter(name__in=("h800-000", "h800-003")).update(nvlink_domain=domain)
    Node.objects.filter(name="h800-003").update(health="failed")
    assert "nvl-1 1 of 2" in reading(reader, PAGE)
    answer = reader.get(PAGE + "?focus=nvlink:nvl-1&hops=3")
    drawn = answer.text[answer.text.index("<svg") :]
    assert "h800-003" in drawn
    assert "h800-001" not in drawn


def test_unknown_use_is_said_and_is_not_zero(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    page = reading(reader, PAGE + "?overlay=utilisation")
    assert "Nobody reports what runs on eu-1-a" in page
    assert "use unknown" in page
    assert "0 % in use" not in page


def test_use_is_shown_where_it_is_reported(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    run("h800-001")
    # 2 of 32 GPUs
    assert "6 % in use" in reading(reader, PAGE + "?overlay=utilisation")
    assert "30 free" in reading(reader, PAGE + "?overlay=free")
    assert "1 of 4 nodes" in reading(reader, PAGE + "?overlay=service&service=chat")
    said = "No service “nix” runs on eu-1-a: chat is shown."
    assert said in reading(reader, PAGE + "?service=nix")


def test_hardware_types_are_told_where_they_are_known(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    Node.objects.filter(name="h800-000").update(hardware=factories.make_hardware("h20"))
    Node.objects.filter(name="h800-001").update(hardware=None)
    page = reading(reader, PAGE + "?overlay=hardware")
    assert "H20, H800, 1 unknown" in page
    assert "type not known" in page


def test_what_looks_wrong_is_named(reader: Client) -> None:
    leaf = make_fabric(factories.make_cluster())
    Node.objects.filter(name="h800-000").update(s1_domain=None, s2_domain=None)
    Node.objects.filter(name="h800-001").update(missing_since=timezone.now(), gpus=None)
    HealthEvent.objects.create(switch=leaf, code="fan", started=timezone.now())
    Switch.objects.filter(name="spine-1").update(health="failed")
    page = reading(reader, PAGE)
    assert "critical: 1 switch failed: spine-1 ." in page
    assert "1 node is under no S1 domain: h800-000 ." in page
    assert "1 node is no longer listed by its source: h800-001 ." in page
    assert "1 node has GPUs that nobody counted: h800-001 ." in page
    assert "1 switch is degraded or has an open event: leaf-1 ." in page


def test_uneven_uplinks_are_found(reader: Client) -> None:
    cluster = factories.make_cluster()
    leaf = make_fabric(cluster)
    s2 = LocalityDomain.objects.get(level="S2")
    given = {"cluster": cluster, "fabric": leaf.fabric}
    other = Switch.objects.create(name="leaf-2", tier=0, **given)
    second = Switch.objects.create(name="spine-2", tier=1, **given)
    LocalityDomain.objects.create(
        cluster=cluster, level="S1", key="s1-02", name="s1-02", parent=s2, switches=["leaf-2"]
    )
    # Written down from above, as some files do.
    for port, peer in enumerate((leaf, other)):
        second.links.create(cluster=cluster, peer=peer, port=str(port))
    assert "S1 s1-02 reaches 1 of the 2 switches above it" in reading(reader, PAGE)


def test_nothing_wrong_is_good_news(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    assert "Nothing: every node is under an S1 domain" in reading(reader, PAGE)


def test_the_inventory_version_is_named(reader: Client) -> None:
    factories.make_nodes(factories.make_cluster(), factories.make_hardware(), 1)
    assert "No version of the inventory was stamped yet" in reading(reader, PAGE)
    made = InventoryVersion.objects.create(at=timezone.now(), cause="import", by="bo")
    assert f"Inventory version {made.pk}, 0 s ago by import (bo)" in reading(reader, PAGE)


def test_empty_states_differ(reader: Client) -> None:
    assert "No cluster yet" in reading(reader, PAGE)
    cluster = factories.make_cluster()
    assert "eu-1-a has no node yet" in reading(reader, PAGE)
    Node.objects.create(cluster=cluster, name="n-1")
    page = reading(reader, PAGE)
    assert "No domain is known." in page
    assert "1 node has no known hardware type: n-1" in page
    answer = reader.get(PAGE + "?cluster=nowhere")
    assert answer.status_code == 404
    assert "There is no cluster nowhere." in words(answer.text)


def test_hostile_names_stay_text(reader: Client) -> None:
    cluster = factories.make_cluster()
    make_fabric(cluster)
    hostile = '"><script>alert(1)</script>'
    LocalityDomain.objects.filter(level="S1").update(name=hostile)
    Node.objects.update(health="failed", health_reason=hostile)
    for query in ("", f"?focus={hostile}", f"?focus=s1:{hostile}&hops=3"):
        page = reader.get(PAGE + query).text
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;" in page
        assert " style=" not in page


@pytest.mark.parametrize("nodes", [2, 9])
def test_the_page_costs_the_same_for_any_cluster(
    reader: Client, django_assert_num_queries: DjangoAssertNumQueries, nodes: int
) -> None:
    make_fabric(factories.make_cluster(), nodes)
    run("h800-001")
    reader.get(PAGE)
    # session, person, preferences, 5 of the strip; clusters, 2 of use, domains, 3 of nodes,
    # switches with events, 2 of cables, services, version, 2 of permissions
    with django_assert_num_queries(26):
        reader.get(PAGE)


def test_too_many_nodes_are_told_as_numbers(reader: Client) -> None:
    cluster = factories.make_cluster()
    domain = LocalityDomain.objects.create(cluster=cluster, level="S1", key="a", name="a")
    Node.objects.bulk_create(
        Node(cluster=cluster, name=f"n-{i:04}", gpus=8, s1_domain=domain) for i in range(500)
    )
    answer = reader.get(PAGE + "?hops=3")
    assert answer.text.count("data-depth") < 400
    assert "500 nodes" in words(answer.text)


def test_only_the_parts_are_fetched_again(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    first = reader.get(PAGE, headers={"HX-Request": "true"})
    assert "<html" not in first.text
    given = {"HX-Request": "true", "If-None-Match": first["ETag"]}
    assert reader.get(PAGE, headers=given).status_code == 304
    Node.objects.filter(name="h800-001").update(health="failed")
    assert reader.get(PAGE, headers=given).status_code == 200


def test_strangers_sign_in(client: Client, db: None) -> None:  # noqa: ARG001
    assert client.get(PAGE)["Location"].startswith("/sign-in/")
    assert client.get(PAGE, headers={"HX-Request": "true"}).status_code == 401


def test_planned_and_retired_nodes_are_not_there(reader: Client) -> None:
    cluster: Cluster = factories.make_cluster()
    factories.make_nodes(cluster, factories.make_hardware(), 3)
    Node.objects.filter(name="h800-000").update(lifecycle="planned")
    Node.objects.filter(name="h800-001").update(lifecycle="retired")
    assert "1 node · 8 GPUs" in reading(reader, PAGE)
