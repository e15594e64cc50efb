"""Kubernetes nodes: where they are, how many GPUs they have, how they are."""

from __future__ import annotations

from typing import Any

import pytest

from inventory.domains import derive
from inventory.importers.found import Options
from inventory.importers.gathering import merge
from inventory.plan import summary_of
from tests.inventory.files import codes, faults, found, node, nodes, s1, s2

AWS = "topology.k8s.aws/network-node-layer-"
OLD = "network.topology.nvidia.com/"
GKE = "cloud.google.com/gce-topology-"
A100_SLICE = "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb"


@pytest.mark.parametrize(
    ("labels", "near", "far"),
    [
        pytest.param(
            {"fabric.topograph.run/tier-0": "near", "fabric.topograph.run/tier-1": "far"},
            "near",
            "far",
            id="Topograph now: tier-0 is nearest",
        ),
        pytest.param(
            {f"{OLD}leaf": "near", f"{OLD}spine": "far", f"{OLD}core": "top"},
            "near",
            "far",
            id="Topograph before: leaf, spine, core",
        ),
        pytest.param(
            {f"{OLD}block": "near", f"{OLD}spine": "far", f"{OLD}datacenter": "top"},
            "near",
            "far",
            id="Topograph at first: block, spine, datacenter",
        ),
        pytest.param(
            {f"{AWS}1": "top", f"{AWS}2": "far", f"{AWS}3": "near"},
            "near",
            "far",
            id="AWS counts down to the node: layer 3 of 3 is nearest",
        ),
        pytest.param(
            {f"{AWS}1": "top", f"{AWS}2": "mid", f"{AWS}3": "far", f"{AWS}4": "near"},
            "near",
            "far",
            id="AWS with four layers: layer 4 is nearest",
        ),
        pytest.param(
            {f"{GKE}block": "far", f"{GKE}subblock": "near", f"{GKE}host": "machine"},
            "near",
            "far",
            id="GKE: the host is the machine itself, S1 is the sub-block",
        ),
    ],
)
def test_labels_place_a_node(labels: dict[str, str], near: str, far: str) -> None:
    answer = found(nodes(node("a", labels), node("b", labels)))
    assert (s1(answer), s2(answer)) == ({near: 2}, {far: 2})


def test_the_newest_family_wins_where_two_are_there() -> None:
    labels = {
        "fabric.topograph.run/tier-0": "new",
        f"{OLD}leaf": "old",
        f"{OLD}spine": "old-spine",
    }
    assert s1(found(nodes(node("a", labels)))) == {"new": 1}


def test_keys_of_any_other_kind_are_chosen_in_order() -> None:
    labels = {"my.site/tor": "t1", "my.site/pod": "p1"}
    answer = found(nodes(node("a", labels)), level_keys=("my.site/tor", "my.site/pod"))
    assert (s1(answer), s2(answer)) == ({"t1": 1}, {"p1": 1})


def test_levels_in_the_wrong_order_are_refused() -> None:
    # Two leaves under one spine, read upside down: the S1 "spine" would be under two S2.
    wrong = tuple(f"{AWS}{layer}" for layer in (1, 2, 3))
    items = [
        node(leaf, {f"{AWS}1": "top", f"{AWS}2": "spine", f"{AWS}3": leaf})
        for leaf in ("leaf-1", "leaf-2")
    ]
    assert "s1_spans_s2" not in codes(found(nodes(*items)))
    more = [
        node("c", {f"{AWS}1": "top", f"{AWS}2": "spine-2", f"{AWS}3": "leaf-3"}),
    ]
    turned = found(nodes(*items, *more), level_keys=wrong)
    finding = next(one for one in derive(turned).findings if one.code == "s1_spans_s2")
    assert finding.sentence == (
        "S1 top would be under 2 S2 at once, spine and spine-2: is the order of the levels right?"
    )


def test_the_preview_shows_what_each_level_was_read_from() -> None:
    items = [
        node(f"n{n}", {f"{AWS}1": "top", f"{AWS}2": "s", f"{AWS}3": f"leaf-{n // 16}"})
        for n in range(32)
    ]
    answer = found(nodes(*items))
    assert f"S1 = {AWS}3 (2 values, median 16 nodes)" in summary_of(answer, derive(answer))


