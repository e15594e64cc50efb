"""Which objects are meant by label and field selectors (Kubernetes, "Labels and Selectors")."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.kube.kinds import Kind
from tests.kube.status import bad_request

Object = dict[str, Any]
Test = Callable[[Object], bool]
SETS = re.compile(r"^(?P<key>\S+)\s+(?P<how>in|notin)\s*\((?P<values>[^)]*)\)$")
EQUAL = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<how>==|=|!=)\s*(?P<value>[^=!]*)$")
KEY = re.compile(r"^!?\s*[A-Za-z0-9][\w./-]*$")
APART = re.compile(r",(?![^(]*\))")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": ("spec.nodeName", "status.phase", "spec.restartPolicy", "status.podIP"),
    "events": (
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "reason",
        "type",
    ),
    "nodes": ("spec.unschedulable",),
}


def by_labels(text: str) -> Test | None:
    """Read a label selector: equality, ``in``, ``notin``, a key that is there or isn't."""
    if not text.strip():
        return None
    tests = [_requirement(part.strip()) for part in APART.split(text)]
    return lambda found: all(test(labels_of(found)) for test in tests)


def labels_of(found: Object) -> Mapping[str, str]:
    return found["metadata"].get("labels") or {}


def _requirement(part: str) -> Callable[[Mapping[str, str]], bool]:
    if listed := SETS.match(part):
        key, inside = listed["key"], listed["how"] == "in"
        values = {value.strip() for value in listed["values"].split(",")}
        return lambda labels: (labels.get(key) in values) is inside
    if equal := EQUAL.match(part):
        key, same, value = equal["key"], equal["how"] != "!=", equal["value"].strip()
        return lambda labels: (labels.get(key) == value) is same
    if KEY.match(part):
        key, there = part.lstrip("! "), not part.startswith("!")
        return lambda labels: (key in labels) is there
    raise bad_request(f"unable to parse requirement: {part!r}")


def by_fields(kind: Kind, text: str) -> Test | None:
    """Read a field selector; a field the kind doesn't offer is refused ("Field Selectors")."""
    if not text.strip():
        return None
    tests = [_field(kind, part.strip()) for part in text.split(",")]
    return lambda found: all(test(found) for test in tests)


def _field(kind: Kind, part: str) -> Test:
    equal = EQUAL.match(part)
    offered = ("metadata.name", "metadata.namespace", *FIELDS.get(kind.plural, ()))
    if equal is None or equal["key"] not in offered:
        raise bad_request(f"field label not supported: {equal['key'] if equal else part}")
    path, same, value = equal["key"].split("."), equal["how"] != "!=", equal["value"].strip()
    return lambda found: (_text(found, path) == value) is same


def _text(found: Object, path: list[str]) -> str:
    at: Any = found
    for step in path:
        at = at.get(step) if isinstance(at, dict) else None
    if isinstance(at, bool):
        return str(at).lower()
    return "" if at is None else str(at)


def written(selector: Mapping[str, Any] | None) -> str:
    """Write a selector of an object as the text a list takes."""
    parts = [
        f"{key}={value}" for key, value in ((selector or {}).get("matchLabels") or {}).items()
    ]
    for each in (selector or {}).get("matchExpressions") or ():
        key, how = each["key"], each["operator"]
        values = ",".join(each.get("values") or ())
        parts.append(
            {"Exists": key, "DoesNotExist": f"!{key}"}.get(how, f"{key} {how.lower()} ({values})")
        )
    return ",".join(parts)
