"""Imports in the browser: the box, the plan, agreeing to it, taking it back, and every refusal."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent
from inventory.models import HardwareType, ImportRun, InventoryVersion, Node
from tests.services.people import person

pytestmark = pytest.mark.django_db

CSV = """region,cluster,s2,s1,rack,u,node,sku,gpus
eu-1,eu-1-a,sp-1,su-01,R101,,gpu[001-004],h200-8,8
eu-1,eu-1-a,sp-1,su-02,R102,,gpu005,h200-8,8
"""


@pytest.fixture
def client() -> Client:
    made = Client()
    made.force_login(person("ana", "Inventory editor"))
    return made


def put_in(client: Client, text: str = CSV, **fields: Any) -> Any:
    given = {"key": str(uuid4()), "pasted": text} | fields
    return client.post("/imports/new/", given, follow=True)


def apply(client: Client, run: ImportRun, **fields: Any) -> Any:
    given = {"digest": run.digest} | fields
    return client.post(f"/imports/{run.pk}/apply/", given, follow=True)


def newest() -> ImportRun:
    found = ImportRun.objects.first()
    assert found is not None
    return found


def test_without_any_import_the_page_says_what_can_be_read(client: Client) -> None:
    text = client.get("/imports/").content.decode()
    assert "No import yet" in text
    for tool in ("kubectl get nodes -o json", "ibnetdiscover", "nvidia-smi", "lldpcli", "NetBox"):
        assert tool in text


def test_a_pasted_table_becomes_a_plan_and_nothing_else(client: Client) -> None:
    text = put_in(client).content.decode()
    assert "pasted would change" in text
    assert "5 nodes new" in text
    assert "S1 = " in text
    assert not Node.objects.exists()
    assert newest().state == "planned"


def test_an_agreed_plan_is_written_and_told(client: Client) -> None:
    put_in(client)
    answer = apply(client, newest(), reason="first fleet")
    assert answer.status_code == 200
    run = newest()
    assert (run.state, run.applied_name, run.reason) == ("applied", "ana", "first fleet")
    assert Node.objects.filter(cluster__slug="eu-1-a", s1_domain__name="su-01").count() == 4
    assert f"inventory version {run.inventory_version}" in answer.content.decode()
    assert InventoryVersion.objects.count() == 1
    assert AuditEvent.objects.filter(object_type="importrun").exists()


def test_the_same_again_is_calm(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    text = put_in(client).content.decode()
    assert "No changes: all that pasted says is there already" in text
    assert "The inventory says the same as the files." in text


def test_an_import_is_taken_back(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    run = newest()
    fields = {"key": str(uuid4()), "reason": "wrong hall", "gpus": "40"}
    text = client.post(f"/imports/{run.pk}/revert/", fields, follow=True).content.decode()
    assert not Node.objects.exists()
    assert "Revert of" in text
    assert "It was taken back" in client.get(f"/imports/{run.pk}/").content.decode()
    again = client.post(f"/imports/{run.pk}/revert/", fields | {"key": str(uuid4())})
    assert again.status_code == 409


def test_each_group_opens_to_fields_before_and_after(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("R102", "R103"))
    path = f"/imports/{newest().pk}/?operation=change&kind=node"
    text = client.get(path).content.decode()
    assert "gpu005" in text
    assert "R102" in text
    assert "R103" in text


def test_files_and_pasted_text_go_together(client: Client) -> None:
    more = SimpleUploadedFile("more.csv", b"cluster,node,gpus\neu-1-a,gpu006,8\n")
    text = put_in(client, uploads=[more]).content.decode()
    assert "6 nodes new" in text
    assert "more.csv" in text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"PK\x03\x04", "zip file"),
        (b"\xff\xfe\x00", "UTF-16"),
        (b"node,gpus\n\xff\xfe\n", "is no UTF-8"),
        (b"a: &a [1]\nversion: 1\nb: *a\n", ""),
        (b"   ", "the file is empty"),
        (b"<!DOCTYPE x [<!ENTITY a 'b'>]><nvidia_smi_log>&a;</nvidia_smi_log>", ""),
    ],
    ids=["zip", "utf-16", "utf-8", "yaml alias", "empty", "xml entity"],
)
def test_what_can_not_be_read_is_refused_in_words(client: Client, body: bytes, said: str) -> None:
    answer = put_in(client, "", uploads=[SimpleUploadedFile("x.txt", body)])
    text = answer.content.decode()
    run = newest()
    assert run.state == "failed" or run.errors, text
    assert said in (run.error + json.dumps(run.errors))
    assert not Node.objects.exists()


def test_bad_rows_are_listed_with_line_and_field(client: Client) -> None:
    text = put_in(client, "node,gpus\na,-1\nb,1000000\nc,8\n").content.decode()
    assert "2 things to mend" in text
    assert "a node has 0 to 72 GPUs, not 1,000,000" in text
    assert "Apply" not in text.replace("Apply it", "")
    run = newest()
    sheet = client.get(f"/imports/{run.pk}/errors.csv").content.decode()
    assert "pasted,3,gpus," in sheet
    assert apply(client, run).status_code == 409
    assert not Node.objects.exists()


def test_nothing_at_all_is_refused(client: Client) -> None:
    answer = put_in(client, "")
    assert answer.status_code == 400
    assert "Choose a file, or paste" in answer.content.decode()


def test_many_missing_nodes_ask_for_their_gpus(client: Client) -> None:
    # I02: more than a fifth of a cluster.
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("[001-004]", "[001-002]"))
    run = newest()
    text = client.get(f"/imports/{run.pk}/").content.decode()
    assert "2 of 5 nodes of eu-1-a" in text
    for typed in ("", "8"):
        assert apply(client, run, gpus=typed).status_code == 400
    assert not Node.objects.exclude(missing_since=None).exists()
    assert apply(client, run, gpus="16").status_code == 200
    assert Node.objects.exclude(missing_since=None).count() == 2
    assert Node.objects.count() == 5, "marked, never deleted"


def test_a_part_misses_nothing(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("[001-004]", "[001-002]"), part="1")
    assert newest().counts.get("missing", 0) == 0


def test_a_new_type_is_merged_into_one_that_is_there(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("h200-8", "h200-sxm"))
    run = newest()
    path = f"/imports/{run.pk}/?operation=create&kind=hardware"
    assert "is the same as" in client.get(path).content.decode()
    client.post(f"/imports/{run.pk}/replan/", {"new": "h200-sxm", "same_as": "h200-8"})
    apply(client, newest())
    assert list(HardwareType.objects.values_list("slug", flat=True)) == ["h200-8"]
    assert Node.objects.filter(hardware__slug="h200-8").count() == 5


def test_other_label_keys_plan_the_same_files_anew(client: Client) -> None:
    items = [
        {
            "kind": "Node",
            "metadata": {
                "name": f"n{i}",
                "uid": f"u{i}",
                "labels": {"own/leaf": f"l{i // 2}", "own/spine": "s", "own/row": f"r{i}"},
            },
            "status": {"capacity": {"nvidia.com/gpu": "8"}},
        }
        for i in range(4)
    ]
    put_in(client, json.dumps({"kind": "List", "items": items}), levels="own/row,own/spine")
    assert any("4 values" in line for line in newest().summary)
    fields = {"choices": "1", "levels": "own/leaf, own/spine"}
    client.post(f"/imports/{newest().pk}/replan/", fields)
    assert any("own/leaf (2 values" in line for line in newest().summary)


def test_the_same_form_makes_one_import(client: Client) -> None:
    key = str(uuid4())
    put_in(client, key=key)
    put_in(client, key=key)
    assert ImportRun.objects.count() == 1
    assert put_in(client, CSV + "x,y\n", key=key).status_code == 409


def test_another_plan_than_the_one_seen_is_not_written(client: Client) -> None:
    put_in(client)
    run = newest()
    answer = client.post(f"/imports/{run.pk}/apply/", {"digest": "0" * 64})
    assert answer.status_code == 409
    assert "look at it again" in answer.content.decode()
    assert not Node.objects.exists()


def test_what_waits_can_be_cancelled(client: Client) -> None:
    put_in(client)
    client.post(f"/imports/{newest().pk}/cancel/")
    assert newest().state == "cancelled"
    assert apply(client, newest()).status_code == 409


def test_who_only_looks_sees_the_plan_and_can_not_write_it(client: Client) -> None:
    put_in(client)
    run = newest()
    viewer = Client()
    viewer.force_login(person("vic", "Viewer"))
    text = viewer.get(f"/imports/{run.pk}/").content.decode()
    assert "needs Inventory editor" in text
    assert viewer.post(f"/imports/{run.pk}/apply/", {"digest": run.digest}).status_code == 403
    assert viewer.post("/imports/new/", {"pasted": CSV}).status_code == 403
    assert Client().get("/imports/").status_code == 302


def test_names_from_files_are_text(client: Client) -> None:
    text = put_in(client, "node,gpus\n<script>alert(1)</script>,8\n").content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in text


def test_queries_do_not_grow_with_the_plan(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counts = []
    for nodes in ("[001-002]", "[001-120]"):
        put_in(client, CSV.replace("[001-004]", nodes))
        path = f"/imports/{newest().pk}/?operation=create&kind=node"
        with django_assert_max_num_queries(40) as seen:
            client.get(path)
        counts.append(len(seen))
    assert counts[0] == counts[1]
    client.get("/imports/")
    with django_assert_max_num_queries(40) as few:
        client.get("/imports/")
    for _ in range(4):
        put_in(client)
    with django_assert_max_num_queries(40) as many:
        client.get("/imports/")
    assert len(few) == len(many)


def test_a_stranger_sends_no_large_file(client: Client) -> None:
    from heteroscale_site.uploads import LARGEST_UPLOAD  # noqa: PLC0415

    large = b"node\n" + b"#" * LARGEST_UPLOAD
    seen = {}
    for name, who in (("stranger", Client()), ("ana", client)):
        upload = SimpleUploadedFile("x.csv", large)
        answer = who.post("/imports/new/", {"key": str(uuid4()), "uploads": [upload]})
        request = answer.wsgi_request
        seen[name] = bool(request.POST is not None and getattr(request, "files_too_large", ()))
    assert seen == {"stranger": True, "ana": False}


@pytest.mark.parametrize(
    "text",
    ["node,gpus\n", json.dumps({"kind": "List", "apiVersion": "v1", "items": []})],
    ids=["heading alone", "no node"],
)
def test_files_that_say_nothing_are_not_no_changes(client: Client, text: str) -> None:
    # I02: an empty list must not read as "all is there already".
    shown = put_in(client, text).content.decode()
    assert newest().state == "failed"
    assert "No changes" not in shown
    assert "nothing to import was found" in shown or "no node" in shown.lower()


def test_what_others_did_meanwhile_needs_no_second_look(client: Client) -> None:
    # Both make the hardware type and the region; the one that comes later has less to do.
    put_in(client)
    first = newest()
    put_in(client, CSV.replace("eu-1-a", "eu-1-b").replace("gpu", "b"))
    second = newest()
    apply(client, first)
    apply(client, second)
    second.refresh_from_db()
    assert second.state == "applied"
    assert second.total < first.total
    assert Node.objects.count() == 10


def test_what_others_made_otherwise_meanwhile_is_looked_at_again(client: Client) -> None:
    put_in(client)
    first = newest()
    put_in(client, CSV.replace("su-01", "su-09"))
    second = newest()
    apply(client, second)
    answer = apply(client, first)
    first.refresh_from_db()
    assert (answer.status_code, first.state) == (409, "planned")
    assert Node.objects.filter(s1_domain__name="su-09").count() == 4


@pytest.mark.parametrize(("age_s", "told"), [(30, True), (2, False)])
def test_a_worker_that_fell_silent_is_told(client: Client, age_s: int, *, told: bool) -> None:
    put_in(client)
    run = newest()
    beat = timezone.now() - timedelta(seconds=age_s)
    ImportRun.objects.filter(pk=run.pk).update(state="applying", heartbeat_at=beat)
    text = client.get(f"/imports/{run.pk}/").content.decode()
    assert ("no word from its worker" in text) == told
