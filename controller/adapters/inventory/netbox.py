"""NetBox by its address: the pages that the importer understands, fetched with a read token."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urljoin

import orjson

from controller.adapters import http
from controller.adapters.http import HttpError, Reply
from inventory.importers.detect import MAX_BYTES
from inventory.services.importing import Upload

ENDPOINTS: Final = ("regions", "racks", "device-types", "devices", "interfaces", "cables")
PAGE_ROWS: Final = 500
MOST_PAGES: Final = 200
LONGEST_WAIT_S: Final = 5
_OK: Final = 200
_DIGITS: Final = 5
_BUSY: Final = 429
_WORDS: Final[Mapping[int, str]] = {
    401: "the token is not accepted",
    403: "the token may not read this",
    404: "there is nothing at this address: is it NetBox's own?",
    _BUSY: "NetBox asks to be left alone for longer than can be waited",
}


class NetBoxError(Exception):
    """NetBox could not be read; the text names the endpoint and never the token."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Where and as whom to ask, which device roles (slugs, all if none), and the limits."""

    base: str
    token: str
    roles: tuple[str, ...] = ()
    seconds: float = 120.0
    most: int = MAX_BYTES


def read(asking: Asking) -> Upload:
    """Return all pages as one file that the importer reads.

    Raises :class:`NetBoxError`, also when it takes longer or is larger than allowed.
    """
    if not asking.token.isascii() or not asking.token.isprintable() or " " in asking.token:
        raise NetBoxError("NetBox: the token has characters that no token has.")
    until, left = time.monotonic() + asking.seconds, asking.most
    pages: list[bytes] = []
    for name in ENDPOINTS:
        found = _pages(asking, name, until, left)
        left -= sum(map(len, found))
        pages += found
    return Upload("netbox.json", b"[" + b",".join(pages) + b"]")


def _pages(asking: Asking, name: str, until: float, left: int) -> list[bytes]:
    try:
        return list(_each(asking, name, until, left))
    except HttpError as fault:
        raise NetBoxError(f"NetBox, {name}: {fault}") from None


def _each(asking: Asking, name: str, until: float, left: int) -> Iterator[bytes]:
    query: list[tuple[str, str]] = [("limit", str(PAGE_ROWS))]
    if name == "devices":
        query += [("role", role) for role in asking.roles]
    path = urljoin(asking.base.rstrip("/") + "/", f"api/dcim/{name}/")
    url: str | None = f"{path}?{urlencode(query)}"
    first = http.origin(asking.base)
    for _ in range(MOST_PAGES):
        if url is None:
            return
        if http.origin(url) != first:
            raise HttpError("its next page is at another host, which is not followed.")
        reply = _reply(url, asking.token, left, until)
        left -= len(reply.body)
        yield reply.body
        following = _next(reply.body)
        url = None if following is None else urljoin(url, following)
    if url is not None:
        raise HttpError(f"more than {MOST_PAGES} pages.")


def _reply(url: str, token: str, most: int, until: float) -> Reply:
    headers = {"Accept": "application/json"}
    if token:
        headers["Authorization"] = f"Token {token}"
    reply = http.get(url, headers=headers, most=most, until=until)
    asked = reply.headers.get("retry-after", "1")
    wait = int(asked) if asked.isascii() and asked.isdigit() and len(asked) <= _DIGITS else None
    if reply.status == _BUSY and wait is not None and wait <= LONGEST_WAIT_S:
        time.sleep(max(0.0, min(wait, until - time.monotonic())))
        reply = http.get(url, headers=headers, most=most, until=until)
    if reply.status != _OK:
        raise HttpError(_WORDS.get(reply.status, f"it answers with status {reply.status}") + ".")
    return reply


def _next(body: bytes) -> str | None:
    """Return the address of the next page. Raises :class:`HttpError` for what is no page."""
    try:
        page = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise HttpError("the answer is not JSON.") from None
    if not isinstance(page, dict) or not isinstance(page.get("results"), list):
        raise HttpError("the answer is no page of NetBox's.")
    following = page.get("next")
    return following if isinstance(following, str) and following else None
