"""Imports that wait for workers: two at once, cancelled half way, workers that die (I03)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import django_rq
import pytest
from django.conf import settings
from django.db import OperationalError, connection

from controller import tasks
from controller.models import AuditEvent
from controller.models.clock import database_now
from controller.services import import_jobs, imports
from controller.services.errors import ConflictError
from controller.services.import_jobs import Beat, Claim
from controller.services.imports import Consent, Wanted
from inventory.importers.found import RefusedError
from inventory.models import ImportRun, InventoryVersion, Node
from inventory.services import importing
from inventory.services.importing import InterruptedImportError
from tests.factories import make_cluster
from tests.services.importing import ME, NOBODY, apply, planned, upload
from tests.services.people import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]

FLEET = "node,s1,gpus\na,x,8\nb,x,8\n"
MANY = "node,s1,gpus\n" + "".join(f"n{n},x{n // 16},8\n" for n in range(600))


def asked(run: ImportRun) -> ImportRun:
    """Return an import that waits for a worker to apply it."""
    ImportRun.objects.filter(pk=run.pk).update(state="asked", applied_name="tester")
    run.refresh_from_db()
    return run


def jobs() -> list[tuple[str, list[str]]]:
    return [(job.func_name, job.args) for job in django_rq.get_queue("default").jobs]


def test_what_is_large_is_left_to_a_worker() -> None:
    run = planned(upload(MANY))
    run = imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)
    assert (run.state, run.total > imports.SMALL_CHANGES) == ("asked", True)
    assert jobs() == [("controller.tasks.run_import", [str(run.pk)])]
    assert "is applied" in tasks.run_import(str(run.pk))
    run.refresh_from_db()
    assert (run.state, run.done, Node.objects.count()) == ("applied", run.total, 600)


def test_a_large_file_is_read_by_a_worker() -> None:
    text = FLEET + "# " + "x" * imports.SMALL_BYTES + "\n"
    run = imports.ask(
        uuid4(), files=[upload(text)], wanted=Wanted(cluster="c"), user=ME, services=NOBODY
    )
    assert (run.state, len(jobs())) == ("queued", 1)
    tasks.run_import(str(run.pk))
    run.refresh_from_db()
    assert run.state in {"planned", "failed"}


def test_one_import_is_applied_once_by_two_workers() -> None:
    # I03.
    run = asked(planned(upload(FLEET)))
    said = at_once(*[lambda: import_jobs.carry_out(run.pk, NOBODY)] * 2)
    assert sorted("is applied" in str(one) for one in said) == [False, True]
    assert (InventoryVersion.objects.count(), Node.objects.count()) == (1, 2)
    assert AuditEvent.objects.filter(verb="applied an import").count() == 1


def test_of_two_imports_at_once_the_later_has_nothing_left_to_do() -> None:
    # I03.
    runs = [asked(planned(upload(FLEET))) for _ in range(2)]

    def work(run: ImportRun) -> Callable[[], str]:
        return lambda: import_jobs.carry_out(run.pk, NOBODY)

    at_once(*map(work, runs))
    for run in runs:
        import_jobs.carry_out(run.pk, NOBODY)
    states = sorted(ImportRun.objects.values_list("state", "total"))
    assert states == [("applied", 0), ("applied", 5)]
    assert (InventoryVersion.objects.count(), Node.objects.count()) == (1, 2)


def test_an_edit_waits_until_an_import_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    # I01: what is edited meanwhile is neither lost nor half there.
    apply(planned(upload(FLEET)))
    run = asked(planned(upload(FLEET.replace("a,x,8", "a,x,4"))))
    seen: list[object] = []

    def edit() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '300ms'")
        return Node.objects.filter(name="b").update(gpus=2)

    _during(monkeypatch, lambda: seen.append(at_once(edit)[0]))
    import_jobs.carry_out(run.pk, NOBODY)
    assert "lock timeout" in str(seen[0])
    assert dict(Node.objects.values_list("name", "gpus")) == {"a": 4, "b": 8}


def test_one_that_is_cancelled_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    # I03.
    run = asked(planned(upload(FLEET)))
    given: list[object] = []
    _during(monkeypatch, lambda: given.extend(at_once(lambda: imports.cancel(run.pk, user=ME))))
    assert "was cancelled" in import_jobs.carry_out(run.pk, NOBODY)
    run.refresh_from_db()
    assert (run.state, given) == ("cancelled", [run])
    assert not Node.objects.exists()
    assert not InventoryVersion.objects.exists()
    with pytest.raises(ConflictError, match="cancelled"):
        imports.apply(run.pk, consent=Consent(), user=ME, services=NOBODY)


def test_one_that_is_cancelled_while_its_plan_grows_old_is_not_shown_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # I03.
    run = asked(planned(upload(FLEET)))
    apply(planned(upload(FLEET.replace("a,x", "a,q"))))
    plan_run = importing.plan_run

    def plan(*words: Any) -> Any:
        at_once(lambda: imports.cancel(run.pk, user=ME))
        return plan_run(*words)

    monkeypatch.setattr(importing, "plan_run", plan)
    assert "was cancelled" in import_jobs.carry_out(run.pk, NOBODY)
    run.refresh_from_db()
    assert (run.state, run.warnings) == ("cancelled", [])


def test_one_that_is_cancelled_while_it_waits_in_vain_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = asked(planned(upload(FLEET)))

    def wait(*_: object) -> None:
        imports.cancel(run.pk, user=ME)
        raise OperationalError("lock timeout")

    monkeypatch.setattr(importing, "apply_run", wait)
    assert "was cancelled" in import_jobs.carry_out(run.pk, NOBODY)
    run.refresh_from_db()
    assert run.state == "cancelled"


def test_progress_is_told_until_nobody_wants_it() -> None:
    run = asked(planned(upload(FLEET)))
    ImportRun.objects.filter(pk=run.pk).update(state="applying", attempts=5)
    beat = Beat(Claim(run.pk, 5, ImportRun.State.APPLYING))
    beat.tell(2, "node")
    with import_jobs._kept_alive(beat):
        assert _until(lambda: ImportRun.objects.get(pk=run.pk).done == 2)
        ImportRun.objects.filter(pk=run.pk).update(cancel_requested_at=database_now())
        assert _until(beat.is_unwanted.is_set)
    with pytest.raises(InterruptedImportError):
        beat.tell(3, "node")


def test_a_worker_that_was_thought_dead_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = asked(planned(upload(FLEET)))

    def taken() -> None:
        at_once(lambda: ImportRun.objects.filter(pk=run.pk).update(attempts=9))

    _during(monkeypatch, taken)
    assert "nothing was written" in import_jobs.carry_out(run.pk, NOBODY)
    assert not Node.objects.exists()


KILLED = """
import os, sys, time
import django
django.setup()
from django.conf import settings
from controller.services import import_jobs
from inventory.services import importing
def wait(*_):
    print("written", flush=True)
    time.sleep(60)
