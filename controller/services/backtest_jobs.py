"""Backtests as workers carry them: claimed, kept alive, ended, and begun again after a death.

A broker entry holds the id and nothing else; the row in PostgreSQL says what is to be done.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import structlog
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from controller.core.backtest_states import MOVES, State
from controller.models import Backtest
from controller.models.backtests import MOST_ATTEMPTS
from controller.services.errors import OutOfTimeError
from controller.services.queueing import Errand
from controller.simulator.backtest.answer import Answer, Plain, as_plain
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.curation import CurationQuestion

log = structlog.get_logger(__name__)

QUEUE: Final = "heavy"
JOB_TIMEOUT_S: Final = 1800
ERRAND: Final = Errand(QUEUE, "controller.tasks.run_backtest", "backtest", JOB_TIMEOUT_S)
DEAD_AFTER: Final = timedelta(seconds=60)
"""A worker that was not heard of for so long is thought dead, and its run begins again."""

BEAT_S: Final = 1.0
ALIVE_S: Final = 10.0
TOO_LONG: Final = (
    f"It took longer than {JOB_TIMEOUT_S // 60} minutes: ask for fewer policies or fewer hours."
)
TOO_LARGE: Final = (
    "It needed more memory than HETEROSCALE_BACKTEST_MEMORY_MIB lets it have: "
    "ask for fewer policies or fewer hours."
)
GIVEN_UP: Final = (
    f"Its worker died {MOST_ATTEMPTS} times, perhaps for lack of memory: "
    "ask for fewer policies or fewer hours."
)
UNFORESEEN: Final = "Something went wrong that nobody foresaw; the log of worker-heavy has it."


class Runner(Protocol):
    """Answers a question; ``progress`` is told the share done and may raise to stop it."""

    def __call__(
        self,
        question: Question | CurationQuestion,
        *,
        clock: Callable[[], float],
        progress: Callable[[float], None],
    ) -> Answer:
        """Return the answer. Raises :class:`QuestionError`."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What a run is made with: how a row becomes a question, who answers it, a clock [s]."""

    question_of: Callable[[Backtest], Question | CurationQuestion]
    run: Runner
    clock: Callable[[], float]


class InterruptedRunError(Exception):
    """The run was cancelled, or another worker has it by now."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one attempt to write to its row."""

    pk: UUID
    attempt: int

    def row(self) -> QuerySet[Backtest]:
        """Return the row while it is this attempt's, none afterwards."""
        return Backtest.objects.filter(pk=self.pk, state=State.RUNNING, attempts=self.attempt)


def move(rows: QuerySet[Backtest], following: State, **fields: Any) -> int:  # noqa: ANN401
    """Take the rows to the state that follows, where the table allows it; returns how many."""
    before = [state for state in State if following in MOVES[state]]
    return rows.filter(state__in=before).update(state=following, **fields)


def carry_out(pk: UUID, tools: Tools) -> str:
    """Run a queued backtest to its end and say what became of it; another's is left alone."""
    claim = _claim(pk)
    if claim is None:
        return f"Backtest {pk} waits for another one, or needs nothing."
    try:
        return _ended(claim, tools)
    except OutOfTimeError:
        error = TOO_LONG
    except MemoryError:
        error = TOO_LARGE
    # Out here the exception no longer holds what the run allocated.
    log.warning("backtest stopped", backtest=str(pk), attempt=claim.attempt, error=error)
    if not connection.in_atomic_block:
        connection.close()  # time may have ended in the middle of a query
    return _failed(claim, error)


def _ended(claim: Claim, tools: Tools) -> str:
    try:
        answer = _answer(claim, tools)
    except (InterruptedRunError, Backtest.DoesNotExist):
        return _interrupted(claim)
    except QuestionError as fault:
        return _failed(claim, fault.message, fault.where)
    return _done(claim, answer)


def _answer(claim: Claim, tools: Tools) -> Answer:
    """Return the answer; what can't be answered is raised as :class:`QuestionError`."""
    try:
        row = claim.row().select_related("trace", "service").get()
        with _kept_alive(claim):
            question = tools.question_of(row)
            return tools.run(question, clock=tools.clock, progress=_Beat(claim, tools.clock))
    except (InterruptedRunError, Backtest.DoesNotExist, QuestionError, MemoryError):
        raise
    except DatabaseError:
        raise  # without a database nothing can be written; the sweep begins it again
    except Exception as fault:
        log.exception("backtest failed", backtest=str(claim.pk), attempt=claim.attempt)
        raise QuestionError("unforeseen", UNFORESEEN, "") from fault


