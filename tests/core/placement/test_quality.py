"""Which of several places a request gets."""

from __future__ import annotations

import pytest

from controller.core.placement.tree import LabelWish, Node, Part
from tests.core.placement.fleets import fleet, part, placed

UNIFORM = ("a/a1/n1 H20 8", "a/a2/n2 H20 8")
S2_MIXED = ("b/b1/n3 H20 8", "b/b1/n4 H20 8", "b/b2/n5 L20 8")
S1_MIXED = ("c/c1/n6 H20 8", "c/c1/n7 H20 8", "c/c1/n8 L20 8")


@pytest.mark.parametrize(
    ("lines", "request_", "nodes"),
    [
        pytest.param(
            (*UNIFORM, *S2_MIXED, *S1_MIXED),
            part("w", 2, 8, require="s2"),
            {"n1", "n2"},
            id="an S2 of one type though its nodes are under two S1s",
        ),
        pytest.param(
            (*S2_MIXED, *S1_MIXED),
            part("w", 2, 8, require="s2", select={"hw": ("H20",)}),
            {"n3", "n4"},
            id="then an S1 of one type",
        ),
        pytest.param(
            (*UNIFORM, *S1_MIXED),
            part("w", 2, 8, prefer="s1", select={"hw": ("H20",)}),
            {"n6", "n7"},
            id="a stated preference outranks scarcity",
        ),
        pytest.param(
            (*UNIFORM, "a/a3/n9 H20 8", *S1_MIXED),
            part("w", 3, 8, prefer="s1", select={"hw": ("H20",)}),
            {"n1", "n2", "n9"},
            id="a preference that can't be had outranks nothing",
        ),
        pytest.param(
            (*UNIFORM, *S2_MIXED),
            part("w", 1, 8, select={"hw": ("L20",)}),
            {"n5"},
            id="scarce is better than nowhere",
        ),
        pytest.param(
            ("a/a1/n1 H20 8", "a/a2/n2 H20 4", "a/a3/n3 H20 6"),
            part("w", 1, 4, require="s1"),
            {"n2"},
            id="the domain with the least left over",
        ),
        pytest.param(
            ("a/a1/n1 H20 8", "a/a2/n2 H20 4", "b/b1/n3 H20 4", "b/b1/n4 H20 4"),
            part("w", 2, 2, scatter=True),
            {"n2"},
            id="where no nearness is wanted, a node that is part-used",
        ),
    ],
)
def test_the_better_place_is_chosen(
    lines: tuple[str, ...], request_: Part, nodes: set[str]
) -> None:
    assert set(placed(fleet(*lines), request_)["w"]) == nodes


def test_wished_labels_decide_among_places_as_near() -> None:
    nodes = (
        Node("n1", {}, {"gpu": 1}, labels={"zone": "east"}),
        Node("n2", {}, {"gpu": 8}, labels={"zone": "west"}),
    )
    wish = (LabelWish(10, {"zone": ("west",)}),)
    assert placed(nodes, part("w", 1, 1, wishes=wish), levels=("node",)) == {"w": {"n2": 1}}


def test_equals_are_told_apart_by_name() -> None:
    nodes = fleet("a/a1/n2 H20 8", "a/a1/n1 H20 8")
    assert placed(nodes, part("w", 1, 8)) == {"w": {"n1": 1}}


def test_prices_too_long_for_one_number_still_compare() -> None:
    """Six levels of up to a thousand million units each need more than 62 bits."""
    levels = ("dc", "zone", "s2", "s1", "sw", "node")
    nodes = tuple(
        Node(f"n{n}", {level: f"{level}-{n}" for level in levels[:-1]}, {"gpu": 10**9 + 8 - n})
        for n in range(8)
    )
    assert placed(nodes, part("w", 1, 1, require="s1"), levels=levels) == {"w": {"n7": 1}}
