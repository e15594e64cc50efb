"""Pods as a cluster has them, for tests of what is read and written of them."""

from __future__ import annotations

from typing import Any

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import REGISTERED, WorkloadRef
from controller.core.types import Role

NAMESPACE = "prod"


def a_ref(
    name: str = "chat-decode", kind: WorkloadKind = WorkloadKind.DEPLOYMENT, **fields: Any
) -> WorkloadRef:
    """Return a workload of the cluster, by default the decode instances of chat."""
    given: dict[str, Any] = {"role": Role.DECODE, "gate": Gate.NONE} | fields
    plurals = {WorkloadKind.LEADER_WORKER_SET: "leaderworkersets"}
    apis = {WorkloadKind.LEADER_WORKER_SET: "leaderworkerset.x-k8s.io/v1"}
    return WorkloadRef(
        kind=kind,
        api=apis.get(kind, "apps/v1"),
        plural=plurals.get(kind, f"{kind}s"),
        namespace=NAMESPACE,
        name=name,
        **given,
    )


def a_pod(  # noqa: PLR0913 - what tells pods apart
    name: str,
    workload: str = "chat-decode",
    *,
    at_s: int = 0,
    ready: bool = True,
    registered: bool | None = None,
    labels: dict[str, str] | None = None,
    node: str = "gpu-0000",
) -> dict[str, Any]:
    """Return a pod that came up ``at_s`` after noon, or whose containers still start.

    ``registered`` is what its readiness gate says, ``None`` without one.
    """
    since = f"2026-03-01T12:{at_s // 60:02}:{at_s % 60:02}Z"
    is_ready = ready and registered is not False
    conditions = [
        {"type": kind, "status": "True" if holds else "False", "lastTransitionTime": since}
        for kind, holds in (
            ("PodScheduled", bool(node)), ("ContainersReady", ready), ("Ready", is_ready),
        )
    ]  # fmt: skip
    if registered is not None:
        status = "True" if registered else "False"
        conditions.append({"type": REGISTERED, "status": status, "lastTransitionTime": since})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "labels": {"app": workload, **(labels or {})},
            "creationTimestamp": since,
        },
        "spec": {
            "containers": [{"name": "server", "image": "registry.example/engine:1.0"}],
            **({"nodeName": node} if node else {}),
        },
        "status": {"phase": "Running" if ready else "Pending", "conditions": conditions},
    }
