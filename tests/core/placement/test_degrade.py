"""Lower priorities give way, to their least and no farther, so that higher ones are placed."""

from __future__ import annotations

import pytest

from controller.core.placement.degrade import Shrinking, shrink_for, still_missing
from controller.core.placement.values import (
    Choice,
    Held,
    PartNeed,
    Request,
    RoleForm,
    RoleNeed,
    Tenant,
)
from controller.core.types import Instances, Role
from tests.core.placement.tenants import IN_S2, PAIR, World, tenant, world

TWO_S1 = """
s2/a/n1 H20 8
s2/a/n2 H20 8
s2/b/n3 H20 8
s2/b/n4 H20 8
"""
H20 = (Choice("H20", 4),)
ASKER = tenant("asker", (8, 8), priority=9)
WANTS_A_PAIR = Request("asker", PAIR)


def shrunk(here: World, *requests: Request) -> Shrinking | None:
    return shrink_for(here.choosing, here.fleet, here.tenants, requests)


def test_a_lower_service_gives_a_pair_and_says_which() -> None:
    """All 32 GPUs are taken; low has two pairs, least one: the pair under b is as good as a."""
    low = tenant(
        "low",
        (8, 8),
        *("p1 g n1:8", "d1 g n2:8", "p2 h n3:8", "d2 h n4:8"),
        pd_ratio=1.0,
        least=PAIR,
    )
    found = shrunk(world(TWO_S1, ASKER, low), WANTS_A_PAIR)
    assert found is not None
    (gives,) = found.shrunk
    assert (gives.service, gives.before, gives.after) == ("low", (2, 2), (1, 1))
    assert {one.group for one in gives.removals} in ({"g"}, {"h"})
    assert {one.why for one in gives.removals} == {"gives way to asker: priority 0 to 9"}
    assert {one.nodes for one in found.placements} == {one.nodes for one in gives.removals}
    assert found.unplaced == ()


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        pytest.param(
            (
                tenant("low", (8, 8), "d1 g n1:8", "p1 g n2:8", priority=1),
                tenant("high", (8, 8), "d1 g n3:8", "p1 g n4:8", priority=5),
            ),
            ["low-d1", "low-p1"],
            id="priority 1 before 5",
        ),
        pytest.param(
            (
                tenant("low", (8, 8), "d1 g n1:8", "p1 g n2:8", least=PAIR),
                tenant("high", (8, 8), "d1 g n3:8", "p1 g n4:8", priority=5),
            ),
            ["high-d1", "high-p1"],
            id="the lowest is at its least",
        ),
        pytest.param(
            (
                tenant("some", (0, 8), "d1 g n1:8", "d2 h n2:8", least=Instances(0, 1)),
                tenant("most", (0, 8), "d1 g n3:8", "d2 h n4:8"),
            ),
            ["most-d1", "most-d2"],
            id="two above its least before one; one would not do",
        ),
        pytest.param(
            (
                tenant("half", (0, 4), "d1 g n1:4", "d2 h n3:4", "d3 i n3:4", "d4 k n4:4"),
                tenant("full", (0, 8), "d1 g n2:8", priority=9),
            ),
            ["half-d2", "half-d3", "half-d4"],
            id="a can't do, for its n2 is of an equal priority; b takes 3 x 4",
        ),
        pytest.param(
            (
                tenant("low", (0, 8), "d1 g n1:8"),
                tenant("next", (0, 2), "d1 g n3:2", "d2 h n3:2", priority=1),
            ),
            ["low-d1"],
            id="8 of priority 0 rather than 4 of priority 1",
        ),
        pytest.param(
            (
                tenant("low", (0, 4), "d1 g n1:4", "d2 h n3:4"),
                tenant("also", (0, 2), "d1 g n3:2", "d2 h n3:2"),
            ),
            ["low-d1"],
            id="4 GPUs under a rather than 8 under b",
        ),
    ],
)
def test_who_gives_way(others: tuple[Tenant, ...], gone: list[str]) -> None:
    found = shrunk(world(TWO_S1, ASKER, *others), WANTS_A_PAIR)
    assert found is not None
    assert sorted(one.instance for each in found.shrunk for one in each.removals) == gone
    assert len(found.placements) == 2


def test_a_ratio_goes_in_whole_units_of_one_group() -> None:
    """One decode GPU-node is short; 1 P goes with 2 D though they are not needed."""
    low = tenant(
        "low",
        (1, 4),
        *("p1 g n1:1", "d1 g n2:4", "d2 g n2:4", "p2 h n3:1", "d3 h n4:4", "d4 h n4:4"),
        pd_ratio=0.5,
        least=Instances(1, 2),
    )
    here = world(TWO_S1, tenant("asker", (0, 8), priority=9, affinity=IN_S2), low)
    full = tenant("full", (0, 7), "d1 g n1:7", "d2 g n3:7", priority=9)
    here = world(TWO_S1, here.tenants[0], low, full)
    found = shrunk(here, Request("asker", Instances(0, 1)))
    assert found is not None
    (gives,) = found.shrunk
    assert (gives.before, gives.after) == ((2, 4), (1, 2))
    assert len({one.group for one in gives.removals}) == 1


