"""The one way out: requests with limits of time and size that never leave the host asked for."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import ip_address
from typing import Any, Final

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError

from controller.core import reach
from controller.core.reach import AddressError, Reach

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
OK: Final = 200
ANYWHERE: Final = Reach()
"""Loopback and private networks too, as on one machine; what tells credentials still is not."""
_CHUNK: Final = 2**16
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class HttpError(Exception):
    """Nothing usable came back; the text names no header, no credential and no query."""


class UnreachableError(HttpError):
    """Nobody listens there, or the line broke: asking once more may help."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Whom to trust and who we are, as PEM texts; without ``ca`` the public authorities."""

    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: a status, headers in lower case, and a body within the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises :class:`HttpError` for anything but HTTP."""
    try:
        return reach.origin(url)
    except AddressError as fault:
        raise HttpError(str(fault)) from None


def get(url: str, *, headers: Mapping[str, str], most: int, until: float) -> Reply:
    """Return what a GET answers, with at most ``most`` bytes, before ``until`` (monotonic s).

    No redirect is followed, so that headers reach no other host. Raises :class:`HttpError`.
    """
    return exchange(requests.Request("GET", url, dict(headers)), most=most, until=until)


def exchange(
    asked: requests.Request,
    *,
    most: int,
    until: float,
    tls: Tls | None = None,
    within: Reach = ANYWHERE,
) -> Reply:
    """Return the answer to a request, as :func:`get` does for the simplest of them.

    A host that is not ``within`` reach is not connected to, whatever its name resolves to.
    """
    _, host, _ = origin(asked.url)
    try:
        reach.check_host(host, within)
    except AddressError as fault:
        raise HttpError(str(fault)) from None
    with requests.Session() as session, _files(tls or Tls()) as (verify, cert):
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Judged(within))
        # Neither a proxy nor a .netrc of this machine may add or see credentials.
        session.trust_env = False
        session.verify, session.cert = verify, cert
        reply = _once(session, asked, most, until)
    if reply.status in _REDIRECTS:
        raise HttpError("It redirects, which is not followed: name the address it leads to.")
    return reply


@contextmanager
def _files(tls: Tls) -> Iterator[tuple[str | bool, tuple[str, str] | None]]:
    """Give PEM texts names for as long as they are needed: in memory, since keys are secret."""
    opened: list[int] = []

    def named(text: str) -> str:
        opened.append(os.memfd_create("pem"))
        os.write(opened[-1], text.encode())
        return f"/proc/self/fd/{opened[-1]}"

    try:
        cert = (named(tls.certificate), named(tls.key)) if tls.certificate else None
        yield named(tls.ca) if tls.ca else True, cert
    finally:
        for each in opened:
            os.close(each)


def _once(session: requests.Session, asked: requests.Request, most: int, until: float) -> Reply:
    left = until - time.monotonic()
    if left <= 0:
        raise HttpError("It took too long.")
    try:
        with session.send(
            session.prepare_request(asked),
            timeout=(min(CONNECT_S, left), min(READ_S, left)),
            allow_redirects=False,
            stream=True,
            verify=session.verify,
            cert=session.cert,
        ) as answer:
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, told, _body(answer.raw, most, until))
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError):
        raise HttpError("Its certificate is not trusted, or ours is not.") from None
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
        raise HttpError("It did not answer in time.") from None
    except urllib3.exceptions.DecodeError:
        raise HttpError("The answer is packed in a way that can't be undone.") from None
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError):
        # The cause's own text may hold the address with its query: it is not passed on.
        raise UnreachableError("It can't be reached.") from None
    except (OSError, ValueError):
        raise HttpError("It can't be asked with this address or these certificates.") from None


def _body(raw: urllib3.BaseHTTPResponse, most: int, until: float) -> bytes:
    """Return the body, unpacked by no more than a chunk at a time, each read looked at."""
    body = bytearray()
    while chunk := raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > most:
            raise HttpError("The answer is too large.")
        if time.monotonic() > until:
            raise HttpError("It took too long.")
    return bytes(body)


@cache
def _pools(within: Reach) -> dict[str, type[HTTPConnectionPool]]:
    """Return pools whose connections go to no address that was not judged first.

    A name is resolved once, so that it can't stand for another host by the time of connecting.
    """

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, within, super()._new_conn)

    class Encrypted(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return _connected(self, within, super()._new_conn)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class EncryptedPool(HTTPSConnectionPool):
        ConnectionCls = Encrypted

    return {"http": PlainPool, "https": EncryptedPool}


class _Judged(HTTPAdapter):
    """Takes its connections from :func:`_pools`."""

    def __init__(self, within: Reach) -> None:
        self._within = within
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - as above it
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._within)


def _connected(
    connection: HTTPConnection, within: Reach, connect: Callable[[], socket.socket]
) -> socket.socket:
    """Return the first connection to an address of its host; all of them must be allowed."""
    host = connection._dns_host  # noqa: SLF001 - the one place where the name is apart from where it leads
    try:
        found = socket.getaddrinfo(host, connection.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as fault:
        raise NameResolutionError(host, connection, socket.gaierror(str(fault))) from fault
    # The zone of a link-local address is no part of what is judged.
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for each in addresses:
        try:
            reach.check_address(host, ip_address(each.partition("%")[0]), within)
        except AddressError as fault:
            raise HttpError(str(fault)) from None
    try:
        for at, each in enumerate(addresses, start=1):
            connection._dns_host = each  # noqa: SLF001 - see above
            try:
                return connect()
            except NewConnectionError:
                if at == len(addresses):
                    raise
    finally:
        connection._dns_host = host  # noqa: SLF001 - certificates are of the name
    raise NameResolutionError(host, connection, socket.gaierror("no address"))
