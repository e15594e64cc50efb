"""The clairvoyant bound: the fewest GPUs that keep the goals if scaling took no time."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Floats, Slo
from controller.simulator.capacity import CHUNK, largest_batch
from controller.simulator.prefill import MOST_LOAD, stationary_wait_s
from controller.simulator.profiles import Profile

TINY: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Load:
    """What came in each bin, arrays of shape ``(n,)``: requests/s and mean tokens of a request."""

    rps: Floats
    input_tokens: Floats
    uncached_tokens: Floats
    output_tokens: Floats


@dataclass(frozen=True, slots=True)
class Engines:
    """Engines of both roles, and how lengths spread.

    ``prompts`` are equally likely multiples of the mean, shape ``(k,)``; ``output_spread`` is
    E[out^2] / E[out]^2 of answers.
    """

    prefill: Profile
    decode: Profile
    prompts: Floats
    output_spread: float


def fewest_gpus(load: Load, engines: Engines, slo: Slo) -> Floats:
    """Return the fewest GPUs that keep the goals in each bin, shape ``(n,)``.

    The load of a bin is taken as steady in it, and each bin stands alone: nothing starts up,
    drains or is carried over, and the ratio is free. NaN where the load is unknown; at least one
    instance of each role.
    """
    prefill = fewest_prefill(load, engines, slo)
    decode = fewest_decode(load, engines, slo)
    gpus: Floats = prefill * engines.prefill.tp + decode * engines.decode.tp
    gpus[np.isnan(load.rps)] = np.nan
    return gpus


def fewest_decode(load: Load, engines: Engines, slo: Slo) -> Floats:
    """Return the fewest decode instances of each bin, shape ``(n,)``.

    Throughput over that of the largest batch within the TBT goal, the memory and the limit on
    sequences, at the mean context of a running sequence.
    """
    output = np.maximum(np.nan_to_num(load.output_tokens), 1.0)
    inputs = np.nan_to_num(load.input_tokens)
    context, held = (inputs + output * engines.output_spread * share for share in (0.5, 1.0))
    batch = largest_batch(engines.decode, context, held, slo.tbt_s)
    sustained_tps = batch / engines.decode.step_s(batch, batch * context)
    need = np.nan_to_num(load.rps) * output / sustained_tps
    return np.maximum(np.ceil(need - TINY), 1.0)


def fewest_prefill(load: Load, engines: Engines, slo: Slo) -> Floats:
    """Return the fewest prefill instances of each bin, shape ``(n,)``.

    With them the share of requests whose wait (exponential, of the mean of an M/G/c queue),
    own prefill and first decode step exceed the TTFT goal is within ``1 - slo.goal_frac``; those
    that would even without a wait are left aside.
    """
    rps = np.nan_to_num(load.rps)
    uncached = np.nan_to_num(load.uncached_tokens)
    parts = [
        _fewest_of(rps[at : at + CHUNK], uncached[at : at + CHUNK], engines, slo)
        for at in range(0, len(rps), CHUNK)
    ]
    return np.concatenate((*parts, np.zeros(0)))


def _fewest_of(rps: Floats, uncached: Floats, engines: Engines, slo: Slo) -> Floats:
    service_s = engines.prefill.prefill_s(uncached[:, np.newaxis] * engines.prompts)
    left_s = slo.ttft_s - float(engines.decode.step_s(1.0, 0.0)) - service_s
    first, second = service_s.mean(axis=1), (service_s**2).mean(axis=1)
    count = np.maximum(np.ceil(rps * first / MOST_LOAD), 1.0)
    open_rows = np.flatnonzero(rps > 0)
    while len(open_rows):
        c = count[open_rows]
        load = rps[open_rows] * first[open_rows] / c
        wait_s = stationary_wait_s(load, c, first[open_rows], second[open_rows])
        room_s = left_s[open_rows]
        missed = np.exp(-np.maximum(room_s, 0.0) / np.maximum(wait_s, TINY)[:, np.newaxis])
        missed[room_s <= 0] = 0.0
        short = missed.mean(axis=1) > 1 - slo.goal_frac
        open_rows = open_rows[short]
        count[open_rows] += 1
    found: Floats = count
    return found
