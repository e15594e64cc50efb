"""Decode step by step and token by token: slow, obvious, and what the exact engine must equal."""

from dataclasses import dataclass, field
from math import inf, nan

import numpy as np

from controller.core.types import Floats
from controller.simulator.profiles import Profile


@dataclass(slots=True, eq=False)
class Request:
    """One sequence; ``made`` tokens so far."""

    number: int
    ready_s: float
    context: int
    output: int
    made: int = 0
    first_s: float = nan
    done_s: float = nan

    @property
    def need(self) -> int:
        return self.context + self.output


@dataclass(slots=True, eq=False)
class Engine:
    """One decode instance; its next step begins at ``now_s``."""

    profile: Profile
    now_s: float = 0.0
    running: list[Request] = field(default_factory=list)

    @property
    def next_s(self) -> float:
        return self.now_s if self.running else inf

    @property
    def outstanding(self) -> int:
        return sum(r.output - r.made for r in self.running)

    def has_room(self, request: Request) -> bool:
        need = sum(r.need for r in self.running) + request.need
        few = len(self.running) < self.profile.max_seqs
        return not self.running or (few and need <= self.profile.kv_capacity_tokens)

    def step(self) -> None:
        """Give every sequence a token; those with their last one leave."""
        context = sum(r.context + r.made for r in self.running)
        self.now_s += float(self.profile.step_s(len(self.running), context))
        for request in self.running:
            request.made += 1
            if request.made == 1:
                request.first_s = self.now_s
            if request.made == request.output:
                request.done_s = self.now_s
        self.running = [r for r in self.running if r.made < r.output]

    def join(self, request: Request, now_s: float) -> None:
        self.now_s = max(self.now_s, now_s)
        self.running.append(request)


def decode_stepwise(
    profile: Profile, instances: int, arrivals: tuple[Floats, Floats, Floats]
) -> Floats:
    """Return when each request gets its first and its last token, shape ``(2, n)`` [s].

    ``arrivals`` are times, input and output tokens, in order of time. One queue in front; the
    instance with room and the fewest outstanding tokens takes the first of it.
    """
    rows = zip(*(column.tolist() for column in arrivals), strict=True)
    coming = [Request(at, t_s, int(i), int(o)) for at, (t_s, i, o) in enumerate(rows)]
    requests, queue = list(coming), list[Request]()
    engines = [Engine(profile) for _ in range(instances)]
    while coming or any(e.running for e in engines):
        first = min(engines, key=lambda e: e.next_s)
        arrival_s = coming[0].ready_s if coming else inf
        now_s = min(first.next_s, arrival_s)
        if first.next_s < arrival_s:
            first.step()
        else:
            queue.append(coming.pop(0))
        while queue and (able := [e for e in engines if e.has_room(queue[0])]):
            min(able, key=lambda e: e.outstanding).join(queue.pop(0), now_s)
    return np.array([(r.first_s, r.done_s) for r in requests]).T
