"""Imports for programs: files in, JSON out, the same rules as the pages."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from inventory.models import ImportRun, InventoryVersion, Node
from tests.services.people import person

pytestmark = pytest.mark.django_db

CSV = b"cluster,node,gpus,s1,s2\neu-1-a,gpu001,8,l1,s\neu-1-a,gpu002,8,l2,s\n"
ROOT = "/api/v1/imports/"


@pytest.fixture
def client() -> Client:
    made = Client()
    made.force_login(person("ana", "Inventory editor"))
    return made


def send(client: Client, body: bytes = CSV, query: str = "", **headers: str) -> Any:
    return client.post(f"{ROOT}?{query}", body, content_type="text/csv", headers=headers)


def test_a_body_becomes_a_plan(client: Client) -> None:
    answer = send(client)
    told = answer.json()
    assert (answer.status_code, told["state"], told["applied"]) == (200, "planned", False)
    assert told["plan"]["create"] > 2
    found = client.get(f"{ROOT}{told['id']}/changes?kind=node").json()
    assert [one["name"] for one in found["objects"]] == ["gpu001", "gpu002"]
    assert found["objects"][0]["fields"]["gpus"] == 8
    assert not Node.objects.exists()


def test_apply_in_one_go_then_no_changes_then_revert(client: Client) -> None:
    first = send(client, query="apply=true").json()
    version = InventoryVersion.objects.get().seq
    assert (first["applied"], first["inventory_version"]) == (True, version)
    text = client.get("/api/v1/inventory.yaml?cluster=eu-1-a").content
    assert b"gpu[001-002]" in text or b"gpu001" in text
    again = send(client).json()
    assert again["changes"] == 0
    back = client.post(
        f"{ROOT}{first['id']}/revert", {"reason": "x"}, content_type="application/json"
    )
    assert back.json()["reverts"] == first["id"]
    assert not Node.objects.exists()


def test_the_export_reads_back_as_no_change_but_of_who_knows_it_best(client: Client) -> None:
    send(client, query="apply=true")
    text = client.get("/api/v1/inventory.yaml").content
    told = send(client, text, "apply=true").json()
    found = client.get(f"{ROOT}{told['id']}/changes").json()["objects"]
    assert [(one["before"], one["fields"]) for one in found] == [
        ({"source": "csv"}, {"source": "yaml"}) for _ in range(2)
    ]
    assert client.get("/api/v1/inventory.yaml").content == text
    assert send(client, text).json()["changes"] == 0


def test_files_of_a_form(client: Client) -> None:
    files = [SimpleUploadedFile("a.csv", CSV), SimpleUploadedFile("b.csv", CSV)]
    told = client.post(ROOT, {"files": files, "part": "true"}).json()
    assert told["state"] == "planned"
    assert ImportRun.objects.get().options["part"] is True


def test_a_key_makes_one_import_of_two_requests(client: Client) -> None:
    key = str(uuid4())
    ids = {send(client, **{"Idempotency-Key": key}).json()["id"] for _ in range(2)}
    assert ids == {key}
    other = send(client, CSV + b"eu-1-a,gpu003,8,,\n", **{"Idempotency-Key": key})
    assert other.status_code == 409


def test_an_old_plan_is_not_applied(client: Client) -> None:
    told = send(client).json()
    answer = client.post(
        f"{ROOT}{told['id']}/apply", {"digest": "0" * 64}, content_type="application/json"
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")
    answer = client.post(
        f"{ROOT}{told['id']}/apply", {"digest": told["digest"]}, content_type="application/json"
    )
    assert answer.json()["applied"] is True


@pytest.mark.parametrize(
    ("query", "body", "status", "where"),
    [
        ("format=nonsense", CSV, 400, "format"),
        ("cluster=%3Cb%3E", CSV, 400, "cluster"),
        ("", b"", 400, "files"),
        ("key=5", CSV, 400, "Idempotency-Key"),
        ("apply=true&gpus=x", CSV, 400, "gpus"),
    ],
)
def test_bad_requests_name_the_field(
    client: Client, query: str, body: bytes, status: int, where: str
) -> None:
    answer = send(client, body, query)
    assert (answer.status_code, answer.json()["error"]["where"]) == (status, where)
    assert not Node.objects.exists()


def test_bad_rows_are_in_the_answer(client: Client) -> None:
    told = send(client, b"node,gpus\na,-1\n").json()
    assert (told["errors"][0]["line"], told["errors"][0]["field"]) == (2, "gpus")


def test_who_may_not_is_told(client: Client) -> None:
    assert Client().get(ROOT).status_code == 401
    viewer = Client()
    viewer.force_login(person("vic", "Viewer"))
    assert send(viewer).json()["error"]["code"] == "forbidden"
    assert viewer.get(ROOT).status_code == 200
    assert client.get(f"{ROOT}nonsense").status_code == 404
    assert client.get(f"{ROOT}{uuid4()}").status_code == 404
    assert client.get("/api/v1/inventory.yaml?cluster=nowhere").status_code == 404
    assert client.get(f"{ROOT}?page=0").status_code == 400
    assert client.get(f"{ROOT}?state=nonsense").status_code == 400


def test_without_the_token_of_the_session_nothing_is_taken() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana", "Inventory editor"))
    assert send(strict).status_code == 403
    assert not ImportRun.objects.exists()
