"""Starts the processes, starts them again when they end, and stops them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from heteroscale_site.launch.processes import adopt_orphans, children, die_with_parent

Say = Callable[[str], None]

POLL_S = 0.05
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 30.0
# A process that lived this long was well; its next end counts as the first again.
WELL_AFTER_S = 10.0
# A program that never became ready and ended this often is not going to.
TRIES = 6
LARGEST_LOG = 10_000_000
GRACE_S = 5.0
# PostgreSQL may have a long log to replay after a crash.
READY_S = 120.0
SERVER_GRACE_S = 20.0


class StopRequestedError(Exception):
    """Somebody pressed Ctrl-C or sent SIGTERM."""


class NeverReadyError(Exception):
    """A program did not become ready; the text is its name."""


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running."""

    name: str
    command: Sequence[str | Path]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    is_server: bool = False
    is_ready: Callable[[int], bool] | None = None
    kept_descriptors: tuple[int, ...] = ()


@dataclass(slots=True)
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    ended: int = 0
    next_start_s: float = 0.0


class Supervisor:
    """Owns every process of one data directory."""

    def __init__(self, *, environment: Mapping[str, str], directory: Path, say: Say) -> None:
        """Adopt what the children leave behind; ``environment`` is given to every child."""
        self._environment = environment
        self._directory = directory
        self._say = say
        self._children: dict[str, _Child] = {}
        self._once: dict[int, subprocess.Popen[bytes]] = {}
        # Children of this process from before belong to somebody else in it.
        self._strangers = frozenset(children())
        adopt_orphans()

    def start(self, program: Program) -> None:
        """Keep this program running from now on."""
        _put_aside(program.log)
        child = _Child(program)
        self._children[program.name] = child
        self._spawn(child)

    def watch(self, process: subprocess.Popen[bytes] | None) -> None:
        """Take care of a process that runs once and was started elsewhere."""
        if process is not None:
            self._once[process.pid] = process

    def begin_once(
        self, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a process that runs once: it prints to the terminal, errors go to ``log``."""
        with log.open("ab") as errors:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                [str(word) for word in command],
                cwd=self._directory,
                env={**os.environ, **self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no threads here
            )
        self.watch(process)
        return process

    def finish_once(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a process that runs once, minding the others; return its exit status."""
        while process.poll() is None:
            self.tend()
            time.sleep(POLL_S)
        self._once.pop(process.pid, None)
        return process.returncode

    def wait_ready(self, name: str, *, timeout_s: float = READY_S) -> None:
        """Wait until the program is ready.

        Raises :class:`NeverReadyError` when it keeps ending or takes longer than ``timeout_s``.
        """
        child = self._children[name]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and child.ended < TRIES:
            self.tend()
            ready, process = child.program.is_ready, child.process
            if process is not None and (ready is None or ready(process.pid)):
                return
            time.sleep(POLL_S)
        raise NeverReadyError(name)

    def run(self) -> None:
        """Mind the processes until somebody asks to stop, by :class:`StopRequestedError`."""
        while True:
            self.tend()
            time.sleep(POLL_S)

    def tend(self) -> None:
        """Note who ended, start again who is due, bury adopted orphans."""
        now_s = time.monotonic()
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                self._note_end(child, now_s)
            if child.process is None and now_s >= child.next_start_s:
                self._spawn(child)
        self._bury()

    def stop(self) -> None:
        """Stop everything: first those who use the servers, then the servers."""
        self._stop([c for c in self._children.values() if not c.program.is_server], GRACE_S)
        for process in self._once.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._kill_orphans()
        self._stop([c for c in self._children.values() if c.program.is_server], SERVER_GRACE_S)
        self._kill_orphans()

    def _spawn(self, child: _Child) -> None:
        program = child.program
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            child.process = subprocess.Popen(  # noqa: S603 - our own commands
                [str(word) for word in program.command],
                cwd=self._directory,
                env={**os.environ, **self._environment, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=program.kept_descriptors,
                preexec_fn=die_with_parent(program.orphan_signal),  # noqa: PLW1509 - no threads
            )
        child.started_s = time.monotonic()

    def _note_end(self, child: _Child, now_s: float) -> None:
        process = child.process
        if process is None:
            return
        if now_s - child.started_s > WELL_AFTER_S:
            child.ended = 0
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**child.ended)
        child.ended += 1
        child.next_start_s = now_s + wait_s
        child.process = None
        self._say(
            f"{child.program.name} ended ({_how(process.returncode)}), starting it again in "
            f"{wait_s:.1f} s; see {child.program.log}"
        )

    def _stop(self, stopping: Sequence[_Child], grace_s: float) -> None:
        alive = [c for c in stopping if c.process is not None and c.process.poll() is None]
        for child in alive:
            _signal(child, child.program.stop_signal)
        deadline = time.monotonic() + grace_s
        while any(_is_alive(child) for child in alive) and time.monotonic() < deadline:
            self._bury()
            time.sleep(POLL_S)
        for child in alive:
            # The group outlives its leader when a member did not listen.
            _signal_group(child, signal.SIGKILL)
            if child.process is not None:
                child.process.wait()
            child.process = None

    def _kill_orphans(self) -> None:
        deadline = time.monotonic() + GRACE_S
        while (orphans := list(self._orphans())) and time.monotonic() < deadline:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._bury()
            time.sleep(POLL_S)

    def _bury(self) -> None:
        for pid in self._orphans():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)

    def _orphans(self) -> Iterator[int]:
        ours = self._strangers | set(self._once)
        ours |= {c.process.pid for c in self._children.values() if c.process is not None}
        return (pid for pid in children() if pid not in ours)


def _put_aside(log: Path) -> None:
    # At the start only, when nobody writes to it; two files a process are kept.
    if log.exists() and log.stat().st_size > LARGEST_LOG:
        log.replace(log.with_suffix(".1.log"))


def _is_alive(child: _Child) -> bool:
    return child.process is not None and child.process.poll() is None


def _signal(child: _Child, sent: signal.Signals) -> None:
    if child.process is not None:
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(sent)


def _signal_group(child: _Child, sent: signal.Signals) -> None:
    if child.process is not None:
        # Every child leads a session of its own, so its id names the group too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, sent)


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