importing.derive_domains = wait
import_jobs.carry_out(sys.argv[1], {})
"""


def test_a_worker_that_is_killed_leaves_nothing_and_another_begins_again() -> None:
    # I03: kill -9 after the rows are written and before they are committed.
    run = asked(planned(upload(FLEET)))
    name = str(connection.settings_dict["NAME"])
    address = os.environ["DATABASE_URL"].rpartition("/")[0]
    worker = subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", KILLED, str(run.pk)],
        cwd=settings.BASE_DIR,
        env={
            **os.environ,
            "DATABASE_URL": f"{address}/{name}",
            "DJANGO_SETTINGS_MODULE": "heteroscale_site.settings",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "written\n"
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(timeout=10)
        if worker.stdout:
            worker.stdout.close()
    assert (ImportRun.objects.get().state, Node.objects.count()) == ("applying", 0)
    import_jobs.pick_up()
    assert ImportRun.objects.get().state == "applying", "it may only be slow"
    late = database_now() - import_jobs.DEAD_AFTER - timedelta(seconds=1)
    ImportRun.objects.update(heartbeat_at=late)
    import_jobs.pick_up()
    run.refresh_from_db()
    assert (run.state, run.lost, jobs()) == (
        "asked",
        1,
        [("controller.tasks.run_import", [str(run.pk)])],
    )
    assert "is applied" in import_jobs.carry_out(run.pk, NOBODY)
    assert (InventoryVersion.objects.count(), Node.objects.count()) == (1, 2)


def test_one_that_always_loses_its_worker_is_given_up() -> None:
    run = asked(planned(upload(FLEET)))
    late = database_now() - import_jobs.DEAD_AFTER - timedelta(seconds=1)
    for _ in range(import_jobs.MOST_DEATHS):
        assert run.state == "asked"
        ImportRun.objects.update(state="applying", heartbeat_at=late)
        import_jobs.pick_up()
        run.refresh_from_db()
    assert (run.state, run.error) == ("failed", import_jobs.GIVEN_UP)


def test_what_waits_for_nobody_is_asked_for_by_the_sweep() -> None:
    run = asked(planned(upload(FLEET)))
    tasks.sweep()
    assert jobs()[0] == ("controller.tasks.run_import", [str(run.pk)])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(
            RefusedError("x", "it is broken", 3, "f.csv"), "f.csv:3: it is broken", id="a"
        ),
        pytest.param(ZeroDivisionError(), import_jobs.UNFORESEEN, id="what nobody foresaw"),
    ],
)
def test_what_goes_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    def broken(*_: Any) -> None:
        raise fault

    run = asked(planned(upload(FLEET)))
    monkeypatch.setattr(importing, "apply_run", broken)
    import_jobs.carry_out(run.pk, NOBODY)
    run.refresh_from_db()
    assert run.state == "failed"
    assert said in run.error


def test_what_the_database_refuses_names_the_rule() -> None:
    # Two writers that know nothing of each other: the database is the last to say no.
    run = asked(planned(upload("node,serial\na,S1\n")))
    Node.objects.create(cluster=make_cluster("other", "record"), name="z", serial="S1")
    import_jobs.carry_out(run.pk, NOBODY)
    run.refresh_from_db()
    assert (run.state, "node_serial_unique" in run.error) == ("failed", True)
    assert Node.objects.count() == 1


def _during(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something after the rows were written and before they are committed."""
    derive = importing.derive_domains

    def between(*words: Any) -> Any:
        act()
        return derive(*words)

    monkeypatch.setattr(importing, "derive_domains", between)


def _until(holds: Callable[[], bool]) -> bool:
    return any(holds() for _ in _ticks())


def _ticks() -> Iterator[None]:
    for _ in range(100):
        threading.Event().wait(0.1)
        yield
