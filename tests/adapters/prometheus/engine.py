"""An engine that exports, until it is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

RATES = (100.0, 50.0)
TEXT = """\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
{tokens}
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
{waiting}
"""


class Engine:
    """Two data-parallel ranks behind one address, generating ``RATES`` tokens a second."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        """Remember who serves."""
        self._server = server
        self.target = f"127.0.0.1:{server.server_port}"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Engine]:
        """Serve on a free port."""
        with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
            Thread(target=server.serve_forever, daemon=True).start()
            yield cls(server)
            server.shutdown()

    def die(self) -> None:
        """Answer nobody any more."""
        self._server.RequestHandlerClass = _Gone


def _text() -> str:
    def lines(name: str, values: Iterator[float]) -> str:
        return "\n".join(
            f'vllm:{name}{{engine="{at}",model_name="m"}} {value}'
            for at, value in enumerate(values)
        )

    tokens = lines("generation_tokens_total", (rate * time.monotonic() for rate in RATES))
    return TEXT.format(tokens=tokens, waiting=lines("num_requests_waiting", iter((2.0, 3.0))))


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = _text().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _Gone(_Page):
    def do_GET(self) -> None:
        self.send_error(500)
