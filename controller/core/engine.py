"""How fast the engines of a service are, and how many of them a load needs."""

from dataclasses import dataclass
from math import inf, log, sqrt
from typing import Final

MOST_LOAD: Final = 0.97
"""Share of its time a prefill instance can work before waits grow without end."""

TINY: Final = 1e-12

ROUNDS: Final = 14
"""Halvings of an interval: finds an instance count to one part in 10⁴."""


@dataclass(frozen=True, slots=True)
class Engine:
    """Fitted times of one prefill and one decode instance [s], and how requests spread.

    A prefill of ``L`` computed tokens takes ``a + b·L + c·L²`` for ``prefill_s = (a, b, c)``. A
    decode step of ``B`` sequences with ``K`` context tokens in all takes ``c0 + c1·B + c2·K``
    plus ``c3`` times the share of experts touched, ``1 - miss_frac^B``, for
    ``step_s = (c0, c1, c2, c3)``. ``prompt_spread`` and ``output_spread`` are E[x²] / E[x]² of
    computed prompts and answers.
    """

    prefill_s: tuple[float, float, float]
    step_s: tuple[float, float, float, float]
    miss_frac: float
    kv_capacity_tokens: float
    max_seqs: int
    prompt_spread: float = 2.0
    output_spread: float = 2.0


@dataclass(frozen=True, slots=True)
class Mix:
    """Mean tokens of a request: prompt, the part of it to compute, and answer."""

    input_tokens: float
    uncached_tokens: float
    output_tokens: float


def request_s(engine: Engine, uncached_tokens: float) -> float:
    """Return the mean time of a prefill [s] of prompts with this mean of computed tokens."""
    a, b, c = engine.prefill_s
    return a + uncached_tokens * (b + c * uncached_tokens * engine.prompt_spread)


def step_s(engine: Engine, batch: float, context_tokens: float) -> float:
    """Return the time of a decode step [s] with ``context_tokens`` per sequence."""
    c0, c1, c2, c3 = engine.step_s
    touched: float = 1.0 - engine.miss_frac**batch
    return c0 + batch * (c1 + c2 * context_tokens) + c3 * touched


def largest_batch(engine: Engine, mix: Mix, tbt_s: float) -> float:
    """Return the largest batch of this mix within a step time, memory and sequences, at least 1.

    A running sequence holds on average half of a spread-weighted answer beside its prompt, and
    the engine sets aside memory for all of it.
    """
    c0, c1, c2, c3 = engine.step_s
    answer = mix.output_tokens * engine.output_spread
    per_sequence_s = max(c1 + c2 * (mix.input_tokens + 0.5 * answer), TINY)
    batch, touched = 1.0, 1.0
    for _ in range(4 if c3 else 1):
        batch = max((tbt_s - c0 - c3 * touched) / per_sequence_s, 1.0)
        touched = 1.0 - engine.miss_frac**batch
    fitting = engine.kv_capacity_tokens / max(mix.input_tokens + answer, 1.0)
    return max(min(batch, fitting, float(engine.max_seqs)), 1.0)


def decode_tps(engine: Engine, mix: Mix, tbt_s: float) -> float:
    """Return the tokens/s one decode instance sustains with this mix within ``tbt_s``."""
    batch = largest_batch(engine, mix, tbt_s)
    context = mix.input_tokens + 0.5 * mix.output_tokens * engine.output_spread
    return batch / step_s(engine, batch, context)


def mean_wait_s(load: float, instances: float, service_s: float, spread: float) -> float:
    """Return the mean wait of an M/G/c queue [s] (Allen-Cunneen with Sakasegawa's exponent).

    ``load`` is the share of their time the instances work, below 1; ``spread`` is E[S²] / E[S]².
    """
    busy: float = load ** (sqrt(2.0 * (instances + 1.0)) - 1.0)
    return busy / (instances * (1.0 - load)) * service_s * spread / 2.0


def prefill_needed(
    engine: Engine, rps: float, uncached_tokens: float, *, ttft_s: float, goal_frac: float
) -> float:
    """Return how many prefill instances a steady load needs, unrounded.

    With them the share of requests that wait longer than the TTFT goal leaves, less two mean
    prefills, is within ``1 - goal_frac``; waits are exponential around the mean.
    """
    service_s = request_s(engine, uncached_tokens)
    work = rps * service_s
    if work <= TINY:
        return 0.0
    left_s = max(ttft_s - 2.0 * service_s, 0.2 * ttft_s)
    longest_s = left_s / log(1.0 / max(1.0 - goal_frac, 1e-4))
    low = work / MOST_LOAD
    if mean_wait_s(MOST_LOAD, low, service_s, engine.prompt_spread) <= longest_s:
        return low
    high = low + 2.0 + 4.0 * sqrt(work)
    for _ in range(ROUNDS):
        middle = 0.5 * (low + high)
        wait_s = mean_wait_s(work / middle, middle, service_s, engine.prompt_spread)
        low, high = (low, middle) if wait_s <= longest_s else (middle, high)
    return high


def predicted_ttft_s(
    engine: Engine, rps: float, uncached_tokens: float, instances: float
) -> float:
    """Return the 95th percentile of TTFT [s] a steady load would have; inf if it can't be served.

    Two mean prefills and the wait that one request in twenty exceeds.
    """
    service_s = request_s(engine, uncached_tokens)
    load = rps * service_s / max(instances, 1e-9)
    if load >= 1.0:
        return inf
    wait_s = mean_wait_s(load, instances, service_s, engine.prompt_spread)
    return 2.0 * service_s + wait_s * log(20.0)


def predicted_tbt_s(engine: Engine, mix: Mix, tps: float, instances: float) -> float:
    """Return the step time [s] at which this many instances make ``tps``; inf if they can't."""
    c0, c1, c2, c3 = engine.step_s
    answer = mix.output_tokens * engine.output_spread
    per_sequence_s = c1 + c2 * (mix.input_tokens + 0.5 * answer)
    each = tps / max(instances, 1e-9)
    if each * per_sequence_s >= 1.0:
        return inf
    # A step of B sequences makes B tokens: B = each · step_s(B), a line in B for dense models.
    batch = each * (c0 + c3) / (1.0 - each * per_sequence_s)
    held = max(mix.input_tokens + answer, 1.0)
    if batch > min(engine.kv_capacity_tokens / held, float(engine.max_seqs)):
        return inf
    return c0 + c3 + batch * per_sequence_s
