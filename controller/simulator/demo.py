"""The demonstration fleet: two clusters, a hundred nodes and seven services, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.types import Instances, Limits, Mode, PolicyConfig, Role, Slo
from controller.simulator.capacity import default_policy, demand_of, per_instance_capacity
from controller.simulator.model import NodeSpec, NodeState, ServiceModel
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import Generator, Workload

TRACED_SERVICE: Final = "chat"
"""The service that plays a recorded trace in place of its generated load: small GPUs with little
memory, so that a handful of requests a second already needs several instances."""

NODES_PER_RACK: Final = 4
NODE_UNITS: Final = 9
"""Rack units from one node to the next."""


@dataclass(frozen=True, slots=True)
class DemoCluster:
    """A cluster and the region it is in."""

    name: str
    region: str


@dataclass(frozen=True, slots=True)
class DemoNode:
    """One machine and where it stands: ``u`` is its lowest rack unit."""

    name: str
    cluster: str
    s2: str
    s1: str
    rack: str
    u: int
    hardware: str
    gpus: int
    state: NodeState

    def spec(self) -> NodeSpec:
        """Return the node as the simulator knows it."""
        return NodeSpec(
            self.name,
            self.cluster,
            self.hardware,
            self.s1,
            self.s2,
            self.gpus,
            usable=self.state == "ok",
            state=self.state,
        )


DEMO_CLUSTERS: Final = (DemoCluster("eu-1-a", "eu-1"), DemoCluster("eu-1-b", "eu-1"))

# (cluster, S2, S1, nodes of each hardware type): an S2 of one type, an S2 of several with an S1
# that mixes two, so that every kind of RDMA subgroup is there (HeteroScale §6).
_LAYOUT: Final[Sequence[tuple[str, str, str, Mapping[str, int]]]] = (
    ("eu-1-a", "a-s2-01", "a-s1-01", {"h800": 8}),
    ("eu-1-a", "a-s2-01", "a-s1-02", {"h800": 8}),
    ("eu-1-a", "a-s2-02", "a-s1-03", {"h800": 6}),
    ("eu-1-a", "a-s2-02", "a-s1-04", {"h800": 2, "h20": 6}),
    ("eu-1-a", "a-s2-03", "a-s1-05", {"h20": 7}),
    ("eu-1-a", "a-s2-03", "a-s1-06", {"h20": 7}),
    ("eu-1-a", "a-s2-04", "a-s1-07", {"l40s": 6}),
    ("eu-1-b", "b-s2-01", "b-s1-01", {"h800": 8}),
    ("eu-1-b", "b-s2-01", "b-s1-02", {"h800": 8}),
    ("eu-1-b", "b-s2-02", "b-s1-03", {"h800": 8}),
    ("eu-1-b", "b-s2-02", "b-s1-04", {"h20": 6}),
    ("eu-1-b", "b-s2-03", "b-s1-05", {"l40s": 10}),
    ("eu-1-b", "b-s2-03", "b-s1-06", {"l40s": 10}),
)

_STATES: Final[Mapping[str, NodeState]] = {
    "a-h800-007": "maintenance",
    "b-l40s-013": "maintenance",
    "a-h20-011": "unhealthy",
    "b-h800-019": "unhealthy",
    "b-l40s-020": "unknown",
    "b-h20-004": "reserved",
    "b-h20-005": "reserved",
    "b-h20-006": "reserved",
}


def _nodes() -> tuple[DemoNode, ...]:
    made: list[DemoNode] = []
    numbers: dict[tuple[str, str], int] = {}
    racks: dict[str, int] = {}
    for cluster, s2, s1, counts in _LAYOUT:
        letter = cluster[-1]
        kinds = [hardware for hardware, count in counts.items() for _ in range(count)]
        for at, hardware in enumerate(kinds):
            if at % NODES_PER_RACK == 0:
                racks[letter] = racks.get(letter, 0) + 1
            number = numbers[letter, hardware] = numbers.get((letter, hardware), 0) + 1
            name = f"{letter}-{hardware}-{number:03}"
            rack = f"{letter}-r{racks[letter]:02}"
            unit = 2 + NODE_UNITS * (at % NODES_PER_RACK)
            state = _STATES.get(name, "ok")
            made.append(DemoNode(name, cluster, s2, s1, rack, unit, hardware, 8, state))
    return tuple(made)


DEMO_NODES: Final = _nodes()


@dataclass(frozen=True, slots=True)
class DemoService:
    """One service: what it is, where it runs, how it is sized and what load it gets."""

    slug: str
    name: str
    character: str
    cluster: str
    prefill: Profile
    decode: Profile
    mode: Mode
    slo: Slo
    policy: PolicyConfig
    limits: Limits
    initial: Instances
    load: Generator
    priority: int = 0
    start_median_s: float = 60.0

    @property
    def model_name(self) -> str:
        """The model it serves."""
        return self.decode.model

    @property
    def hardware(self) -> Mapping[Role, str]:
        """The GPU type of each role."""
        return {Role.PREFILL: self.prefill.hardware, Role.DECODE: self.decode.hardware}

    @property
    def gpus_per_instance(self) -> Instances:
        """GPUs per instance of each role."""
        return Instances(self.prefill.tp, self.decode.tp)

    def model(self, workload: Workload | None = None) -> ServiceModel:
        """Return the service as the simulator knows it, under its own load or another."""
        return ServiceModel(
            key=self.slug,
            cluster=self.cluster,
            prefill=self.prefill,
            decode=self.decode,
            workload=workload or self.load,
            initial=self.initial,
            start_median_s=self.start_median_s,
            seed=self.load.seed,
        )


def policy_for(
    service: DemoService, workload: Workload, driver: str | None = None
) -> PolicyConfig:
    """Return the sizing that fits a service under ``workload``, e.g. a trace it replaces.

    The target is ``TARGET_FRAC`` of what an instance sustains at the workload's mean lengths
    within the service's TBT goal, to two digits; the ratio keeps both roles equally loaded.
    """
    capacity = per_instance_capacity(
        service.prefill, service.decode, demand_of(workload), tbt_goal_s=service.slo.tbt_s
    )
    return default_policy(capacity, driver or service.policy.driver)


def scale_for(service: DemoService, workload: Workload) -> float:
    """Return the share of a workload's requests that a service can take: 1, or less.

    A trace of a large production service would only pin this one to its maximum. With the share
    its mean load fills half of what the limits allow, so that it can be seen to scale.
    """
    policy = policy_for(service, workload, "decode_tps")
    day_s = np.arange(0.0, 86_400.0, 60.0)
    offered = workload.rates(day_s, 60.0)
    decode = float(np.nanmean(offered.rps * offered.output_tokens)) / policy.target
    needed = (decode, decode * policy.pd_ratio)
    room = (service.limits.maximum.decode, service.limits.maximum.prefill)
    share = min(most / 2 / max(count, 1e-9) for count, most in zip(needed, room, strict=True))
    return min(1.0, float(f"{share:.2g}"))


@dataclass(frozen=True, slots=True)
class _Sizing:
    """How a demonstration service is sized: driver, initial counts, floor, ceiling, GPUs.

    A noisy load (few, long requests; bursts) wants a longer look before it shrinks.
    """

    driver: str
    initial: Instances
    minimum: Instances
    maximum: Instances
    ratio_tolerance: float = 0.25
    stabilisation_s: float = 300.0


@dataclass(frozen=True, slots=True)
class _About:
    """The words about a demonstration service, and how a change of it becomes an action."""

    name: str
    character: str
    mode: Mode
    priority: int


def _service(
    where: tuple[str, str, str], about: _About, slo: Slo, sizing: _Sizing, load: Generator
) -> DemoService:
    """Return a service; ``where`` is its cluster, its prefill and its decode profile."""
    cluster, prefill, decode = where[0], PROFILES[where[1]], PROFILES[where[2]]
    capacity = per_instance_capacity(prefill, decode, demand_of(load), tbt_goal_s=slo.tbt_s)
    policy = replace(
        default_policy(capacity, sizing.driver),
        ratio_tolerance=sizing.ratio_tolerance,
        stabilisation_s=sizing.stabilisation_s,
        # A visitor wants to see it shrink within minutes, not within the hour a new service takes.
        hold_s=600.0,
    )
    most = sizing.maximum.gpus(Instances(prefill.tp, decode.tp))
    return DemoService(
        slug=load.name,
        name=about.name,
        character=about.character,
        cluster=cluster,
        prefill=prefill,
        decode=decode,
        mode=about.mode,
        slo=slo,
        policy=policy,
        limits=Limits(sizing.minimum, sizing.maximum, most),
        initial=sizing.initial,
        load=load,
        priority=about.priority,
        start_median_s=_START_MEDIAN_S[decode.model],
    )


# Weights loaded from a warm disk in 4 s (8B) to 20 s (32B), then compilation and warm-up.
_START_MEDIAN_S: Final[Mapping[str, float]] = {
    "Qwen/Qwen3-8B": 40.0,
    "Qwen/Qwen3-30B-A3B": 60.0,
    "Qwen/Qwen3-32B": 60.0,
    "Qwen/Qwen3-32B-FP8": 55.0,
    "nvidia/Llama-3.1-70B-Instruct-FP8": 90.0,
}

DEMO_SERVICES: Final = (
    _service(
        ("eu-1-b", "qwen3-32b-fp8/l40s", "qwen3-32b-fp8/l40s"),
        _About(
            "Chat assistant",
            "Short conversations at all hours on GPUs with little memory.",
            Mode.AUTOMATIC,
            50,
        ),
        Slo(ttft_s=2.5, tbt_s=0.08),
        _Sizing("decode_tps", Instances(8, 10), Instances(2, 2), Instances(20, 24)),
        Generator("chat", 1, 4, 15, 1155, 211, input_sigma=0.7),
    ),
    _service(
        ("eu-1-a", "qwen3-32b/h800-tp2", "qwen3-32b/h800-tp2"),
        _About(
            "Code assistant",
            "Long prompts that half repeat the last one; users wait while they type.",
            Mode.AUTOMATIC,
            70,
        ),
        Slo(ttft_s=0.8, tbt_s=0.05),
        _Sizing("prefill_tps_uncached", Instances(14, 13), Instances(2, 2), Instances(34, 32)),
        Generator(
            "code-assistant",
            2,
            35,
            105,
            3500,
            350,
            cached_frac=0.4,
            phase=0.15,
            input_sigma=0.65,
        ),
    ),
    _service(
        ("eu-1-b", "llama-3.1-70b-fp8/h800-tp4", "llama-3.1-70b-fp8/h800-tp4"),
        _About(
            "Reasoning",
            "Short questions and very long answers: most of the work is decode.",
            Mode.AUTOMATIC,
            60,
        ),
        Slo(ttft_s=1.0, tbt_s=0.05),
        _Sizing("decode_tps", Instances(3, 8), Instances(1, 2), Instances(6, 16)),
        Generator("reasoning", 3, 12, 44, 1100, 1700, phase=0.3, input_sigma=1.0),
    ),
    _service(
        ("eu-1-a", "qwen3-8b/h800", "qwen3-8b/l40s"),
        _About(
            "Vision-language search",
            "Images as big prompts, a few words as the answer: most of the work is prefill.",
            Mode.APPROVE,
            80,
        ),
        Slo(ttft_s=0.4, tbt_s=0.08),
        _Sizing(
            "decode_tps",
            Instances(34, 19),
            Instances(6, 3),
            Instances(56, 28),
            stabilisation_s=600.0,
        ),
        Generator(
            "vision-search",
            4,
            150,
            400,
            2500,
            40,
            phase=0.5,
            bursts_per_day=4,
            burst_frac=0.35,
            input_sigma=0.5,
        ),
    ),
    _service(
        ("eu-1-b", "qwen3-32b/h800-tp4", "qwen3-32b/h800-tp2"),
        _About(
            "Long documents",
            "Whole documents as prompts: one of them can keep an instance busy for seconds.",
            Mode.AUTOMATIC,
            40,
        ),
        Slo(ttft_s=6.0, tbt_s=0.05),
        _Sizing(
            "decode_tps",
            Instances(7, 6),
            Instances(2, 2),
            Instances(15, 12),
            stabilisation_s=600.0,
        ),
        Generator(
            "long-documents", 5, 5, 16, 12_000, 350, cached_frac=0.2, phase=0.65, input_sigma=1.0
        ),
    ),
    _service(
        ("eu-1-a", "qwen3-30b-a3b/h800", "qwen3-30b-a3b/h20"),
        _About(
            "Agents (mixture of experts)",
            "A mixture of experts that computes on H800 and decodes on H20.",
            Mode.AUTOMATIC,
            60,
        ),
        Slo(ttft_s=0.6, tbt_s=0.07),
        _Sizing("decode_tps", Instances(16, 76), Instances(4, 16), Instances(28, 136)),
        Generator(
            "agents-moe", 6, 110, 320, 2000, 500, cached_frac=0.3, phase=0.8, burst_frac=0.2
        ),
    ),
    _service(
        ("eu-1-b", "llama-3.1-70b-fp8/l40s-tp4", "llama-3.1-70b-fp8/l40s-tp4"),
        _About(
            "Overnight summaries",
            "A few batch requests a second that nobody waits for; watched, not yet scaled.",
            Mode.OBSERVE,
            10,
        ),
        Slo(ttft_s=20.0, tbt_s=0.12),
        _Sizing("prefill_tps_uncached", Instances(12, 2), Instances(4, 1), Instances(20, 4), 0.5),
        Generator("summaries", 7, 0.8, 2.6, 2600, 290, phase=0.4, input_sigma=0.5),
    ),
)
