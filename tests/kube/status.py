"""The answers of an API server that is not pleased (Kubernetes API concepts, "Status" objects).

Reasons and codes: Kubernetes API reference, "Status", and API conventions, "HTTP Status codes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.kube.kinds import Kind

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class ApiError(Exception):
    """A Status that is answered in place of what was asked for."""

    code: int
    message: str
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(self.meta),
            "status": "Failure",
            "message": self.message,
            "reason": self.reason or REASONS.get(self.code, "Unknown"),
            **({"details": dict(self.details)} if self.details else {}),
            "code": self.code,
        }


@dataclass(frozen=True)
class Cause:
    """What is wrong with one field."""

    field: str
    message: str
    reason: str = "FieldValueInvalid"


def details(kind: Kind, name: str = "", **more: Any) -> dict[str, Any]:
    named = {"name": name, "group": kind.group, "kind": kind.plural}
    return {key: text for key, text in named.items() if text} | more


def not_found(kind: Kind, name: str) -> ApiError:
    return ApiError(404, f'{kind.resource} "{name}" not found', details=details(kind, name))


def no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource")


def exists_already(kind: Kind, name: str) -> ApiError:
    text = f'{kind.resource} "{name}" already exists'
    return ApiError(409, text, "AlreadyExists", details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> ApiError:
    """Compare-and-set that lost (API concepts, "Updates to existing resources")."""
    told = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    text = f'Operation cannot be fulfilled on {kind.resource} "{name}": {told}'
    return ApiError(409, text, details=details(kind, name))


def invalid(kind: Kind, name: str, causes: Sequence[Cause]) -> ApiError:
    told = ", ".join(f"{cause.field}: {cause.message}" for cause in causes)
    if len(causes) > 1:
        told = f"[{told}]"
    listed = [
        {"reason": cause.reason, "message": cause.message, "field": cause.field}
        for cause in causes
    ]
    about = details(kind, name) | {"kind": kind.name, "causes": listed}
    return ApiError(422, f'{kind.qualified} "{name}" is invalid: {told}', details=about)


def bad_request(text: str) -> ApiError:
    return ApiError(400, text)


def expired(text: str, **meta: str) -> ApiError:
    """What is asked for is older than what is kept (API concepts, "410 Gone responses")."""
    return ApiError(410, text, meta=meta)


def too_many(retry_after: str | None = "1") -> ApiError:
    """Refused for now; the wait is in a header (HTTP, "Retry-After"), or it isn't told."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    about = {"retryAfterSeconds": int(retry_after)} if (retry_after or "").isdigit() else {}
    text = "too many requests, please try again later"
    return ApiError(429, text, details=about, headers=headers)
