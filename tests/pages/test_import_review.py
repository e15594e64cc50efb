"""What a person judges an import by: its state, rows to mend, labels, what goes back."""

from __future__ import annotations

import csv
import io
import json
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from inventory.models import ImportFile, ImportRun, Node
from tests.pages.test_imports import CSV, apply, newest, put_in
from tests.services.people import person

pytestmark = pytest.mark.django_db
LABELS = {"own/leaf": 2, "own/spine": 4, "own/host": 1}


@pytest.fixture
def client() -> Client:
    made = Client()
    made.force_login(person("ana", "Inventory editor"))
    return made


@pytest.fixture
def viewer() -> Client:
    made = Client()
    made.force_login(person("vic", "Viewer"))
    return made


def kubectl(count: int = 8, **extra: str) -> str:
    """Return nodes with label keys that no tool is known for."""
    items = [
        {
            "kind": "Node",
            "metadata": {
                "name": f"n{i}",
                "uid": f"u{i}",
                "labels": {key: f"v{i // size}" for key, size in LABELS.items()} | extra,
            },
            "status": {"capacity": {"nvidia.com/gpu": "8"}},
        }
        for i in range(count)
    ]
    return json.dumps({"kind": "List", "items": items})


def words(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def at(client: Client, run: ImportRun, more: str = "") -> str:
    return words(client.get(f"/imports/{run.pk}/{more}"))


# States.


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("queued", "It begins as soon as a worker is free."),
        ("planning", "Reading the files…"),
        ("planned", "pasted would change"),
        ("asked", "It begins as soon as a worker is free."),
        ("applying", "312 of 1034 · gpu"),
        ("applied", "See the topology"),
        ("failed", "The file is a zip."),
        ("cancelled", "Nothing of it was written."),
        ("reverted", "It was taken back"),
    ],
)
def test_every_state_is_told(client: Client, state: str, said: str) -> None:
    put_in(client)
    run, fields = newest(), {}
    if state == "planning":
        fields = {"total": 0}
    if state == "applying":
        fields = {"done": 312, "total": 1034, "step": "gpu"}
    if state == "failed":
        fields = {"error": "The file is a zip."}
    ImportRun.objects.filter(pk=run.pk).update(state=state, **fields)
    text = at(client, run)
    assert said in text
    assert ('data-live-name="import"' in text) == (
        state in {"queued", "planning", "asked", "applying"}
    )


def test_what_changed_meanwhile_is_shown_instead_of_written(client: Client) -> None:
    # I03 and product 3.5: the plan that was seen, or none.
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("R102", "R103"))
    run = newest()
    put_in(client, CSV.replace("su-02", "su-09"))
    apply(client, newest())
    answer = apply(client, run)
    assert answer.status_code == 409
    text = words(answer)
    assert "The inventory changed since you looked" in text
    assert "Apply" in text
    assert not Node.objects.filter(rack__name="R103").exists()
    run.refresh_from_db()
    assert run.state == "planned"


# The list.


def test_the_list_is_narrowed_and_says_so(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, kubectl(), cluster="own-1")
    for query, there, away in (
        ("state=applied", "csv", "kubernetes</span>"),
        ("format=kubernetes", "kubernetes</span>", "csv</span>"),
        ("cluster=own-1", "kubernetes</span>", "csv</span>"),
        ("mine=1", "csv</span>", "No import is like that"),
    ):
        text = words(client.get(f"/imports/?{query}"))
        assert there in text, query
        assert away not in text, query
    put_in(client, CSV + "eu-1,eu-1-a,sp-1,su-03,R103,,gpu009,h200-8,-4\n")
    assert "1 to mend" in words(client.get("/imports/?state=planned&format=csv"))
    text = words(client.get("/imports/?state=failed&cluster=own-1"))
    assert "No import is like that" in text
    assert "State: failed. Cluster: own-1." in text
    assert words(client.get("/imports/?state=x&format=<b>&page=9x")).count("data-row") == 3


def test_the_next_page_keeps_the_filter(client: Client) -> None:
    rows = [
        ImportRun(created_at=timezone.now(), created_name="ana", state="failed", format="csv")
        for _ in range(31)
    ]
    ImportRun.objects.bulk_create(rows)
    text = words(client.get("/imports/?state=failed"))
    assert 'href="?state=failed&amp;page=2"' in text
    assert words(client.get("/imports/?state=failed&page=2")).count("data-row") == 1


# The box.


def test_too_much_text_without_scripts_names_the_limit_and_the_way_out(client: Client) -> None:
    answer = client.post("/imports/new/", {"key": str(uuid4()), "pasted": "x" * 6_000_000})
    assert answer.status_code == 400
    text = words(answer)
    assert "at most 5 MiB can be pasted" in text
    assert "Save the text as a file" in text
    assert not ImportRun.objects.exists()