@pytest.mark.parametrize(
    ("others", "missing"),
    [
        pytest.param(
            (tenant("same", (0, 8), *(f"d{n} g n{n}:8" for n in range(1, 5)), priority=9),),
            "2 more free H20 nodes under a",
            id="equal priorities give nothing",
        ),
        pytest.param(
            (
                tenant(
                    "low",
                    (0, 8),
                    *(f"d{n} g n{n}:8" for n in range(1, 5)),
                    least=Instances(0, 3),
                ),
            ),
            "1 more free H20 node under a",
            id="one of 4 above its least, two nodes wanted",
        ),
        pytest.param(
            (tenant("low", (0, 8), *(f"d{n}! g n{n}:8" for n in range(1, 5))),),
            "2 more free H20 nodes under a",
            id="none of them serves",
        ),
    ],
)
def test_what_is_missing_even_then(others: tuple[Tenant, ...], missing: str) -> None:
    here = world(TWO_S1, ASKER, *others)
    assert shrunk(here, WANTS_A_PAIR) is None
    (left,) = still_missing(here.choosing, here.fleet, here.tenants, [WANTS_A_PAIR])
    assert (left.service, left.placed, left.would_fit_if) == ("asker", (0, 0), missing)


def test_what_has_room_shrinks_nobody() -> None:
    here = world(TWO_S1, ASKER, tenant("low", (0, 8), "d1 g n1:8"))
    assert shrunk(here, WANTS_A_PAIR) is None
    assert still_missing(here.choosing, here.fleet, here.tenants, [WANTS_A_PAIR]) == ()


def test_gpus_of_a_node_that_may_not_be_used_are_not_counted_on() -> None:
    here = world(
        "s2/a/n1 H20 8\ns2/a/n2 H20 8 down", ASKER, tenant("low", (0, 8), "d1 g n1:8", "d2 g n2:8")
    )
    assert shrunk(here, WANTS_A_PAIR) is None


def test_a_whole_s2_is_lost_and_priorities_decide_i10() -> None:
    """Of 4 S1s two are lost: 4 nodes for 2 pairs each of high, mid and low, of which 6 remain.

    High wants 1 pair again, mid too; low keeps its least, 1 pair of 8 + 8, and gives one.
    """
    nodes = """
    s2-1/a/n1 H20 8
    s2-1/a/n2 H20 8
    s2-1/b/n3 H20 8
    s2-1/b/n4 H20 8
    s2-2/c/n5 H20 8 down
    s2-2/c/n6 H20 8 down
    """
    high = tenant("high", (8, 8), priority=9)
    mid = tenant("mid", (8, 8), priority=5)
    low = tenant(
        "low",
        (8, 8),
        *("p1 g n1:8", "d1 g n2:8", "p2 h n3:8", "d2 h n4:8"),
        pd_ratio=1.0,
        least=PAIR,
    )
    found = shrunk(world(nodes, mid, high, low), Request("mid", PAIR), Request("high", PAIR))
    assert found is not None
    assert {one.service for one in found.placements} == {"high"}
    assert [(one.service, one.after) for one in found.shrunk] == [("low", (1, 1))]
    assert [one.service for one in found.unplaced] == ["mid"]


def test_several_units_take_no_more_than_they_need() -> None:
    """Two pairs of 4 + 4 are wanted and 8 instances of 4 serve: 4 of them go."""
    low = tenant("low", (0, 4), *(f"d{n} g n{(n + 1) // 2}:4" for n in range(1, 9)))
    here = world(TWO_S1, tenant("asker", (4, 4), priority=1), low)
    found = shrunk(here, Request("asker", Instances(2, 2)))
    assert found is not None
    (gives,) = found.shrunk
    assert (gives.before, gives.after) == ((0, 8), (0, 4))
    assert len(found.placements) == 4
    assert len({(one.service, one.instance) for one in found.placements}) == 4


def test_an_instance_of_parts_goes_with_all_its_pods_and_comes_whole() -> None:
    """Attention 4 and FFN 4 make one prefill: the lower one's two pods go, the other's come."""
    form = RoleForm(
        parts=(PartNeed("attention", 1, RoleNeed(H20)), PartNeed("ffn", 1, RoleNeed(H20)))
    )
    pods = tuple(
        Held(f"low-p1-{part}", Role.PREFILL, "g", (("n1", 4),), part=part, unit="low-p1")
        for part in ("attention", "ffn")
    )
    roles = {Role.PREFILL: form}
    low = Tenant("low", roles, pods)
    here = world("s2/a/n1 H20 8", Tenant("asker", roles, priority=1), low)
    found = shrunk(here, Request("asker", Instances(1, 0)))
    assert found is not None
    (gives,) = found.shrunk
    assert (gives.before, gives.after) == ((1, 0), (0, 0))
    assert {one.instance for one in gives.removals} == {"low-p1-attention", "low-p1-ffn"}
    assert [(one.part, one.nodes) for one in found.placements] == [
        ("attention", (("n1", 4),)),
        ("ffn", (("n1", 4),)),
    ]
