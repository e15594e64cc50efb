"""What times are asked for."""

from __future__ import annotations

import pytest

from controller.core.readings.asking import Grid


@pytest.mark.parametrize(
    ("samples", "step_s", "over_s", "want"),
    [
        pytest.param(4, 15, 60, 1, id="2 of 15 s in the newer half: 60 s have it all"),
        pytest.param(8, 15, 60, 1, id="4 of 15 s: 45 s"),
        pytest.param(12, 15, 60, 6, id="6 of 15 s: 75 s are more than 60"),
        pytest.param(5, 30, 60, 1, id="3 of 30 s: 60 s"),
        pytest.param(1, 15, 60, 1, id="one"),
    ],
)
def test_latencies_are_asked_for_as_often_as_their_window_needs(
    samples: int, step_s: float, over_s: float, want: int
) -> None:
    assert Grid(1000, step_s, samples).for_latencies(over_s) == Grid(1000, step_s, want)
