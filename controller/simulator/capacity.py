"""What one instance of each role sustains, and the P/D ratio that follows from it."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Adapt, Floats, PolicyConfig
from controller.simulator.arrivals import mean_lengths, moments
from controller.simulator.profiles import Profile
from controller.simulator.workload import Offered, Workload

BUSY_FRAC: Final = 0.8
"""Share of its time a prefill instance works at capacity: the rest keeps waiting short."""


CHUNK: Final = 4096
"""Bins looked at in one go: keeps a fortnight of bins under 20 MB."""

TARGET_FRAC: Final = 0.75
"""Share of its capacity an instance is asked for: what is left covers start-up and bursts."""


class TooSlowError(ValueError):
    """No batch keeps the TBT goal; the text says what the smallest takes."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Mean lengths of requests [tokens].

    ``spread`` is E[L^2] / E[L]^2 of computed prompts, ``output_spread`` that of answers.
    """

    input_tokens: float
    output_tokens: float
    cached_frac: float = 0.0
    spread: float = 1.0
    output_spread: float = 1.0

    @property
    def held_tokens(self) -> float:
        """KV tokens set aside for a running sequence, on average.

        A long answer runs for longer, so among those that run there are more long ones than
        among those that come: of answers alone it is E[out^2] / E[out].
        """
        return self.input_tokens + self.output_tokens * self.output_spread

    @property
    def uncached_tokens(self) -> float:
        """Prompt tokens to compute per request."""
        return self.input_tokens * (1 - self.cached_frac)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one prefill and one decode instance sustain, and the decode batch it takes."""

    prefill_rps: float
    prefill_tps_uncached: float
    decode_rps: float
    decode_tps: float
    batch: int
    tbt_s: float

    @property
    def pd_ratio(self) -> float:
        """Prefill instances per decode instance at which neither waits for the other."""
        return self.decode_rps / self.prefill_rps


def demand_of(workload: Workload) -> Demand:
    """Return the mean demand of a workload over its first day."""
    mean = mean_lengths(workload)
    first, second, _, _ = moments(workload.lengths)
    return Demand(
        float(mean.input_tokens[0]),
        float(mean.output_tokens[0]),
        float(mean.cached_frac[0]),
        float(second / first**2),
        float(np.mean(workload.lengths.output**2)),
    )


def per_instance_capacity(
    prefill: Profile, decode: Profile, demand: Demand, *, tbt_goal_s: float
) -> Capacity:
    """Return what one instance of each role sustains within ``tbt_goal_s``.

    Prefill is busy ``BUSY_FRAC`` of its time. Decode runs the largest batch whose step keeps the
    goal, at the mean context at the end of a request, within the engine's memory for what running
    sequences will hold at their end, and its limit on sequences. Raises :class:`TooSlowError` when
    one sequence alone misses the goal.
    """
    uncached = demand.uncached_tokens
    service_s = prefill.a + prefill.b * uncached + prefill.c * uncached**2 * demand.spread
    context = demand.input_tokens + demand.output_tokens
    alone_s = float(decode.step_s(1.0, context))
    if alone_s > tbt_goal_s:
        raise TooSlowError(
            f"one sequence of {context:.0f} tokens takes {alone_s * 1e3:.1f} ms a token,"
            f" the goal is {tbt_goal_s * 1e3:.1f} ms"
        )
    held = np.array([demand.held_tokens])
    fitting = float(largest_batch(decode, np.array([context]), held, tbt_goal_s)[0])
    batch, tbt_s = int(fitting), float(decode.step_s(fitting, fitting * context))
    rps = BUSY_FRAC / service_s
    return Capacity(
        prefill_rps=rps,
        prefill_tps_uncached=rps * uncached,
        decode_rps=batch / tbt_s / demand.output_tokens,
        decode_tps=batch / tbt_s,
        batch=batch,
        tbt_s=tbt_s,
    )


def largest_batch(decode: Profile, context: Floats, held: Floats, tbt_goal_s: float) -> Floats:
    """Return the largest batch within the TBT goal, memory and limit on sequences, shape ``(n,)``.

    Per sequence a step reads ``context`` tokens and memory is set aside for ``held``, shape
    ``(n,)``. A sequence that alone misses the goal is served alone.
    """
    batches = np.arange(1, decode.max_seqs + 1, dtype=np.float64)
    found = np.empty(len(context))
    for part in (slice(at, at + CHUNK) for at in range(0, len(context), CHUNK)):
        read, aside = (batches * tokens[part, np.newaxis] for tokens in (context, held))
        fits = (decode.step_s(batches, read) <= tbt_goal_s) & (aside <= decode.kv_capacity_tokens)
        # Both grow with the batch, so those that fit are the first ones.
        found[part] = np.maximum(fits.sum(axis=1), 1)
    return found


def instances_needed(
    engines: tuple[Profile, Profile], offered: Offered, demand: Demand, *, tbt_goal_s: float
) -> Floats:
    """Return the instances (prefill, decode) that a load needs in each bin, shape ``(2, n)``.

    Not rounded, NaN where the load is unknown. Mean lengths are those of the bin, their spread
    is that of ``demand``; a bin whose sequences miss the TBT goal is served one at a time.
    """
    prefill, decode = engines
    inputs, output = (
        np.maximum(tokens, 1.0) for tokens in (offered.input_tokens, offered.output_tokens)
    )
    uncached = inputs * (1 - offered.cached_frac)
    service_s = prefill.a + prefill.b * uncached + prefill.c * uncached**2 * demand.spread
    context, held = inputs + output, inputs + output * demand.output_spread
    batch = largest_batch(decode, np.nan_to_num(context), np.nan_to_num(held), tbt_goal_s)
    sustained_rps = batch / decode.step_s(batch, batch * context) / output
    return np.array((offered.rps * service_s / BUSY_FRAC, offered.rps / sustained_rps))


def default_policy(capacity: Capacity, driver: str = "decode_tps") -> PolicyConfig:
    """Return the policy of a service of which only engines, load and goals are known.

    The target is ``TARGET_FRAC`` of what an instance sustains, to two digits; the ratio keeps
    both roles equally loaded. Raises ``KeyError`` for a driver without a known capacity.
    """
    sustained = {
        "decode_tps": capacity.decode_tps,
        "prefill_tps_uncached": capacity.prefill_tps_uncached,
    }
    target = float(f"{TARGET_FRAC * sustained[driver]:.2g}")
    ratio = max(round(capacity.pd_ratio, 2), 0.01)
    return PolicyConfig("proportional", driver, target, ratio, adapt=Adapt.AUTOMATIC)
