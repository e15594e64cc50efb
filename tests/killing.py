"""Work that is killed at every statement and request: found by running it once, then each alone.

The child is a fork of the test, killed by itself with SIGKILL: nothing of it is cleaned up, and
its transaction ends as PostgreSQL ends those of a line that broke.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.db import connection, connections

from controller.adapters.kube.api import Api

Work = Callable[[], object]
NOT_KILLED: Final = -1


@dataclass
class Counter:
    """Counts the points passed, and ends the process at the one it was given."""

    fatal: int = NOT_KILLED
    by: int = signal.SIGKILL
    passed: int = 0

    def at(self, what: str) -> None:
        """Pass a point: before or after a statement, a commit or a request."""
        if self.passed == self.fatal:
            os.kill(os.getpid(), self.by)
        self.passed += 1
        self.names.append(what)

    def __post_init__(self) -> None:
        self.names: list[str] = []


@contextmanager
def counted(counter: Counter) -> Iterator[None]:
    """Count every statement, commit and request of this process."""
    line = type(connections["default"])
    opened, committed = Api._opened, line._commit

    def statement(execute: Any, sql: object, *given: Any) -> Any:
        named = " ".join(str(sql).split())[:40]
        counter.at(f"before {named}")
        found = execute(sql, *given)
        counter.at(f"after {named}")
        return found

    def commit(self: Any) -> Any:
        counter.at("before COMMIT")
        found = committed(self)
        counter.at("after COMMIT")
        return found

    def request(self: Any, call: Any, *given: Any) -> Any:
        counter.at(f"before {call.verb} {call.name}")
        found = opened(self, call, *given)
        counter.at(f"after {call.verb} {call.name}")
        return found

    Api._opened, line._commit = request, commit  # type: ignore[method-assign]
    try:
        with connection.execute_wrapper(statement):
            yield
    finally:
        Api._opened, line._commit = opened, committed  # type: ignore[method-assign]


def points(work: Work) -> list[str]:
    """Run the work in a child to its end; return the points it passed."""
    readable, writable = os.pipe()

    def whole() -> None:
        counter = Counter()
        with counted(counter):
            work()
        os.write(writable, "\n".join(counter.names).encode())

    told = _forked(whole)
    os.close(writable)
    with os.fdopen(readable) as file:
        names = file.read()
    if told:
        raise AssertionError(f"undisturbed it ended with {told}")
    return names.split("\n")


def killed_at(point: int, work: Work) -> None:
    """Run the work in a child that is killed at a point."""

    def part() -> None:
        with counted(Counter(point)):
            work()

    told = _forked(part)
    if told != signal.SIGKILL:
        raise AssertionError(f"at point {point} it was not killed but ended with {told}")


def frozen_at(point: int, work: Work, meanwhile: Work) -> None:
    """Run the work in a child that stands still at a point while something else is done."""

    def part() -> None:
        with counted(Counter(point, signal.SIGSTOP)):
            work()

    child = _fork(part)
    try:
        _, status = os.waitpid(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            raise AssertionError(f"at point {point} it did not stop but ended with {status}")
        meanwhile()
    finally:
        os.kill(child, signal.SIGCONT)
    _ended(child)


def _forked(work: Work) -> int:
    """Return the signal or code a child ended with that did the work."""
    return _ended(_fork(work))


def _ended(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) * (-1 if os.WIFSIGNALED(status) else 1)


def _fork(work: Work) -> int:
    """Return a child that does the work and ends."""
    # The child must not share a line to the database with us.
    connections.close_all()
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001 - the child ends here, whatever it is
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
