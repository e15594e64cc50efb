"""Statuses of an API server to errors with words."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson

from controller.core.kube.errors import (
    MOST_WAIT_S,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidError,
    KubeError,
    MissingError,
    ServerError,
    ThrottledError,
    UnauthorisedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.core.kube.access import Res

UNTOLD_WAIT_S: Final = 5.0
"""How long to wait where a 429 does not say."""
_SHORTEST_WAIT_S: Final = 1.0
_LONGEST_TEXT: Final = 500
_NAMED: Final[Mapping[int, type[KubeError]]] = {
    HTTPStatus.NOT_FOUND: MissingError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
}
_RIGHTS: Final = "heteroscale cluster rights"


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked, to say it: a verb as rights name it, and of what."""

    verb: str
    res: Res
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def what(self) -> str:
        """The resource as rights name it: ``deployments.apps/scale``."""
        return f"{self.res.words}/{self.subresource}" if self.subresource else self.res.words

    @property
    def words(self) -> str:
        """What was asked in words: ``patch deployments.apps prod/chat``."""
        where = "/".join(filter(None, (self.namespace, self.name)))
        return f"{self.verb} {self.what} {where}".rstrip()

    @property
    def right(self) -> str:
        """The right it takes: ``patch deployments.apps in the namespace prod``."""
        where = f"in the namespace {self.namespace}" if self.namespace else "in all namespaces"
        return f"{self.verb} {self.what} {where}"


def object_of(body: bytes) -> dict[str, Any]:
    """Return an answer. Raises :class:`UnreachableError` for what is no object of JSON."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        text = "The answer is not one of a Kubernetes API: is there a proxy before it?"
        raise UnreachableError(text, sent=True)
    return found


def error_of(
    call: Call, status: int, headers: Mapping[str, str], told: Mapping[str, Any]
) -> KubeError:
    """Return what a status means, with the API's own message ``told`` where it gave one."""
    message = _message(status, told)
    match status:
        case 401:
            return UnauthorisedError(
                "The API server does not know us (401): the token or certificate ran out or was "
                f"withdrawn. Give a new one. It says: {message}"
            )
        case 403:
            return _forbidden(call, message)
        case 429:
            wait_s = min(wait_of(headers), MOST_WAIT_S)
            text = f"The API server asks to wait {wait_s:g} s (429): {message}"
            return ThrottledError(text, wait_s=wait_s)
        case _:
            return _plain(call, status, message)


def _plain(call: Call, status: int, message: str) -> KubeError:
    text = f"{call.words}: {message}"
    if status in _NAMED:
        return _NAMED[status](text)
    if status < HTTPStatus.BAD_REQUEST:
        text = f"It redirects ({status}), which is not followed: name the address it leads to."
    if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.REQUEST_TIMEOUT:
        return UnreachableError(text, sent=True)
    refused = status < HTTPStatus.INTERNAL_SERVER_ERROR
    return (InvalidError if refused else ServerError)(text, status=status)


def _forbidden(call: Call, message: str) -> ForbiddenError:
    return ForbiddenError(
        f"Not allowed (403): {call.right}. `{_RIGHTS}` prints what is needed. "
        f"The API server says: {message}",
        verb=call.verb,
        what=call.what,
        namespace=call.namespace,
    )


def _message(status: int, told: Mapping[str, Any]) -> str:
    message = told.get("message")
    if not isinstance(message, str) or not message.strip():
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "no message"
        message = f"{status} {phrase}"
    plain = "".join(each if each.isprintable() else " " for each in message)
    return plain[:_LONGEST_TEXT]


def wait_of(headers: Mapping[str, str]) -> float:
    """Return how long a 429 asks to wait [s]; a date is read by the server's own clock."""
    told = headers.get("retry-after", "").strip()
    if told.isascii() and told.isdigit():
        # As many digits as fit: int() refuses longer ones.
        return max(float(told[:30]), _SHORTEST_WAIT_S)
    until, now_s = date_of(told), date_of(headers.get("date", ""))
    if until is None or now_s is None:
        return UNTOLD_WAIT_S
    return max(until - now_s, _SHORTEST_WAIT_S)


def date_of(text: str) -> float | None:
    """Return a date of HTTP [s since the epoch], or ``None`` where it is none."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
