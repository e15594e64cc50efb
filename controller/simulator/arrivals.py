"""Arrivals per 1 s bin: what the offered load of a service asks of its engines."""

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Flags, Floats
from controller.simulator.model import ServiceModel
from controller.simulator.workload import Lengths, Offered, Requests, Workload

BLOCK: Final = 900
"""Bins prepared at once."""

REQUESTS, INPUT, UNCACHED, OUTPUT, WORK, SERVICE, SERVICE2 = range(7)
FIELDS: Final = 7
"""Rows of a block: requests, tokens in, tokens in that miss the cache, tokens out, seconds of
prefill, then E[S] and E[S^2] of a request's prefill time S."""


def stream_key(key: str) -> int:
    """Return a number for a service that is the same in every process."""
    return zlib.crc32(key.encode())


@dataclass(frozen=True, slots=True)
class LoadClock:
    """Load time as a function of running time; ``speed`` load seconds pass per second."""

    base_load_s: float
    base_run_s: float
    speed: float

    def load_s(self, run_s: float) -> float:
        """Return the load time at a running time [s]."""
        return self.base_load_s + self.speed * (run_s - self.base_run_s)

    def run_s(self, load_s: Floats) -> Floats:
        """Return the running times of load times [s]."""
        return self.base_run_s + (load_s - self.base_load_s) / self.speed


@dataclass(frozen=True, slots=True)
class Single:
    """Single requests with their prefill time: arrays of one length, in order of arrival."""

    t_s: Floats
    service_s: Floats
    input_tokens: Floats
    uncached_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True, slots=True)
class Block:
    """``BLOCK`` bins: ``fields`` has shape ``(FIELDS, BLOCK)``, ``known`` ``(BLOCK,)``.

    ``shape`` is how lengths spread in it.
    """

    fields: Floats
    known: Flags
    single: Single | None
    shape: Lengths


def moments(shape: Lengths) -> Floats:
    """Return the first four moments of the shape of computed prompt lengths, shape ``(4,)``."""
    return np.array([np.mean(shape.input**power) for power in (1, 2, 3, 4)])


def mean_lengths(workload: Workload) -> Offered:
    """Return the mean lengths of a workload over its first day, arrays of shape ``(1,)``.

    Weighted by rate, or each minute alike where nobody comes; where nothing is known the figures
    are one token.
    """
    offered = workload.rates(np.arange(0.0, 86_400.0, 60.0), 60.0)
    known = ~np.isnan(offered.rps)
    weight = np.where(known, offered.rps, 0.0)
    if not weight.any():
        weight = known.astype(np.float64)
    total = max(float(weight.sum()), 1e-9)

    def mean(values: Floats) -> Floats:
        return np.array([float((np.nan_to_num(values) * weight).sum()) / total])

    return Offered(
        mean(offered.rps),
        np.maximum(mean(offered.input_tokens), 1.0),
        np.maximum(mean(offered.output_tokens), 1.0),
        mean(offered.cached_frac),
    )


def service_moments(
    service: ServiceModel, uncached: Floats, shape: Lengths
) -> tuple[Floats, Floats]:
    """Return E[S] and E[S^2] of prefill for mean computed lengths ``uncached``, same shape."""
    a, b, c = service.prefill.a, service.prefill.b, service.prefill.c
    m1, m2, m3, m4 = (
        uncached**power * moment for power, moment in enumerate(moments(shape), start=1)
    )
    first = a + b * m1 + c * m2
    second = a * a + 2 * a * b * m1 + (b * b + 2 * a * c) * m2 + 2 * b * c * m3 + c * c * m4
    return first, second


def slowest_prefill_s(service: ServiceModel) -> float:
    """Return the 99th percentile of the prefill time of a request [s]."""
    mean = mean_lengths(service.workload)
    uncached = float(mean.input_tokens[0] * (1 - mean.cached_frac[0]))
    shape = service.workload.lengths.input
    return float(np.quantile(service.prefill.prefill_s(uncached * shape), 0.99))


