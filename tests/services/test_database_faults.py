"""PostgreSQL goes away, is late, can only be read, or breaks a race (D01-D03, D05, D07)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from django.db import InternalError, OperationalError, connection, connections
from django.test import Client
from django.utils import timezone

from controller import loop, tasks
from controller.core.ports import ScaleOrder
from controller.models import Action, ControllerLease, Decision, Freeze, Tick, Verdict
from controller.services import leadership, recording
from controller.services.recording import Page
from heteroscale_site.configuration import load
from heteroscale_site.connections import database
from heteroscale_site.home import Home
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import make_action
from tests.loop.test_tick import SETTINGS, lead, run
from tests.own_servers import until
from tests.services.people import person, waiting
from tests.sources import ArraySource

WAITS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere() -> psycopg.Connection[tuple[object, ...]]:
    """Return a connection of somebody else's to the same database."""
    given = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    return psycopg.connect(**{name: given[name] for name in names if name in given})


def kill_connection() -> None:
    """End our connection as a restart of PostgreSQL would, in the middle of whatever it does."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    with elsewhere() as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])


class Restarts(Cluster):
    """A cluster during whose answer to a write PostgreSQL is restarted."""

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:
        super().apply(order, now_s=now_s)
        kill_connection()


def test_a_tick_that_loses_the_database_leaves_nothing_half_and_the_next_is_whole_d01(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_service("chat")
    count = recording._count

    def restarted(page: Page) -> None:
        kill_connection()
        count(page)

    monkeypatch.setattr(recording, "_count", restarted)
    with pytest.raises(OperationalError):
        run(ArraySource())
    connection.close()  # as Django does before the next job
    monkeypatch.setattr(recording, "_count", count)
    assert (Decision.objects.count(), Action.objects.count()) == (0, 0)
    assert Tick.objects.get().finished_at is None

    ControllerLease.objects.update(expires_at=timezone.now())
    assert run(ArraySource()).decisions == 1


def test_an_action_that_loses_the_database_while_it_is_sent_is_read_back_and_sent_once_d01(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Restarts()
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    action = make_action(make_service("chat", mode="automatic"))
    with pytest.raises((OperationalError, psycopg.OperationalError)):
        tasks.run_action(str(action.pk))
    connection.close()
    action.refresh_from_db()
    assert (action.state, len(cluster.writes)) == ("sent", 1)

    # What the sweep does once nobody can be carrying it any more.
    tasks.resolve_action(str(action.pk))
    tasks.run_action(str(action.pk))
    action.refresh_from_db()
    assert (action.state, len(cluster.writes)) == ("applied", 1)


@pytest.fixture
def answer_lost() -> Iterator[Callable[[], None]]:
    """Let the next COMMIT be carried out and its answer be lost, when called."""
    line = connections["default"]
    commit = line._commit

    def lose() -> None:
        def lost() -> None:
            del line._commit
            commit()
            raise OperationalError("server closed the connection unexpectedly")

        line._commit = lost

    yield lose
    # What is set here stands before the class's own, which others may replace.
    vars(line).pop("_commit", None)
    connection.close()


def test_a_tick_whose_claim_was_kept_unheard_is_not_run_twice_d02(
    answer_lost: Callable[[], None],
) -> None:
    make_service("chat")
    lease = lead()
    answer_lost()
    with pytest.raises(OperationalError):
        loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS)
    again = loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS)
    assert again.slot is None, "a tick ran just now"
    assert Tick.objects.count() == 1


def test_an_approval_that_was_kept_unheard_counts_once_when_it_is_sent_again_d02(
    answer_lost: Callable[[], None],
) -> None:
    proposal = waiting()
    client = Client(raise_request_exception=False)
    client.force_login(person("ana"))
    body = {"version": proposal.version, "fingerprint": proposal.fingerprint}
    path = f"/approvals/{proposal.pk}/approve/"
    answer_lost()
    assert client.post(path, body).status_code == 503
    again = client.post(path, body)
    assert again.status_code in {302, 409}
    proposal.refresh_from_db()
    assert proposal.state == "approved"
    assert Verdict.objects.count() == 1


# D03: what hangs is given up.


@pytest.mark.parametrize(
    ("role", "statement", "lock"),
    [
        pytest.param("web", "15s", "5s", id="a page fails while its reader still waits"),
        pytest.param("worker", "2min", "15s", id="a job within its own time-out"),
        pytest.param("command", "0", "0", id="a migration takes as long as it takes"),
    ],
)
def test_each_kind_of_process_gives_up_in_time(role: str, statement: str, lock: str) -> None:
    configuration = load({"HETEROSCALE_PROCESS": role})
    options = database(configuration, Home(Path("/nowhere")))["OPTIONS"]["options"]
    given = connection.get_connection_params()
    kept = {name: given[name] for name in ("host", "port", "user", "dbname") if name in given}
    with psycopg.connect(**kept, options=options) as opened:
        found = [
            opened.execute(f"SHOW {name}").fetchone()
            for name in (
                "statement_timeout",
                "lock_timeout",
                "idle_in_transaction_session_timeout",
            )
        ]
    assert found == [(statement,), (lock,), ("2min",)]


def test_a_tick_whose_lease_somebody_holds_locked_gives_up_and_writes_nothing_d03() -> None:
    make_service("chat")
    lease = lead()
    with elsewhere() as other:
        other.execute("SELECT 1 FROM controller_controllerlease FOR UPDATE")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '50ms'")
        with pytest.raises(OperationalError, match="lock timeout"):
            loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS)
    connection.close()
    assert not Tick.objects.exists()
    assert not Decision.objects.exists()


# D05: a standby answers, and takes nothing.


@pytest.fixture
def standby() -> Iterator[Callable[[], None]]:
    """Let the database refuse every change from now on, when called."""

    def begin() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")

    yield begin
    connection.close()


def test_nothing_is_decided_and_nothing_sent_where_nothing_can_be_recorded_d05(
    standby: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    action = make_action(make_service("chat", mode="automatic"))
    lease = lead()
    standby()
    for carry_out in (
        lambda: leadership.take("another", seconds=60.0),
        lambda: loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS),
        lambda: tasks.run_action(str(action.pk)),
    ):
        with pytest.raises(InternalError, match="read-only"):
            carry_out()
    assert cluster.writes == []
    connection.close()
    assert Action.objects.get().state == "recorded"
    assert tasks.run_action(str(action.pk)) == "applied", "the primary is back"


def test_pages_go_on_and_changes_are_refused_in_words_d05(standby: Callable[[], None]) -> None:
    make_service("chat")
    client = Client(raise_request_exception=False)
    client.force_login(person("ana"))
    assert client.get("/").status_code == 200
    standby()
    # The session is due to be noted as active, which can't be kept and takes no page away.
    assert client.get("/").status_code == 200
    refused = client.post("/freeze/", {"scope": "fleet", "reason": "an incident"})
    assert (refused.status_code, refused.has_header("Retry-After")) == (503, True)
    assert "The database can only be read" in refused.content.decode()
    found = client.get("/readyz")
    assert (found.status_code, found.json()["database"]) == (200, "can only be read")
    assert not Freeze.objects.exists()


# D07: two that wait for each other, and changes that can't be put in an order.


@pytest.fixture
def raced() -> Iterator[Callable[[str, str, int], None]]:
    """Let the next changes of a table fail as a race that PostgreSQL broke, when called."""
    made: list[str] = []

    def begin(table: str, state: str, times: int) -> None:
        made.append(table)
        with connection.cursor() as cursor:
            # A sequence counts on where what was changed is taken back.
            cursor.execute(f"""
                CREATE SEQUENCE raced;
                CREATE FUNCTION raced() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF nextval('raced') <= {times} THEN
                        RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '{state}';
                    END IF;
                    RETURN NEW;
                END $$;
                CREATE TRIGGER raced BEFORE INSERT OR UPDATE ON {table}
                    FOR EACH ROW EXECUTE FUNCTION raced();
            """)

    yield begin
    connection.close()
    with connection.cursor() as cursor:
        for table in made:
            cursor.execute(f"DROP TRIGGER raced ON {table}")
        cursor.execute("DROP FUNCTION IF EXISTS raced; DROP SEQUENCE IF EXISTS raced")


RACES = pytest.mark.parametrize(
    "state", [pytest.param("40001", id="serialization"), pytest.param("40P01", id="deadlock")]
)


@RACES
def test_a_tick_that_lost_a_race_leaves_nothing_and_the_next_is_whole_d07(
    raced: Callable[[str, str, int], None], state: str
) -> None:
    make_service("chat")
    raced("controller_servicestatus", state, 1)
    with pytest.raises(OperationalError, match="could not serialize"):
        run(ArraySource())
    assert not Decision.objects.exists()
    ControllerLease.objects.update(expires_at=timezone.now())
    assert run(ArraySource()).decisions == 1


@RACES
@pytest.mark.parametrize("times", [1, 2])
def test_an_action_that_lost_a_race_is_sent_once_all_the_same_d07(
    raced: Callable[[str, str, int], None],
    state: str,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster()
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    action = make_action(make_service("chat", mode="automatic"))
    raced("controller_action", state, times)
    for _ in range(times):
        with pytest.raises(OperationalError, match="could not serialize"):
            tasks.run_action(str(action.pk))
        assert cluster.writes == [], "what can't be claimed is not sent"
    assert tasks.run_action(str(action.pk)) == "applied"
    assert len(cluster.writes) == 1


@RACES
def test_an_answer_that_lost_a_race_is_told_and_counts_once_when_sent_again_d07(
    raced: Callable[[str, str, int], None], state: str
) -> None:
    proposal = waiting()
    client = Client(raise_request_exception=False)
    client.force_login(person("ana"))
    body = {"version": proposal.version, "fingerprint": proposal.fingerprint}
    path = f"/approvals/{proposal.pk}/approve/"
    raced("controller_verdict", state, 1)
    refused = client.post(path, body)
    assert (refused.status_code, refused.has_header("Retry-After")) == (503, True)
    assert "Somebody else changed the same at this moment" in refused.content.decode()
    assert not Verdict.objects.exists()
    assert client.post(path, body).status_code == 302
    assert Verdict.objects.count() == 1


def test_of_two_that_wait_for_each_other_a_tick_gives_up_whole_d07() -> None:
    make_service("chat")
    run(ArraySource())
    ControllerLease.objects.update(expires_at=timezone.now())
    with elsewhere() as other:
        other.execute("SELECT 1 FROM controller_servicestatus FOR UPDATE")

        def crossed() -> None:
            with elsewhere() as seen:
                until(lambda: seen.execute(WAITS).fetchone() != (0,))
            # The tick holds its lease and waits for the status: now it is the other way round too.
            other.execute("UPDATE controller_controllerlease SET holder = holder")

        rival = threading.Thread(target=crossed)
        rival.start()
        with pytest.raises(OperationalError, match="deadlock detected"):
            run(ArraySource())
        rival.join()
        other.rollback()
    connection.close()
    assert Decision.objects.get().count == 1, "nothing of the second tick is left"
    ControllerLease.objects.update(expires_at=timezone.now())
    assert run(ArraySource()).decisions == 1
