"""The table of nodes: what an operator reads, narrows, ticks and changes."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, ServiceStatus
from controller.selectors.fleet import PAGE, read_fleet
from controller.selectors.fleet_filters import Filters
from inventory.gpus import PARTS
from inventory.models import InventoryVersion, LocalityDomain, Node, Service
from tests.factories import NOW, make_cluster, make_hardware, make_nodes, make_service
from tests.services.people import person

pytestmark = pytest.mark.django_db


def signed_in(role: str) -> Client:
    client = Client()
    client.force_login(person("ana", role))
    return client


def runs(slug: str, *nodes: str, state: str = "ready") -> None:
    """Put one decode instance of two GPUs on each node, as of now."""
    ServiceStatus.objects.filter(service__slug=slug).update(
        observed_at=timezone.now(),
        instances=[
            {"name": f"{slug}-{i}", "role": "decode", "group": "g", "node": node, "state": state}
            for i, node in enumerate(nodes)
        ],
    )


@pytest.fixture
def fleet() -> list[Node]:
    nodes = make_nodes(make_cluster(), make_hardware(), 4)
    make_service("chat")
    runs("chat", "h800-000", "h800-000", "h800-001")
    return nodes


def send(client: Client, path: str, **fields: Any) -> Any:
    return client.post(path, fields)


def ticked(*nodes: Node) -> list[str]:
    return [f"{node.pk}:{node.version}" for node in nodes]


def test_an_empty_fleet_says_how_to_fill_it() -> None:
    text = signed_in("Viewer").get("/fleet/").content.decode()
    assert "No node yet" in text
    assert "kubectl get nodes -o json" in text


@pytest.mark.usefixtures("fleet")
def test_the_table_says_where_what_and_how_much() -> None:
    text = signed_in("Viewer").get("/fleet/").content.decode()
    for word in ("h800-000", "s2-01", "s1-01", "r01", "H800", "chat"):
        assert word in text
    # 4 nodes of 8: 3 instances of 2 GPUs are in use, the rest is free.
    assert [count for _, count, _, _ in read_fleet(Filters(), timezone.now()).links] == [
        6, 26, 0, 0, 0, 0,
    ]  # fmt: skip


@pytest.mark.usefixtures("fleet")
def test_unknown_use_is_not_free() -> None:
    ServiceStatus.objects.update(observed_at=NOW)
    found = read_fleet(Filters(), timezone.now())
    assert (found.parts.free, found.parts.unknown) == (0, 26)
    assert "Nobody reports what runs" in signed_in("Viewer").get("/fleet/").content.decode()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"text": ["000"]}, ["h800-000"]),
        ({"text": ["team=se"]}, ["h800-001"]),
        ({"health": ["failed"]}, ["h800-002"]),
        (
            {"health": ["failed", "ok"], "state": ["in_service"]},
            ["h800-000", "h800-001", "h800-002"],
        ),
        ({"state": ["cordoned"]}, ["h800-003"]),
        ({"service": ["chat"]}, ["h800-000", "h800-001"]),
        ({"gpus": ["unhealthy"]}, ["h800-002"]),
        ({"schedulable": ["no"]}, ["h800-002", "h800-003"]),
        ({"rack": ["none"]}, []),
        ({"use": ["part"]}, ["h800-000", "h800-001"]),
        ({"use": ["empty"], "schedulable": ["yes"]}, []),
        ({"sort": ["-name"]}, ["h800-003", "h800-002", "h800-001", "h800-000"]),
        ({"sort": ["use"]}, ["h800-000", "h800-001", "h800-002", "h800-003"]),
        ({"sort": ["nonsense"], "page": ["x" * 400]}, [f"h800-00{i}" for i in range(4)]),
    ],
    ids=str,
)
def test_filters_narrow_the_table(
    fleet: list[Node], query: dict[str, list[str]], names: list[str]
) -> None:
    Node.objects.filter(pk=fleet[1].pk).update(labels={"team": "search"})
    Node.objects.filter(pk=fleet[2].pk).update(health="failed")
    Node.objects.filter(pk=fleet[3].pk).update(admin_state="cordoned")
    found = read_fleet(Filters.of(query), timezone.now())
    assert [line.name for line in found.lines] == names


def test_every_number_is_the_list_that_makes_it_up(fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[2].pk).update(health="failed")
    Node.objects.filter(pk=fleet[3].pk).update(reserved_for="ana")
    everything = read_fleet(Filters(), timezone.now())
    assert everything.parts.total == sum(getattr(everything.parts, part) for part in PARTS) == 32
    for part in PARTS:
        found = read_fleet(Filters.of({"gpus": [part]}), timezone.now())
        assert getattr(found.parts, part) == getattr(everything.parts, part)


def test_a_facet_counts_what_its_choice_would_show(fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[2].pk).update(health="failed")
    Node.objects.filter(pk=fleet[3].pk).update(health="failed", admin_state="cordoned")
    found = read_fleet(Filters.of({"state": ["cordoned"]}), timezone.now())
    for facet in found.facets:
        for choice in facet.choices:
            query = {"state": ["cordoned"]} | {facet.name: [choice.value]}
            shown = read_fleet(Filters.of(query), timezone.now()).matching
            assert shown == choice.count, (facet.name, choice)


def test_a_number_in_several_units_of_pages(fleet: list[Node]) -> None:
    make_nodes(fleet[0].cluster, make_hardware("h20"), PAGE + 1)
    client = signed_in("Viewer")
    assert "page 1 of 2" in client.get("/fleet/").content.decode()
    last = client.get("/fleet/?page=999").content.decode()
    assert "page 2 of 2" in last


@pytest.mark.parametrize("path", ["/fleet/", "/fleet/?text=h&health=ok&sort=place"])
def test_queries_do_not_grow_with_nodes(
    fleet: list[Node], path: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = signed_in("Operator")
    client.get(path)
    with django_assert_max_num_queries(60) as few:
        client.get(path)
    make_nodes(fleet[0].cluster, make_hardware("h20"), 60)
    for i in range(5):
        make_service(f"s{i}")
    with django_assert_max_num_queries(60) as many:
        client.get(path)
    assert len(many) == len(few)


def test_names_from_files_are_text(fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[0].pk).update(health_reason="<script>alert(1)</script>")
    assert "<script>alert" not in signed_in("Viewer").get("/fleet/").content.decode()


def test_a_change_is_shown_before_it_is_done(fleet: list[Node]) -> None:
    client = signed_in("Operator")
    text = send(
        client, "/fleet/change/", action="cordon", node=ticked(*fleet[:2])
    ).content.decode()
    assert "Cordon 2 nodes, 16 GPUs?" in text
    assert "chat: 3 of 3 decode instances there, none elsewhere" in text
    assert "H800 in eu-1-a: 26 → 16 free GPUs" in text
    assert not Node.objects.exclude(admin_state="in_service").exists()


def test_a_confirmed_change_is_done_and_told(fleet: list[Node]) -> None:
    client = signed_in("Operator")
    fields = {"action": "cordon", "node": ticked(*fleet[:2]), "confirm": "1"}
    answer = send(client, "/fleet/change/", **fields, reason="fan is loud", back="/fleet/?page=1")
    assert (answer.status_code, answer["Location"]) == (302, "/fleet/?page=1")
    node = Node.objects.get(pk=fleet[0].pk)
    assert (node.admin_state, node.admin_by, node.admin_reason) == (
        "cordoned",
        "ana",
        "fan is loud",
    )
    assert (node.schedulable, node.version) == (False, fleet[0].version + 1)
    assert node.managed_fields == {"admin_state": "manual", "lifecycle": "manual"}
    events = AuditEvent.objects.filter(verb="cordoned")
    assert [event.object_id for event in events.order_by("object_id")] == sorted(
        str(one.pk) for one in fleet[:2]
    )
    assert len(set(events.values_list("request_id", flat=True))) == 1
    assert InventoryVersion.objects.get().counts == {"nodes cordoned": 2}


def test_without_a_reason_nothing_is_done(fleet: list[Node]) -> None:
    answer = send(
        signed_in("Operator"), "/fleet/change/", action="drain", node=ticked(fleet[0]), confirm="1"
    )
    assert answer.status_code == 400
    assert "Give a reason" in answer.content.decode()
    assert not Node.objects.exclude(admin_state="in_service").exists()


def test_who_saw_an_older_state_changes_nothing(fleet: list[Node]) -> None:
    client = signed_in("Operator")
    seen = ticked(*fleet[:2])
    Node.objects.filter(pk=fleet[0].pk).update(version=9, admin_by="ben", admin_state="draining")
    answer = send(
        client, "/fleet/change/", action="cordon", node=seen, confirm="1", reason="as agreed"
    )
    assert answer.status_code == 409
    text = answer.content.decode()
    assert "1 node cordoned, 1 left alone" in text
    assert "it was changed meanwhile: it is active and draining now" in text


def test_the_last_node_of_a_domain_in_use_asks_for_its_gpus(fleet: list[Node]) -> None:
    # Product 1.6: the number of GPUs, which no muscle remembers.
    client = signed_in("Operator")
    fields = {"action": "drain", "node": ticked(*fleet), "confirm": "1", "reason": "move out"}
    text = send(client, "/fleet/change/", action="drain", node=ticked(*fleet)).content.decode()
    assert "The last node that takes instances leaves s1-01 in eu-1-a" in text
    for typed in ("", "31"):
        answer = send(client, "/fleet/change/", **fields, typed=typed)
        assert answer.status_code == 400
        assert Node.objects.filter(admin_state="in_service").count() == 4
    assert send(client, "/fleet/change/", **fields, typed="32").status_code == 302
    assert Node.objects.filter(admin_state="draining").count() == 4


def test_of_many_emptied_domains_five_are_named() -> None:
    nodes = make_nodes(make_cluster(), make_hardware(), 7)
    for i, node in enumerate(nodes):
        node.s1_domain = LocalityDomain.objects.create(
            cluster=node.cluster, level="S1", key=f"leaf-{i}", name=f"leaf-{i}"
        )
        node.save()
    make_service("chat")
    runs("chat", *(node.name for node in nodes))
    form = {"action": "drain", "node": ticked(*nodes)}
    text = send(signed_in("Operator"), "/fleet/change/", **form).content.decode()
    assert "leaf-4 in eu-1-a and 2 more, where services run" in text


def test_who_is_not_heard_of_still_runs_where_it_was(fleet: list[Node]) -> None:
    """I04: neither a drain nor a retirement takes silence for an empty node."""
    make_service("code")
    ServiceStatus.objects.filter(service__slug="chat").update(observed_at=NOW)
    ServiceStatus.objects.filter(service__slug="code").update(observed_at=timezone.now())
    client = signed_in("Inventory editor")
    change = {"node": ticked(fleet[0])}
    text = send(client, "/fleet/change/", action="drain", **change).content.decode()
    assert "not heard of lately, this is where they were last" in text
    text = send(client, "/fleet/change/", action="retire", **change).content.decode()
    assert "instances of chat held, as last heard of," in text
    place = f"/fleet/nodes/eu-1-a/{fleet[0].name}/"
    assert "when last heard of" in client.get(place).content.decode()


def test_all_that_match_may_be_chosen(fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[3].pk).update(health="failed")
    answer = send(
        signed_in("Operator"), "/fleet/change/", action="cordon", every="1", query="health=ok"
    )
    assert "Cordon 3 nodes, 24 GPUs?" in answer.content.decode()


def test_a_node_in_use_is_not_retired(fleet: list[Node]) -> None:
    client = signed_in("Inventory editor")
    fields = {"action": "retire", "confirm": "1", "reason": "sold"}
    answer = send(client, "/fleet/change/", **fields, node=ticked(fleet[0], fleet[3]))
    assert answer.status_code == 409
    assert "instances of chat hold 4 GPUs of it" in answer.content.decode()
    assert list(Node.objects.filter(lifecycle="retired")) == [fleet[3]]
    assert client.get(fleet[3].get_absolute_url()).status_code == 200


def test_labels_are_set_and_removed(fleet: list[Node]) -> None:
    client = signed_in("Inventory editor")
    Node.objects.update(labels={"old": "x", "kept": "y"})
    answer = send(
        client, "/fleet/change/", action="label", node=ticked(*fleet), confirm="1",
        labels="team=search, tier=gold", drop="old", reason="sorting",
    )  # fmt: skip
    assert answer.status_code == 302
    node = Node.objects.get(pk=fleet[0].pk)
    assert node.labels == {"kept": "y", "team": "search", "tier": "gold"}
    assert node.managed_fields == {"labels": "manual"}
    bad = send(
        client, "/fleet/change/", action="label", node=ticked(node), confirm="1",
        labels="a b=c", reason="x",
    )  # fmt: skip
    assert bad.status_code == 400
    assert "is no label key" in bad.content.decode()


@pytest.mark.parametrize(
    ("role", "action", "status"),
    [
        ("Viewer", "cordon", 403),
        ("Operator", "cordon", 302),
        ("Operator", "retire", 403),
        ("Operator", "label", 403),
        ("Inventory editor", "retire", 302),
    ],
)
def test_who_may_do_what(fleet: list[Node], role: str, action: str, status: int) -> None:
    answer = send(
        signed_in(role), "/fleet/change/", action=action, node=ticked(fleet[3]), confirm="1",
        reason="because", labels="a=b",
    )  # fmt: skip
    assert answer.status_code == status
    if status == 403:
        assert AuditEvent.objects.filter(verb__startswith="was refused").count() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "explode", "node": ["00000000-0000-0000-0000-000000000000:1"]},
        {"action": "cordon"},
        {"action": "cordon", "node": ["nonsense"]},
        {"action": "cordon", "node": ["00000000-0000-0000-0000-000000000000:x"]},
    ],
    ids=str,
)
def test_bad_forms_are_told(fleet: list[Node], fields: dict[str, Any]) -> None:  # noqa: ARG001
    answer = signed_in("Operator").post("/fleet/change/", fields, follow=True)
    assert answer.status_code == 200
    assert "message" in answer.content.decode() or "Tick" in answer.content.decode()


def test_a_link_out_of_the_fleet_is_not_followed(fleet: list[Node]) -> None:
    answer = send(
        signed_in("Operator"), "/fleet/change/", action="cordon", node=ticked(fleet[0]),
        confirm="1", reason="x", back="//evil.example/",
    )  # fmt: skip
    assert answer["Location"] == "/fleet/"


def test_many_nodes_change_in_as_many_statements_as_one(
    fleet: list[Node], django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    more = make_nodes(fleet[0].cluster, make_hardware("h20"), 40)
    client = signed_in("Operator")
    fields = {"action": "cordon", "confirm": "1", "reason": "x"}
    send(client, "/fleet/change/", **fields, node=ticked(fleet[0]))
    with django_assert_max_num_queries(60) as few:
        send(client, "/fleet/change/", **fields, node=ticked(more[0]))
    with django_assert_max_num_queries(60) as many:
        send(client, "/fleet/change/", **fields, node=ticked(*more[1:]))
    assert len(many) == len(few)
    assert Service.objects.count() == 1
