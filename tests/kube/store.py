"""Objects and everything that ever happened to them, in one order.

Kubernetes API concepts, "Resource versions" and "Efficient detection of changes": one counter, a
list is a state at a version, and a watch tells everything after it until it is compacted.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.kube.fields import Writer
from tests.kube.kinds import REPLICAS, Kind

Object = dict[str, Any]
EPOCH = "heteroscale.io/epoch"


def text_of(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


class Key(NamedTuple):
    """Where an object is; keys of a kind sort as lists do."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Stored:
    """One state of an object; nobody changes it in place."""

    version: int
    body: Object
    text: bytes

    def copy(self) -> Object:
        """Return the object to make another of."""
        copied: Object = json.loads(self.text)
        return copied


@dataclass(frozen=True)
class Event:
    """One write: what stood there before and what stands there now."""

    version: int
    key: Key
    before: Stored | None
    after: Stored | None
    last: Stored | None
    """What a watch is told of: the new state, or the last one of what is gone."""


@dataclass(frozen=True)
class Write:
    """One write as tests look at it."""

    version: int
    key: Key
    what: str
    """ADDED, MODIFIED or DELETED."""
    manager: str
    account: str
    subresource: str
    body: Object
    """The object after it, or the last state of what is gone."""

    @property
    def replicas(self) -> Any:
        """The count of the object, whatever is there."""
        found: Any = self.body
        for step in self.key.kind.scale.wanted if self.key.kind.scale else REPLICAS:
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def annotation(self, name: str) -> str | None:
        """Return an annotation of the object."""
        found: str | None = (self.body["metadata"].get("annotations") or {}).get(name)
        return found

    @property
    def epoch(self) -> int | None:
        """Return the epoch that is stamped on the object."""
        told = self.annotation(EPOCH)
        return None if told is None else int(told)


class Store:
    """All objects of one cluster. Take ``changed`` (a lock) around what must be one step."""

    def __init__(self, *, version: int = 1000) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = version
        self.oldest = version
        """The oldest version that can still be read or watched from."""
        self.writes: list[Write] = []
        self._states: dict[Key, list[Stored | int]] = {}
        """Per key its states, oldest first; a number is the version at which it went."""
        self._live: dict[Kind, dict[Key, Stored]] = defaultdict(dict)
        self._sorted: dict[Kind, list[Key]] = {}
        """The present keys in the order of lists, until one comes or goes."""
        self._events: dict[Kind, list[Event]] = defaultdict(list)
        self._order: dict[Kind, list[int]] = defaultdict(list)

    def read(self, key: Key, at: int | None = None) -> Stored | None:
        """Return an object as it is, or as it was at a version."""
        if at is None:
            return self._live[key.kind].get(key)
        found = None
        for state in self._states.get(key, ()):
            number = state if isinstance(state, int) else state.version
            if number > at:
                break
            found = None if isinstance(state, int) else state
        return found

    def all(self, kind: Kind, namespace: str = "", at: int | None = None) -> list[Stored]:
        """Return the objects of a kind in the order lists have: namespace, then name."""
        with self.changed:
            if at is not None:
                keys = sorted(key for key in self._states if key.kind is kind)
            else:
                keys = self._order_of(kind)
            if namespace:
                keys = [key for key in keys if key.namespace == namespace]
            found = (self.read(key, at) for key in keys)
            return [state for state in found if state is not None]

    def _order_of(self, kind: Kind) -> list[Key]:
        live = self._live[kind]
        if kind not in self._sorted:
            self._sorted[kind] = sorted(live)
        return self._sorted[kind]

    def put(self, key: Key, body: Object, writer: Writer) -> Stored:
        """Store a state of an object under the next version."""
        with self.changed:
            self.version += 1
            body["metadata"]["resourceVersion"] = str(self.version)
            state = Stored(self.version, body, text_of(body))
            before = self._live[key.kind].get(key)
            self._live[key.kind][key] = state
            self._tell(Event(self.version, key, before, state, state), state, writer)
            return state

    def remove(self, key: Key, writer: Writer) -> Stored:
        """Take an object away; its last state carries the version at which it went."""
        with self.changed:
            self.version += 1
            before = self._live[key.kind].pop(key)
            body = before.copy()
            body["metadata"]["resourceVersion"] = str(self.version)
            last = Stored(self.version, body, text_of(body))
            self._tell(Event(self.version, key, before, None, last), self.version, writer)
            return last

    def _tell(self, event: Event, state: Stored | int, writer: Writer) -> None:
        kind = event.key.kind
        self._states.setdefault(event.key, []).append(state)
        self._events[kind].append(event)
        self._order[kind].append(event.version)
        if event.after is None or event.before is None:
            self._sorted.pop(kind, None)
        what = "DELETED" if event.after is None else "MODIFIED" if event.before else "ADDED"
        assert event.last is not None
        self.writes.append(
            Write(
                event.version,
                event.key,
                what,
                writer.manager,
                writer.account,
                writer.subresource,
                event.last.body,
            )
        )
        self.changed.notify_all()

    def since(self, kind: Kind, version: int) -> list[Event]:
        """Return the writes to a kind after a version."""
        with self.changed:
            return self._events[kind][bisect_right(self._order[kind], version) :]

    def compact(self, version: int | None = None) -> None:
        """Forget what was before a version (default: everything but the present)."""
        with self.changed:
            self.oldest = self.version if version is None else version
            self.changed.notify_all()

    def kinds(self) -> Iterator[Kind]:
        """Return the kinds that have objects."""
        return iter([kind for kind, live in self._live.items() if live])
