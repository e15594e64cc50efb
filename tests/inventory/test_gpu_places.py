"""Which places of a node an instance gets: few ranges, low places, never what is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.gpu_places import Range, gaps, places


@pytest.mark.parametrize(
    ("count", "taken", "free"),
    [
        pytest.param(8, [], [(0, 8)], id="all"),
        pytest.param(0, [], [], id="none-there"),
        pytest.param(8, [(0, 8)], [], id="none-left"),
        pytest.param(8, [(4, 6), (0, 2)], [(2, 4), (6, 8)], id="2-between-and-2-above"),
        pytest.param(4, [(2, 8)], [(0, 2)], id="taken-beyond-4-of-a-node-that-shrank"),
        pytest.param(4, [(6, 8)], [(0, 4)], id="taken-wholly-beyond-4"),
    ],
)
def test_gaps(count: int, taken: list[Range], free: list[Range]) -> None:
    assert gaps(count, taken) == free


@pytest.mark.parametrize(
    ("free", "gpus", "chosen"),
    [
        pytest.param([(0, 8)], 2, [(0, 2)], id="lowest"),
        pytest.param([(0, 1), (4, 8)], 2, [(4, 6)], id="one-range-rather-than-two"),
        pytest.param([(0, 1), (2, 4), (6, 8)], 3, [(0, 1), (2, 4)], id="2-and-1-in-two-ranges"),
        pytest.param([(0, 1), (2, 3)], 3, None, id="2-are-not-3"),
        pytest.param([(0, 8)], 0, [], id="nothing"),
    ],
)
def test_places(free: list[Range], gpus: int, chosen: list[Range] | None) -> None:
    assert places(free, gpus) == chosen


@given(st.sets(st.integers(0, 15)), st.integers(0, 12), st.integers(0, 12))
def test_what_is_given_was_free_and_is_enough(taken: set[int], count: int, gpus: int) -> None:
    free = gaps(count, [(at, at + 1) for at in taken])
    left = set(range(count)) - taken
    assert {at for first, end in free for at in range(first, end)} == left
    chosen = places(free, gpus)
    if chosen is None:
        assert len(left) < gpus
        return
    given_places = [at for first, end in chosen for at in range(first, end)]
    assert set(given_places) <= left
    assert len(given_places) == len(set(given_places)) == gpus
    widest = sorted((end - first for first, end in free), reverse=True)
    fewest = next(n for n in range(len(widest) + 1) if sum(widest[:n]) >= gpus)
    assert len(chosen) == fewest
