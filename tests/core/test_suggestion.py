"""When another ratio and target are suggested, which, and with what words."""

from dataclasses import replace
from math import inf

import pytest

from controller.core.engine import Mix
from controller.core.suggestion import (
    KEPT_FRAC,
    MATERIAL_FRAC,
    Figures,
    is_judged,
    suggest,
    told,
)
from controller.core.types import Adapt, Forecast
from tests.core.build import POLICY

PROPOSING = replace(POLICY, adapt=Adapt.PROPOSE)
"""Ratio 0.5, 1,000 tok/s per decode instance."""


def measured(ratio: float | None = 0.5, target: float | None = 1000.0) -> Forecast:
    """Return 20 requests a second that take 3.1 prefill and 5 decode instances."""
    return Forecast(
        lead_s=120.0,
        needs=(2.5, 5.0),
        peaks=(2.5, 5.0),
        margins=(0.0, 0.0),
        measured=(3.1, 5.0),
        ratio=ratio,
        target=target,
        mix=Mix(1500.0, 1200.0, 250.0),
        rps=20.0,
    )


@pytest.mark.parametrize(
    ("ratio", "target", "expect"),
    [
        pytest.param(0.55, 1000.0, None, id="0.55 is 10 % over 0.5: not more"),
        pytest.param(0.45, 1000.0, None, id="0.45 is 10 % under 0.5: not more"),
        pytest.param(0.551, 1000.0, Figures(0.551, 1000.0), id="0.551 is 10.2 % over"),
        pytest.param(0.5, 899.0, Figures(0.5, 899.0), id="899 is 10.1 % under 1,000"),
        pytest.param(0.6204, 1060.0, Figures(0.62, 1000.0), id="1,060 is 6 % over: stays"),
        pytest.param(0.6204, 1894.7, Figures(0.62, 1890.0), id="three digits"),
        pytest.param(0.0416, 1000.0, Figures(0.0625, 1000.0), id="0.5 / 8 is the least"),
        pytest.param(9.0, 1000.0, Figures(4.0, 1000.0), id="0.5 · 8 is the most"),
        pytest.param(None, 500.0, None, id="no ratio is known"),
        pytest.param(0.8, None, None, id="no target is known"),
        pytest.param(inf, 1000.0, None, id="a ratio that is no number"),
    ],
)
def test_figures_that_differ_by_more_than_a_tenth_are_suggested(
    ratio: float | None, target: float | None, expect: Figures | None
) -> None:
    found = suggest(PROPOSING, measured(ratio, target))
    assert (found.figures if found else None) == expect


def test_one_that_stands_is_kept_until_a_twentieth() -> None:
    near = measured(0.53)
    assert suggest(PROPOSING, near, least_frac=MATERIAL_FRAC) is None
    kept = suggest(PROPOSING, near, least_frac=KEPT_FRAC)
    assert kept is not None
    assert kept.figures == Figures(0.53, 1000.0)
    assert suggest(PROPOSING, measured(0.525), least_frac=KEPT_FRAC) is None


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(replace(PROPOSING, adapt=Adapt.OFF), id="off"),
        pytest.param(replace(PROPOSING, adapt=Adapt.AUTOMATIC), id="automatic"),
        pytest.param(replace(PROPOSING, name="latency+periodic"), id="no ratio is read"),
        pytest.param(replace(PROPOSING, ratio_band=1.0), id="a band of 1 allows none"),
    ],
)
def test_nobody_asked_for_a_suggestion(config: object) -> None:
    assert suggest(config, measured(0.8)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("forecast", "expect"),
    [
        pytest.param(measured(), True, id="everything is known"),
        pytest.param(replace(measured(), measured=(None, None)), False, id="needs are not"),
        pytest.param(replace(measured(), measured=(0.0, 0.0)), False, id="nobody asks"),
        pytest.param(None, False, id="no forecast"),
    ],
)
def test_what_cannot_be_measured_is_not_judged(forecast: Forecast | None, expect: object) -> None:
    assert is_judged(forecast) is expect


def test_the_sentence_has_the_numbers() -> None:
    found = suggest(PROPOSING, measured(0.62, 1900.0))
    assert found is not None
    assert found.why == (
        "20.0 requests a second, each with 1,500 tokens of prompt (1,200 to compute) and 250 of "
        "answer, take 3.1 prefill and 5.0 decode instances: 0.62 prefill per decode in place of "
        "0.5 and 1,900 tok/s per instance of decode in place of 1,000."
    )


def test_the_edge_of_the_band_is_told() -> None:
    found = suggest(replace(PROPOSING, ratio_band=1.5), measured(2.0))
    assert found is not None
    assert "0.75 prefill per decode in place of 0.5, the farthest that ratio_band allows" in (
        found.why
    )


@pytest.mark.parametrize(
    ("after", "expect"),
    [
        pytest.param(
            Figures(0.62, 1900.0),
            "P/D ratio 0.5 → 0.62, target 2,100 → 1,900 tok/s per instance",
            id="both",
        ),
        pytest.param(Figures(0.62, 2100.0), "P/D ratio 0.5 → 0.62", id="the ratio alone"),
    ],
)
def test_what_changes_in_words(after: Figures, expect: str) -> None:
    assert told(Figures(0.5, 2100.0), after, "decode_tps") == expect


@pytest.mark.parametrize(
    ("other", "expect"),
    [
        pytest.param(Figures(0.5, 1100.0), False, id="1,000 is 9.1 % under 1,100"),
        pytest.param(Figures(0.5, 1120.0), True, id="1,000 is 10.7 % under 1,120"),
        pytest.param(Figures(0.4, 1000.0), True, id="0.5 is 25 % over 0.4"),
    ],
)
def test_differing_is_a_share_of_the_other(other: Figures, expect: object) -> None:
    assert Figures(0.5, 1000.0).differs(other, MATERIAL_FRAC) is expect
