"""The command ``source``: add, test, list, remove."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from controller.models import AuditEvent
from inventory.models import MetricsEndpoint
from tests.adapters.prometheus.test_protocol import as_json, serving
from tests.factories import make_cluster, make_hardware, make_nodes, make_service, make_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db


def source(*line: str) -> str:
    out = StringIO()
    call_command("source", *line, stdout=out)
    return out.getvalue()


def refused(*line: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("source", *line, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(str(end.code))
    except CommandError as fault:
        return str(fault), fault.returncode
    return out.getvalue(), 0


def test_a_prometheus_is_added_with_its_token_and_nobody_sees_it_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("tok-123\n")
    said = source("add", "eu-1", "--url", "http://127.0.0.1:9090", "--token-file", str(token))
    assert said == "eu-1 was added. Test it, then say which services read it.\n"
    row = MetricsEndpoint.objects.get()
    assert (row.kind, row.url, row.login) == ("prometheus", "http://127.0.0.1:9090", "bearer")
    assert "tok-123" not in row.secret
    event = AuditEvent.objects.get(verb="added")
    assert event.actor.startswith("command line (")
    assert "tok-123" not in json.dumps(event.after)
    assert source("list") == "eu-1: not asked: no service reads from it\n"


def test_exporters_are_added_from_a_file(tmp_path: Path) -> None:
    lines = tmp_path / "targets"
    lines.write_text(
        "# two\nhttp://127.0.0.1:8000/metrics chat decode\nhttp://127.0.0.1:8001/metrics\n"
    )
    source("add", "direct", "--targets", str(lines))
    row = MetricsEndpoint.objects.get()
    assert (row.kind, len(row.targets)) == ("scrape", 2)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param(("add", "x", "--url", "ftp://a"), "--url: ", id="no HTTP"),
        pytest.param(("add", "new", "--url", "http://a:1"), "NAME: ", id="a name of an address"),
        pytest.param(
            ("add", "x", "--url", "http://a", "--user", "u"), "--password-file: ", id="half"
        ),
        pytest.param(("add", "x", "--targets", "/nowhere"), "--targets: ", id="no such file"),
        pytest.param(("test", "x"), "NAME: There is no source 'x'.", id="unknown"),
    ],
)
def test_what_can_not_be_used_names_its_option(line: tuple[str, ...], said: str) -> None:
    text, status = refused(*line)
    assert (text.startswith(said), status) == (True, 2), text
    assert not MetricsEndpoint.objects.exists()


def test_one_that_nobody_listens_at_is_told_and_ends_with_1() -> None:
    make_source("eu-1", url="http://127.0.0.1:9")
    text, status = refused("test", "eu-1")
    assert status == 1
    assert text.startswith("eu-1 does not answer.")
    found = json.loads(refused("test", "eu-1", "--json")[0])
    assert (found["answers"], found["known"]) == (False, {})


def test_one_that_is_read_stays_and_another_goes() -> None:
    make_source("eu-1", make_service("chat"))
    make_source("eu-2")
    text, status = refused("remove", "eu-1", "--reason", "old")
    assert (text, status) == ("eu-1 is in use: chat reads from it.", 1)
    assert source("remove", "eu-2", "--reason", "old") == "eu-2 was removed.\n"
    assert MetricsEndpoint.objects.get().slug == "eu-1"


def test_which_nodes_report_their_gpus_is_said_in_lines_and_as_json() -> None:
    assert source("match") == "No Prometheus is asked.\n"
    make_nodes(make_cluster("own-1", kind="record"), make_hardware(), 2)
    told = {"metric": {"node": "h800-001"}, "values": [[1, "1"]]}
    data = {"resultType": "matrix", "result": [told]}
    with serving(as_json({"status": "success", "data": data})) as server:
        make_source("eu-1", url=server.base)
        said = source("match")
        found = json.loads(source("match", "--json"))
    line = "1 of 2 nodes report DCGM by node; 1 unmatched: h800-000."
    assert said == f"own-1: {line}\n"
    assert found["match"] == [{"subject": "own-1", "said": line, "fine": False}]
    MetricsEndpoint.objects.update(url="http://127.0.0.1:9")
    said, status = refused("match")
    assert (said[:22], status) == ("eu-1: can't be asked: ", 1)
