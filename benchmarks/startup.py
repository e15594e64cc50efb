"""Seconds from the command to the first page: a bare checkout, a new data directory, a restart.

Run with any Python 3.11 or newer:  python3 benchmarks/startup.py [runs]
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PAGES = ("/healthz", "/sign-in/")
PATIENCE_S = 300.0
POLL_S = 0.02
NOT_COPIED = shutil.ignore_patterns(".venv", "var", ".git", "__pycache__", ".*_cache")


@dataclass(frozen=True, slots=True)
class Case:
    """One way to start, and what is prepared for it anew before each run."""

    name: str
    new_project: bool
    new_home: bool


CASES = (
    Case("bare checkout: install, new data, start", new_project=True, new_home=True),
    Case("installed: new data, start", new_project=False, new_home=True),
    Case("restart", new_project=False, new_home=False),
)


def main(runs: int) -> None:
    """Print the table."""
    columns = [*PAGES, "everything", "stop"]
    print("| start | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    with tempfile.TemporaryDirectory(prefix="heteroscale-bench-") as directory:
        root = Path(directory)
        for case in CASES:
            measured = [measure(case, root) for _ in range(runs)]
            medians = [statistics.median(column) for column in zip(*measured, strict=True)]
            cells = [f"{median:.1f}" for median in medians]
            print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)
    machine = f"{os.cpu_count()} processors, Python {sys.version.split()[0]}"
    print(f"\nMedians of {runs} runs [s], {machine}.")


def measure(case: Case, root: Path) -> list[float]:
    """Return the seconds to each page, to everything running, and to stop."""
    project, home = root / "project", root / "home"
    if case.new_project:
        shutil.rmtree(project, ignore_errors=True)
        shutil.copytree(PROJECT, project, ignore=NOT_COPIED)
    if case.new_home:
        shutil.rmtree(home, ignore_errors=True)
    port = free_port()
    output = root / "output.txt"
    began_s = time.monotonic()
    with output.open("w") as file:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [project / "heteroscale", "up", "--no-demo", "--port", str(port)],
            env={**os.environ, "HETEROSCALE_HOME": str(home)},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        times = [
            since(began_s, process, lambda page=page: answers(port, page))  # type: ignore[misc]
            for page in PAGES
        ]
        times.append(since(began_s, process, lambda: "Ctrl-C stops" in output.read_text()))
    finally:
        stopping_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait()
    return [*times, time.monotonic() - stopping_s]


def since(began_s: float, process: subprocess.Popen[bytes], happened: Callable[[], bool]) -> float:
    """Return the seconds until it happened."""
    while not happened():
        if process.poll() is not None or time.monotonic() - began_s > PATIENCE_S:
            sys.exit("the product did not start; run ./heteroscale up to see why")
        time.sleep(POLL_S)
    return time.monotonic() - began_s


def answers(port: int, page: str) -> bool:
    """Tell whether a page is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{page}", timeout=10) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError as error:
        sys.exit(f"{page} answers with status {error.code}")
    except OSError:
        return False


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
