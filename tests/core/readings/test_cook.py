"""The arithmetic of recipes: PromQL's, for all services at once, and the windows made of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.readings.cook import cook, figures, windows
from controller.core.readings.presets import PRESETS, leaves_of, recipes_of
from controller.core.readings.recipe import (
    First,
    Kind,
    Leaf,
    Less,
    Mean,
    Plus,
    Quantile,
    Recipe,
    Times,
)
from controller.core.readings.tables import Buckets, Table, side_by_side
from controller.core.types import Quality, Role
from tests.core.readings.exporters import NOW_S, STEP_S, graded, times

A, B = (Leaf((name,), Kind.GAUGE, Role.DECODE) for name in "ab")
HISTOGRAM = Leaf(("h_bucket",), Kind.BUCKETS, Role.DECODE)
NAN, INF = math.nan, math.inf


def table(*values: float | None, at_s: float = NOW_S, reporting: int = 1) -> Table:
    """Return one service's values over time; ``None`` is absent."""
    numbers = np.array([[NAN if value is None else value for value in values]])
    seen = np.array([[NAN if value is None else at_s for value in values]])
    return Table(numbers, seen, np.full(numbers.shape, reporting))


def cooked(recipe: Recipe, a: float | None, b: float | None) -> float | None:
    found = cook(recipe, {A: table(a), B: table(b)}, (1, 1))
    return float(found.values[0, 0]) if found.present[0, 0] else None


@pytest.mark.parametrize(
    ("recipe", "a", "b", "expected"),
    [
        pytest.param(A, 3.0, None, 3.0, id="a = 3"),
        pytest.param(A, None, 1.0, None, id="a is absent"),
        pytest.param(Leaf(("c",), Kind.GAUGE, None), 1.0, 1.0, None, id="c was never asked for"),
        pytest.param(Mean(A, B), 6.0, 4.0, 1.5, id="6 / 4 = 1.5"),
        pytest.param(Mean(A, B), 0.0, 0.0, None, id="trap 4: 0 / 0 is absent"),
        pytest.param(Mean(A, B), 6.0, None, None, id="6 / absent is absent"),
        pytest.param(Mean(A, B), NAN, 4.0, NAN, id="M05: NaN / 4 stays NaN"),
        pytest.param(Less(A, B), 5.0, 3.0, 2.0, id="5 - 3 = 2"),
        pytest.param(Less(A, B), 3.0, 5.0, 0.0, id="3 - 5 is 0, not below"),
        pytest.param(Less(A, B), 3.0, None, None, id="3 - absent is absent"),
        pytest.param(Less(A, B), INF, INF, NAN, id="M05: Inf - Inf is no 0"),
        pytest.param(Plus((A, B)), 3.0, 5.0, 8.0, id="3 + 5 = 8"),
        pytest.param(Plus((A, B)), 3.0, None, 3.0, id="3 + absent = 3"),
        pytest.param(Plus((A, B)), None, None, None, id="absent + absent is absent"),
        pytest.param(Plus((A, B)), 1.7e308, 1.7e308, INF, id="M06: too large is no number"),
        pytest.param(Times(A, 0.01), 85.0, None, 0.85, id="85 x 0.01 = 0.85"),
        pytest.param(First((A, B)), 3.0, 5.0, 3.0, id="the first of 3 and 5"),
        pytest.param(First((A, B)), None, 5.0, 5.0, id="5 where the first is absent"),
        pytest.param(First((A, B)), NAN, 5.0, NAN, id="a first that is NaN is not absent"),
    ],
)
def test_a_recipe_is_arithmetic_over_leaves(
    recipe: Recipe, a: float | None, b: float | None, expected: float | None
) -> None:
    found = cooked(recipe, a, b)
    assert found == (pytest.approx(expected, nan_ok=True) if expected is not None else None)


