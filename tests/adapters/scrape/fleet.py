"""Exporters on one port, each a path, that answer whatever they were told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread


def ok(text: str, **headers: str) -> bytes:
    """Return an answer with metrics."""
    return reply(text.encode(), Content_Type="text/plain; version=0.0.4", **headers)


def reply(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """Return an answer as it goes over the line."""
    lines = [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    length = f"Content-Length: {len(body)}"
    head = "\r\n".join([f"HTTP/1.1 {status}", length, "Connection: close", *lines, "", ""])
    return head.encode() + body


class Exporters:
    """Answers by path; ``None`` never comes, and what drips never ends."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.says: dict[str, bytes | None] = {}
        self.drips: set[str] = set()
        self.asked: list[str] = []
        self._over = Event()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.base = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._over.set()
        # Else the thread that waits there would take one more.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):
                line, _ = self._listening.accept()
                Thread(target=self._answer, args=(line,), daemon=True).start()

    def _answer(self, line: socket.socket) -> None:
        with line, line.makefile("rb") as said, suppress(OSError):
            head = "".join(iter(lambda: said.readline().decode(), "\r\n"))
            self.asked.append(head)
            path = head.split(" ")[1].strip("/")
            answer = self.says.get(path)
            if answer is None:
                self._over.wait(10)
                return
            line.sendall(answer)
            while path in self.drips and not self._over.wait(0.05):
                line.sendall(b" ")


@contextmanager
def exporting() -> Iterator[Exporters]:
    """Run them."""
    server = Exporters()
    try:
        yield server
    finally:
        server.close()
