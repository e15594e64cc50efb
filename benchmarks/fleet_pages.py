"""What the pages of the fleet cost: time at the server, size and SQL statements, by fleet size.

    .venv/bin/python -m benchmarks.fleet_pages [nodes ...]

Runs on throw-away servers from the wheels, like the tests. Prints a Markdown table: of seven
requests of a signed-in person after the first the fastest and the median, without the network, and
the least time on a core of the web process alone.
"""

import os
import re
import statistics
import sys
import time

import django

import tests.servers  # noqa: F401 - starts the servers before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from django.contrib.auth.models import User  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext, setup_test_environment  # noqa: E402
from django.urls import Resolver404, resolve  # noqa: E402

from benchmarks.fleet_rows import make_fleet  # noqa: E402
from inventory.models import Rack, Switch  # noqa: E402

SIZES = (200, 2_000)
REQUESTS = 7
KB = 1_000


def addresses() -> list[str]:
    """Return the pages to ask for, those that exist."""
    rack = Rack.objects.order_by("name").first()
    leaf = Switch.objects.filter(tier=0).order_by("name").first()
    spine = Switch.objects.filter(tier=1).order_by("name").first()
    named = [
        "/",
        "/fleet/",
        "/fleet/topology/",
        "/fleet/topology/?overlay=utilisation",
        "/fleet/topology/?focus=s1:su-001&hops=3",
        "/fleet/racks/",
        f"/fleet/racks/{rack.pk}/" if rack else "",
        *(f"/fleet/switches/{one.cluster.slug}/{one.name}/" for one in (leaf, spine) if one),
        "/fleet/switches/",
        "/fleet/capacity/",
    ]
    return [address for address in named if address and exists(address)]


def exists(address: str) -> bool:
    """Return whether the address belongs to a page."""
    try:
        resolve(address.partition("?")[0])
    except Resolver404:
        return False
    return True


def measure(client: Client, address: str, nodes: int) -> str:
    """Return one row of the table."""
    page = client.get(address)
    if page.status_code != 200:
        sys.exit(f"{address} answered {page.status_code}")
    walls_ms, cores_ms = [], []
    for _ in range(REQUESTS):
        begin_s, core_s = time.perf_counter(), time.process_time()
        client.get(address)
        cores_ms.append(1000 * (time.process_time() - core_s))
        walls_ms.append(1000 * (time.perf_counter() - begin_s))
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    name = re.sub(r"[0-9a-f-]{36}", "…", address)
    cells = (
        f"`{name}`",
        f"{nodes:,}",
        f"{min(walls_ms):.0f}",
        f"{statistics.median(walls_ms):.0f}",
        f"{min(cores_ms):.0f}",
        f"{len(page.content) / KB:.0f}",
        str(len(queries)),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    setup_test_environment()
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    print("| page | nodes | fastest [ms] | median [ms] | core [ms] | HTML [kB] | statements |")
    print("| --- |" + " ---: |" * 6)
    for nodes in [int(word) for word in sys.argv[1:]] or SIZES:
        call_command("flush", interactive=False, verbosity=0)
        # All in one cluster: the most that one page has to show.
        make_fleet(nodes, clusters=1)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        client = Client()
        client.force_login(User.objects.create_superuser("ana"))
        for address in addresses():
            print(measure(client, address, nodes), flush=True)


if __name__ == "__main__":
    main()
