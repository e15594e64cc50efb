"""The embedded servers: starting, surviving a crash, and refusing with one sentence."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from redis import Redis

from heteroscale_site.home import Home, LaunchError
from heteroscale_site.launch import postgres, preflight, product, valkey
from heteroscale_site.launch import supervisor as supervising
from heteroscale_site.launch.preflight import check_port, locked
from heteroscale_site.launch.supervisor import NeverReadyError, Program, Supervisor
from tests.site.conftest import wait_until


@pytest.fixture
def supervisor(home: Home) -> Iterator[Supervisor]:
    said: list[str] = []
    found = Supervisor(environment={}, directory=home.root, say=said.append)
    yield found
    found.stop()


def _kill(supervisor: Supervisor, name: str) -> int:
    process = supervisor._children[name].process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    return process.pid


def _wait_replaced(supervisor: Supervisor, name: str, killed: int) -> None:
    def replaced() -> bool:
        supervisor.tend()
        process = supervisor._children[name].process
        return process is not None and process.pid != killed

    wait_until(replaced, f"a new {name}")
    supervisor.wait_ready(name)


def _start_postgres(home: Home, supervisor: Supervisor) -> None:
    home.make()
    postgres.finish_initialising(home, postgres.initialise(home, durable=False))
    with locked(home) as lock:
        supervisor.start(product.postgres_program(home, os.dup(lock)))
    supervisor.wait_ready("postgres")


def test_postgres_keeps_what_was_committed_through_a_crash(
    home: Home, supervisor: Supervisor
) -> None:
    _start_postgres(home, supervisor)
    postgres.ensure_database(home, user="someone", name="something")
    postgres.ensure_database(home, user="someone", name="something", application="another")
    other = {"host": str(home.socket_directory), "user": "another", "dbname": "something"}
    with (
        psycopg.connect(**other) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE mine (number int)")
    address = {"host": str(home.socket_directory), "user": "someone", "dbname": "something"}
    with psycopg.connect(**address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
        superuser = connection.execute("SELECT current_setting('is_superuser')").fetchone()
    assert superuser == ("off",)

    killed = _kill(supervisor, "postgres")
    assert not postgres.is_ready(home, killed + 1)
    _wait_replaced(supervisor, "postgres", killed)

    with psycopg.connect(**address) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_valkey_keeps_what_was_written_through_a_crash(home: Home, supervisor: Supervisor) -> None:
    home.make()
    endpoint = valkey.choose_endpoint(home)
    valkey.configure(home, endpoint)
    with locked(home) as lock:
        supervisor.start(product.valkey_program(home, endpoint, os.dup(lock)))
    supervisor.wait_ready("valkey")
    client = Redis(host="127.0.0.1", port=endpoint.port, password=endpoint.password)
    client.rpush("kept", *range(100))
    # The log of changes reaches the file once the event loop is idle, the disk within a second.
    file = next((home.valkey / "appendonlydir").glob("*.incr.aof"))
    wait_until(lambda: b"kept" in file.read_bytes(), "writing")

    _wait_replaced(supervisor, "valkey", _kill(supervisor, "valkey"))

    assert client.llen("kept") == 100
    client.close()
    assert not valkey.is_ready(replace(endpoint, password="wrong"))
    assert endpoint.password.encode() not in _command_line(supervisor, "valkey")


def _command_line(supervisor: Supervisor, name: str) -> bytes:
    process = supervisor._children[name].process
    assert process is not None
    return Path(f"/proc/{process.pid}/cmdline").read_bytes()


def test_a_taken_broker_port_is_exchanged_and_the_password_kept(home: Home) -> None:
    home.make()
    first = valkey.choose_endpoint(home)
    assert valkey.choose_endpoint(home) == first
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port))
        other.listen()
        second = valkey.choose_endpoint(home)
    assert second.port != first.port
    assert second.password == first.password
    assert home.endpoint.stat().st_mode & 0o077 == 0


def test_a_long_path_gets_a_short_socket(home: Home, supervisor: Supervisor) -> None:
    deep = Home(home.root / ("a" * 60) / ("b" * 60))
    assert deep.socket_directory != deep.run
    _start_postgres(deep, supervisor)
    postgres.ensure_database(deep, user="someone", name="something")
    assert deep.socket_directory.stat().st_mode & 0o777 == 0o700
    supervisor.stop()
    deep.socket_directory.rmdir()


def test_somebody_elses_socket_directory_is_refused(home: Home) -> None:
    deep = Home(home.root / ("a" * 60) / ("b" * 60))
    deep.socket_directory.symlink_to(home.root)
    try:
        with pytest.raises(LaunchError, match="belongs to another account"):
            deep.make()
    finally:
        deep.socket_directory.unlink()


def test_data_of_another_major_version_is_refused(home: Home) -> None:
    home.make()
    home.postgres.mkdir()
    (home.postgres / "PG_VERSION").write_text("17\n")
    with pytest.raises(LaunchError, match=r"written by PostgreSQL 17 and this is 18.*pg_dump"):
        postgres.check_data(home)


def test_an_interrupted_initdb_is_begun_again(home: Home) -> None:
    home.make()
    unfinished = home.postgres.with_name("postgres.unfinished")
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    postgres.finish_initialising(home, postgres.initialise(home, durable=False))
    assert (home.postgres / "global" / "pg_control").exists()
    assert not unfinished.exists()


def test_a_home_that_is_a_file_is_refused(home: Home) -> None:
    (home.root / "file").write_text("")
    with pytest.raises(LaunchError, match=r"Cannot write to .* HETEROSCALE_HOME"):
        Home(home.root / "file").make()


def test_a_full_disk_is_named(home: Home) -> None:
    home.make()
    log = home.logs / "initdb.log"
    log.write_text('initdb: error: could not write to file "x": No space left on device\n')
    assert str(postgres.explain(home, "initdb", log)).startswith(
        f"The disk of {home.root} is full"
    )


def test_another_failure_quotes_the_last_line(home: Home) -> None:
    home.make()
    log = home.logs / "web.log"
    log.write_text("first\nModuleNotFoundError: no such module\n\n")
    said = str(postgres.explain(home, "The web server", log))
    assert said.endswith("ModuleNotFoundError: no such module")


def test_root_without_user_namespaces_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    postgres.as_ordinary_user.cache_clear()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        subprocess, "run", lambda *a, **_: subprocess.CompletedProcess(a, returncode=1)
    )
    with pytest.raises(LaunchError, match="forbids user namespaces"):
        postgres.as_ordinary_user()
    postgres.as_ordinary_user.cache_clear()


def test_a_second_supervisor_is_refused(home: Home) -> None:
    home.make()
    with (
        locked(home),
        pytest.raises(LaunchError, match=rf"already runs .* \(process {os.getpid()}\)"),
        locked(home),
    ):
        pass


def test_servers_of_a_dead_supervisor_are_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.make()
    monkeypatch.setattr(preflight, "LAST_RUN_ENDS_S", 0.3)
    with locked(home) as lock:
        # As if the supervisor had gone while a server it started still holds the lock.
        os.pwrite(lock, b"999999999", 0)
        with pytest.raises(LaunchError, match="Servers of an earlier run"), locked(home):
            pass


def test_a_taken_port_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(LaunchError, match=f"Port {port} on 127.0.0.1 is taken"):
            check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(LaunchError, match="--host"):
        check_port("192.0.2.1", 8000)


def test_a_program_that_keeps_ending_is_given_up(
    home: Home, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "TRIES", 3)
    supervisor.start(
        Program("never", ["false"], home.root / "never.log", is_ready=lambda _: False)
    )
    with pytest.raises(NeverReadyError, match="never"):
        supervisor.wait_ready("never", timeout_s=30)


def test_stopping_takes_grandchildren_along(home: Home, supervisor: Supervisor) -> None:
    note = home.root / "grandchild"
    # setsid puts the grandchild out of reach of a signal to the child's group.
    script = f"setsid sh -c 'echo $$ > {note}; exec sleep 600' & wait"
    supervisor.start(Program("parent", ["sh", "-c", script], home.root / "parent.log"))
    wait_until(lambda: note.exists() and note.read_text().strip(), "the grandchild")
    supervisor.stop()
    assert not Path(f"/proc/{note.read_text().strip()}").exists()


def test_a_large_log_is_put_aside_at_the_start(
    home: Home, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LARGEST_LOG", 10)
    log = home.root / "some.log"
    log.write_text("more than ten bytes")
    supervisor.start(Program("some", ["sleep", "600"], log))
    assert log.read_text() == ""
    assert (home.root / "some.1.log").read_text() == "more than ten bytes"
