"""One resource of one cluster, listed once and watched from there on, in a thread of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Event, Thread
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from controller.adapters.fleet.kubernetes.mirror import Mirror
from controller.core.kube.errors import (
    GoneError,
    InvalidError,
    KubeError,
    MissingError,
    ThrottledError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from controller.adapters.fleet.kubernetes.mirror import Project
    from controller.core.kube.access import Page, Res

log = structlog.get_logger(__name__)

NOT_LISTED: Final = "it was not listed yet"


class Reader(Protocol):
    """Lists and watches, as :class:`controller.adapters.kube.api.Api` does."""

    def pages(
        self, res: Res, namespace: str | None, *, until: float, size: int = 500
    ) -> Iterator[Page]:
        """Yield all objects in parts."""
        ...

    def watch(
        self, res: Res, namespace: str | None, *, version: str, seconds: float
    ) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield what happens after a version, for so long."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a list may take and a watch lasts, and what is waited after failures [s].

    A watch is short: that it was answered and ended in order says that nothing was missed, which
    a silent line does not. ``jitter`` in [0, 1) spreads what all do at once.
    """

    jitter: Callable[[], float]
    list_s: float = 60.0
    watch_s: float = 12.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    absent_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Feed:
    """What is watched. Without what is not ``needed`` counts are known all the same."""

    res: Res
    namespace: str | None
    project: Project = field(compare=False, hash=False)
    needed: bool = True
    chosen: Callable[[], frozenset[object]] = field(default=frozenset, compare=False, hash=False)
    """What is kept now: as a list begins, what it will be complete for."""

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        return self.res.words + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a feed answers: when all of it was last known (monotonic s), and what is wrong now."""

    current_at: float | None = None
    told: str = ""
    tries: int = 0
    """Failures since it last went well."""

    def is_current(self, now: float, within_s: float) -> bool:
        """Return whether all of it was known within the last ``within_s``."""
        return self.current_at is not None and now - self.current_at <= within_s


class Reflector:
    """Keeps a mirror of a feed. A list that fails leaves the mirror as it was (K09).

    For more to be kept another one is begun, and this one ended when that has listed.
    """

    def __init__(self, reader: Reader, feed: Feed, pace: Pace) -> None:
        self.feed = feed
        self.mirror = Mirror(feed.project)
        self.standing = Standing()
        self.complete_for: frozenset[object] | None = None
        """What the last list was asked to keep, ``None`` before it: nothing of it is missing."""
        self._reader = reader
        self._pace = pace
        self._version = ""
        self._stopped = Event()
        self._woken = Event()

    def lacks(self, chosen: frozenset[object]) -> bool:
        """Return whether a list is done and was not asked to keep all of this."""
        return self.complete_for is not None and not chosen <= self.complete_for

    def start(self) -> None:
        """Begin; the thread ends with the process."""
        Thread(target=self._run, name=f"watch {self.feed.words}", daemon=True).start()

    def stop(self) -> None:
        """End as soon as what is being waited for is over."""
        self._stopped.set()
        self._woken.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            wait_s = self._once()
            self._woken.wait(wait_s)

    def _once(self) -> float:
        """List if need be and watch once; return how long to wait before the next time [s]."""
        begun = time.monotonic()
        try:
            if not self._version:
                self._list()
            self._watch()
        except KubeError as fault:
            return self._refused(fault)
        except Exception as fault:
            log.warning("watch failed", feed=self.feed.words, exc_info=True)
            self._version = ""
            return self._failed(f"{type(fault).__name__}: {fault}")
        # A watch that ends at once must not be begun again without a pause.
        return max(begun + self._pace.first_wait_s - time.monotonic(), 0.0)

    def _refused(self, fault: KubeError) -> float:
        if isinstance(fault, ThrottledError):
            return self._failed(fault.text, wait_s=fault.wait_s)
        if isinstance(fault, MissingError):
            return self._absent(fault.text)
        if isinstance(fault, InvalidError):
            self._version = ""
        if isinstance(fault, GoneError):
            # What was missed can't be told: all of it is listed anew, at once the first time.
            self._version = ""
            return self._failed(fault.text, wait_s=0.0 if not self.standing.tries else None)
        return self._failed(fault.text)

    def _list(self) -> None:
        chosen = self.feed.chosen()
        pages = self._reader.pages(
            self.feed.res, self.feed.namespace, until=time.monotonic() + self._pace.list_s
        )
        picture, version = self.mirror.picture(), ""
        for page in pages:
            # Later pages are of the same moment; what comes after it is watched.
            version = version or page.resource_version
            picture.add(page.items)
        self.mirror.replace(picture, version)
        self._version, self.complete_for = version, chosen
        self._current()

    def _watch(self) -> None:
        seconds = self._pace.watch_s * (1.0 + 0.25 * self._pace.jitter())
        events = self._reader.watch(
            self.feed.res, self.feed.namespace, version=self._version, seconds=seconds
        )
        for event, each in events:
            self.mirror.apply(event, each)
            self._version = _later(self._version, each)
            self._current()
            if self._stopped.is_set():
                return
        self._current()

    def _current(self) -> None:
        self.standing = Standing(time.monotonic())

    def _failed(self, told: str, wait_s: float | None = None) -> float:
        tries = self.standing.tries + 1
        self.standing = replace(self.standing, told=told or self.standing.told, tries=tries)
        if wait_s is not None:
            return wait_s
        longest = min(
            self._pace.first_wait_s * 2.0 ** min(tries - 1, 10), self._pace.longest_wait_s
        )
        return longest * (0.5 + 0.5 * self._pace.jitter())

    def _absent(self, told: str) -> float:
        """Return how long to wait for a resource that the cluster doesn't have."""
        self._version = ""
        if self.feed.needed:
            return min(self._failed(told), self._pace.absent_s)
        self.mirror.replace(self.mirror.picture(), "")
        self.complete_for = self.feed.chosen()
        self._current()
        return self._pace.absent_s


def _later(version: str, each: Mapping[str, object]) -> str:
    """Return the later of a version and that of an object; what is no number counts as later."""
    metadata = each.get("metadata")
    found = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
    if not isinstance(found, str) or not found:
        return version
    if version.isdecimal() and found.isdecimal() and int(found) < int(version):
        return version
    return found
