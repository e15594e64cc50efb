"""A PostgreSQL and a Valkey of a test's own, for what must be killed, frozen, filled or emptied.

Those all tests share have to live on. The database is a copy of the one of the tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django_rq.settings
import psycopg
import pytest
from django.db import connection
from psycopg import sql
from redis import Redis

from controller.services.queueing import LINE
from heteroscale_site import connections
from heteroscale_site.configuration import Broker, ProcessRole
from heteroscale_site.connections import APPLICATION_USER
from heteroscale_site.home import Endpoint, Home
from heteroscale_site.launch import postgres, valkey
from heteroscale_site.launch.processes import die_with_parent
from tests.servers import USER, _let_tests_take_rows_away

READY_S = 60.0
POLL_S = 0.01
ORIGINAL = "original"
SMALL_MIB = 64
# What is committed has to be there after a crash of the server, though not after one of the host.
KEPT = {**postgres.THROW_AWAY, "synchronous_commit": "on", "full_page_writes": "on"}


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    ends_s = time.monotonic() + READY_S
    while not holds():
        assert time.monotonic() < ends_s, "it did not come to pass"
        time.sleep(POLL_S)


def _begun(words: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own binaries
            words,
            stdout=output,
            stderr=output,
            env={**os.environ, **postgres.environment()},
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGQUIT),  # noqa: PLW1509 - it only asks the kernel
        )


@dataclass
class OwnDatabase:
    """A server of its own; ``small`` is a disk of 64 MiB for the rows, with the log elsewhere."""

    home: Home
    small: Path | None = None
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        self.process = _begun(self._command(), self.home.logs / "postgres.log")
        until(lambda: self._is_up() and postgres.is_ready(self.home, self.process.pid))

    def kill(self) -> None:
        """End it as a power cut of the process would: no goodbye to anybody, nothing written."""
        self.process.kill()
        self.process.wait()
        # Its children see that and end by themselves; a new one waits for them.
        until(self._is_alone)

    def restart(self) -> None:
        self.kill()
        self.start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def ask(self, *statements: sql.Composable | str) -> None:
        with psycopg.connect(
            host=str(self.home.socket_directory),
            user=postgres.SUPERUSER,
            dbname="postgres",
            autocommit=True,
        ) as line:
            for statement in statements:
                line.execute(statement)  # type: ignore[arg-type]

    def copied(self) -> None:
        """Take over tables and rows of the database that the tests share."""
        postgres.ensure_database(
            self.home, user=USER, name=ORIGINAL, application=APPLICATION_USER, may_create=True
        )
        _let_tests_take_rows_away(self.home)
        given = connection.get_connection_params()
        source = ("-h", given["host"], "-U", given["user"], "-d", given["dbname"])
        target = ("-h", str(self.home.socket_directory), "-U", postgres.SUPERUSER, "-d", ORIGINAL)
        tools = postgres.binaries()
        dumped = subprocess.run(  # noqa: S603 - our own binary
            [str(tools / "pg_dump"), *source], capture_output=True, check=True
        ).stdout
        subprocess.run(  # noqa: S603 - our own binary
            [str(tools / "psql"), "-q", "-v", "ON_ERROR_STOP=1", *target],
            input=dumped,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def made_anew(self, name: str) -> None:
        """Make a database like the original one, on the small disk where there is one."""
        place = sql.SQL(" TABLESPACE small" if self.small else "")
        new = {"new": sql.Identifier(name), "old": sql.Identifier(ORIGINAL)}
        self.ask(
            sql.SQL("DROP DATABASE IF EXISTS {new} WITH (FORCE)").format(**new),
            sql.SQL("CREATE DATABASE {new} TEMPLATE {old} OWNER heteroscale{place}").format(
                **new, place=place
            ),
        )

    @property
    def disk(self) -> Path:
        """The small disk as it is seen from here."""
        return Path(f"/proc/{self.process.pid}/root{self.small}")

    def fill(self) -> None:
        """Leave nothing of the small disk free."""
        with (self.disk / "filler").open("wb", buffering=0) as file:
            try:
                while file.write(b"\0" * 2**20):
                    pass
            except OSError:
                return

    def free(self) -> None:
        """Give room again."""
        (self.disk / "filler").unlink()

    def _command(self) -> tuple[str, ...]:
        words = postgres.command(self.home, KEPT)
        if self.small is None:
            return words
        plain = words[words.index("--") + 1 :] if "--" in words else words
        mount = f"mount -t tmpfs -o size={SMALL_MIB}m,mode=0700 tmpfs {self.small}"
        inner = "unshare -U --map-user=65534 --map-group=65534 --"
        return (
            *("unshare", "-U", "-m", "--map-root-user", "--"),
            *(
                "sh",
                "-c",
                f'{mount} && mkdir {self.small}/rows && exec {inner} "$@"',
                "sh",
                *plain,
            ),
        )

    def _is_up(self) -> bool:
        if self.process.poll() is None:
            return True
        raise AssertionError((self.home.logs / "postgres.log").read_text(errors="replace"))

    def _is_alone(self) -> bool:
        return not any(_session_of(one) == self.process.pid for one in Path("/proc").iterdir())


def _session_of(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError, ValueError):
        return 0


@contextmanager
def own_database(*, is_small: bool = False) -> Iterator[OwnDatabase]:
    """Run a server that holds a copy of the tests' database."""
    home = Home(Path(tempfile.mkdtemp(prefix="heteroscale-own-")))
    home.make()
    small = home.root / "small" if is_small else None
    postgres.finish_initialising(home, postgres.initialise(home, durable=False))
    if small:
        small.mkdir(mode=0o700)
    server = OwnDatabase(home, small)
    server.start()
    try:
        server.copied()
        if small:
            server.ask(f"CREATE TABLESPACE small LOCATION '{small}/rows'")
        yield server
    finally:
        server.stop()
        shutil.rmtree(home.root, ignore_errors=True)


