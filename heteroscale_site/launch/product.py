"""The processes the product is made of."""

from __future__ import annotations

import http.client
import signal
import sys
from pathlib import Path

from heteroscale_site.home import Endpoint, Home
from heteroscale_site.launch import postgres, valkey
from heteroscale_site.launch.supervisor import Program

PYTHON = sys.executable
WEB_PROCESSES = 2
WEB_THREADS = 8
WORKER_QUEUES = {
    "worker-control": ("control", "placement"),
    "worker-actions": ("actions",),
    # An import of a whole fabric takes seconds, which no action waits for.
    "worker-imports": ("default",),
    # A backtest takes minutes: neither ticks nor actions wait behind one.
    "worker-heavy": ("heavy",),
}
EVERY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised, not bound here
FIRST_ERROR_STATUS = 500
# What serves has no use for the password of the tables' owner, so it is not handed down.
NOT_OWNER = {"HETEROSCALE_OWNER_URL": ""}


def postgres_program(home: Home, lock: int) -> Program:
    """Return the embedded PostgreSQL."""
    return Program(
        name="postgres",
        command=postgres.command(home),
        log=home.logs / "postgres.log",
        environment=postgres.environment(),
        # SIGINT is PostgreSQL's fast stop; SIGTERM would wait for every client to leave.
        stop_signal=signal.SIGINT,
        orphan_signal=signal.SIGINT,
        is_server=True,
        is_ready=lambda pid: postgres.is_ready(home, pid),
        kept_descriptors=(lock,),
    )


def valkey_program(home: Home, endpoint: Endpoint, lock: int) -> Program:
    """Return the embedded Valkey."""
    return Program(
        name="valkey",
        command=valkey.command(home),
        log=home.logs / "valkey.log",
        orphan_signal=signal.SIGTERM,
        is_server=True,
        is_ready=lambda _: valkey.is_ready(endpoint),
        kept_descriptors=(lock,),
    )


def web_program(home: Home, *, host: str, port: int, known_as: str) -> Program:
    """Return the web server; ``known_as`` is a host name it accepts."""
    bind = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Program(
        name="web",
        command=(
            *(PYTHON, "-m", "gunicorn", "heteroscale_site.wsgi", "--bind", bind),
            *("--worker-class", "gthread", "--workers", str(WEB_PROCESSES)),
            *("--threads", str(WEB_THREADS), "--timeout", "60", "--graceful-timeout", "3"),
            # Pages ask again every few seconds; a connection kept that long saves the handshake.
            *("--keep-alive", "15", "--no-control-socket"),
        ),
        log=home.logs / "web.log",
        environment={"HETEROSCALE_PROCESS": "web", **NOT_OWNER},
        orphan_signal=signal.SIGTERM,
        is_ready=lambda _: answers(host, port, known_as),
    )


def background_programs(home: Home, manage: Path) -> tuple[Program, ...]:
    """Return the workers, the clock, and who watches clusters."""
    commands = {
        # Four lines of rq a job would drown what the jobs themselves have to say. Checks of models
        # and addresses are for tests: they'd make the start of each worker twice as long.
        **{
            name: ("rqworker", "--skip-checks", "--verbosity", "0", *queues)
            for name, queues in WORKER_QUEUES.items()
        },
        "cron": ("cron",),
        "watch": ("watch",),
    }
    return tuple(
        Program(
            name=name,
            command=(PYTHON, manage, *words),
            log=home.logs / f"{name}.log",
            environment={"HETEROSCALE_PROCESS": "worker", **NOT_OWNER},
        )
        for name, words in commands.items()
    )


def answers(host: str, port: int, known_as: str) -> bool:
    """Tell whether the web server there answers without an error of its own."""
    address = "127.0.0.1" if host in EVERY_ADDRESS else host
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": known_as})
        return connection.getresponse().status < FIRST_ERROR_STATUS
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
