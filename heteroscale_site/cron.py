"""What happens regularly: cron only ticks, the decision who may act is made in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django_rq.connection_utils import get_connection
from django_rq.cron import DjangoCronScheduler
from redis import Redis
from rq import Queue
from rq.cron import CronJob
from rq.job import Job
from rq.serializers import JSONSerializer

SWEEP_S = 10
ADVISE_S = 60


@dataclass(frozen=True, slots=True)
class Beat:
    """A task without arguments and how often it is asked for."""

    task: str
    queue: str
    every_s: int
    timeout_s: int


def beats() -> tuple[Beat, ...]:
    """Return every regular task."""
    return (
        Beat("controller.tasks.tick", "control", every_s=settings.TICK_S, timeout_s=30),
        Beat("controller.tasks.advise", "placement", every_s=ADVISE_S, timeout_s=60),
        Beat("controller.tasks.sweep", "actions", every_s=SWEEP_S, timeout_s=120),
    )


class NamedCronJob(CronJob):
    """Puts the task's name in the queue without importing the task."""

    def enqueue(self, connection: Redis) -> Job:
        """Enqueue as JSON, which is all that workers read, before what waits already.

        However many ticks a time without workers left behind, the newest is carried out first; the
        others have no period left (R03). Among tasks of other kinds a sweep takes its turn.
        """
        queue = Queue(self.queue_name, connection=connection, serializer=JSONSerializer)
        options: dict[str, Any] = self.job_options
        return queue.enqueue(self.func_name, at_front=self.queue_name == "control", **options)


class Cron(DjangoCronScheduler):
    """The clock of the control loop; shown on the queue's pages."""

    def __init__(self) -> None:
        """Use the broker all queues share."""
        super().__init__(connection=get_connection("control"))

    def keep(self, beat: Beat) -> None:
        """Ask for this task from now on.

        A tick that nobody picked up within its period is dropped: after a time without workers
        one look at the present is wanted, not one for every look missed.
        """
        self._cron_jobs.append(
            NamedCronJob(
                queue_name=beat.queue,
                func_name=beat.task,
                interval=beat.every_s,
                ttl=beat.every_s,
                job_timeout=beat.timeout_s,
                result_ttl=60,
                failure_ttl=24 * 3600,
            )
        )
