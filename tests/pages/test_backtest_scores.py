"""What a page praises: only policies that keep the goals, and none where none does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controller.selectors.backtest_scores import headline, table
from controller.selectors.backtests import hours, length
from controller.simulator.backtest.answer import Run, as_plain
from tests.backtests import answer, make_backtest, run, score
from tests.pages.reading import reading
from tests.services.people import person


@pytest.fixture
def vera(client: Client) -> User:
    """A viewer who is signed in."""
    user = person("vera", "Viewer")
    client.force_login(user)
    return user


def plain(*runs: Run) -> Mapping[str, Any]:
    """Return the answer as the database keeps it."""
    return as_plain(answer(*runs), series=False)


def best(found: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return of each policy the columns in which it is marked."""
    return {
        row.label: [cell.word for cell in row.cells if cell.best]
        for row in table(found, "")
        if row.index is not None
    }


FAILING = (
    run("default", score(150.0, 0.95, actions=3)),
    run("static-peak", score(173.0, 0.977, actions=0)),
    run("hpa-util", score(160.0, 0.96)),
    run("hpa-queue", score(165.0, 0.977, slo_attainment_tbt=1.0)),
)


def test_calm_and_full_engines_are_no_merit_of_a_policy_that_fails() -> None:
    found = plain(
        run("latency-only", score(90.0, 0.5, actions=0, prefill_util=0.99, peak_gpus=4)),
        run("default", score(414.0, 0.992, actions=9, prefill_util=0.5)),
        run("hpa-util", score(510.0, 0.995, actions=12, prefill_util=0.6)),
    )

    assert best(found) == {
        "latency-only": [],
        "default": ["GPU-hours", "× bound", "actions"],
        "hpa-util": ["both goals", "TTFT", "TBT", "util P"],
    }


def test_a_policy_that_fails_shares_no_mark_with_one_that_keeps() -> None:
    found = plain(
        run("latency-only", score(90.0, 0.5, actions=9)),
        run("default", score(414.0, 0.992, actions=9)),
        run("hpa-util", score(510.0, 0.992, actions=12)),
    )

    assert best(found)["latency-only"] == []


def test_where_no_policy_keeps_the_goals_only_attainments_are_best() -> None:
    assert best(plain(*FAILING)) == {
        "default": [],
        "static-peak": ["both goals", "TTFT"],
        "hpa-util": [],
        "hpa-queue": ["both goals", "TTFT", "TBT"],
    }
    assert [(row.label, row.merit) for row in table(plain(*FAILING), "") if row.merit] == [
        ("hpa-queue", "nearest")
    ]


def test_the_headline_says_first_that_none_kept_the_goals() -> None:
    assert headline(plain(*FAILING)) == (
        "No policy kept 99 % of requests within both goals: hpa-queue came nearest with 97.7 % for"
        " 165 GPU-hours, 0.55 × the bound; static-peak needed 173 (0.58 ×) and kept 97.7 %;"
        " hpa-util needed 160 (0.53 ×) and kept 96.0 %;"
        " default needed 150 (0.50 ×) and kept 95.0 %."
    )


def test_the_headline_names_default_wherever_it_came() -> None:
    names = ("static-mean", "static-peak", "hpa-util", "periodic", "default")
    runs = [run(name, score(300.0 + i, 0.995)) for i, name in enumerate(names)]

    assert headline(plain(*runs)) == (
        "static-mean kept 99.5 % of requests within both goals with 300 GPU-hours, 1.00 × the"
        " bound; static-peak needed 301 (1.00 ×) and kept 99.5 %; hpa-util needed 302 (1.01 ×) and"
        " kept 99.5 %; default needed 304 (1.01 ×) and kept 99.5 %; 1 more below."
    )


def test_an_unknown_utilisation_is_a_dash_and_no_best() -> None:
    found = plain(
        run("default", score(414.0, 0.992, prefill_util=None)),
        run("hpa-util", score(510.0, 0.995)),
    )

    cells = {cell.word: (cell.text, cell.best) for cell in table(found, "")[0].cells}
    assert cells["util P"] == ("—", False)
    assert [row.label for row in table(found, "-prefill_util")][:1] == ["hpa-util"]


@pytest.mark.django_db
def test_the_list_calls_the_nearest_nearest(client: Client, vera: User) -> None:
    make_backtest(vera, "done", found=answer(*FAILING))

    page = reading(client, "/backtests/")
    (line,) = client.get("/api/v1/backtests/").json()["backtests"]

    assert "hpa-queue nearest, none kept the goals 165 0.55 × bound 97.7 %" in page
    assert (line["best"], line["nearest"]) == (None, "hpa-queue")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.4, "0.40"),
        (1.0, "1.00"),
        (1.5, "1.50"),
        (9.996, "10.0"),
        (12.0, "12.0"),
        (99.96, "100"),
        (1234.0, "1,234"),
        (None, "—"),
    ],
)
def test_gpu_hours_have_three_digits(value: float | None, words: str) -> None:
    assert hours(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "under 1 s"), (0.99, "under 1 s"), (1.0, "1 s"), (240.0, "4 min"), (None, "—")],
)
def test_what_took_less_than_a_second_took_under_one(seconds: float | None, words: str) -> None:
    assert length(seconds) == words
