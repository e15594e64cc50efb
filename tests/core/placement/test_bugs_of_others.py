"""Faults that other schedulers had, asked of this one."""

from __future__ import annotations

from controller.core.placement.tree import Group, Kind, Node, Pack, Part
from tests.core.placement.fleets import fleet, part, placed, refused


def test_the_first_pod_doesn_t_go_where_the_second_can_t_follow() -> None:
    """The fullest domain has one free node, an instance needs two (NVIDIA/nvcf 598)."""
    nodes = fleet("b/full/n1 H20 8", "b/full/n2 H20 0", "b/room/n3 H20 8", "b/room/n4 H20 8")
    assert placed(nodes, part("w", 2, 8, require="s1")) == {"w": {"n3": 1, "n4": 1}}


def test_a_name_that_begins_alike_is_another_domain() -> None:
    """A lost pod of rack-a has no place in rack-ab (Kueue's tests of replacement)."""
    nodes = fleet("b/rack-a/n1 H20 0", "b/rack-ab/n2 H20 8")
    lost = part("w", 2, 1, require="s1")
    why = refused(nodes, lost, kind=Kind.REPLACE, existing={"w": {"n1": 1}})
    assert why.excluded == {"outside_required_domain": 1, "resource:gpu": 1}


def test_a_leader_may_have_a_node_to_itself() -> None:
    """The leader needs processors that the workers' nodes lack (Kueue 15636)."""
    nodes = (
        Node("cpu", {"s1": "r1"}, {"cpu": 4}),
        Node("w1", {"s1": "r1"}, {"gpu": 8, "cpu": 1}),
        Node("w2", {"s1": "r1"}, {"gpu": 8, "cpu": 1}),
    )
    leader = Part("leader", 1, {"cpu": 4})
    workers = Part("workers", 2, {"gpu": 8}, packs=(Pack("s1", 2),))
    group = Group("job", (leader, workers), require="s1")
    assert placed(nodes, group, levels=("s1", "node")) == {
        "leader": {"cpu": 1},
        "workers": {"w1": 1, "w2": 1},
    }


def test_free_gpus_count_wherever_in_the_node_they_are() -> None:
    """Four GPUs free on one node take a pod of four, on two sockets or one (ci-infra 696)."""
    assert placed(fleet("b/r/n1 H20 4"), part("w", 1, 4)) == {"w": {"n1": 1}}


def test_a_pod_isn_t_spread_over_nodes_that_only_hold_it_together() -> None:
    """Two nodes of four GPUs don't hold a pod of eight, though their rack sums to it (Kueue)."""
    nodes = fleet("b/r/n1 H20 4", "b/r/n2 H20 4")
    why = refused(nodes, part("w", 1, 8, require="s1"))
    assert why.excluded == {"resource:gpu": 2}


def test_the_same_name_under_two_parents_is_two_domains() -> None:
    nodes = fleet("b1/rack-1/n1 H20 8", "b2/rack-1/n2 H20 8")
    refused(nodes, part("w", 2, 8, require="s1"))
