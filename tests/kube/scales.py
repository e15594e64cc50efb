"""The scale subresource (Kubernetes API reference, "Scale" of autoscaling/v1).

Its metadata is that of the object, so its resourceVersion compares and sets the object itself. A
count of 0 is left out of ``spec``: the type says ``omitempty``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.kube.kinds import Kind
from tests.kube.objects import preconditions
from tests.kube.schema import found_at, scale_faults
from tests.kube.selectors import written
from tests.kube.status import ApiError, conflict
from tests.kube.store import Key, Object


def scale_of(kind: Kind, body: Object) -> Object:
    """Return the Scale of an object."""
    assert kind.scale is not None
    wanted = found_at(body, kind.scale.wanted)
    if wanted is None:
        path = "." + ".".join(kind.scale.wanted)
        raise ApiError(
            500, f'Internal error occurred: the spec replicas field "{path}" does not exist'
        )
    if kind.scale.selector is None:
        selector = written((body.get("spec") or {}).get("selector"))
    else:
        selector = found_at(body, kind.scale.selector) or ""
    meta = body["metadata"]
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in shown if key in meta},
        "spec": {"replicas": wanted} if wanted else {},
        "status": {
            "replicas": found_at(body, kind.scale.present) or 0,
            **({"selector": selector} if selector else {}),
        },
    }


def patched_scale(kind: Kind, body: Object, make: Callable[[Object], Object]) -> Object:
    """Return the Scale a write asks for; one of another state of the object is a conflict."""
    try:
        present = scale_of(kind, body)
    except ApiError:
        present = {"metadata": dict(body["metadata"]), "spec": {}}
    wish = make(present)
    meta, own = wish.get("metadata") or {}, body["metadata"]
    name = own["name"]
    preconditions(Key(kind, own.get("namespace", ""), name), body, {"uid": meta.get("uid")})
    if meta.get("resourceVersion") and meta["resourceVersion"] != own["resourceVersion"]:
        raise conflict(kind, name)
    if refused := scale_faults(kind, name, (wish.get("spec") or {}).get("replicas")):
        raise refused
    return wish


def with_scale(kind: Kind, body: Object, wish: Object) -> Object:
    """Return the object with the count of a Scale; one without a count asks for 0."""
    assert kind.scale is not None
    count = (wish.get("spec") or {}).get("replicas", 0)
    *above, last = kind.scale.wanted
    at: Any = body
    for step in above:
        at = at.setdefault(step, {})
    at[last] = count
    return body
