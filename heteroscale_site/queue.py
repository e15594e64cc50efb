"""Jobs name a function from a short list, and carry JSON.

A job is a line of text in the broker that says which function to call. Whoever can write there
could name any function of the machine, so workers look the name up in one module of ours instead
of importing whatever it says.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import signal
import zlib
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Final

import structlog
from django.conf import settings
from django_rq.queues import DjangoRQ
from redis.client import Pipeline
from rq import Queue, Worker
from rq.exceptions import DeserializationError
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from controller.services import queueing
from controller.services.errors import OutOfTimeError
from heteroscale_site.launch.processes import die_with_parent, limit_memory

TASKS = "controller.tasks"
LISTED = re.compile(r"controller\.tasks\.(?P<name>[a-z][a-z0-9_]*)")

MOST_BYTES: Final = 64 * 2**10
"""A task takes an id: what is longer was written by somebody else, and a few bytes can be
compressed from as many as a machine has."""

PACKED: Final = (b"data", b"exc_info")
TOO_LONG: Final = b"longer than a task's words"

log = structlog.get_logger(__name__)


class ForbiddenJobError(Exception):
    """The job names something workers do not run."""


def listed_function(name: str | None) -> Callable[..., object]:
    """Return the task of that name.

    Raises :class:`ForbiddenJobError` for any other function, before anything is imported because
    of the name. Functions that the task module itself imported do not count as tasks.
    """
    matched = LISTED.fullmatch(name or "")
    if matched is None:
        raise ForbiddenJobError(f"{name!r} is not a task")
    found = getattr(importlib.import_module(TASKS), matched["name"], None)
    if not inspect.isfunction(found) or found.__module__ != TASKS:
        raise ForbiddenJobError(f"{name!r} is not a task")
    return found


class ListedJob(Job):
    """A job that only ever runs a task, without callbacks or web hooks."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - rq's name
        connection: Any = None,  # noqa: ANN401 - rq's signature
        serializer: object = None,  # noqa: ARG002 - always JSON, whatever the caller prefers
    ) -> None:
        """Read and write JSON: the default serialiser runs code while it reads."""
        super().__init__(id=id, connection=connection, serializer=JSONSerializer)

    @property
    def func(self) -> Callable[..., object]:
        """The task to run; raises :class:`ForbiddenJobError` for a forged job."""
        try:
            self._refuse_extras()
            return listed_function(self.func_name)
        except ForbiddenJobError as fault:
            _refused(self.id, str(fault))
            raise

    def prepare_for_execution(self, worker_name: str, pipeline: Pipeline) -> None:
        """Note a job that can't be read; it fails as soon as its name is asked for."""
        super().prepare_for_execution(worker_name, pipeline)
        try:
            self.func_name  # noqa: B018 - it is read here
        except DeserializationError:
            _refused(self.id, "Its words are no JSON, or longer than a task's.")

    def _refuse_extras(self) -> None:
        callbacks = (
            self._success_callback_name,
            self._failure_callback_name,
            self._stopped_callback_name,
        )
        if self.instance is not None or any(callbacks):
            raise ForbiddenJobError("a task has no object and no callbacks")

    @property
    def success_callback(self) -> None:
        """None: a name from the broker is not imported."""

    @property
    def failure_callback(self) -> None:
        """None: a name from the broker is not imported."""

    @property
    def stopped_callback(self) -> None:
        """None: a name from the broker is not imported."""

    def restore(self, raw_data: Any) -> None:  # noqa: ANN401 - rq's signature
        """Read the job, leaving out addresses it wants called at the end, and what is too long."""
        super().restore(_bounded(raw_data))
        self.webhooks = []


def _refused(job: str, why: str) -> None:
    log.warning("job refused", job=job, why=why)
    queueing.note_forged(job, why)


def _bounded(raw: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return a job's fields with what is unpacked from them, before anything unpacks all of it."""
    return {name: _short(text) if name in PACKED else text for name, text in raw.items()}


def _short(packed: bytes) -> bytes:
    try:
        text = zlib.decompressobj().decompress(packed, MOST_BYTES + 1)
    except zlib.error:
        text = packed
    return packed if len(text) <= MOST_BYTES else TOO_LONG


class JSONQueue(DjangoRQ):
    """A queue whose jobs are JSON and of the listed kind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - rq's signature
        """Fix job class and serialiser."""
        kwargs.update(job_class=ListedJob, serializer=JSONSerializer)
        super().__init__(*args, **kwargs)


class DeathPenalty(UnixSignalDeathPenalty):
    """Ends a job that is out of time, whatever it catches; other time limits are rq's."""

    def handle_death_penalty(self, signum: int, frame: FrameType | None) -> None:
        """Raise :class:`OutOfTimeError` in a job, and what rq waits for elsewhere."""
        # rq's own is an Exception: the isolation of one service from another would swallow it.
        if self._exception is JobTimeoutException:
            raise OutOfTimeError(f"The job was not done after {self._timeout} s.")
        super().handle_death_penalty(signum, frame)  # type: ignore[no-untyped-call]

    def cancel_death_penalty(self) -> None:
        """Stop the clock; time that ends in this very moment no longer matters."""
        with contextlib.suppress(OutOfTimeError):
            super().cancel_death_penalty()  # type: ignore[no-untyped-call]


class ListedWorker(Worker):
    """A worker for listed jobs, whose job processes do not outlive it."""

    death_penalty_class = DeathPenalty

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - rq's signature
        """Fix job class and serialiser."""
        kwargs.update(job_class=ListedJob, serializer=JSONSerializer)
        super().__init__(*args, **kwargs)

    def work(self, *args: Any, **kwargs: Any) -> bool:  # noqa: ANN401 - rq's signature
        """Work, with the tasks imported once: each job runs in a process copied from this one."""
        importlib.import_module(TASKS)
        return bool(super().work(*args, **kwargs))

    def setup_work_horse_signals(self) -> None:
        """End the job when its worker is killed: a replacement would run beside it."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        die_with_parent(signal.SIGTERM)()

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run the job, in the process made for it, within the memory its queue may take."""
        if queue.name in settings.JOB_MEMORY_MIB:
            limit_memory(settings.JOB_MEMORY_MIB[queue.name])
        return super().perform_job(job, queue, execution)