@pytest.mark.parametrize(
    ("labels", "capacity", "gpus", "model"),
    [
        pytest.param(
            {
                "nvidia.com/mig.strategy": "single",
                "nvidia.com/gpu.count": "56",
                "nvidia.com/gpu.product": A100_SLICE,
                "nvidia.com/gpu.memory": "9728",
            },
            56,
            8,
            "A100-SXM4-80GB",
            id="56 slices of a seventh are 8 GPUs",
        ),
        pytest.param(
            {
                "nvidia.com/mig.strategy": "single",
                "nvidia.com/gpu.count": "32",
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.20gb",
            },
            32,
            8,
            "A100-SXM4-80GB",
            id="80 GB holds four of 20 GB: 32 slices are 8 GPUs",
        ),
        pytest.param(
            {
                "nvidia.com/mig.strategy": "single",
                "nvidia.com/gpu.count": "16",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-3g.40gb",
            },
            16,
            8,
            "H100-80GB-HBM3",
            id="two of 3g.40gb on each: 16 slices are 8 GPUs",
        ),
        pytest.param(
            {
                "nvidia.com/mig.strategy": "mixed",
                "nvidia.com/gpu.count": "8",
                "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
            },
            0,
            8,
            "A100-SXM4-80GB",
            id="mixed: slices are resources of their own, 8 GPUs stay 8",
        ),
        pytest.param(
            {
                "nvidia.com/gpu.sharing-strategy": "time-slicing",
                "nvidia.com/gpu.replicas": "4",
                "nvidia.com/gpu.count": "8",
                "nvidia.com/gpu.product": "NVIDIA-L40S-SHARED",
            },
            32,
            8,
            "L40S",
            id="four share each: 32 shares are 8 GPUs",
        ),
    ],
)
def test_slices_and_shares_are_not_gpus(
    labels: dict[str, str], capacity: int, gpus: int, model: str
) -> None:
    answer = found(nodes(node("a", labels, capacity={"nvidia.com/gpu": str(capacity)})))
    assert [(one.gpus, one.health) for one in answer.nodes] == [(gpus, "ok")]
    assert [(one.gpu_model, one.gpus_per_node) for one in answer.hardware] == [(model, gpus)]
    assert answer.faults == ()


def test_slices_that_make_no_whole_gpus_are_a_fault() -> None:
    labels = {
        "nvidia.com/mig.strategy": "single",
        "nvidia.com/gpu.count": "50",
        "nvidia.com/gpu.product": A100_SLICE,
    }
    answer = found(nodes(node("a", labels, gpus=50)))
    assert [one.message for one in answer.faults] == [
        f"50 slices of {A100_SLICE} are no whole number of GPUs"
    ]


