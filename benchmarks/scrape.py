"""How long one look at a fleet without Prometheus takes: every engine scraped directly.

Run it with ``.venv/bin/python -m benchmarks.scrape [TARGETS ...]``. The targets are paths of one
local server in a process of its own; each is a vLLM engine whose counters rise, of a service with
eight instances. The third look is measured: counters have rates, and marks are read and written.
"""

import asyncio
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

from benchmarks.observe import INSTANCES, PREFILLS, RECIPES, TBT, TTFT
from controller.adapters.metrics.scrape.reader import read
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Scope, Wanted
from controller.core.readings.attach import ByLabels
from controller.core.readings.presets import leaves_of
from controller.core.readings.recipe import Kind
from controller.core.readings.sources import EndpointKind, Source, Target
from controller.core.types import SIGNALS, Role

STEP_S: Final = 15.0
LOOKS: Final = 3
_LABELS: Final = 'engine="0",model_name="Qwen/Qwen3-32B"'


def page(number: float) -> bytes:
    """Return what an engine exports after so many seconds."""
    lines = []
    for leaf in leaves_of(RECIPES.values()):
        name = leaf.names[0]
        if leaf.kind is Kind.BUCKETS:
            bounds = TTFT if "first_token" in name else TBT
            lines += [
                f'{name}{{{_LABELS},le="{le}"}} {number * rank / len(bounds)}'
                for rank, le in enumerate(bounds, start=1)
            ]
        else:
            lines.append(f"{name}{{{_LABELS}}} {100 * number}")
    # What an engine says that nobody asks for, about as much as vLLM does.
    lines += [
        f'vllm:other_{at}_bucket{{{_LABELS},le="{le}"}} {number}' for at in range(9) for le in TTFT
    ]
    return "\n".join([*dict.fromkeys(lines), ""]).encode()


def serve(told: Connection) -> None:
    """Answer every path, until the process is ended."""

    async def answer(reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        await reading.readuntil(b"\r\n\r\n")
        body = page(time.monotonic())
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writing.write(head.encode() + body)
        await writing.drain()
        writing.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def look(port: int, count: int) -> str:
    """Return the row of a fleet with so many targets."""
    targets = [
        Target(
            f"http://127.0.0.1:{port}/{at}",
            f"i{at % INSTANCES}",
            f"service-{at // INSTANCES:04}",
            Role.PREFILL if at % INSTANCES < PREFILLS else Role.DECODE,
        )
        for at in range(count)
    ]
    source = Source("local", EndpointKind.SCRAPE, "", ByLabels(), targets=targets)
    services = sorted({target.service for target in targets})
    chosen = [RECIPES[kind.name] for kind in SIGNALS if kind.name in RECIPES]
    leaves = dict.fromkeys(leaves_of(chosen), ByLabels())
    marks: bytes | None = None
    wall_s = cpu_s = 0.0
    answered = 0
    for at in range(LOOKS):
        now_s = 1_700_000_000 + STEP_S * at
        begin_s, used_s = time.monotonic(), time.process_time()
        turn = Turn(now_s, begin_s + 60, np.random.default_rng(0), time.sleep)
        wanted = Wanted(leaves, Scope(services, 60), Grid(now_s, STEP_S, 4))
        reading, marks = read(source, wanted, turn, marks)
        wall_s, cpu_s = time.monotonic() - begin_s, time.process_time() - used_s
        answered = int(sum(table.reporting[:, -1].max() > 0 for table in reading.leaves.values()))
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return (
        f"| {count:,} | {len(services):,} | {answered} of {len(leaves)} | {wall_s:.1f} s"
        f" | {cpu_s:.1f} s | {peak_mib:.0f} MiB | {len(marks or b'') / 2**20:.1f} MiB |"
    )


def main() -> None:
    """Print the table."""
    counts = [int(each) for each in sys.argv[1:]] or [500, 2_000]
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    try:
        port = ours.recv()
        print(f"Each target answers {len(page(1.0)) / 1024:.0f} KiB.")
        print("| targets | services | leaves answered | wall | CPU | peak memory | marks |")
        for count in counts:
            print(look(port, count))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