@contextmanager
def worked_on(server: OwnDatabase, name: str) -> Iterator[None]:
    """Let everything in this process use a fresh database of that server."""
    server.made_anew(name)
    kept = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict |= {"HOST": str(server.home.socket_directory), "NAME": name}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict |= kept


@dataclass
class OwnBroker:
    """A Valkey of its own that forgets everything when it is killed."""

    home: Home
    endpoint: Endpoint
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        valkey.configure(self.home, self.endpoint, durable=False)
        self.process = _begun(valkey.command(self.home), self.home.logs / "valkey.log")
        until(lambda: valkey.is_ready(self.endpoint))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Begin anew with nothing in it."""
        self.kill()
        self.start()

    @contextmanager
    def line(self) -> Iterator[Redis]:
        client = Redis("127.0.0.1", self.endpoint.port, password=self.endpoint.password)
        yield client
        client.close()

    def queues(self, role: ProcessRole, port: int = 0) -> dict[str, dict[str, Any]]:
        """Return what RQ is told of it by a process of that role."""
        at = Broker("127.0.0.1", port or self.endpoint.port, password=self.endpoint.password)
        return {
            name: connections.queue(at, role, timeout_s=30) for name in django_rq.settings.QUEUES
        }


@contextmanager
def own_broker() -> Iterator[OwnBroker]:
    home = Home(Path(tempfile.mkdtemp(prefix="heteroscale-own-")))
    home.make()
    server = OwnBroker(home, valkey.choose_endpoint(home))
    server.start()
    try:
        yield server
    finally:
        server.process.send_signal(signal.SIGCONT)
        server.kill()
        shutil.rmtree(home.root, ignore_errors=True)


@contextmanager
def queued_at(server: OwnBroker, role: ProcessRole, port: int = 0) -> Iterator[None]:
    """Let jobs of this process go to that server, as a process of that role sends them."""
    LINE.forget()
    with pytest.MonkeyPatch.context() as patch:
        for name, entry in server.queues(role, port).items():
            patch.setitem(django_rq.settings.QUEUES, name, entry)
        yield
    LINE.forget()
