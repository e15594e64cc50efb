"""All targets of an endpoint scraped at once: bounded, and none at the cost of another."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import Final

import requests

from controller.adapters import http
from controller.adapters.access import headers_of, tls_of
from controller.adapters.exposition import ExpositionError, read_exposition
from controller.adapters.http import HttpError, Reply
from controller.adapters.turn import Turn
from controller.core.readings.scrapes import Sample, Scrape
from controller.core.readings.sources import Source, Target
from controller.core.signals import FUTURE_SLACK_S

AT_ONCE: Final = 64
"""Targets asked at a time: most of the time of each is waiting."""
MOST_BYTES: Final = 4 * 2**20
"""The longest answer of one target: large engines say a tenth of it."""
MOST_SAMPLES: Final = 1_000_000
"""Wanted samples of all targets together."""
PATIENCE_S: Final = 3.0
"""The longest that one target may take: others wait for its place."""
LATE: Final = "It did not answer in time."
NO_TIME: Final = "There was no time left to ask it."
_ACCEPT: Final = "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5"
_WORDS: Final[Mapping[int, str]] = {
    401: "It does not accept the credentials.",
    403: "It does not allow these credentials to ask.",
    404: "It has no metrics at this address.",
    429: "It asks to be left alone for now.",
    503: "It is not ready, or overloaded.",
}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What targets answered, by address, and of the others why not; doubts about what they say."""

    scrapes: Mapping[str, Scrape]
    faults: Mapping[str, str]
    doubts: Mapping[str, str]


def fetch(
    source: Source, names: Collection[str], turn: Turn, *, oldest_s: float, last: Collection[str]
) -> Fetched:
    """Return what the targets say of the metrics named, by ``turn.until``.

    Samples dated before ``oldest_s`` [s since the epoch] or in the future are left out, and told.
    Targets in ``last`` are asked after all others: they did not answer before, and may take long.
    """
    fetching = _Fetching(source, names, turn, oldest_s)
    order = sorted(source.targets, key=lambda target: target.url in last)
    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scrape")
    futures = [pool.submit(fetching.one, target) for target in order]
    wait(futures, timeout=max(turn.until - time.monotonic(), 0.0))
    pool.shutdown(wait=False, cancel_futures=True)
    return fetching.fetched(order)


class _Fetching:
    """One look at all targets; threads that come late change nothing that was given out."""

    def __init__(
        self, source: Source, names: Collection[str], turn: Turn, oldest_s: float
    ) -> None:
        self._source, self._names, self._turn, self._oldest_s = source, names, turn, oldest_s
        self._lock = Lock()
        self._left = MOST_SAMPLES
        self._begun: set[str] = set()
        self._scrapes: dict[str, Scrape] = {}
        self._faults: dict[str, str] = {}
        self._doubts: dict[str, str] = {}
        self._labels: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}

    def one(self, target: Target) -> None:
        """Scrape one target, and keep what it says or why it doesn't."""
        self._begun.add(target.url)
        try:
            reply = self._asked(target)
            at_s = self._turn.now_s + time.monotonic() - self._turn.begun
            # One at a time: an interpreter reads no faster by several, and needs more memory.
            with self._lock:
                self._keep(target.url, reply, at_s)
        except (HttpError, ExpositionError) as fault:
            self._faults[target.url] = str(fault)

    def fetched(self, order: Sequence[Target]) -> Fetched:
        """Return what is there by now."""
        scrapes, faults = dict(self._scrapes), dict(self._faults)
        for target in order:
            if target.url not in scrapes:
                faults.setdefault(target.url, LATE if target.url in self._begun else NO_TIME)
        return Fetched(scrapes, faults, dict(self._doubts))

    def _asked(self, target: Target) -> Reply:
        until = min(self._turn.until, time.monotonic() + PATIENCE_S)
        access = self._source.access
        told = {**headers_of(access), "Accept": _ACCEPT, "Accept-Encoding": "gzip"}
        request = requests.Request("GET", target.url, told)
        reply = http.exchange(
            request, most=MOST_BYTES, until=until, tls=tls_of(access), within=self._turn.within
        )
        if reply.status != http.OK:
            raise HttpError(_WORDS.get(reply.status, f"It answers with status {reply.status}."))
        page = "html" in reply.headers.get("content-type", "")
        if page or reply.body.lstrip()[:1] == b"<":
            raise HttpError("It answers with a page: is there a login before it?")
        return reply

    def _keep(self, url: str, reply: Reply, at_s: float) -> None:
        scrape = read_exposition(reply.body, at_s, self._names)
        self._left -= sum(map(len, scrape.samples.values()))
        if self._left < 0:
            raise HttpError(f"All targets together have more than {MOST_SAMPLES} samples.")
        doubt = _doubt(scrape, self._oldest_s)
        if doubt:
            self._doubts[url] = doubt
        samples = {name: self._sound(found, at_s) for name, found in scrape.samples.items()}
        kept = {name: found for name, found in samples.items() if found}
        self._scrapes[url] = Scrape(at_s, kept, scrape.names)

    def _sound(self, samples: Sequence[Sample], at_s: float) -> list[Sample]:
        return [
            Sample(self._shared(each.labels), each.value, each.at_s)
            for each in samples
            if each.at_s is None or self._oldest_s <= each.at_s <= at_s + FUTURE_SLACK_S
        ]

    def _shared(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        # Engines of one kind say the same labels: thousands of them are kept once.
        return self._labels.setdefault(tuple(labels.items()), labels)


def _doubt(scrape: Scrape, oldest_s: float) -> str | None:
    """Return what is wrong with the times that an exporter gives its samples (M07, M08)."""
    times = [
        each.at_s for found in scrape.samples.values() for each in found if each.at_s is not None
    ]
    if not times:
        return None
    ahead_s, age_s = max(times) - scrape.at_s, scrape.at_s - min(times)
    if ahead_s > FUTURE_SLACK_S:
        return f"It dates samples {ahead_s:.0f} s ahead of our clock; they don't count."
    if min(times) < oldest_s:
        return f"It has samples that are {age_s:.0f} s old; they don't count."
    return None
