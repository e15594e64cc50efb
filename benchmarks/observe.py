"""How long one observation of a large fleet takes, against a local Prometheus.

Run it with ``.venv/bin/python -m benchmarks.observe [SERVICES]``; it needs ``prometheus`` and
``promtool`` and about 1 GB of temporary space. Eight vLLM instances a service, two for prefill.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from controller.adapters import http
from controller.adapters.metrics.prometheus.client import Endpoint
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.attach import ByLabels
from controller.core.readings.cook import windows
from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Kind
from controller.core.signals import summarise_all
from controller.core.types import SIGNALS
from tests.prometheus import NOW_S, STEP_S, Series, rising, running

PREFILLS, INSTANCES = 2, 8
WINDOW_S: Final = 60
SAMPLES: Final = 4
AIM_S: Final = 5.0
TTFT: Final = (
    "0.001",
    "0.005",
    "0.01",
    "0.02",
    "0.04",
    "0.06",
    "0.08",
    "0.1",
    "0.25",
    "0.5",
    "0.75",
    "1.0",
    "2.5",
    "5.0",
    "7.5",
    "10.0",
    "20.0",
    "40.0",
    "80.0",
    "160.0",
    "640.0",
    "2560.0",
    "+Inf",
)
TBT: Final = (
    "0.01",
    "0.025",
    "0.05",
    "0.075",
    "0.1",
    "0.15",
    "0.2",
    "0.3",
    "0.4",
    "0.5",
    "0.75",
    "1.0",
    "2.5",
    "5.0",
    "7.5",
    "10.0",
    "20.0",
    "40.0",
    "80.0",
    "+Inf",
)
RECIPES: Final = PRESETS["vllm"].recipes


def history(services: int) -> Iterator[Series]:
    """Yield every series of the fleet, those of a metric together."""
    names = {leaf.names[0]: leaf.kind for leaf in leaves_of(RECIPES.values())}
    for name, kind in names.items():
        for service in range(services):
            for at in range(INSTANCES):
                labels = {
                    "service": f"service-{service:04}",
                    "role": "prefill" if at < PREFILLS else "decode",
                    "instance": f"10.{service // 250}.{service % 250}.{at}:8000",
                    "job": "vllm",
                    "engine": "0",
                    "model_name": "Qwen/Qwen3-32B",
                }
                yield from _series(name, kind, labels)


def _series(name: str, kind: Kind, labels: dict[str, str]) -> Iterator[Series]:
    if kind is Kind.BUCKETS:
        bounds = TTFT if "first_token" in name else TBT
        for rank, le in enumerate(bounds, start=1):
            yield Series(name, {**labels, "le": le}, rising(rank / len(bounds), 8))
    else:
        yield Series(name, labels, [3] * 8 if kind is Kind.GAUGE else rising(100.0, 8))


def observe(base: str, names: list[str], recipes: list[str]) -> tuple[Reading, float]:
    """Return what was read of some recipes, and the seconds until signals were made of it."""
    chosen = {name: RECIPES[name] for name in recipes if name in RECIPES}
    grid = Grid(NOW_S, STEP_S, SAMPLES)
    leaves = dict.fromkeys(leaves_of(chosen.values()), ByLabels())
    begin_s = time.monotonic()
    turn = Turn(time.time(), begin_s + 120, np.random.default_rng(0), time.sleep)  # noqa: TID251
    reading = read(Endpoint("local", base), Wanted(leaves, Scope(names, WINDOW_S), grid), turn)
    expected = np.tile([PREFILLS, INSTANCES - PREFILLS], (len(names), 1))
    made = windows([chosen] * len(names), reading.leaves, expected, grid.times_s, STEP_S)
    summarise_all([(window, 1.0) for window in made], now_s=NOW_S, max_age_s=45)
    return reading, time.monotonic() - begin_s


def measure(base: str, services: int) -> None:
    """Print a line for the signals alone, one for the same again, and one for all figures."""
    sizes: list[int] = []
    exchange = http.exchange

    def counting(*words: object, **named: object) -> http.Reply:
        reply = exchange(*words, **named)  # type: ignore[arg-type]
        sizes.append(len(reply.body))
        return reply

    http.exchange = counting
    names = [f"service-{at:04}" for at in range(services)]
    before_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{services:,} services, {services * INSTANCES:,} instances; {before_mib:.0f} MiB before"
    )
    print("figures   leaves  requests  answers [MB]  wall [s]  CPU [s]  its CPU [s]  peak [MiB]")
    signals = [kind.name for kind in SIGNALS]
    for title, recipes in (("signals", signals), ("again", signals), ("all", list(RECIPES))):
        its_s, cpu_s = _cpu_s(base), time.process_time()
        sizes.clear()
        reading, took_s = observe(base, names, recipes)
        requests, received_mb = len(sizes), sum(sizes) / 1e6
        its_s, cpu_s = _cpu_s(base) - its_s, time.process_time() - cpu_s
        most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{title:8} {len(reading.leaves):7} {requests:9} {received_mb:13.1f}"
            f" {took_s:9.2f} {cpu_s:8.2f} {its_s:12.2f} {most_mib:11.0f}"
            f"  {'' if took_s <= AIM_S else f'over the aim of {AIM_S:.0f} s'}"
        )
        print("".join(f"  {text}\n" for text in reading.told), end="")


def _cpu_s(base: str) -> float:
    """Return the seconds of one core that Prometheus says it has used."""
    until = time.monotonic() + 10
    text = http.get(f"{base}/metrics", headers={}, most=2**20, until=until).body.decode()
    return float(text.split("\nprocess_cpu_seconds_total ")[1].split()[0])


def main() -> None:
    """Fill a Prometheus, then measure in a process that did nothing else."""
    if len(sys.argv) > 2:
        measure(sys.argv[2], int(sys.argv[1]))
        return
    services = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as root, running(Path(root), history(services)) as base:
        words = [sys.executable, "-m", "benchmarks.observe", str(services), base]
        subprocess.run(words, check=True)  # noqa: S603 - ourselves


if __name__ == "__main__":
    main()
