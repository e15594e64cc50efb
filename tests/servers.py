"""A pytest plugin: PostgreSQL and Valkey of our own, started before Django reads its settings.

It must be loaded with ``-p``, because settings are read when pytest-django is configured and a
hook would come too late. The process that pytest was started as owns the servers; the workers of
pytest-xdist inherit their addresses and use one broker database each.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from heteroscale_site.connections import APPLICATION_USER
from heteroscale_site.home import Endpoint, Home
from heteroscale_site.launch import postgres, valkey
from heteroscale_site.launch.processes import die_with_parent

READY_S = 60.0
POLL_S = 0.02
USER = "heteroscale"
BROKER = "HETEROSCALE_TEST_BROKER"
MOST_BROKER_DATABASES = 16


def _wait(process: subprocess.Popen[bytes], log: Path, ready: object) -> None:
    deadline = time.monotonic() + READY_S
    while not ready():  # type: ignore[operator]
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"a test server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(POLL_S)


def _start(
    command: tuple[str, ...], log: Path, orphan_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own binaries
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **postgres.environment()},
            start_new_session=True,
            preexec_fn=die_with_parent(orphan_signal),  # noqa: PLW1509 - no threads yet
        )


def _start_servers() -> None:
    home = Home(Path(tempfile.mkdtemp(prefix="heteroscale-tests-")))
    home.make()
    begun = postgres.initialise(home, durable=False)
    endpoint: Endpoint = valkey.choose_endpoint(home)
    valkey.configure(home, endpoint, durable=False)
    broker = _start(valkey.command(home), home.logs / "valkey.log", signal.SIGKILL)
    postgres.finish_initialising(home, begun)
    database = _start(
        postgres.command(home, postgres.THROW_AWAY), home.logs / "postgres.log", signal.SIGQUIT
    )
    atexit.register(_stop_servers, home, os.getpid(), database, broker)
    _wait(database, home.logs / "postgres.log", lambda: postgres.is_ready(home, database.pid))
    _wait(broker, home.logs / "valkey.log", lambda: valkey.is_ready(endpoint))
    postgres.ensure_database(
        home, user=USER, name="heteroscale", application=APPLICATION_USER, may_create=True
    )
    _let_tests_take_rows_away(home)
    # A data directory that is named and not there would freeze everything.
    (home.root / "home").mkdir()
    socket_directory = str(home.socket_directory).replace("/", "%2F")
    os.environ.update(
        {
            "HETEROSCALE_METRICS_HOSTS": "0.0.0.0/0,::/0",
            "DATABASE_URL": f"postgres://{USER}@{socket_directory}/heteroscale",
            BROKER: f"redis://:{endpoint.password}@127.0.0.1:{endpoint.port}",
            "SECRET_KEY": secrets.token_urlsafe(64),
            "HETEROSCALE_HOME": str(home.root / "home"),
            "HETEROSCALE_PROCESS": "test",
            # Playwright's synchronous interface runs an event loop in the test's thread, which
            # Django would take for asynchronous code.
            "DJANGO_ALLOW_ASYNC_UNSAFE": "true",
        }
    )


def _let_tests_take_rows_away(home: Home) -> None:
    with psycopg.connect(
        host=str(home.socket_directory), user=postgres.SUPERUSER, dbname="postgres"
    ) as connection:
        connection.execute(f"GRANT SET ON PARAMETER session_replication_role TO {USER}")
        connection.execute(f"GRANT {APPLICATION_USER} TO {USER}")


def _stop_servers(
    home: Home, owner: int, database: subprocess.Popen[bytes], broker: subprocess.Popen[bytes]
) -> None:
    # A forked child of a test runs this too when it exits; the servers are not its own.
    if os.getpid() != owner:
        return
    # Nothing of this is kept, so there is nothing to write out first.
    database.send_signal(signal.SIGQUIT)
    broker.kill()
    database.wait()
    broker.wait()
    shutil.rmtree(home.root, ignore_errors=True)


def _own_broker_database() -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
    database = int(worker) % MOST_BROKER_DATABASES
    os.environ["REDIS_URL"] = f"{os.environ[BROKER]}/{database}"


# The settings of the person who runs the tests must not reach them.
if BROKER not in os.environ:
    from heteroscale_site.configuration import declared

    for _setting in declared():
        if _setting.name != "HETEROSCALE_SHARED":
            os.environ.pop(_setting.name, None)
    _start_servers()
_own_broker_database()
