"""How much load a split of GPUs carries within the goals, found by playing it at steady rates."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

import numpy as np

from controller.core.types import Floats, Instances
from controller.simulator.attainable import in_time
from controller.simulator.backtest.plan import Fidelity, by_itself
from controller.simulator.backtest.question import Question
from controller.simulator.capacity import Demand
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.offered import Offered
from controller.simulator.traces import LengthShapes, WindowTrace
from controller.simulator.world import Setup, World

SPAN_S: Final = 900.0
WARM_S: Final = 300.0
"""Time that is played before anything is counted: sequences must have filled the engines."""

STEP_S: Final = 15.0
HALVINGS: Final = 6
"""Of the rates between nothing and first principles: what is found is within 1/64 of these."""

MOST_EXACT: Final = 300_000
"""Most requests of all splits together that are played one by one in one go: about 20 s."""


@dataclass(frozen=True, slots=True)
class Stress:
    """What is played: engines and goals of ``asked`` under requests of one mix.

    ``1 - goal_frac`` of all requests may miss the goals beside those whose own prompt can't be
    computed within the TTFT goal, as in the clairvoyant bound.
    """

    asked: Question
    demand: Demand
    goal_frac: float

    @property
    def attainable_frac(self) -> float:
        """Share of requests of the mix whose first token can be in time on an idle engine."""
        prompts = self.demand.uncached_tokens * self.asked.workload.lengths.input
        return float(in_time(self.asked, prompts).mean())

    def wanted_frac(self, rps: float) -> float:
        """Return the share of all requests that must be kept when so many come [requests/s].

        How many prompts that are too long are among them is chance: two standard deviations of
        it are no fault of the split.
        """
        share = self.attainable_frac
        deviation = sqrt(share * (1 - share) / max(rps * (SPAN_S - WARM_S), 1.0))
        return share - (1 - self.goal_frac) - 2 * deviation

    def fidelity(self, requests: float) -> Fidelity:
        """Return how it is played: as asked, or as a backtest of so many requests would be."""
        if self.asked.fidelity == "auto":
            return by_itself(self.asked, many=requests > MOST_EXACT)
        return Fidelity(self.asked.fidelity, "as asked")


def sustained(
    stress: Stress, most_rps: Mapping[Instances, float], progress: Callable[[float], None]
) -> Mapping[Instances, float]:
    """Return the highest rate of each pair of counts that keeps the goals [requests/s].

    None is above ``most_rps``, which is tried first; below it rates are halved ``HALVINGS``
    times. 0 for counts that keep the goals at none of them.
    """
    low, high = dict.fromkeys(most_rps, 0.0), dict(most_rps)
    tried = dict(most_rps)
    for step in range(HALVINGS + 1):
        progress(step / (HALVINGS + 1))
        kept = attained(stress, list(tried.items()))
        for counts, frac in zip(list(tried), kept, strict=True):
            side = low if frac >= stress.wanted_frac(tried[counts]) else high
            side[counts] = tried[counts]
        tried = {
            counts: (low[counts] + high[counts]) / 2
            for counts in tried
            if low[counts] < most_rps[counts]
        }
        if not tried:
            break
    return low


def attained(stress: Stress, cases: Sequence[tuple[Instances, float]]) -> Floats:
    """Return the share of requests within both goals of (counts, requests/s), shape ``(n,)``."""
    asked = stress.asked
    fidelity = stress.fidelity(SPAN_S * sum(rps for _, rps in cases))
    services = [_service(stress, f"split-{at}", *case) for at, case in enumerate(cases)]
    nodes = [node for service in services for node in _nodes(service)]
    world = World(
        services, nodes, start_s=0.0, seed=asked.seed, setup=Setup(fidelity=fidelity.wanted)
    )
    world.judge({service.key: (asked.slo.ttft_s, asked.slo.tbt_s) for service in services})
    came, both = np.zeros(len(cases)), np.zeros(len(cases))
    for at_s in np.arange(STEP_S, SPAN_S + STEP_S, STEP_S):
        world.advance(float(at_s))
        if at_s > WARM_S:
            came += world.kept[0]
            both += world.kept[0] * world.kept[3]
    late = np.array([world.late(service.key) for service in services])
    shares: Floats = both / np.maximum(came + late, 1e-9)
    return shares


def _service(stress: Stress, key: str, counts: Instances, rps: float) -> ServiceModel:
    asked = stress.asked
    return ServiceModel(
        key=key,
        cluster=key,
        prefill=asked.prefill,
        decode=asked.decode,
        workload=_steady(stress, rps),
        initial=counts,
    )


def _steady(stress: Stress, rps: float) -> WindowTrace:
    """Return one window of the mix that lasts longer than it is played."""
    shape, mix = stress.asked.workload.lengths, stress.demand
    figures = (rps, mix.input_tokens, mix.output_tokens, mix.cached_frac)
    return WindowTrace(
        "steady",
        np.zeros(1),
        Offered(*(np.array([figure]) for figure in figures)),
        2 * SPAN_S,
        shapes=LengthShapes(np.zeros(1), shape.input[None], shape.output[None], "of the load"),
    )


def _nodes(service: ServiceModel) -> list[NodeSpec]:
    """Return nodes that hold the instances of a service, all in one place."""
    gpus: dict[str, int] = {}
    size: dict[str, int] = {}
    engines = (service.prefill, service.decode)
    for profile, count in zip(engines, service.initial, strict=True):
        gpus[profile.hardware] = gpus.get(profile.hardware, 0) + count * profile.tp
        size[profile.hardware] = profile.spec.gpus_per_node
    return [
        NodeSpec(f"{service.key}/{kind}-{at}", service.key, kind, "s1", "s2", size[kind])
        for kind, held in gpus.items()
        # An engine never spans nodes here, so each role may leave one partly empty.
        for at in range(-(-held // size[kind]) + 1)
    ]
