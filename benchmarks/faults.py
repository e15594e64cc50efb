"""Kill -9 before and after every statement and request of an action, for each kind of workload.

    .venv/bin/python -m benchmarks.faults [kind ...]
    .venv/bin/python -m benchmarks.faults --ids [K07 D06 ...]

Runs on throw-away servers from the wheels and on the API server of the tests. An approved change
from 2 prefill and 4 decode to 3 and 6 is begun anew for each point, its worker is killed there,
and the sweep finishes what is left. Survived is what ends as the undisturbed run: the same counts,
writes, states and audit events. Prints a Markdown table; exits with 1 if anything did not survive.
With ``--ids`` it runs the tests of each fault of the catalogue instead, and counts them.
"""

import os
import sys
import time

import django

from benchmarks import cited

if "--ids" in sys.argv:
    # Before anything else is imported: pytest has a way of its own to read tests.
    sys.exit(cited.main([word for word in sys.argv[1:] if word != "--ids"]))

import tests.servers  # noqa: F401 - starts the servers before the settings are read

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.test.utils import setup_test_environment  # noqa: E402

from tests.loop.test_killed import (  # noqa: E402
    Case,
    SoftCase,
    all_of,
    survived,
    untroubled,
    without_decode,
)
from tests.workloads import LAID  # noqa: E402

ENDS = {
    "completed": (untroubled, Case),
    "second write refused, taken back": (without_decode, Case),
    "4 decode to 2, out of service discovery first": (untroubled, SoftCase),
}


def main(kinds: list[str]) -> int:
    """Print the table; return 1 if anything did not survive."""
    setup_test_environment()
    call_command("migrate", verbosity=0)
    print("| workload | how it ends undisturbed | points | survived | s |")
    print("| --- | --- | ---: | ---: | ---: |")
    lost = {}
    for kind in kinds or LAID:
        for ends, (trouble, make) in ENDS.items():
            if make is SoftCase and kind != "deployment":
                continue  # pods are taken out in the same way whatever holds their count
            begun_s = time.perf_counter()
            name = f"{kind}-{len(lost)}-{ends}"
            tried, wrong = survived(LAID[kind], trouble, all_of, name, make)
            took_s = time.perf_counter() - begun_s
            print(
                f"| {kind} | {ends} | {tried} | {tried - len(wrong)} | {took_s:.0f} |", flush=True
            )
            lost |= {f"{kind}, {ends}, {point}": end for point, end in wrong.items()}
    for point, end in lost.items():
        print(f"\n{point}: {end}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
