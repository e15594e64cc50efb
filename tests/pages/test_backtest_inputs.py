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
from controller.models import Backtest
from controller.models.clock import database_now
from controller.services.profiles import save_profile
from controller.simulator.profiles import PROFILES
from tests import factories
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