def test_a_file_of_seventeen_megabytes_is_taken(client: Client) -> None:
    body = kubectl(40, note="x" * 400_000).encode()
    assert len(body) > 16_000_000
    answer = put_in(client, "", uploads=[SimpleUploadedFile("pasted", body)])
    assert answer.status_code == 200
    assert newest().state == "queued", "more than 1 MiB is left to a worker"
    assert "It begins as soon as a worker is free." in words(answer)


def test_a_file_beyond_the_limit_is_refused_in_words(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heteroscale_site.uploads.LARGEST_IMPORT", 1_000)
    answer = put_in(
        client, "", uploads=[SimpleUploadedFile("n.csv", b"node\n" * 500)], cluster="c1"
    )
    assert answer.status_code == 400
    text = words(answer)
    assert "A file is larger than" in text
    assert 'value="c1"' in text, "the form keeps what it can"


def test_a_stranger_form_is_not_taken() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana", "Inventory editor"))
    assert strict.post("/imports/new/", {"pasted": CSV}).status_code == 403
    assert not ImportRun.objects.exists()


def test_files_of_a_failed_import_are_used_again(client: Client) -> None:
    file = SimpleUploadedFile("odd.txt", CSV.encode())
    put_in(client, "", uploads=[file], format="slurm", cluster="c-7")
    run = newest()
    assert f'href="/imports/new/?again={run.pk}"' in at(client, run) or run.errors
    text = words(client.get(f"/imports/new/?again={run.pk}"))
    assert "Used again: odd.txt" in text
    assert 'value="c-7"' in text
    put_in(client, "", again=str(run.pk), format="")
    assert (newest().format, newest().counts["create"] > 5) == ("csv", True)
    ImportFile.objects.all().delete()
    assert "Used again" not in words(client.get(f"/imports/new/?again={run.pk}"))


# Rows to mend.


def test_rows_to_mend_are_a_table_with_a_column_error(client: Client) -> None:
    bad = CSV + "eu-1,eu-1-a,sp-1,su-03,R103,-,gpu009,h200-8,-4\n"
    put_in(client, bad)
    run = newest()
    assert f'href="/imports/{run.pk}/rows-0.csv"' in at(client, run)
    answer = client.get(f"/imports/{run.pk}/rows-0.csv")
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0] == [*CSV.split("\n", 1)[0].split(","), "error"]
    assert rows[1][:7] == ["eu-1", "eu-1-a", "sp-1", "su-03", "R103", "-", "gpu009"]
    assert rows[1][8] == "'-4", "no spreadsheet runs it"
    assert rows[1][9] == "a node has 0 to 72 GPUs, not -4"
    assert len(rows) == 2
    assert client.get(f"/imports/{run.pk}/rows-7.csv").status_code == 404
    rows[1][8] = "4"
    mended = io.StringIO()
    csv.writer(mended).writerows(rows)
    put_in(client, mended.getvalue(), part="1")
    assert not newest().errors


def test_the_same_fault_is_told_once(client: Client) -> None:
    put_in(client, CSV + "eu-1,eu-1-a,sp-1,su-03,R103,,gpu009,h200-8,-4\n")
    assert [one["message"] for one in newest().errors] == ["a node has 0 to 72 GPUs, not -4"]


def test_lines_of_a_file_that_is_no_table_come_with_their_text(client: Client) -> None:
    put_in(client, "SwitchName=s1 Nodes=a[1-2]\nSwitchName=s2 Nodes=a[5-3]\n")
    run = newest()
    rows = list(
        csv.reader(io.StringIO(client.get(f"/imports/{run.pk}/rows-0.csv").content.decode()))
    )
    assert rows[0] == ["line", "text", "error"]
    assert rows[1][:2] == ["2", "SwitchName=s2 Nodes=a[5-3]"]


# The plan.


def test_new_types_come_first_and_are_merged_and_parted_again(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("h200-8", "h200-sxm"))
    run = newest()
    text = at(client, run)
    assert (
        text.index("New hardware types") < text.index("What it is") < text.index("Thing by thing")
    )
    assert '<option value="h200-8">' in text
    client.post(f"/imports/{run.pk}/replan/", {"new": "h200-sxm", "same_as": "h200-8"})
    text = at(client, run)
    assert "<b>h200-sxm</b> is taken for h200-8" in text
    assert "New hardware types" not in text
    client.post(f"/imports/{run.pk}/replan/", {"new": "h200-sxm"})
    assert "New hardware types" in at(client, run)


