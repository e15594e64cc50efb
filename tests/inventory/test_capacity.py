"""Which groups fit, and what services may come to ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.capacity import (
    Fit,
    Reach,
    RoleSize,
    Spot,
    allowed,
    fits,
    fitting,
    largest_instance,
    most_free,
    reach,
)


def spots(*free: int, s1: str = "s1-01", gpus: int = 8, hardware: str = "h800") -> list[Spot]:
    return [
        Spot("eu-1-a", hardware, s1, f"{s1}-{hardware}-{i}", gpus, one)
        for i, one in enumerate(free)
    ]


@st.composite
def fleets(draw: st.DrawFn) -> list[Spot]:
    found = []
    for i in range(draw(st.integers(0, 30))):
        gpus = draw(st.sampled_from([0, 1, 4, 8, 16, 72]))
        found.append(
            Spot(
                draw(st.sampled_from(["eu-1-a", "eu-1-b"])),
                draw(st.sampled_from(["h800", "h20", ""])),
                draw(st.sampled_from(["s1-01", "s1-02", ""])),
                f"node-{i}",
                gpus,
                draw(st.integers(0, gpus)),
            )
        )
    return found


SIZE = st.integers(1, 600)


@given(fleets(), SIZE)
def test_groups_never_take_more_than_is_free(fleet: list[Spot], size: int) -> None:
    assert fitting(fleet, size) * size <= sum(spot.free for spot in fleet)
    assert fitting(fleet, size) <= allowed(fleet, size)


@given(fleets(), SIZE, SIZE)
def test_of_larger_groups_no_more_fit(fleet: list[Spot], one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert fitting(fleet, small) >= fitting(fleet, large)


@given(fleets())
def test_single_gpus_are_never_fragmented(fleet: list[Spot]) -> None:
    assert fitting(fleet, 1) == allowed(fleet, 1) == sum(spot.free for spot in fleet)


@given(fleets())
def test_the_largest_instance_fits_and_one_more_gpu_does_not(fleet: list[Spot]) -> None:
    best = largest_instance(fleet)
    assert fitting(fleet, max(best, 1)) >= (best > 0)
    assert fitting(fleet, best + 1) == 0
    assert best <= most_free(fleet) <= sum(spot.free for spot in fleet)


@given(fleets(), st.randoms())
def test_the_order_of_nodes_changes_nothing(fleet: list[Spot], rng: object) -> None:
    mixed = list(fleet)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    assert fits(mixed) == fits(fleet)


@given(fleets())
def test_a_node_more_never_takes_room(fleet: list[Spot]) -> None:
    for size in (1, 2, 8, 16, 64):
        assert fitting(fleet[1:], size) <= fitting(fleet, size)


@pytest.mark.parametrize(
    ("fleet", "size", "count"),
    [
        pytest.param(spots(8, 8, 8), 16, 1, id="3 whole nodes: 3//2"),
        pytest.param(spots(8, 8, 7), 16, 1, id="a node that lacks one GPU is not whole"),
        pytest.param(spots(7, 7), 4, 2, id="7//4 on each"),
        pytest.param(spots(4, 4), 8, 0, id="8 free on two nodes are no group of 8"),
        pytest.param(spots(8) + spots(8, s1="s1-02"), 16, 0, id="not across two S1"),
        pytest.param(spots(8, 8, s1=""), 16, 0, id="not where no S1 is known"),
        pytest.param(spots(8) + spots(8, hardware="h20"), 16, 0, id="not of two types"),
        pytest.param(spots(72, 72, gpus=72), 128, 1, id="2 nodes of 72 for 128"),
        pytest.param(spots(8) + spots(4, gpus=4), 12, 0, id="whole nodes of one size"),
        pytest.param(spots(0, gpus=0), 1, 0, id="a node without GPUs"),
        pytest.param([], 1, 0, id="no node"),
    ],
)
def test_groups_by_hand(fleet: list[Spot], size: int, count: int) -> None:
    assert fitting(fleet, size) == count


def test_sizes_go_on_as_long_as_free_gpus_would_make_one() -> None:
    found = fits(spots(8, 6, 6) + spots(4, s1="s1-02"))  # 24 free
    assert found == (
        Fit(1, 24, 24),
        Fit(2, 12, 12),
        Fit(4, 5, 6),
        Fit(8, 1, 3),
        Fit(16, 0, 1),
    )
    assert found[3].lost_frac == pytest.approx(2 / 3)
    assert fits([]) == ()


@pytest.mark.parametrize(
    ("roles", "budget", "found"),
    [
        pytest.param(
            [RoleSize("prefill", "h800", 4, 1, 5), RoleSize("decode", "h800", 8, 2, 5)],
            400,
            {"h800": Reach(20, 60)},
            id="4*1+8*2 to 4*5+8*5",
        ),
        pytest.param(
            [RoleSize("prefill", "h800", 4, 1, 5), RoleSize("decode", "h800", 8, 2, 5)],
            32,
            {"h800": Reach(20, 32)},
            id="the budget is the ceiling",
        ),
        pytest.param(
            [RoleSize("prefill", "h800", 4, 1, 10), RoleSize("decode", "h20", 8, 2, 10)],
            40,
            {"h800": Reach(4, 24), "h20": Reach(16, 36)},
            id="the other role keeps its minimum: 40-16, 40-4",
        ),
        pytest.param(
            [RoleSize("prefill", "h800", 4, 3, 10)], 8, {"h800": Reach(12, 12)}, id="least wins"
        ),
        pytest.param([], 8, {}, id="no role"),
    ],
)
def test_what_a_service_may_take(
    roles: list[RoleSize], budget: int, found: dict[str, Reach]
) -> None:
    assert reach(roles, budget) == found
