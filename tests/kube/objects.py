"""How objects are written: what the server keeps itself, checks, fills in and refuses.

Kubernetes API conventions, "Metadata" (uid, resourceVersion, generation, deletionTimestamp) and
"Concurrency Control and Consistency"; API concepts, "Resource deletion" and "Dry-run".
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from tests.kube import fields
from tests.kube.fields import Writer
from tests.kube.kinds import Kind
from tests.kube.schema import defaulted, faults_of
from tests.kube.status import bad_request, conflict, exists_already, invalid, not_found
from tests.kube.store import Key, Object, Store, Stored

KEPT = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "deletionGracePeriodSeconds",
)
GRACE_S = 30
SUFFIX = "bcdfghjklmnpqrstvwxz2456789"

Hook = Callable[["Admission"], Object | None]
"""Sees what is about to be stored; returns what is stored instead, or raises ApiError."""


@dataclass(frozen=True)
class Admission:
    """What an admission webhook is asked (Kubernetes, "Dynamic Admission Control")."""

    kind: Kind
    operation: str
    """CREATE, UPDATE or DELETE."""
    subresource: str
    new: Object
    old: Object | None
    writer: Writer


@dataclass(frozen=True)
class Change:
    """How something is to be written."""

    writer: Writer
    dry_run: bool = False
    checked: bool = True
    """False: stored as it is, as objects of an older schema are."""
    wished: frozenset[fields.Path] = field(default_factory=frozenset)


class Objects:
    """The objects of a cluster with the rules of their life."""

    def __init__(self, store: Store, clock: Callable[[], datetime], seed: int = 1) -> None:
        self.store = store
        self.clock = clock
        self.hooks: list[Hook] = []
        self.rng = random.Random(seed)  # noqa: S311 - names of pods are no secrets

    def now(self) -> str:
        """Return the time as objects carry it, in whole seconds."""
        return stamp(self.clock())

    def suffix(self, length: int = 5) -> str:
        """Return the random end of a generated name."""
        return "".join(self.rng.choices(SUFFIX, k=length))

    def get(self, key: Key, at: int | None = None) -> Stored:
        """Return an object; raises the 404 when there is none."""
        found = self.store.read(key, at)
        if found is None:
            raise not_found(key.kind, key.name)
        return found

    def create(self, kind: Kind, body: Object, change: Change) -> Stored:
        """Store a new object."""
        meta = body["metadata"] = dict(body.get("metadata") or {})
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{self.suffix()}"
        name, namespace = meta.get("name", ""), meta.get("namespace", "")
        if meta.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        key = Key(kind, namespace if kind.namespaced else "", name)
        with self.store.changed:
            if self.store.read(key) is not None:
                raise exists_already(kind, name)
            body = defaulted(kind, body) if change.checked else body
            body["apiVersion"], body["kind"] = kind.api, kind.name
            self._new_metadata(kind, body)
            body = self._admitted(Admission(kind, "CREATE", "", body, None, change.writer))
            return self._store(key, None, body, change)

    def _new_metadata(self, kind: Kind, body: Object) -> None:
        meta = body["metadata"]
        for kept in (*KEPT, "managedFields"):
            meta.pop(kept, None)
        meta["uid"] = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        meta["creationTimestamp"] = self.now()
        if kind.generations:
            meta["generation"] = 1

    def update(
        self, key: Key, make: Callable[[Object], Object], change: Change, *, create: bool = False
    ) -> Stored:
        """Store what ``make`` makes of the object, under the rules of the subresource.

        A resourceVersion or uid that ``make`` leaves in the metadata and that isn't the present
        one is a conflict: nothing is written.
        """
        with self.store.changed:
            found = self.store.read(key)
            if found is None and create:
                return self.create(key.kind, make({}), change)
            old = self.get(key)
            body = make(old.copy())
            _compare(key, old.body, body)
            body = _within(key.kind, change.writer.subresource, old.copy(), body)
            body = defaulted(key.kind, body) if change.checked else body
            body = self._admitted(
                Admission(
                    key.kind, "UPDATE", change.writer.subresource, body, old.body, change.writer
                )
            )
            return self._store(key, old, body, change)

    def _admitted(self, asked: Admission) -> Object:
        body = asked.new
        for hook in self.hooks:
            answer = hook(replace(asked, new=body))
            body = body if answer is None else answer
        return body

    def _store(self, key: Key, old: Stored | None, body: Object, change: Change) -> Stored:
        if change.checked and (causes := faults_of(key.kind, body)):
            raise invalid(key.kind, key.name, causes)
        before = old.body if old else None
        if before is not None:
            self._carry(key.kind, before, body)
        body["metadata"]["managedFields"] = fields.credited(
            before, body, change.writer, time=self.now(), wished=change.wished
        )
        if old is not None and _same(old.body, body):
            return old
        if change.dry_run:
            return Stored(0, body, b"")
        if old is not None and _is_finished(body):
            return self.store.remove(key, change.writer)
        return self.store.put(key, body, change.writer)

    def _carry(self, kind: Kind, old: Object, body: Object) -> None:
        meta = body["metadata"]
        meta["name"] = old["metadata"]["name"]
        meta["resourceVersion"] = old["metadata"]["resourceVersion"]
        for kept in KEPT:
            meta.pop(kept, None)
            if kept in old["metadata"]:
                meta[kept] = old["metadata"][kept]
        if kind.generations and _desired(old) != _desired(body):
            meta["generation"] = old["metadata"].get("generation", 0) + 1

    def delete(
        self,
        key: Key,
        change: Change,
        *,
        grace_s: int | None = None,
        only_if: Object | None = None,
    ) -> Stored:
        """Delete: at once, or marked with a time while finalizers or a pod's grace last.

        Kubernetes, "Finalizers" and "Pod Lifecycle", "Termination of Pods": a pod that runs is
        marked; the kubelet takes it away. With a grace of 0 it goes at once.
        """
        with self.store.changed:
            old = self.get(key)
            preconditions(key, old.body, only_if or {})
            for hook in self.hooks:
                hook(Admission(key.kind, "DELETE", "", old.copy(), old.body, change.writer))
            grace = _grace(key.kind, old.body, grace_s)
            if change.dry_run:
                return old
            if not old.body["metadata"].get("finalizers") and not grace:
                return self.store.remove(key, change.writer)
            return self._mark(key, old, grace, change.writer)

    def _mark(self, key: Key, old: Stored, grace: int, writer: Writer) -> Stored:
        """Give an object the time at which it goes; a later one than it has changes nothing."""
        if old.body["metadata"].get("deletionGracePeriodSeconds", grace + 1) <= grace:
            return old
        body = old.copy()
        until = self.clock() + timedelta(seconds=grace)
        body["metadata"]["deletionTimestamp"] = stamp(until)
        body["metadata"]["deletionGracePeriodSeconds"] = grace
        return self.store.put(key, body, writer)


def stamp(moment: datetime) -> str:
    """Write a time as objects carry it, in whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _grace(kind: Kind, body: Object, asked: int | None) -> int:
    if kind.plural != "pods" or not (body.get("spec") or {}).get("nodeName"):
        return 0
    own = body["spec"].get("terminationGracePeriodSeconds", GRACE_S)
    return own if asked is None else asked


