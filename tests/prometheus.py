"""A Prometheus of our own for tests and measurements: a history put into it, and live scrapes."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from heteroscale_site.launch.processes import die_with_parent

SERVER = shutil.which("prometheus")
PROMTOOL = shutil.which("promtool")
NOW_S = 1_700_000_000
"""When histories end; old enough to be in no head block, and two hours of blocks begin before."""
STEP_S = 15
READY_S = 30.0
POLL_S = 0.02
CONFIG = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs: {jobs}\n"

Value = float | str | None


@dataclass(frozen=True)
class Series:
    """A name, labels, and values a step apart of which the last is at ``NOW_S + later_s``."""

    name: str
    labels: Mapping[str, str]
    values: Sequence[Value]
    later_s: int = 0

    def lines(self) -> Iterator[str]:
        """Yield the samples; None is a gap."""
        inner = ",".join(f"{label}={json.dumps(text)}" for label, text in self.labels.items())
        begin_s = NOW_S + self.later_s - STEP_S * (len(self.values) - 1)
        for at, value in enumerate(self.values):
            if value is not None:
                yield f"{self.name}{{{inner}}} {value} {begin_s + at * STEP_S}"


def rising(rate: float, samples: int = 9) -> list[Value]:
    """Return a counter that rises by ``rate`` each second."""
    return [1000 + rate * STEP_S * at for at in range(samples)]


def write_history(series: Iterable[Series], path: Path) -> None:
    """Write the text that promtool makes blocks of; series of a metric must stand together."""
    with path.open("w") as text:
        for name, members in groupby(series, key=attrgetter("name")):
            text.write(f"# HELP {name} test\n# TYPE {name} unknown\n")
            for each in members:
                text.writelines(f"{line}\n" for line in each.lines())
        text.write("# EOF\n")


@contextmanager
def running(
    root: Path, history: Iterable[Series], jobs: Sequence[Mapping[str, object]] = ()
) -> Iterator[str]:
    """Run a Prometheus that knows a history and scrapes some jobs; its address."""
    assert SERVER
    assert PROMTOOL
    write_history(history, root / "history.om")
    subprocess.run(  # noqa: S603 - our own binary
        [
            PROMTOOL,
            "tsdb",
            "create-blocks-from",
            "openmetrics",
            root / "history.om",
            root / "data",
        ],
        check=True,
        capture_output=True,
    )
    (root / "prometheus.yml").write_text(CONFIG.format(jobs=json.dumps(list(jobs))))
    port = free_port()
    words = [
        f"--config.file={root / 'prometheus.yml'}",
        f"--storage.tsdb.path={root / 'data'}",
        "--storage.tsdb.retention.time=90y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - our own binary
            [SERVER, *words],
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads yet
        )
    try:
        wait_for(server, f"http://127.0.0.1:{port}/-/ready", root / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    raise AssertionError(f"The server did not start:\n{log.read_text(errors='replace')}")
