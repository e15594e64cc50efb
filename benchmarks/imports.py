"""How fast a fleet is read: 2,000 nodes as Kubernetes, ibnetdiscover and YAML list them.

Run it with ``.venv/bin/python -m benchmarks.imports [NODES]``; the files are made up here.
"""

import json
import resource
import sys
import time
from itertools import pairwise

from inventory.domains import derive
from inventory.export import write
from inventory.importers.detect import read
from inventory.importers.found import Found, Options
from inventory.plan import plan_for_empty

UNIT = 32
RAILS = 8
SPINES = 16
IMAGES = [
    {"names": [f"registry/engine-{n}@sha256:{'a' * 64}", f"registry/engine-{n}:v1"], "size": n}
    for n in range(50)
]


def kubernetes(count: int) -> bytes:
    """Return a list of nodes as kubectl prints it, with the images that are most of its size."""
    return json.dumps(
        {"kind": "List", "items": [_node(number) for number in range(count)]}, indent=4
    ).encode()


def _node(number: int) -> dict[str, object]:
    labels = {f"example.com/label-{n}": f"value-{n}" for n in range(12)}
    labels |= {
        "fabric.topograph.run/tier-0": f"leaf-{number // 16}",
        "fabric.topograph.run/tier-1": f"spine-{number // 256}",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.memory": "143771",
    }
    counted = {"nvidia.com/gpu": "8", "cpu": "192", "memory": "2147483648Ki"}
    return {
        "kind": "Node",
        "metadata": {"name": f"gpu{number:05}", "uid": f"uid-{number}", "labels": labels},
        "spec": {},
        "status": {
            "capacity": counted,
            "allocatable": counted,
            "conditions": [{"type": "Ready", "status": "True"}],
            "images": IMAGES,
        },
    }


def ibnetdiscover(count: int) -> bytes:
    """Return a rail-optimised fabric: units of 32 nodes on eight leaves, under 16 spines."""
    lines = []
    for unit in range(-(-count // UNIT)):
        for rail in range(RAILS):
            name = f"LEAF-{rail + 1:02}-{unit + 1:03}"
            lines.append(f'Switch\t65 "S-a{unit:05x}{rail:02x}"\t# "MF0;{name}:QM9700/U1" lid 1')
            for port in range(UNIT):
                node = unit * UNIT + port
                guid = f"{node:012x}{rail:04x}"
                said = f'"gpu{node:05} mlx5_{rail}" lid 1 4xNDR'
                lines.append(f'[{port + 1}]\t"H-{guid}"[1]({guid}) \t# {said}')
            for spine in range(SPINES):
                far = unit * RAILS + rail + 1
                said = f'"MF0;SPINE-{spine:02}:QM9700/U1" lid 1 4xNDR'
                lines.append(f'[{spine + 40}]\t"S-b{spine:05x}"[{far}]\t# {said}')
    return "\n".join(lines).encode()


def taken(name: str, data: bytes) -> Found:
    """Print what reading, deriving and planning took, in seconds of one core."""
    marks = [time.process_time()]
    found = read(data, name, Options())
    marks.append(time.process_time())
    domains = derive(found)
    marks.append(time.process_time())
    plan = plan_for_empty(found)
    len(domains.domains)
    marks.append(time.process_time())
    read_s, derive_s, plan_s = (after - before for before, after in pairwise(marks))
    print(
        f"| {name} | {len(data) / 2**20:.1f} | {len(found.nodes):,} | {len(plan.objects):,} | "
        f"{read_s:.2f} | {derive_s:.2f} | {plan_s:.2f} |"
    )
    return found


def main() -> None:
    """Print a table, and the most memory that was in use."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| file | MiB | nodes | objects | read [s] | domains [s] | plan [s] |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    taken("Kubernetes", kubernetes(count))
    fabric = taken("ibnetdiscover", ibnetdiscover(count))
    taken("YAML with every cable", write(fabric).encode())
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
