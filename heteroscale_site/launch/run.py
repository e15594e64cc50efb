"""The steps from nothing to a running product, and back."""

from __future__ import annotations

import hashlib
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from django.contrib.staticfiles.finders import get_finders
from django.core.management import get_commands

from heteroscale_site.configuration import BASE_DIR, Configuration
from heteroscale_site.connections import APPLICATION_USER, DATABASE_NAME, DATABASE_USER
from heteroscale_site.home import Home, LaunchError
from heteroscale_site.launch import postgres, valkey
from heteroscale_site.launch.preflight import check_port, locked
from heteroscale_site.launch.product import (
    PYTHON,
    background_programs,
    postgres_program,
    valkey_program,
    web_program,
)
from heteroscale_site.launch.supervisor import (
    READY_S,
    NeverReadyError,
    Say,
    StopRequestedError,
    Supervisor,
)

MANAGE = BASE_DIR / "manage.py"
WEB_READY_S = 60.0
STATIC_STAMP = "collected.sha256"


@dataclass(frozen=True, slots=True)
class Order:
    """What to run and where."""

    configuration: Configuration
    host: str
    port: int
    prepare_words: tuple[str, ...]
    history_words: tuple[str, ...]
    notes: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        """The data directory."""
        return Home(self.configuration.home)

    @property
    def known_as(self) -> str:
        """A host name under which the pages may be asked for."""
        names = [name.lstrip(".") for name in self.configuration.allowed_hosts if name != "*"]
        return names[0] if names else "localhost"

    @property
    def address(self) -> str:
        """The address to type into a browser."""
        shown = "localhost" if self.host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else self.host  # noqa: S104
        return f"http://{shown}:{self.port}/"


def run(order: Order, say: Say) -> None:
    """Start everything and mind it until told to stop.

    Raises :class:`LaunchError` with one sentence when it cannot start.
    """
    home = order.home
    home.make()
    check_port(order.host, order.port)
    if order.configuration.embedded_database:
        postgres.as_ordinary_user()
        postgres.check_data(home)
    with locked(home) as lock, _stopping_by_signal():
        if order.configuration.secret_key is None:
            home.make_secret_key()
        supervisor = Supervisor(
            environment={
                "HETEROSCALE_HOME": str(home.root),
                "HETEROSCALE_INSTANCE": secrets.token_hex(8),
                "PYTHONUNBUFFERED": "1",
                **order.environment,
            },
            directory=BASE_DIR,
            say=say,
        )
        try:
            _start(order, supervisor, lock, say)
            supervisor.run()
        except StopRequestedError:
            say("stopping")
        finally:
            _ignore_first_signal()
            supervisor.stop()
            say("stopped")


def _start(order: Order, supervisor: Supervisor, lock: int, say: Say) -> None:
    home = order.home
    begun = postgres.initialise(home) if order.configuration.embedded_database else None
    supervisor.watch(begun)
    if order.configuration.embedded_broker:
        endpoint = valkey.choose_endpoint(home)
        valkey.configure(home, endpoint)
        supervisor.start(valkey_program(home, endpoint, lock))
    collecting = _begin_collecting(home, supervisor)
    if order.configuration.embedded_database:
        _start_postgres(order, supervisor, lock, begun)
    if order.configuration.embedded_broker:
        _wait(supervisor, "valkey", home, "Valkey")
    _once(supervisor, order, order.prepare_words, "prepare")
    _finish_collecting(home, supervisor, collecting)

    supervisor.start(web_program(home, host=order.host, port=order.port, known_as=order.known_as))
    _wait(supervisor, "web", home, "The web server", timeout_s=WEB_READY_S)
    say(_summary(order))
    if order.notes:
        say(order.notes)
    if order.history_words:
        _once(supervisor, order, order.history_words, "history")
    for program in background_programs(home, MANAGE):
        supervisor.start(program)
    say("Everything runs. Ctrl-C stops everything; the next start goes on from here.")


def _start_postgres(
    order: Order, supervisor: Supervisor, lock: int, begun: subprocess.Popen[bytes] | None
) -> None:
    home = order.home
    if begun is not None:
        supervisor.finish_once(begun)
        postgres.finish_initialising(home, begun)
    supervisor.start(postgres_program(home, lock))
    _wait(supervisor, "postgres", home, "PostgreSQL")
    postgres.ensure_database(
        home, user=DATABASE_USER, name=DATABASE_NAME, application=APPLICATION_USER
    )


