"""How fast a fleet of 2,000 nodes is read and imported, as Kubernetes and ibnetdiscover list it.

Run it with ``.venv/bin/python -m benchmarks.imports [NODES]``; the files are made up here, and the
servers are throw-away ones from the wheels, like those of the tests.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from itertools import pairwise
from uuid import uuid4

import django

import tests.servers  # noqa: F401 - starts the servers before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from django.core.management import call_command  # noqa: E402

from controller.services import import_jobs, imports  # noqa: E402
from controller.services.imports import Consent, Upload, Wanted  # noqa: E402
from controller.services.people import CommandLine  # noqa: E402
from inventory.domains import derive  # noqa: E402
from inventory.export import write  # noqa: E402
from inventory.importers.detect import read  # noqa: E402
from inventory.importers.found import Found, Options  # noqa: E402
from inventory.models import ImportRun  # noqa: E402
from inventory.plan import plan_for_empty  # noqa: E402
from inventory.stored import read as read_rows  # noqa: E402

CLUSTER = "eu-1-a"
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
    derive(found)
    marks.append(time.process_time())
    plan = plan_for_empty(found)
    marks.append(time.process_time())
    read_s, derive_s, plan_s = (after - before for before, after in pairwise(marks))
    print(
        f"| {name} | {len(data) / 2**20:.1f} | {len(found.nodes):,} | {len(plan.objects):,} | "
        f"{read_s:.2f} | {derive_s:.2f} | {plan_s:.2f} |"
    )
    return found


def carried(run: ImportRun) -> tuple[ImportRun, float]:
    """Do what a worker would, and return how long that took [s]."""
    began = time.perf_counter()
    import_jobs.carry_out(run.pk, {})
    run.refresh_from_db()
    return run, time.perf_counter() - began


def exported() -> str:
    """Return the whole inventory as YAML."""
    return write(read_rows().found())


def imported(name: str, body: bytes) -> ImportRun:
    """Print how long it takes to plan, apply and plan again [s], and return the import."""
    wanted, me = Wanted(cluster=CLUSTER), CommandLine("benchmark")

    def ask() -> ImportRun:
        files = [Upload(name, body)]
        return imports.ask(uuid4(), files=files, wanted=wanted, user=me, services={})

    run, plan_s = carried(ask())
    imports.apply(run.pk, consent=Consent(), user=me, services={})
    run, apply_s = carried(run)
    again, again_s = carried(ask())
    changed = "no changes" if again.total == 0 else f"{again.total} changes"
    imports.cancel(again.pk, user=me)
    cells = (name, f"{run.total:,}", f"{plan_s:.2f}", f"{apply_s:.2f}", f"{again_s:.2f}", changed)
    print(f"| {' | '.join(cells)} |")
    return run


def rows(files: Mapping[str, bytes]) -> None:
    """Print the same for rows: imports one after the other, and what takes them back."""
    print()
    print("| file | changes | plan [s] | apply [s] | plan again [s] | it finds |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    states, runs = [exported()], []
    for name, body in files.items():
        runs.append(imported(name, body))
        states.append(exported())
    print()
    print("| reverted | revert [s] | the export is |")
    print("| --- | ---: | --- |")
    for name, run in reversed(list(zip(files, runs, strict=True))):
        me = CommandLine("benchmark")
        back = imports.revert(run.pk, key=uuid4(), user=me, services={})
        _, took_s = carried(back)
        states.pop()
        same = "as it was" if exported() == states[-1] else "another"
        print(f"| {name} | {took_s:.2f} | {same} |")


def main() -> None:
    """Print tables, and the most memory that was in use."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| file | MiB | nodes | objects | read [s] | domains [s] | plan [s] |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    listed, cabled = kubernetes(count), ibnetdiscover(count)
    taken("Kubernetes", listed)
    fabric = taken("ibnetdiscover", cabled)
    taken("YAML with every cable", write(fabric).encode())
    rows({"nodes.json": listed, "fabric.out": cabled})
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    call_command("migrate", verbosity=0)
    main()
