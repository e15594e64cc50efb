"""Small worlds that tests share."""

from dataclasses import replace

from controller.core.types import Instances
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Generator
from controller.simulator.world import World

START_S = 1_800_000_000.0

STEADY = Generator(
    "steady",
    seed=1,
    low_rps=5.0,
    peak_rps=5.0,
    input_tokens=800,
    output_tokens=200,
    bursts_per_day=0,
    noise_frac=0.0,
    drift_frac=0.0,
)

SERVICE = ServiceModel(
    key="chat",
    cluster="here",
    prefill=PROFILES["qwen3-32b-fp8/h800"],
    decode=PROFILES["qwen3-32b-fp8/h800"],
    workload=STEADY,
    initial=Instances(2, 3),
    start_sigma=0.2,
    start_failure_frac=0.0,
    seed=3,
)

SLOW_SERVICE = replace(
    SERVICE,
    key="documents",
    prefill=PROFILES["qwen3-32b-fp8/l40s-tp2"],
    decode=PROFILES["qwen3-32b-fp8/l40s-tp2"],
    workload=replace(STEADY, name="documents", input_tokens=5000.0, low_rps=0.8, peak_rps=0.8),
)

NODES = [
    *(NodeSpec(f"h-{at}", "here", "h800", f"s1-{at // 2}", f"s2-{at // 4}", 8) for at in range(6)),
    *(NodeSpec(f"l-{at}", "here", "l40s", "s1-l", "s2-l", 8) for at in range(3)),
    NodeSpec("h-off", "here", "h800", "s1-0", "s2-0", 8, usable=False, state="maintenance"),
    NodeSpec("h-lost", "here", "h800", "s1-0", "s2-0", 8, usable=False, state="unknown"),
]


def world(*services: ServiceModel, speed: float = 1.0, seed: int = 7) -> World:
    """Return a world of the given services, or of a fast and a slow one, on all nodes."""
    return World(
        services or (SERVICE, SLOW_SERVICE), NODES, start_s=START_S, seed=seed, speed=speed
    )