def test_label_keys_are_chosen_from_those_that_were_seen(client: Client) -> None:
    put_in(client, kubectl(), cluster="own-1")
    run = newest()
    text = at(client, run)
    assert "own/leaf: 4 values, 2 nodes each" in text
    assert "own/spine: 2 values, 4 nodes each" in text
    assert "own/host:" not in text, "a key with another value on each node joins none"
    fields = {"choices": "1", "level": ["own/leaf", "own/spine", ""], "cluster": "own-2"}
    client.post(f"/imports/{run.pk}/replan/", fields)
    run.refresh_from_db()
    assert any("S1 = own/leaf (4 values, median 2 nodes)" in line for line in run.summary)
    assert run.clusters == ["own-2"]
    text = at(client, run)
    assert '<option value="own/leaf" selected>' in text
    apply(client, newest())
    assert Node.objects.filter(s1_domain__name="v0").count() == 2


def test_a_plan_is_read_in_another_format(client: Client) -> None:
    put_in(client, "SwitchName=s1 Nodes=a[1-2]\n")
    run = newest()
    client.post(f"/imports/{run.pk}/replan/", {"choices": "1", "format": "topograph"})
    run.refresh_from_db()
    assert run.state == "failed" or run.errors
    assert client.post(f"/imports/{run.pk}/replan/", {"choices": "1"}).status_code in {302, 409}


def test_labels_are_compared_one_by_one_and_what_people_hold_is_named(client: Client) -> None:
    put_in(client, kubectl(2, team="a"), cluster="own-1")
    apply(client, newest())
    Node.objects.update(managed_fields={"gpus": "manual"}, gpus=4)
    put_in(client, kubectl(2, team="b"), cluster="own-1")
    text = at(client, newest(), "?operation=change&kind=node")
    assert "<del>team=a</del>" in text
    assert "→ team=b" in text
    assert "own/leaf=" not in text.partition("Fields")[2], "what stays is not repeated"
    assert "gpus stays 4, which a person set; the file says 8" in text
    assert "with fields people hold" in text


def test_impact_has_a_place_of_its_own(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    put_in(client, CSV.replace("su-02,R102,,gpu005", "su-01,R102,,gpu005"))
    text = at(client, newest())
    assert "Impact" in text
    assert "1 node moves from S1 su-02 to su-01." in text


def test_files_are_named_with_the_choices_they_were_read_with(client: Client) -> None:
    put_in(client, kubectl(), cluster="own-1", part="1")
    assert "cluster: own-1 · part: yes" in at(client, newest())


# What goes back.


def test_a_revert_says_first_what_goes_and_what_stays(client: Client) -> None:
    put_in(client)
    apply(client, newest())
    run = newest()
    Node.objects.filter(name="gpu005").update(gpus=4)
    text = at(client, run, "revert/")
    assert "4 nodes" in text
    assert "<b>32 GPUs</b>" in text
    assert "node gpu005 stays: it was changed since." in text
    assert "and what these rest on" in text
    for fields in ({"gpus": "32"}, {"reason": "x"}, {"reason": "x", "gpus": "40"}):
        answer = client.post(f"/imports/{run.pk}/revert/", {"key": str(uuid4())} | fields)
        assert answer.status_code == 400
    assert Node.objects.count() == 5
    fields = {"key": str(uuid4()), "reason": "wrong hall", "gpus": "32"}
    assert client.post(f"/imports/{run.pk}/revert/", fields).status_code == 302
    assert list(Node.objects.values_list("name", flat=True)) == ["gpu005"]
    assert "The import is reverted: it can" in at(client, run, "revert/")


def test_who_only_looks_sees_what_would_go(client: Client, viewer: Client) -> None:
    put_in(client)
    apply(client, newest())
    path = f"/imports/{newest().pk}/revert/"
    text = words(viewer.get(path))
    assert "5 nodes" in text
    assert "needs Inventory editor" in text
    assert viewer.post(path, {"reason": "x", "gpus": "40"}).status_code == 403
    assert Node.objects.count() == 5


# Cost.


def test_queries_do_not_grow_with_new_types_faults_and_labels(
    client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    counts = []
    for number in (2, 30):
        rows = "".join(f"eu-1,c1,s,l{i},R,,n{i},type-{i},8\n" for i in range(number))
        bad = "".join(f"eu-1,c1,s,l{i},R,,b{i},type-{i},-8\n" for i in range(number))
        put_in(client, CSV + rows + bad)
        path = f"/imports/{newest().pk}/"
        client.get(path)
        with django_assert_max_num_queries(40) as seen:
            client.get(path)
        counts.append(len(seen))
    assert counts[0] == counts[1]
