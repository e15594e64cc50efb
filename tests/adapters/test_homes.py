"""New instances kept in the domain of their group by the template of a workload without pods."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from controller.core.kube.affinity import Wanted
from tests.kube import Double
from tests.workloads import LAID, NAMESPACE, Act, act, order, served

__all__ = ["act"]

LEAF = "network.topology.nvidia.com/leaf"
HOMES = {"chat-g1": Wanted(LEAF, "leaf-3", "S1 leaf-3")}


@pytest.fixture
def kube() -> Iterator[Double]:
    with Double(kinds=served()) as found:
        yield found


def selector(kube: Double, name: str) -> Any:
    found = kube.get("deployments", NAMESPACE, name)
    return found["spec"]["template"]["spec"].get("nodeSelector")


def test_a_workload_that_grows_from_no_pods_keeps_them_in_its_domain(
    kube: Double, act: Act
) -> None:
    LAID["deployment"].put(kube, 0, 4)
    acting = act(LAID["deployment"])
    acting.apply(replace(order(acting, (2, 6)), homes=HOMES), now_s=0.0)
    assert acting.read("chat", now_s=0.0).desired == (2, 6)
    assert selector(kube, "chat-prefill") == {LEAF: "leaf-3"}
    assert selector(kube, "chat-decode") is None


def test_what_its_template_asks_for_besides_stays(kube: Double, act: Act) -> None:
    LAID["deployment"].put(kube, 0, 4)
    own = {"spec": {"template": {"spec": {"nodeSelector": {"gpu": "h100"}}}}}
    kube.change("deployments", NAMESPACE, "chat-prefill", own)
    acting = act(LAID["deployment"])
    acting.apply(replace(order(acting, (2, 4)), homes=HOMES), now_s=0.0)
    assert selector(kube, "chat-prefill") == {"gpu": "h100", LEAF: "leaf-3"}


def test_a_group_without_a_label_leaves_the_template_alone(kube: Double, act: Act) -> None:
    LAID["deployment"].put(kube, 0, 4)
    acting = act(LAID["deployment"])
    acting.apply(order(acting, (2, 4)), now_s=0.0)
    assert selector(kube, "chat-prefill") is None
