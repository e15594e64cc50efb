"""How long one full tick takes: gather, observe from arrays, decide, record; by fleet size.

    .venv/bin/python -m benchmarks.tick [services ...]

Runs on throw-away servers from the wheels, like the tests. Prints a Markdown table: the median
of the ticks after the first, which has to make every row, and the number of SQL statements.
"""

import os
import statistics
import sys
import time

import django

import tests.servers  # noqa: F401 - starts the servers before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from controller import loop  # noqa: E402
from controller.models import Action, Tick  # noqa: E402
from controller.services import leadership  # noqa: E402
from inventory.models import Cluster, Policy, RoleSpec, Service, Slo  # noqa: E402
from tests.factories import make_cluster, make_hardware  # noqa: E402
from tests.sources import ArraySource  # noqa: E402

SIZES = (10, 100, 1000)
TICKS = 9
SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)
STAGES = ("gather", "observe", "decide", "record")


def fill(count: int, cluster: Cluster) -> None:
    """Make ``count`` automatic services whose load moves around their target."""
    Action.objects.all().delete()
    Service.objects.all().delete()
    hardware = make_hardware()
    services = Service.objects.bulk_create(
        [
            Service(slug=f"s-{i:04}", name=f"S {i}", model_name="qwen3-32b-fp8", cluster=cluster,
                    mode="automatic", max_gpus=400)
            for i in range(count)
        ]
    )  # fmt: skip
    RoleSpec.objects.bulk_create(
        [
            RoleSpec(service=service, role=role, hardware=hardware, gpus_per_instance=2,
                     minimum=1, maximum=40)
            for service in services
            for role in ("prefill", "decode")
        ]
    )  # fmt: skip
    Slo.objects.bulk_create([Slo(service=s, ttft_s=1.0, tbt_s=0.05) for s in services])
    Policy.objects.bulk_create([Policy(service=s, target=1000.0, pd_ratio=0.5) for s in services])


def tick(source: ArraySource) -> tuple[dict[str, float], float]:
    """Run one tick as if a period had passed; returns its stages [ms] and its wall time [ms]."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("benchmark", seconds=60)
    if lease is None:
        sys.exit("somebody else leads")
    begin_s = time.perf_counter()
    loop.run(lease, source_of=lambda _: source, settings=SETTINGS)
    wall_ms = 1000 * (time.perf_counter() - begin_s)
    row = Tick.objects.order_by("-slot").first()
    return (row.stages_ms if row else {}), wall_ms


def measure(count: int, cluster: Cluster) -> str:
    """Return one row of the table for a fleet of ``count`` services."""
    fill(count, cluster)
    source = ArraySource()
    # A tenth of the services wants to grow in each tick, the rest holds.
    for i in range(0, count, 10):
        source = source.now_reports(f"s-{i:04}", decode_tps=6000.0)
    _, first_ms = tick(source)
    Action.objects.update(state="ready")
    runs = [tick(source) for _ in range(TICKS)]
    with CaptureQueriesContext(connection) as queries:
        tick(source)
    stages = [statistics.median(run[0][stage] for run in runs) for stage in STAGES]
    wall_ms = statistics.median(run[1] for run in runs)
    cells = [f"{value:.0f}" for value in (*stages, wall_ms, first_ms)]
    return f"| {count:,} | {' | '.join(cells)} | {len(queries)} |"


def main() -> None:
    """Print the table."""
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    call_command("migrate", verbosity=0)
    cluster = make_cluster()
    names = [f"{stage} [ms]" for stage in STAGES]
    print(f"| services | {' | '.join(names)} | tick [ms] | first tick [ms] | statements |")
    print("| ---: " * (len(STAGES) + 4) + "|")
    for count in [int(word) for word in sys.argv[1:]] or SIZES:
        print(measure(count, cluster), flush=True)


main()
