"""Requests to what a name resolves to: judged first, and sent to the address that was judged."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from controller.adapters import http
from controller.core.reach import Reach, reach_of


class Hello(BaseHTTPRequestHandler):
    """Says which host it was asked for."""

    def do_GET(self) -> None:
        """Answer."""
        body = self.headers["Host"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def _resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    asked: list[str] = []

    def found(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host in addresses:
            return real(host, port, type=socket.SOCK_STREAM)
        asked.append(host)
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (each, port),
            )
            for each in addresses
        ]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return asked


def _ask(host: str, port: int, within: Reach) -> bytes:
    request = requests.Request("GET", f"http://{host}:{port}/")
    until = time.monotonic() + 5.0
    return http.exchange(request, most=1000, until=until, within=within).body


def test_the_name_is_asked_for_at_the_address_that_was_judged(
    monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    asked = _resolving(monkeypatch, "::1", "127.0.0.1")
    body = _ask("prometheus.lab", port, reach_of(["127.0.0.1", "::1"]))
    assert body == f"prometheus.lab:{port}".encode()
    assert asked == ["prometheus.lab"]


@pytest.mark.parametrize(
    ("addresses", "within", "said"),
    [
        (["127.0.0.1"], Reach(inside=False), "this machine itself"),
        (["8.8.8.8", "169.254.169.254"], Reach(), "never asked"),
        (["8.8.8.8", "10.0.0.1"], Reach(inside=False), "in a private network"),
    ],
)
def test_a_name_that_leads_inside_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch, port: int, addresses: list[str], within: Reach, said: str
) -> None:
    _resolving(monkeypatch, *addresses)
    connected: list[Any] = []
    monkeypatch.setattr(socket.socket, "connect", lambda *given: connected.append(given))
    with pytest.raises(http.HttpError, match=said):
        _ask("innocent.example", port, within)
    assert connected == []


@pytest.mark.parametrize("host", ["0x7f000001", "2130706433", "127.1"])
def test_other_spellings_of_loopback_are_refused(port: int, host: str) -> None:
    with pytest.raises(http.HttpError, match="four numbers"):
        _ask(host, port, Reach(inside=False))