def test_of_two_sources_a_window_has_one() -> None:
    found = cook(First((A, B)), {A: table(None, 3.0), B: table(7.0, 7.0)}, (1, 2))
    assert found.present.tolist() == [[False, True]]
    assert found.values[0, 1] == 3.0


def test_what_two_leaves_make_is_as_old_and_as_whole_as_the_lesser() -> None:
    leaves = {A: table(6.0, at_s=NOW_S - 30.0, reporting=4), B: table(2.0, reporting=3)}
    for recipe in (Mean(A, B), Less(A, B), Plus((A, B))):
        found = cook(recipe, leaves, (1, 1))
        assert (found.at_s[0, 0], found.reporting[0, 0]) == (NOW_S - 30.0, 3)


def buckets(**rates: float | None) -> Buckets:
    """Return one service's rates by bound: ``b1`` is 1, ``inf`` is +Inf."""
    le = np.array([INF if name == "inf" else float(name[1:]) for name in rates])
    cells = np.array([[[NAN if rate is None else rate] for rate in rates.values()]])
    return Buckets(le, cells, np.array([[NOW_S]]), np.array([[1]]))


@pytest.mark.parametrize(
    ("q", "given", "expected"),
    [
        pytest.param(0.5, buckets(b1=0, b2=10, inf=10), 1.5, id="rank 5 of 10: 1 + 5/10 = 1.5"),
        pytest.param(0.95, buckets(b1=50, b2=100, inf=100), 1.9, id="1 + (95 - 50) / 50 = 1.9"),
        pytest.param(0.5, buckets(b4=10, inf=10), 2.0, id="from 0: 4 x 5/10 = 2"),
        pytest.param(0.99, buckets(b1=5, b2=9, inf=10), 2.0, id="trap 5: last finite bound, 2"),
        pytest.param(0.5, buckets(b1=0, b2=0, inf=0), None, id="trap 5: no samples, absent"),
        pytest.param(0.5, buckets(b1=3, b2=4), None, id="without +Inf nobody knows how many"),
        pytest.param(0.5, buckets(inf=10), None, id="+Inf alone says nothing"),
        pytest.param(0.5, buckets(b1=2, b2=None, b3=10, inf=10), 1.75,
                     id="no bound at 2: 1 + 2 x (5 - 2)/8 = 1.75"),
        pytest.param(0.5, buckets(b1=6, b2=4, inf=10), 1 / 1.2, id="read apart: 4 counts as 6"),
        pytest.param(0.5, buckets(b1=1, b2=INF, inf=INF), NAN, id="M05: Inf is no quantile"),
    ],
)  # fmt: skip
def test_a_quantile_is_that_of_promql(q: float, given: Buckets, expected: float | None) -> None:
    found = cook(Quantile(q, HISTOGRAM), {HISTOGRAM: given}, (1, 1))
    assert found.present[0, 0] == (expected is not None)
    if expected is not None:
        assert found.values[0, 0] == pytest.approx(expected, nan_ok=True)


@given(
    st.lists(st.floats(0, 1e6), min_size=2, max_size=8),
    st.lists(st.floats(0.001, 1e3), min_size=1, max_size=7, unique=True),
    st.floats(0.01, 1.0),
)
def test_a_quantile_lies_in_the_bucket_of_its_rank(
    counts: list[float], bounds: list[float], q: float
) -> None:
    size = min(len(counts) - 1, len(bounds))
    le = np.append(np.sort(bounds)[:size], INF)
    rates = np.cumsum(counts[: size + 1])
    given = Buckets(le, rates.reshape(1, -1, 1), np.array([[NOW_S]]), np.array([[1]]))
    found = cook(Quantile(q, HISTOGRAM), {HISTOGRAM: given}, (1, 1))
    if rates[-1] == 0.0:
        assert not found.present[0, 0]
        return
    at = int(np.argmax(rates >= q * rates[-1]))
    lower, upper = (0.0, *le)[at], min(le[at], le[-2])
    assert min(lower, upper) * (1 - 1e-12) <= found.values[0, 0] <= upper * (1 + 1e-12)


