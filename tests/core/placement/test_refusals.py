"""Why a request isn't placed, and what would help."""

from __future__ import annotations

import pytest

from controller.core.placement.tree import Group, Kind, Node, Pack, Part, Tree
from controller.core.placement.verdict import RefusalCode, Shortfall
from tests.core.placement.fleets import fleet, pair, part, refused

NODES = fleet("b1/r1/n1 H20 8", "b1/r1/n2 H20 2", "b1/r2/n3 L20 8", "b2/r3/n4 H20 8 cordoned")


def test_each_node_is_counted_once_by_its_first_reason() -> None:
    """Four nodes: one cordoned though of the right type, one of another, one short, one open."""
    why = refused(NODES, part("w", 3, 4, select={"hw": ("H20",)}, require="s1"))
    assert why.excluded == {"cordoned": 1, "resource:gpu": 1, "selector": 1}
    assert why.shortfall == Shortfall("w", fit=2, of=3, unit="pod")
    assert why.sentence == (
        "w: 2 of 3 pods fit in one s1. Of 4 nodes, 1 node cordoned; 1 node with too little gpu"
        " free; 1 node without the labels selected."
    )
    assert why.would_fit_if == "there is room for 1 more pod of w (4 gpu each) in r1"


@pytest.mark.parametrize(
    ("request_", "helps"),
    [
        pytest.param(
            part("w", 4, 4, require="s1"),
            "there is room for 2 more pods of w (4 gpu each) in r1, or it need not be in one s1",
            id="a wider level has the room",
        ),
        pytest.param(
            part("w", 1, 1, select={"hw": ("H100", "H200")}),
            "a node has the labels of w: hw H100 or H200",
            id="no node is of the type",
        ),
        pytest.param(
            part("w", 16, 1, require="s1", packs=(Pack("node", 4),)),
            "there is room for 2 more packs of 4 pods of w (1 gpu each) in r1",
            id="packs are counted as packs",
        ),
        pytest.param(
            pair(part("p", 1, 8), part("d", 2, 1), require="node"),
            "2 more gpu are free in n1",
            id="each fits alone, together they lack GPUs",
        ),
    ],
)
def test_the_nearest_miss_is_named(request_: Tree, helps: str) -> None:
    assert refused(NODES, request_).would_fit_if.startswith(helps)


def test_a_taint_is_named() -> None:
    nodes = (Node("n1", {}, {"gpu": 8}, taints=("team=red",)),)
    why = refused(nodes, part("w", 1, 1), levels=("node",))
    assert why.excluded == {"taint": 1}
    assert why.would_fit_if == "w tolerates team=red"


def test_the_smallest_member_that_can_t_be_placed_is_named() -> None:
    inner = Group("inner", (part("a", 1, 8), part("b", 1, 8)), require="s1")
    why = refused(NODES, Group("all", (inner, part("c", 1, 1)), require="s2"))
    assert why.sentence == "Each of a and b would fit alone, but not all together in one s1."
    assert why.proved


def test_the_lost_pod_is_at_fault_not_those_that_run() -> None:
    nodes = fleet("b/r1/n1 H20 0", "b/r2/n2 H20 8")
    job = pair(part("prefill", 1, 8), part("decode", 1, 8), require="s1")
    why = refused(nodes, job, kind=Kind.REPLACE, existing={"prefill": {"n1": 1}})
    assert why.shortfall == Shortfall("decode", fit=0, of=1, unit="pod")
    assert why.excluded == {"outside_required_domain": 1, "resource:gpu": 1}


@pytest.mark.parametrize(
    ("pods", "runs"),
    [
        pytest.param(2, {"n1": 1, "n2": 1}, id="as many as are asked for"),
        pytest.param(3, {"n1": 2, "n2": 2}, id="more than are asked for"),
    ],
)
def test_pods_that_run_apart_can_t_be_brought_together(pods: int, runs: dict[str, int]) -> None:
    nodes = fleet("b/r1/n1 H20 8", "b/r2/n2 H20 8")
    why = refused(nodes, part("w", pods, 1, require="s1"), existing={"w": runs})
    assert why.shortfall is None
    assert why.sentence == (
        f"w: no {pods} of the {sum(runs.values())} pods that run keep to its levels and packs."
    )


@pytest.mark.parametrize("state", ["not_ready", "cordoned", "on fire"])
def test_without_a_ready_node_there_is_no_domain(state: str) -> None:
    nodes = (Node("n1", {"s1": "r1"}, {"gpu": 8}, state=state),)
    why = refused(nodes, part("w", 1, 1, require="s1"), levels=("s1", "node"))
    assert why.code is RefusalCode.NO_ELIGIBLE_DOMAIN
    assert why.excluded == {state: 1}


def test_a_fleet_without_nodes_has_no_domain() -> None:
    assert refused((), part("w", 1, 1)).code is RefusalCode.NO_ELIGIBLE_DOMAIN


def test_a_node_whose_place_is_unknown_takes_nothing() -> None:
    nodes = (*fleet("b/r/n1 H20 1"), Node("n2", {"s2": "b"}, {"gpu": 8}))
    assert refused(nodes, part("w", 1, 8)).excluded == {"no_domain": 1, "resource:gpu": 1}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (part("w", 1, 1, require="row"), "w names the level row, which the fleet doesn't have."),
        (part("w", 1, 1, prefer="row"), "w names the level row, which the fleet doesn't have."),
        (part("w", 1, 1, packs=(Pack("row", 1),)), "w is packed by row, a level"),
        (part("w", 1, 1, packs=(Pack("s1", None),)), "w is packed by s1 without a size."),
        (part("w", 1, 1, packs=(Pack("s1", 0),)), "w is packed by s1 without a size."),
        (part("w", 10, 1, packs=(Pack("s1", 4),)), "packs of 4: 8 or 12 would be."),
        (part("w", 2, 1, require="node", packs=(Pack("s1", 2),)), "which is wider than the node"),
        (pair(part("w", 1, 1), part("w", 1, 1)), "2 parts are called w."),
    ],
)
def test_a_request_no_fleet_could_meet_is_a_bad_one(request_: Tree, words: str) -> None:
    why = refused(NODES, request_)
    assert why.code is RefusalCode.BAD_REQUEST
    assert words in why.sentence


@pytest.mark.parametrize(
    ("existing", "words"),
    [
        ({"x": {"n1": 1}}, "Pods of x run, which the request has no part for."),
        ({"w": {"gone": 1}}, "A pod of w runs on gone, which isn't among the nodes."),
    ],
)
def test_what_runs_must_be_of_the_request_and_on_its_nodes(
    existing: dict[str, dict[str, int]], words: str
) -> None:
    assert refused(NODES, part("w", 2, 1), existing=existing).sentence == words


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        ({}, "The ratio says nothing of w."),
        ({"w": 2}, "w has 4 pods, but 3 times the ratio are 6."),
    ],
)
def test_a_reduction_needs_a_ratio_that_adds_up(ratio: dict[str, int], words: str) -> None:
    why = refused(NODES, Part("w", 4, {"gpu": 1}), kind=Kind.REDUCE, ratio=ratio, times=3)
    assert why.sentence == words
