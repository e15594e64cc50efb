"""Backtests for machines: JSON and CSV."""

from __future__ import annotations

import csv
import io
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.backtests import answer, make_backtest, make_trace, run, score
from tests.services.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera(client: Client) -> User:
    """A viewer who is signed in."""
    user = person("vera", "Viewer")
    client.force_login(user)
    return user


def rows(response: Any) -> list[list[str]]:
    """Return the rows of a CSV answer."""
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(response.getvalue().decode())))


def test_the_list_is_one_page_of_json(client: Client, vera: User) -> None:
    done, queued = make_backtest(vera, "done"), make_backtest(None)

    body = client.get("/api/v1/backtests/").json()
    mine = client.get("/api/v1/backtests/?mine=1&state=done").json()

    assert {line["id"] for line in body["backtests"]} == {str(done.pk), str(queued.pk)}
    assert (body["page"], body["more"]) == (1, False)
    (line,) = mine["backtests"]
    assert {name: line[name] for name in line if name != "created_at"} == {
        "id": str(done.pk),
        "url": f"/backtests/{done.pk}/",
        "state": "done",
        "created_by": "vera",
        "load": "generated 2–8 requests/s",
        "policies": ["default", "hpa-util"],
        "best": "default",
        "nearest": None,
        "took_s": 240.0,
        "error": None,
    }


@pytest.mark.usefixtures("vera")
@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("state=best", "state"),
        ("page=0", "page"),
        (f"page={'9' * 5000}", "page"),
        ("state=%00", "state"),
        ("page=²", "page"),
    ],
)
def test_a_wrong_parameter_names_its_field(client: Client, query: str, where: str) -> None:
    response = client.get(f"/api/v1/backtests/?{query}")
    assert (response.status_code, response.json()["error"]["where"]) == (400, where)


def test_one_answer_has_its_state_its_question_and_its_series(client: Client, vera: User) -> None:
    trace = make_trace()
    row = make_backtest(vera, "done", source="trace", trace=trace)

    body = client.get(f"/api/v1/backtests/{row.pk}").json()
    bare = client.get(f"/api/v1/backtests/{row.pk}?series=0").json()

    assert (body["state"], body["progress_frac"], body["attempts"]) == ("done", 1.0, 1)
    assert body["trace_sha256"] == trace.sha256
    assert body["asked"] == row.asked
    assert body["answer"]["clairvoyant_gpu_hours"] == 300.0
    assert body["answer"]["series"]["request_rps"] == [2.0, 4.0, None, 8.0]
    assert body["answer"]["runs"][1]["series"]["ttft_p95_s"] == [0.4, None, 0.8, 1.2]
    assert bare["answer"] == row.answer


@pytest.mark.parametrize("state", ["queued", "running", "failed", "cancelled"])
def test_what_has_no_answer_says_its_state(client: Client, vera: User, state: str) -> None:
    row = make_backtest(vera, state, error="too long" if state == "failed" else "")

    body = client.get(f"/api/v1/backtests/{row.pk}").json()

    assert (body["state"], body["answer"]) == (state, None)
    assert body["error"] == ({"message": "too long", "where": ""} if state == "failed" else None)
    for name in ("scores.csv", "series.csv"):
        refused = client.get(f"/backtests/{row.pk}/{name}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "no_answer")


def test_scores_are_a_row_a_policy_with_units(client: Client, vera: User) -> None:
    label = "hpa-util:target=0.6"
    found = answer(run("default", score(414.0, 0.992)), run(label, score(510.0, None)))
    row = make_backtest(vera, "done", found=found)

    response = client.get(f"/backtests/{row.pk}/scores.csv")

    assert rows(response) == [
        [
            "policy",
            "gpu_hours [GPU-hours]",
            "gpu_hours_over_clairvoyant [1]",
            "slo_attainment [1]",
            "slo_attainment_ttft [1]",
            "slo_attainment_tbt [1]",
            "actions [actions]",
            "reversals_10min [actions]",
            "ratio_out_of_tolerance_s [s]",
            "peak_gpus [GPUs]",
            "prefill_util [1]",
            "decode_util [1]",
        ],
        ["default", "414.0", "1.38", *["0.992"] * 3, "12", "1", "90.0", "40", "0.5", "0.75"],
        [label, "510.0", "1.7", "", "", "", "12", "1", "90.0", "40", "0.5", "0.75"],
        ["clairvoyant bound", "300.0", "1.0", *[""] * 9],
    ]
    named = f'attachment; filename="backtest-{row.pk}-scores.csv"'
    assert response.headers["Content-Disposition"] == named


def test_series_are_a_row_a_policy_and_time(client: Client, vera: User) -> None:
    row = make_backtest(vera, "done")

    head, *body = rows(client.get(f"/backtests/{row.pk}/series.csv"))

    assert head == [
        "policy",
        "t [s]",
        "load [requests/s]",
        "clairvoyant bound [GPUs]",
        "prefill_ready [instances]",
        "prefill_desired [instances]",
        "decode_ready [instances]",
        "decode_desired [instances]",
        "gpus [GPUs]",
        "ttft_p95_s [s]",
        "tbt_p95_s [s]",
        "attained_frac [1]",
    ]
    assert len(body) == 8
    assert body[1] == ["default", "900", "4", "10", "2", "2", "4", "4", "12", "", "0.03", "0.99"]
    assert body[6] == ["hpa-util", "1800", "", "", "3", "3", "6", "6", "18", "0.8", "0.03", "0.99"]


@pytest.mark.parametrize("name", ["scores.csv", "series.csv"])
def test_no_spreadsheet_runs_a_label(client: Client, vera: User, name: str) -> None:
    found = answer(run("=HYPERLINK(1)", score(414.0, 0.992)))
    row = make_backtest(vera, "done", found=found)

    assert rows(client.get(f"/backtests/{row.pk}/{name}"))[1][0] == "'=HYPERLINK(1)"


@pytest.mark.usefixtures("vera")
@pytest.mark.parametrize(
    "path", ["/api/v1/backtests/{}", "/backtests/{}/scores.csv", "/backtests/{}/series.csv"]
)
def test_no_such_backtest_is_not_found_in_json(client: Client, path: str) -> None:
    for name in (uuid.UUID(int=7), "xyz", "%00"):
        response = client.get(path.format(name))
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "unknown_backtest"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/backtests/",
        "/api/v1/backtests/{}",
        "/backtests/{}/scores.csv",
        "/backtests/{}/series.csv",
    ],
)
def test_a_stranger_is_told_in_json(client: Client, path: str) -> None:
    response = client.get(path.format(uuid.UUID(int=7)))
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")
    assert client.post(path.format(uuid.UUID(int=7))).status_code == 405