def test_each_service_has_the_recipes_it_chose() -> None:
    leaves = {
        A: Table(np.array([[1.0], [2.0], [3.0]]), np.full((3, 1), NOW_S), np.ones((3, 1), int)),
        HISTOGRAM: replace(
            buckets(b1=0, b2=10, inf=10),
            rates=np.tile(buckets(b1=0, b2=10, inf=10).rates, (3, 1, 1)),
            at_s=np.full((3, 1), NOW_S),
            reporting=np.ones((3, 1), int),
        ),
    }
    choices: list[dict[str, Recipe]] = [{"x": A}, {"x": Quantile(0.5, HISTOGRAM)}, {}]
    found = figures(choices, leaves, ["x"], 1)["x"]
    assert found.values[:2, 0].tolist() == [1.0, 1.5]
    assert found.present[:, 0].tolist() == [True, True, False]


def test_windows_tell_per_signal_who_was_heard() -> None:
    recipes = recipes_of([PRESETS["vllm"], PRESETS["dynamo"]])

    def behind(leaf: Leaf) -> int:
        if leaf.role is None:
            return 1
        return 3 if leaf.names[0].startswith("vllm:generation") else 4

    leaves = {
        leaf: table(8.0, reporting=behind(leaf))
        for leaf in leaves_of(recipes.values())
        if leaf.kind is not Kind.BUCKETS
    }
    due = np.array([[4, 4]])
    (window,) = windows([recipes], leaves, due, times(1), STEP_S)
    tps, waiting = (graded(window, name) for name in ("decode_tps", "decode_waiting"))
    assert (tps.quality, tps.reporting) == (Quality.PARTIAL, 3)
    assert (waiting.quality, waiting.reporting) == (Quality.OK, 4)
    # A frontend speaks for all of them.
    requests = graded(window, "request_rps")
    assert (requests.quality, requests.reporting) == (Quality.OK, 4)
    assert window.reporting[:, 0].tolist() == [4, 4]


@pytest.mark.parametrize(
    ("age_s", "quality"),
    [
        pytest.param(0.0, Quality.OK, id="measured now"),
        pytest.param(14.0, Quality.OK, id="14 s old, within the step"),
        pytest.param(46.0, Quality.STALE, id="M07: 46 s old, though asked for now"),
        pytest.param(-600.0, Quality.INVALID, id="M08: 10 minutes ahead"),
    ],
)
def test_a_sample_is_as_old_as_it_is(age_s: float, quality: Quality) -> None:
    """A source may repeat its newest sample for minutes: at each time the same is asked for."""
    newest_s = NOW_S - age_s
    at_s = np.array([[min(newest_s, t) if age_s > 0 else t - age_s for t in times(6)]])
    leaves = {A: Table(np.full((1, 6), 5.0), at_s, np.ones((1, 6), int))}
    (window,) = windows([{"decode_tps": A}], leaves, np.array([[1, 1]]), times(6), STEP_S)
    assert graded(window, "decode_tps").quality is quality


def test_samples_of_several_times_stand_side_by_side() -> None:
    early = {A: table(1.0), HISTOGRAM: buckets(b1=1, inf=2)}
    late = {B: table(2.0), HISTOGRAM: buckets(b2=3, inf=4)}
    found = side_by_side([early, late, {}])
    a, histogram = found[A], found[HISTOGRAM]
    assert isinstance(a, Table)
    assert a.present.tolist() == [[True, False, False]]
    assert isinstance(histogram, Buckets)
    assert histogram.le.tolist() == [1.0, 2.0, INF]
    assert np.nan_to_num(histogram.rates[0], nan=-1.0).tolist() == [
        [1.0, -1.0, -1.0],
        [-1.0, 3.0, -1.0],
        [2.0, 4.0, -1.0],
    ]
