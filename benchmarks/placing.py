"""What reading the fleet for a placement cycle costs: rows, arrays and services from the database.

    .venv/bin/python -m benchmarks.placing [nodes ...]

Runs on throw-away servers from the wheels, like the tests. Three fifths of the nodes are held by
instances of 60 services, each reported by its cluster and bound. Prints a Markdown table: of
fifteen runs the fastest and the median, the least time on a core of this process alone, and the
SQL statements.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import django

import tests.servers  # noqa: F401 - starts the servers before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext, setup_test_environment  # noqa: E402
from django.utils import timezone  # noqa: E402

from benchmarks.fleet_rows import make_fleet  # noqa: E402
from controller.core.fleet import view_of  # noqa: E402
from controller.selectors import placing  # noqa: E402
from inventory.services.settling import settle  # noqa: E402
from inventory.touched import touched  # noqa: E402

SIZES = (600, 6_000)
RUNS = 15
NAMES = 64


def measure(name: str, nodes: int, act: Callable[[], object]) -> str:
    """Return one row of the table."""
    walls_ms, cores_ms = [], []
    for _ in range(RUNS):
        begin_s, core_s = time.perf_counter(), time.process_time()
        act()
        cores_ms.append(1000 * (time.process_time() - core_s))
        walls_ms.append(1000 * (time.perf_counter() - begin_s))
    with CaptureQueriesContext(connection) as queries:
        act()
    cells = (
        name,
        f"{nodes:,}",
        f"{min(walls_ms):.1f}",
        f"{statistics.median(walls_ms):.1f}",
        f"{min(cores_ms):.1f}",
        str(len(queries)),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    setup_test_environment()
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    print("| what | nodes | fastest [ms] | median [ms] | core [ms] | statements |")
    print("| --- |" + " ---: |" * 5)
    for size in [int(word) for word in sys.argv[1:]] or SIZES:
        call_command("flush", interactive=False, verbosity=0)
        make_fleet(size)
        settle(placing.reports(), (), timezone.now())
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        nodes = placing.rows_of()
        named = [row.name for row in nodes.rows[:NAMES]]
        acts: dict[str, Callable[[], object]] = {
            "nodes with what is free": placing.rows_of,
            "… as arrays": lambda: view_of(placing.rows_of().rows),
            "services with what they hold": partial(placing.tenants_of, nodes),
            f"digest of {NAMES} nodes": partial(touched, named),
            "settle, nothing new": lambda: settle(placing.reports(), (), timezone.now()),
        }
        for name, act in acts.items():
            print(measure(name, size, act), flush=True)


if __name__ == "__main__":
    main()
