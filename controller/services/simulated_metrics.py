"""What simulated instances answer to a scrape: vLLM's metrics, and those of the GPUs under it."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock
from typing import Final

from django.db import connection
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from controller.core.types import Role
from controller.models import SimulatedFleet
from controller.services.simulated import PAUSED_AFTER_S, restore
from controller.simulator.exported import Exported
from controller.simulator.meters import Histogram
from controller.simulator.world import World

RESTS: Final = "the simulator rests: the loop does not tick"
PERCENT: Final = 100.0
_ENGINE: Final = ("engine", "model_name")
_GPU: Final = ("gpu", "UUID", "Hostname", "container", "namespace", "pod")


class NoInstanceError(LookupError):
    """There is no simulated instance of this name; the text says so."""


class SilentError(Exception):
    """The instance does not answer now; the text says why."""


@dataclass(slots=True)
class _Copy:
    """Engines of the row's ``version``, which nobody's orders reach and nobody keeps."""

    version: str
    world: World


_copies: list[_Copy] = []
_alone = Lock()


def instances() -> list[Exported]:
    """Return every simulated instance that has a node, as it is now; none without a fleet."""
    with _alone:
        world, _ = _now()
        return (
            [each for key in sorted(world.keys) for each in world.exported(key)] if world else []
        )


def instance(name: str) -> Exported:
    """Return one instance as it is now.

    Raises :class:`NoInstanceError`, and :class:`SilentError` while it doesn't answer.
    """
    key = name.rsplit("-", 2)[0]
    with _alone:
        world, rests = _now()
        found = world.exported(key) if world and key in world.keys else []
    for each in found:
        if each.name == name:
            if rests or each.silent:
                raise SilentError(f"{name} does not answer: {RESTS if rests else each.silent}.")
            return each
    raise NoInstanceError(f"There is no simulated instance {name}.")


def _now() -> tuple[World | None, bool]:
    """Return engines as they are now, and whether they rest; none where there is no fleet.

    The row stays as it is: a copy of what it keeps goes on in this process until the row is
    written anew. What is simulated doesn't depend on how time is cut, so that the row gets to
    the same state, and counters go on where the copy's were.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT ctid::text || ' ' || xmin::text,"
            " extract(epoch FROM statement_timestamp())::float8,"
            " extract(epoch FROM statement_timestamp() - at)::float8"
            " FROM controller_simulatedfleet WHERE state IS NOT NULL"
        )
        row: tuple[str, float, float] | None = cursor.fetchone()
    if row is None:
        _copies.clear()
        return None, False
    version, now_s, old_s = row
    if not _copies or _copies[0].version != version:
        fleet = SimulatedFleet.objects.get(pk=1)
        _copies[:] = [_Copy(version, restore(fleet, now_s).world)]
    world = _copies[0].world
    rests = old_s > PAUSED_AFTER_S
    if not rests:
        world.advance(now_s)
    return world, rests


class InstanceCollector:
    """The metrics of one instance under vLLM's names, and of its GPUs under DCGM's."""

    def __init__(self, seen: Exported) -> None:
        """Take what the instance has counted."""
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from _gauges(self._seen)
        yield from _counters(self._seen)
        for name, histogram in self._seen.counted.histograms.items():
            yield _histogram(self._seen, name, histogram)
        yield from _gpus(self._seen)


def _gauges(seen: Exported) -> Iterator[Metric]:
    for name, text, value in (
        ("num_requests_running", "Requests in model execution batches.", seen.running),
        ("num_requests_waiting", "Requests waiting to be processed.", seen.waiting),
        ("kv_cache_usage_perc", "KV cache usage. 1 means 100 percent usage.", seen.kv_frac),
    ):
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=_ENGINE)
        family.add_metric(("0", seen.model), value)
        yield family


def _counters(seen: Exported) -> Iterator[Metric]:
    figures = {"requests": 0.0, "finished": 0.0, "prompt": 0.0, "computed": 0.0, "generated": 0.0}
    figures |= seen.counted.figures
    prompt, computed = figures["prompt"], figures["computed"]
    if seen.role is Role.PREFILL:
        # A prefill engine makes the first token of each request and hands the request on.
        generated = finished = figures["requests"]
        reason, sources = "length", {"local_compute": computed}
        sources["local_cache_hit"] = max(prompt - computed, 0.0)
    else:
        generated, finished = figures["generated"], figures["finished"]
        reason, sources = "stop", {"external_kv_transfer": prompt}
    yield _counter(seen, "prompt_tokens", "Prefill tokens processed.", {(): prompt})
    yield _counter(
        seen,
        "prompt_tokens_by_source",
        "Prompt tokens by source.",
        {(source,): value for source, value in sources.items()},
        "source",
    )
    yield _counter(seen, "generation_tokens", "Generation tokens processed.", {(): generated})
    yield _counter(
        seen,
        "request_success",
        "Successfully processed requests.",
        {(reason,): finished},
        "finished_reason",
    )
    if seen.role is Role.PREFILL:
        hits = sources["local_cache_hit"]
        yield _counter(seen, "prefix_cache_queries", "Tokens looked up.", {(): prompt})
        yield _counter(seen, "prefix_cache_hits", "Tokens found.", {(): hits})


def _counter(
    seen: Exported, name: str, text: str, values: dict[tuple[str, ...], float], *labels: str
) -> Metric:
    family = CounterMetricFamily(f"vllm:{name}", text, labels=(*_ENGINE, *labels))
    for more, value in values.items():
        family.add_metric(("0", seen.model, *more), value)
    return family


def _histogram(seen: Exported, name: str, histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(f"vllm:{name}", f"Histogram of {name}.", labels=_ENGINE)
    buckets = [
        (str(bound), below) for bound, below in zip(histogram.bounds, histogram.below, strict=True)
    ]
    family.add_metric(
        ("0", seen.model), [*buckets, ("+Inf", histogram.count)], sum_value=histogram.total
    )
    return family


def _gpus(seen: Exported) -> Iterator[Metric]:
    for name, text, share, factor in (
        ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", seen.util, PERCENT),
        ("DCGM_FI_PROF_SM_ACTIVE", "Ratio of cycles an SM has a warp.", seen.sm, 1.0),
    ):
        if share is not None:
            family = GaugeMetricFamily(name, text, labels=_GPU)
            for gpu in range(seen.gpus):
                owner = ("engine", seen.cluster, seen.name)
                family.add_metric(
                    (str(gpu), f"GPU-{seen.name}-{gpu}", seen.node, *owner), share * factor
                )
            yield family
