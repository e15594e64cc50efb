"""The broker is killed, emptied, hangs or takes nothing: what was recorded is done anyway."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import django_rq
import pytest
from django.conf import settings
from django.db.models import F
from django.test import Client
from rq.utils import now

from controller import tasks
from controller.core.approval import fingerprint
from controller.core.types import Instances
from controller.models import Action, Decision, Proposal, ServiceStatus, Tick, Verdict
from controller.services import queueing
from controller.services.rows import basis_of
from heteroscale_site.configuration import ProcessRole
from heteroscale_site.cron import Cron, beats
from inventory.snapshot import service_spec
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_actions import make_action
from tests.own_servers import OwnBroker, own_broker, queued_at, until
from tests.services.people import person, waiting
from tests.site.test_queue import Here
from tests.sources import ArraySource

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnBroker]:
    with own_broker() as made:
        yield made


@pytest.fixture
def web(valkey: OwnBroker) -> Iterator[OwnBroker]:
    """Jobs go to a broker that may be killed, as a page sends them."""
    with queued_at(valkey, ProcessRole.WEB):
        yield valkey
    valkey.restart()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr("controller.wiring.actuator_of", made.of)
    monkeypatch.setattr("controller.wiring.metrics_source", lambda _: ArraySource())
    return made


def work(*queues: str, most: int | None = None) -> None:
    """Carry out what waits, as a worker does."""
    worker = django_rq.get_worker(*(queues or settings.RQ_QUEUES), worker_class=Here)
    worker.work(burst=True, max_jobs=most)


def ago(seconds: float) -> None:
    """Let time have passed since everything was recorded."""
    Action.objects.update(recorded_at=F("recorded_at") - timedelta(seconds=seconds))
    Tick.objects.update(at=F("at") - timedelta(seconds=seconds))


@pytest.fixture
def cron(web: OwnBroker) -> Cron:
    del web
    made = Cron()
    for beat in beats():
        made.keep(beat)
    return made


def beat(cron: Cron) -> None:
    """Let the clock ask for everything once more."""
    for one in cron.get_jobs():
        one.next_enqueue_time = now() - timedelta(seconds=1)
    cron.enqueue_jobs()


def test_a_broker_that_forgot_everything_loses_no_decision_and_no_action_r01(
    cron: Cron, web: OwnBroker, cluster: Cluster
) -> None:
    make_service("chat")
    beat(cron)
    work("control")
    assert Decision.objects.count() == 1
    action = make_action(make_service("code", mode="automatic"))
    tasks.actions.enqueue([action.pk])
    web.restart()
    assert django_rq.get_queue("actions").get_job_ids() == []

    ago(settings.TICK_S)
    beat(cron)
    work()
    assert Action.objects.get(pk=action.pk).state == "applied"
    assert Tick.objects.filter(finished_at__isnull=False).count() == 2, "one beat later"
    assert Decision.objects.filter(service__slug="code").exists()
    assert len(cluster.writes) == 1


def test_a_broker_emptied_while_an_action_is_sent_changes_no_end_r01(
    web: OwnBroker, cluster: Cluster
) -> None:
    action = make_action(make_service("chat", mode="automatic"))
    later = make_action(make_service("code", mode="automatic"))
    apply = cluster.apply

    def emptied(*given: object, **named: object) -> None:
        with web.line() as line:
            line.flushall()
        apply(*given, **named)  # type: ignore[arg-type]
        cluster.apply = apply  # type: ignore[method-assign]

    cluster.apply = emptied  # type: ignore[method-assign]
    tasks.actions.enqueue([action.pk, later.pk])
    work("actions")
    states = dict(Action.objects.values_list("service__slug", "state"))
    assert states == {"chat": "applied", "code": "recorded"}

    ago(10)
    cluster.desired, cluster.version = Instances(2, 4), 1  # each service has an object of its own
    tasks.sweep()
    assert set(Action.objects.values_list("state", flat=True)) == {"applied"}
    assert len(cluster.writes) == 2


# R02: it takes nothing.


@contextmanager
def refuses(broker: OwnBroker) -> Iterator[int]:
    broker.kill()
    yield 0
    broker.start()


@contextmanager
def hangs(broker: OwnBroker) -> Iterator[int]:
    broker.process.send_signal(signal.SIGSTOP)
    yield 0
    broker.process.send_signal(signal.SIGCONT)


@contextmanager
def between(say: bytes) -> Iterator[int]:
    """Something that takes the broker's place, says one thing and ends the line with a reset."""
    with socket.create_server(("127.0.0.1", 0)) as door:

        def answer() -> None:
            while True:
                try:
                    line, _ = door.accept()
                except OSError:
                    return
                line.recv(16)  # the rest of what was sent stays unread, hence the reset
                line.sendall(say)
                line.close()

        threading.Thread(target=answer, daemon=True).start()
        yield door.getsockname()[1]
        door.shutdown(socket.SHUT_RDWR)


