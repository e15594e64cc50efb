"""Imports as they are carried out: at once where they are small, by a worker where they are not.

A broker entry holds the id and nothing else; the row in PostgreSQL says what is to be done.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from controller.models.clock import database_now
from controller.services import audit, leaving
from controller.services.errors import OutOfTimeError
from controller.services.queueing import Errand
from inventory.importers.found import RefusedError
from inventory.models import ImportRun
from inventory.services import importing, reverting
from inventory.services.importing import Applied, Doing, InterruptedImportError
from inventory.services.lookups import UnknownNameError
from inventory.services.run_states import move
from inventory.summaries import Holders

log = structlog.get_logger(__name__)

State = ImportRun.State
QUEUE: Final = "default"
JOB_TIMEOUT_S: Final = 300
ERRAND: Final = Errand(QUEUE, "controller.tasks.run_import", "import", JOB_TIMEOUT_S)
MOST_DEATHS: Final = 3
DEAD_AFTER: Final = timedelta(seconds=60)
"""A worker that was not heard of for so long is thought dead, and the import begins again."""

BEAT_S: Final = 1.0
TOO_LONG: Final = f"It took longer than {JOB_TIMEOUT_S // 60} minutes: import fewer files at once."
GIVEN_UP: Final = f"Its worker died {MOST_DEATHS} times: import fewer files at once."
BUSY: Final = "Something else was writing the inventory for too long: apply it again."
UNFORESEEN: Final = "Something went wrong that nobody foresaw; the log has it."
NOTHING: Final = "needs nothing"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right of one attempt to write to its row."""

    pk: UUID
    attempt: int
    state: State

    def row(self) -> QuerySet[ImportRun]:
        """Return the row while it is this attempt's, none afterwards."""
        return ImportRun.objects.filter(pk=self.pk, state=self.state, attempts=self.attempt)


def carry_out(pk: UUID, services: Holders, *, is_alone: bool = True) -> str:
    """Plan or apply an import that waits for it, and say what became of it.

    ``services`` are those with instances on nodes. ``is_alone`` keeps a thread that tells how far
    it is: without it everything has to happen in the transaction of whoever asked. Another
    attempt's import is left alone.
    """
    for before, after, work in (
        (State.QUEUED, State.PLANNING, _plan),
        (State.ASKED, State.APPLYING, _apply),
    ):
        claim = _claim(pk, before, after)
        if claim is not None:
            return _carried(claim, work, services, is_alone=is_alone)
    return f"Import {pk} waits for another one, or {NOTHING}."


Work = Callable[["Claim", "Beat", Holders], str]


def _claim(pk: UUID, before: State, after: State) -> Claim | None:
    try:
        with transaction.atomic():
            mine = ImportRun.objects.filter(pk=pk, state=before)
            if not mine.update(
                state=after, attempts=F("attempts") + 1, heartbeat_at=Now(), done=0, step=""
            ):
                return None
            return Claim(pk, ImportRun.objects.get(pk=pk).attempts, after)
    except IntegrityError:
        return None  # another one is being applied


def _carried(claim: Claim, work: Work, services: Holders, *, is_alone: bool) -> str:
    beat = Beat(claim)
    try:
        with _kept_alive(beat) if is_alone else _in_one_go():
            return work(claim, beat, services)
    except InterruptedImportError:
        return _interrupted(claim)
    except (RefusedError, IntegrityError, UnknownNameError) as fault:
        error = _words(fault)
    except OperationalError:
        return _busy(claim)
    except OutOfTimeError:
        if not connection.in_atomic_block:
            connection.close()  # time may have ended in the middle of a query
        error = TOO_LONG
    except Exception as fault:
        if isinstance(fault, DatabaseError):
            raise  # without a database nothing can be written; the sweep begins it again
        log.exception("import failed", run=str(claim.pk), attempt=claim.attempt)
        error = UNFORESEEN
    return _failed(claim, error)


def _words(fault: Exception) -> str:
    """Return why an import can't be read or written, for a person."""
    if isinstance(fault, RefusedError):
        return f"{fault.where}: {fault.message}." if fault.where else f"{fault.message}."
    cause = getattr(fault.__cause__, "diag", None)
    rule = getattr(cause, "constraint_name", None)
    if rule:
        return f"The inventory refuses it ({rule}): {getattr(cause, 'message_detail', '') or ''}"
    return f"{fault}."


# Planning.


def _plan(claim: Claim, _beat: "Beat", services: Holders) -> str:
    run = claim.row().get()
    plan = importing.plan_run(run, services)
    with transaction.atomic():
        mine = claim.row().filter(cancel_requested_at=None)
        fields = importing.plan_fields(plan)
        if not move(mine, State.PLANNED, planned_at=Now(), error="", lost=0, **fields):
            raise InterruptedImportError
        importing.keep_plan(run, plan)
    return f"Import {claim.pk} is planned."


# Applying.


