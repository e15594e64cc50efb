"""Which hosts report GPUs to a Prometheus, in one query that is one series a host."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from time import monotonic
from typing import TYPE_CHECKING, Final

from controller.adapters.metrics.prometheus.client import Endpoint, SourceError, ask
from controller.adapters.metrics.prometheus.promql import quoted
from controller.core.readings.asking import Grid
from controller.core.readings.node_match import HOSTS
from controller.core.readings.survey import GPU_METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from controller.adapters.turn import Turn

MOST_HOSTS: Final = 20_000
STEP_S: Final = 15.0
AT_ONCE: Final = 8
LATE: Final = "It did not answer in time."


def reporting(endpoint: Endpoint, turn: Turn) -> Sequence[Mapping[str, str]]:
    """Return the labels that may name the host of each DCGM exporter that reports now.

    Raises :class:`SourceError` when it is not answered by ``turn.until``, or only in part: then
    nobody knows who is missing.
    """
    metrics = quoted("|".join(GPU_METRICS))
    query = f"group by ({','.join(HOSTS)}) ({{__name__=~{metrics}}})"
    answer = ask(endpoint, query, Grid(turn.now_s, STEP_S, 1), turn)
    if answer.partial:
        raise SourceError(" ".join(("It answered in part.", *answer.told)))
    if len(answer.result) > MOST_HOSTS:
        raise SourceError(f"More than {MOST_HOSTS:,} hosts report to it.")
    return [
        {str(name): text for name, text in labels.items() if isinstance(text, str)}
        for series in answer.result
        if isinstance(series, dict) and isinstance(labels := series.get("metric"), dict)
    ]


def reporting_at(
    endpoints: Mapping[str, Endpoint], turn: Turn
) -> dict[str, Sequence[Mapping[str, str]] | str]:
    """Return :func:`reporting` of several at once, or a sentence why there is none."""
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hosts")
    jobs = {name: pool.submit(reporting, each, turn) for name, each in endpoints.items()}
    wait(jobs.values(), timeout=max(turn.until - monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    return {name: _answered(job) for name, job in jobs.items()}


def _answered(job: Future[Sequence[Mapping[str, str]]]) -> Sequence[Mapping[str, str]] | str:
    if not job.done() or job.cancelled():
        return LATE
    try:
        return job.result()
    except SourceError as fault:
        return str(fault)
