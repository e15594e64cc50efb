"""The line to an API server: judged addresses, one deadline for a whole call, bounded bodies."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import contextmanager
from contextvars import ContextVar
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import httpcore2
import httpx2

from controller.core import reach
from controller.core.kube.errors import UnreachableError
from controller.core.reach import AddressError, Reach

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONNECT_S: Final = 5.0
MOST_BYTES: Final = 64 * 2**20
"""Of one answer: 5,000 pods with long status are 40 MB, and pages are of 500."""
_IDLE_S: Final = 5.0
_CONNECTIONS: Final = 128
"""A watch holds one for as long as it lasts, three for each namespace."""
_INSIDE: Final = Reach()
"""API servers are in private networks; what tells a machine's credentials is never asked."""

_NOT_CONNECTED: Final = (
    (ssl.SSLError, "No encrypted connection could be agreed on: is this the port of the API?"),
    (socket.gaierror, "Its name can't be resolved."),
    (ConnectionRefusedError, "Nobody listens there."),
)

_until: ContextVar[float] = ContextVar("until")


@contextmanager
def deadline(until: float) -> Iterator[None]:
    """Let no read and no write of this thread go beyond ``until`` (monotonic s)."""
    mark = _until.set(until)
    try:
        yield
    finally:
        _until.reset(mark)


def _left(asked: float | None, late: type[httpcore2.TimeoutException]) -> float:
    left = _until.get() - time.monotonic()
    if left <= 0:
        raise late("the deadline has passed")
    return left if asked is None else min(left, asked)


class _Stream(httpcore2.NetworkStream):
    """A connection whose every step ends with the deadline of the call it serves."""

    def __init__(self, real: httpcore2.NetworkStream) -> None:
        self._real = real

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._real.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._real.write(buffer, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._real.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._real.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> object:
        return self._real.get_extra_info(info)


class _Judged(httpcore2.NetworkBackend):
    """Connects to no address that was not judged first, all that a name leads to.

    A name is resolved once, so that it can't stand for another host by the time of connecting.
    """

    def __init__(self) -> None:
        self._real = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        fault: Exception = httpcore2.ConnectError("its name has no address")
        for address in _addresses(host, port):
            left = _left(timeout, httpcore2.ConnectTimeout)
            try:
                real = self._real.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as found:
                fault = found
            else:
                return _Stream(real)
        raise fault


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as fault:
        raise httpcore2.ConnectError("its name can't be resolved") from fault
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for each in addresses:
        # The zone of a link-local address is no part of what is judged.
        reach.check_address(host, ip_address(each.partition("%")[0]), _INSIDE)
    return addresses


class _Body(httpx2.SyncByteStream):
    """What is still to come of an answer; the line stays open for it."""

    def __init__(self, real: Any, wire: Wire) -> None:  # noqa: ANN401 - the package's own type
        self._real = real
        self._wire = wire

    def __iter__(self) -> Iterator[bytes]:
        yield from self._real

    def close(self) -> None:
        self._real.close()


class Wire(httpx2.BaseTransport):
    """Connections to one server, kept for its next calls; no proxy, no redirect, HTTP/1.1."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            max_connections=_CONNECTIONS,
            max_keepalive_connections=4,
            keepalive_expiry=_IDLE_S,
            network_backend=_Judged(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request; what fails is an error of ``httpcore2``, which :func:`named` names."""
        url = request.url
        asked = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        answer = self._pool.handle_request(asked)
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=_Body(answer.stream, self)
        )

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def __del__(self) -> None:
        """Close what is idle once nobody asks here any more."""
        self._pool.close()


@contextmanager
def named() -> Iterator[None]:
    """Turn what goes wrong on the line into :class:`UnreachableError`."""
    try:
        yield
    except AddressError as fault:
        raise UnreachableError(str(fault), sent=False) from None
    except httpcore2.PoolTimeout:
        raise UnreachableError("Too many calls to it wait for answers.", sent=False) from None
    except httpcore2.ConnectTimeout:
        raise UnreachableError("It did not take the connection in time.", sent=False) from None
    except httpcore2.ConnectError as fault:
        raise UnreachableError(_why_not_connected(fault), sent=False) from None
    except httpcore2.TimeoutException:
        raise UnreachableError("It did not answer in time.", sent=True) from None
    except (httpcore2.ReadError, httpcore2.RemoteProtocolError) as fault:
        refused = isinstance(fault.__cause__, ssl.SSLError)
        text = "It refuses our certificate." if refused else "The answer was cut off."
        raise UnreachableError(text, sent=True) from None
    except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError):
        raise UnreachableError("The line broke.", sent=True) from None


def _why_not_connected(fault: BaseException) -> str:
    cause: BaseException | None = fault
    while cause is not None and not isinstance(cause, ssl.SSLError | OSError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"Its certificate is not trusted: {cause.verify_message}."
    said = (words for kind, words in _NOT_CONNECTED if isinstance(cause, kind))
    return next(said, "It can't be reached.")


def body_of(answer: httpx2.Response, most: int = MOST_BYTES) -> bytes:
    """Return a whole body. Raises :class:`UnreachableError` if it is too large or cut off."""
    body = bytearray()
    for chunk in answer.iter_raw():
        body += chunk
        if len(body) > most:
            text = f"The answer is larger than {most // 2**20} MiB."
            raise UnreachableError(text, sent=True)
    return bytes(body)


def trust(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """Return whom to trust and who we are, from PEM texts.

    Raises :class:`UnreachableError` naming the text that can't be read.
    """
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError):
        text = "The certificate authority is no PEM text of certificates."
        raise UnreachableError(text, sent=False) from None
    if certificate:
        _show(context, certificate, key)
    return context


def _show(context: ssl.SSLContext, certificate: str, key: str) -> None:
    """Load who we are from memory: a key is never a file of the disk."""
    held = os.memfd_create("pem")
    try:
        os.write(held, f"{certificate}\n{key}\n".encode())
        # An encrypted key would else be asked for at the terminal.
        context.load_cert_chain(f"/proc/self/fd/{held}", password=str)
    except (ssl.SSLError, OSError, ValueError):
        text = "Our certificate and its key are no pair of PEM texts, or the key is encrypted."
        raise UnreachableError(text, sent=False) from None
    finally:
        os.close(held)
