"""Leaves of all services in a few requests; several endpoints at once, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from time import monotonic
from typing import Final, TypeVar

from controller.adapters.metrics.prometheus.client import (
    Answer,
    Endpoint,
    QueryError,
    SourceError,
    ask,
)
from controller.adapters.metrics.prometheus.filling import Filling
from controller.adapters.metrics.prometheus.parts import (
    Part,
    agains_of,
    called,
    joined,
    once,
    part_told,
    parts_of,
    requests_of,
)
from controller.adapters.metrics.prometheus.promql import Ask, AttachError, Form
from controller.adapters.turn import Turn
from controller.core.readings.asking import Reading, Wanted
from controller.core.readings.recipe import Leaf, Term
from controller.core.readings.written import WrittenError

AT_ONCE: Final = 4
"""Requests to one endpoint at a time: it answers each on one core."""
Key = TypeVar("Key")
Value = TypeVar("Value")
LATE: Final = "It did not answer in time."


def read(endpoint: Endpoint, wanted: Wanted, turn: Turn) -> Reading:
    """Return what an endpoint answers. Raises nothing for what it answers, or that it doesn't."""
    filling = Filling(wanted)
    if not wanted.scope.services:
        return filling.reading()
    for asks, answer in answers(endpoint, list(parts_of(wanted)), wanted, turn):
        filling.take(asks, answer)
    return filling.reading()


Answered = tuple[Sequence[Part], Answer | str]


def answers(
    endpoint: Endpoint, parts: Sequence[Part], wanted: Wanted, turn: Turn
) -> Iterator[Answered]:
    """Yield what is answered to parts, or a sentence why there is none, of each part once.

    Buckets wait until it is known whether an instance is scraped twice.
    """
    requests = list(requests_of(parts))
    twice: Future[frozenset[Leaf]] = Future()

    def first() -> list[Answered]:
        told: list[Answered] = []
        try:
            told = list(_answers(endpoint, agains_of(parts), wanted, turn))
        finally:
            twice.set_result(_twice(agains_of(parts), told))
        return []

    def job(asks: Sequence[Part]) -> Callable[[], list[Answered]]:
        return lambda: list(_answers(endpoint, settled(asks), wanted, turn))

    def settled(asks: Sequence[Part]) -> Sequence[Part]:
        if not any(each.bounds for each in asks):
            return asks
        return [once(each, twice.result()) for each in asks]

    jobs = {-1: first, **{at: job(asks) for at, asks in enumerate(requests)}}
    done = _at_once(jobs, AT_ONCE, turn.until)
    for at, asks in enumerate(requests):
        yield from done.get(at, [(asks, LATE)])


def _twice(asks: Sequence[Part], told: Sequence[Answered]) -> frozenset[Leaf]:
    """Return the leaves of which an instance is scraped twice, or may be."""
    once_at_most: set[Term] = set()
    for parts, answer in told:
        if isinstance(answer, Answer) and not answer.partial:
            found = filter(None, (part_told(each, parts) for each in answer.result))
            once_at_most.update({each.term for each in parts} - {each[0].term for each in found})
    return frozenset(
        each.leaf for each in asks if isinstance(each, Ask) and each.leaf not in once_at_most
    )


def _answers(
    endpoint: Endpoint, asks: Sequence[Part], wanted: Wanted, turn: Turn
) -> Iterator[Answered]:
    """Yield the answer, or in halves what it takes to leave out what the endpoint refuses."""
    if not asks:
        return
    latencies = all(each.bounds or each.form is Form.AGAIN for each in asks)
    grid = wanted.grid.for_latencies(wanted.scope.over_s) if latencies else wanted.grid
    try:
        yield asks, ask(endpoint, joined(asks, wanted.scope), grid, turn)
    except (QueryError, AttachError, WrittenError) as fault:
        if len(asks) == 1:
            yield asks, f"{called(asks[0])}: {fault}"
            return
        half = len(asks) // 2
        yield from _answers(endpoint, asks[:half], wanted, turn)
        yield from _answers(endpoint, asks[half:], wanted, turn)
    except SourceError as fault:
        yield asks, str(fault)


def _at_once(jobs: Mapping[Key, Callable[[], Value]], most: int, until: float) -> dict[Key, Value]:
    """Return what was done in time; what is late ends by itself, and nobody waits for it."""
    if not jobs:
        return {}
    pool = ThreadPoolExecutor(most, thread_name_prefix="metrics")
    futures = {pool.submit(job): key for key, job in jobs.items()}
    done, _ = wait(futures, timeout=max(until - monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    return {futures[each]: each.result() for each in done}
