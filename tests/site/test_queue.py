"""Workers run tasks of ours and nothing else that somebody may write into the broker."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
import types
import uuid
import zlib
from collections.abc import Iterator

import django_rq
import pytest
from django.conf import LazySettings, settings
from django.db import connection
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.job import Job

from controller.models import Action, AuditEvent
from controller.services import audit
from heteroscale_site import connections, queue
from heteroscale_site.configuration import BASE_DIR, Broker, ProcessRole
from heteroscale_site.cron import Cron, beats
from heteroscale_site.launch import processes
from tests.factories import make_service
from tests.loop.test_actions import make_action

RAN: list[str] = []


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A task module with one task and one function it imported."""
    module = types.ModuleType(queue.TASKS)

    def note(word: str = "ran") -> None:
        RAN.append(word)

    note.__module__ = queue.TASKS
    module.note = note  # type: ignore[attr-defined]
    module.check_output = subprocess.check_output  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, queue.TASKS, module)
    RAN.clear()
    yield module
    RAN.clear()


class Here(SimpleWorker):
    """A worker that runs jobs in the test's process, with our time limit."""

    death_penalty_class = queue.ListedWorker.death_penalty_class


def _work() -> None:
    worker = django_rq.get_worker("default", worker_class=Here)
    worker.work(burst=True)


def _forge(**fields: object) -> Job:
    """Write a job the way somebody with access to the broker would."""
    control = django_rq.get_queue("default", commit_mode="auto")
    job = control.enqueue("controller.tasks.note", "forged")
    control.connection.hset(job.key, mapping=fields)
    return job


def _call(function: str, *arguments: object, instance: object = None) -> bytes:
    return zlib.compress(json.dumps([function, instance, arguments, {}]).encode())


@pytest.mark.usefixtures("broker")
def test_a_task_runs(tasks: types.ModuleType) -> None:
    del tasks
    django_rq.get_queue("default", commit_mode="auto").enqueue("controller.tasks.note", "real")
    _work()
    assert RAN == ["real"]


@pytest.mark.parametrize(
    "forked",
    [
        pytest.param(False, id="in the worker's process"),
        pytest.param(True, id="in a process of its own, looked after every second"),
    ],
)
@pytest.mark.usefixtures("broker")
def test_a_job_out_of_time_ends_whatever_it_catches(
    tasks: types.ModuleType,
    forked: bool,  # noqa: FBT001
) -> None:
    def go_on() -> None:
        until_s = time.monotonic() + 10.0
        while time.monotonic() < until_s:
            with contextlib.suppress(Exception):
                list(range(1000))

    go_on.__module__ = queue.TASKS
    tasks.go_on = go_on  # type: ignore[attr-defined]
    waiting = django_rq.get_queue("default", commit_mode="auto")
    job = waiting.enqueue("controller.tasks.go_on", job_timeout=2)
    worker = queue.ListedWorker(
        [waiting], connection=waiting.connection, job_monitoring_interval=1
    )

    if forked:
        worker.work(burst=True)
    else:
        _work()

    assert job.get_status() == "failed"
    assert "OutOfTimeError: The job was not done after 2 s." in job.latest_result().exc_string


@pytest.mark.usefixtures("broker")
def test_a_worker_told_to_stop_finishes_its_job_and_takes_no_other_p07(
    tasks: types.ModuleType,
) -> None:
    waiting = django_rq.get_queue("default", commit_mode="auto")

    def stopped_meanwhile() -> str:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(0.2)
        return "finished"

    stopped_meanwhile.__module__ = queue.TASKS
    tasks.stopped_meanwhile = stopped_meanwhile  # type: ignore[attr-defined]
    first = waiting.enqueue("controller.tasks.stopped_meanwhile")
    second = waiting.enqueue("controller.tasks.note")
    before = {sent: signal.getsignal(sent) for sent in (signal.SIGTERM, signal.SIGINT)}
    try:
        queue.ListedWorker([waiting], connection=waiting.connection).work()
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)

    assert (first.get_status(), first.return_value()) == ("finished", "finished")
    assert second.get_status() == "queued"


@pytest.mark.usefixtures("broker")
def test_a_backtest_has_its_memory_and_no_other_process_has_less(
    tasks: types.ModuleType, settings: LazySettings
) -> None:
    settings.JOB_MEMORY_MIB = {"heavy": 3000}

    def told() -> int:
        return resource.getrlimit(resource.RLIMIT_AS)[0]

    told.__module__ = queue.TASKS
    tasks.told = told  # type: ignore[attr-defined]
    before = told()
    queues = [django_rq.get_queue(name, commit_mode="auto") for name in ("heavy", "actions")]
    jobs = [each.enqueue("controller.tasks.told") for each in queues]

    queue.ListedWorker(queues, connection=queues[0].connection).work(burst=True)

    assert [job.return_value() for job in jobs] == [3000 * 2**20, before]
    assert told() == before


def test_more_memory_than_the_limit_is_a_memory_error_and_a_lower_limit_stays() -> None:
    script = (
        "import resource\n"
        "from heteroscale_site.launch.processes import limit_memory\n"
        "limit_memory(512)\n"
        "limit_memory(4096)\n"
        "print(resource.getrlimit(resource.RLIMIT_AS)[0] // 2**20)\n"
        "try:\n"
        "    bytearray(600 * 2**20)\n"
        "except MemoryError:\n"
        "    print('too much')\n"
    )
    said = subprocess.check_output(  # noqa: S603 - our own script
        [sys.executable, "-c", script], cwd=BASE_DIR, text=True
    )
    assert said.split("\n") == ["512", "too much", ""]


