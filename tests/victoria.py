"""A VictoriaMetrics of our own for tests, with the histories that a Prometheus gets."""

from __future__ import annotations

import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from heteroscale_site.launch.processes import die_with_parent
from tests.prometheus import Series, free_port, wait_for

SERVER = shutil.which("victoria-metrics")


@contextmanager
def running(root: Path, history: Iterable[Series]) -> Iterator[str]:
    """Run a VictoriaMetrics that knows a history; its address."""
    assert SERVER
    address = f"127.0.0.1:{free_port()}"
    words = [
        f"-storageDataPath={root / 'data'}",
        f"-httpListenAddr={address}",
        "-retentionPeriod=100y",
        "-memory.allowedBytes=128MB",
        "-loggerLevel=WARN",
    ]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(  # noqa: S603 - our own binary
            [SERVER, *words],
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads yet
        )
    try:
        wait_for(server, f"http://{address}/health", root / "log")
        _import(f"http://{address}", history)
        yield f"http://{address}"
    finally:
        server.kill()
        server.wait()


def _import(address: str, history: Iterable[Series]) -> None:
    lines = (f"{line}000\n" for each in history for line in each.lines())
    # Times are in ms here, and what was put in is answered for after a flush.
    body = "".join(lines).encode()
    for path, data in (("/api/v1/import/prometheus", body), ("/internal/force_flush", None)):
        with urllib.request.urlopen(f"{address}{path}", data, timeout=30):  # noqa: S310 - our own
            pass
