"""Moves that make room for what was refused, or bring pairs together."""

from __future__ import annotations

import pytest

from controller.core.fleet import Level
from controller.core.placement.defragment import make_room
from controller.core.placement.fragments import fragmentation
from controller.core.placement.moving import Disruption
from controller.core.placement.together import bring_together
from controller.core.placement.values import Request, Spread
from controller.core.types import Instances, Role
from tests.core.placement.tenants import IN_S2, PAIR, RATHER_S1, need, tenant, world

TWO_S1 = """
s2/a/n1 H20 8
s2/a/n2 H20 8
s2/b/n3 H20 8
s2/b/n4 H20 8
"""
ASKER = tenant("asker", (8, 8))
WANTS_A_PAIR = Request("asker", PAIR)
FOUR = Disruption(4)


def test_the_cheapest_move_makes_room_for_a_pair() -> None:
    """One whole node is free in each S1: x would cost 4 x 60 = 240 GPU-s, y 2 x 60 = 120."""
    here = world(TWO_S1, ASKER, tenant("x", (4, 0), "p1 g n1:4"), tenant("y", (0, 2), "d1 g n3:2"))
    found = make_room(here.choosing, here.fleet, here.tenants, WANTS_A_PAIR, budget=FOUR)
    assert found is not None
    (move,) = found.moves
    assert (move.instance, move.from_nodes, move.to_nodes) == (
        "y-d1",
        (("n3", 2),),
        (("n1", 2),),
    )
    assert (move.hardware, move.where.label) == ("H20", "a")
    assert (found.kind, found.service, found.gain, found.cost) == ("room", "asker", 2, 120.0)
    assert (found.before.whole_nodes, found.after.whole_nodes) == (2, 3)
    assert [shape.largest for shape in found.before.shapes if shape.gpus == 8] == [1]
    assert [shape.largest for shape in found.after.shapes if shape.gpus == 8] == [2]


@pytest.mark.parametrize(
    ("x", "y", "budget", "moved"),
    [
        pytest.param(
            tenant("x", (4, 0), "p1 g n1:4"),
            tenant("y", (0, 2), "d1 g n3:2"),
            Disruption(4, {"y": 200.0}),
            ["x-p1"],
            id="x costs 4 x 60 = 240, y 2 x 200 = 400",
        ),
        pytest.param(
            tenant("x", (4, 0), "p1 g n1:4"),
            tenant("y", (2, 2), "p1 g n3:2", "d1 g n3:2"),
            FOUR,
            ["x-p1"],
            id="y must stay in one S1, where n4 would be needed too",
        ),
        pytest.param(
            tenant("x", (4, 0), "p1! g n1:4"),
            tenant("y", (0, 4), "d1 g n3:4"),
            FOUR,
            ["y-d1"],
            id="what does not serve yet stays",
        ),
        pytest.param(
            tenant("x", (2, 0), "p1 g n1:2"),
            tenant("y", (2, 0), "p1 g n3:2", "p2 h n3:2"),
            FOUR,
            ["x-p1"],
            id="one of 2 GPUs instead of two",
        ),
    ],
)
def test_who_moves(x: object, y: object, budget: Disruption, moved: list[str]) -> None:
    here = world(TWO_S1, ASKER, x, y)  # type: ignore[arg-type] - services
    found = make_room(here.choosing, here.fleet, here.tenants, WANTS_A_PAIR, budget=budget)
    assert found is not None
    assert [move.instance for move in found.moves] == moved


