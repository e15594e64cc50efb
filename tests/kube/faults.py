"""What can go wrong between a client and the API server.

A fault is a callable that gets the request and the way to have it processed, and returns the
reply. ``kube.fault(drop(), method="PATCH", path="chat-decode")`` puts one in the way of the next
request that fits. Own ones: ``lambda request, serve: ...``.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from tests.kube.status import ApiError, too_many
from tests.kube.wire import Reply, Request

Serve = Callable[[Request], Reply]
Fault = Callable[[Request, Serve], Reply]
LOGIN = (
    b"<!doctype html><html><head><title>Sign in</title></head><body><form></form></body></html>"
)
DEAD_S = 60.0
"""How long something is held that nobody releases."""

WORDS = {
    400: "the request makes no sense",
    401: "Unauthorized",
    403: "the request is forbidden",
    404: "the server could not find the requested resource",
    409: "the object has been modified; please apply your changes to the latest version",
    410: "The resourceVersion for the provided list is too old.",
    422: "the object is invalid: exceeded what is allowed",
    500: "an error on the server has prevented the request from succeeding",
    502: "bad gateway",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted",
}


def answer(
    code: int, message: str = "", *, done: bool = False, retry_after: str | None = None
) -> Fault:
    """Answer with a Status; ``done``: what was asked for is carried out all the same.

    ``retry_after`` is the header as it is sent: seconds, a date, anything.
    """

    def fault(request: Request, serve: Serve) -> Reply:
        if done:
            serve(request)
        if code == 429:
            return Reply.error(too_many(retry_after))
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return Reply.error(ApiError(code, message or WORDS.get(code, "refused"), headers=headers))

    return _named(fault, f"answer {code}{' done' if done else ''}")


def drop(*, done: bool = False, reset: bool = False) -> Fault:
    """End the connection without an answer, before (or after) the request is carried out."""

    def fault(request: Request, serve: Serve) -> Reply:
        if done:
            serve(request)
        return Reply(silent=True, reset=reset)

    return _named(fault, f"drop{' done' if done else ''}")


def delay(*, before_s: float = 0.0, after_s: float = 0.0) -> Fault:
    """Take a while before or after the request is carried out."""

    def fault(request: Request, serve: Serve) -> Reply:
        time.sleep(before_s)
        reply = serve(request)
        time.sleep(after_s)
        return reply

    return _named(fault, f"delay {before_s:g} s, {after_s:g} s")


@dataclass
class Hold:
    """Hold a request until the test lets it go: ``arrived`` is set when it is there."""

    done: bool = False
    """Whether it is carried out before it is held (then only the answer waits)."""
    arrived: threading.Event = field(default_factory=threading.Event)
    _go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: Request, serve: Serve) -> Reply:
        reply = serve(request) if self.done else None
        self.arrived.set()
        self._go.wait(DEAD_S)
        return reply or serve(request)

    def release(self) -> None:
        self._go.set()


def truncate(part: float = 0.5, *, chunked: bool = False) -> Fault:
    """Send only a part of the body: less than Content-Length says, or half a chunk."""

    def fault(request: Request, serve: Serve) -> Reply:
        reply = serve(request)
        return replace(reply, cut=int(len(reply.body) * part), chunked=chunked)

    return _named(fault, "truncated")


def stale(version: int) -> Fault:
    """Answer a read from the state at an earlier version (``kube.version`` of then)."""

    def fault(request: Request, serve: Serve) -> Reply:
        request.version = version
        return serve(request)

    return _named(fault, f"stale {version}")


def raw(code: int, body: bytes, kind: str, **headers: str) -> Fault:
    """Answer with anything."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return _named(lambda _request, _serve: Reply(code, body, named, kind), f"raw {code}")


def html(code: int = 200) -> Fault:
    """Answer with the login page of something in between."""
    return raw(code, LOGIN, "text/html; charset=utf-8")


def redirect(to: str, code: int = 302) -> Fault:
    """Send the client elsewhere."""
    return raw(code, b"", "text/html", Location=to)


def rewritten(change: Callable[[bytes], bytes]) -> Fault:
    """Change the body of the answer."""

    def fault(request: Request, serve: Serve) -> Reply:
        reply = serve(request)
        return replace(reply, body=change(reply.body))

    return _named(fault, "rewritten")


Lines = Iterator[bytes]


def watch(change: Callable[[Lines], Lines], name: str = "watch") -> Fault:
    """Change the lines of a watch, each of which is an event."""

    def fault(request: Request, serve: Serve) -> Reply:
        reply = serve(request)
        if reply.stream is None:
            return reply
        return replace(reply, stream=change(reply.stream))

    return _named(fault, name)


def close_after(events: int) -> Fault:
    """End a watch in order after some events."""
    return watch(lambda lines: islice(lines, events), "watch closed")


def cut_after(events: int) -> Fault:
    """End a watch in the middle of the event after some events."""

    def cut(lines: Lines) -> Lines:
        for number, line in enumerate(lines):
            if number == events:
                yield line[: len(line) // 2]
                raise ConnectionAbortedError
            yield line

    return watch(cut, "watch cut")


def duplicated() -> Fault:
    """Tell each event twice."""
    return watch(lambda lines: (line for each in lines for line in (each, each)), "watch twice")


def swapped() -> Fault:
    """Tell events in pairs, the later one first; an end tells what is left."""

    def swap(lines: Lines) -> Lines:
        held: bytes | None = None
        for line in lines:
            if held is None:
                held = line
            else:
                yield line
                yield held
                held = None
        if held is not None:
            yield held

    return watch(swap, "watch swapped")


def without_bookmarks() -> Fault:
    """Tell no bookmark."""
    mark = b'"type":"BOOKMARK"'
    return watch(lambda lines: (line for line in lines if mark not in line), "no bookmarks")


def _named(fault: Fault, name: str) -> Fault:
    fault.__name__ = name
    return fault


@dataclass
class Trap:
    """A fault and the requests it lies in wait for."""

    fault: Fault
    method: re.Pattern[str]
    path: re.Pattern[str]
    when: Callable[[Request], bool]
    skip: int = 0
    """How many that fit go by unharmed first."""
    times: int | None = 1
    """How many are hit; None: all."""
    hit: int = 0

    @property
    def name(self) -> str:
        return getattr(self.fault, "__name__", type(self.fault).__name__.lower())

    def takes(self, request: Request) -> bool:
        """Say whether the request is hit; counts."""
        if not (
            self.method.fullmatch(request.method)
            and self.path.search(request.path)
            and self.when(request)
        ):
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None and self.hit >= self.times:
            return False
        self.hit += 1
        return True


class Traps:
    """All faults that are set, tried in the order in which they were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[Trap] = []

    def add(self, trap: Trap) -> Trap:
        with self._lock:
            self._set.append(trap)
        return trap

    def clear(self) -> None:
        with self._lock:
            self._set.clear()

    def take(self, request: Request) -> Fault | None:
        """Return the fault that hits a request."""
        with self._lock:
            for trap in self._set:
                if trap.takes(request):
                    request.fault = trap.name
                    return trap.fault
        return None
