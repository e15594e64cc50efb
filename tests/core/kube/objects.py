"""Objects as the API of a cluster gives them, as small as a case needs them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import WorkloadRef
from controller.core.types import Role

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW_S: Final = 1_800_000_000.0


def at(s: float) -> str:
    """Return a time as the API writes it."""
    return datetime.fromtimestamp(s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ref(
    kind: WorkloadKind = WorkloadKind.DEPLOYMENT,
    role: Role = Role.DECODE,
    name: str = "chat-decode",
    **fields: object,
) -> WorkloadRef:
    usual: dict[str, object] = {"api": "", "plural": "", "namespace": "llm", "name": name}
    return WorkloadRef(role=role, kind=kind, **{**usual, **fields})  # type: ignore[arg-type]


GATED_BY_LABEL: Final = ref(gate=Gate.LABEL)
GATED_BY_READINESS: Final = ref(gate=Gate.READINESS)


def deployment(replicas: object = 4, **more: object) -> dict[str, object]:
    """Return a Deployment at rest; ``more`` are parts put in place of the usual ones."""
    status = {
        "observedGeneration": 3,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "chat-decode"}}}
    metadata = {"name": "chat-decode", "uid": "u1", "resourceVersion": "71", "generation": 3}
    return {"metadata": metadata, "spec": spec, "status": status, **more}


def condition(kind: str, status: str = "True", since_s: float = NOW_S - 60) -> dict[str, str]:
    return {"type": kind, "status": status, "lastTransitionTime": at(since_s)}


def pod(
    name: str = "chat-decode-5d9-x1",
    *conditions: Mapping[str, str],
    status: Mapping[str, object] | None = None,
    **metadata: object,
) -> dict[str, object]:
    """Return a pod on node n1, created 600 s ago."""
    own = {
        "name": name,
        "uid": f"uid-{name}",
        "creationTimestamp": at(NOW_S - 600),
        "labels": {"app": "chat-decode"},
    }
    return {
        "metadata": {**own, **metadata},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "conditions": list(conditions), **(status or {})},
    }


READY: Final = (condition("ContainersReady"), condition("Ready"))


def waiting(reason: str, message: str = "") -> dict[str, object]:
    """Return the status of a pod whose container waits."""
    told = {"reason": reason, "message": message}
    return {"containerStatuses": [{"restartCount": 3, "state": {"waiting": told}}]}
