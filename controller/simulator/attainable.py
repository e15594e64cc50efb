"""What share of requests can keep the TTFT goal at all, whatever a policy does."""

from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.backtest.question import Question
from controller.simulator.offered import Requests

STEP_S: Final = 60.0
MOST_STEPS: Final = 10_000
"""Steps of a load that is drawn; longer ones where a span has too many minutes."""


def in_time(asked: Question, prompts: Floats) -> Floats:
    """Return 1 where an idle engine's first token is within the TTFT goal, else 0.

    ``prompts`` are prompt tokens to compute, any shape.
    """
    alone_s = asked.prefill.prefill_s(prompts) + asked.decode.step_s(1.0, 0.0)
    found: Floats = (alone_s <= asked.slo.ttft_s).astype(np.float64)
    return found


def attainable_frac(asked: Question) -> float:
    """Return the share of the requests that are played whose first token can be in time.

    Of recorded requests it is counted, over one pass at most; of a load that is drawn it follows
    from rates and spread of prompts minute by minute. 1 where no request comes.
    """
    if asked.workload.recorded:
        prompts = _recorded(asked)
        return float(in_time(asked, prompts).mean()) if len(prompts) else 1.0
    count = int(np.clip(np.ceil(asked.span_s / STEP_S), 1, MOST_STEPS))
    step_s = asked.span_s / count
    begin_s = asked.start_s + step_s * np.arange(count, dtype=np.float64)
    offered = asked.workload.rates(begin_s, step_s)
    uncached = np.nan_to_num(offered.input_tokens * (1 - offered.cached_frac))
    shares = np.array(
        [
            in_time(asked, mean * asked.workload.shape(at_s).input).mean()
            for mean, at_s in zip(uncached.tolist(), begin_s.tolist(), strict=True)
        ]
    )
    rps = np.nan_to_num(offered.rps)
    return float((rps * shares).sum() / rps.sum()) if rps.any() else 1.0


def _recorded(asked: Question) -> Floats:
    """Return the prompt tokens to compute of the recorded requests that are played."""
    span_s = min(asked.span_s, asked.workload.about.span_s or asked.span_s)
    rng = np.random.default_rng(asked.seed)
    came: Requests = asked.workload.requests(asked.start_s, asked.start_s + span_s, 1.0, rng)
    return np.maximum(came.input_tokens - came.cached_tokens, 1.0)
