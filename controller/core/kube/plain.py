"""What was seen of a service as plain JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import PodSeen, PodState, ServiceSeen, WorkloadRef, WorkloadSeen
from controller.core.types import Role

_REF: Final = ("api", "plural", "namespace", "name", "part", "group", "selector")
_SEEN: Final = (
    *("uid", "resource_version", "replicas", "current", "generation", "action", "epoch", "want"),
    *("before", "ready", "by", "rollout", "selector", "paused", "size"),
)
_POD: Final = (
    *("name", "uid", "node", "since_s", "created_s", "why", "index", "of"),
    *("cost", "restarts", "flaps"),
)
_USUAL: Final[Mapping[str, object]] = {
    **dict.fromkeys(("why", "of"), ""),
    **dict.fromkeys(("cost", "restarts", "flaps"), 0),
    "index": None,
}
"""Fields of a pod that are left out where they say nothing."""


def plain(seen: ServiceSeen) -> dict[str, object]:
    """Return what was seen of a service as JSON can hold it."""
    return {
        "workloads": [
            {
                "ref": _ref_plain(ref),
                "seen": found if isinstance(found, str) else _seen_plain(found),
                "pods": [_pod_plain(one) for one in pods],
            }
            for ref, found, pods in seen.workloads
        ],
        "rivals": list(seen.rivals),
    }


def from_plain(body: Mapping[str, Any]) -> ServiceSeen:
    """Return what was written. Raises ``ValueError`` for what :func:`plain` never writes."""
    try:
        return ServiceSeen(
            tuple(
                (_ref(one["ref"]), _seen(one["seen"]), tuple(map(_pod, one["pods"])))
                for one in body["workloads"]
            ),
            tuple(body["rivals"]),
        )
    except (KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"it is no sight of a service: {type(fault).__name__} {fault}") from None


def _ref_plain(ref: WorkloadRef) -> dict[str, object]:
    own = {name: getattr(ref, name) for name in _REF}
    return {**own, "role": ref.role.value, "kind": ref.kind.value, "gate": ref.gate.value}


def _ref(plain: Mapping[str, Any]) -> WorkloadRef:
    return WorkloadRef(
        role=Role(plain["role"]),
        kind=WorkloadKind(plain["kind"]),
        gate=Gate(plain["gate"]),
        **{name: plain[name] for name in _REF},
    )


def _seen_plain(seen: WorkloadSeen) -> dict[str, object]:
    domains = {key: list(values) for key, values in seen.domains.items()}
    return {**{name: getattr(seen, name) for name in _SEEN}, "domains": domains}


def _seen(plain: Mapping[str, Any] | str) -> WorkloadSeen | str:
    if isinstance(plain, str):
        return plain
    domains = {key: tuple(values) for key, values in plain["domains"].items()}
    return WorkloadSeen(**{name: plain[name] for name in _SEEN}, domains=domains)


def _pod_plain(pod: PodSeen) -> dict[str, object]:
    own = {name: getattr(pod, name) for name in _POD}
    return {
        "state": pod.state.value,
        **{name: value for name, value in own.items() if _USUAL.get(name, ...) != value},
    }


def _pod(plain: Mapping[str, Any]) -> PodSeen:
    return PodSeen(**{**plain, "state": PodState(plain["state"])})
