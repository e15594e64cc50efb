"""HTTP/1.1 over real sockets, whole enough for clients, broken exactly where a fault says so."""

from __future__ import annotations

import contextlib
import select
import socket
import socketserver
import ssl
import struct
from collections.abc import Callable, Mapping
from email.utils import format_datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from tests.kube.wire import Reply, Request

MOST_LINE = 65_536
Answer = Callable[[Request], Reply]
Take = Callable[[str, str, Mapping[str, str], bytes], Request]


class Server(socketserver.ThreadingTCPServer):
    """Sockets, and one thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, port: int, take: Take, answer: Answer, tls: ssl.SSLContext | None = None
    ) -> None:
        self.take = take
        self.answer = answer
        self.tls = tls
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Connection)

    def end_connections(self) -> None:
        """Close what is open, in the middle of whatever it is doing."""
        for each in list(self.connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away: tests make them."""


class Connection(socketserver.StreamRequestHandler):
    """One connection and the requests on it, one after the other."""

    server: Server
    disable_nagle_algorithm = True
    timeout = None

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request.settimeout(10)
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
            self.request.settimeout(None)
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        self.server.connections.discard(self.request)
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        if self.server.tls is not None:
            # The socket that the server closes is the one that TLS has taken over.
            self.request.close()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError, OSError):
            while (request := self._read()) is not None:
                reply = self.server.answer(request)
                if not self._send(request, reply):
                    return

    def _read(self) -> Request | None:
        line = self.rfile.readline(MOST_LINE)
        if not line.strip():
            return None
        method, target, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := self.rfile.readline(MOST_LINE)) not in {b"\r\n", b"\n", b""}:
            name, _, text = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = text.strip()
        if headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        raw = self._body(headers)
        return self.server.take(method, target, headers, raw)

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline(MOST_LINE).partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(MOST_LINE)
        self.rfile.readline(MOST_LINE)
        return b"".join(parts)

    def _send(self, request: Request, reply: Reply) -> bool:
        """Send a reply; whether the connection goes on."""
        if reply.silent:
            if reply.reset:
                self._reset()
            return False
        if reply.stream is not None:
            return self._send_stream(request, reply)
        if reply.chunked:
            head = self._head(request, reply, {"Transfer-Encoding": "chunked"})
            body = b"%x\r\n" % len(reply.body) + reply.body + b"\r\n0\r\n\r\n"
            left = len(head) + (len(body) if reply.cut is None else reply.cut)
        else:
            head = self._head(request, reply, {"Content-Length": str(len(reply.body))})
            body = b"" if request.method == "HEAD" else reply.body
            left = len(head) + (len(body) if reply.cut is None else reply.cut)
        self.wfile.write((head + body)[:left])
        return reply.cut is None and request.headers.get("connection", "").lower() != "close"

    def _send_stream(self, request: Request, reply: Reply) -> bool:
        assert reply.stream is not None
        self.wfile.write(self._head(request, reply, {"Transfer-Encoding": "chunked"}))
        try:
            for line in reply.stream:
                self.wfile.write(b"%x\r\n" % len(line) + line + b"\r\n")
        except ConnectionAbortedError:
            return False
        finally:
            close = getattr(reply.stream, "close", None)
            if close is not None:
                close()
        self.wfile.write(b"0\r\n\r\n")
        return True

    def _head(self, request: Request, reply: Reply, more: Mapping[str, str]) -> bytes:
        named = {
            "Content-Type": reply.kind,
            "Date": format_datetime(request.at, usegmt=True),
            **reply.headers,
            **more,
        }
        try:
            words = HTTPStatus(reply.code).phrase
        except ValueError:
            words = "Unknown"
        lines = [f"HTTP/1.1 {reply.code} {words}", *(f"{n}: {t}" for n, t in named.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _reset(self) -> None:
        # A linger of 0 s makes the end a reset.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close()


def is_gone(connection: socket.socket) -> bool:
    """Say whether the other side has closed a connection on which it has nothing to say."""
    if connection.fileno() < 0:
        return True
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable or isinstance(connection, ssl.SSLSocket):
        return False
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True


def parted(target: str) -> tuple[str, dict[str, str]]:
    """Return path and query of a request."""
    parts = urlsplit(target)
    return parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