def _claim(pk: UUID) -> Claim | None:
    try:
        with transaction.atomic():
            mine = Backtest.objects.filter(pk=pk, attempts__lt=MOST_ATTEMPTS)
            taken = move(
                mine,
                State.RUNNING,
                attempts=F("attempts") + 1,
                started_at=Now(),
                heartbeat_at=Now(),
                progress_frac=0.0,
            )
            return Claim(pk, mine.model.objects.get(pk=pk).attempts) if taken else None
    except IntegrityError:
        return None  # another one runs


@contextmanager
def _kept_alive(claim: Claim) -> Iterator[None]:
    """Tell that the worker lives, from a thread: one step of the engine may take a minute."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(ALIVE_S):
            try:
                claim.row().update(heartbeat_at=Now())
            except DatabaseError as fault:
                log.warning("no heartbeat", backtest=str(claim.pk), fault=str(fault))
            finally:
                connection.close()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(slots=True)
class _Beat:
    """Writes progress at most once a second and notices when the row is no longer ours."""

    claim: Claim
    clock: Callable[[], float]
    written_s: float | None = None

    def __call__(self, frac: float) -> None:
        now_s = self.clock()
        if self.written_s is not None and now_s - self.written_s < BEAT_S:
            return
        self.written_s = now_s
        wanted = self.claim.row().filter(cancel_requested_at=None)
        share = min(1.0, max(0.0, frac))
        if not wanted.update(progress_frac=share, heartbeat_at=Now()):
            raise InterruptedRunError


def _interrupted(claim: Claim) -> str:
    asked = claim.row().exclude(cancel_requested_at=None)
    if move(asked, State.CANCELLED, finished_at=Now()):
        return f"Backtest {claim.pk} was cancelled."
    return _late(claim)


def _failed(claim: Claim, error: str, field: str = "") -> str:
    if move(claim.row(), State.FAILED, finished_at=Now(), error=error, error_field=field[:40]):
        return f"Backtest {claim.pk} failed: {error}"
    return _late(claim)


def _done(claim: Claim, answer: Answer) -> str:
    if move(
        claim.row(),
        State.DONE,
        finished_at=Now(),
        progress_frac=1.0,
        answer=as_plain(answer, series=False),
        series=series_of(answer),
    ):
        return f"Backtest {claim.pk} is done."
    return _late(claim)


def series_of(answer: Answer) -> dict[str, Plain]:
    """Return the time series alone: the common ones, and each policy's under ``runs``."""
    whole = as_plain(answer, series=True)
    common, runs = whole["series"], whole["runs"]
    if not (isinstance(common, dict) and isinstance(runs, list)):
        raise TypeError("an answer with series has them as a mapping, and its runs as a list")
    return common | {"runs": [run["series"] for run in runs if isinstance(run, dict)]}


def _late(claim: Claim) -> str:
    return f"Backtest {claim.pk} is not attempt {claim.attempt}'s any more: nothing was written."


def pick_up() -> None:
    """Begin again what lost its worker, and ask for a worker where none was asked."""
    dead = Backtest.objects.filter(heartbeat_at__lt=Now() - DEAD_AFTER, state=State.RUNNING)
    move(dead.exclude(cancel_requested_at=None), State.CANCELLED, finished_at=Now())
    move(
        dead.filter(attempts__gte=MOST_ATTEMPTS),
        State.FAILED,
        finished_at=Now(),
        error=GIVEN_UP,
    )
    unasked = dead.filter(
        cancel_requested_at=None
    )  # one that is cancelled just now ends next time
    move(unasked, State.QUEUED, started_at=None, heartbeat_at=None, progress_frac=0.0)
    enqueue_next()


def enqueue_next() -> None:
    """Ask for a worker for the oldest that waits, unless one runs already."""
    if Backtest.objects.filter(state=State.RUNNING).exists():
        return
    oldest = Backtest.objects.filter(state=State.QUEUED).order_by("created_at", "pk")
    waiting = oldest.values_list("pk", "attempts").first()
    if waiting is not None:
        enqueue(*waiting)


def enqueue(pk: UUID, attempts: int = 0) -> None:
    """Ask a worker to carry it out; the sweep asks again if nobody answers."""
    ERRAND.ask(pk, attempts)
