"""Objects of one kind as a cluster has them: filled by lists, kept current by events.

Whatever comes twice, late or in another order leaves the same picture (K08): what counts is the
newest version of each object, and an object is its uid, not its name (K11).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Object = Mapping[str, object]
Project = Callable[[Object], bytes | None]
"""Makes of an object what is kept of it; ``None``: nothing."""

Name = tuple[str, str]
"""Namespace and name."""

MOST_GONE: Final = 5_000
"""So many objects that went are remembered, so that a late word does not bring them back."""


@dataclass(frozen=True, slots=True)
class _Kept:
    uid: str
    version: int
    body: bytes


class Picture:
    """What is kept of a list while its parts come in; half a list is none (K09)."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.kept: dict[Name, _Kept] = {}

    def add(self, objects: Iterable[Object]) -> None:
        """Take a part of the list."""
        for each in objects:
            body = self._project(each)
            name, uid = _identity(each)
            if body is not None and uid:
                self.kept[name] = _Kept(uid, _version(each), body)


class Mirror:
    """A table of what is kept of each object by namespace and name. Threads may share it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = Lock()
        self._kept: dict[Name, _Kept] = {}
        self._gone: OrderedDict[str, int] = OrderedDict()
        self._listed = 0
        self.changes = 0
        """Grows with each change of what is kept."""

    def picture(self) -> Picture:
        """Return where the parts of a list are put until it is whole."""
        return Picture(self._project)

    def replace(self, picture: Picture, version: str) -> None:
        """Take a whole list in place of all there was; ``version`` is the list's."""
        kept = picture.kept
        with self._lock:
            if {name: (one.uid, one.body) for name, one in kept.items()} != {
                name: (one.uid, one.body) for name, one in self._kept.items()
            }:
                self.changes += 1
            self._kept = kept
            self._gone.clear()
            self._listed = _number(version)

    def apply(self, event: str, each: Object) -> None:
        """Take one event of a watch; what is older than what is known changes nothing."""
        if event not in {"ADDED", "MODIFIED", "DELETED"}:
            return
        name, uid = _identity(each)
        if not uid:
            return
        version = _version(each)
        body = None if event == "DELETED" else self._project(each)
        with self._lock:
            if body is None:
                self._leave(name, uid, version)
            elif self._is_news(name, uid, version):
                known, one = self._kept.get(name), _Kept(uid, version, body)
                self._kept[name] = one
                self.changes += known is None or (known.uid, known.body) != (uid, body)

    def _is_news(self, name: Name, uid: str, version: int) -> bool:
        """Return whether an event says more than what is known; without a version all does."""
        known = self._kept.get(name)
        newest = max(self._gone.get(uid, 0), known.version if known else self._listed)
        return not version or version > newest

    def _leave(self, name: Name, uid: str, version: int) -> None:
        """Forget an object; another one of its name stays, which was made after it went."""
        known = self._kept.get(name)
        if known is not None and known.uid == uid and (not version or version > known.version):
            del self._kept[name]
            self.changes += 1
        self._gone[uid] = max(version, self._gone.pop(uid, 0))
        if len(self._gone) > MOST_GONE:
            self._gone.popitem(last=False)

    def bodies(self) -> list[bytes]:
        """Return what is kept of all objects, by namespace and name."""
        with self._lock:
            return [self._kept[name].body for name in sorted(self._kept)]

    def get(self, namespace: str, name: str) -> bytes | None:
        """Return what is kept of one object, ``None`` where there is none."""
        with self._lock:
            found = self._kept.get((namespace, name))
        return None if found is None else found.body

    def __len__(self) -> int:
        return len(self._kept)


def _identity(each: Object) -> tuple[Name, str]:
    """Return namespace, name and uid; an object without them has an empty uid and is left."""
    metadata = each.get("metadata")
    if not isinstance(metadata, Mapping):
        return ("", ""), ""
    namespace, name, uid = (metadata.get(key) for key in ("namespace", "name", "uid"))
    if not isinstance(name, str) or not isinstance(uid, str):
        return ("", ""), ""
    return (namespace if isinstance(namespace, str) else "", name), uid


def _version(each: Object) -> int:
    metadata = each.get("metadata")
    found = metadata.get("resourceVersion") if isinstance(metadata, Mapping) else None
    return _number(found) if isinstance(found, str) else 0


def _number(version: str) -> int:
    """Return a version as a number: they count up, as the API's own conventions have it now.

    One that is no number counts as unknown, and then every event is news.
    """
    return int(version) if version.isdecimal() else 0
