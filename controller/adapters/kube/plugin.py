"""Programs that print credentials (client.authentication.k8s.io), run with little around them."""

from __future__ import annotations

import base64
import os
import re
import selectors
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final

import orjson
from django.utils import timezone

from controller.core.kube.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.core.kube.access import Credentials, ExecPlugin

RUN_S: Final = 30.0
"""So long a program may take: some ask a cloud first."""
MOST_BYTES: Final = 2**20
EARLY_S: Final = 30.0
"""So long before they end, credentials are fetched anew."""
_KEPT: Final = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")
_LONGEST_TEXT: Final = 300
_CHUNK: Final = 65_536


@dataclass(frozen=True, slots=True)
class Shown:
    """What a program printed: a token, or a certificate with its key, or both."""

    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    until: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Return whether it holds for some time yet."""
        return self.until is None or (self.until - now).total_seconds() > EARLY_S


class Plugin:
    """One program and what it printed last, kept in memory alone."""

    def __init__(self, plugin: ExecPlugin, credentials: Credentials) -> None:
        self._plugin = plugin
        self._credentials = credentials
        self._lock = threading.Lock()
        self._shown: Shown | None = None

    def shown(self, until: float) -> Shown:
        """Return credentials that hold, fetched before ``until`` (monotonic s) if need be.

        Raises :class:`UnreachableError`: nothing was sent then.
        """
        with self._lock:
            if self._shown is None or not self._shown.is_good(timezone.now()):
                self._shown = self._fetched(until)
            return self._shown

    def forget(self, shown: Shown) -> None:
        """Fetch anew next time: the server did not take these."""
        with self._lock:
            if self._shown is shown:
                self._shown = None

    def _fetched(self, until: float) -> Shown:
        printed = _run(self._plugin, _told(self._plugin, self._credentials), until)
        return _read(self._plugin, printed)


def _told(plugin: ExecPlugin, credentials: Credentials) -> str:
    """Return KUBERNETES_EXEC_INFO: who asks, and for which cluster if it wants to know."""
    spec: dict[str, Any] = {"interactive": False}
    if plugin.tells_cluster:
        ca = base64.b64encode(credentials.ca.encode()).decode()
        told = {"server": credentials.server, "certificate-authority-data": ca}
        spec["cluster"] = {key: value for key, value in told.items() if value}
    body = {"apiVersion": plugin.api, "kind": "ExecCredential", "spec": spec}
    return orjson.dumps(body).decode()


def _run(plugin: ExecPlugin, told: str, until: float) -> bytes:
    """Return what a program prints. It gets no input, no terminal, and little environment."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        running = subprocess.Popen(  # noqa: S603 - on the list of the administrators
            [plugin.command, *plugin.arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**kept, **plugin.variables, "KUBERNETES_EXEC_INFO": told},
            cwd="/",
            start_new_session=True,
        )
    except (OSError, ValueError) as fault:
        why = getattr(fault, "strerror", None) or "it can't be called so"
        raise _failed(plugin, f"can't be run here: {why}") from None
    with running:
        try:
            printed, complained = _read_both(plugin, running, min(until, time.monotonic() + RUN_S))
        finally:
            _end(running)
    if running.returncode != 0:
        raise _failed(plugin, f"ended with {running.returncode}: {_plain(complained)}")
    return printed


def _read_both(
    plugin: ExecPlugin, running: subprocess.Popen[bytes], until: float
) -> tuple[bytes, bytes]:
    """Return what comes on both pipes, each within its bound, and wait for the end."""
    heard: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as waiting:
        for pipe in filter(None, (running.stdout, running.stderr)):
            waiting.register(pipe, selectors.EVENT_READ)
            heard[pipe] = bytearray()
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise _failed(plugin, "took too long")
            for key, _ in ready:
                pipe = next(each for each in heard if each is key.fileobj)
                chunk = os.read(pipe.fileno(), _CHUNK)
                heard[pipe] += chunk
                if not chunk:
                    waiting.unregister(pipe)
                if len(heard[pipe]) > MOST_BYTES:
                    raise _failed(plugin, f"printed more than {MOST_BYTES // 2**20} MiB")
    try:
        running.wait(max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise _failed(plugin, "took too long") from None
    printed, complained = heard.values()
    return bytes(printed), bytes(complained)


def _end(running: subprocess.Popen[bytes]) -> None:
    """End a program with all it started, if it has not ended."""
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def _read(plugin: ExecPlugin, printed: bytes) -> Shown:
    try:
        body = orjson.loads(printed)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict) or body.get("kind") != "ExecCredential":
        raise _failed(plugin, "printed no ExecCredential")
    if body.get("apiVersion") != plugin.api:
        said = f"speaks {_plain(str(body.get('apiVersion')).encode())}, not {plugin.api}"
        raise _failed(plugin, said)
    status = body.get("status")
    status = status if isinstance(status, dict) else {}
    shown = Shown(
        _text(status, "token"),
        _text(status, "clientCertificateData"),
        _text(status, "clientKeyData"),
        _moment(plugin, status.get("expirationTimestamp")),
    )
    if not shown.token and not (shown.certificate and shown.key):
        raise _failed(plugin, "printed neither a token nor a certificate with its key")
    return shown


def _text(status: Mapping[str, object], name: str) -> str:
    found = status.get(name)
    return found.strip() if isinstance(found, str) else ""


def _moment(plugin: ExecPlugin, told: object) -> datetime | None:
    if told is None:
        return None
    try:
        found = datetime.fromisoformat(re.sub(r"\.(\d{6})\d+", r".\1", str(told)))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise _failed(plugin, "printed an expirationTimestamp that is no time")
    return found


def _plain(text: bytes) -> str:
    said = "".join(each if each.isprintable() else " " for each in text.decode(errors="replace"))
    return said.strip()[:_LONGEST_TEXT] or "it said nothing"


def _failed(plugin: ExecPlugin, what: str) -> UnreachableError:
    return UnreachableError(f"The plugin {plugin.command} {what}.", sent=False)
