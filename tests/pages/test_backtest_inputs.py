"""What a backtest rests on, what of it is assumed, and the command line that repeats it."""

from __future__ import annotations

import json
import shlex
import uuid
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client

from controller import tasks
from controller.models import Backtest, Trace
from controller.models.clock import database_now
from controller.services.profiles import save_profile
from controller.simulator.profiles import PROFILES
from tests import factories
from tests.backtests import make_backtest
from tests.pages.reading import words
from tests.pages.test_backtests import FORM
from tests.services.people import person

pytestmark = pytest.mark.django_db

TRACES: Final = {
    "requests": "t_s,input_tokens,output_tokens\n"
    + "\n".join(f"{i / 3},{500 + i % 7},{90 + i % 5}" for i in range(2700)),
    "lengths": "input_tokens,output_tokens\n700,90\n1900,310\n",
    "windows": "t_s,rate_rps,mean_input_tokens,mean_output_tokens\n"
    "0,3,900,150\n600,7,1100,120\n1200,5,1000,140\n",
}


@pytest.fixture
def otto(client: Client) -> User:
    """An operator who is signed in."""
    user = person("otto", "Operator")
    client.force_login(user)
    return user


def sent(client: Client, **fields: Any) -> Any:
    return client.post("/backtests/new/", {"key": str(uuid.uuid4()), **FORM, **fields})


def answered(client: Client, **fields: Any) -> Backtest:
    """Send the form, carry it out, and return the row with its answer."""
    response = sent(client, **fields)
    assert response.status_code == 302, response.context["form"].errors
    row = Backtest.objects.get()
    assert tasks.run_backtest(str(row.pk)) == f"Backtest {row.pk} is done."
    row.refresh_from_db()
    return row


