"""How fast the simulator makes a day: every demonstration service and a second chat service.

Run it with ``.venv/bin/python -m benchmarks.simulator``.
"""

import time
from dataclasses import replace

from controller.simulator.demo import DEMO_NODES, DEMO_SERVICES
from controller.simulator.world import World

START_S = 1_800_000_000
DAY_S = 86_400
TICK_S = 15
WINDOW_S = 60.0


def main() -> None:
    """Advance a day tick by tick, look at all services each time, print what it took."""
    models = [service.model() for service in DEMO_SERVICES]
    models.append(replace(models[0], key="chat-again"))
    world = World(models, [node.spec() for node in DEMO_NODES], start_s=START_S, seed=1)
    keys = sorted(world.keys)
    begin_s = time.process_time()
    for now_s in range(START_S, START_S + DAY_S + 1, TICK_S):
        world.advance(now_s)
        world.observe(keys, now_s, WINDOW_S)
    took_s = time.process_time() - begin_s
    exact = sum(world.fidelity(key) == "exact prefill" for key in keys)
    print(f"services             {len(keys)} ({exact} with exact prefill)")
    print(f"bins of 1 s          {DAY_S:,} in {took_s:.1f} s: {DAY_S / took_s:,.0f} a second")
    print(f"windows of 4 samples {DAY_S // TICK_S * len(keys):,}")


if __name__ == "__main__":
    main()
