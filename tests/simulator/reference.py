"""Decode step by step and request by request: slow, and what the fluid is compared with."""

from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from controller.core.types import Floats
from controller.simulator.profiles import Profile


@dataclass(slots=True)
class Engine:
    """One decode instance: sequences leave at the step in which their last token comes."""

    profile: Profile
    now_s: float = 0.0
    steps: int = 0
    context: float = 0.0
    outstanding: float = 0.0
    leaving: list[tuple[int, float]] = field(default_factory=list)
    step_times_s: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def run(self, until_s: float) -> None:
        """Step until the clock passes ``until_s``; rest while there is nothing to do."""
        p = self.profile
        while self.leaving and self.now_s < until_s:
            batch = len(self.leaving)
            step_s = p.c0 + p.c1 * batch + p.c2 * self.context
            self.now_s += step_s
            self.steps += 1
            self.context += batch
            self.outstanding -= batch
            self.step_times_s.append(step_s)
            self.tokens.append(batch)
            while self.leaving and self.leaving[0][0] <= self.steps:
                self.context -= heappop(self.leaving)[1]
        self.now_s = max(self.now_s, until_s)

    def join(self, context: float, output: int) -> None:
        """Take a sequence; it makes ``output`` tokens from the next step on."""
        heappush(self.leaving, (self.steps + output, context + output))
        self.context += context
        self.outstanding += output


def decode_exactly(
    profile: Profile, instances: int, arrivals: tuple[Floats, Floats, Floats], end_s: float
) -> tuple[float, float]:
    """Return mean TBT over tokens [s] and tokens per second until ``end_s``.

    ``arrivals`` are times, input and output tokens, in order of time. Each request goes to the
    instance with the fewest outstanding tokens. No limit on memory.
    """
    engines = [Engine(profile) for _ in range(instances)]
    for t_s, context, output in zip(*arrivals, strict=True):
        if t_s >= end_s:
            break
        for engine in engines:
            engine.run(t_s)
        min(engines, key=lambda e: e.outstanding).join(context, max(int(output), 1))
    for engine in engines:
        engine.run(end_s)
    steps_s = np.concatenate([e.step_times_s for e in engines])
    tokens = np.concatenate([e.tokens for e in engines]).astype(np.float64)
    return float((steps_s * tokens).sum() / tokens.sum()), float(tokens.sum() / end_s)
