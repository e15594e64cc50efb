"""When another ratio and target are suggested, which, and with what words."""

import re
from dataclasses import replace
from math import inf

import numpy as np
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


def reckoned(ratio: float, target: float, **changes: object) -> str:
    found = suggest(PROPOSING, replace(measured(ratio, target), **changes))  # type: ignore[arg-type]
    assert found is not None
    return found.why


@pytest.mark.parametrize(
    ("ratio", "changes", "expect"),
    [
        pytest.param(
            0.62,
            {},
            "That is 0.62 prefill per decode, in place of 0.5.",
            id="3.1 / 5 = 0.62",
        ),
        pytest.param(
            0.682,
            {"margins": (0.21, 0.1)},
            "With margins of 21.0 % and 10.0 % for growth that is 0.682 prefill per decode, in "
            "place of 0.5.",
            id="1.21 · 3.1 / (1.1 · 5) = 0.682",
        ),
        pytest.param(
            1.03,
            {"measured": (3.8, 3.9)},
            "That is 0.974 prefill per decode; the estimate follows by at most 10 % a minute and "
            "is at 1.03, in place of 0.5.",
            id="3.8 / 3.9 = 0.974 was 1.03 a while ago",
        ),
        pytest.param(
            4.0,
            {"measured": (30.0, 5.0)},
            "That is 6 prefill per decode; the farthest that ratio_band allows is 4, in place of "
            "0.5.",
            id="30 / 5 = 6 is beyond 8 · 0.5",
        ),
    ],
)
def test_the_sentence_says_what_turns_needs_into_the_ratio(
    ratio: float, changes: dict[str, object], expect: str
) -> None:
    assert reckoned(ratio, 1000.0, **changes).endswith(f"instances. {expect}")


def test_the_sentence_has_the_numbers() -> None:
    assert reckoned(0.62, 1900.0) == (
        "20.0 requests a second, each with 1,500 tokens of prompt (1,200 to compute) and 250 of "
        "answer, take 3.1 prefill and 5 decode instances. That is 0.62 prefill per decode, in "
        "place of 0.5. The driver's 9,500 tok/s over 5 decode instances are 1,900 tok/s per "
        "instance, in place of 1,000."
    )


FIGURE = r"([\d,.]+(?:e[+-]?\d+)?)"
NEEDS = re.compile(f"take {FIGURE} prefill and {FIGURE} decode instances")
MARGINS = re.compile(f"margins of {FIGURE} % and {FIGURE} %")
RATIO = re.compile(f"hat is {FIGURE} prefill per decode(.*?), in place of")
TOTAL = re.compile(f"driver's {FIGURE} tok/s over {FIGURE} decode instances are {FIGURE} tok/s")
EDGE_OR_PACE = re.compile(f"(?:allows is|is at) {FIGURE}$")


def numbers(pattern: re.Pattern[str], text: str) -> list[float]:
    """Return the numbers of a pattern in a sentence, none where it isn't there."""
    found = pattern.search(text)
    every = found.groups() if found else ()
    return [float(each.replace(",", "")) for each in every]


@pytest.mark.parametrize("seed", range(200))
def test_the_arithmetic_of_the_sentence_gives_its_figures(seed: int) -> None:
    rng = np.random.default_rng(seed)
    needs = tuple(float(need) for need in 10.0 ** rng.uniform(-0.5, 3.0, 2))
    margins = (0.0, 0.0) if seed % 3 == 0 else tuple(map(float, rng.uniform(0.0, 0.6, 2)))
    best = (1.0 + margins[0]) * needs[0] / ((1.0 + margins[1]) * needs[1])
    lag = 1.0 if seed % 2 else float(rng.uniform(0.6, 1.6))
    low, high = PROPOSING.pd_ratio / 8.0, PROPOSING.pd_ratio * 8.0
    ratio, target = min(max(best * lag, low), high), float(10.0 ** rng.uniform(0.0, 4.0))
    found = suggest(
        PROPOSING,
        replace(measured(ratio, target), measured=needs, margins=margins),  # type: ignore[arg-type]
    )
    assert found is not None
    prefill, decode = numbers(NEEDS, found.why)
    over = [share / 100.0 for share in numbers(MARGINS, found.why)] or [0.0, 0.0]
    said = RATIO.search(found.why)
    if said is not None:
        quotient = (1.0 + over[0]) * prefill / ((1.0 + over[1]) * decode)
        assert f"{quotient:.3g}" == f"{float(said[1].replace(',', '')):.3g}"
        last = numbers(EDGE_OR_PACE, said[2]) or [float(said[1].replace(",", ""))]
        assert last == [found.figures.pd_ratio]
        assert (said[2] == "") <= (abs(found.figures.pd_ratio / quotient - 1.0) < 0.01)
    assert (said is None) == (found.figures.pd_ratio == PROPOSING.pd_ratio)
    if found.figures.target != PROPOSING.target:
        total, over_decode, each = numbers(TOTAL, found.why)
        assert (over_decode, each) == (decode, found.figures.target)
        assert f"{total / decode:.3g}" == f"{each:.3g}"


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
