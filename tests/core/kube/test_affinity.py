"""Which nodes a workload's template keeps its pods on, and when that is written."""

from typing import Any

import pytest

from controller.core.kube.affinity import Wanted, of_group, sentence, template_patch, wanted_of
from controller.core.kube.kinds import WorkloadKind
from controller.core.kube.values import WorkloadSeen
from tests.core.kube.objects import ref

LEAF, SPINE = "network.topology.nvidia.com/leaf", "network.topology.nvidia.com/spine"
WANTED = Wanted(LEAF, "leaf-3", "S1 leaf-3")


def seen(replicas: int = 0, **fields: Any) -> WorkloadSeen:
    return WorkloadSeen("u1", "7", replicas, **fields)


@pytest.mark.parametrize(
    ("level", "nodes", "found"),
    [
        pytest.param("s1", [{LEAF: "leaf-3"}, {LEAF: "leaf-3"}], WANTED, id="all bear it"),
        pytest.param("s1", [{LEAF: "leaf-3"}, {}], None, id="one bears none"),
        pytest.param("s1", [{LEAF: "leaf-3"}, {LEAF: "leaf-4"}], None, id="two bear others"),
        pytest.param("s1", [], None, id="no node is known"),
        pytest.param("cluster", [{LEAF: "leaf-3"}], None, id="a cluster needs no label"),
        pytest.param(
            "s2", [{SPINE: "x"}], Wanted(SPINE, "x", "S1 leaf-3"), id="the second key is S2's"
        ),
    ],
)
def test_the_label_is_the_one_all_nodes_of_the_domain_bear(
    level: str, nodes: list[dict[str, str]], found: Wanted | None
) -> None:
    assert wanted_of(level, "S1 leaf-3", [LEAF, SPINE], nodes) == found


def test_a_cluster_without_label_keys_names_no_domain() -> None:
    assert wanted_of("s1", "S1 leaf-3", [], [{LEAF: "leaf-3"}]) is None


PATCH = {"spec": {"template": {"spec": {"nodeSelector": {LEAF: "leaf-3"}}}}}


@pytest.mark.parametrize(
    ("kind", "there", "patch"),
    [
        pytest.param("deployment", seen(), PATCH, id="Deployment without pods"),
        pytest.param("statefulset", seen(), PATCH, id="StatefulSet without pods"),
        pytest.param("deployment", seen(2), None, id="2 are wished: they would be replaced"),
        pytest.param("deployment", seen(0, current=1), None, id="one still ends"),
        pytest.param("deployment", seen(domains={LEAF: ("leaf-9",)}), None, id="somebody's"),
        pytest.param("deployment", seen(domains={SPINE: ("s-1",)}), PATCH, id="another key"),
        pytest.param("leaderworkerset", seen(), None, id="LeaderWorkerSet: two templates"),
        pytest.param("dynamo", seen(), None, id="its operator's template"),
    ],
)
def test_a_template_is_written_only_where_it_replaces_no_pod(
    kind: str, there: WorkloadSeen, patch: dict[str, Any] | None
) -> None:
    assert template_patch(ref(WorkloadKind(kind)), there, WANTED) == patch
    assert template_patch(ref(WorkloadKind(kind)), there, None) is None


@pytest.mark.parametrize(
    ("kind", "there", "wanted", "said"),
    [
        ("deployment", seen(2, domains={LEAF: ("leaf-3",)}), WANTED, "keeps new pods in S1 leaf"),
        ("deployment", seen(2, domains={LEAF: ("leaf-9",)}), WANTED, "leaf-9, and its group is"),
        ("deployment", seen(2), WANTED, f"add the node selector {LEAF}=leaf-3 to its template"),
        ("deployment", seen(2), None, "no label of nodes names the domain"),
        ("rolebasedgroup", seen(2), WANTED, "its operator makes the pods"),
    ],
    ids=["kept", "kept elsewhere", "not kept", "no label", "not ours"],
)
def test_where_new_pods_may_go_is_said(
    kind: str, there: WorkloadSeen, wanted: Wanted | None, said: str
) -> None:
    assert said in sentence(ref(WorkloadKind(kind)), there, wanted)


@pytest.mark.parametrize(
    ("found", "group", "label"),
    [
        ({"a": 1, "b": 2}, "b", 2),
        ({"a": 1}, "", 1),
        ({"a": 1, "b": 2}, "", None),
        ({"a": 1}, "b", None),
        ({}, "", None),
    ],
)
def test_a_workload_without_a_group_is_in_the_only_one(
    found: dict[str, int], group: str, label: int | None
) -> None:
    assert of_group(found, group) == label
