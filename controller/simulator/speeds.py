"""From profiles to the speeds the core decides with."""

from controller.core.engine import Engine
from controller.simulator.profiles import Profile


def engine_of(
    prefill: Profile, decode: Profile, *, prompt_spread: float = 2.0, output_spread: float = 2.0
) -> Engine:
    """Return the speeds of a service that runs these profiles; spreads are E[x²] / E[x]²."""
    return Engine(
        prefill_s=(prefill.a, prefill.b, prefill.c),
        step_s=(decode.c0, decode.c1, decode.c2, decode.c3),
        miss_frac=decode.miss_frac,
        kv_capacity_tokens=float(decode.kv_capacity_tokens),
        max_seqs=decode.max_seqs,
        prompt_spread=prompt_spread,
        output_spread=output_spread,
    )
