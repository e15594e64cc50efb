"""Figures over HTTP: what a script, a spreadsheet and a stranger get."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controller.charts import FIGURES
from controller.core.spreadsheet import cell_text
from controller.models import Backtest, Override
from tests import factories
from tests.backtests import FOUND, answer, make_backtest

if TYPE_CHECKING:
    import time_machine
    from django.test import Client

pytestmark = pytest.mark.django_db
BASE = "/api/v1/figures"


@pytest.fixture
def reader(client: Client, time_machine: time_machine.TimeMachineFixture) -> Client:
    """A signed-in client at noon."""
    time_machine.move_to(factories.NOW, tick=False)
    client.force_login(User.objects.create_user("ana"))
    return client


def needed(name: str, service: Any) -> dict[str, Any]:
    found = answer(curation=FOUND)
    done = Backtest.objects.first() or make_backtest(None, "done", found=found)
    given = {
        "service": service.slug,
        "decision": service.status.decision_id,
        "backtest": str(done.pk),
    }
    return {need: given[need] for need in FIGURES[name].needs}


def furnish(slug: str) -> Any:
    service = factories.make_service(slug)
    factories.make_samples(service)
    factories.make_decision(service, move="scale_out", final_decode=6)
    service.status.refresh_from_db()
    Override.objects.create(
        service=service,
        kind="out_only",
        reason="load test",
        by_name="ana",
        made_at=factories.NOW,
        starts_at=factories.NOW - timedelta(minutes=30),
        ends_at=factories.NOW + timedelta(hours=1),
    )
    return service


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_answers_with_data_summary_and_table(reader: Client, name: str) -> None:
    service = furnish("chat")
    factories.make_nodes(service.cluster, factories.make_hardware())
    factories.observe(service, factories.an_instance("chat-d-1", "h800-000"), at=factories.NOW)
    factories.make_pools(service.cluster, factories.make_hardware())
    answer = reader.get(f"{BASE}/{name}", needed(name, service))
    assert answer.status_code == 200
    figure = answer.json()
    assert figure["data"]
    assert figure["summary"].endswith(".")
    width = len(figure["table"]["columns"])
    assert figure["table"]["rows"]
    assert {len(row) for row in figure["table"]["rows"]} == {width}
    assert answer["Cache-Control"] == "private, no-cache"
    assert "table" not in reader.get(f"{BASE}/{name}", needed(name, service) | {"table": 0}).json()


@pytest.mark.parametrize("name", FIGURES)
def test_the_number_of_queries_does_not_grow(reader: Client, name: str) -> None:
    first = furnish("chat")
    factories.make_pools(first.cluster, factories.make_hardware())
    # The first request also notes in the session when it began.
    reader.get(f"{BASE}/{name}", needed(name, first))
    counts = []
    for slugs in ((), ("search", "code")):
        for slug in slugs:
            other = furnish(slug)
            factories.make_pools(other.cluster, factories.make_hardware(slug))
        with CaptureQueriesContext(connection) as queries:
            assert reader.get(f"{BASE}/{name}", needed(name, first)).status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert counts[0] <= 15


@pytest.mark.parametrize("name", FIGURES)
def test_an_empty_database_gives_words_not_errors(reader: Client, name: str) -> None:
    if FIGURES[name].needs:
        service = factories.make_service()
        factories.make_decision(service)
        service.status.refresh_from_db()
        answer = reader.get(f"{BASE}/{name}", needed(name, service))
    else:
        answer = reader.get(f"{BASE}/{name}")
    assert answer.status_code == 200
    assert answer.json().get("empty") or answer.json()["data"]


def test_a_stranger_is_told_in_json(client: Client) -> None:
    answer = client.get(f"{BASE}/capacity")
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"


def test_the_same_figure_is_not_sent_twice(reader: Client) -> None:
    furnish("chat")
    first = reader.get(f"{BASE}/service", {"service": "chat"})
    again = reader.get(
        f"{BASE}/service", {"service": "chat"}, headers={"If-None-Match": f"W/{first['ETag']}"}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"range": "3w"}, "range"),
        ({"range": "15d"}, "range"),
        ({"range": "0m"}, "range"),
        ({"range": "٣h"}, "range"),
        ({"range": "1h", "from": "2026-03-01T11:00:00Z"}, "range"),
        ({"from": "2026-03-01T11:00:00Z"}, "to"),
        ({"to": "2026-03-01T11:00:00Z"}, "from"),
        ({"from": "yesterday", "to": "2026-03-01T11:00:00Z"}, "from"),
        ({"from": "0001-01-01T00:00:00+23:59", "to": "2026-03-01T11:00:00Z"}, "from"),
        ({"from": "2026-03-01T12:00:00Z", "to": "2026-03-01T11:00:00Z"}, "to"),
        ({"from": "2026-02-01T11:00:00Z", "to": "2026-03-01T11:00:00Z"}, "to"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"tz": "../../etc/passwd"}, "tz"),
        ({"format": "xml"}, "format"),
        ({"page": "-1"}, "page"),
        ({"service": "a b"}, "service"),
        ({"backtest": "7"}, "backtest"),
        ({"runs": "0,x"}, "runs"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_parameter_is_named_with_its_fix(
    reader: Client, given: dict[str, str], where: str
) -> None:
    answer = reader.get(f"{BASE}/fleet-trend", given)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["where"] == where
    assert error["message"].endswith(".")


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("service", 400, "bad_parameter"),
        ("service?service=nobody", 404, "unknown_service"),
        ("decision-steps?decision=999999", 404, "unknown_decision"),
        ("decision-steps?decision=99999999999999999999", 400, "bad_parameter"),
        ("no-such", 404, "unknown_figure"),
    ],
)
def test_what_does_not_exist_is_said(reader: Client, address: str, status: int, code: str) -> None:
    answer = reader.get(f"{BASE}/{address}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_service_without_an_slo_is_no_crash(reader: Client) -> None:
    service = factories.make_service()
    service.slo.delete()
    answer = reader.get(f"{BASE}/service", {"service": "chat"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "config_invalid")


def test_only_relative_ranges_are_live(reader: Client) -> None:
    furnish("chat")
    live = reader.get(f"{BASE}/service", {"service": "chat", "range": "1h"}).json()
    fixed = reader.get(
        f"{BASE}/service",
        {"service": "chat", "from": "2026-03-01T11:30:00 00:00", "to": "2026-03-01T12:00:00Z"},
    ).json()
    assert (live["live"], fixed["live"]) == (True, False)
    assert "stale" not in live


def test_silence_is_said(reader: Client, time_machine: time_machine.TimeMachineFixture) -> None:
    furnish("chat")
    time_machine.move_to(factories.NOW + timedelta(minutes=4), tick=False)
    figure = reader.get(f"{BASE}/service", {"service": "chat"}).json()
    assert figure["stale"] == "Nothing newer than 12:00 UTC."


def test_times_are_in_the_zone_asked_for(reader: Client) -> None:
    furnish("chat")
    figure = reader.get(f"{BASE}/service", {"service": "chat", "tz": "Asia/Tokyo"}).json()
    assert figure["layout"]["xaxis"]["title"]["text"] == "Time, Asia/Tokyo, UTC+09:00"
    assert figure["layout"]["xaxis"]["range"][1] == "2026-03-01T21:00:00"


def test_bins_tell_breach_from_silence(reader: Client) -> None:
    service = factories.make_service()
    rows = factories.make_samples(service, count=60)
    for row in rows[:20]:
        row.ttft_s = row.tbt_s = None
    for row in rows[40:]:
        row.ttft_s = 2.0
    type(rows[0]).objects.all().delete()
    type(rows[0]).objects.bulk_create(rows)
    table = reader.get(f"{BASE}/slo-map").json()["table"]["rows"]
    assert [row[2] for row in table[-3:]] == ["unknown", "within SLO", "over the SLO"]


def test_a_run_of_holds_is_spread_over_its_hours(reader: Client) -> None:
    service = factories.make_service()
    hour = timedelta(hours=1)
    times = {"first_at": factories.NOW - 2 * hour, "last_at": factories.NOW - hour / 4}
    factories.make_decision(service, count=8, **times)  # one every 15 min, from 10:00
    late = {"first_at": factories.NOW - hour / 6, "last_at": factories.NOW - hour / 6}
    changed = factories.make_decision(service, move="scale_out", gate="act", **late)
    factories.make_action(service, decision=changed, state="failed")
    table = reader.get(f"{BASE}/decision-counts", {"range": "2h"}).json()["table"]["rows"]
    assert [(row[0][11:16], row[6], row[7]) for row in table[:2]] == [
        ("10:00", 0, 4),
        ("11:00", 1, 4),
    ]


@pytest.mark.parametrize(
    ("changes", "expect"),
    [
        pytest.param([(4, 6, 0), (6, 4, 5)], [2, 1, 1], id="out, and in 5 min later"),
        pytest.param([(4, 6, 0), (6, 4, 11)], [2, 1, 0], id="11 min later: turned, not soon"),
        pytest.param([(4, 6, 0), (6, 8, 5)], [2, 0, 0], id="the same way twice"),
        pytest.param([(4, 6, 0), (6, 6, 2), (6, 4, 5)], [2, 1, 1], id="a hold between"),
        pytest.param([(6, 4, 0), (4, 6, 9), (6, 4, 18)], [3, 2, 2], id="round and round"),
    ],
)
def test_changes_that_turn_back_are_counted(
    reader: Client, changes: list[tuple[int, int, int]], expect: list[int]
) -> None:
    service = factories.make_service("chat")
    for before, after, minute in changes:
        at = factories.NOW + timedelta(minutes=minute - 60)
        times = {"first_at": at, "last_at": at, "gate": "act"}
        factories.make_decision(service, current_decode=before, final_decode=after, **times)
    rows = reader.get(f"{BASE}/reversals", {"range": "2h"}).json()["table"]["rows"]
    assert rows == [["chat", *expect]]


def test_what_no_cluster_took_does_not_turn_back(reader: Client) -> None:
    service = factories.make_service("chat")
    for before, after, took in ((4, 6, True), (6, 4, False)):
        at = factories.NOW if took else None
        row = factories.make_decision(
            service, current_decode=before, final_decode=after, gate="propose"
        )
        factories.make_action(service, decision=row, state="failed", applied_at=at)
    rows = reader.get(f"{BASE}/reversals").json()["table"]["rows"]
    assert rows == [["chat", 1, 0, 0]]


@pytest.mark.parametrize(
    ("given", "where"),
    [({"move": "sideways"}, "move"), ({"service": "a b"}, "service"), ({"move": "\0"}, "move")],
)
def test_filters_of_figures_are_checked(reader: Client, given: dict[str, str], where: str) -> None:
    answer = reader.get(f"{BASE}/reversals", given)
    assert (answer.status_code, answer.json()["error"]["where"]) == (400, where)


def test_figures_of_decisions_keep_to_the_filters(reader: Client) -> None:
    furnish("chat")
    furnish("search")
    asked = reader.get(f"{BASE}/reversals", {"service": "chat,code", "move": "scale_out"})
    assert [row[0] for row in asked.json()["table"]["rows"]] == ["chat"]


def test_a_spreadsheet_runs_nothing(reader: Client) -> None:
    service = factories.make_service()
    step = {
        "name": "=HYPERLINK(1)",
        "before": {"prefill": 2, "decode": 4},
        "after": {"prefill": 2, "decode": 4},
        "code": "-1",
        "detail": "@x",
    }
    decision = factories.make_decision(service, steps=[step])
    answer = reader.get(f"{BASE}/decision-steps", {"decision": decision.pk, "format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer["Content-Disposition"]
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[1] == ["'=HYPERLINK(1)", "2", "2", "4", "4", "'-1", "'@x"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1", "'=1"),
        ("+1", "'+1"),
        ("\t=1", "'\t=1"),
        (-1, -1),
        (1.5, 1.5),
        (None, None),
        ("a", "a"),
    ],
)
def test_numbers_stay_numbers(value: object, written: object) -> None:
    assert cell_text(value) == written  # type: ignore[arg-type]
