"""A server that says byte for byte what a test tells it to, one answer for each connection."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def http(status: str, body: str = "", *headers: str) -> bytes:
    """Return a whole answer of HTTP."""
    told = ["Content-Length: " + str(len(body.encode())), "Connection: close", *headers]
    return "\r\n".join([f"HTTP/1.1 {status}", *told, "", body]).encode()


class Scripted:
    """Answers each connection with the next of ``answers``, then closes it; ``None`` says nothing.

    A tuple is sent part by part and the connection stays open after the last.
    """

    def __init__(
        self, answers: Sequence[bytes | None], context: ssl.SSLContext | None = None
    ) -> None:
        self.asked: list[str] = []
        self._answers = list(answers)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._address = self._socket.getsockname()
        self._over = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        scheme = "https" if self._context else "http"
        return f"{scheme}://127.0.0.1:{self._address[1]}"

    def close(self) -> None:
        """Hang up on everybody."""
        if self._over.is_set():
            return
        self._over.set()
        # Closing alone would not wake whoever accepts.
        socket.create_connection(self._address).close()
        self._thread.join()
        for each in (*self._open, self._socket):
            each.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            line, _ = self._socket.accept()
            self._open.append(line)
            if self._over.is_set() or not self._answers:
                continue
            try:
                self._answer(line, self._answers.pop(0))
            except OSError:
                line.close()

    def _answer(self, line: socket.socket, answer: bytes | None) -> None:
        if self._context:
            line = self._context.wrap_socket(line, server_side=True)
            self._open.append(line)
        heard = b""
        while b"\r\n\r\n" not in heard and (more := line.recv(65536)):
            heard += more
            if not heard[:1].isalpha():
                break
        self.asked.append(heard.decode(errors="replace"))
        if answer is not None:
            line.sendall(answer)
            line.close()
