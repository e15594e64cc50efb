"""What is filled in and what is refused, as far as counts and names go.

Kubernetes API reference, "Deployment", "StatefulSet" (defaults, minimum of replicas) and "Object
Names and IDs"; CRD schemas of the custom resources (type integer, minimum 0).
"""

from __future__ import annotations

import re
from typing import Any

from tests.kube.kinds import REPLICAS, Kind, Path
from tests.kube.status import ApiError, Cause, bad_request, invalid

Object = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
LARGEST = 2**31 - 1
COUNT_ONE = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"})
NOT_NEGATIVE = "must be greater than or equal to 0"


def defaulted(kind: Kind, body: Object) -> Object:
    """Fill in a count that isn't told, where the kind says what it is then: one."""
    spec = body.get("spec")
    if kind.name in COUNT_ONE and isinstance(spec, dict) and spec.get("replicas") is None:
        spec["replicas"] = 1
    return body


def decodable(kind: Kind, body: Object, *, patched: bool) -> None:
    """Refuse what doesn't fit the types of a built-in kind.

    A count that isn't a 32-bit integer never becomes an object: 400 for a body, 422 for a patch
    whose outcome can't be read.
    """
    count = found_at(body, REPLICAS)
    if not kind.builtin or kind.scale is None or count is None or _is_int32(count):
        return
    said = "string" if isinstance(count, str) else f"number {count}"
    told = (
        f"json: cannot unmarshal {said} into Go struct field "
        f"{kind.name}Spec.spec.replicas of type int32"
    )
    if patched:
        about = {"causes": [{"reason": "FieldValueInvalid", "message": told, "field": "patch"}]}
        raise ApiError(422, f' "" is invalid: patch: Invalid value: {told}', details=about)
    api = kind.version
    raise bad_request(f'{kind.name} in version "{api}" cannot be handled as a {kind.name}: {told}')


def found_at(body: Any, path: Path) -> Any:
    """Return what stands at a path; None when there is nothing."""
    for step in path:
        body = body.get(step) if isinstance(body, dict) else None
    return body


def _is_int32(count: Any) -> bool:
    return isinstance(count, int) and not isinstance(count, bool) and -LARGEST <= count <= LARGEST


def faults_of(kind: Kind, body: Object) -> list[Cause]:
    """Return what is wrong with an object; none: it may be stored."""
    name = body["metadata"].get("name") or ""
    found = []
    if not name:
        text = "Required value: name or generateName is required"
        found.append(Cause("metadata.name", text, "FieldValueRequired"))
    elif not NAME.fullmatch(name):
        text = f'Invalid value: "{name}": a lowercase RFC 1123 subdomain is wanted'
        found.append(Cause("metadata.name", text))
    if kind.scale is not None:
        found += _faults_of_count(".".join(kind.scale.wanted), found_at(body, kind.scale.wanted))
    for field, count in _inner_counts(kind, body):
        found += _faults_of_count(field, count)
    return found


def _inner_counts(kind: Kind, body: Object) -> list[tuple[str, Any]]:
    spec = body.get("spec") or {}
    if kind.name == "RoleBasedGroup":
        roles = spec.get("roles") or []
        return [
            (f"spec.roles[{i}].replicas", each.get("replicas")) for i, each in enumerate(roles)
        ]
    if kind.name == "DynamoGraphDeployment":
        services = spec.get("services") or {}
        return [
            (f"spec.services.{name}.replicas", (each or {}).get("replicas"))
            for name, each in services.items()
        ]
    return []


def _faults_of_count(field: str, count: Any) -> list[Cause]:
    if count is None or (_is_int32(count) and count >= 0):
        return []
    if not isinstance(count, int) or isinstance(count, bool):
        said = "string" if isinstance(count, str) else "number"
        text = f'Invalid value: "{said}": {field} in body must be of type integer: "{said}"'
        return [Cause(field, text, "FieldValueTypeInvalid")]
    most = f"{field} in body should be less than or equal to {LARGEST}"
    return [Cause(field, f"Invalid value: {count}: {NOT_NEGATIVE if count < 0 else most}")]


def scale_faults(kind: Kind, name: str, count: Any) -> ApiError | None:
    """Return why a Scale isn't taken."""
    if count is None or _is_int32(count):
        causes = _faults_of_count("spec.replicas", count)
        return invalid(kind, name, causes) if causes else None
    said = "string" if isinstance(count, str) else f"number {count}"
    return bad_request(
        'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
        f"{said} into Go struct field ScaleSpec.spec.replicas of type int32"
    )
