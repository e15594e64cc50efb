"""Engines that prefill and decode in turn: how benchmarks of aggregated serving read."""

from controller.simulator.profiles import Profile


def tpot_s(profile: Profile, *, batch: float, input_tokens: float, output_tokens: float) -> float:
    """Return the time per output token of one engine that serves ``batch`` requests at once [s].

    A closed loop in its steady state: each request that ends is followed by another, whose prefill
    stretches the steps of all others, so ``TPOT = ITL + batch * prefill / output_tokens``. The
    context is the mean over a request, its prompt and half its answer.
    """
    context = batch * (input_tokens + output_tokens / 2)
    refill_s = batch * float(profile.prefill_s(input_tokens)) / output_tokens
    return float(profile.step_s(batch, context)) + refill_s
