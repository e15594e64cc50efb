"""How each kind of process reaches PostgreSQL and the broker."""

from __future__ import annotations

from typing import Any

from redis.backoff import ExponentialBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, TimeoutError  # noqa: A004
from redis.retry import Retry

from heteroscale_site.configuration import Broker, Configuration, ProcessRole
from heteroscale_site.home import Home

DATABASE_NAME = "heteroscale"
# The owner of the tables, and the role that can add to the record and change nothing of it.
DATABASE_USER = "heteroscale"
APPLICATION_USER = "heteroscale_app"
# Nothing listens on the discard port: a command run while the product is down is refused at once.
NOT_RUNNING = Broker(host="127.0.0.1", port=9)

# A page must fail while a person still waits; a job may take as long as its own time-out.
STATEMENT_TIMEOUT_MS = {ProcessRole.WEB: 15_000, ProcessRole.WORKER: 120_000}
LOCK_TIMEOUT_MS = {ProcessRole.WEB: 5_000, ProcessRole.WORKER: 15_000}
IDLE_IN_TRANSACTION_MS = 120_000
WEB_POOL = {"min_size": 1, "max_size": 8, "timeout": 5}


def application_role(configuration: Configuration) -> str:
    """Return the role of web server and workers, empty when it owns the tables itself."""
    if configuration.database is None:
        return APPLICATION_USER
    if configuration.owner_database is None:
        return ""
    return str(configuration.database.get("USER", ""))


def database(configuration: Configuration, home: Home) -> dict[str, Any]:
    """Return Django's ``DATABASES`` entry for this process.

    Commands are run by who may start the product, and connect as the owner of the tables.
    """
    serves = configuration.role in {ProcessRole.WEB, ProcessRole.WORKER}
    given = configuration.database if serves else configuration.owner_database
    given = given or configuration.database
    found: dict[str, Any] = (
        dict(given)
        if given is not None
        else {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": DATABASE_NAME,
            "USER": APPLICATION_USER if serves else DATABASE_USER,
            "HOST": str(home.socket_directory),
        }
    )
    role = configuration.role
    options: dict[str, Any] = {"connect_timeout": 5, **found.get("OPTIONS", {})}
    limits = [f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS}"]
    if role in STATEMENT_TIMEOUT_MS:
        limits.append(f"-c statement_timeout={STATEMENT_TIMEOUT_MS[role]}")
        limits.append(f"-c lock_timeout={LOCK_TIMEOUT_MS[role]}")
    options.setdefault("options", " ".join(limits))
    if role is ProcessRole.WEB:
        # Only here: a worker forks for every job, and the children would share the pool's sockets.
        options["pool"] = WEB_POOL
    found["OPTIONS"] = options
    found["CONN_MAX_AGE"] = 0 if role is ProcessRole.WEB else 600
    found["CONN_HEALTH_CHECKS"] = True
    return found


def embedded_broker(home: Home) -> Broker:
    """Return where the embedded Valkey listens, or where nothing does before the first start."""
    endpoint = home.read_endpoint()
    if endpoint is None:
        return NOT_RUNNING
    return Broker(host="127.0.0.1", port=endpoint.port, password=endpoint.password)


def queue(broker: Broker, role: ProcessRole, *, timeout_s: int) -> dict[str, Any]:
    """Return a ``RQ_QUEUES`` entry: jobs of this queue may run for ``timeout_s``.

    Workers wait out a restart of the broker; a web request gives up within two seconds, so that
    a page says "queue unreachable" instead of hanging.
    """
    return {
        "HOST": broker.host,
        "PORT": broker.port,
        "DB": broker.database,
        "USERNAME": broker.username,
        "PASSWORD": broker.password,
        "SSL": broker.encrypted,
        "DEFAULT_TIMEOUT": timeout_s,
        "REDIS_CLIENT_KWARGS": _patient() if role is ProcessRole.WORKER else _hasty(),
    }


def _patient() -> dict[str, Any]:
    return {
        # 25 tries with at most 2 s between them: about 45 s of patience.
        "retry": Retry(ExponentialBackoff(cap=2, base=0.1), 25),
        "retry_on_error": [ConnectionError, TimeoutError, BusyLoadingError],
        "health_check_interval": 15,
        "socket_keepalive": True,
    }


def _hasty() -> dict[str, Any]:
    return {
        # Two tries of at most 0.9 s each.
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.05), 1),
        "socket_connect_timeout": 0.9,
        "socket_timeout": 0.9,
    }
