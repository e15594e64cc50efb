"""Small facts about processes that the standard library does not offer."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROC = Path("/proc")


def _prctl() -> Callable[..., int]:
    # Looked up once, in the parent: between fork and exec as little as possible should happen.
    try:
        found: Callable[..., int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError, TypeError):
        return lambda *_: -1  # not Linux: children are stopped by the supervisor alone
    return found


PRCTL = _prctl()


def die_with_parent(sent: signal.Signals) -> Callable[[], None]:
    """Return what a new child calls so that it gets ``sent`` when its parent is gone."""

    def setup() -> None:
        PRCTL(PR_SET_PDEATHSIG, int(sent))

    return setup


def limit_memory(mib: int) -> None:
    """Let this process take no more address space, after which allocating is a MemoryError.

    A limit that is lower already stays, and where the system has none nothing happens.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError, ValueError):
        import resource  # noqa: PLC0415 - only Unix has it

        now, most = resource.getrlimit(resource.RLIMIT_AS)
        if now == resource.RLIM_INFINITY or now > mib * 2**20:
            resource.setrlimit(resource.RLIMIT_AS, (mib * 2**20, most))


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose own parent dies, so that none escapes."""
    PRCTL(PR_SET_CHILD_SUBREAPER, 1)


def children() -> tuple[int, ...]:
    """Return the process ids of this process's children, adopted ones included."""
    found: list[int] = []
    for task in _tasks():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return tuple(found)


def _tasks() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (PROC / str(os.getpid()) / "task").iterdir()
