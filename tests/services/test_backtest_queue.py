"""PostgreSQL knows what waits; the broker only wakes workers, and may forget."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

import django_rq
import pytest
from django.conf import LazySettings
from django.db import connection
from rq import SimpleWorker

from controller import tasks
from controller.models import Backtest, Sample, Trace
from controller.models.clock import database_now
from controller.services import backtest_jobs, backtests, queueing, retention
from heteroscale_site.launch.product import WORKER_QUEUES
from heteroscale_site.queue import ListedWorker
from tests import factories
from tests.backtests import make_backtest, make_trace
from tests.services.people import person
from tests.services.test_backtests import ask, die


def queued() -> list[str]:
    """Return the jobs that wait for a worker."""
    found: list[str] = django_rq.get_queue("heavy").get_job_ids()
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_asking_wakes_a_worker_with_the_id_and_nothing_else() -> None:
    row = ask(person("otto", "Operator"))

    (job,) = django_rq.get_queue("heavy").jobs
    assert (job.id, job.func_name, job.args, job.timeout) == (
        f"backtest-{row.pk}-1",
        "controller.tasks.run_backtest",
        [str(row.pk)],
        1800,
    )
    assert WORKER_QUEUES["worker-heavy"] == ("heavy",)
    assert "heavy" not in {
        q for name, qs in WORKER_QUEUES.items() if name != "worker-heavy" for q in qs
    }


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_what_the_broker_forgot_is_asked_again_once() -> None:
    old = database_now() - timedelta(hours=1)
    make_backtest(None)
    oldest = make_backtest(None, created_at=old)

    for _ in range(3):
        tasks.sweep()

    assert queued() == [f"backtest-{oldest.pk}-1"]


@pytest.mark.django_db
def test_a_step_of_the_sweep_that_fails_is_logged_by_name_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(backtest_jobs, "enqueue_next", refuse)
    ended = database_now() - timedelta(days=91)
    times = dict.fromkeys(("created_at", "started_at", "heartbeat_at", "finished_at"), ended)
    make_backtest(None, "done", **times)

    tasks.sweep()

    (line,) = [record for record in caplog.records if record.name == "controller.tasks"]
    assert "done in vain" in line.getMessage()
    assert "pick_up" in line.getMessage()
    assert not Backtest.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_while_one_runs_nobody_else_is_woken() -> None:
    make_backtest(None, "running")
    make_backtest(None)

    tasks.sweep()

    assert queued() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_a_run_that_lost_its_worker_is_asked_again_under_its_next_attempt() -> None:
    row = make_backtest(None, "running")
    die(row)

    tasks.sweep()

    assert queued() == [f"backtest-{row.pk}-2"]


@pytest.mark.django_db(transaction=True)
def test_without_a_broker_the_wish_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> None:
        raise ConnectionError

    monkeypatch.setattr(queueing.django_rq, "get_queue", refuse)
    row = ask(person("otto", "Operator"))

    assert Backtest.objects.get().state == "queued"
    backtests.cancel(row.pk, user=row.created_by)
    assert Backtest.objects.get().state == "cancelled"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_a_worker_goes_on_until_nothing_waits() -> None:
    user = person("otto", "Operator")
    for _ in range(2):
        ask(user)
    django_rq.get_queue("heavy").empty()
    tasks.sweep()

    django_rq.get_worker("heavy", worker_class=SimpleWorker).work(burst=True)

    assert set(Backtest.objects.values_list("state", "attempts")) == {("done", 1)}


class Here(SimpleWorker):
    """A worker that runs jobs in the test's process, with our time limit."""

    death_penalty_class = ListedWorker.death_penalty_class


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_a_run_out_of_time_fails_once_even_in_the_middle_of_a_query(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask_postgresql(*_: object, **__: object) -> None:
        with contextlib.suppress(Exception), connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(3)")

    monkeypatch.setattr(tasks.curation, "answered", ask_postgresql)
    monkeypatch.setattr(backtest_jobs, "ERRAND", replace(backtest_jobs.ERRAND, timeout_s=1))
    row = ask(person("otto", "Operator"))

    django_rq.get_worker("heavy", worker_class=Here).work(burst=True)
    tasks.sweep()

    row.refresh_from_db()
    assert (row.state, row.attempts, row.error) == (
        "failed",
        1,
        "It took longer than 30 minutes: ask for fewer policies or fewer hours.",
    )
    assert queued() == []


@pytest.mark.django_db
def test_a_recording_is_played_from_its_samples() -> None:
    service = factories.make_service("chat")
    factories.make_samples(service, count=120)
    row = make_backtest(
        None,
        source="recorded",
        service=service,
        recorded_since=factories.NOW - timedelta(hours=1),
        recorded_until=factories.NOW,
    )

    said = tasks.run_backtest(str(row.pk))

    assert said == f"Backtest {row.pk} is done."


@pytest.mark.django_db
def test_too_little_recorded_fails_with_the_numbers() -> None:
    service = factories.make_service("chat")
    row = make_backtest(
        None,
        source="recorded",
        service=service,
        recorded_since=factories.NOW - timedelta(hours=1),
        recorded_until=factories.NOW,
    )

    tasks.run_backtest(str(row.pk))

    row.refresh_from_db()
    assert (row.state, row.error_field) == ("failed", "recorded_hours")
    assert "no sample of the service is kept of that time" in row.error
    assert not Sample.objects.exists()


# What is kept, and for how long.


@pytest.mark.django_db
def test_old_backtests_and_traces_nobody_plays_are_deleted(settings: LazySettings) -> None:
    settings.KEEP_BACKTESTS_D = 30
    now = database_now()
    ago = {name: now - timedelta(days=days) for name, days in (("old", 31), ("young", 29))}
    traces = {
        name: make_trace(f"{name}.csv", name.encode()) for name in ("old", "young", "played")
    }
    for name in ("old", "played"):
        Trace.objects.filter(pk=traces[name].pk).update(created_at=ago["old"])
    kept = [
        make_backtest(
            None,
            "done",
            created_at=ago["old"],
            started_at=ago["old"],
            heartbeat_at=ago["old"],
            finished_at=ago["young"],
        ),
        make_backtest(None, created_at=ago["old"], source="trace", trace=traces["played"]),
    ]
    for state in ("done", "failed", "cancelled"):
        make_backtest(
            None,
            state,
            created_at=ago["old"],
            started_at=ago["old"],
            heartbeat_at=ago["old"],
            finished_at=ago["old"],
        )

    retention.prune(now)

    assert set(Backtest.objects.values_list("pk", flat=True)) == {row.pk for row in kept}
    assert sorted(Trace.objects.values_list("name", flat=True)) == ["played.csv", "young.csv"]


# From the form to the answer, by the engine itself.


@pytest.mark.django_db
def test_a_short_trace_is_played_from_the_row_to_the_scores() -> None:
    lines = (f"{i / 2},1000,100" for i in range(1200))
    csv = "\n".join(("t_s,input_tokens,output_tokens", *lines)).encode()
    trace = make_trace("steady.csv", csv)
    row = make_backtest(None, source="trace", trace=trace, load_name="steady.csv")
    row.asked |= {"hours": None, "policies": ["default", "static-peak"]}
    row.save()

    said = tasks.run_backtest(str(row.pk))

    row.refresh_from_db()
    assert said == f"Backtest {row.pk} is done."
    assert row.answer["workload"]["name"] == "steady.csv"
    assert row.answer["workload"]["mean_rps"] == pytest.approx(2.0, rel=0.01)
    assert [run["label"] for run in row.answer["runs"]] == ["default", "static-peak"]
    assert {run["slo_attainment"] for run in row.answer["runs"]} == {1.0}
    bound = row.answer["clairvoyant_gpu_hours"]
    assert all(run["gpu_hours"] >= bound > 0 for run in row.answer["runs"])
    assert len(row.series["t_s"]) == len(row.series["runs"][0]["gpus"]) == 40
