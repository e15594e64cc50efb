"""Objects that hold several roles, and the adapters that own a role's count.

RoleBasedGroup (rbg documentation, "Scaling adapter") and DynamoGraphDeployment (Dynamo operator
documentation, "Scaling adapter"): where an adapter exists, its ``spec.replicas`` is written into
the group, over whatever stands there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.kube.controllers.world import World, controller_of, with_conditions
from tests.kube.fields import Writer
from tests.kube.patches import copied
from tests.kube.store import Object

RBG = Writer("rbg-controller", "system:serviceaccount:rbgs-system:rbgs-controller")
DYNAMO = Writer("dynamo-operator", "system:serviceaccount:dynamo-system:dynamo-operator")
ROLE = "rolebasedgroup.workloads.x-k8s.io"
GRAPH = "nvidia.com/dynamo-graph-deployment-name"
PART = "nvidia.com/dynamo-component"


def keep_groups(world: World) -> None:
    """Make and keep the workloads of RoleBasedGroups."""
    for group in world.all("RoleBasedGroup"):
        name, namespace = group["metadata"]["name"], group["metadata"]["namespace"]
        for role in group["spec"]["roles"]:
            _adapter_of_role(world, group, role)
            labels = {f"{ROLE}/name": name, f"{ROLE}/role": role["name"]}
            made = _workload((role.get("workload") or {}).get("kind", "StatefulSet"), labels)
            made["metadata"]["name"] = f"{name}-{role['name']}"
            _keep(world, group, made, role["template"], role.get("replicas", 1))
        _tell_group(world, group, namespace)
    for adapter in world.all("RoleBasedGroupScalingAdapter"):
        _bind(world, adapter)


def _adapter_of_role(world: World, group: Object, role: Mapping[str, Any]) -> None:
    name = f"{group['metadata']['name']}-{role['name']}"
    wanted = (role.get("scalingAdapter") or {}).get("enable")
    namespace = group["metadata"]["namespace"]
    if not wanted or world.find("RoleBasedGroupScalingAdapter", namespace, name):
        return
    target = {"name": group["metadata"]["name"], "role": role["name"]}
    world.create(
        group,
        {
            "apiVersion": group["apiVersion"],
            "kind": "RoleBasedGroupScalingAdapter",
            "metadata": {"name": name},
            "spec": {"scaleTargetRef": target},
        },
    )


def _workload(kind: str, labels: Mapping[str, str]) -> Object:
    made: Object = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"labels": dict(labels)},
        "spec": {"selector": {"matchLabels": dict(labels)}},
    }
    if kind == "LeaderWorkerSet":
        made["apiVersion"] = "leaderworkerset.x-k8s.io/v1"
        made["spec"] = {}
    if kind == "StatefulSet":
        made["spec"] |= {"podManagementPolicy": "Parallel", "serviceName": ""}
    return made


def _keep(world: World, owner: Object, made: Object, template: Object, count: int) -> None:
    """Create a workload of a group, or bring its template and count up to date."""
    spec, labels = made["spec"], made["metadata"]["labels"]
    template = copied(template)
    meta = template.setdefault("metadata", {})
    meta["labels"] = {**(meta.get("labels") or {}), **labels}
    if made["kind"] == "LeaderWorkerSet":
        size = made.pop("size", 2)
        spec["leaderWorkerTemplate"] = {"size": size, "workerTemplate": template}
    else:
        spec["template"] = template
    spec["replicas"] = count
    namespace = owner["metadata"]["namespace"]
    present = world.find(made["kind"], namespace, made["metadata"]["name"])
    if present is None:
        world.create(owner, made)
    else:
        world.update(present, {"spec": {**present["spec"], **spec}})


def _counts(world: World, kind: str, namespace: str, name: str) -> dict[str, int]:
    found = world.find(kind, namespace, name) or {}
    status = found.get("status") or {}
    return {key: status.get(key, 0) for key in ("replicas", "readyReplicas", "updatedReplicas")}


def _tell_group(world: World, group: Object, namespace: str) -> None:
    roles = []
    for role in group["spec"]["roles"]:
        kind = (role.get("workload") or {}).get("kind", "StatefulSet")
        name = f"{group['metadata']['name']}-{role['name']}"
        roles.append({"name": role["name"], **_counts(world, kind, namespace, name)})
    wanted = {role["name"]: role.get("replicas", 1) for role in group["spec"]["roles"]}
    ready = all(each["readyReplicas"] == wanted[each["name"]] for each in roles)
    told = {"type": "Ready", "status": str(ready), "reason": "AllRolesReady" if ready else "Wait"}
    status = {
        "observedGeneration": group["metadata"]["generation"],
        "roleStatuses": roles,
        "conditions": with_conditions(group, world.objects.now(), told),
    }
    world.update(group, {"status": status}, RBG)


def _bind(world: World, adapter: Object) -> None:
    """Bind an adapter to its role with the count the role has; afterwards its count rules."""
    target, namespace = adapter["spec"]["scaleTargetRef"], adapter["metadata"]["namespace"]
    group = world.find("RoleBasedGroup", namespace, target["name"])
    roles = group["spec"]["roles"] if group else []
    role = next((each for each in roles if each["name"] == target["role"]), None)
    status = adapter.get("status") or {}
    if group is None or role is None:
        world.update(adapter, {"status": {**status, "phase": "NotBound"}}, RBG)
        return
    selector = f"{ROLE}/name={target['name']},{ROLE}/role={target['role']}"
    if status.get("phase") != "Bound":
        count = role.get("replicas", 1)
        adapter = world.update(adapter, {"spec": {**adapter["spec"], "replicas": count}}, RBG)
        fresh = {"phase": "Bound", "replicas": count, "selector": selector, "readyReplicas": 0}
        world.update(adapter, {"status": fresh}, RBG)
        return
    wanted = adapter["spec"].get("replicas")
    if isinstance(wanted, int) and wanted != role.get("replicas", 1):
        changed = [{**each, "replicas": wanted} if each is role else each for each in roles]
        world.update(group, {"spec": {**group["spec"], "roles": changed}}, RBG)
    kind = (role.get("workload") or {}).get("kind", "StatefulSet")
    has = _counts(world, kind, namespace, f"{target['name']}-{target['role']}")
    told = {**status, "replicas": wanted, "readyReplicas": has["readyReplicas"]}
    world.update(adapter, {"status": told}, RBG)


def keep_graphs(world: World) -> None:
    """Make and keep the workloads of DynamoGraphDeployments."""
    for adapter in world.all("DynamoGraphDeploymentScalingAdapter"):
        _lead(world, adapter)
    for graph in world.all("DynamoGraphDeployment"):
        for part, about in graph["spec"]["services"].items():
            _adapter_of_part(world, graph, part, about)
            kind, made = _of_part(graph, part, about)
            made["metadata"]["name"] = _name(graph, part)
            if kind == "LeaderWorkerSet":
                made["size"] = about["multinode"]["nodeCount"]
            template = {"spec": about.get("extraPodSpec") or {}}
            _keep(world, graph, made, template, about.get("replicas", 1))
        _tell_graph(world, graph)


def _name(graph: Object, part: str) -> str:
    return f"{graph['metadata']['name']}-{part.lower()}"


def _of_part(graph: Object, part: str, about: Mapping[str, Any]) -> tuple[str, Object]:
    labels = {
        GRAPH: graph["metadata"]["name"],
        PART: part,
        "nvidia.com/dynamo-component-type": about.get("componentType", "worker"),
        "nvidia.com/selector": _name(graph, part),
    }
    several = (about.get("multinode") or {}).get("nodeCount", 1) > 1
    kind = "LeaderWorkerSet" if several else "Deployment"
    return kind, _workload(kind, labels)


def _adapter_of_part(world: World, graph: Object, part: str, about: Mapping[str, Any]) -> None:
    namespace, name = graph["metadata"]["namespace"], _name(graph, part)
    present = world.find("DynamoGraphDeploymentScalingAdapter", namespace, name)
    wanted = (about.get("scalingAdapter") or {}).get("enabled", False)
    if wanted and present is None:
        target = {"name": graph["metadata"]["name"], "serviceName": part}
        world.create(
            graph,
            {
                "apiVersion": graph["apiVersion"],
                "kind": "DynamoGraphDeploymentScalingAdapter",
                "metadata": {"name": name},
                "spec": {"replicas": about.get("replicas", 1), "dgdRef": target},
            },
        )
    elif present is not None and not wanted and controller_of(present):
        world.delete(present)


def _lead(world: World, adapter: Object) -> None:
    """Write an adapter's count into its component, over whatever stands there."""
    target, namespace = adapter["spec"]["dgdRef"], adapter["metadata"]["namespace"]
    graph = world.find("DynamoGraphDeployment", namespace, target["name"])
    services = graph["spec"]["services"] if graph else {}
    part = services.get(target["serviceName"])
    if graph is None or part is None or not (part.get("scalingAdapter") or {}).get("enabled"):
        return
    wanted = adapter["spec"]["replicas"]
    if part.get("replicas", 1) != wanted:
        changed = {**services, target["serviceName"]: {**part, "replicas": wanted}}
        world.update(graph, {"spec": {**graph["spec"], "services": changed}}, DYNAMO)
    selector = f"{GRAPH}={target['name']},{PART}={target['serviceName']}"
    world.update(adapter, {"status": {"replicas": wanted, "selector": selector}}, DYNAMO)


def _tell_graph(world: World, graph: Object) -> None:
    namespace, told, ready = graph["metadata"]["namespace"], {}, True
    for part, about in graph["spec"]["services"].items():
        kind, _ = _of_part(graph, part, about)
        has = _counts(world, kind, namespace, _name(graph, part))
        ready = ready and has["readyReplicas"] == about.get("replicas", 1)
        told[part] = {"componentKind": kind, "componentName": _name(graph, part), **has}
    condition = {
        "type": "Ready",
        "status": str(ready),
        "reason": "all_resources_are_ready" if ready else "some_resources_are_not_ready",
    }
    status = {
        "observedGeneration": graph["metadata"]["generation"],
        "state": "successful" if ready else "pending",
        "services": told,
        "conditions": with_conditions(graph, world.objects.now(), condition),
    }
    world.update(graph, {"status": status}, DYNAMO)
