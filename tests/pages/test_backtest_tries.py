"""A backtest whose worker died or is silent says so, and how long it all took."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controller.models import Backtest
from controller.models.clock import database_now
from tests.backtests import make_backtest
from tests.pages.reading import reading
from tests.services.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera(client: Client) -> User:
    """A viewer who is signed in."""
    user = person("vera", "Viewer")
    client.force_login(user)
    return user


@pytest.mark.parametrize(
    ("state", "attempts", "told"),
    [
        pytest.param("running", 2, "the worker of the first try died (try 2 of 3)", id="1 + 1"),
        pytest.param("running", 3, "the worker of the second try died (try 3 of 3)", id="2 + 1"),
        pytest.param("queued", 1, "the worker of the first try died (try 2 of 3)", id="waits"),
    ],
)
def test_a_run_that_began_again_says_why(
    client: Client, vera: User, state: str, attempts: int, told: str
) -> None:
    row = make_backtest(vera, state, attempts=attempts)
    assert f"begun again: {told}" in reading(client, f"/backtests/{row.pk}/")


@pytest.mark.parametrize(("state", "attempts"), [("running", 1), ("queued", 0), ("done", 1)])
def test_a_first_try_did_not_begin_again(
    client: Client, vera: User, state: str, attempts: int
) -> None:
    row = make_backtest(vera, state, attempts=attempts)
    assert "begun again" not in reading(client, f"/backtests/{row.pk}/")


@pytest.mark.parametrize(("attempts", "follows"), [(1, "it begins again"), (3, "it has failed")])
def test_a_silent_worker_is_told_with_what_follows(
    client: Client, vera: User, attempts: int, follows: str
) -> None:
    row = make_backtest(vera, "running", attempts=attempts, progress_frac=0.5)
    path = f"/backtests/{row.pk}/"
    heard = client.get(path, headers={"HX-Request": "true"})
    Backtest.objects.filter(pk=row.pk).update(heartbeat_at=database_now() - timedelta(seconds=35))

    silent = client.get(
        path, headers={"HX-Request": "true", "If-None-Match": heard.headers["ETag"]}
    )
    page = reading(client, path)

    assert silent.status_code == 200
    assert re.search(rf"no word from its worker for 3\d s ?; {follows} after 60 s", page)
    assert "left" not in page


def test_an_ended_one_tells_its_last_try_and_the_whole(client: Client, vera: User) -> None:
    row = make_backtest(vera, "done", attempts=2)

    page = reading(client, f"/backtests/{row.pk}/")

    assert "took 4 min, 9 min since it was asked" in page
    assert "(try 2 of 3)" in page


def test_without_scripts_no_figure_is_said_to_load(client: Client, vera: User) -> None:
    row = make_backtest(vera, "done")
    css = (Path(__file__).parents[2] / "static/app.css").read_text(encoding="utf-8")

    page = client.get(f"/backtests/{row.pk}/").content.decode()

    assert page.count("<noscript>") == page.count("Loading the figure…") == 2
    assert "Figures need scripts; the CSV has every number." in page
    assert "@media (scripting: none) { .figure-plot, .figure-table { display: none; } }" in css
