"""The one way out: requests with limits of time and size that never leave the host asked for."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import requests

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
OK: Final = 200
_CHUNK: Final = 2**16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class HttpError(Exception):
    """Nothing usable came back; the text names no header, no credential and no query."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a status, headers in lower case, and a body within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises :class:`HttpError` for anything but HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise HttpError("The address can't be read.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HttpError("The address must begin with https:// or http:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise HttpError("The address must hold no user name and no password.")
    return parts.scheme, parts.hostname.lower(), port or (443 if parts.scheme == "https" else 80)


def get(url: str, *, headers: Mapping[str, str], most: int, until: float) -> Reply:
    """Return what a GET answers, with at most ``most`` bytes, before ``until`` (monotonic s).

    No redirect is followed, so that headers reach no other host. Raises :class:`HttpError`.
    """
    origin(url)
    with requests.Session() as session:
        # Neither a proxy nor a .netrc of this machine may add or see credentials.
        session.trust_env = False
        reply = _once(session, url, headers, most, until)
    if reply.status in _REDIRECTS:
        raise HttpError("It redirects, which is not followed: name the address it leads to.")
    return reply


def _once(
    session: requests.Session, url: str, headers: Mapping[str, str], most: int, until: float
) -> Reply:
    left = until - time.monotonic()
    if left <= 0:
        raise HttpError("It took too long.")
    try:
        with session.get(
            url,
            headers=dict(headers),
            timeout=(min(CONNECT_S, left), min(READ_S, left)),
            allow_redirects=False,
            stream=True,
        ) as answer:
            body = bytearray()
            for chunk in answer.iter_content(_CHUNK):
                body += chunk
                if len(body) > most:
                    raise HttpError("The answer is too large.")
                if time.monotonic() > until:
                    raise HttpError("It took too long.")
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, told, bytes(body))
    except requests.exceptions.SSLError:
        raise HttpError("Its certificate is not trusted.") from None
    except requests.exceptions.Timeout:
        raise HttpError("It did not answer in time.") from None
    except (requests.exceptions.RequestException, ValueError):
        # The cause's own text may hold the address with its query: it is not passed on.
        raise HttpError("It can't be reached.") from None
