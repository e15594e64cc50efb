"""What a patch makes of an object.

Kubernetes API concepts, "Patch and apply": JSON merge patch (RFC 7386), JSON patch (RFC 6902),
strategic merge patch ("Update API Objects in Place Using kubectl patch") for built-in kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.kube.status import ApiError, bad_request

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "conditions": "type",
    "ports": "containerPort",
    "readinessGates": "conditionType",
    "ownerReferences": "uid",
    "taints": "key",
    "roles": "name",
}
"""Lists whose entries are told apart by a field, so that they merge instead of being replaced."""


def merged(target: Any, patch: Any) -> Any:
    """Apply RFC 7386: null takes away, objects merge, everything else replaces (lists too)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """Merge as ``merged`` does, and lists with a merge key entry by entry."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, list) and _keyed(key, value):
            result[key] = _entries(result.get(key) or [], value, KEYS[key])
        elif key not in {"$patch", "$retainKeys"}:
            result[key] = strategic(result.get(key), value)
    return result


def _keyed(name: str, entries: Sequence[Any]) -> bool:
    key = KEYS.get(name)
    return key is not None and all(isinstance(each, dict) and key in each for each in entries)


def _entries(present: list[Any], patches: list[Any], key: str) -> list[Any]:
    result = list(present)
    for patch in patches:
        at = next((i for i, each in enumerate(result) if each.get(key) == patch[key]), None)
        if patch.get("$patch") == "delete":
            result = [each for each in result if each.get(key) != patch[key]]
        elif at is None:
            result.append(patch)
        else:
            result[at] = strategic(result[at], patch)
    return result


def operated(target: Any, operations: Any) -> Any:
    """Apply RFC 6902, whole or not at all; a test that fails refuses the patch."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    document = {"": target}
    for each in operations:
        _operate(document, each)
    return document[""]


def _operate(document: dict[str, Any], operation: Mapping[str, Any]) -> None:
    do, steps = operation.get("op"), _steps(operation.get("path", ""))
    if do in {"move", "copy"}:
        value = json.loads(json.dumps(_found(document, _steps(operation["from"]))))
        if do == "move":
            _remove(document, _steps(operation["from"]))
        _put(document, steps, value, insert=True)
    elif do == "remove":
        _remove(document, steps)
    elif do == "test":
        if _found(document, steps) != operation.get("value"):
            raise _unprocessable(f"testing value {operation.get('path')} failed")
    elif do in {"add", "replace"}:
        if do == "replace":
            _found(document, steps)
        _put(document, steps, operation.get("value"), insert=do == "add")
    else:
        raise bad_request(f"no such operation: {do!r}")


def _steps(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _found(document: Any, steps: Sequence[str]) -> Any:
    at = document
    try:
        for step in steps:
            at = at[int(step)] if isinstance(at, list) else at[step]
    except (KeyError, IndexError, ValueError, TypeError):
        raise _unprocessable(f"doc is missing path: {'/'.join(steps)}") from None
    return at


def _put(document: Any, steps: Sequence[str], value: Any, *, insert: bool) -> None:
    parent, last = _found(document, steps[:-1]), steps[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif insert:
        parent.insert(len(parent) if last == "-" else int(last), value)
    else:
        parent[int(last)] = value


def _remove(document: Any, steps: Sequence[str]) -> None:
    _found(document, steps)
    parent, last = _found(document, steps[:-1]), steps[-1]
    del parent[int(last) if isinstance(parent, list) else last]


def _unprocessable(text: str) -> ApiError:
    return ApiError(422, f"the server rejected our request due to an error in our request: {text}")


def copied(body: Any) -> Any:
    """Return a copy that shares nothing."""
    return json.loads(json.dumps(body))
