"""Processes of another version than the database's do nothing, and say why (P08)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from django.conf import LazySettings
from django.core.exceptions import MiddlewareNotUsed
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import DjangoAssertNumQueries

from controller import tasks
from controller.models import ControllerLease, Tick
from controller.selectors import schema
from controller.selectors.schema import Difference
from heteroscale_site.configuration import ProcessRole
from heteroscale_site.cron import beats
from heteroscale_site.middleware import VersionMiddleware

NEWER: Final = "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, now())"
OLDER: Final = "DELETE FROM django_migrations WHERE app = %s AND name = %s"
FUTURE: Final = ("controller", "9001_times_to_come")
PRESENT: Final = ("inventory", max(name for app, name in schema.known() if app == "inventory"))


def _run(statement: str, migration: tuple[str, str]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, migration)


@pytest.mark.django_db
def test_a_migrated_database_is_of_this_version() -> None:
    assert schema.difference() is None
    assert len(schema.known()) > 50


@pytest.mark.django_db
def test_what_differs_is_named_with_what_ends_it() -> None:
    _run(NEWER, FUTURE)
    newer = schema.difference()
    _run(OLDER, PRESENT)
    _run(OLDER, FUTURE)
    older = schema.difference()

    assert newer == Difference(missing=(), unknown=(FUTURE,))
    assert "newer version (it has controller 9001)" in newer.sentence
    assert "restarted with that version" in newer.sentence
    assert older == Difference(missing=(PRESENT,), unknown=())
    assert f"it lacks inventory {PRESENT[1][:4]}" in older.sentence
    assert "./heteroscale prepare" in older.sentence


def test_of_many_the_newest_are_named() -> None:
    found = Difference(missing=tuple(("a", f"000{n}_x") for n in range(5)), unknown=())
    assert "it lacks a 0002, a 0003, a 0004 and 2 more" in found.sentence


@pytest.mark.django_db
def test_an_empty_database_lacks_everything() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE django_migrations RENAME TO gone")
    found = schema.difference()
    assert found is not None
    assert (len(found.missing), found.unknown) == (len(schema.known()), ())


TASKS: Final[dict[str, tuple[object, ...]]] = {
    "tick": (),
    "place": (),
    "advise": (),
    "sweep": (),
    "run_proposal": (7,),
    "run_action": ("5d1f7a54-1111-4222-8333-444444444444",),
    "resolve_action": ("5d1f7a54-1111-4222-8333-444444444444",),
    "run_backtest": ("5d1f7a54-1111-4222-8333-444444444444",),
    "run_import": ("5d1f7a54-1111-4222-8333-444444444444",),
    "register": (),
}


def test_the_table_has_every_task() -> None:
    public = {
        name
        for name, found in vars(tasks).items()
        if callable(found) and getattr(found, "__module__", "") == tasks.__name__
        if not name.startswith("_")
    }
    assert public == set(TASKS)
    assert {beat.task.rpartition(".")[2] for beat in beats()} <= public


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize(
    ("statement", "migration", "version"),
    [
        pytest.param(NEWER, FUTURE, "newer version", id="the database is ahead"),
        pytest.param(OLDER, PRESENT, "older version", id="the database is behind"),
    ],
)
@pytest.mark.django_db
def test_a_task_is_left_to_workers_of_the_right_version(
    django_assert_num_queries: DjangoAssertNumQueries,
    name: str,
    statement: str,
    migration: tuple[str, str],
    version: str,
) -> None:
    _run(statement, migration)
    task: Callable[..., object] = getattr(tasks, name)
    with django_assert_num_queries(2):  # both of them ask for the version
        said = task(*TASKS[name])
    assert version in str(said)
    assert not ControllerLease.objects.exists()
    assert not Tick.objects.exists()


@pytest.fixture
def web(settings: LazySettings) -> VersionMiddleware:
    settings.PROCESS_ROLE = ProcessRole.WEB
    return VersionMiddleware(lambda _: HttpResponse("the page"))


def _page(web: VersionMiddleware, path: str = "/") -> tuple[int, str]:
    answer = web(RequestFactory().post(path))
    assert isinstance(answer, HttpResponse)
    return answer.status_code, answer.content.decode()


@pytest.mark.django_db
def test_the_web_server_shows_one_page_and_the_old_ones_again_afterwards(
    web: VersionMiddleware, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_s = [100.0]
    monkeypatch.setattr("heteroscale_site.middleware.time.monotonic", lambda: clock_s[0])
    assert _page(web) == (200, "the page")
    _run(NEWER, FUTURE)
    clock_s[0] = 104.9
    assert _page(web) == (200, "the page")
    clock_s[0] = 105.0
    status, text = _page(web)
    assert status == 503
    assert "An upgrade is under way" in text
    assert "it has controller 9001" in text
    assert _page(web, "/healthz") == (200, "the page")
    _run(OLDER, FUTURE)
    clock_s[0] = 110.0
    assert _page(web) == (200, "the page")


@pytest.mark.django_db
def test_a_database_that_is_away_is_left_to_the_page_that_says_so(
    web: VersionMiddleware, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise DatabaseError

    monkeypatch.setattr(schema, "difference", away)
    assert _page(web) == (200, "the page")


@pytest.mark.parametrize("role", [ProcessRole.COMMAND, ProcessRole.WORKER, ProcessRole.TEST])
def test_only_web_servers_look(settings: LazySettings, role: ProcessRole) -> None:
    settings.PROCESS_ROLE = role

    def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse()

    with pytest.raises(MiddlewareNotUsed):
        VersionMiddleware(answer)


@pytest.mark.django_db
def test_a_web_server_of_another_version_is_not_ready(client: Client) -> None:
    assert client.get("/readyz").status_code == 200
    _run(NEWER, FUTURE)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "newer version" in answer.json()["database"]
    assert client.get("/healthz").status_code == 200
