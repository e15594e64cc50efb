"""The whole product, started as a person would start it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from heteroscale_site.configuration import BASE_DIR, declared
from heteroscale_site.home import Home

MARK = "HETEROSCALE_TEST_MARK"
PATIENCE_S = 90.0
POLL_S = 0.05


def wait_until(
    condition: Callable[[], object], what: str, *, timeout_s: float = PATIENCE_S
) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} took longer than {timeout_s:.0f} s")
        time.sleep(POLL_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(**changes: str) -> dict[str, str]:
    own = {setting.name for setting in declared()}
    own |= {"HETEROSCALE_PROCESS", "DJANGO_ALLOW_ASYNC_UNSAFE"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {**kept, **changes}


@dataclass
class Product:
    """One data directory and whatever runs on it."""

    home: Home
    port: int = field(default_factory=free_port)
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    process: subprocess.Popen[str] | None = None
    output: Path = Path()

    def up(self, *words: str, **settings: str) -> subprocess.Popen[str]:
        """Start ``up`` beside whatever runs; the output goes to a file of its own."""
        self.output = self.home.root.with_name(f"output-{secrets.token_hex(4)}.txt")
        with self.output.open("w") as output:
            return subprocess.Popen(  # noqa: S603 - our own command
                [
                    *(sys.executable, BASE_DIR / "manage.py", "up", "--no-demo"),
                    *("--port", str(self.port), *words),
                ],
                env=clean_environment(
                    HETEROSCALE_HOME=str(self.home.root), **{MARK: self.mark}, **settings
                ),
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def manage(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run another command on this data directory."""
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, BASE_DIR / "manage.py", *words],
            env=clean_environment(HETEROSCALE_HOME=str(self.home.root), **settings),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, **settings: str) -> None:
        """Start and wait until everything runs."""
        self.process = self.up(**settings)
        wait_until(self._ready, "the start")

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"up ended: {self.output.read_text()}")
        return "Ctrl-C stops everything" in self.output.read_text()

    def answers(self) -> bool:
        return self.status("/healthz") == 200

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}{path}", timeout=10
            ) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def processes(self) -> dict[int, str]:
        """Return every process of this product and its command line.

        Servers write their title over their environment, where our mark is, but work inside the
        data directory.
        """
        found: dict[int, str] = {}
        for directory in Path("/proc").iterdir():
            try:
                marked = f"{MARK}={self.mark}".encode() in (directory / "environ").read_bytes()
                inside = (directory / "cwd").readlink().is_relative_to(self.home.root)
                words = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marked or inside:
                found[int(directory.name)] = words
        return found

    def children(self) -> dict[str, int]:
        """Return the children of the supervisor: what each runs, and its process id."""
        assert self.process is not None
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        known = {
            "valkey-server": "valkey",
            "/postgres ": "postgres",
            "gunicorn": "web",
            "0 control placement": "worker-control",
            "0 actions": "worker-actions",
            "0 default": "worker-imports",
            "0 heavy": "worker-heavy",
            "manage.py cron": "cron",
            "manage.py watch": "watch",
        }
        words = self.processes()
        return {
            name: pid
            for pid in map(int, listed.read_text().split())
            for sign, name in known.items()
            if sign in words.get(pid, "")
        }

    def stop(self) -> float:
        """Stop by SIGTERM and return how many seconds that took."""
        assert self.process is not None
        began_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=PATIENCE_S)
        return time.monotonic() - began_s

    def kill_everything(self) -> None:
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self.process is not None:
            self.process.wait()


@pytest.fixture
def product() -> Iterator[Product]:
    if not Path("/proc/self/environ").exists():
        pytest.skip("looks for left-over processes in /proc, which this system does not have")
    directory = Path(tempfile.mkdtemp(prefix="heteroscale-up-"))
    found = Product(Home(directory / "home"))
    yield found
    found.kill_everything()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty data directory with a short path, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="heteroscale-home-"))
    yield Home(directory)
    shutil.rmtree(directory, ignore_errors=True)
