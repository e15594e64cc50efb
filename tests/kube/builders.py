"""Objects as clusters have them: nodes with GPUs and where they are, and workloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Object = dict[str, Any]
GPU = "nvidia.com/gpu"
S1 = "network.topology.nvidia.com/leaf"
S2 = "network.topology.nvidia.com/spine"


def node(
    name: str,
    gpus: int = 8,
    labels: Mapping[str, str] | None = None,
    *,
    ready: bool = True,
    **spec: Any,
) -> Object:
    """Return a node with GPUs and the labels of GPU feature discovery.

    ``spec`` is what else stands there: ``unschedulable=True``, ``taints=[...]``.
    """
    found = gfd(gpus) if gpus else {}
    resources = {"cpu": "128", "memory": "1056363860Ki", "pods": "110"}
    resources |= {GPU: str(gpus)} if gpus else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **found, **(labels or {})},
        },
        "spec": {"podCIDR": "10.0.0.0/24", **spec},
        "status": {
            "capacity": resources,
            "allocatable": dict(resources),
            "conditions": [_ready(ready=ready)],
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kernelVersion": "6.8.0",
                "kubeProxyVersion": "v1.34.0",
                "kubeletVersion": "v1.34.0",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "Ubuntu 24.04.3 LTS",
                "systemUUID": "",
            },
        },
    }


def _ready(*, ready: bool) -> Object:
    reason = "KubeletReady" if ready else "NodeStatusUnknown"
    return {"type": "Ready", "status": "True" if ready else "Unknown", "reason": reason}


def gfd(gpus: int) -> dict[str, str]:
    """Return what GPU feature discovery says of a node with H100s."""
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.count": str(gpus),
        "nvidia.com/gpu.replicas": "1",
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.memory": "81559",
        "nvidia.com/gpu.family": "hopper",
        "nvidia.com/mig.capable": "true",
        "nvidia.com/mig.strategy": "single",
        "node.kubernetes.io/instance-type": "gpu-h100-8",
    }


def fleet(
    nodes: int = 500, *, gpus: int = 8, per_s1: int = 16, s1_per_s2: int = 8
) -> list[Object]:
    """Return nodes under leaf and spine switches: 500 make 32 leaves (16 each) and 4 spines."""
    made = []
    for at in range(nodes):
        leaf = at // per_s1
        spine = leaf // s1_per_s2
        labels = {
            S1: f"leaf-{leaf:03d}",
            S2: f"spine-{spine:02d}",
            "topology.kubernetes.io/zone": "zone-a",
            "topology.kubernetes.io/region": "region-1",
        }
        made.append(node(f"gpu-{at:04d}", gpus, labels))
    return made


def template(
    labels: Mapping[str, str],
    *,
    gpus: int = 1,
    gates: Sequence[str] = (),
    node_selector: Mapping[str, str] | None = None,
    affinity: Mapping[str, Sequence[str]] | None = None,
) -> Object:
    """Return a pod template; ``affinity``: required labels of nodes, each with its values."""
    container: Object = {
        "name": "server",
        "image": "registry.example/engine:1.0",
        "ports": [{"containerPort": 8000, "name": "http"}],
        "resources": {"limits": {GPU: str(gpus)}, "requests": {GPU: str(gpus)}} if gpus else {},
    }
    spec: Object = {"containers": [container], "terminationGracePeriodSeconds": 30}
    if gates:
        spec["readinessGates"] = [{"conditionType": gate} for gate in gates]
    if node_selector:
        spec["nodeSelector"] = dict(node_selector)
    if affinity:
        spec["affinity"] = required(affinity)
    return {"metadata": {"labels": dict(labels)}, "spec": spec}


def required(affinity: Mapping[str, Sequence[str]]) -> Object:
    """Return the affinity that binds pods to nodes with some labels."""
    wanted = [
        {"key": key, "operator": "In", "values": list(values)} for key, values in affinity.items()
    ]
    terms = {"nodeSelectorTerms": [{"matchExpressions": wanted}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def deployment(
    namespace: str,
    name: str,
    replicas: int,
    labels: Mapping[str, str] | None = None,
    **pod: Any,
) -> Object:
    """Return a Deployment; ``pod`` goes on to ``template`` (``gpus=2``)."""
    return _workload("Deployment", (namespace, name, replicas), labels, pod)


def statefulset(
    namespace: str,
    name: str,
    replicas: int,
    labels: Mapping[str, str] | None = None,
    **pod: Any,
) -> Object:
    """Return a StatefulSet whose pods start side by side."""
    made = _workload("StatefulSet", (namespace, name, replicas), labels, pod)
    made["spec"] |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return made


def _workload(
    kind: str,
    what: tuple[str, str, int],
    labels: Mapping[str, str] | None,
    pod: Mapping[str, Any],
) -> Object:
    namespace, name, replicas = what
    own = {"app": name, **(labels or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, "labels": own},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template(own, **pod),
        },
    }


def leaderworkerset(
    namespace: str,
    name: str,
    groups: int,
    labels: Mapping[str, str] | None = None,
    **pod: Any,
) -> Object:
    """Return a LeaderWorkerSet: ``groups`` instances of ``size`` (2) pods each."""
    own = {"app": name, **(labels or {})}
    size = pod.pop("size", 2)
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"namespace": namespace, "name": name, "labels": own},
        "spec": {
            "replicas": groups,
            "startupPolicy": "LeaderCreated",
            "leaderWorkerTemplate": {
                "size": size,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": template(own, **pod),
                "workerTemplate": template(own, **pod),
            },
        },
    }


def rolebasedgroup(
    namespace: str,
    name: str,
    roles: Mapping[str, int],
    labels: Mapping[str, str] | None = None,
    **pod: Any,
) -> Object:
    """Return a RoleBasedGroup with a count for each role."""
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha1",
        "kind": "RoleBasedGroup",
        "metadata": {"namespace": namespace, "name": name, "labels": dict(labels or {})},
        "spec": {
            "roles": [
                {
                    "name": role,
                    "replicas": count,
                    "workload": {"apiVersion": "apps/v1", "kind": "StatefulSet"},
                    "template": template({"app": name, **(labels or {})}, **pod),
                }
                for role, count in roles.items()
            ]
        },
    }


def rolebasedgroup_adapter(
    namespace: str, group: str, role: str, replicas: int | None = None
) -> Object:
    """Return the scaling adapter of a role, named ``<group>-<role>``."""
    spec: Object = {"scaleTargetRef": {"name": group, "role": role}}
    if replicas is not None:
        spec["replicas"] = replicas
    return {
        "apiVersion": "workloads.x-k8s.io/v1alpha1",
        "kind": "RoleBasedGroupScalingAdapter",
        "metadata": {"namespace": namespace, "name": f"{group}-{role}"},
        "spec": spec,
    }


def dynamo(
    namespace: str,
    name: str,
    services: Mapping[str, int],
    *,
    gpus: int = 1,
    adapters: Sequence[str] = (),
    **pod: Any,
) -> Object:
    """Return a DynamoGraphDeployment; the components in ``adapters`` have a scaling adapter."""
    made: Object = {}
    for part, count in services.items():
        # The frontend routes; it has no GPU.
        own = 0 if part == "Frontend" else gpus
        made[part] = {
            "componentType": "frontend" if part == "Frontend" else "worker",
            "replicas": count,
            "resources": {"limits": {"gpu": str(own)}},
            "extraPodSpec": template({}, gpus=own, **pod)["spec"],
            **({"scalingAdapter": {"enabled": True}} if part in adapters else {}),
        }
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"services": made},
    }


def dynamo_adapter(namespace: str, graph: str, part: str, replicas: int) -> Object:
    """Return the scaling adapter of a component, named ``<graph>-<component in lower case>``."""
    return {
        "apiVersion": "nvidia.com/v1alpha1",
        "kind": "DynamoGraphDeploymentScalingAdapter",
        "metadata": {"namespace": namespace, "name": f"{graph}-{part.lower()}"},
        "spec": {"replicas": replicas, "dgdRef": {"name": graph, "serviceName": part}},
    }


def autoscaler(namespace: str, target: Object, *, least: int = 1, most: int = 10) -> Object:
    """Return a HorizontalPodAutoscaler on an object."""
    name = target["metadata"]["name"]
    about = {"apiVersion": target["apiVersion"], "kind": target["kind"], "name": name}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"scaleTargetRef": about, "minReplicas": least, "maxReplicas": most},
    }