@pytest.mark.parametrize(
    ("others", "budget", "request_"),
    [
        pytest.param((), FOUR, WANTS_A_PAIR, id="it fits: nothing was refused"),
        pytest.param(
            (tenant("x", (0, 8), "d1 g n1:8", "d2 h n3:8", "d3 i n4:8"),),
            FOUR,
            WANTS_A_PAIR,
            id="8 of 16 GPUs are free: short, not in pieces",
        ),
        pytest.param(
            (tenant("x", (4, 0), "p1 g n1:4", "p2 h n3:4"),),
            Disruption(0),
            WANTS_A_PAIR,
            id="nothing may move",
        ),
        pytest.param(
            (tenant("x", (2, 0), "p1 g n1:2", "p2 h n1:2", "p3 i n3:2", "p4 k n3:2"),),
            FOUR,
            WANTS_A_PAIR,
            id="two of four of a role at once: a tenth is less than one, so one",
        ),
        pytest.param(
            (
                tenant(
                    "x",
                    (4, 4),
                    "p1 g n1:4",
                    "d1 g n3:4",
                    affinity=IN_S2,
                    spread=Spread(Level.S1, 2),
                ),
                tenant("y", (0, 5), "d1 g n2:5", "d2 h n4:5"),
            ),
            FOUR,
            WANTS_A_PAIR,
            id="6 of 16 GPUs are free",
        ),
        pytest.param((), FOUR, Request("asker", Instances(-1, 0)), id="nothing is to grow"),
    ],
)
def test_nothing_moves(others: tuple, budget: Disruption, request_: Request) -> None:  # type: ignore[type-arg]
    here = world(TWO_S1, ASKER, *others)
    assert make_room(here.choosing, here.fleet, here.tenants, request_, budget=budget) is None


def test_twenty_of_a_role_let_two_of_it_move() -> None:
    """20 // 10 = 2; n1 is freed of its two, which go to the six and two that n3 has left."""
    nodes = TWO_S1 + "s2/b/n5 H20 64\n"
    many = [f"p{at} g{at} n5:2" for at in range(3, 21)]
    x = tenant("x", (2, 0), "p1 g1 n1:2", "p2 g2 n1:2", *many)
    y = tenant("y", (0, 4), "d1 g n3:4", affinity=RATHER_S1)
    z = tenant("z", (0, 8), "d1 g n4:8")
    w = tenant("w", (0, 28), "d1 g n5:28")
    here = world(nodes, tenant("asker", (8, 8)), x, y, z, w)
    found = make_room(here.choosing, here.fleet, here.tenants, WANTS_A_PAIR, budget=FOUR)
    assert found is not None
    assert sorted(move.instance for move in found.moves) == ["x-p1", "x-p2"]
    assert {move.to_nodes for move in found.moves} == {(("n3", 2),)}


def test_an_instance_of_two_nodes_finds_two_of_one_s1_emptied() -> None:
    """Two whole nodes are free, one in each S1; the smaller of the two in the way moves."""
    wide = tenant("asker", (0, 0), roles={Role.PREFILL: need(16, nodes=2)}, affinity=IN_S2)
    here = world(TWO_S1, wide, tenant("x", (4, 0), "p1 g n1:4"), tenant("y", (0, 2), "d1 g n3:2"))
    found = make_room(
        here.choosing, here.fleet, here.tenants, Request("asker", Instances(1, 0)), budget=FOUR
    )
    assert found is not None
    assert [(move.instance, move.to_nodes) for move in found.moves] == [("y-d1", (("n1", 2),))]


def test_a_spread_service_stays_spread() -> None:
    """One instance in each S1, of two it asks for: neither may go to the other's."""
    x = tenant("x", (4, 0), "p1 g n1:4", "p2 h n3:4", affinity=IN_S2)
    free = world(TWO_S1, ASKER, x)
    assert make_room(free.choosing, free.fleet, free.tenants, WANTS_A_PAIR, budget=FOUR)
    x = tenant("x", (4, 0), "p1 g n1:4", "p2 h n3:4", affinity=IN_S2, spread=Spread(Level.S1, 2))
    bound = world(TWO_S1, ASKER, x)
    found = make_room(bound.choosing, bound.fleet, bound.tenants, WANTS_A_PAIR, budget=FOUR)
    assert found is None


def test_a_decode_instance_follows_its_three_prefills() -> None:
    """Of 3 pairs none shares an S1; d1 to a makes it 3, for 4 x 60 = 240 GPU-seconds."""
    x = tenant("x", (4, 4), "p1 g n1:4", "p2 g n1:4", "p3 g n2:4", "d1 g n3:4", affinity=RATHER_S1)
    here = world(TWO_S1, x)
    (found,) = bring_together(here.choosing, here.fleet, here.tenants, budget=FOUR)
    assert [(move.instance, move.to_nodes) for move in found.moves] == [("x-d1", (("n2", 4),))]
    assert (found.kind, found.service, found.gain, found.cost) == ("together", "x", 3, 240.0)


