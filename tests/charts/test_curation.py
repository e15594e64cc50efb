"""The figure of a curation: what was simulated and what was computed are lines of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from controller.charts.clock import Clock
from controller.charts.curation import curation_sweep
from controller.selectors.backtest_series import BacktestSeries
from tests.backtests import FOUND
from tests.charts.reading import numbers, trace_named, validated

NONE = np.zeros(0)


def drawn(curation: dict[str, Any]) -> dict[str, Any]:
    found = BacktestSeries("load", 1.0, 0.05, 300.0, NONE, NONE, NONE, (), curation)
    plot: dict[str, Any] = dict(curation_sweep(found, Clock()))
    validated(plot)
    return plot


def without_computed(curation: dict[str, Any]) -> dict[str, Any]:
    """Return a curation as it was kept before first principles had a key of their own."""
    kept = ("prefill", "decode", "goodput_rps", "simulated")
    return curation | {
        "sweep": [{name: split[name] for name in kept} for split in curation["sweep"]]
    }


@pytest.mark.parametrize(
    ("curation", "computed"),
    [
        pytest.param(FOUND, [140.0, 150.0, 20.0], id="every split"),
        pytest.param(without_computed(FOUND), [None, None, 20.0], id="an earlier curation"),
    ],
)
def test_what_was_simulated_and_what_was_computed_are_apart(
    curation: dict[str, Any], computed: list[float | None]
) -> None:
    plot = drawn(curation)
    assert numbers(trace_named(plot, "by simulation")) == [137.5, 146.6, None]
    assert numbers(trace_named(plot, "by first principles")) == computed
    assert plot["layout"]["showlegend"]
    assert [row[3:] for row in plot["table"]["rows"]] == [
        [137.5, computed[0]],
        [146.6, computed[1]],
        [None, 20],
    ]


def test_a_split_that_suits_no_hour_is_explained_below_the_figure() -> None:
    assert drawn(FOUND)["summary"].endswith("carry most: 146.6 requests/s.")
    assert drawn(FOUND | {"note": "It suits no hour"})["summary"].endswith("It suits no hour.")