@contextmanager
def told(broker: OwnBroker, *words: str) -> Iterator[int]:
    with broker.line() as line:
        line.execute_command(*words)
    yield 0
    broker.restart()


TROUBLE: dict[str, Callable[[OwnBroker], object]] = {
    "refuses": refuses,
    "hangs": hangs,
    "resets": lambda _: between(b""),
    "READONLY": lambda broker: told(broker, "REPLICAOF", "127.0.0.1", "9"),
    "LOADING": lambda _: between(b"-LOADING Valkey is loading the dataset in memory\r\n"),
    "OOM": lambda broker: told(broker, "CONFIG", "SET", "maxmemory", "1"),
}


def approvable() -> Proposal:
    """Return a proposal that waits and rests on what holds now."""
    proposal = waiting()
    ServiceStatus.objects.filter(service=proposal.service).update(resource_version="1")
    basis = basis_of(service_spec(proposal.service), Instances(2, 4), "1")
    bound = {"fingerprint": fingerprint(basis, Instances(3, 6)), "resource_version": "1"}
    Proposal.objects.filter(pk=proposal.pk).update(**bound)
    proposal.refresh_from_db()
    return proposal


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_what_is_approved_meanwhile_is_told_and_carried_out_later_r02(
    trouble: Callable[[OwnBroker], object], web: OwnBroker, cluster: Cluster
) -> None:
    proposal = approvable()
    client = Client(raise_request_exception=False)
    client.force_login(person("ana"))
    body = {"version": proposal.version, "fingerprint": proposal.fingerprint}
    with trouble(web) as port, queued_at(web, ProcessRole.WEB, port):  # type: ignore[attr-defined]
        answer = client.post(f"/approvals/{proposal.pk}/approve/", body)
        assert answer.status_code == 302
        assert Verdict.objects.count() == 1
        assert Proposal.objects.get().state == "approved"
        assert "queue unreachable" in client.get("/").content.decode()
        assert client.get("/readyz").json()["queue"] == "unreachable"

    tasks.sweep()
    assert Action.objects.get().state == "applied"
    assert len(cluster.writes) == 1
    queueing.LINE.forget()
    assert client.get("/readyz").json()["queue"] == "ok"
    assert "queue unreachable" not in client.get("/").content.decode()


def test_a_page_waits_for_a_broker_that_hangs_once_r02(web: OwnBroker) -> None:
    asked: list[int] = []
    with hangs(web):
        for number in range(3):
            queueing.reach(
                lambda number=number: (asked.append(number), django_rq.get_connection().ping()),
                "somebody does",
            )
    assert asked == [0]
    entry = web.queues(ProcessRole.WEB)["actions"]["REDIS_CLIENT_KWARGS"]
    longest_s = (1 + entry["retry"].get_retries()) * entry["socket_timeout"] + 0.1
    assert longest_s <= 2.0


# R03: ticks that nobody took.


def test_of_a_hundred_thousand_stale_ticks_the_newest_runs_first_r03(
    cron: Cron, cluster: Cluster
) -> None:
    del cluster
    make_service("chat")
    queue = django_rq.get_queue("control")
    stale = [f"stale-{number}" for number in range(100_000)]
    # What is left of a job whose time to live is over: its place in the queue.
    queue.connection.rpush(queue.key, *stale)
    beat(cron)
    newest = queue.get_job_ids(0, 1)
    work("control", most=1)
    assert Tick.objects.get().finished_at is not None
    assert newest[0] not in queue.get_job_ids(0, 1)
    assert queue.count == len(stale)


def test_stale_ticks_are_dropped_by_their_time_to_live_r03(cron: Cron, cluster: Cluster) -> None:
    del cluster
    make_service("chat")
    queue = django_rq.get_queue("control")
    for _ in range(50):
        beat(cron)
    jobs = queue.get_job_ids()
    lives = [queue.connection.ttl(f"rq:job:{job}") for job in jobs]
    assert len(jobs) == 50
    assert all(0 < left <= settings.TICK_S for left in lives), "and then the broker forgets it"
    for job in jobs[1:]:
        queue.connection.pexpire(f"rq:job:{job}", 1)
    until(lambda: not queue.connection.exists(*(f"rq:job:{job}" for job in jobs[1:])))
    work("control")
    assert (queue.count, Tick.objects.count(), Decision.objects.get().count) == (0, 1, 1)
