"""PostgreSQL is killed and comes back, is full, or breaks a deadlock, in the middle of work.

It is a server of this module's own: those the tests share live on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db import DatabaseError, OperationalError, connection, connections
from django.test import Client

from controller import loop, tasks
from controller.models import (
    Action,
    Decision,
    Freeze,
)
from tests.clusters import Cluster
from tests.factories import make_service
from tests.kube import faults
from tests.loop.test_actions import make_action
from tests.loop.test_killed import Case, untroubled, whole
from tests.loop.test_tick import SETTINGS, lead
from tests.own_servers import OwnDatabase, own_database, worked_on
from tests.services.people import person
from tests.sources import ArraySource
from tests.workloads import LAID

NO_SPACE = "No space left on device"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: object) -> Iterator[OwnDatabase]:
    """A PostgreSQL that may be killed."""
    del django_db_setup
    with django_db_blocker.unblock(), own_database() as made:  # type: ignore[attr-defined]
        yield made


@pytest.fixture
def killable(server: OwnDatabase, transactional_db: None) -> Iterator[OwnDatabase]:
    """Everything goes to that server."""
    del transactional_db
    with worked_on(server, "killable"):
        yield server


def during(case: Case, held: faults.Hold, meanwhile: Callable[[], object]) -> list[object]:
    """Run a case's worker, and do something else while the cluster holds a request of it."""
    told: list[object] = []

    def work() -> None:
        try:
            case.start()
        except DatabaseError as fault:
            told.append(fault)
        finally:
            connections.close_all()

    worker = threading.Thread(target=work)
    worker.start()
    assert held.arrived.wait(30)
    meanwhile()
    held.release()
    worker.join(30)
    connection.close()
    return told


@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        pytest.param("deployment", [("GET", 2), ("PATCH", 1), ("PATCH", 2)], id="two writes"),
        pytest.param("dynamo", [("PATCH", 1)], id="one write for the pair"),
    ],
)
def test_a_database_killed_while_a_cluster_is_asked_changes_no_end_d01(
    killable: OwnDatabase, kind: str, asked: list[tuple[str, int]]
) -> None:
    laid = LAID[kind]
    wanted = whole(laid, "whole", untroubled)
    found, broken = {}, 0
    for method, nth in asked:
        for done in (False, True):
            name = f"{method}-{nth}-{'done' if done else 'asked'}".lower()
            case = Case(laid, name, untroubled)
            held = faults.Hold(done=done)
            case.kube.fault(held, method=method, nth=nth)
            broken += len(during(case, held, killable.restart))
            case.settle()
            found[name] = case.end()
            case.close()
    assert broken == len(found), "each lost its line"
    assert found == dict.fromkeys(found, wanted)


@pytest.fixture(scope="module")
def small(django_db_setup: None, django_db_blocker: object) -> Iterator[OwnDatabase]:
    """A PostgreSQL whose rows are on a disk of their own, which may be filled."""
    del django_db_setup
    try:
        with django_db_blocker.unblock(), own_database(is_small=True) as made:  # type: ignore[attr-defined]
            yield made
    except AssertionError as fault:
        if "unshare" not in str(fault) and "mount" not in str(fault):
            raise
        pytest.skip("this machine forbids a disk of one's own: user namespaces are needed")


@pytest.fixture
def full(small: OwnDatabase, transactional_db: None) -> Iterator[Callable[[], None]]:
    """Let no row be added any more, when called."""
    del transactional_db
    with worked_on(small, "full"):
        filler = make_service("filler")

        def many() -> None:
            ended = {"state": "cancelled", "ended_at": "2026-01-01T00:00:00Z"}
            while True:
                make_action(filler, **ended)

        def fill() -> None:
            small.fill()
            # The last page there is has room for some rows more.
            with pytest.raises(OperationalError, match=NO_SPACE):
                many()

        yield fill


def found_full(carry_out: Callable[[], object]) -> None:
    with pytest.raises(OperationalError, match=NO_SPACE):
        carry_out()


def test_what_cant_be_recorded_is_not_done_and_all_goes_on_with_room_d06(
    full: Callable[[], None], small: OwnDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    action, lease = make_action(make_service("chat", mode="automatic")), lead()

    def ticked() -> loop.Report:
        return loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS)

    full()
    found_full(ticked)
    found_full(lambda: tasks.run_action(str(action.pk)))
    assert cluster.writes == []
    assert not Decision.objects.exists()
    assert Action.objects.get(pk=action.pk).state == "recorded"

    small.free()
    connection.close()
    assert tasks.run_action(str(action.pk)) == "applied"
    assert len(cluster.writes) == 1
    assert ticked().decisions == 2


def test_pages_go_on_and_a_full_disk_is_told_d06(
    full: Callable[[], None], small: OwnDatabase
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(person("ana"))
    asked = {"scope": "fleet", "reason": "an incident"}
    full()
    assert client.get("/").status_code == 200
    refused = client.post("/freeze/", asked)
    assert (refused.status_code, refused.has_header("Retry-After")) == (503, True)
    assert "The database's disk is full" in refused.content.decode()

    small.free()
    assert client.post("/freeze/", asked).status_code == 302
    assert Freeze.objects.exists()