@pytest.mark.parametrize(
    ("lines", "service"),
    [
        pytest.param(
            TWO_S1, tenant("x", (4, 4), "p1 g n1:4", "d1 g n1:4"), id="they are together"
        ),
        pytest.param(
            "s2/a/n1 H20 4\ns2/b/n3 H20 4",
            tenant("x", (4, 4), "p1 g n1:4", "d1 g n3:4", affinity=RATHER_S1),
            id="4 of 4 GPUs are taken in each S1",
        ),
        pytest.param(
            "s2/a/n1 H20 4\ns2/a/m L20 4\ns2/b/n3 H20 4",
            tenant("x", (4, 4), "p1 g n1:4", "d1 g n3:4", affinity=RATHER_S1),
            id="what is free is of other hardware",
        ),
        pytest.param(
            TWO_S1,
            tenant("x", (4, 4), "p1 g n1:4", "d1 h n3:4", affinity=RATHER_S1),
            id="they are of two groups",
        ),
    ],
)
def test_nothing_is_brought_together(lines: str, service: object) -> None:
    here = world(lines, service)  # type: ignore[arg-type] - a service
    assert bring_together(here.choosing, here.fleet, here.tenants, budget=FOUR) == []


def test_a_service_that_never_asked_for_one_s1_does_not_take_a_scarce_one() -> None:
    mixed = "s2/a/n1 H20 8\ns2/a/m L20 8\nt2/b/n3 H20 4"
    lines = ("p1 g n1:4", "d1 g n3:4")
    for affinity, moved in ((RATHER_S1, 1), (type(RATHER_S1)(Level.CLUSTER), 0)):
        here = world(mixed, tenant("x", (4, 4), *lines, affinity=affinity))
        found = bring_together(here.choosing, here.fleet, here.tenants, budget=FOUR)
        assert len(found) == moved


def test_the_best_three_are_told_most_pairs_for_a_gpu_second_first() -> None:
    """A decode instance of 2 GPUs goes to n prefills of 8: n pairs for 2 x 60 = 120."""
    nodes = "".join(f"s2/a{n}/a{n} H20 64\ns2/b{n}/b{n} H20 8\n" for n in range(1, 5))
    tenants = [
        tenant(
            f"x{n}",
            (8, 2),
            *(f"p{at} g a{n}:8" for at in range(n)),
            f"d1 g b{n}:2",
            affinity=RATHER_S1,
        )
        for n in range(1, 5)
    ]
    here = world(nodes, *tenants)
    found = bring_together(here.choosing, here.fleet, here.tenants, budget=FOUR)
    assert [(one.service, one.gain, one.cost) for one in found] == [
        ("x4", 4, 120.0),
        ("x3", 3, 120.0),
        ("x2", 2, 120.0),
    ]


def test_one_of_each_role_moves_where_that_is_all_of_them() -> None:
    """1 of 4 pairs is near; p2 and d2 to a make it 4 for 2 x 4 x 60 = 480 GPU-seconds."""
    x = tenant("x", (4, 4), "p1 g n1:4", "d1 g n1:4", "p2 g n3:4", "d2 g n4:4", affinity=RATHER_S1)
    apart = tenant("y", (0, 4), "d1 g n3:4", "d2 h n4:4")
    here = world(TWO_S1.replace("b/n4", "c/n4"), x, apart)
    (found,) = bring_together(here.choosing, here.fleet, here.tenants, budget=FOUR)
    assert sorted(move.instance for move in found.moves) == ["x-d2", "x-p2"]
    assert {move.to_nodes for move in found.moves} == {(("n2", 4),)}
    assert (found.gain, found.cost) == (3, 480.0)


def test_fragmentation_says_what_fits_and_what_the_free_gpus_would_allow() -> None:
    """Free are 4 + 8 in a and 6 + 8 in b: 26 GPUs would do for 3 of 8, two fit, one in each."""
    here = world(
        TWO_S1 + "s2/b/n5 H20 8 down\n",
        ASKER,
        tenant("x", (4, 0), "p1 g n1:4"),
        tenant("y", (0, 2), "d1 g n3:2"),
    )
    found = fragmentation(here.choosing, here.fleet, here.tenants)
    eight = found.shapes[0]
    assert (eight.hardware, eight.gpus, eight.nodes) == (("H20",), 8, 1)
    assert (eight.largest, eight.fits, eight.allowed) == (1, 2, 3)
    assert found.whole_nodes == 2
