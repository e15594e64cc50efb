"""How many tests there are of each fault, and how many of them it survived.

    .venv/bin/python -m benchmarks.faults --ids [K07 D06 ...]

A test is one of a fault whose id is in its name, in the name of its case or in its docstring, or
in that of its module if it names none itself. All of them are run once, on throw-away servers
and on the API server of the tests. Prints a Markdown table; exits with 1 if a case was lost or
a fault has none.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Final

import pytest

FAULTS: Final = {
    "P01": "worker killed before or after a statement or a request of an action",
    "P02": "worker stands still for longer than its lease, and goes on",
    "P03": "worker killed, its job lives on beside a replacement",
    "P04": "the same tick queued many times, several at once",
    "P05": "web server killed during an approval, which is sent again",
    "P06": "tick killed for want of memory, or slower than its lease",
    "P07": "told to stop during an action",
    "P08": "old and new version side by side",
    "R01": "broker killed, or emptied",
    "R02": "broker refuses, hangs, resets, loads, is full or can only be read",
    "R03": "queue full of stale ticks",
    "R04": "forged job: other function, other ids, huge words, callbacks",
    "R05": "the same job twice",
    "D01": "database killed and back",
    "D02": "committed, and the answer lost",
    "D03": "database hangs",
    "D04": "failover or restore to an earlier epoch",
    "D05": "database can only be read",
    "D06": "database's disk full",
    "D07": "serialization failure, deadlock",
    "D08": "slow pages use up the connections",
    "D09": "rows of the record changed by hand, or missing",
    "D10": "ten million decisions",
    "K01": "conflict: the object changed since it was read",
    "K02": "too many requests: asked to wait",
    "K03": "server error on a read or a write",
    "K04": "carried out, and the answer lost",
    "K05": "lost before it arrived",
    "K06": "slow API server",
    "K07": "one of two writes done",
    "K08": "watch closed, too old, out of order, twice",
    "K09": "list cut off half way",
    "K10": "read from the past",
    "K11": "object made anew under its name",
    "K12": "token, right or certificate gone",
    "K13": "somebody else scales the same object",
    "K14": "pods that never start",
    "K15": "pods that flap",
    "K16": "node gone or cordoned between plan and action",
    "K17": "one of several clusters dead",
    "K18": "admission webhook rewrites the count",
    "K19": "fields missing, of another type, out of range",
}
TESTS: Final = Path(__file__).parent.parent / "tests"
RANGE: Final = re.compile(r"\b([PRDK])(\d\d)-\1?(\d\d)\b")


class Cases:
    """Leaves the tests that cite a fault, and counts how each of them ended."""

    def __init__(self, wanted: set[str]) -> None:
        self.wanted = wanted
        self._ids: dict[str, set[str]] = {}
        self.run: dict[str, set[str]] = defaultdict(set)
        self.lost: dict[str, set[str]] = defaultdict(set)
        self.skipped: dict[str, set[str]] = defaultdict(set)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        """Keep what cites one of them."""
        self._ids = {item.nodeid: cited(item) & self.wanted for item in items}
        items[:] = [item for item in items if self._ids[item.nodeid]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a case once, whichever part of it failed."""
        found = {"failed": self.lost, "skipped": self.skipped}.get(report.outcome, self.run)
        for fault in self._ids[report.nodeid]:
            found[fault].add(report.nodeid)


def cited(item: pytest.Function) -> set[str]:
    """Return the ids of faults a test is about; those of its module where it names none itself."""
    own = ids_in(f"{item.name} {getattr(item.function, '__doc__', '')}")
    return own or ids_in(item.module.__doc__ or "")


def _files(wanted: set[str]) -> list[str]:
    """Return the modules that mention one of them: reading all others takes longest."""
    found = (path for path in TESTS.rglob("test_*.py") if path.parent.name != "browser")
    return sorted(str(path) for path in found if ids_in(path.read_text()) & wanted)


def ids_in(text: str) -> set[str]:
    """Return the ids of faults in a text: "K04", "_k04" or within "K03-K05"."""
    upper = text.upper().replace("_", " ")
    spelt = {
        f"{letter}{number:02}"
        for letter, first, last in RANGE.findall(upper)
        for number in range(int(first), int(last) + 1)
    }
    return {fault for fault in FAULTS if re.search(rf"\b{fault}\b", upper)} | spelt


def main(asked: list[str]) -> int:
    """Print the table; return 1 if a case was lost, or there is none."""
    if unknown := [fault for fault in asked if fault not in FAULTS]:
        print(f"{', '.join(unknown)}: no such fault; there are {', '.join(FAULTS)}.")
        return 2
    wanted = [fault for fault in FAULTS if not asked or fault in asked]
    cases = Cases(set(wanted))
    pytest.main(["-q", "-n0", "--no-header", "--no-summary", *_files(cases.wanted)], [cases])
    print("\n| id | fault | cases | survived |\n| --- | --- | ---: | ---: |")
    for fault in wanted:
        tried = (cases.run[fault] | cases.lost[fault]) - cases.skipped[fault]
        survived = tried - cases.lost[fault]
        print(f"| {fault} | {FAULTS[fault]} | {len(tried)} | {len(survived)} |")
    for nodeid in sorted(set().union(*cases.lost.values())):
        print(f"\nlost: {nodeid}")
    for nodeid in sorted(set().union(*cases.skipped.values())):
        print(f"\nskipped: {nodeid}")
    return int(any(cases.lost.values()) or not all(cases.run[fault] for fault in wanted))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
