"""One service request by request: exact prefill, the transfer of each cache, exact decode."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Floats, Instances
from controller.simulator.arrivals import Single
from controller.simulator.exact import ExactDecode, Taken, weighted_quantiles
from controller.simulator.prefill import ExactPrefill
from controller.simulator.profiles import Profile

LEVELS: Final = (0.5, 0.95, 0.99)

ASKED, TTFT_KEPT, TBT_KEPT, BOTH_KEPT, TOKENS, TOKENS_KEPT = range(6)
"""Rows of what was kept: requests, shares of them within the goals of TTFT, of TBT and of both,
their output tokens, and the share of these that belongs to requests within both."""

TransferTime = Callable[[Floats], Floats]
"""How long the caches of prompts of so many tokens travel [s]."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What requests saw since the last sample.

    ``ttft_s`` of those that got their first token, ascending; ``tbt_s`` at ``LEVELS``, over
    tokens, NaN without one; ``kept``, shape ``(6,)``, of those that finished; ``busy_frac`` the
    share of time decode instances were at work.
    """

    ttft_s: Floats
    tbt_s: Floats
    kept: Floats
    busy_frac: float


class ExactService:
    """Both roles of one service; a request counts as kept or not when it is finished."""

    def __init__(self, prefill: Profile, decode: Profile) -> None:
        """Start empty, without instances."""
        self.prefill = ExactPrefill(prefill.a)
        self.decode = ExactDecode(decode)
        self.goals_s = (np.inf, np.inf)
        self._profile = decode
        self._ttft_s: dict[int, float] = {}
        self._outputs: dict[int, float] = {}
        self._offered = 0
        self._taken: list[Taken] = []
        self._instance_s = 0.0

    def offer(self, requests: Single, from_s: float) -> None:
        """Add the requests that arrive at or after ``from_s``."""
        self.prefill.offer(requests, from_s)

    def resize(self, serving: Instances, now_s: float) -> None:
        """Let instances of both roles come, or drain."""
        self.prefill.resize(serving.prefill, now_s)
        self.decode.resize(serving.decode, now_s)

    def run(self, until_s: float, transfer_s: TransferTime) -> None:
        """Advance both roles."""
        self.prefill.run(until_s)
        started = self.prefill.started()
        ready_s = started.end_s + transfer_s(started.input_tokens)
        for tokens in started.output_tokens.tolist():
            self._outputs[self._offered] = tokens
            self._offered += 1
        self.decode.offer(ready_s, started.t_s, started.input_tokens, started.output_tokens)
        self.decode.run(until_s)

    def bins(self, count: int) -> dict[str, Floats]:
        """Return what decode did in the ``count`` seconds run since the last call, by figure."""
        taken = self.decode.take()
        self._taken.append(taken)
        bins, serving = taken.bins, self.decode.instances[0]
        self._instance_s += serving * count
        made = bins.made.sum(axis=0).astype(np.float64)
        sequence_s, context = bins.sequence_s.sum(axis=0), bins.context.sum(axis=0)
        none = made == 0
        return {
            "made": made,
            "step_s": np.where(none, self._profile.c0, sequence_s / np.maximum(made, 1.0)),
            "batch": bins.sequence_s[0] / max(serving, 1),
            "context": context / np.maximum(made, 1.0),
            "queued": bins.queued.astype(np.float64),
            "admitted": bins.admitted.astype(np.float64),
        }

    def measured(self) -> Measured:
        """Return what requests saw since the last call to it."""
        taken, self._taken = self._taken, []
        instance_s, self._instance_s = self._instance_s, 0.0
        step_s = np.concatenate([t.step_s for t in taken])
        tokens = np.concatenate([t.tokens for t in taken])
        return Measured(
            ttft_s=np.sort(np.concatenate([t.ttft_s for t in taken])),
            tbt_s=weighted_quantiles(step_s, tokens, LEVELS),
            kept=self._kept(taken),
            busy_frac=min(sum(t.bins.busy_s[0].sum() for t in taken) / max(instance_s, 1.0), 1.0),
        )

    def _kept(self, taken: list[Taken]) -> Floats:
        kept = np.zeros(6)
        for part in taken:
            self._ttft_s.update(zip(part.started.tolist(), part.ttft_s.tolist(), strict=True))
            for number, tbt_s in zip(part.finished.tolist(), part.tbt_s.tolist(), strict=True):
                soon = self._ttft_s.pop(number) <= self.goals_s[0]
                # A single token has no time between tokens: NaN is over no goal.
                steady = not tbt_s > self.goals_s[1]
                tokens = self._outputs.pop(number)
                both = soon and steady
                kept += (1.0, soon, steady, both, tokens, tokens * both)
        kept[[TTFT_KEPT, TBT_KEPT, BOTH_KEPT]] /= max(kept[ASKED], 1.0)
        kept[TOKENS_KEPT] /= max(kept[TOKENS], 1.0)
        return kept

    def in_flight(self, now_s: float) -> tuple[float, float]:
        """Return requests, and output tokens still to make."""
        waiting = self.prefill.waiting_tokens(now_s)
        inside = self.decode.inside().sum(axis=1)
        return waiting[0] + float(inside[0]), waiting[1] + float(inside[1])

    def late(self, now_s: float) -> int:
        """Return the requests that miss the TTFT goal for certain, without a first token yet."""
        ttft_s = self.goals_s[0]
        return self.prefill.waiting(now_s - ttft_s) + self.decode.unstarted(now_s - ttft_s)
