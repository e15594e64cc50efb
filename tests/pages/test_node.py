"""The page of one node: where it is, why it takes nothing, its labels, and what people did."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, ServiceStatus
from inventory.models import Fabric, Gpu, HealthEvent, Link, Nic, Node, Switch
from tests.factories import NOW, make_cluster, make_hardware, make_nodes, make_service
from tests.services.people import person

pytestmark = pytest.mark.django_db


def signed_in(role: str = "Inventory editor", name: str = "ed") -> Client:
    client = Client()
    client.force_login(person(name, role))
    return client


@pytest.fixture
def node() -> Node:
    return make_nodes(make_cluster(), make_hardware(), 2)[0]


def leaf_of(node: Node, name: str) -> Switch:
    fabric = Fabric.objects.get_or_create(cluster=node.cluster, name="ib")[0]
    return Switch.objects.create(cluster=node.cluster, fabric=fabric, name=name, tier=0)


def text_of(client: Client, node: Node) -> str:
    return client.get(node.get_absolute_url()).content.decode()


def runs(node: str, state: str = "ready") -> None:
    ServiceStatus.objects.update(
        observed_at=timezone.now(),
        instances=[
            {"name": "chat-d-1", "role": "decode", "group": "g", "node": node, "state": state}
        ],
    )


def test_where_what_and_who(node: Node) -> None:
    make_service("chat")
    runs("h800-000,h800-001")
    text = text_of(signed_in(), node)
    place = text.partition('aria-label="Place"')[2].partition("</nav>")[0]
    for step in ("eu-1", "?cluster=eu-1-a", "s2=s2-01", "s1=s1-01", "r01"):
        assert step in place
    for word in ("Takes new instances", "chat-d-1", "decode", "h800-001", "H800"):
        assert word in text


def test_every_term_that_keeps_instances_away_is_named(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(
        lifecycle="decommissioning",
        admin_state="draining",
        admin_by="ana",
        admin_reason="leak",
        admin_at=NOW,
        health="failed",
        health_reason="XID 79",
        reserved_for="search",
        missing_since=NOW,
    )
    text = text_of(signed_in(), node)
    said = text.partition("Takes no new instance: ")[2].partition("</p>")[0]
    assert said == (
        "it is decommissioning; it is draining; its health is failed; it is reserved for search;"
        " its source no longer lists it."
    )
    assert "by ana" in text
    assert "leak" in text


def test_unknown_use_is_said_and_no_zero(node: Node) -> None:
    text = text_of(signed_in(), node)
    assert "it is not known, which is not none" in text
    Node.objects.filter(pk=node.pk).update(gpus=None)
    assert '<dd class="big">?</dd>' in text_of(signed_in(name="ben"), node)


def test_its_parts_and_events(node: Node) -> None:
    gpu = Gpu.objects.create(
        node=node, index=3, uuid="GPU-3", model="H800", memory_mib=81559, health="failed",
        ecc_uncorrected=7, xid_last=79,
    )  # fmt: skip
    Nic.objects.create(node=node, name="mlx5_3", rail=3, speed_gbps=400, guid="00aa")
    leaf = leaf_of(node, "leaf-03")
    Link.objects.create(
        cluster=node.cluster, switch=leaf, port="7", node=node, peer_port="mlx5_3", speed_gbps=400
    )
    HealthEvent.objects.create(gpu=gpu, code="XID 79", severity="critical", started=NOW)
    HealthEvent.objects.create(node=node, code="reboot", started=NOW, ended=NOW)
    text = text_of(signed_in(), node)
    for word in ("GPU-3", "81,559 MiB", "leaf-03", "mlx5_3", "400 Gb/s", "rail 3", "1 open"):
        assert word in text
    assert text.index("XID 79") < text.index("reboot")


def test_contradicting_counts_are_shown(node: Node) -> None:
    # I04: never the larger number.
    make_service("chat")
    runs("h800-000")
    Node.objects.filter(pk=node.pk).update(gpus=8, gpus_allocatable=1)
    text = text_of(signed_in(), node)
    assert "Instances hold 2 GPUs; the cluster hands out 1. The smaller number is free." in text


def test_its_address_is_written_one_way(node: Node) -> None:
    client = signed_in()
    answer = client.get("/fleet/nodes/EU-1-A/H800-000/")
    assert (answer.status_code, answer["Location"]) == (302, node.get_absolute_url())
    gone = client.get("/fleet/nodes/eu-1-a/h800-999/")
    assert gone.status_code == 404
    assert "There is no node h800-999 in eu-1-a." in gone.content.decode()


def test_a_retired_node_keeps_its_page_and_leaves_the_table(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(lifecycle="retired", admin_state="maintenance")
    client = signed_in()
    assert "it is retired" in text_of(client, node)
    table = client.get("/fleet/").content.decode()
    assert "h800-000" not in table
    assert "1 retired</a> not shown" in table
    assert "h800-000" in client.get("/fleet/?lifecycle=retired").content.decode()


@pytest.mark.parametrize("role", ["Viewer", "Operator"])
def test_what_one_may_not_do_is_shown_with_what_it_needs(node: Node, role: str) -> None:
    client = signed_in(role)
    text = text_of(client, node)
    assert "Changing the inventory needs the role Inventory editor" in text
    assert ("needs the role Operator" in text) == (role == "Viewer")
    answer = client.post(f"{node.get_absolute_url()}labels/", {"labels": "a=b", "seen": "{}"})
    assert answer.status_code == 403
    assert AuditEvent.objects.get().verb == "was refused change_node"


# Labels.


def relabel(client: Client, node: Node, seen: dict[str, str], labels: str) -> Any:
    return client.post(
        f"{node.get_absolute_url()}labels/", {"seen": json.dumps(seen), "labels": labels}
    )


def test_labels_are_edited_and_taken_back(node: Node) -> None:
    client = signed_in()
    Node.objects.update(labels={"tier": "gold"})
    assert relabel(client, node, {"tier": "gold"}, "team=search\ntier=silver").status_code == 302
    node.refresh_from_db()
    assert node.labels == {"team": "search", "tier": "silver"}
    assert node.managed_fields == {"labels": "manual"}
    text = text_of(client, node)
    assert "Undo my change" in text
    assert "labels: tier=gold → team=search, tier=silver" in text
    assert "Undo my change" not in text_of(signed_in(name="ben"), node)
    relabel(client, node, node.labels, "tier=gold")
    node.refresh_from_db()
    assert node.labels == {"tier": "gold"}
    assert AuditEvent.objects.filter(verb="labelled").count() == 2


def test_labels_that_somebody_else_changed_are_not_written_over(node: Node) -> None:
    client = signed_in()
    Node.objects.update(labels={"tier": "gold"})
    answer = relabel(client, node, {"tier": "silver"}, "tier=bronze")
    assert answer.status_code == 409
    text = answer.content.decode()
    assert "others changed its labels: tier: silver → gold" in text
    assert "tier=bronze</textarea>" in text
    node.refresh_from_db()
    assert (node.labels, node.version) == ({"tier": "gold"}, 1)


def test_other_changes_do_not_stand_in_the_way_of_labels(node: Node) -> None:
    Node.objects.update(version=9, admin_state="cordoned")
    assert relabel(signed_in(), node, {}, "tier=gold").status_code == 302


@pytest.mark.parametrize("labels", ["a b=c", "tier=" + "x" * 64])
def test_bad_labels_are_named_and_kept_in_the_form(node: Node, labels: str) -> None:
    answer = relabel(signed_in(), node, {}, labels)
    assert answer.status_code == 400
    text = answer.content.decode()
    assert "is no label" in text
    assert f"{labels}</textarea>" in text


@pytest.mark.parametrize("seen", ["", "null", "[1]", "{", '{"a": {"b": 1}}'])
def test_a_form_that_is_not_ours_changes_nothing(node: Node, seen: str) -> None:
    Node.objects.update(labels={"tier": "gold"})
    answer = signed_in().post(f"{node.get_absolute_url()}labels/", {"seen": seen, "labels": "a=b"})
    assert answer.status_code == 409


def test_a_field_that_a_person_holds_is_given_back(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(managed_fields={"labels": "manual"})
    client = signed_in()
    assert "set by a person, kept by imports" in text_of(client, node)
    url = f"{node.get_absolute_url()}release/"
    client.post(url, {"field": "labels", "version": "7"})
    node.refresh_from_db()
    assert node.managed_fields == {"labels": "manual"}
    client.post(url, {"field": "labels", "version": str(node.version)})
    node.refresh_from_db()
    assert node.managed_fields == {}
    assert AuditEvent.objects.filter(verb="gave back to imports").count() == 1


def test_queries_do_not_grow_with_parts(
    node: Node, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = signed_in()
    make_service("chat")
    text_of(client, node)

    def fill(count: int, at: int) -> None:
        leaf = leaf_of(node, f"leaf-{at}")
        for i in range(at, at + count):
            gpu = Gpu.objects.create(node=node, index=i)
            Nic.objects.create(node=node, name=f"m{i}")
            Link.objects.create(
                cluster=node.cluster, switch=leaf, port=f"{i}", node=node, peer_port=f"m{i}"
            )
            HealthEvent.objects.create(gpu=gpu, code="x", started=NOW)
            AuditEvent.objects.create(
                at=NOW, actor="a", verb="v", object_type="node", object_id=str(node.pk)
            )

    fill(1, 0)
    runs("h800-000")
    with django_assert_max_num_queries(60) as few:
        text_of(client, node)
    fill(6, 1)
    with django_assert_max_num_queries(60) as many:
        text_of(client, node)
    assert len(many) == len(few)


def test_what_did_not_change_is_not_sent_again(node: Node) -> None:
    client = signed_in()
    first = client.get(node.get_absolute_url(), headers={"HX-Request": "true"})
    again = {"HX-Request": "true", "If-None-Match": first["ETag"]}
    assert client.get(node.get_absolute_url(), headers=again).status_code == 304
    Node.objects.update(admin_state="cordoned")
    assert client.get(node.get_absolute_url(), headers=again).status_code == 200