def _apply(claim: Claim, beat: "Beat", services: Holders) -> str:
    before = leaving.Regions.now()

    def within(answer: Applied) -> None:
        """No cluster leaves what its region is under, as little as by a form (S16)."""
        if said := before.lost():
            raise RefusedError("held", said.removesuffix("."))
        _record(answer)

    doing = Doing(database_now(), claim.row, beat.tell, within)
    run = claim.row().select_related("reverts").get()
    write = reverting.revert_run if run.reverts_id else importing.apply_run
    answer = write(doing, services)
    if answer.is_stale:
        return f"Import {claim.pk} is to be looked at again."
    return f"Import {claim.pk} is applied: inventory version {answer.run.inventory_version}."


def _record(answer: Applied) -> None:
    """Write the audit event in the transaction of the change."""
    run = answer.run
    if answer.is_stale:
        verb = "found that an import's plan changed"
    else:
        verb = "reverted an import" if run.reverts_id else "applied an import"
    audit.record(
        actor=run.applied_name,
        verb=verb,
        obj=run.reverts or run,
        after={
            "state": run.state,
            "counts": run.counts,
            "inventory_version": run.inventory_version,
            "import": str(run.pk),
        },
        reason=run.reason,
    )


# Ends.


def _interrupted(claim: Claim) -> str:
    asked = claim.row().exclude(cancel_requested_at=None)
    if move(asked, State.CANCELLED):
        return f"Import {claim.pk} was cancelled."
    return _late(claim)


def _failed(claim: Claim, error: str) -> str:
    log.warning("import failed", run=str(claim.pk), attempt=claim.attempt, error=error)
    if move(claim.row(), State.FAILED, error=error[:1000]):
        return f"Import {claim.pk} failed: {error}"
    return _late(claim)


def _busy(claim: Claim) -> str:
    """Let a person try again what could not get its turn; a plan is simply made later."""
    log.warning("import waited in vain", run=str(claim.pk), attempt=claim.attempt)
    after = State.QUEUED if claim.state == State.PLANNING else State.PLANNED
    wanted = claim.row().filter(cancel_requested_at=None)
    if move(wanted, after, error=BUSY, heartbeat_at=None):
        return f"Import {claim.pk}: {BUSY}"
    return _interrupted(claim)


def _late(claim: Claim) -> str:
    return f"Import {claim.pk} is not attempt {claim.attempt}'s any more: nothing was written."


# Being alive.


@dataclass(slots=True)
class Beat:
    """How far an import is, and whether it is still wanted."""

    claim: Claim
    done: int = 0
    step: str = ""
    is_over: threading.Event = field(default_factory=threading.Event)
    is_unwanted: threading.Event = field(default_factory=threading.Event)

    def tell(self, done: int, step: str) -> None:
        """Note how far it is. Raises :class:`InterruptedImportError` when it is to stop."""
        self.done, self.step = done, step
        if self.is_unwanted.is_set():
            raise InterruptedImportError

    def beat(self) -> None:
        """Write it to the row, from outside of the transaction that others do not see yet."""
        try:
            while not self.is_over.wait(BEAT_S):
                wanted = self.claim.row().filter(cancel_requested_at=None)
                if not wanted.update(done=self.done, step=self.step[:60], heartbeat_at=Now()):
                    self.is_unwanted.set()
        except DatabaseError as fault:
            log.warning("no heartbeat", run=str(self.claim.pk), fault=str(fault))
        finally:
            connection.close()


@contextmanager
def _kept_alive(beat: Beat) -> Iterator[None]:
    """Tell that the worker lives and how far it is, from a thread."""
    thread = threading.Thread(target=beat.beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        beat.is_over.set()
        thread.join()


@contextmanager
def _in_one_go() -> Iterator[None]:
    yield


# Workers.


def pick_up() -> None:
    """Begin again what lost its worker, and ask for a worker where none was asked."""
    working = ImportRun.objects.filter(state__in=ImportRun.RUNNING)
    dead = working.filter(heartbeat_at__lt=Now() - DEAD_AFTER)
    move(dead.exclude(cancel_requested_at=None), State.CANCELLED)
    move(dead.filter(lost__gte=MOST_DEATHS - 1), State.FAILED, error=GIVEN_UP)
    again = {"heartbeat_at": None, "done": 0, "step": "", "lost": F("lost") + 1}
    move(dead.filter(state=State.PLANNING), State.QUEUED, **again)
    move(dead.filter(state=State.APPLYING), State.ASKED, **again)
    waiting = ImportRun.objects.filter(state__in=(State.QUEUED, State.ASKED))
    for pk, attempts in waiting.order_by("created_at", "pk").values_list("pk", "attempts"):
        enqueue(pk, attempts)


def enqueue(pk: UUID, attempts: int = 0) -> None:
    """Ask a worker to carry it out; the sweep asks again if nobody answers."""
    ERRAND.ask(pk, attempts)
