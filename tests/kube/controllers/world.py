"""What controllers see in one round, and how they write."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from tests.kube.fields import Writer
from tests.kube.kinds import Kind
from tests.kube.objects import Change, Objects
from tests.kube.status import ApiError
from tests.kube.store import Key, Object

MANAGER = Writer("kube-controller-manager", "system:kube-controller-manager")
HASH_LENGTH = 10


class World:
    """The objects of a cluster at the beginning of a round; writes go through at once."""

    def __init__(self, objects: Objects, kinds: list[Kind]) -> None:
        self.objects = objects
        self._kinds = {kind.name: kind for kind in kinds}

    @cached_property
    def _by_owner(self) -> Mapping[str, list[Object]]:
        found: dict[str, list[Object]] = defaultdict(list)
        for pod in self.all("Pod"):
            if owner := controller_of(pod):
                found[owner["uid"]].append(pod)
        return found

    def kind(self, name: str) -> Kind:
        return self._kinds[name]

    def all(self, kind: str) -> list[Object]:
        """Return the objects of a kind; they are read, never changed in place."""
        if kind not in self._kinds:
            return []
        return [each.body for each in self.objects.store.all(self._kinds[kind])]

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        found = self.objects.store.read(Key(self._kinds[kind], namespace, name))
        return None if found is None else found.body

    def owned(self, owner: Object) -> list[Object]:
        """Return the pods whose controller an object is."""
        return self._by_owner[owner["metadata"]["uid"]]

    def create(self, owner: Object, body: Object) -> None:
        """Create what belongs to an object; what the server refuses is tried again next round."""
        meta = body["metadata"]
        meta["namespace"] = owner["metadata"]["namespace"]
        meta["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
        self._try(lambda: self.objects.create(self._kinds[body["kind"]], body, Change(MANAGER)))

    def pod(self, owner: Object, template: Object, **meta: Any) -> None:
        """Create a pod of a template; ``meta`` is its name, and labels beyond the template's."""
        own = template.get("metadata") or {}
        labels = {**(own.get("labels") or {}), **meta.pop("labels", {})}
        notes = {**(own.get("annotations") or {}), **meta.pop("annotations", {})}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**meta, "labels": labels, **({"annotations": notes} if notes else {})},
            "spec": json.loads(json.dumps(template.get("spec") or {})),
            "status": {"phase": "Pending"},
        }
        self.create(owner, body)

    def update(self, body: Object, change: Object, writer: Writer = MANAGER) -> Object:
        """Put other values at the top of an object: ``{"spec": ...}`` or ``{"status": ...}``.

        What somebody else has written since it was read is not written over: the old body comes
        back, and the next round sees to it.
        """
        if all(body.get(part) == each for part, each in change.items()):
            return body
        if "status" in change and not writer.subresource:
            writer = replace(writer, subresource="status")
        wish = {**body, **change, "metadata": dict(body["metadata"])}
        try:
            return self.objects.update(self.key(body), lambda _: wish, Change(writer)).body
        except ApiError:
            return body

    def delete(self, body: Object, grace_s: int | None = None) -> None:
        self._try(lambda: self.objects.delete(self.key(body), Change(MANAGER), grace_s=grace_s))

    def key(self, body: Object) -> Key:
        meta = body["metadata"]
        kind = self._kinds[body["kind"]]
        return Key(kind, meta.get("namespace", "") if kind.namespaced else "", meta["name"])

    def _try(self, write: Any) -> None:
        try:
            write()
        except ApiError:
            # Real controllers log it and come again.
            return


def controller_of(body: Object) -> Mapping[str, Any] | None:
    """Return the owner that controls an object."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), None)


def is_active(pod: Object) -> bool:
    """Say whether a pod counts: neither going nor ended."""
    phase = (pod.get("status") or {}).get("phase")
    return "deletionTimestamp" not in pod["metadata"] and phase not in {"Failed", "Succeeded"}


def condition(body: Object, name: str) -> Mapping[str, Any]:
    """Return a condition; empty when it isn't told."""
    told = (body.get("status") or {}).get("conditions") or ()
    return next((each for each in told if each["type"] == name), {})


def is_ready(pod: Object) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def hash_of(template: Object) -> str:
    """Return what tells pods of one template from those of another."""
    text = json.dumps(template, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:HASH_LENGTH]


def count_of(body: Object) -> int:
    """Return how many an object asks for; what is no count asks for nothing new."""
    count = (body.get("spec") or {}).get("replicas", 1)
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def with_conditions(body: Object, now: str, *told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the conditions of an object with some told anew; what others told stays."""
    found = {each["type"]: each for each in (body.get("status") or {}).get("conditions") or ()}
    for each in told:
        before = found.get(each["type"], {})
        same = before.get("status") == each["status"]
        since = before.get("lastTransitionTime", now) if same else now
        found[each["type"]] = {**each, "lastTransitionTime": since}
    return list(found.values())
