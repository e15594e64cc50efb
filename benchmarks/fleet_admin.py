"""What the administration of a large inventory costs: lists, searches and forms.

    .venv/bin/python -m benchmarks.fleet_admin [nodes]

Runs and prints like :mod:`benchmarks.fleet_pages`.
"""

import sys
from collections.abc import Iterator

from benchmarks.fleet_pages import exists, measure

# isort: split
# Django is set up by now, so that models can be read.
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import setup_test_environment

from benchmarks.fleet_rows import make_fleet
from inventory.models import Link, Node, Rack, Switch

NODES = 10_000
LISTS = (
    *("site", "cluster", "rack", "hardwaretype", "fabric", "switch", "nvlinkdomain"),
    *("localitydomain", "node", "gpu", "nic", "link", "healthevent", "reservation"),
    *("importrun", "importchange", "inventoryversion"),
)
SEARCHED = (("node", "gpu09"), ("gpu", "GPU-c0-gpu09999"), ("link", "leaf-111"), ("rack", "R07"))


def addresses() -> Iterator[str]:
    """Return lists, searches, the form of a row, and what fills a field as it is typed in."""
    for name in LISTS:
        yield f"/admin/inventory/{name}/"
    for name, text in SEARCHED:
        yield f"/admin/inventory/{name}/?q={text}"
    yield "/admin/inventory/node/?p=150"
    for model in (Node, Rack, Switch, Link):
        name, row = model.__name__.lower(), model.objects.first()
        yield f"/admin/inventory/{name}/{row.pk if row else ''}/change/"
    yield "/admin/inventory/node/add/"
    yield ("/admin/autocomplete/?term=gpu0&app_label=inventory&model_name=gpu&field_name=node")
    yield "/fleet/capacity/"
    yield "/fleet/skus/"
    yield "/fleet/skus/h200/"
    for name in ("capacity", "fragmentation", "headroom", "peak-forecast"):
        yield f"/api/v1/figures/{name}"


def main() -> None:
    """Print the table."""
    nodes = int(sys.argv[1]) if len(sys.argv) > 1 else NODES
    setup_test_environment()
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    call_command("flush", interactive=False, verbosity=0)
    make_fleet(nodes, clusters=2)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    client = Client()
    client.force_login(User.objects.create_superuser("ana"))
    print("| page | nodes | fastest [ms] | median [ms] | core [ms] | HTML [kB] | statements |")
    print("| --- |" + " ---: |" * 6)
    for address in addresses():
        if exists(address):
            print(measure(client, address, nodes), flush=True)


if __name__ == "__main__":
    main()