def _compare(key: Key, old: Object, new: Object) -> None:
    """Refuse what was made of another state, or of another object of that name."""
    meta = new.get("metadata") or {}
    new["metadata"] = meta
    if meta.get("name", key.name) != key.name:
        told = f"the name of the object ({meta['name']}) does not match the name on the URL"
        raise bad_request(f"{told} ({key.name})")
    preconditions(key, old, {"uid": meta.get("uid")})
    version = meta.get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        raise conflict(key.kind, key.name)


def preconditions(key: Key, old: Object, asked: Object) -> None:
    """Refuse what is asked of another object, or of another state of it."""
    for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        want, have = asked.get(name), old["metadata"][name]
        if want and want != have:
            told = f"{label} in precondition: {want}, {label} in object meta: {have}"
            raise conflict(key.kind, key.name, f"Precondition failed: {told}")


def _within(kind: Kind, subresource: str, old: Object, new: Object) -> Object:
    """Keep what a door may not change: status by the main one, all else by ``/status``."""
    if subresource == "status":
        return {**old, "status": new.get("status") or {}}
    if kind.status and subresource != "binding":
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def _desired(body: Object) -> Object:
    return {key: value for key, value in body.items() if key not in {"metadata", "status"}}


def _same(old: Object, new: Object) -> bool:
    """Say whether a write changes nothing; such a write is none (no new version)."""
    return _timeless(old) == _timeless(new)


def _timeless(body: Object) -> Object:
    owners = [
        {key: each for key, each in entry.items() if key != "time"}
        for entry in body["metadata"].get("managedFields") or ()
    ]
    return {**body, "metadata": {**body["metadata"], "managedFields": owners}}


def _is_finished(body: Object) -> bool:
    """Say whether nothing keeps a deleted object any more: no finalizer and no grace."""
    meta = body["metadata"]
    return (
        "deletionTimestamp" in meta
        and not meta.get("finalizers")
        and not meta.get("deletionGracePeriodSeconds")
    )