def repeated(client: Client, row: Backtest) -> dict[str, Any]:
    """Return the document that the command line on the page of a backtest prints."""
    line = client.get(f"/backtests/{row.pk}/").context["command"]
    program, name, *arguments = shlex.split(line)
    assert (program, name) == ("./heteroscale", "backtest")
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without computing times and without the name of its load."""
    runs = [{k: v for k, v in run.items() if k != "wall_s"} for run in document["runs"]]
    load = {k: v for k, v in document["workload"].items() if k != "name"}
    return document | {"runs": runs, "workload": load}


@pytest.mark.usefixtures("otto")
def test_the_command_line_of_a_generated_load_gives_the_scores_of_the_page(
    client: Client,
) -> None:
    row = answered(
        client,
        day_hours="0.71",
        rate_scale="1.3",
        seed="7",
        ttft_slo_s="0.12345678901234",
        more="proportional:theta_out=0.2",
        max_gpus="24",
    )

    assert without_time(repeated(client, row)) == without_time(row.answer)


@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize("layout", sorted(TRACES))
def test_the_command_line_of_a_trace_gives_the_scores_of_the_page(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    upload = SimpleUploadedFile(f"{layout}.csv", TRACES[layout].encode())
    row = answered(client, source="trace", upload=upload, rate_scale="1.3", hours="0.25")
    assert row.trace is not None
    download = client.get(f"/backtests/traces/{row.trace.pk}/")
    (tmp_path / f"{layout}.csv.gz").write_bytes(download.content)
    monkeypatch.chdir(tmp_path)

    assert without_time(repeated(client, row)) == without_time(row.answer)


@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    ("layout", "told"),
    [
        pytest.param(
            "lengths",
            "requests resampled: Poisson arrivals at 1 req/s, lengths of a row"
            " lengths of requests recorded",
            id="lengths: arrivals are drawn",
        ),
        pytest.param(
            "windows",
            "lengths of requests log-normal (assumed: no length quantiles)",
            id="windows without quantiles: lengths are assumed",
        ),
    ],
)
def test_the_result_says_what_of_its_load_is_assumed(
    client: Client, layout: str, told: str
) -> None:
    upload = SimpleUploadedFile(f"{layout}.csv", TRACES[layout].encode())
    row = answered(client, source="trace", upload=upload, hours="0.25")

    assert told in words(client.get(f"/backtests/{row.pk}/").content.decode())


def test_own_profiles_are_offered_and_played(client: Client, otto: User) -> None:
    ours = replace(PROFILES["qwen3-32b-fp8/h100"], name="mine/h100", tp=4)
    save_profile(ours, user=otto)

    assert '<option value="mine/h100">' in client.get("/backtests/new/").content.decode()
    row = answered(client, profile="mine/h100", policies=["static-mean"])
    engine = row.answer["profile"]["prefill"]
    assert (engine["name"], engine["gpus_per_instance"]) == ("mine/h100", 4)
    assert without_time(repeated(client, row)) == without_time(row.answer)


@pytest.mark.usefixtures("otto")
def test_a_recording_that_is_too_short_is_said_beside_its_hours(client: Client) -> None:
    service = factories.make_service("chat")
    factories.make_samples(service, until=database_now(), count=8)

    response = sent(client, source="recorded", service="chat", recorded_hours="1")

    assert response.status_code == 400
    assert "is known" in " ".join(response.context["form"].errors["recorded_hours"])
    assert not Backtest.objects.exists()


# Only the chosen load counts.

BAD: Final = b"t_s,input_tokens,output_tokens\n0,1,1\n1,ten,1\n"


@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"trace": "99"}, id="a trace that is gone"),
        pytest.param({"service": "nobody", "recorded_hours": "-1"}, id="a wrong recording"),
        pytest.param({"recorded_until": "yesterday"}, id="no time"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BAD, id="bad"),
        pytest.param(TRACES["lengths"].encode(), id="good"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes(16 * 2**20 + 1), id="16 MiB + 1 byte"),
    ],
)
def test_what_is_filled_in_under_another_load_does_not_count(
    client: Client, fields: dict[str, str], body: bytes
) -> None:
    response = sent(client, upload=SimpleUploadedFile("a.csv", body), **fields)

    assert response.status_code == 302
    row = Backtest.objects.get()
    assert (row.source, row.trace, row.asked["service"]) == ("generated", None, None)
    assert not Trace.objects.exists()


@pytest.mark.usefixtures("otto")
def test_a_wrong_generated_load_does_not_stop_a_trace(client: Client) -> None:
    upload = SimpleUploadedFile("a.csv", TRACES["requests"].encode())

    assert sent(client, source="trace", upload=upload, peak_rps="-1").status_code == 302
    row = Backtest.objects.get()
    assert row.asked["peak_rps"] is None
    # The form of a copy offers what is usual there.
    page = client.get(f"/backtests/new/?copy={row.pk}").content.decode()
    assert 'name="peak_rps" value="20"' in page


@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"", "The submitted file is empty.", id="empty"),
        pytest.param(
            bytes(16 * 2**20 + 1),
            "The file is larger than 16 MiB: cut it, or pack it with gzip.",
            id="16 MiB + 1 byte",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_one_mistake(
    client: Client, body: bytes, sentence: str
) -> None:
    response = sent(client, source="trace", upload=SimpleUploadedFile("a.csv", body))

    assert response.status_code == 400
    assert dict(response.context["form"].errors) == {"upload": [sentence]}


@pytest.mark.usefixtures("otto")
def test_a_recording_that_ended_before_clocks_is_refused(client: Client) -> None:
    factories.make_service("chat")

    response = sent(
        client,
        source="recorded",
        service="chat",
        recorded_hours="1",
        recorded_until="0001-01-01 00:00",
    )

    assert response.context["form"].errors["recorded_until"] == ["Use a time after 1970."]


@pytest.mark.usefixtures("otto")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/backtests/new/?service=%00", 200),
        ("/backtests/new/?copy=%00", 200),
        ("/backtests/?state=%00&mine=%00&page=%00", 200),
        (f"/backtests/?page={'9' * 5000}", 200),
        (f"/backtests/traces/{'9' * 30}/", 404),
        ("/backtests/%00/", 404),
        ("/api/v1/figures/backtest?backtest=%00", 400),
        ("/api/v1/figures/backtest?backtest=x&runs=%00", 400),
    ],
)
def test_no_address_is_too_odd_for_an_answer(client: Client, path: str, status: int) -> None:
    assert client.get(path).status_code == status


@pytest.mark.usefixtures("otto")
def test_odd_views_of_an_answer_are_left_out(client: Client) -> None:
    row = make_backtest(None, "done")
    response = client.get(f"/backtests/{row.pk}/?sort=%00&policy=%00")
    assert (response.status_code, response.context["view"].query("")) == (200, "")


@pytest.mark.usefixtures("otto")
def test_a_form_sent_again_with_other_values_is_refused_and_then_asks_anew(
    client: Client,
) -> None:
    key = str(uuid.uuid4())
    first, same = sent(client, key=key), sent(client, key=key)

    other = sent(client, key=key, seed="7")
    assert first.headers["Location"] == same.headers["Location"]
    assert other.status_code == 409
    assert "This form was sent before with other values" in words(other.content.decode())
    assert Backtest.objects.get().asked["seed"] == 0

    renewed = other.content.decode().split('name="key" value="')[1][:36]
    assert sent(client, key=renewed, seed="7").status_code == 302
    assert sorted(row.asked["seed"] for row in Backtest.objects.all()) == [0, 7]
