"""The inventory in the administration: quick, searchable, refusing by field, never unrecorded."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import AuditEvent
from inventory.models import (
    Cluster,
    Fabric,
    Gpu,
    HardwareAlias,
    HardwareType,
    HealthEvent,
    ImportChange,
    ImportFile,
    ImportRun,
    InventoryVersion,
    Link,
    LocalityDomain,
    Nic,
    Node,
    NvlinkDomain,
    Rack,
    Region,
    Reservation,
    ReservedNode,
    Site,
    Switch,
)
from tests.factories import NOW, make_cluster, make_hardware, make_nodes
from tests.pages.reading import words
from tests.services.people import person

pytestmark = pytest.mark.django_db

EDITED = (
    *(Region, Site, Cluster, Rack, HardwareType, Fabric, Switch, NvlinkDomain, Node, Gpu, Nic),
    *(Link, HealthEvent, Reservation),
)
SHOWN = (LocalityDomain, ImportRun, ImportFile, ImportChange, InventoryVersion)


def name_of(model: type) -> str:
    return model.__name__


def path_of(model: type, rest: str = "") -> str:
    return f"/admin/inventory/{model._meta.model_name}/{rest}"  # type: ignore[attr-defined]


@pytest.fixture
def root(client: Client) -> Client:
    """A superuser who is signed in."""
    client.force_login(User.objects.create_superuser("root", password="x"))
    return client


def fill(slug: str) -> Node:
    """Make one of everything in a cluster of its own."""
    cluster, hardware = make_cluster(slug, kind="record"), make_hardware(f"gpu-{slug}")
    nodes = make_nodes(cluster, hardware, 2)
    Region.objects.create(slug=f"r-{slug}")
    fabric = Fabric.objects.create(cluster=cluster)
    leaf, spine = (
        Switch.objects.create(cluster=cluster, fabric=fabric, name=f"{slug}-sw{n}", tier=n)
        for n in range(2)
    )
    gpu = Gpu.objects.create(node=nodes[0], index=0)
    nic = Nic.objects.create(node=nodes[0], name="mlx5_0")
    Link.objects.create(cluster=cluster, switch=leaf, node=nodes[0])
    Link.objects.create(cluster=cluster, switch=spine, peer=leaf)
    NvlinkDomain.objects.create(cluster=cluster, name="nvl")
    HardwareAlias.objects.create(hardware=hardware, text=f"word-{slug}")
    for part in ({"node": nodes[0]}, {"gpu": gpu}, {"nic": nic}, {"switch": leaf}):
        HealthEvent.objects.create(code="XID 79", started=NOW, **part)
    held = Reservation.objects.create(cluster=cluster, owner="ana", reason="x", begins=NOW)
    ReservedNode.objects.create(reservation=held, node=nodes[1], begins=NOW)
    run = ImportRun.objects.create(created_at=NOW)
    ImportFile.objects.create(run=run, name="a.json", size=1, body=b"x")
    ImportChange.objects.create(run=run, seq=1, operation="create", kind="node", name="n")
    InventoryVersion.objects.create(at=NOW, cause="edit", by="ana", run=run)
    return nodes[0]


@pytest.mark.parametrize("model", [*EDITED, *SHOWN], ids=name_of)
def test_a_list_costs_the_same_for_more_rows(root: Client, model: type) -> None:
    root.get(path_of(model))
    counts = []
    for slug in ("a", "b", "c"):
        fill(slug)
        with CaptureQueriesContext(connection) as queries:
            assert root.get(path_of(model)).status_code == 200
        counts.append(len(queries))
    assert len(set(counts[1:])) == 1
    assert counts[-1] <= 12


@pytest.mark.parametrize("model", [*EDITED, *SHOWN], ids=name_of)
def test_a_list_can_be_searched_and_does_not_count_all_rows(root: Client, model: type) -> None:
    fill("a")
    page = root.get(path_of(model, "?q=nothing-has-this-name"))
    assert page.status_code == 200
    assert "0 results" in words(page.content.decode())
    assert not admin.site._registry[model].show_full_result_count


@pytest.mark.parametrize("model", EDITED, ids=name_of)
def test_a_form_costs_the_same_however_large_the_fleet_is(root: Client, model: Any) -> None:
    root.get(path_of(model, "add/"))
    counts, sizes = [], []
    for slug in ("a", "b", "c"):
        fill(slug)
        row = model.objects.first()
        for rest in ("add/", f"{row.pk}/change/"):
            with CaptureQueriesContext(connection) as queries:
                answer = root.get(path_of(model, rest))
            assert answer.status_code == 200
            counts.append(len(queries))
            sizes.append(answer.content.count(b"<option"))
    assert counts[:2] == counts[2:4] == counts[4:]
    # No list of all nodes, switches or racks to choose from.
    assert sizes[:2] == sizes[2:4] == sizes[4:]


@pytest.mark.parametrize("model", SHOWN, ids=name_of)
def test_what_is_derived_or_recorded_is_only_looked_at(root: Client, model: Any) -> None:
    fill("a")
    row = model.objects.first()
    page = root.get(path_of(model, f"{row.pk}/change/"))
    assert page.status_code == 200
    assert 'name="_save"' not in page.content.decode()
    assert root.get(path_of(model, "add/")).status_code == 403
    assert root.post(path_of(model, f"{row.pk}/delete/"), {"post": "yes"}).status_code == 403


def node_form(node: Node, **changed: Any) -> dict[str, Any]:
    form = {
        "cluster": node.cluster_id,
        "name": node.name,
        "hardware": node.hardware_id or "",
        "gpus": 8,
        "gpus_allocatable": "",
        "rack": node.rack_id or "",
        "u_position": node.u_position or "",
        "u_height": node.u_height,
        "face": node.face,
        "tiers": "s1-01, s2-01",
        "nvlink_domain": "",
        "lifecycle": "active",
        "admin_state": "in_service",
        "health": "ok",
        "labels": "{}",
        "seen": node.version,
        "reason": "",
    }
    texts = ("serial", "asset_tag", "provider_id", "k8s_uid", "instance_type", "health_reason")
    return form | dict.fromkeys((*texts, "driver", "cuda"), "") | changed


@pytest.fixture
def node() -> Node:
    return make_nodes(make_cluster(kind="record"), make_hardware(), 2)[0]


def change(root: Client, node: Node, **changed: Any) -> Any:
    return root.post(path_of(Node, f"{node.pk}/change/"), node_form(node, **changed))


def test_a_change_is_a_version_an_audit_event_and_held_against_imports(
    root: Client, node: Node
) -> None:
    answer = change(root, node, serial="SN-1", labels='{"team": "search"}', reason="label")
    assert answer.status_code == 302, words(answer.content.decode())
    row = Node.objects.get(pk=node.pk)
    assert (row.serial, row.labels, row.version) == ("SN-1", {"team": "search"}, 2)
    assert row.managed_fields == {"serial": "manual", "labels": "manual"}
    event = AuditEvent.objects.get()
    assert (event.verb, event.actor, event.reason) == ("changed", "root", "label")
    assert event.before == {"serial": "", "labels": {}}
    assert event.after == {"serial": "SN-1", "labels": {"team": "search"}}
    assert InventoryVersion.objects.get().counts == {"nodes changed": 1}


def test_saving_without_a_change_changes_nothing(root: Client, node: Node) -> None:
    assert change(root, node).status_code == 302
    assert [event.after for event in AuditEvent.objects.all()] == []
    assert Node.objects.get(pk=node.pk).version == 1
    assert not AuditEvent.objects.exists()
    assert not InventoryVersion.objects.exists()


def test_a_state_is_changed_with_a_reason_that_the_node_shows(root: Client, node: Node) -> None:
    refused = change(root, node, admin_state="cordoned")
    assert "Say why its state changes" in words(refused.content.decode())
    assert change(root, node, admin_state="cordoned", reason="fan").status_code == 302
    row = Node.objects.get(pk=node.pk)
    assert (row.admin_state, row.admin_by, row.admin_reason) == ("cordoned", "root", "fan")
    assert row.admin_at is not None
    assert not row.schedulable


def test_a_change_nobody_saw_is_not_overwritten(root: Client, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(version=5, serial="theirs")
    answer = change(root, node, serial="mine")
    assert "Somebody changed this meanwhile" in words(answer.content.decode())
    assert Node.objects.get(pk=node.pk).serial == "theirs"


def test_a_changed_tier_moves_its_domain(root: Client, node: Node) -> None:
    assert change(root, node, tiers="s1-09, s2-01").status_code == 302
    row = Node.objects.select_related("s1_domain").get(pk=node.pk)
    assert row.s1_domain is not None
    assert row.s1_domain.name == "s1-09"


def test_a_level_nobody_knows_stays_unknown(root: Client, node: Node) -> None:
    assert change(root, node, tiers=", s2-01").status_code == 302
    row = Node.objects.get(pk=node.pk)
    assert row.tiers == [None, "s2-01"]
    page = root.get(path_of(Node, f"{node.pk}/change/")).content.decode()
    assert 'value=", s2-01"' in page
    assert change(root, row, tiers=", s2-01").status_code == 302
    assert Node.objects.get(pk=node.pk).version == row.version


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        pytest.param({"gpus": 10**6}, "less than or equal to 72", id="a million GPUs"),
        pytest.param({"gpus": -1}, "greater than or equal to 0", id="negative"),
        pytest.param({"gpus_allocatable": 73}, "less than or equal to 72", id="handed out"),
        pytest.param({"serial": "taken"}, "Another node has this serial.", id="serial"),
        pytest.param({"serial": "TAKEN"}, "Another node has this serial.", id="in capitals"),
        pytest.param({"name": "H800-001"}, "one of this name already", id="name"),
        pytest.param({"name": "a b"}, "letters, digits", id="no name"),
        pytest.param(
            {"u_position": 12, "u_height": 4}, "In the way: h800-001 on U10–U13", id="units"
        ),
        pytest.param({"u_position": 48, "u_height": 2}, "It would reach U49", id="beyond"),
        pytest.param({"rack": "", "u_position": 3}, "A position needs a rack.", id="no rack"),
        pytest.param({"u_position": 0}, "greater than or equal to 1", id="U0"),
        pytest.param({"labels": "[1]"}, "Give labels as a JSON object", id="labels"),
        pytest.param({"labels": '{"a b": "c"}'}, "a b", id="label"),
        pytest.param({"labels": '{"a": 1}'}, "has to be a text", id="label value"),
        pytest.param({"labels": "{"}, "valid JSON", id="no JSON"),
        pytest.param({"tiers": "x" * 300}, "at most 253 characters", id="tier"),
        pytest.param({"cluster": str(uuid4())}, "valid choice", id="cluster"),
    ],
)
def test_a_node_that_cannot_be_is_refused_in_words(
    root: Client, node: Node, changed: dict[str, Any], why: str
) -> None:
    other = Node.objects.exclude(pk=node.pk).get()
    Node.objects.filter(pk=other.pk).update(serial="taken", u_position=10, u_height=4)
    answer = change(root, node, **changed)
    assert answer.status_code == 200
    assert why in words(answer.content.decode())
    assert Node.objects.get(pk=node.pk).version == 1
    assert not AuditEvent.objects.exists()


def test_a_new_node_is_as_high_as_its_type(root: Client, node: Node) -> None:
    HardwareType.objects.update(u_height=8)
    form = node_form(node, name="new", u_height=1)
    answer = root.post(path_of(Node, "add/"), form)
    assert answer.status_code == 302, words(answer.content.decode())
    row = Node.objects.get(name="new")
    assert (row.u_height, row.source) == (8, "manual")
    assert row.s1_domain is not None
    assert AuditEvent.objects.get().verb == "added"


def test_a_removed_node_is_recorded(root: Client, node: Node) -> None:
    assert root.post(path_of(Node, f"{node.pk}/delete/"), {"post": "yes"}).status_code == 302
    event = AuditEvent.objects.get()
    assert (event.verb, event.before) == ("removed", {"name": "h800-000"})
    assert InventoryVersion.objects.get().counts == {"nodes removed": 1}


def gpu_form(node: Node, **changed: Any) -> dict[str, Any]:
    form = {"node": node.pk, "index": 0, "health": "ok", "labels": "{}", "row_remap_pending": ""}
    return form | changed


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"index": 0}, "This node has a GPU of this index already."),
        ({"index": 1, "uuid": "gpu-1"}, "Another GPU has this UUID."),
        ({"index": -1}, "greater than or equal to 0"),
        ({"index": 10**6}, "less than or equal to 32767"),
    ],
)
def test_a_gpu_is_there_once(root: Client, node: Node, changed: dict[str, Any], why: str) -> None:
    Gpu.objects.create(node=node, index=0, uuid="GPU-1")
    answer = root.post(path_of(Gpu, "add/"), gpu_form(node, **changed))
    assert why in words(answer.content.decode())
    assert Gpu.objects.count() == 1


@pytest.mark.parametrize(
    ("ends", "why"),
    [
        (("node", "peer"), "A cable ends at one node or one other switch"),
        ((), "A cable ends at one node or one other switch"),
        (("self",), "can't be cabled to itself"),
        (("stranger",), "belongs to another cluster"),
        (("node",), "Another cable is in this port."),
    ],
)
def test_a_cable_has_two_ends_of_one_cluster(
    root: Client, node: Node, ends: tuple[str, ...], why: str
) -> None:
    fabric = Fabric.objects.create(cluster=node.cluster)
    leaf, spine = (
        Switch.objects.create(cluster=node.cluster, fabric=fabric, name=name)
        for name in ("leaf", "spine")
    )
    Link.objects.create(cluster=node.cluster, switch=leaf, port="1", peer=spine)
    strange = make_nodes(make_cluster("other"), make_hardware(), 1)[0]
    given = {
        "node": {"node": node.pk},
        "peer": {"peer": spine.pk},
        "self": {"peer": leaf.pk},
        "stranger": {"node": strange.pk},
    }
    form = {"cluster": node.cluster_id, "switch": leaf.pk, "port": "1", "count": 1}
    for end in ends:
        form |= given[end]
    answer = root.post(path_of(Link, "add/"), form | {"state": "ok", "labels": "{}"})
    assert why in words(answer.content.decode())
    assert Link.objects.count() == 1


def test_an_event_is_about_one_thing_and_ends_after_it_starts(root: Client, node: Node) -> None:
    gpu = Gpu.objects.create(node=node, index=0)
    started = {"started_0": "2026-03-01", "started_1": "12:00"}
    form = {"code": "XID 79", "severity": "warning", **started}
    both = root.post(path_of(HealthEvent, "add/"), form | {"node": node.pk, "gpu": gpu.pk})
    assert "Name exactly one of node, GPU, switch and NIC." in words(both.content.decode())
    early = {"node": node.pk, "ended_0": "2026-03-01", "ended_1": "11:00"}
    over = root.post(path_of(HealthEvent, "add/"), form | early)
    assert "It can't end before it starts." in words(over.content.decode())
    assert root.post(path_of(HealthEvent, "add/"), form | {"node": node.pk}).status_code == 302
    event = HealthEvent.objects.get()
    changed = form | {"node": node.pk, "code": "XID 13"}
    answer = root.post(path_of(HealthEvent, f"{event.pk}/change/"), changed)
    assert answer.status_code == 302, words(answer.content.decode())
    assert AuditEvent.objects.first().after == {"code": "XID 13"}  # type: ignore[union-attr]


def reserve(node: Node, *nodes: Node, begins: str = "2026-03-01", **more: str) -> dict[str, Any]:
    form: dict[str, Any] = {
        "cluster": node.cluster_id,
        "owner": "bob",
        "reason": "load tests",
        "begins_0": begins,
        "begins_1": "12:00",
        "ends_0": "",
        "ends_1": "",
        "labels": "{}",
        "held-TOTAL_FORMS": len(nodes),
        "held-INITIAL_FORMS": 0,
        "held-MIN_NUM_FORMS": 0,
        "held-MAX_NUM_FORMS": 1000,
    }
    return form | {f"held-{i}-node": one.pk for i, one in enumerate(nodes)} | more


def test_a_reservation_holds_its_nodes_and_no_second_one_may(root: Client, node: Node) -> None:
    answer = root.post(path_of(Reservation, "add/"), reserve(node, node))
    assert answer.status_code == 302, words(answer.content.decode())
    assert Node.objects.get(pk=node.pk).reserved_for == "bob"
    assert ReservedNode.objects.get().begins == Reservation.objects.get().begins
    again = root.post(path_of(Reservation, "add/"), reserve(node, node, begins="2026-04-01"))
    assert "It is held for bob from 01 Mar 12:00." in words(again.content.decode())
    assert Reservation.objects.count() == 1
    before = {"ends_0": "2026-02-02", "ends_1": "12:00"}
    earlier = root.post(
        path_of(Reservation, "add/"), reserve(node, node, begins="2026-02-01", **before)
    )
    assert earlier.status_code == 302


def test_a_reservation_is_of_one_cluster_and_ends_after_it_begins(
    root: Client, node: Node
) -> None:
    strange = make_nodes(make_cluster("other"), make_hardware(), 1)[0]
    answer = root.post(path_of(Reservation, "add/"), reserve(node, strange))
    assert "belongs to another cluster" in words(answer.content.decode())
    ends = {"ends_0": "2026-02-01", "ends_1": "12:00"}
    answer = root.post(path_of(Reservation, "add/"), reserve(node, node, **ends))
    assert "It has to end after it begins." in words(answer.content.decode())
    assert not Reservation.objects.exists()


def test_the_end_of_a_reservation_is_that_of_its_nodes(root: Client, node: Node) -> None:
    root.post(path_of(Reservation, "add/"), reserve(node, node))
    row = Reservation.objects.get()
    ends = timezone.now() - timedelta(minutes=5)
    form = reserve(node, ends_0=f"{ends:%Y-%m-%d}", ends_1=f"{ends:%H:%M:%S}")
    form |= {"held-INITIAL_FORMS": 0, "seen": row.version}
    answer = root.post(path_of(Reservation, f"{row.pk}/change/"), form)
    assert answer.status_code == 302, words(answer.content.decode())
    held = ReservedNode.objects.get()
    assert held.ends is not None
    assert abs((held.ends - ends).total_seconds()) < 1
    assert Node.objects.get(pk=node.pk).reserved_for == ""


def type_form(row: HardwareType, *texts: str, **more: Any) -> dict[str, Any]:
    known = list(row.aliases.all())
    form: dict[str, Any] = {
        "vendor": row.vendor,
        "gpu_model": row.gpu_model,
        "gpus_per_node": 8,
        "gpu_memory_mib": row.gpu_memory_mib,
        "mem_bw_gb_s": row.mem_bw_gb_s,
        "bf16_tflops": row.bf16_tflops,
        "labels": "{}",
        "seen": row.version,
        "aliases-TOTAL_FORMS": len(known) + len(texts),
        "aliases-INITIAL_FORMS": len(known),
        "aliases-MIN_NUM_FORMS": 0,
        "aliases-MAX_NUM_FORMS": 1000,
    }
    for i, alias in enumerate(known):
        form |= {f"aliases-{i}-id": alias.pk, f"aliases-{i}-text": alias.text}
        form |= {f"aliases-{i}-hardware": row.pk}
    for i, text in enumerate(texts, len(known)):
        form |= {f"aliases-{i}-text": text, f"aliases-{i}-hardware": row.pk}
    return form | more


def test_words_for_a_type_are_its_own(root: Client) -> None:
    row, other = make_hardware("h800"), make_hardware("h20")
    HardwareAlias.objects.create(hardware=other, text="NVIDIA-H20")
    path = path_of(HardwareType, f"{row.pk}/change/")
    for word in ("h20", "nvidia-h20"):
        answer = root.post(path, type_form(row, word))
        assert f"Imports know {word} already: it means h20." in words(answer.content.decode())
    answer = root.post(path, type_form(row, "NVIDIA-H800"))
    assert answer.status_code == 302, words(answer.content.decode())
    assert [event.after for event in AuditEvent.objects.all()] == [{"aliases": ["NVIDIA-H800"]}]
    event = AuditEvent.objects.get()
    assert (event.before, event.after) == ({"aliases": []}, {"aliases": ["NVIDIA-H800"]})
    assert HardwareType.objects.get(pk=row.pk).version == 2
    million = root.post(path, type_form(row, gpus_per_node=10**6, seen=2))
    assert "less than or equal to 72" in words(million.content.decode())


def test_a_rack_is_no_lower_than_what_stands_in_it(root: Client, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(u_position=40, u_height=4)
    rack = Rack.objects.get()
    form = {"site": rack.site_id, "name": "r01", "numbering": "up", "labels": "{}", "seen": 1}
    answer = root.post(path_of(Rack, f"{rack.pk}/change/"), form | {"u_height": 42})
    assert "h800-000 reaches U43." in words(answer.content.decode())
    answer = root.post(path_of(Rack, f"{rack.pk}/change/"), form | {"u_height": 61})
    assert "less than or equal to 60" in words(answer.content.decode())
    answer = root.post(path_of(Rack, "add/"), form | {"name": "R01", "u_height": 48})
    assert "This site has a rack of this name already." in words(answer.content.decode())


def test_a_region_has_a_zone_there_is(root: Client) -> None:
    form = {"slug": "r", "name": "R", "time_zone": "Mars/Olympus", "labels": "{}"}
    answer = root.post(path_of(Region, "add/"), form)
    assert "Use a time zone such as" in words(answer.content.decode())
    assert root.post(path_of(Region, "add/"), form | {"time_zone": "UTC"}).status_code == 302


def test_an_editor_may_change_but_not_remove(node: Node) -> None:
    client = Client()
    editor = person("ed", "Inventory editor")
    editor.is_staff = True
    editor.save()
    client.force_login(editor)
    assert change(client, node, serial="SN-2").status_code == 302
    assert client.post(path_of(Node, f"{node.pk}/delete/"), {"post": "yes"}).status_code == 403
