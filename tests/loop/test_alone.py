"""Runs the modules that fork and kill, in a process and with servers of their own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.loop.conftest import ALONE
from tests.servers import BROKER

HERE = Path(__file__).parent
INHERITED = ("PYTEST_", BROKER, "DATABASE_URL", "REDIS_URL")


def test_what_is_killed_anywhere_ends_as_what_is_not() -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith(INHERITED)}
    ran = subprocess.run(  # noqa: S603 - our own tests
        [
            *(sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider"),
            *(str(HERE / name) for name in ALONE),
        ],
        cwd=HERE.parents[1],
        env=own,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-6_000:] + ran.stderr[-2_000:]