NOT_READY = [{"type": "Ready", "status": "False", "reason": "KubeletDown"}]
UNKNOWN = [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}]
PRESSED = [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]
TAINT = {"taints": [{"key": "nvidia.com/gpu", "value": "unhealthy", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("more", "state", "health", "reason"),
    [
        pytest.param({}, "in_service", "ok", None, id="ready"),
        pytest.param({"spec": {"unschedulable": True}}, "cordoned", "ok", None, id="cordoned"),
        pytest.param(
            {"conditions": NOT_READY},
            "in_service",
            "failed",
            "not ready: KubeletDown",
            id="not ready",
        ),
        pytest.param(
            {"conditions": UNKNOWN}, "in_service", "unknown", "NodeStatusUnknown", id="silent"
        ),
        pytest.param(
            {"conditions": []},
            "in_service",
            "unknown",
            "the node doesn't say whether it is ready",
            id="no word is not health",
        ),
        pytest.param(
            {"allocatable": {"nvidia.com/gpu": "7"}},
            "in_service",
            "degraded",
            "7 of 8 GPUs allocatable",
            id="one GPU of eight is lost",
        ),
        pytest.param(
            {"allocatable": {"nvidia.com/gpu": "0"}},
            "in_service",
            "failed",
            "0 of 8 GPUs allocatable",
            id="all GPUs are lost",
        ),
        pytest.param(
            {"spec": TAINT}, "in_service", "degraded", "taint nvidia.com/gpu=unhealthy", id="taint"
        ),
        pytest.param(
            {"conditions": PRESSED}, "in_service", "degraded", "DiskPressure", id="pressure"
        ),
    ],
)
def test_a_node_says_how_it_is(
    more: dict[str, Any], state: str, health: str, reason: str | None
) -> None:
    (one,) = found(nodes(node("a", **more))).nodes
    assert (one.admin_state, one.health, one.reason) == (state, health, reason)


def test_taints_that_keep_instances_away_are_read() -> None:
    taints = [
        {"key": "dedicated", "value": "llm", "effect": "NoSchedule"},
        {"key": "broken", "effect": "NoExecute"},
        {"key": "spot", "value": "yes", "effect": "PreferNoSchedule"},
        {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},
    ]
    (one,) = found(nodes(node("a", spec={"taints": taints}))).nodes
    assert one.taints == ("broken", "dedicated=llm")


def test_a_node_without_taints_says_so() -> None:
    (one,) = found(nodes(node("a"))).nodes
    assert one.taints == ()


def test_who_cordoned_and_why_is_kept() -> None:
    labels = {"example.com/cordon-by": "sentinel", "example.com/cordon-reason": "xid-79"}
    (one,) = found(nodes(node("a", labels, spec={"unschedulable": True}))).nodes
    assert (one.admin_state, one.reason) == ("cordoned", "xid-79 by sentinel")


def test_nodes_without_gpus_are_left_out_and_counted() -> None:
    answer = found(nodes(node("gpu"), node("control", capacity={"cpu": "8"})))
    assert [one.name for one in answer.nodes] == ["gpu"]
    assert answer.notes == ("Nodes without GPUs were left out: 1.",)


def test_a_node_whose_driver_is_gone_stays() -> None:
    labels = {"nvidia.com/gpu.count": "8", "nvidia.com/gpu.product": "NVIDIA-H800"}
    (one,) = found(nodes(node("a", labels, capacity={"nvidia.com/gpu": "0"}))).nodes
    assert (one.gpus, one.health) == (8, "failed")


def test_the_clique_is_the_nvlink_domain() -> None:
    clique = "7a8b.32766"
    answer = found(nodes(node("a", {"nvidia.com/gpu.clique": clique})))
    assert [one.name for one in answer.nvlink_domains] == [clique]


def test_faults_name_the_item_and_the_field() -> None:
    answer = found(nodes(node("good"), node("_bad"), node("many", gpus=1_000_000)))
    assert [one.name for one in answer.nodes] == ["good"]
    assert [(line, field) for line, field, _ in faults(answer)] == [
        (None, "items[1].metadata.name"),
        (None, "items[2].gpus"),
    ]


def test_yaml_gives_the_same_as_json() -> None:
    text = """\
apiVersion: v1
kind: List
items:
- kind: Node
  metadata:
    name: a
    labels: {fabric.topograph.run/tier-0: "7", nvidia.com/gpu.count: "8"}
  status:
    capacity: {nvidia.com/gpu: "8"}
    conditions:
    - {type: Ready, status: "True"}
"""
    labels = {"fabric.topograph.run/tier-0": "7", "nvidia.com/gpu.count": "8"}
    assert found(text).nodes == found(nodes(node("a", labels))).nodes


def test_an_instance_type_names_the_hardware_until_the_gpu_is_known() -> None:
    listed = found(nodes(node("a", {"node.kubernetes.io/instance-type": "p5.48xlarge"})))
    assert [(one.slug, one.gpu_model) for one in listed.hardware] == [("p5-48xlarge", None)]
    rows = "".join(f"{n}, G{n}, NVIDIA H100 80GB HBM3\n" for n in range(8))
    seen = found(f"### a\nindex, uuid, name\n{rows}")
    for parts in ((listed, seen), (seen, listed)):
        both = merge(parts, Options())
        assert both.faults == ()
        assert [one.hardware for one in both.nodes] == ["h100-80gb-hbm3-8"]


def test_the_region_is_that_of_most_nodes() -> None:
    region = "topology.kubernetes.io/region"
    answer = found(nodes(*(node(name, {region: name[0]}) for name in ("a1", "a2", "b1"))))
    assert [(one.slug, one.region) for one in answer.clusters] == [("imported", "a")]
    assert "regions (a, b)" in answer.notes[0]
