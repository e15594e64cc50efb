"""How pods start, become ready and end (Kubernetes, "Pod Lifecycle", "Pod readiness")."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.kube.controllers.world import World, condition, with_conditions
from tests.kube.fields import Writer
from tests.kube.store import Object

KUBELET = Writer("kubelet", "system:node", subresource="status")


@dataclass
class Kubelet:
    """All kubelets of a cluster."""

    ready_after: int = 1
    """Rounds from having a node to running and ready."""
    gone_after: int = 1
    """Rounds from being deleted to being gone."""
    stuck: dict[str, str] = field(default_factory=dict)
    """Beginnings of names of pods whose containers never run, and why: ``CrashLoopBackOff``."""
    unready: set[str] = field(default_factory=set)
    """Names of pods that run and don't pass their readiness probe."""
    _rounds: Counter[str] = field(default_factory=Counter)

    def run(self, world: World) -> None:
        """Look after each pod that has a node."""
        nodes = {each["metadata"]["name"]: each for each in world.all("Node")}
        for pod in world.all("Pod"):
            name = (pod.get("spec") or {}).get("nodeName")
            if name:
                self._look(world, pod, nodes.get(name))

    def _look(self, world: World, pod: Object, node: Object | None) -> None:
        uid = pod["metadata"]["uid"]
        alive = node is not None and condition(node, "Ready").get("status") == "True"
        if "deletionTimestamp" in pod["metadata"]:
            self._rounds[f"{uid} ending"] += 1
            if alive and self._rounds[f"{uid} ending"] > self.gone_after:
                world.delete(pod, grace_s=0)
            return
        if not alive:
            told = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
            conditions = with_conditions(pod, world.objects.now(), told)
            world.update(pod, {"status": {**pod["status"], "conditions": conditions}}, KUBELET)
            return
        if (pod.get("status") or {}).get("phase") in {None, "Pending", "Running"}:
            self._rounds[uid] += 1
            self._tell(world, pod, self._rounds[uid] > self.ready_after)

    def _tell(self, world: World, pod: Object, begun: bool) -> None:  # noqa: FBT001
        name, now = pod["metadata"]["name"], world.objects.now()
        before = pod.get("status") or {}
        # Once a container runs, counting rounds is over.
        begun = begun or before.get("phase") == "Running"
        why = next((each for start, each in self.stuck.items() if name.startswith(start)), "")
        up = begun and not why
        passing = up and name not in self.unready
        told: list[dict[str, Any]] = [
            {"type": "ContainersReady", "status": str(passing)},
            {"type": "Ready", "status": str(passing and _gates_open(pod))},
            {"type": "Initialized", "status": "True"},
        ]
        for each in told[:2]:
            if each["status"] == "False":
                open_ = not passing
                each["reason"] = "ContainersNotReady" if open_ else "ReadinessGatesNotReady"
        status = {
            **before,
            "phase": "Running" if begun and why != "ImagePullBackOff" else "Pending",
            "conditions": with_conditions(pod, now, *told),
            "hostIP": "10.0.0.1",
            "startTime": before.get("startTime", now),
            "containerStatuses": _containers(pod, now, why if begun else "", (up, passing)),
            **({"podIP": _address(pod)} if begun else {}),
        }
        world.update(pod, {"status": status}, KUBELET)


def _gates_open(pod: Object) -> bool:
    gates = pod["spec"].get("readinessGates") or ()
    return all(condition(pod, each["conditionType"]).get("status") == "True" for each in gates)


def _containers(pod: Object, now: str, why: str, state: tuple[bool, bool]) -> list[Object]:
    up, passing = state
    before = {
        each["name"]: each for each in (pod.get("status") or {}).get("containerStatuses") or ()
    }
    found = []
    for container in pod["spec"].get("containers") or ():
        old = before.get(container["name"], {})
        running = (old.get("state") or {}).get("running") or {"startedAt": now}
        is_now: Object = {"running": running}
        if not up:
            is_now = {"waiting": {"reason": why or "ContainerCreating"}}
        restarts = old.get("restartCount", 0)
        if why == "CrashLoopBackOff" and not restarts:
            restarts = 1
        found.append(
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "",
                "ready": passing,
                "started": up,
                "restartCount": restarts,
                "state": is_now,
            }
        )
    return found


def _address(pod: Object) -> str:
    number = int(pod["metadata"]["uid"][:4], 16)
    return f"10.1.{number // 256}.{number % 256}"
