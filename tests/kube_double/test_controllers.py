"""What controllers make of counts: pods, nodes, victims, status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.kube import (
    Double,
    deployment,
    dynamo,
    leaderworkerset,
    node,
    rolebasedgroup,
    rolebasedgroup_adapter,
    statefulset,
)
from tests.kube.builders import required
from tests.kube.controllers.world import World
from tests.kube_double.client import DECODE, PODS, Client

COST = "controller.kubernetes.io/pod-deletion-cost"
STRATEGIC = "application/strategic-merge-patch+json"


def names(kube: Double, labels: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in kube.all("pods", "prod", labels)]


def ready(pod: dict[str, Any]) -> bool:
    told = {each["type"]: each["status"] for each in pod["status"]["conditions"]}
    return told["Ready"] == "True"


def test_a_deployment_has_its_pods_and_tells_of_them(kube: Double) -> None:
    shown = kube.get("deployments", "prod", "chat-decode")
    status = shown["status"]
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (4, 4, 4)
    assert status["observedGeneration"] == shown["metadata"]["generation"] == 1
    pods = kube.all("pods", "prod", "app=chat-decode")
    assert len(pods) == 4
    assert all(map(ready, pods))
    (owner,) = pods[0]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["controller"]) == ("ReplicaSet", True)
    assert pods[0]["metadata"]["name"].startswith(f"{owner['name']}-")
    assert pods[0]["metadata"]["labels"]["pod-template-hash"] == owner["name"].split("-")[-1]


def test_a_count_is_seen_first_and_pods_are_ready_later(kube: Double) -> None:
    kube.kubelet.ready_after = 3
    kube.scale("deployments", "prod", "chat-decode", 5, by="heteroscale")
    told = []
    for _ in range(6):
        kube.step()
        status = kube.get("deployments", "prod", "chat-decode")["status"]
        told.append((status["observedGeneration"], status["replicas"], status["readyReplicas"]))
    # The new pod is counted a round after it is made and is ready in the fourth with a node.
    assert told == [(2, 4, 4), (2, 5, 4), (2, 5, 4), (2, 5, 4), (2, 5, 5), (2, 5, 5)]


def unready(kube: Double, pod: str) -> None:
    kube.kubelet.unready.add(pod)


def cheap(kube: Double, pod: str) -> None:
    kube.change("pods", "prod", pod, {"metadata": {"annotations": {COST: "-5"}}})


@pytest.mark.parametrize("mark", [unready, cheap])
def test_a_deployment_gives_up_the_unready_and_the_cheap_first(
    kube: Double, mark: Callable[[Double, str], None]
) -> None:
    every = names(kube, "app=chat-decode")
    mark(kube, every[2])
    kube.step()
    kube.scale("deployments", "prod", "chat-decode", 3, by="heteroscale")
    kube.settle()
    assert set(every) - set(names(kube, "app=chat-decode")) == {every[2]}


def test_what_goes_is_marked_and_goes_later(kube: Double) -> None:
    kube.kubelet.gone_after = 2
    kube.scale("deployments", "prod", "chat-decode", 3, by="heteroscale")
    kube.step()
    marked = [
        pod["metadata"]["deletionGracePeriodSeconds"]
        for pod in kube.all("pods", "prod", "app=chat-decode")
        if "deletionTimestamp" in pod["metadata"]
    ]
    assert marked == [30]
    kube.step()
    assert len(names(kube, "app=chat-decode")) == 4
    kube.step()
    assert len(names(kube, "app=chat-decode")) == 3


def test_a_new_template_replaces_pods_without_going_below_three_quarters(kube: Double) -> None:
    old = set(names(kube, "app=chat-decode"))
    patch = {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}}
    kube.change("deployments", "prod", "chat-decode", patch)
    least = 4
    for _ in range(20):
        kube.step()
        pods = kube.all("pods", "prod", "app=chat-decode")
        staying = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        least = min(least, sum(map(ready, staying)))
    assert least == 3
    assert not old & set(names(kube, "app=chat-decode"))
    assert kube.get("deployments", "prod", "chat-decode")["status"]["updatedReplicas"] == 4


def test_a_statefulset_numbers_its_pods_and_gives_up_the_highest(kube: Double) -> None:
    kube.put(statefulset("prod", "rank", 3))
    kube.settle()
    assert names(kube, "app=rank") == ["rank-0", "rank-1", "rank-2"]
    kube.kubelet.unready.add("rank-0")
    kube.scale("statefulsets", "prod", "rank", 1, by="heteroscale")
    kube.settle()
    assert names(kube, "app=rank") == ["rank-0"]


def test_a_statefulset_in_order_waits_for_each(kube: Double) -> None:
    body = statefulset("prod", "rank", 3)
    body["spec"]["podManagementPolicy"] = "OrderedReady"
    kube.put(body)
    kube.kubelet.unready.add("rank-1")
    kube.settle()
    assert names(kube, "app=rank") == ["rank-0", "rank-1"]


def test_a_statefulset_in_order_gives_up_one_after_the_other(kube: Double) -> None:
    body = statefulset("prod", "rank", 3)
    body["spec"]["podManagementPolicy"] = "OrderedReady"
    kube.put(body)
    kube.settle()
    kube.scale("statefulsets", "prod", "rank", 1, by="heteroscale")
    told = []
    while len(names(kube, "app=rank")) > 1:
        kube.step()
        pods = kube.all("pods", "prod", "app=rank")
        told.append([p["metadata"]["name"] for p in pods if "deletionTimestamp" in p["metadata"]])
    assert [each for each in told if each] == [["rank-2"], ["rank-1"]]


def test_a_group_is_ready_when_all_of_it_is(kube: Double) -> None:
    kube.put(leaderworkerset("prod", "wide", 2, size=3, gpus=4))
    kube.kubelet.unready.add("wide-1-2")
    kube.settle()
    assert names(kube, "app=wide") == [
        "wide-0",
        "wide-0-1",
        "wide-0-2",
        "wide-1",
        "wide-1-1",
        "wide-1-2",
    ]
    status = kube.get("leaderworkersets", "prod", "wide")["status"]
    assert (status["replicas"], status["readyReplicas"]) == (2, 1)
    assert names(kube, status["hpaPodSelector"]) == ["wide-0", "wide-1"]
    group = "leaderworkerset.sigs.k8s.io/group-index=1"
    assert names(kube, group) == ["wide-1", "wide-1-1", "wide-1-2"]
    kube.scale("leaderworkersets", "prod", "wide", 1, by="heteroscale")
    kube.settle()
    assert not names(kube, group)


def test_a_role_with_an_adapter_has_the_adapters_count(kube: Double) -> None:
    kube.put(rolebasedgroup("prod", "pd", {"prefill": 1, "decode": 2}, gpus=1))
    kube.put(rolebasedgroup_adapter("prod", "pd", "decode"))
    kube.settle()
    adapter = kube.get("rolebasedgroupscalingadapters", "prod", "pd-decode")
    assert (adapter["spec"]["replicas"], adapter["status"]["phase"]) == (2, "Bound")
    kube.scale("rolebasedgroupscalingadapters", "prod", "pd-decode", 3, by="heteroscale")
    kube.settle()
    assert len(names(kube, "rolebasedgroup.workloads.x-k8s.io/role=decode")) == 3
    roles = kube.get("rolebasedgroups", "prod", "pd")["spec"]["roles"]
    assert [role["replicas"] for role in roles] == [1, 3]
    changed = [{**role, "replicas": 5} for role in roles]
    kube.change("rolebasedgroups", "prod", "pd", {"spec": {"roles": changed}})
    kube.settle()
    roles = kube.get("rolebasedgroups", "prod", "pd")["spec"]["roles"]
    # The role without one keeps what was written, the other is put back.
    assert [role["replicas"] for role in roles] == [5, 3]


def test_a_component_with_an_adapter_has_the_adapters_count(kube: Double) -> None:
    parts = {"Frontend": 1, "VllmPrefillWorker": 1, "VllmDecodeWorker": 2}
    kube.put(dynamo("prod", "agg", parts, adapters=["VllmDecodeWorker"]))
    kube.settle()
    wish = {part: {"replicas": 4} for part in ("VllmPrefillWorker", "VllmDecodeWorker")}
    kube.change("dynamographdeployments", "prod", "agg", {"spec": {"services": wish}})
    kube.settle()
    assert len(names(kube, "nvidia.com/dynamo-component=VllmPrefillWorker")) == 4
    assert len(names(kube, "nvidia.com/dynamo-component=VllmDecodeWorker")) == 2
    adapter = "agg-vllmdecodeworker"
    kube.scale("dynamographdeploymentscalingadapters", "prod", adapter, 3, by="heteroscale")
    kube.settle()
    shown = kube.get("dynamographdeployments", "prod", "agg")
    assert shown["spec"]["services"]["VllmDecodeWorker"]["replicas"] == 3
    assert shown["status"]["services"]["VllmDecodeWorker"]["readyReplicas"] == 3
    assert shown["status"]["state"] == "successful"


def test_pods_go_where_their_affinity_lets_them(kube: Double) -> None:
    wanted = required({"kubernetes.io/hostname": ["gpu-0003", "gpu-0004"]})
    pinned = deployment("prod", "pinned", 5, gpus=4)
    pinned["spec"]["template"]["spec"]["affinity"] = wanted
    kube.put(pinned)
    kube.settle()
    pods = kube.all("pods", "prod", "app=pinned")
    # Two nodes with 8 - 2 and 8 - 2 or 8 free GPUs hold one or two pods of 4 each.
    placed = {pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]}
    assert placed == {"gpu-0003", "gpu-0004"}
    waiting = [pod for pod in pods if "nodeName" not in pod["spec"]]
    told = {each["type"]: each for each in waiting[0]["status"]["conditions"]}["PodScheduled"]
    assert (told["status"], told["reason"]) == ("False", "Unschedulable")
    assert told["message"] == (
        "0/16 nodes are available: 14 node(s) didn't match Pod's node affinity/selector, "
        "2 Insufficient nvidia.com/gpu."
    )


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param({"unschedulable": True}, id="cordoned"),
        pytest.param({"taints": [{"key": "x", "effect": "NoSchedule"}]}, id="tainted"),
    ],
)
def test_no_pod_goes_to_a_closed_node(closed: dict[str, Any]) -> None:
    with Double() as kube:
        kube.put(node("only", **closed), deployment("prod", "a", 1))
        kube.settle()
        (pod,) = kube.all("pods")
        assert "nodeName" not in pod["spec"]


def test_pods_of_a_node_that_dies_are_not_ready(kube: Double) -> None:
    pod = kube.all("pods", "prod", "app=chat-decode")[0]
    dead = node(pod["spec"]["nodeName"], ready=False)
    kube.put(dead)
    kube.settle()
    assert not ready(kube.get("pods", "prod", pod["metadata"]["name"]))
    assert kube.get("deployments", "prod", "chat-decode")["status"]["readyReplicas"] == 3


@pytest.mark.parametrize(
    ("why", "phase", "restarts"),
    [("CrashLoopBackOff", "Running", 1), ("ImagePullBackOff", "Pending", 0)],
)
def test_containers_that_never_run_say_why(
    kube: Double, why: str, phase: str, restarts: int
) -> None:
    kube.kubelet.stuck["stuck"] = why
    kube.put(deployment("prod", "stuck", 1))
    kube.settle()
    (pod,) = kube.all("pods", "prod", "app=stuck")
    (container,) = pod["status"]["containerStatuses"]
    assert pod["status"]["phase"] == phase
    assert (container["state"]["waiting"]["reason"], container["restartCount"]) == (why, restarts)


def test_a_readiness_gate_is_opened_by_somebody_else(kube: Double, raw: Client) -> None:
    gate = "heteroscale.io/registered"
    kube.put(deployment("prod", "gated", 1, gates=[gate]))
    kube.settle()
    (pod,) = kube.all("pods", "prod", "app=gated")
    assert not ready(pod)
    name = pod["metadata"]["name"]
    for status, expect in (("True", True), ("False", False)):
        patch = {"status": {"conditions": [{"type": gate, "status": status}]}}
        raw.ask("PATCH", f"{PODS}/{name}/status", patch, content=STRATEGIC)
        kube.settle()
        assert ready(kube.get("pods", "prod", name)) is expect


def test_pods_of_what_is_deleted_are_collected(kube: Double, raw: Client) -> None:
    assert raw.ask("DELETE", DECODE).json()["status"] == "Success"
    kube.settle()
    assert not names(kube, "app=chat-decode")


def test_controllers_do_not_write_over_what_came_in_between(kube: Double) -> None:
    world = World(kube.objects, kube.api.kinds)
    seen = kube.get("deployments", "prod", "chat-decode")
    kube.scale("deployments", "prod", "chat-decode", 9, by="heteroscale")
    assert world.update(seen, {"spec": {**seen["spec"], "paused": True}}) == seen
    assert kube.get("deployments", "prod", "chat-decode")["spec"]["replicas"] == 9


def test_controllers_run_by_themselves(kube: Double, raw: Client) -> None:
    kube.run(every_s=0.0)
    raw.patch(f"{DECODE}/scale", {"spec": {"replicas": 6}})
    kube.wait_for(lambda: raw.get(DECODE).json()["status"].get("readyReplicas") == 6)
