"""How soon a cluster is seen as a whole, what a look at it costs, and what is kept in memory.

Run it with ``.venv/bin/python -m benchmarks.watch``. The API server is the double of the tests, in
a process of its own; nodes and pods are as large as real ones.
"""

import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")

from controller.adapters.fleet.kubernetes.cluster import NODES, PODS, ClusterWatch
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.adapters.kube.api import Api, Credentials
from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.values import WorkloadRef
from controller.core.types import Role
from tests.kube import deployment, fleet
from tests.kube.double import Double

CASES: Final = ((500, 0), (500, 2_000), (5_000, 0), (5_000, 20_000))
"""Nodes and pods; ten pods make a workload, two workloads a service."""
NAMESPACE: Final = "prod"
EACH: Final = 10
NOW_S: Final = 1_800_000_000.0
IMAGES: Final = [
    {"names": [f"registry/engine-{n}@sha256:{'a' * 64}", f"registry/engine-{n}:v1"], "size": n}
    for n in range(50)
]
ENVIRONMENT: Final = [{"name": f"ENGINE_{n}", "value": "v" * 40} for n in range(40)]


def prepare(kube: Double) -> None:
    """Fill the double: nodes with labels and images, pods with all of their template."""
    nodes, pods = (int(os.environ[name]) for name in ("BENCH_NODES", "BENCH_PODS"))
    for node in fleet(nodes):
        node["metadata"]["labels"] |= {f"example.com/feature-{n}": f"value-{n}" for n in range(30)}
        node["status"]["images"] = IMAGES
        kube.put(node)
    for number in range(pods // EACH):
        name = f"s{number // 2}-{'prefill' if number % 2 else 'decode'}"
        kube.put(deployment(NAMESPACE, name, EACH, gpus=2))
        kube.put(*(_pod(name, one, nodes) for one in range(EACH)), checked=False)


def _pod(workload: str, number: int, nodes: int) -> dict[str, Any]:
    now = "2026-01-01T00:00:00Z"
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{workload}-{number}",
            "labels": {"app": workload, "pod-template-hash": "5d9c7b6f4"},
        },
        "spec": {
            "nodeName": f"gpu-{number % max(nodes, 1):04d}",
            "containers": [{"name": "server", "image": "registry/engine:1", "env": ENVIRONMENT}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds
            ],
            "containerStatuses": [{"name": "server", "ready": True, "restartCount": 0}],
        },
    }


def refs(pods: int) -> dict[str, list[WorkloadRef]]:
    """Return the workloads of all services."""
    about = KINDS[WorkloadKind.DEPLOYMENT]
    return {
        f"s{number}": [
            WorkloadRef(
                role,
                WorkloadKind.DEPLOYMENT,
                about.api,
                about.plural,
                NAMESPACE,
                f"s{number}-{role.value}",
            )
            for role in Role
        ]
        for number in range(pods // EACH // 2)
    }


def main() -> None:
    """Print the table; each case in a process of its own."""
    print("| nodes | pods | list [MiB] | whole after [s] | look, nothing new [ms]", end=" ")
    print("| look, one pod changed [ms] | kept a node [B] | kept a pod [B] | more memory [MiB] |")
    print("| ---: " * 9 + "|")
    for nodes, pods in CASES:
        environment = {**os.environ, "BENCH_NODES": str(nodes), "BENCH_PODS": str(pods)}
        with tempfile.TemporaryDirectory() as directory:
            scenario = Path(directory) / "scenario.py"
            scenario.write_text("from benchmarks.watch import prepare as prepare\n")
            print(_row(scenario, environment), end="")


def _row(scenario: Path, environment: dict[str, str]) -> str:
    nothing = ("--nodes", "0", "--prefill", "0", "--decode", "0", "--every", "0")
    serve = [sys.executable, "-m", "tests.kube", *nothing, "--scenario", str(scenario)]
    asked = {"env": environment, "text": True, "stdout": subprocess.PIPE}
    with subprocess.Popen(serve, **asked) as server:  # type: ignore[call-overload]  # noqa: S603
        address, token = server.stdout.readline().split()
        words = [sys.executable, "-m", "benchmarks.watch", address, token]
        row = subprocess.run(words, check=True, **asked).stdout  # type: ignore[call-overload]  # noqa: S603
        server.terminate()
        return str(row)


def measure(address: str, token: str) -> None:
    """Print one row."""
    nodes, pods = (int(os.environ[name]) for name in ("BENCH_NODES", "BENCH_PODS"))
    api = Api(Credentials(server=address, token=token))
    gc.collect()
    before = _resident()
    begun = time.perf_counter()
    watch = ClusterWatch(api, Pace(jitter=lambda: 0.5))
    watch.follow(refs(pods))
    while not _is_whole(watch, nodes, pods):
        time.sleep(0.05)
    whole_s = time.perf_counter() - begun
    idle_ms = _look_ms(watch)
    gc.collect()
    more = (_resident() - before) / 2**20
    kept = {kind: _kept(watch, kind) for kind in ("nodes", "pods")}
    changed_ms = _changed_ms(watch) if pods else float("nan")
    cells = (
        f"{nodes:,}",
        f"{pods:,}",
        f"{_listed(api) / 2**20:.0f}",
        f"{whole_s:.1f}",
        f"{idle_ms:.1f}",
        "" if not pods else f"{changed_ms:.1f}",
        f"{sum(kept['nodes']) / max(nodes, 1):.0f}",
        "" if not pods else f"{sum(kept['pods']) / pods:.0f}",
        f"{more:.0f}",
    )
    print(f"| {' | '.join(cells)} |")


def _is_whole(watch: ClusterWatch, nodes: int, pods: int) -> bool:
    seen = watch.look(NOW_S)
    services = seen.services
    return (
        services is not None
        and (seen.nodes, seen.pods) == (nodes, pods)
        and all(len(one[2]) == EACH for each in services.values() for one in each.workloads)
    )


def _kept(watch: ClusterWatch, kind: str) -> list[int]:
    feeds = watch._feeds.items()  # noqa: SLF001 - what it keeps is its own affair
    return [
        len(body) for (res, _), one in feeds if res.plural == kind for body in one.mirror.bodies()
    ]


def _look_ms(watch: ClusterWatch, times: int = 5) -> float:
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        watch.look(NOW_S)
        spent.append(1000 * (time.perf_counter() - begun))
    return sorted(spent)[times // 2]


def _changed_ms(watch: ClusterWatch) -> float:
    """Return a look after one pod changed, as an event would tell it."""
    one = next(each for (res, _), each in watch._feeds.items() if res.plural == "pods")  # noqa: SLF001
    spent = []
    for number in range(5):
        plain = json.loads(one.mirror.bodies()[0])
        plain["metadata"]["resourceVersion"] = str(10**9 + number)
        plain["status"]["containerStatuses"] = [{"restartCount": number + 1}]
        one.mirror.apply("MODIFIED", plain)
        begun = time.perf_counter()
        watch.look(NOW_S)
        spent.append(1000 * (time.perf_counter() - begun))
    return sorted(spent)[2]


def _listed(api: Api) -> int:
    """Return how long the lists are that are read at the start [B]."""
    until = time.monotonic() + 120.0
    return sum(
        len(json.dumps(each, separators=(",", ":")))
        for res in (NODES, PODS)
        for page in api.pages(res, None, until=until)
        for each in page.items
    )


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:3])
    else:
        main()
