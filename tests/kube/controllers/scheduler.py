"""Which node a pod goes to (Kubernetes, "Assigning Pods to Nodes", "Taints and Tolerations").

GPUs are the only resource that runs out. The node with the most free ones is taken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.kube.builders import GPU
from tests.kube.controllers.world import World, condition, with_conditions
from tests.kube.fields import Writer
from tests.kube.store import Object

SCHEDULER = Writer("kube-scheduler", "system:kube-scheduler", subresource="binding")


def place(world: World) -> None:
    """Give each pod that has none a node, or say why it gets none."""
    waiting = [
        pod
        for pod in world.all("Pod")
        if not (pod.get("spec") or {}).get("nodeName")
        and "deletionTimestamp" not in pod["metadata"]
        and not pod["spec"].get("schedulingGates")
    ]
    if not waiting:
        return
    nodes = world.all("Node")
    room = Room(nodes, free_gpus(nodes, world.all("Pod")))
    for pod in sorted(waiting, key=lambda each: int(each["metadata"]["resourceVersion"])):
        _place(world, pod, room)


@dataclass
class Room:
    """The nodes of a round, and which of them suit pods of the same demands."""

    nodes: list[Object]
    free: Counter[str]
    _suited: dict[str, tuple[list[str], Counter[str]]] = field(default_factory=dict)

    def suited(self, pod: Object) -> tuple[list[str], Counter[str]]:
        """Return the nodes a pod may go to, and how many it may not go to for what."""
        demands = [pod["spec"].get(key) for key in ("nodeSelector", "affinity", "tolerations")]
        key = json.dumps(demands, sort_keys=True)
        if key not in self._suited:
            told = {each["metadata"]["name"]: why_not(pod, each) for each in self.nodes}
            names = [name for name, why in told.items() if not why]
            self._suited[key] = names, Counter(filter(None, told.values()))
        return self._suited[key]


def free_gpus(nodes: Iterable[Object], pods: Iterable[Object]) -> Counter[str]:
    """Return how many GPUs of each node no pod has; one that is going still has its own."""
    free: Counter[str] = Counter()
    for node in nodes:
        free[node["metadata"]["name"]] = int((node["status"].get("allocatable") or {}).get(GPU, 0))
    for pod in pods:
        name = (pod.get("spec") or {}).get("nodeName")
        if name and (pod.get("status") or {}).get("phase") not in {"Failed", "Succeeded"}:
            free[name] -= gpus_of(pod)
    return free


def gpus_of(pod: Object) -> int:
    """Return how many GPUs a pod takes."""
    found = 0
    for container in pod["spec"].get("containers") or ():
        resources = container.get("resources") or {}
        found += int((resources.get("limits") or resources.get("requests") or {}).get(GPU, 0))
    return found


def _place(world: World, pod: Object, room: Room) -> None:
    need, free = gpus_of(pod), room.free
    suited, why = room.suited(pod)
    fitting = [name for name in suited if need <= free[name]]
    if not fitting:
        full = Counter({f"Insufficient {GPU}": len(suited)} if suited else {})
        _tell_waiting(world, pod, len(room.nodes), why + full)
        return
    chosen = min(fitting, key=lambda name: (-free[name], name))
    free[chosen] -= need
    told = {"type": "PodScheduled", "status": "True"}
    status = {
        **(pod.get("status") or {}),
        "phase": "Pending",
        "conditions": with_conditions(pod, world.objects.now(), told),
    }
    spec = {**pod["spec"], "nodeName": chosen}
    world.update(pod, {"spec": spec, "status": status}, SCHEDULER)


def _tell_waiting(world: World, pod: Object, nodes: int, why: Counter[str]) -> None:
    reasons = ", ".join(sorted(f"{count} {text}" for text, count in why.items()))
    told = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": f"0/{nodes} nodes are available: {reasons}.",
    }
    status = {
        **(pod.get("status") or {}),
        "phase": "Pending",
        "conditions": with_conditions(pod, world.objects.now(), told),
    }
    world.update(pod, {"status": status}, SCHEDULER)


def why_not(pod: Object, node: Object) -> str:
    """Return why a pod may not go to a node, apart from GPUs; empty: it may."""
    spec = node.get("spec") or {}
    if spec.get("unschedulable"):
        return "node(s) were unschedulable"
    if condition(node, "Ready").get("status") != "True":
        return "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
    for taint in spec.get("taints") or ():
        if taint.get("effect") in {"NoSchedule", "NoExecute"} and not _tolerated(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    return "" if _matches(pod, node) else "node(s) didn't match Pod's node affinity/selector"


def _tolerated(pod: Object, taint: Mapping[str, Any]) -> bool:
    return any(
        each.get("key") in {None, taint["key"]}
        and each.get("effect") in {None, "", taint["effect"]}
        and (each.get("operator") == "Exists" or each.get("value") == taint.get("value"))
        for each in pod["spec"].get("tolerations") or ()
    )


def _matches(pod: Object, node: Object) -> bool:
    labels = node["metadata"].get("labels") or {}
    chosen = pod["spec"].get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in chosen.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(each, labels, node) for each in required["nodeSelectorTerms"])


def _term(term: Mapping[str, Any], labels: Mapping[str, str], node: Object) -> bool:
    """Say whether all of a term holds; an empty one never does."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    name = {"metadata.name": node["metadata"]["name"]}
    return bool(expressions or fields) and (
        all(holds(each, labels) for each in expressions)
        and all(holds(each, name) for each in fields)
    )


def holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether labels are as an expression wants them."""
    key, values = expression["key"], expression.get("values") or ()
    there = key in labels
    found = labels.get(key, "")
    return {
        "In": lambda: found in values and there,
        "NotIn": lambda: found not in values or not there,
        "Exists": lambda: there,
        "DoesNotExist": lambda: not there,
        "Gt": lambda: there and int(found) > int(values[0]),
        "Lt": lambda: there and int(found) < int(values[0]),
    }[expression["operator"]]()
