"""What goes over the wire: requests as they came and replies as they are sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.kube.status import ApiError
from tests.kube.store import text_of

JSON = "application/json"


@dataclass
class Request:
    """One request and, once it is answered, what became of it."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    raw: bytes
    at: datetime
    account: str = ""
    verb: str = ""
    resource: str = ""
    """``deployments/scale``."""
    namespace: str = ""
    name: str = ""
    version: int | None = None
    """Answered from the state at this version instead of the present one."""
    fault: str = ""
    code: int | None = None
    """None: not answered (yet, or ever)."""
    took_s: float = 0.0

    @property
    def body(self) -> Any:
        """The body as JSON; None when there is none."""
        return json.loads(self.raw) if self.raw else None

    @property
    def agent(self) -> str:
        return self.headers.get("user-agent", "")

    @property
    def writes(self) -> bool:
        """Whether this asks for a change of an object (reviews and dry runs do not)."""
        return (
            self.method in {"POST", "PUT", "PATCH", "DELETE"}
            and "/selfsubject" not in self.path
            and "dryRun" not in self.query
        )

    def __str__(self) -> str:
        return f"{self.method} {self.path} {dict(self.query)} -> {self.code} {self.fault}".rstrip()


@dataclass(frozen=True)
class Reply:
    """An answer; ``stream`` is sent chunk by chunk instead of the body."""

    code: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = JSON
    stream: Iterator[bytes] | None = None
    cut: int | None = None
    """Bytes of the body after which the connection ends."""
    chunked: bool = False
    silent: bool = False
    """The connection ends and nothing is said."""
    reset: bool = False
    """Such an end is a TCP reset rather than an orderly one."""

    @classmethod
    def of(cls, body: Any, code: int = 200) -> Reply:
        return cls(code, text_of(body))

    @classmethod
    def error(cls, error: ApiError) -> Reply:
        return cls(error.code, text_of(error.body), error.headers)
