"""Deployments and their ReplicaSets.

Kubernetes, "Deployments" ("Rolling Update Deployment", "Deployment status") and "ReplicaSet"
("Scaling a ReplicaSet": who goes first, "Pod deletion cost").
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from tests.kube.controllers.world import (
    World,
    controller_of,
    count_of,
    hash_of,
    is_active,
    is_ready,
    with_conditions,
)
from tests.kube.store import Object

COST = "controller.kubernetes.io/pod-deletion-cost"
QUARTER = 0.25
PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def keep_deployments(world: World) -> None:
    """Bring pods of Deployments a round nearer to what is asked for."""
    sets = world.all("ReplicaSet")
    for deployment in world.all("Deployment"):
        if "deletionTimestamp" not in deployment["metadata"]:
            own = [each for each in sets if _owner(each) == deployment["metadata"]["uid"]]
            _keep(world, deployment, own)


def _owner(body: Object) -> str:
    return (controller_of(body) or {}).get("uid", "")


def _keep(world: World, deployment: Object, sets: list[Object]) -> None:
    template = deployment["spec"]["template"]
    name = f"{deployment['metadata']['name']}-{hash_of(template)}"
    new = next((each for each in sets if each["metadata"]["name"] == name), None)
    if new is None:
        world.create(deployment, _set(deployment, name))
        return
    pods = {each["metadata"]["uid"]: _active(world, each) for each in sets}
    mine = pods.pop(new["metadata"]["uid"])
    old = [pod for each in pods.values() for pod in each]
    wanted = count_of(deployment)
    paused = bool(deployment["spec"].get("paused")) and bool(old)
    if not paused:
        _grow(world, new, _room(wanted, len(mine), len(old)))
        for pod in _leaving(wanted, mine, old):
            world.delete(pod)
    for each in sets:
        _tell_set(world, each, wanted if each is new else 0)
    _tell(world, deployment, mine, old)


def _active(world: World, owner: Object) -> list[Object]:
    return [pod for pod in world.owned(owner) if is_active(pod)]


def _set(deployment: Object, name: str) -> Object:
    spec = deployment["spec"]
    label = {"pod-template-hash": name.rpartition("-")[2]}
    template = spec["template"]
    meta = template.get("metadata") or {}
    labels = {**(meta.get("labels") or {}), **label}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": count_of(deployment),
            "selector": {"matchLabels": {**spec["selector"]["matchLabels"], **label}},
            "template": {**template, "metadata": {**meta, "labels": labels}},
        },
    }


def _room(wanted: int, mine: int, old: int) -> int:
    """Return how many may be created: a quarter beyond what is wanted while old ones are there."""
    surge = math.ceil(wanted * QUARTER) if old else 0
    return max(0, min(wanted - mine, wanted + surge - mine - old))


def _grow(world: World, owner: Object, more: int) -> None:
    for _at in range(more):
        name = f"{owner['metadata']['name']}-"
        world.pod(owner, owner["spec"]["template"], generateName=name)


def _leaving(wanted: int, mine: list[Object], old: list[Object]) -> list[Object]:
    """Return who goes: what is too much, and old ones as far as enough are ready."""
    if not old:
        return in_order_of_leaving(mine)[: max(0, len(mine) - wanted)]
    least = wanted - math.floor(wanted * QUARTER)
    ready = sum(map(is_ready, (*mine, *old)))
    unready = [pod for pod in in_order_of_leaving(old) if not is_ready(pod)]
    others = [pod for pod in in_order_of_leaving(old) if is_ready(pod)]
    return unready + others[: max(0, ready - least)]


def in_order_of_leaving(pods: list[Object]) -> list[Object]:
    """Sort pods: who goes first stands first.

    Without a node, pending, not ready; then by deletion cost, by how many are on the same node,
    by how short they are ready, by restarts, by age.
    """
    near = Counter((pod.get("spec") or {}).get("nodeName") for pod in pods)
    newest = sorted(pods, key=lambda pod: (_born(pod), pod["metadata"]["name"]), reverse=True)
    return sorted(newest, key=lambda pod: _rank(pod, near))


def _rank(pod: Object, near: Counter[Any]) -> tuple[Any, ...]:
    node = (pod.get("spec") or {}).get("nodeName")
    status = pod.get("status") or {}
    return (
        bool(node),
        PHASES.get(status.get("phase", "Pending"), 0),
        is_ready(pod),
        cost_of(pod),
        -near[node],
        -sum(each.get("restartCount", 0) for each in status.get("containerStatuses") or ()),
    )


def cost_of(pod: Object) -> int:
    """Return the deletion cost of a pod; what is no number is 0."""
    told = (pod["metadata"].get("annotations") or {}).get(COST, "0")
    try:
        return int(told)
    except ValueError:
        return 0


def _born(pod: Object) -> str:
    born: str = pod["metadata"]["creationTimestamp"]
    return born


def _tell_set(world: World, owner: Object, wanted: int) -> None:
    owner = world.update(owner, {"spec": {**owner["spec"], "replicas": wanted}})
    pods = _active(world, owner)
    ready = sum(map(is_ready, pods))
    told = {"replicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
    world.update(owner, {"status": told})


def _tell(world: World, deployment: Object, mine: list[Object], old: list[Object]) -> None:
    every, ready = len(mine) + len(old), sum(map(is_ready, (*mine, *old)))
    wanted = count_of(deployment)
    least = wanted - math.floor(wanted * QUARTER)
    done = not old and len(mine) == wanted == ready
    conditions = with_conditions(
        deployment,
        world.objects.now(),
        {"type": "Available", "status": str(ready >= least), "reason": "MinimumReplicas"},
        {
            "type": "Progressing",
            "status": "True",
            "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
        },
    )
    status = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": every,
        "updatedReplicas": len(mine),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, every - ready),
        "conditions": conditions,
    }
    shown = {key: each for key, each in status.items() if each != 0 or key == "observedGeneration"}
    world.update(deployment, {"status": shown})
