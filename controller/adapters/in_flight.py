"""What instances that are out of service discovery still work on, from wherever they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic

import structlog

from controller.adapters.turn import Turn
from controller.core.readings.in_flight import Question, question, total_of
from controller.core.readings.sources import EndpointKind, Plan, Source

log = structlog.get_logger(__name__)

Ask = Callable[[Source, Question, Turn], Mapping[str, int]]
"""Returns the requests of each instance that an endpoint knows for sure."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks each kind of endpoint, and how old a sample may be [s]."""

    of: Mapping[EndpointKind, Ask]
    max_age_s: float


def in_flight(
    plan: Plan, key: str, names: Sequence[str], asking: Asking, turn: Turn
) -> int | None:
    """Return how many requests the instances ``names`` of a service work on, all together.

    ``None`` as soon as one of them is not known, or not by ``turn.until``. Raises nothing for
    what endpoints answer, or that they don't: nobody is kept waiting by one that is late.
    """
    asked: dict[str, Question] = {}
    for use in plan.uses.get(key, ()):
        found = question(use, names, at_s=turn.now_s, max_age_s=asking.max_age_s)
        if use.source in plan.sources and found is not None:
            asked[use.source] = found
    if not asked:
        return None
    pool = ThreadPoolExecutor(len(asked), thread_name_prefix="in-flight")
    jobs = {
        pool.submit(asking.of[plan.sources[name].kind], plan.sources[name], each, turn): name
        for name, each in asked.items()
    }
    done, _ = wait(jobs, timeout=max(turn.until - monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    for job in done:
        if fault := job.exception():
            log.warning("requests in flight can't be read", source=jobs[job], fault=repr(fault))
    return total_of(names, [job.result() for job in done if job.exception() is None])
