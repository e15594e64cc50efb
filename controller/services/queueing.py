"""Asking a worker to carry something out, once however often it is asked for."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import django_rq
import structlog
from django.db import DatabaseError, transaction
from redis.exceptions import RedisError

from controller.services import audit

log = structlog.get_logger(__name__)

KNOWN_S: Final = 5.0
"""So long the last answer of the broker, or that there was none, is taken for its next one."""

PROBE: Final = "heteroscale:probe"


class Line:
    """What this process last heard of the broker; a page waits for one that hangs once."""

    def __init__(self) -> None:
        self.fault = ""
        self._heard_s = -KNOWN_S

    def heard(self, fault: str = "") -> None:
        """Note an answer, or what came instead of one."""
        self.fault, self._heard_s = fault, time.monotonic()

    @property
    def is_known(self) -> bool:
        """Whether the last answer is new enough to go by."""
        return time.monotonic() - self._heard_s < KNOWN_S

    @property
    def is_down(self) -> bool:
        """Whether it just failed, so that asking again would only wait again."""
        return bool(self.fault) and self.is_known

    def forget(self) -> None:
        """Ask anew at the next occasion."""
        self.fault, self._heard_s = "", -KNOWN_S


LINE: Final = Line()


def reach(ask: Callable[[], object], otherwise: str, **about: str) -> None:
    """Ask the broker; ``otherwise`` says who does it where the broker takes nothing (R02).

    What is asked for is in a row already, so nothing is lost, and nobody waits for it.
    """
    if not LINE.is_down:
        try:
            ask()
        except (RedisError, OSError) as fault:
            LINE.heard(str(fault) or type(fault).__name__)
        else:
            LINE.heard()
    if LINE.fault:
        log.warning("queue unreachable", then=otherwise, fault=LINE.fault, **about)


def is_reachable() -> bool:
    """Return whether the broker takes jobs: one that can only be read, or is full, takes none."""
    if not LINE.is_known:
        reach(
            lambda: django_rq.get_connection("actions").set(PROBE, "1", ex=60),
            "the sweep carries on what is recorded once it is back",
        )
    return not LINE.fault


@dataclass(frozen=True, slots=True)
class Errand:
    """What workers do to rows of one kind: the queue, the task, and how long it may take [s]."""

    queue: str
    task: str
    kind: str
    timeout_s: int

    def ask(self, pk: UUID, attempts: int) -> None:
        """Ask a worker; the sweep asks again if nobody answers.

        Each attempt has a name of its own: a zombie's end must not sweep away its successor.
        """
        reach(lambda: self._ask(pk, attempts), "the sweep will send it", pk=str(pk))

    def _ask(self, pk: UUID, attempts: int) -> None:
        name = f"{self.kind}-{pk}-{attempts + 1}"
        queue = django_rq.get_queue(self.queue)
        if name not in queue.get_job_ids():
            queue.enqueue(
                self.task,
                str(pk),
                job_id=name,
                job_timeout=self.timeout_s,
                result_ttl=60,
                failure_ttl=86_400,
            )


FORGED: Final = "refused a forged job"
TOLD_AGAIN_S: Final = 60.0


def note_forged(job: str, why: str) -> None:
    """Add to the audit that a job was refused which none of us wrote; once a minute at most.

    Whoever writes into the broker could fill the audit otherwise; the log has each.
    """
    try:
        with transaction.atomic():
            if not audit.was_told(FORGED, within_s=TOLD_AGAIN_S):
                audit.record(
                    actor="worker", verb=FORGED, obj=None, after={"job": job[:100]}, reason=why
                )
    except DatabaseError:
        log.exception("a forged job is in no audit", job=job)
