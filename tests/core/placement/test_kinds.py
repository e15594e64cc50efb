"""What is asked besides new places: fewer, more, the lost again, as many as keep the ratio."""

from __future__ import annotations

import pytest

from controller.core.placement.tree import Group, Kind, Node, Pack, Placement
from tests.core.placement.fleets import fleet, pair, part, placed, reduced, refused

TWO_S1 = fleet("b/r1/n1 H20 8", "b/r1/n2 H20 8", "b/r2/n3 H20 8", "b/r2/n4 H20 8", "b/r2/n5 H20 8")


def test_a_replacement_stays_with_its_partners() -> None:
    """The whole group would fit better elsewhere; the lost pod goes to its group's S1."""
    job = pair(part("prefill", 1, 8), part("decode", 1, 8), require="s1")
    runs = {"prefill": {"n3": 1}}
    found = placed(TWO_S1, job, kind=Kind.REPLACE, existing=runs)
    assert found == {"prefill": {"n3": 1}, "decode": {"n3": 1}}


def test_a_replacement_mends_the_pack_that_broke() -> None:
    packed = part("w", 4, 8, packs=(Pack("s1", 2),))
    runs = {"w": {"n1": 1, "n3": 1, "n4": 1}}
    assert placed(TWO_S1, packed, kind=Kind.REPLACE, existing=runs)["w"] == {
        "n1": 2,
        "n3": 1,
        "n4": 1,
    }


def test_more_pods_leave_those_that_run_where_they_are() -> None:
    grown = placed(
        TWO_S1, part("w", 3, 8, prefer="s1"), kind=Kind.RESIZE, existing={"w": {"n1": 1}}
    )
    assert grown["w"]["n1"] >= 1
    assert set(grown["w"]) == {"n1", "n2"}


@pytest.mark.parametrize(
    ("nodes", "runs", "left"),
    [
        pytest.param(
            fleet("b/r/n1 H20 0", "b/r/n2 H20 0 cordoned"),
            {"n1": 1, "n2": 1},
            {"n1": 1},
            id="the one on a cordoned node goes",
        ),
        pytest.param(
            fleet("b/mixed/n1 H20 0", "b/mixed/n2 L20 0", "c/pure/n3 H20 0"),
            {"n1": 1, "n3": 1},
            {"n3": 1},
            id="the one under a mixed S1 goes",
        ),
        pytest.param(
            fleet("b/r1/n1 H20 0", "b/r2/n2 H20 0", "b/r2/n3 H20 0"),
            {"n1": 1, "n2": 1, "n3": 1},
            {"n2": 1, "n3": 1},
            id="the one alone in its S1 goes",
        ),
        pytest.param(
            fleet("b/r1/n1 H20 0", "b/r1/n2 H20 0"),
            {"n1": 2, "n2": 1},
            {"n1": 2},
            id="the one that leaves a node empty goes",
        ),
    ],
)
def test_fewer_pods_give_up_the_right_one(
    nodes: tuple[Node, ...], runs: dict[str, int], left: dict[str, int]
) -> None:
    wanted = part("w", sum(runs.values()) - 1, 1)
    assert placed(nodes, wanted, kind=Kind.RESIZE, existing={"w": runs}) == {"w": left}


def test_as_many_as_keep_the_ratio_are_placed() -> None:
    """r2 has 24 GPUs: 5 times (2 x 1 + 1 x 2) are 20, 6 would be 24; r1 has 16."""
    job = pair(part("prefill", 20, 1), part("decode", 10, 2), require="s1")
    terms = {"prefill": 2, "decode": 1}
    found = reduced(TWO_S1, job, kind=Kind.REDUCE, ratio=terms, times=10)
    assert (found.times, found.best) == (6, True)
    assert {name: sum(where.values()) for name, where in found.placement.items()} == {
        "prefill": 12,
        "decode": 6,
    }


def test_a_request_that_fits_isn_t_reduced() -> None:
    job = pair(part("prefill", 2, 8), part("decode", 1, 8), require="s1")
    placed(TWO_S1, job, kind=Kind.REDUCE, ratio={"prefill": 2, "decode": 1}, times=1)


def test_a_reduction_takes_nothing_away_that_runs() -> None:
    """Twice the ratio run on nodes that are full now; once would mean to stop some."""
    full = fleet("b/r1/n1 H20 0")
    job = pair(part("prefill", 3, 8), part("decode", 3, 8), require="s1")
    runs: Placement = {"prefill": {"n1": 2}, "decode": {"n1": 2}}
    found = reduced(
        full, job, kind=Kind.REDUCE, existing=runs, ratio={"prefill": 1, "decode": 1}, times=3
    )
    assert (found.times, found.placement) == (2, runs)


def test_not_once_the_ratio_is_a_refusal() -> None:
    job = pair(part("prefill", 2, 8), part("decode", 8, 8), require="s1")
    refused(TWO_S1, job, kind=Kind.REDUCE, ratio={"prefill": 1, "decode": 4}, times=2)


def test_attention_and_ffn_share_an_s1_and_the_whole_pair_an_s2() -> None:
    nodes = (*TWO_S1, *fleet("c/r3/n6 H20 8", "c/r3/n7 H20 8", "c/r4/n8 H20 8", "c/r5/n9 H20 8"))
    prefill = Group("prefill", (part("attention", 1, 8), part("ffn", 1, 8)), require="s1")
    service = Group("service", (prefill, part("decode", 2, 8)), require="s2")
    found = placed(nodes[:1] + nodes[5:], service)
    assert {*found["attention"], *found["ffn"]} == {"n6", "n7"}
    assert found["decode"] == {"n8": 1, "n9": 1}
