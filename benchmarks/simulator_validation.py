"""How far the simulator can be trusted: every check, its reference, and the error found.

Run it with ``.venv/bin/python -m benchmarks.simulator_validation``; the data are found in the
directory ``HETEROSCALE_SHARED`` names, ``../shared`` without it. Prints a table in Markdown, then
how long an hour takes, and exits with 1 when a check fails that isn't known to.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final

from benchmarks.data import shared
from benchmarks.fidelity_rows import (
    AZURE,
    CASES,
    PROFILE,
    fidelity_rows,
    recorded,
    service_of,
    whole_s,
    world_of,
)
from benchmarks.validation_rows import Row, engine_rows
from controller.simulator.exact import simulate
from controller.simulator.world import Setup

KNOWN: Final[Mapping[str, str]] = {
    "Mooncake, fluid prefill": "single prompts outlast a bin; the world takes exact prefill there",
    "Median of fluid": "a bin's wait is everybody's, though half of its requests find nobody",
}
"""Checks that may fail, by how they begin, and why."""


def excuse(row: Row) -> str:
    """Return why a check may fail; empty when it may not."""
    return next((why for begin, why in KNOWN.items() if row.check.startswith(begin)), "")


def line(row: Row) -> str:
    """Return a row of the table."""
    verdict = "pass" if row.passed else f"known: {excuse(row)}" if excuse(row) else "**fail**"
    error = f"{row.error_frac:.2%}" if row.error_frac >= 1e-4 else f"{row.error_frac:.1g}"
    limit = f"{row.limit_frac:.0%}" if row.limit_frac >= 0.01 else f"{row.limit_frac:g}"
    cells = (row.check, row.unit, _figure(row.reference), _figure(row.ours), error, limit, verdict)
    return f"| {' | '.join(cells)} |"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"


def report(rows: Iterable[Row]) -> int:
    """Print the table; return how many checks fail that may not."""
    print("| check | unit | reference | ours | error | limit | |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    failed = 0
    for row in rows:
        print(line(row), flush=True)
        failed += not row.passed and not excuse(row)
    print(f"\n{failed} checks failed.")
    return failed


def report_speed(traces: Path) -> None:
    """Print what simulating the hour of the Azure trace takes [s of one core]."""
    print("\n| case | all requests in one run | exact world | fluid world |")
    print("| --- | ---: | ---: | ---: |")
    for case in CASES:
        trace = recorded(traces, AZURE, case.faster)
        plan = [(0.0, case.instances)]
        took_s = [_seconds(partial(simulate, trace.arrivals, PROFILE, PROFILE, plan))]
        for fidelity in ("exact", "fluid"):
            world = world_of(service_of(trace, case.instances), Setup(fidelity))
            took_s.append(_seconds(partial(world.advance, whole_s(trace))))
        print(f"| {case.label} | {' | '.join(f'{one_s:.2f}' for one_s in took_s)} |")


def _seconds(work: Callable[[], object]) -> float:
    begin_s = time.process_time()
    work()
    return time.process_time() - begin_s


def main() -> int:
    """Check everything; return 1 when a check fails that may not, else 0."""
    found = shared() / "data"
    traces = found / "traces"
    failed = report(chain(fidelity_rows(traces), engine_rows(found / "perf")))
    report_speed(traces)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
