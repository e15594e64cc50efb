"""Asking a worker to carry something out, once however often it is asked for."""

from dataclasses import dataclass
from uuid import UUID

import django_rq
import structlog
from redis.exceptions import RedisError

log = structlog.get_logger(__name__)


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
        name = f"{self.kind}-{pk}-{attempts + 1}"
        try:
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
        except (RedisError, OSError) as fault:
            log.warning("queue unreachable, the sweep will send it", pk=str(pk), fault=str(fault))
