"""What must be so before anything is started, each with the sentence that says what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from heteroscale_site.home import Home, LaunchError

# Servers of a supervisor that was killed need a moment to write out their data.
LAST_RUN_ENDS_S = 20.0
POLL_S = 0.1


def check_port(host: str, port: int) -> None:
    """Refuse a port somebody listens on, or an address this machine does not have."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise LaunchError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is taken: stop what listens there, or choose another with "
            "--port."
        )
    if error.errno == errno.EACCES:
        return f"This account may not listen on port {port}: choose one above 1023 with --port."
    return (
        f"Cannot listen on {host} ({error.strerror}): give an address of this machine with --host."
    )


@contextmanager
def locked(home: Home) -> Iterator[int]:
    """Hold the data directory for this supervisor alone and give the lock's descriptor.

    The descriptor is handed to the servers too: the kernel keeps the lock until the last of them
    has gone, so a new supervisor never starts a server beside one that is still writing.
    """
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, home)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, home: Home) -> None:
    deadline = time.monotonic() + LAST_RUN_ENDS_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            if _is_alive(holder):
                raise LaunchError(
                    f"HeteroScale already runs on {home.root} (process {holder}): stop that one, "
                    "or name another directory in HETEROSCALE_HOME."
                ) from None
            if time.monotonic() > deadline:
                raise LaunchError(
                    f"Servers of an earlier run still use {home.root}: wait until they have "
                    "stopped and start again."
                ) from None
            time.sleep(POLL_S)
        else:
            return


def _holder(descriptor: int) -> int:
    try:
        return int(os.pread(descriptor, 32, 0) or b"0")
    except ValueError:
        return 0


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