def test_where_memory_cant_be_limited_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    before = resource.getrlimit(resource.RLIMIT_AS)

    processes.limit_memory(512)

    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param({"data": _call("os.system", "true")}, id="a function of the machine"),
        pytest.param({"data": _call("subprocess.getoutput", "true")}, id="another one"),
        pytest.param({"data": _call("antigravity.geohash")}, id="a module nobody imported yet"),
        pytest.param(
            {"data": _call("controller.tasks.check_output", ["true"])},
            id="a function the task module imported",
        ),
        pytest.param({"data": _call("controller.tasks.__builtins__")}, id="not a function"),
        pytest.param({"data": _call("controller.tasks.note.__call__")}, id="inside a task"),
        pytest.param({"data": _call("note", instance="x")}, id="a method of something"),
        pytest.param({"data": b"\x80\x04N."}, id="a pickle"),
        pytest.param({"data": _call("controller.tasks.note", "x" * 10**5)}, id="huge words"),
        pytest.param({"data": zlib.compress(bytes(64 * 2**20))}, id="64 MiB in 64 KiB"),
        pytest.param({"success_callback_name": "os.abort"}, id="a callback for success"),
        pytest.param({"failure_callback_name": "os.abort"}, id="a callback for failure"),
        pytest.param({"stopped_callback_name": "os.abort"}, id="a callback for a stop"),
    ],
)
@pytest.mark.django_db
@pytest.mark.usefixtures("broker", "tasks")
def test_a_forged_job_is_refused_and_audited_r04(
    forged: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    sys.modules.pop("antigravity", None)
    job = _forge(**forged)
    _work()
    assert RAN == []
    assert "antigravity" not in sys.modules
    assert job.get_status() == "failed"
    assert "job refused" in caplog.text
    event = AuditEvent.objects.get()
    assert (event.actor, event.verb) == ("worker", "refused a forged job")
    assert event.after == {"job": job.id}


@pytest.mark.django_db
@pytest.mark.usefixtures("broker", "tasks")
def test_a_flood_of_forged_jobs_does_not_fill_the_audit_r04() -> None:
    for _ in range(3):
        _forge(data=_call("os.system", "true"))
    _work()
    assert AuditEvent.objects.count() == 1
    assert not audit.was_told("refused a forged job", within_s=0.0)


@pytest.mark.parametrize(
    ("task", "word"),
    [
        pytest.param("run_action", str(uuid.UUID(int=7)), id="an action there is not"),
        pytest.param("run_action", "7; DROP TABLE", id="no id"),
        pytest.param("run_action", {"pk": 1}, id="an object"),
        pytest.param("resolve_action", str(uuid.UUID(int=7)), id="one to look for"),
        pytest.param("run_proposal", 10**30, id="a number no row has"),
        pytest.param("run_proposal", "os.abort", id="words instead of a number"),
        pytest.param("run_import", str(uuid.UUID(int=7)), id="an import there is not"),
    ],
)
@pytest.mark.django_db
@pytest.mark.usefixtures("broker")
def test_a_forged_id_is_one_look_more_and_changes_nothing_r04(task: str, word: object) -> None:
    action = make_action(make_service("chat", mode="automatic"))
    job = django_rq.get_queue("default", commit_mode="auto").enqueue(
        f"controller.tasks.{task}", word
    )
    before = list(Action.objects.values())
    _work()
    assert job.get_status() in {"failed", "finished"}
    assert list(Action.objects.values()) == before
    assert Action.objects.get().pk == action.pk
    assert not AuditEvent.objects.exists()


@pytest.mark.usefixtures("broker", "tasks")
def test_a_forged_web_hook_is_dropped_r04() -> None:
    job = _forge(webhooks=json.dumps([{"url": "http://169.254.169.254/", "events": ["finished"]}]))
    assert queue.ListedJob.fetch(job.id, connection=job.connection).webhooks == []


@pytest.mark.usefixtures("broker")
def test_cron_asks_for_every_regular_task_as_json() -> None:
    cron = Cron()
    for beat in beats():
        cron.keep(beat)
    cron.enqueue_jobs()
    jobs = [job for name in settings.RQ_QUEUES for job in django_rq.get_queue(name).jobs]
    asked = {(job.func_name, job.origin, job.ttl, job.timeout) for job in jobs}
    assert asked == {
        ("controller.tasks.tick", "control", settings.TICK_S, 30),
        ("controller.tasks.sweep", "actions", 10, 120),
        ("controller.tasks.advise", "placement", 60, 60),
    }
    assert {job.serializer for job in jobs} == {queue.JSONSerializer}


def test_a_broker_that_is_down_does_not_hang_a_page_r02() -> None:
    # 192.0.2.0/24 is reserved for documentation: nothing there ever answers.
    entry = connections.queue(Broker("192.0.2.1", 6379), ProcessRole.WEB, timeout_s=30)
    client = django_rq.connection_utils.get_redis_connection(entry)
    began_s = time.monotonic()
    with pytest.raises(RedisError):
        client.ping()
    assert time.monotonic() - began_s < 2.5
    client.close()


def test_workers_wait_out_a_restart_of_the_broker_r01() -> None:
    entry = connections.queue(Broker("127.0.0.1", 6379), ProcessRole.WORKER, timeout_s=30)
    retry = entry["REDIS_CLIENT_KWARGS"]["retry"]
    assert retry.get_retries() == 25


@pytest.mark.django_db
def test_a_job_waits_for_the_commit() -> None:
    assert connection.in_atomic_block
    assert django_rq.get_queue("default").enqueue("controller.tasks.note") is None
