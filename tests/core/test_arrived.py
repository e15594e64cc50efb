"""What of an order a cluster shows (S14, K04, K05)."""

import pytest

from controller.core.arrived import Arrived, arrived
from controller.core.ports import ScaleView
from controller.core.types import Instances

MINE, OTHER = "a1", "a0"
NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("desired", "version", "last", "actions", "undone", "expected"),
    [
        pytest.param((2, 4), "v1", OTHER, {OTHER}, NONE, Arrived.NOTHING, id="as it was"),
        pytest.param((2, 4), "v2", OTHER, {OTHER}, NONE, Arrived.ELSE, id="made anew since"),
        pytest.param((3, 4), "v2", OTHER, {OTHER}, NONE, Arrived.ELSE, id="a person wrote it"),
        pytest.param((2, 6), "v2", MINE, {MINE, OTHER}, NONE, Arrived.PART, id="one of two"),
        pytest.param((3, 6), "v3", MINE, {MINE}, NONE, Arrived.ALL, id="both"),
        pytest.param((3, 6), "v3", MINE, NONE, NONE, Arrived.ALL, id="one object holds both"),
        pytest.param(
            (9, 6), "v3", MINE, {MINE}, NONE, Arrived.ELSE, id="changed since: 9 of 2..3"
        ),
        pytest.param((2, 4), "v1", MINE, {MINE}, NONE, Arrived.PART, id="reverted by hand: 2, 4"),
        pytest.param((2, 6), "v2", MINE, {MINE}, {MINE}, Arrived.PART, id="half taken back"),
        pytest.param((2, 4), "v1", MINE, NONE, {MINE}, Arrived.UNDONE, id="taken back"),
        pytest.param((5, 4), "v2", MINE, NONE, {MINE}, Arrived.ELSE, id="changed after that"),
    ],
)
def test_arrived(  # noqa: PLR0913, PLR0917 - the columns of a table
    desired: tuple[int, int],
    version: str,
    last: str,
    actions: set[str],
    undone: set[str],
    expected: Arrived,
) -> None:
    pair = Instances(*desired)
    view = ScaleView(pair, pair, version, last, 1, frozenset(actions), frozenset(undone))
    found = arrived(view, MINE, before=Instances(2, 4), to=Instances(3, 6), version="v1")
    assert found is expected


def test_what_somebody_else_changed_since_is_neither_a_part_nor_nothing_s25() -> None:
    pair, mine = Instances(2, 4), frozenset({MINE})
    view = ScaleView(pair, pair, "v1", MINE, 1, mine, overwritten=mine)
    found = arrived(view, MINE, before=pair, to=Instances(3, 6), version="v1")
    assert found is Arrived.ELSE