class Feed:
    """Prepares the arrivals of one service block by block; holds no state."""

    def __init__(self, service: ServiceModel, seed: int, *, single: bool) -> None:
        """With ``single``, requests are wanted one by one, not as sums per bin."""
        self._service = service
        self._seed = [seed, service.seed, stream_key(service.drawn_by)]
        self._single = single or service.workload.recorded
        self._mean = mean_lengths(service.workload)

    def block(self, start_s: int, clock: LoadClock) -> Block:
        """Return the bins ``[start_s, start_s + BLOCK)`` of running time."""
        rng = np.random.default_rng([*self._seed, start_s])
        bins: Floats = clock.load_s(start_s) + clock.speed * np.arange(BLOCK, dtype=np.float64)
        offered = self._service.workload.rates(bins, clock.speed)
        known: Flags = ~np.isnan(offered.rps)
        shape = self._service.workload.shape(float(bins[BLOCK // 2]))
        if self._single:
            fields, single = self._listed(start_s, clock, shape, rng)
            return Block(fields, known, single, shape)
        return Block(self._summed(offered, shape, rng), known, None, shape)

    def _listed(
        self, start_s: int, clock: LoadClock, shape: Lengths, rng: np.random.Generator
    ) -> tuple[Floats, Single]:
        span_s = clock.load_s(start_s), clock.load_s(start_s + BLOCK)
        found = self._service.workload.requests(*span_s, 1 / clock.speed, rng)
        single = self._with_service_time(found, clock)
        at = np.clip((single.t_s - start_s).astype(np.int64), 0, BLOCK - 1)
        uncached = self._mean.input_tokens * (1 - self._mean.cached_frac)
        first, second = service_moments(self._service, uncached, shape)
        fields = np.empty((FIELDS, BLOCK))
        fields[REQUESTS] = np.bincount(at, minlength=BLOCK)
        fields[INPUT] = np.bincount(at, single.input_tokens, BLOCK)
        fields[UNCACHED] = np.bincount(at, single.uncached_tokens, BLOCK)
        fields[OUTPUT] = np.bincount(at, single.output_tokens, BLOCK)
        fields[WORK] = np.bincount(at, single.service_s, BLOCK)
        fields[SERVICE], fields[SERVICE2] = first, second
        return fields, single

    def _with_service_time(self, found: Requests, clock: LoadClock) -> Single:
        uncached = np.maximum(found.input_tokens - found.cached_tokens, 1.0)
        return Single(
            clock.run_s(found.t_s),
            self._service.prefill.prefill_s(uncached),
            found.input_tokens,
            uncached,
            found.output_tokens,
        )

    def _summed(self, offered: Offered, shape: Lengths, rng: np.random.Generator) -> Floats:
        """Return sums per bin: Poisson counts, and totals with the spread of that many lengths."""
        inputs, outputs = np.nan_to_num(offered.input_tokens), np.nan_to_num(offered.output_tokens)
        miss = 1 - np.nan_to_num(offered.cached_frac)
        first, second = service_moments(self._service, inputs * miss, shape)
        count = rng.poisson(np.nan_to_num(offered.rps)).astype(np.float64)
        root = np.sqrt(count)
        noise = rng.standard_normal((2, BLOCK))
        spread = np.array([[shape.input.std()], [shape.output.std()]]) * noise * root
        spread_s = np.sqrt(np.maximum(second - first * first, 0.0)) * noise[0] * root
        fields = np.empty((FIELDS, BLOCK))
        fields[REQUESTS] = count
        fields[INPUT] = inputs * np.maximum(count + spread[0], 0.1 * count)
        fields[UNCACHED] = fields[INPUT] * miss
        fields[OUTPUT] = outputs * np.maximum(count + spread[1], 0.1 * count)
        fields[WORK] = np.maximum(count * first + spread_s, count * self._service.prefill.a)
        fields[SERVICE], fields[SERVICE2] = first, second
        return fields
