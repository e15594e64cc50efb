"""A backtest is asked for once, within limits; one runs at a time, and none is lost."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from controller.core.backtest_states import MOVES, Source, State
from controller.models import AuditEvent, Backtest
from controller.services import backtest_jobs, backtests
from controller.services.backtest_jobs import GIVEN_UP, UNFORESEEN, carry_out, pick_up
from controller.services.backtests import Load
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    MissingError,
    TooManyError,
)
from controller.simulator.backtest.question import QuestionError
from tests.backtests import ASKED, GENERATOR, answer, make_backtest, tools
from tests.services.people import at_once, person

LOAD = Load(Source.GENERATED, "generated 2–8 requests/s", generator=GENERATOR)


def ask(user: User, key: uuid.UUID | None = None) -> Backtest:
    return backtests.ask(key or uuid.uuid4(), asked=ASKED, load=LOAD, user=user)


def now_of(row: Backtest) -> tuple[str, int, float]:
    """Return what the database says of it now: state, attempts and progress."""
    row.refresh_from_db()
    return row.state, row.attempts, row.progress_frac


def die(row: Backtest) -> None:
    """Let the worker have been silent for two minutes."""
    ago = timedelta(seconds=120)
    Backtest.objects.filter(pk=row.pk).update(
        created_at=Now() - 2 * ago, started_at=Now() - ago, heartbeat_at=Now() - ago
    )


@pytest.mark.django_db
def test_a_backtest_is_asked_run_and_answered() -> None:
    otto = person("otto", "Operator")
    row = ask(otto)
    assert now_of(row) == ("queued", 0, 0.0)

    said = carry_out(row.pk, tools())

    assert said == f"Backtest {row.pk} is done."
    assert now_of(row) == ("done", 1, 1.0)
    assert row.answer["clairvoyant_gpu_hours"] == 300.0
    assert [run["label"] for run in row.answer["runs"]] == ["default", "hpa-util"]
    assert row.series["t_s"] == [0.0, 900.0, 1800.0, 2700.0]
    assert row.series["request_rps"] == [2.0, 4.0, None, 8.0]
    assert [run["gpus"] for run in row.series["runs"]] == [[12.0] * 4, [18.0] * 4]
    assert row.created_at <= row.started_at <= row.heartbeat_at <= row.finished_at
    assert list(AuditEvent.objects.values_list("actor", "verb", "object_id")) == [
        ("otto", "started a backtest", str(row.pk))
    ]


@pytest.mark.django_db
def test_a_curation_is_audited_as_one() -> None:
    otto = person("otto", "Operator")
    asked = ASKED | {"curate": {"gpus": 24, "goal_frac": 0.99}}
    row = backtests.ask(uuid.uuid4(), asked=asked, load=LOAD, user=otto)
    backtests.cancel(row.pk, user=otto)
    verbs = AuditEvent.objects.filter(object_id=str(row.pk)).values_list("verb", flat=True)
    assert set(verbs) == {"started a curation", "cancelled a curation"}


@pytest.mark.django_db
def test_the_same_form_makes_one_backtest_and_nobody_else_gets_it() -> None:
    otto, olga = person("otto", "Operator"), person("olga", "Operator")
    key = uuid.uuid4()

    assert ask(otto, key).pk == ask(otto, key).pk == key
    with pytest.raises(ConflictError, match="sent by somebody else"):
        ask(olga, key)
    assert Backtest.objects.count() == AuditEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_double_click_makes_one_backtest() -> None:
    otto = person("otto", "Operator")
    key = uuid.uuid4()

    given = at_once(*[lambda: ask(otto, key).pk] * 4)

    assert given == [key] * 4
    assert Backtest.objects.count() == 1


@pytest.mark.django_db
def test_a_viewer_neither_starts_nor_cancels() -> None:
    vera = person("vera", "Viewer")
    row = make_backtest(None)

    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        ask(vera)
    with pytest.raises(ForbiddenError, match="needs the role Operator"):
        backtests.cancel(row.pk, user=vera)
    assert now_of(row) == ("queued", 0, 0.0)
    assert (
        list(AuditEvent.objects.values_list("verb", flat=True)) == ["was refused run_backtest"] * 2
    )


@pytest.mark.django_db
def test_five_wait_for_a_person_and_twenty_in_all() -> None:
    otto, olga = person("otto", "Operator"), person("olga", "Operator")
    for _ in range(5):
        ask(otto)
    with pytest.raises(TooManyError, match="5 of your backtests wait already, and 5 may"):
        ask(otto)

    for _ in range(15):
        make_backtest(None)
    with pytest.raises(TooManyError, match="20 backtests wait already, and 20 may"):
        ask(olga)
    assert Backtest.objects.count() == 20


@pytest.mark.django_db(transaction=True)
def test_ten_requests_at_once_leave_five_waiting() -> None:
    otto = person("otto", "Operator")

    given = at_once(*[lambda: ask(otto)] * 10)

    assert sum(isinstance(one, TooManyError) for one in given) == 5
    assert Backtest.objects.filter(state="queued").count() == 5


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "after", "asked"),
    [
        pytest.param("queued", "cancelled", True, id="queued: at once"),
        pytest.param("running", "running", True, id="running: its worker is asked"),
    ],
)
def test_what_has_not_ended_can_be_cancelled(state: str, after: str, asked: bool) -> None:  # noqa: FBT001
    otto = person("otto", "Operator")
    row = make_backtest(otto, state)

    backtests.cancel(row.pk, user=otto)
    backtests.cancel(row.pk, user=otto)

    row.refresh_from_db()
    assert (row.state, row.cancel_requested_at is not None) == (after, asked)
    assert row.cancel_requested_by == otto
    assert AuditEvent.objects.filter(verb="cancelled a backtest").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("state", "elsewhere", "after"),
    [
        pytest.param(
            "running",
            lambda row: backtest_jobs.move(
                Backtest.objects.filter(pk=row.pk), State.QUEUED, started_at=None
            ),
            "running",
            id="a run is queued again meanwhile",
        ),
        pytest.param(
            "queued",
            lambda row: backtest_jobs._claim(row.pk),
            "cancelled",
            id="a worker claims it meanwhile",
        ),
    ],
)
def test_a_cancellation_is_not_lost_to_what_happens_meanwhile(
    state: str, elsewhere: Callable[[Backtest], object], after: str
) -> None:
    otto = person("otto", "Operator")
    row = make_backtest(otto, state)
    met: list[object] = []

    def act() -> None:
        # Where a lock keeps it out it comes too late, instead of waiting for us to go on.
        with transaction.atomic():
            Backtest.objects.select_for_update(nowait=True).get(pk=row.pk)
            elsewhere(row)

    def meanwhile(execute: Callable[..., object], sql: str, *rest: object) -> object:
        found = execute(sql, *rest)
        if "controller_backtest" in sql and not met:
            met.extend(at_once(act))
        return found

    with connection.execute_wrapper(meanwhile):
        backtests.cancel(row.pk, user=otto)

    assert len(met) == 1
    row.refresh_from_db()
    assert (row.state, row.cancel_requested_by) == (after, otto)
    assert AuditEvent.objects.filter(verb="cancelled a backtest").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["done", "failed"])
def test_what_has_ended_stays_as_it_ended(state: str) -> None:
    otto = person("otto", "Operator")
    row = make_backtest(otto, state)

    with pytest.raises(ConflictError, match=f"It was {state} before it could be cancelled"):
        backtests.cancel(row.pk, user=otto)
    with pytest.raises(MissingError):
        backtests.cancel(uuid.uuid4(), user=otto)
    assert row.state == state
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
def test_a_cancelled_run_stops_at_its_next_step_and_keeps_no_answer() -> None:
    otto = person("otto", "Operator")
    row = ask(otto)
    after: list[str] = []

    said = carry_out(
        row.pk,
        tools(
            lambda: backtests.cancel(row.pk, user=otto),
            lambda: after.append("a step after the cancellation"),
        ),
    )

    assert said == f"Backtest {row.pk} was cancelled."
    assert now_of(row)[0] == "cancelled"
    assert (row.answer, after) == (None, [])


@pytest.mark.django_db
def test_progress_is_written_once_a_second() -> None:
    row = make_backtest(None)
    seen: list[float] = []
    steps = [lambda: seen.append(now_of(row)[2])] * 4

    carry_out(row.pk, tools(*steps, tick_s=0.5))

    # Told at 0, 0.2, 0.4, 0.6 and 0.8, every half second: every other one is written.
    assert seen == [0.0, 0.0, 0.4, 0.4]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fault", "error", "field"),
    [
        pytest.param(
            QuestionError("too_long", "900 h asked, at most 168", "hours"),
            "900 h asked, at most 168",
            "hours",
            id="an unanswerable question names its field",
        ),
        pytest.param(
            MemoryError(),
            "It needed more memory than HETEROSCALE_BACKTEST_MEMORY_MIB lets it have: "
            "ask for fewer policies or fewer hours.",
            "",
            id="too much memory",
        ),
        pytest.param(
            ZeroDivisionError("1/0"), UNFORESEEN, "", id="a fault of ours hides its trace"
        ),
    ],
)
def test_a_failure_keeps_its_sentence(fault: Exception, error: str, field: str) -> None:
    row = make_backtest(None)

    def fail() -> None:
        raise fault

    carry_out(row.pk, tools(fail))

    row.refresh_from_db()
    assert (row.state, row.error, row.error_field) == ("failed", error, field)


@pytest.mark.django_db(transaction=True)
def test_of_two_workers_with_two_backtests_one_runs() -> None:
    first, second = make_backtest(None), make_backtest(None)
    entered = threading.Barrier(2)
    go_on = threading.Event()

    def hold() -> None:
        entered.wait(timeout=10)
        go_on.wait(timeout=10)

    worker = threading.Thread(
        target=lambda: (carry_out(first.pk, tools(hold)), connection.close())
    )
    worker.start()
    entered.wait(timeout=10)
    said = carry_out(second.pk, tools())
    go_on.set()
    worker.join(timeout=10)

    assert "waits for another one" in said
    assert (now_of(first)[0], now_of(second)) == ("done", ("queued", 0, 0.0))


@pytest.mark.django_db(transaction=True)
def test_the_same_backtest_delivered_to_many_workers_runs_once() -> None:
    row = make_backtest(None)

    given = at_once(*[lambda: carry_out(row.pk, tools())] * 4)

    assert given.count(f"Backtest {row.pk} is done.") == 1
    assert now_of(row) == ("done", 1, 1.0)
    assert "needs nothing" in carry_out(row.pk, tools())


@pytest.mark.django_db
def test_the_database_lets_no_second_one_run() -> None:
    make_backtest(None, "running")
    with pytest.raises(IntegrityError, match="one_backtest_runs_at_a_time"), transaction.atomic():
        make_backtest(None, "running")


@pytest.mark.django_db(transaction=True)
def test_a_long_step_of_the_engine_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    row = make_backtest(None)
    monkeypatch.setattr(backtest_jobs, "ALIVE_S", 0.01)
    seen: list[bool] = []

    def compute() -> None:
        die(row)
        until_s = time.monotonic() + 10
        young = Backtest.objects.filter(pk=row.pk, heartbeat_at__gt=Now() - timedelta(seconds=60))
        while not young.exists() and time.monotonic() < until_s:
            pass
        seen.append(young.exists())
        pick_up()

    carry_out(row.pk, tools(compute))

    assert seen == [True]
    assert now_of(row) == ("done", 1, 1.0)


@pytest.mark.django_db
def test_a_run_whose_worker_died_begins_again_three_times_and_is_given_up() -> None:
    row = make_backtest(None)
    seen: list[tuple[str, int, float]] = []

    for _ in range(3):
        backtest_jobs._claim(row.pk)
        pick_up()
        seen.append(now_of(row))
        die(row)
        pick_up()
        seen.append(now_of(row))

    assert seen == [
        ("running", 1, 0.0),
        ("queued", 1, 0.0),
        ("running", 2, 0.0),
        ("queued", 2, 0.0),
        ("running", 3, 0.0),
        ("failed", 3, 0.0),
    ]
    assert row.error == GIVEN_UP


@pytest.mark.django_db
def test_a_dead_run_that_was_cancelled_ends_as_cancelled() -> None:
    otto = person("otto", "Operator")
    row = make_backtest(otto, "running")
    backtests.cancel(row.pk, user=otto)
    die(row)

    pick_up()

    assert now_of(row)[0] == "cancelled"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("took_over", "after"),
    [
        pytest.param(lambda _: None, ("queued", 1, 0.0), id="it waits again"),
        pytest.param(
            lambda row: backtest_jobs._claim(row.pk), ("running", 2, 0.0), id="another one has it"
        ),
        pytest.param(
            lambda row: carry_out(row.pk, tools()), ("done", 2, 1.0), id="another one is done"
        ),
        pytest.param(lambda row: row.delete(), None, id="it was deleted"),
    ],
)
@pytest.mark.parametrize("ends", ["in the middle", "with an answer", "with a failure"])
def test_a_zombie_writes_nothing(
    took_over: Callable[[Backtest], object],
    after: tuple[str, int, float] | None,
    ends: str,
) -> None:
    row = make_backtest(None)

    def sleep() -> None:
        die(row)
        pick_up()
        took_over(Backtest.objects.get(pk=row.pk))
        if ends == "with a failure":
            raise QuestionError("late", "found out too late", "hours")

    # Half a second between looks: the zombie does not look at its row again before it ends.
    wait_s = 2.0 if ends == "in the middle" else 0.4
    said = carry_out(row.pk, tools(sleep, found=answer(), tick_s=wait_s))

    assert said == f"Backtest {row.pk} is not attempt 1's any more: nothing was written."
    found = Backtest.objects.filter(pk=row.pk).first()
    assert (now_of(found) if found else None) == after
    assert found is None or found.error == ""


def test_every_move_of_the_table_leads_somewhere() -> None:
    assert {state: sorted(MOVES[state]) for state in State} == {
        "queued": ["cancelled", "running"],
        "running": ["cancelled", "done", "failed", "queued"],
        "done": [],
        "failed": [],
        "cancelled": [],
    }


@pytest.mark.django_db
@pytest.mark.parametrize("before", sorted(State))
@pytest.mark.parametrize("after", sorted(State))
def test_no_move_leaves_the_table(before: State, after: State) -> None:
    row = make_backtest(None, before)
    times = {
        "queued": {"started_at": None, "finished_at": None, "heartbeat_at": None},
        "running": {"started_at": Now(), "heartbeat_at": Now()},
    }.get(after, {"finished_at": Now(), "answer": {}, "series": {}})

    moved = backtest_jobs.move(Backtest.objects.filter(pk=row.pk), after, **times)

    assert (moved == 1) == (after in MOVES[before])
    assert now_of(row)[0] == (after if moved else before)
