"""Where everything that is kept lies, and who may write there."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

# A unix socket address holds 108 bytes on Linux and 104 on macOS, "/.s.PGSQL.5432" and the final
# NUL included; the lock file beside the socket is longer but is an ordinary path.
LONGEST_SOCKET_DIRECTORY = 104 - len("/.s.PGSQL.5432") - 1
PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


class LaunchError(Exception):
    """The product cannot start or go on; the text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the embedded broker listens, and the password it asks for."""

    port: int
    password: str


@dataclass(frozen=True, slots=True)
class Home:
    """The data directory and the names in it."""

    root: Path

    @property
    def run(self) -> Path:
        """What only matters while the product runs."""
        return self.root / "run"

    @property
    def logs(self) -> Path:
        """One file a process."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Locked by the one supervisor of this directory."""
        return self.root / "lock"

    @property
    def postgres(self) -> Path:
        """Data directory of the embedded PostgreSQL."""
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        """Data directory of the embedded Valkey."""
        return self.root / "valkey"

    @property
    def static(self) -> Path:
        """Collected static files."""
        return self.root / "static"

    @property
    def accounts(self) -> Path:
        """The generated first passwords."""
        return self.root / "accounts.txt"

    @property
    def audit_anchor(self) -> Path:
        """Where the newest hash of the audit is written down, outside the database."""
        return self.root / "audit-anchor.jsonl"

    @property
    def secret_key(self) -> Path:
        """The generated SECRET_KEY."""
        return self.root / "secret_key"

    @property
    def endpoint(self) -> Path:
        """Port and password of the embedded Valkey."""
        return self.run / "valkey.json"

    @property
    def socket_directory(self) -> Path:
        """Directory of PostgreSQL's socket: in ``run`` unless its path is too long for a socket.

        Every process must arrive at the same answer without asking another, so the short name is
        derived from the long one.
        """
        if len(os.fsencode(self.run)) <= LONGEST_SOCKET_DIRECTORY:
            return self.run
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"heteroscale-{os.getuid()}-{digest}"

    def make(self) -> None:
        """Create the directories; raise :class:`LaunchError` when that is not allowed."""
        try:
            for directory in (self.root, self.run, self.logs, self.socket_directory):
                directory.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIRECTORY)
            probe = self.root / ".probe"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise LaunchError(
                f"Cannot write to {self.root} ({error.strerror}): free the path or name another "
                "directory in HETEROSCALE_HOME."
            ) from error
        _require_private(self.socket_directory)
        self.run.chmod(PRIVATE_DIRECTORY)

    def read_endpoint(self) -> Endpoint | None:
        """Return where the embedded broker last listened, None before the first start."""
        try:
            found = json.loads(self.endpoint.read_text())
            return Endpoint(port=int(found["port"]), password=str(found["password"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError):
            return None  # torn by a power cut: the next start writes a new one

    def write_endpoint(self, endpoint: Endpoint) -> None:
        """Keep where the broker listens, readable by this account alone."""
        write_private(
            self.endpoint,
            json.dumps({"port": endpoint.port, "password": endpoint.password}),
        )

    def read_secret_key(self) -> str | None:
        """Return the generated key, None before the first start."""
        try:
            return self.secret_key.read_text().strip() or None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make_secret_key(self) -> None:
        """Generate the key once."""
        if self.read_secret_key() is None:
            write_private(self.secret_key, secrets.token_urlsafe(64))


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old text or the new, never half."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _require_private(directory: Path) -> None:
    # The short directory lies where everybody may create files: somebody else's directory of the
    # expected name would let them in between us and the database.
    found = directory.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if not mine:
        raise LaunchError(
            f"{directory} belongs to another account: remove it, or name a shorter directory in "
            "HETEROSCALE_HOME."
        )
    directory.chmod(PRIVATE_DIRECTORY)
