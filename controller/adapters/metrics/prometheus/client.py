"""One endpoint asked for ranges: limits, one more try, and what its answer means."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import orjson
import requests

from controller.adapters import http
from controller.adapters.http import HttpError, Reply, Tls, UnreachableError
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid

MOST_BYTES: Final = 32 * 2**20
LONGEST_WAIT_S: Final = 3.0
"""An answer that asks to wait longer than this is not asked again in the same tick."""
JITTER_S: Final = (0.1, 0.4)
CLOCK_SLACK_S: Final = 5.0
MOST_TEXT: Final = 200
MOST_TOLD: Final = 5
_BUSY: Final = frozenset({429, 503})
_DELAY: Final = re.compile(r"\d{1,5}", re.ASCII)
_POSITION: Final = re.compile(r"\b\d+:\d+: ")
# VictoriaMetrics repeats the whole query before it says what is wrong with it.
_REPEATED: Final = re.compile(
    r'error when executing query="(?:[^"\\]|\\.)*" (?:on the time range|for) [^)]*\): '
    r"|cannot execute query: "
)
_QUERY: Final = re.compile(r'"(?:[^"\\]|\\.){60,}"')
_WORDS: Final[Mapping[int, str]] = {
    401: "It does not accept the credentials, or wants a tenant.",
    403: "It does not allow these credentials to ask.",
    404: "Nothing answers queries at this address: is it Prometheus's own?",
    405: "It does not take queries as POST: a proxy before it must let them through.",
    429: "It asks to be left alone for longer than can be waited.",
    503: "It is not ready, or overloaded.",
}
# Every parameter is ignored by those who don't know it. Thanos: merge replicas, and rather tell
# what is missing than fail. VictoriaMetrics: nothing cached, no thirty seconds held back.
_ALWAYS: Final[Mapping[str, str]] = {
    "dedup": "true",
    "partial_response": "true",
    "nocache": "1",
    "latency_offset": "1s",
}


class SourceError(Exception):
    """An endpoint gave no usable answer; the text names no credential."""


class QueryError(SourceError):
    """The endpoint works and refuses this query: a part of it may be at fault."""


@dataclass(frozen=True, slots=True)
class Login:
    """As whom to ask: a bearer token, or user and password; a tenant; certificates."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    tenant: str = ""
    tls: Tls | None = None

    def headers(self) -> dict[str, str]:
        """Return the headers. Raises :class:`SourceError` for what no header can hold."""
        found: dict[str, str] = {}
        if self.tenant:
            # The one of Mimir, Cortex and VictoriaMetrics's proxies, and the one of Thanos.
            found["X-Scope-OrgID"] = found["THANOS-TENANT"] = self.tenant
        if self.token:
            found["Authorization"] = f"Bearer {self.token}"
        elif self.user:
            found["Authorization"] = f"Basic {self._basic()}"
        if not all(value.isascii() and value.isprintable() for value in found.values()):
            raise SourceError("Token and tenant may only have characters that a header can hold.")
        return found

    def hidden(self, text: str) -> str:
        """Return somebody else's text short, in one line, without what is secret here."""
        for secret in filter(None, (self.token, self.password, self._basic())):
            text = text.replace(secret, "…")
        short = "".join(letter if letter.isprintable() else " " for letter in text)
        return short if len(short) <= MOST_TEXT else short[: MOST_TEXT - 1] + "…"

    def _basic(self) -> str:
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where queries are asked: the address before ``/api/v1``, and as whom."""

    name: str
    base: str
    login: Login = Login()
    most: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Answer:
    """Series as they came, whether some are known to be missing, and what else was told.

    ``ahead_s`` is by how much its clock is ahead of ours: so much longer ago is what it calls now.
    """

    result: list[object]
    partial: bool
    told: tuple[str, ...]
    ahead_s: float = 0.0


def ask(endpoint: Endpoint, query: str, grid: Grid, turn: Turn) -> Answer:
    """Return what an endpoint answers to a query over a grid.

    Asked once more, after a pause of its choice or with jitter, if it is busy or can't be
    reached. Raises :class:`SourceError`.
    """
    request = requests.Request(
        "POST",
        f"{endpoint.base.rstrip('/')}/api/v1/query_range",
        # Frontends of Thanos and Mimir would answer from what they keep.
        {**endpoint.login.headers(), "Accept-Encoding": "gzip", "Cache-Control": "no-store"},
        data={
            "query": query,
            "start": f"{grid.oldest_s:.3f}",
            "end": f"{grid.newest_s:.3f}",
            "step": f"{grid.step_s:g}",
            "timeout": f"{max(1000 * (turn.until - time.monotonic()), 1):.0f}ms",
            **_ALWAYS,
        },
    )
    try:
        reply = _patient(endpoint, request, turn)
    except HttpError as fault:
        raise SourceError(str(fault)) from None
    told = _told(reply, endpoint.login)
    return _answer(told, endpoint.login, _ahead_s(reply, turn))


def _patient(endpoint: Endpoint, request: requests.Request, turn: Turn) -> Reply:
    def once() -> Reply:
        return http.exchange(
            request,
            most=endpoint.most,
            until=turn.until,
            tls=endpoint.login.tls,
            within=turn.within,
        )

    pause_s = float(turn.rng.uniform(*JITTER_S))
    try:
        reply = once()
    except UnreachableError:
        if time.monotonic() + pause_s >= turn.until:
            raise
    else:
        asked = reply.headers.get("retry-after", "")
        if _DELAY.fullmatch(asked):
            pause_s += int(asked)
        late = time.monotonic() + pause_s >= turn.until
        if reply.status not in _BUSY or late or pause_s > LONGEST_WAIT_S + JITTER_S[1]:
            return reply
    turn.sleep(pause_s)
    return once()


def _told(reply: Reply, login: Login) -> dict[str, object]:
    """Return the JSON of an answer. Raises :class:`SourceError`, with its own words if any."""
    try:
        told = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        told = None
    if isinstance(told, dict) and told.get("status") == "error":
        kind = QueryError if reply.status in {400, 422} else SourceError
        raise kind(f"It says: {login.hidden(_reason(told))}")
    if reply.status != http.OK:
        raise SourceError(_WORDS.get(reply.status, f"It answers with status {reply.status}."))
    if isinstance(told, dict):
        return told
    if "html" in reply.headers.get("content-type", "") or reply.body.lstrip()[:1] == b"<":
        raise SourceError("It answers with a page: is there a login before it?")
    raise SourceError("Its answer is not JSON.")


def _reason(told: dict[str, object]) -> str:
    """Return why a query was refused, without a query or a position that nobody has seen."""
    text = str(told.get("error") or told.get("errorType"))
    return _QUERY.sub("the query", _REPEATED.sub("", _POSITION.sub("", text)))


def _answer(told: dict[str, object], login: Login, ahead_s: float) -> Answer:
    data = told.get("data")
    result = data.get("result") if isinstance(data, dict) else None
    if told.get("status") != "success" or not isinstance(result, list):
        raise SourceError("Its answer is none of Prometheus's.")
    warnings, infos = _texts(told.get("warnings"), login), _texts(told.get("infos"), login)
    # Some releases tell notes about the query among the warnings; those miss no series.
    missing = [text for text in warnings if not text.startswith("PromQL info:")]
    unfinished = told.get("isPartial") is True
    if unfinished and not missing:
        warnings.append("Some of its stores did not answer.")
    return Answer(
        result,
        partial=bool(missing) or unfinished,
        told=(*_clock(ahead_s), *warnings[:MOST_TOLD], *infos[:MOST_TOLD]),
        ahead_s=ahead_s,
    )


def _texts(told: object, login: Login) -> list[str]:
    return [login.hidden(str(each)) for each in told] if isinstance(told, list) else []


def _ahead_s(reply: Reply, turn: Turn) -> float:
    """Return by how much its clock is ahead of ours [s], 0 where it doesn't tell."""
    try:
        theirs_s = parsedate_to_datetime(reply.headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return 0.0
    return theirs_s - turn.now_s - (time.monotonic() - turn.begun)


def _clock(ahead_s: float) -> tuple[str, ...]:
    """Return a sentence if its clock is not ours: ages of samples would be wrong (M08)."""
    if abs(ahead_s) <= CLOCK_SLACK_S:
        return ()
    return (f"Its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} ours.",)
