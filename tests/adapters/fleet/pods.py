"""Pods as their controllers make them, put into the double."""

from __future__ import annotations

from typing import Any, Final

from tests.kube import Double

NAMESPACE: Final = "prod"


def pod(
    workload: str, number: int, node: str = "gpu-0000", *, ready: bool = True
) -> dict[str, Any]:
    """Return a pod of a workload of the stand."""
    status = "True" if ready else "False"
    since = "2026-01-01T00:00:00Z"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": NAMESPACE,
            "name": f"{workload}-{number}",
            "labels": {"app": workload},
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "server", "image": "registry.example/engine:1.0"}],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": kind, "status": status, "lastTransitionTime": since}
                for kind in ("ContainersReady", "Ready")
            ],
        },
    }


def settle(kube: Double, workload: str, count: int) -> None:
    """Let a Deployment be at rest with so many pods, all ready."""
    kube.put(*(pod(workload, number) for number in range(count)))
    generation = kube.get("deployments", NAMESPACE, workload)["metadata"]["generation"]
    told = {"observedGeneration": generation, "replicas": count, "updatedReplicas": count}
    kube.change("deployments", NAMESPACE, workload, {"status": told}, by="controller")
