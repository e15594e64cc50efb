"""Lists and watches.

Kubernetes API concepts, "Retrieving large results sets in chunks", "Resource versions" (semantics
for get and list, and for watch), "Watch bookmarks" and "410 Gone responses".
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.kube.kinds import Kind
from tests.kube.selectors import Test, by_fields, by_labels
from tests.kube.status import ApiError, Cause, bad_request, expired
from tests.kube.store import Event, Store, Stored, text_of

TOKEN_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You must start a new list without the continue parameter."
)
LIST_EXPIRED = "The resourceVersion for the provided list is too old."
LONGEST_S = 1800.0
LOOK_S = 0.5
"""How often a watch that has nothing to tell looks whether its client is still there."""


@dataclass(frozen=True)
class Asked:
    """What is to be listed or watched."""

    kind: Kind
    namespace: str
    query: Mapping[str, str]
    version: int | None = None
    """Answered as at this version (a stale answer)."""

    @property
    def test(self) -> Test:
        tests = [
            by_labels(self.query.get("labelSelector", "")),
            by_fields(self.kind, self.query.get("fieldSelector", "")),
        ]
        wanted = [test for test in tests if test is not None]
        return lambda found: all(test(found) for test in wanted)

    @property
    def selective(self) -> bool:
        return bool(self.query.get("labelSelector") or self.query.get("fieldSelector"))


def listed(store: Store, asked: Asked) -> bytes:
    """Return a list, or the part of it that ``limit`` and ``continue`` ask for."""
    with store.changed:
        version, start = _where(store, asked)
        at = asked.version if asked.version is not None else version
        found = store.all(asked.kind, asked.namespace, at)
        told = store.version if at is None else at
    if asked.selective:
        test = asked.test
        found = [each for each in found if test(each.body)]
    if start is not None:
        found = [each for each in found if _place(each) > start]
    limit = int(asked.query.get("limit") or 0)
    page = found[:limit] if limit else found
    meta: dict[str, Any] = {"resourceVersion": str(told)}
    if len(page) < len(found):
        meta["continue"] = _token(told, _place(page[-1]))
        if not asked.selective:
            meta["remainingItemCount"] = len(found) - len(page)
    head = {"kind": f"{asked.kind.name}List", "apiVersion": asked.kind.api, "metadata": meta}
    items = b",".join(each.text for each in page)
    return text_of(head)[:-1] + b',"items":[' + items + b"]}"


def _place(found: Stored) -> tuple[str, str]:
    meta = found.body["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _token(version: int, place: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *place]).encode()).decode()


def _where(store: Store, asked: Asked) -> tuple[int | None, tuple[str, str] | None]:
    """Return the version to list at (None: the present) and the place to go on from."""
    query = asked.query
    wanted, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    if token := query.get("continue"):
        if wanted and wanted != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        return _continued(store, token)
    if match and not wanted:
        raise _forbidden_match(
            "resourceVersionMatch is forbidden unless resourceVersion is provided"
        )
    if match == "Exact" and wanted == "0":
        raise _forbidden_match('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    version = number(wanted)
    not_newer_than_now(store, version)
    exact = match == "Exact" or (not match and version and query.get("limit"))
    if exact and version < store.oldest:
        raise expired(LIST_EXPIRED)
    return (version if exact else None), None


def _continued(store: Store, token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
    except ValueError:
        raise bad_request("continue key is not valid") from None
    if version < store.oldest:
        raise expired(TOKEN_EXPIRED)
    return version, (namespace, name)


def _forbidden_match(text: str) -> ApiError:
    cause = Cause("resourceVersionMatch", f"Forbidden: {text}", "FieldValueForbidden")
    listed_ = [{"reason": cause.reason, "message": cause.message, "field": cause.field}]
    about = {"group": "meta.k8s.io", "kind": "ListOptions", "causes": listed_}
    full = f'ListOptions.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
    return ApiError(422, full, details=about)


def number(text: str) -> int:
    """Read a resource version; clients must not, but the server knows its own."""
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": invalid resource version')
    return int(text)


def not_newer_than_now(store: Store, version: int) -> None:
    """Refuse a version of the future: the 504 with a cause of its own."""
    if version > store.version:
        text = f"Too large resource version: {version}, current: {store.version}"
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        about = {"retryAfterSeconds": 1, "causes": [cause]}
        raise ApiError(504, f"Timeout: {text}", details=about, headers={"Retry-After": "1"})


def check_watch(store: Store, asked: Asked) -> None:
    """Refuse a watch that can't be begun; that its version is gone is told in the stream."""
    assert asked.test is not None
    not_newer_than_now(store, number(asked.query.get("resourceVersion", "")))