def _wait(
    supervisor: Supervisor, name: str, home: Home, title: str, *, timeout_s: float = READY_S
) -> None:
    try:
        supervisor.wait_ready(name, timeout_s=timeout_s)
    except NeverReadyError as error:
        raise postgres.explain(home, title, home.logs / f"{name}.log") from error


def _once(supervisor: Supervisor, order: Order, words: Sequence[str], name: str) -> None:
    log = order.home.logs / f"{name}.log"
    log.write_bytes(b"")
    process = supervisor.begin_once([PYTHON, MANAGE, *words], log=log, environment={})
    if supervisor.finish_once(process) != 0:
        raise postgres.explain(order.home, f"`{' '.join(words)}`", log)


def _begin_collecting(
    home: Home, supervisor: Supervisor
) -> tuple[str, subprocess.Popen[bytes]] | None:
    """Begin to collect the static files unless the collected ones are of the same content."""
    wanted = static_digest()
    stamp = home.root / STATIC_STAMP
    if stamp.exists() and stamp.read_text() == wanted:
        return None
    stamp.unlink(missing_ok=True)
    words: list[str | Path] = [
        PYTHON,
        MANAGE,
        "collectstatic",
        "--noinput",
        "--clear",
        "--verbosity",
        "0",
    ]
    process = supervisor.begin_once(
        words, log=home.logs / "static.log", environment={"HETEROSCALE_PROCESS": "static"}
    )
    return wanted, process


def _finish_collecting(
    home: Home, supervisor: Supervisor, collecting: tuple[str, subprocess.Popen[bytes]] | None
) -> None:
    if collecting is None:
        return
    wanted, process = collecting
    if supervisor.finish_once(process) != 0:
        raise postgres.explain(home, "Collecting static files", home.logs / "static.log")
    # Written last: an interrupted collection is done again.
    (home.root / STATIC_STAMP).write_text(wanted)


def static_digest() -> str:
    """Return a digest over name and content of every static file."""
    digest = hashlib.sha256()
    for finder in get_finders():
        for name, storage in finder.list([]):
            digest.update(name.encode())
            digest.update(Path(storage.path(name)).read_bytes())
    return digest.hexdigest()


def _summary(order: Order) -> str:
    configuration = order.configuration
    home = order.home
    return "\n".join(
        [
            "",
            f"  Open      {order.address}",
            f"  Sign in   names and first passwords are in {home.accounts}",
            "  Database  "
            + (
                f"PostgreSQL {postgres.version()} from the wheel, data in {home.postgres}"
                if configuration.embedded_database
                else "the PostgreSQL of DATABASE_URL"
            ),
            "  Broker    "
            + (
                f"Valkey from the wheel, data in {home.valkey}"
                if configuration.embedded_broker
                else "the broker of REDIS_URL"
            ),
            f"  Logs      {home.logs}",
            *(
                ["  The servers from wheels are for trying out and for one machine."]
                if configuration.embedded_database or configuration.embedded_broker
                else []
            ),
            "",
        ]
    )


@contextmanager
def _stopping_by_signal() -> Iterator[None]:
    before = {sent: signal.signal(sent, _request_stop) for sent in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)


def _request_stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise StopRequestedError


def _ignore_first_signal() -> None:
    # Stopping takes a few seconds; a second Ctrl-C must not leave half of it undone, a third may.
    def warn(number: int, frame: FrameType | None) -> None:
        del frame
        sys.stderr.write("heteroscale: still stopping; once more to leave at once\n")
        signal.signal(number, signal.SIG_DFL)

    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, warn)


def command_exists(name: str) -> bool:
    """Tell whether ``manage.py`` knows a command."""
    return name in get_commands()


def existing_file(path: str | None, option: str) -> Path | None:
    """Return the file's full path; refuse one that is not there before anything is started."""
    if path is None:
        return None
    if not Path(path).is_file():
        raise LaunchError(f"{path} is not a file: give {option} the path of one.")
    return Path(path).resolve()
