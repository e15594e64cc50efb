"""The page of a switch and the list of a cluster's switches."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, ServiceStatus
from inventory.models import Cluster, Fabric, HealthEvent, Link, LocalityDomain, Node, Switch
from tests import factories
from tests.pages.reading import reading, words

LEAF = "/fleet/switches/eu-1-a/leaf-1/"


@pytest.fixture
def reader(client: Client, db: None) -> Client:  # noqa: ARG001
    client.force_login(User.objects.create_user("ana", password="a long enough phrase"))
    return client


def make_fabric(cluster: Cluster, nodes: int = 4) -> Switch:
    """Return a leaf with nodes under it and a spine above it."""
    fabric = Fabric.objects.create(cluster=cluster, technology="IB")
    given = {"cluster": cluster, "fabric": fabric}
    leaf = Switch.objects.create(name="leaf-1", tier=0, rail=3, guid="0xabc", **given)
    spine = Switch.objects.create(name="spine-1", tier=1, **given)
    for number, node in enumerate(factories.make_nodes(cluster, factories.make_hardware(), nodes)):
        Link.objects.create(
            cluster=cluster, switch=leaf, port=str(number + 1), node=node, speed_gbps=400
        )
    for port in ("64", "65"):
        Link.objects.create(
            cluster=cluster, switch=leaf, port=port, peer=spine, peer_port=port, speed_gbps=800
        )
    domains = LocalityDomain.objects.filter(cluster=cluster)
    domains.filter(level="S1").update(
        switches=["leaf-1"], subgroup="S1 heterogeneous", rank=2, hardware=["H20", "H800"]
    )
    domains.filter(level="S2").update(switches=["spine-1"])
    return leaf


def run(node: str, *, service: str = "chat") -> None:
    """Let an instance of a service run on a node, as reported just now."""
    factories.make_service(service)
    ServiceStatus.objects.filter(service__slug=service).update(
        observed_at=timezone.now(),
        instances=[{"name": "i", "role": "decode", "group": "", "node": node, "state": "ready"}],
    )


def test_the_page_says_what_hangs_on_it(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    run("h800-001")
    page = reading(reader, LEAF)
    assert "Switch leaf-1 tier 0 of fabric compute in eu-1-a" in page
    assert "4 nodes, 32 GPUs" in page
    # 4 nodes of 8, of which one instance holds 2
    assert "r01 h800-000 , h800-001 , h800-002 , h800-003 32 2 30" in page
    assert "Cables down to 4 nodes" in page
    assert "h800-000 1 not known 1 × 400 Gb/s all well" in page
    assert "spine-1 tier 1 64, 65 64, 65 2 × 800 Gb/s all well" in page
    assert "S1 s1-01 , with 1 switch, H20, H800 S1 heterogeneous: high priority to spare" in page
    assert "chat : instances of these run on nodes under it." in page
    assert "No person has changed it here" in page


def test_unknown_use_is_not_zero(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    page = reading(reader, LEAF)
    assert "32 unknown unknown" in page
    assert "Unknown: nobody reports what runs on eu-1-a." in page


def test_a_spine_adds_up_what_is_below(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    page = reading(reader, "/fleet/switches/eu-1-a/spine-1/")
    assert "4 nodes, 32 GPUs" in page
    assert "Cables down to 1 switch" in page
    assert "No cable to a switch above is known." in page


def test_open_events_come_first_and_set_the_state(reader: Client) -> None:
    leaf = make_fabric(factories.make_cluster())
    now = timezone.now()
    event = {"switch": leaf, "severity": "warning"}
    HealthEvent.objects.create(code="fan", started=now, ended=now, **event)
    HealthEvent.objects.create(code="link-down", started=now - timedelta(days=1), **event)
    page = reading(reader, LEAF)
    assert page.index("link-down") < page.index("fan")
    assert "1 open event" in page
    Switch.objects.filter(pk=leaf.pk).update(health="failed")
    assert "Health failed" in reading(reader, LEAF)


def test_cables_that_are_not_well_are_counted(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    Link.objects.filter(port="64").update(state="failed")
    assert "2 × 800 Gb/s, 1 not well 1 of 2 not well" in reading(reader, LEAF)


def test_the_history_is_told(reader: Client) -> None:
    leaf = make_fabric(factories.make_cluster())
    AuditEvent.objects.create(
        at=timezone.now(), actor="bo", verb="changed switch", object_type="switch",
        object_id=str(leaf.pk), reason="new optics",
    )  # fmt: skip
    assert "bo changed switch" in reading(reader, LEAF)


def test_any_case_leads_to_the_page(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    answer = reader.get("/fleet/switches/EU-1-A/LEAF-1/")
    assert (answer.status_code, answer["Location"]) == (302, LEAF)


def test_what_is_not_there_is_said(reader: Client) -> None:
    answer = reader.get("/fleet/switches/eu-1-a/nowhere/")
    assert answer.status_code == 404
    assert "There is no switch nowhere in eu-1-a." in words(answer.text)


def test_hostile_names_stay_text(reader: Client) -> None:
    leaf = make_fabric(factories.make_cluster())
    Switch.objects.filter(pk=leaf.pk).update(model="<script>alert(1)</script>")
    HealthEvent.objects.create(
        switch=leaf, code="<img src=x>", detail="</li><b>", started=timezone.now()
    )
    page = reader.get(LEAF).text
    assert "<script>alert(1)" not in page
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;" in page


@pytest.mark.parametrize("nodes", [2, 9])
def test_the_page_costs_the_same_for_any_switch(
    reader: Client, django_assert_num_queries: DjangoAssertNumQueries, nodes: int
) -> None:
    make_fabric(factories.make_cluster(), nodes)
    reader.get(LEAF)
    # session, person, preferences, 5 of the strip; switch, 2 of use, links, domains, 3 of nodes,
    # 2 of events, audit, 3 of permissions
    with django_assert_num_queries(24):
        reader.get(LEAF)


def test_only_the_facts_are_fetched_again(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    first = reader.get(LEAF, headers={"HX-Request": "true"})
    assert "<html" not in first.text
    given = {"HX-Request": "true", "If-None-Match": first["ETag"]}
    assert reader.get(LEAF, headers=given).status_code == 304
    Node.objects.update(health="failed")
    assert reader.get(LEAF, headers=given).status_code == 200


def test_strangers_sign_in(client: Client, db: None) -> None:  # noqa: ARG001
    assert client.get(LEAF)["Location"].startswith("/sign-in/")
    assert client.get("/fleet/switches/")["Location"].startswith("/sign-in/")


def test_the_list_is_narrowed_by_tier(reader: Client) -> None:
    make_fabric(factories.make_cluster())
    page = reading(reader, "/fleet/switches/")
    # 4 cables down and 2 up; the spine has the same 2, written down at the leaf
    assert "leaf-1 0 3 compute ok 4 6" in page
    assert "spine-1 1 — compute ok 0 2" in page
    assert "2 of 2 switches" in page
    assert "leaf-1" not in reading(reader, "/fleet/switches/?tier=1")
    none = reading(reader, "/fleet/switches/?tier=unknown")
    assert "No switch of eu-1-a is of that tier" in none


def test_a_list_without_switches_says_where_they_come_from(reader: Client) -> None:
    assert "No switch is known" in reading(reader, "/fleet/switches/")
    factories.make_cluster()
    assert "No switch is known of eu-1-a" in reading(reader, "/fleet/switches/?cluster=eu-1-a")
    assert reader.get("/fleet/switches/?cluster=nowhere").status_code == 404
