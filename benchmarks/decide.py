"""How much computing time one decision takes, and those of a thousand services in one tick.

Run it with ``.venv/bin/python -m benchmarks.decide``. A service with the policy of a new one
follows six hours of the m-large recording, so that everything there is to learn has been learnt.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

import numpy as np

from benchmarks.data import shared
from benchmarks.study.recordings import LANGUAGE, recording
from controller.core.cycle import Look, context_of, decide_all
from controller.core.decide import decide
from controller.core.memory import Memory, remember
from controller.core.ports import Pool, View
from controller.core.signals import summarise
from controller.core.types import Instances, Limits, Mode, Observation, Role, ServiceSpec, Slo
from controller.simulator.capacity import default_policy, demand_of, per_instance_capacity
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.profiles import PROFILES
from controller.simulator.speeds import engine_of
from controller.simulator.world import World

TICK_S: Final = 15.0
HOURS: Final = 6
SERVICES: Final = 1000
ROUNDS: Final = 20
PROFILE: Final = PROFILES["qwen3-32b-fp8/h100"]
SLO: Final = Slo(1.0, 0.05)


def main() -> None:
    """Print the time of a decision, its slow cases, and that of a tick's decisions."""
    workload = recording(shared(), LANGUAGE, 1.0)
    capacity = per_instance_capacity(PROFILE, PROFILE, demand_of(workload), tbt_goal_s=SLO.tbt_s)
    spec = ServiceSpec(
        key="chat",
        cluster="eu",
        mode=Mode.AUTOMATIC,
        slo=SLO,
        limits=Limits(Instances(1, 1), Instances(200, 200), 400),
        policy=default_policy(capacity),
        gpus_per_instance=Instances(1, 1),
        hardware=MappingProxyType(dict.fromkeys(Role, "h100")),
        engine=engine_of(PROFILE, PROFILE),
    )
    model = ServiceModel("chat", "eu", PROFILE, PROFILE, workload, Instances(16, 8))
    nodes = [NodeSpec(f"n{k}", "eu", "h100", "s1", "s2", 8) for k in range(50)]
    world = World([model], nodes, start_s=0.0, seed=1)
    took_s, view, memory, now_s = _followed(world, spec)
    took_us = 1e6 * np.array(took_s)
    print(f"decisions            {len(took_us):,} over {HOURS} h")
    for name, figure in (
        ("median", np.median(took_us)),
        ("99th percentile", np.percentile(took_us, 99)),
        ("slowest", took_us.max()),
    ):
        print(f"{name:20} {figure:,.0f} us")
    print(
        f"{SERVICES} services        {_many(spec, view, memory, now_s):,.0f} ms (best of {ROUNDS})"
    )


def _followed(world: World, spec: ServiceSpec) -> tuple[list[float], Observation, Memory, float]:
    """Follow the load; returns the seconds of each decision and how things stand at the end."""
    memory, took_s, now_s = Memory(), [], 0.0
    for tick in range(1, int(HOURS * 3600 / TICK_S) + 1):
        now_s = tick * TICK_S
        world.advance(now_s)
        seen = Observation(world.windows(["chat"], now_s, 60.0)[0], world.state("chat"))
        signals = summarise(seen.window, now_s=now_s, max_age_s=45.0, coverage_ok_frac=0.9)
        look = Look(now_s, 45.0, View({"chat": seen}, [], {}), {"chat": signals})
        ctx = context_of(spec, look, memory=memory, hold=None, gpus_free={"h100": 400})
        begun_s = time.thread_time()
        found = decide(ctx)
        took_s.append(time.thread_time() - begun_s)
        memory = remember(memory, found, slo=SLO, keep_s=300.0, acted=found.changes)
        if found.changes:
            world.scale("chat", found.final)
    return took_s, seen, memory, now_s


def _many(spec: ServiceSpec, seen: Observation, memory: Memory, now_s: float) -> float:
    """Return the least milliseconds that the decisions of many such services took."""
    specs = [replace(spec, key=f"chat-{k}") for k in range(SERVICES)]
    signals = summarise(seen.window, now_s=now_s, max_age_s=45.0, coverage_ok_frac=0.9)
    pool = Pool("eu", "h100", 400, 0, 0, 400, 0, 0, 0, 0, 400)
    every: Mapping[str, Observation] = {one.key: seen for one in specs}
    look = Look(now_s, 45.0, View(every, [pool], {}), {one.key: signals for one in specs})
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.thread_time()
        decide_all(specs, look, recall=lambda _key: memory, hold_of=lambda _key: None)
        best_s = min(best_s, time.thread_time() - begun_s)
    return 1e3 * best_s


if __name__ == "__main__":
    main()