def _line(what: str, text: bytes) -> bytes:
    return b'{"type":"' + what.encode() + b'","object":' + text + b"}\n"


def _gone(version: int, oldest: int) -> bytes:
    text = f"too old resource version: {version} ({oldest})"
    return _line("ERROR", text_of(expired(text).body))


@dataclass
class Watch:
    """One watch: a stream of lines until its time is over or something ends it."""

    store: Store
    asked: Asked
    bookmark_s: float
    gone: Callable[[], bool]
    """Whether the client went away, or the server stops."""
    wait: Callable[[], None]
    """Blocks while the server is paused."""
    at: int = 0
    ended: str = ""
    """Set from outside: ``closed``, or ``gone`` for an ERROR of 410."""
    marked: int = 0
    """Set from outside, under the lock: bookmarks that were asked for."""

    def lines(self) -> Iterator[bytes]:
        """Yield events as they come."""
        begun_s = time.monotonic()
        until_s = begun_s + float(self.asked.query.get("timeoutSeconds") or LONGEST_S)
        mark_s, told_marks = begun_s + self.bookmark_s, self.marked
        first = number(self.asked.query.get("resourceVersion", ""))
        if first == 0:
            yield from self._present()
        elif first < self.store.oldest:
            yield _gone(first, self.store.oldest)
            return
        else:
            self.at = first
        test = self.asked.test
        while not self.gone():
            self.wait()
            # Read first: what was written before the end is told before it.
            ended = self.ended
            yield from self._new(test)
            now_s = time.monotonic()
            if now_s >= mark_s or self.marked > told_marks or now_s >= until_s:
                mark_s, told_marks = now_s + self.bookmark_s, self.marked
                yield from self._bookmark()
            if ended == "gone":
                yield _gone(self.at, self.store.version)
            if ended or now_s >= until_s:
                return
            self._sleep(min(LOOK_S, until_s - now_s, mark_s - now_s), told_marks)

    def _present(self) -> Iterator[bytes]:
        with self.store.changed:
            self.at = self.store.version
            found = self.store.all(self.asked.kind, self.asked.namespace)
        test = self.asked.test
        yield from (_line("ADDED", each.text) for each in found if test(each.body))

    def _new(self, test: Test) -> Iterator[bytes]:
        with self.store.changed:
            events, self.at = self.store.since(self.asked.kind, self.at), self.store.version
        for event in events:
            if not self.asked.namespace or event.key.namespace == self.asked.namespace:
                yield from told(event, test)

    def _bookmark(self) -> Iterator[bytes]:
        if self.asked.query.get("allowWatchBookmarks") not in {"1", "true"}:
            return
        meta = {"resourceVersion": str(self.at), "creationTimestamp": None}
        kind = self.asked.kind
        yield _line(
            "BOOKMARK", text_of({"kind": kind.name, "apiVersion": kind.api, "metadata": meta})
        )

    def _sleep(self, most_s: float, marks: int) -> None:
        with self.store.changed:
            if self.store.version == self.at and not self.ended and self.marked == marks:
                self.store.changed.wait(max(most_s, 0.0))


def told(event: Event, test: Test) -> Iterator[bytes]:
    """Yield what a watch with a selector is told: an object that leaves it is deleted for it."""
    was = event.before is not None and test(event.before.body)
    now = event.after is not None and test(event.after.body)
    assert event.last is not None
    if now:
        yield _line("MODIFIED" if was else "ADDED", event.last.text)
    elif was and event.before is not None:
        # The object as it was last seen, under the version at which it went or left.
        body = event.before.copy()
        body["metadata"]["resourceVersion"] = str(event.version)
        yield _line("DELETED", text_of(body))
