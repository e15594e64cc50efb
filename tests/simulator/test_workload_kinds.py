"""Every kind of load gives the same arrays, with the same meaning."""

import json
from dataclasses import fields

import numpy as np
import pytest

from controller.simulator.workload import NODES, Offered, Requests, Workload, facts
from tests.simulator.loads import every_kind

KINDS = every_kind()
PERIODIC = sorted(set(KINDS) - {"generated", "lengths only"})
SPAN_S = 3_000.0


@pytest.fixture(params=sorted(KINDS))
def load(request: pytest.FixtureRequest) -> Workload:
    """One load of each kind."""
    return KINDS[str(request.param)]


def columns(found: Offered | Requests) -> list[np.ndarray]:
    return [getattr(found, column.name) for column in fields(found)]


@pytest.mark.parametrize("count", [0, 1, 900])
def test_rates_have_one_number_per_bin(load: Workload, count: int) -> None:
    found = load.rates(np.arange(count, dtype=np.float64), 2.5)
    assert {(column.shape, column.dtype.name) for column in columns(found)} == {
        ((count,), "float64")
    }


def test_rates_are_known_together_or_not_at_all(load: Workload) -> None:
    found = columns(load.rates(np.arange(0.0, 8_000.0, 7.0), 7.0))
    holes = [np.isnan(column).tolist() for column in found]
    assert holes[1:] == holes[:-1]
    known = [column[~np.isnan(column)] for column in found]
    assert all((column >= 0).all() for column in known)
    assert (known[1] >= 1).all()
    assert (known[2] >= 1).all()
    assert (known[3] <= 1).all()


def test_the_rate_of_a_long_step_is_that_of_its_short_ones(load: Workload) -> None:
    # A generated rate is that of the middle of a step: 2 % beside the mean where a burst sets in.
    off = 0.02 if load.about.kind == "generated" else 1e-9
    short = load.rates(np.arange(0.0, 3_000.0), 1.0)
    long = load.rates(np.arange(0.0, 3_000.0, 10.0), 10.0)
    flows = [
        (rates.rps, rates.rps * rates.input_tokens, rates.rps * rates.output_tokens)
        for rates in (short, long)
    ]
    for each, whole in zip(*flows, strict=True):
        summed = each.reshape(-1, 10).mean(axis=1)
        np.testing.assert_allclose(summed, whole, rtol=off, atol=1e-6)


def test_rates_add_up_to_requests(load: Workload) -> None:
    offered = load.rates(np.arange(0.0, SPAN_S))
    found = load.requests(0.0, SPAN_S, 1.0, np.random.default_rng(4))
    expected = np.nansum(offered.rps)
    assert len(found.t_s) == pytest.approx(expected, abs=4 * expected**0.5)
    for tokens, mean in (
        (found.input_tokens, offered.input_tokens),
        (found.output_tokens, offered.output_tokens),
        (found.cached_tokens, offered.input_tokens * offered.cached_frac),
    ):
        asked = np.nansum(offered.rps * mean)
        spread = 4 * max(float(tokens.std()), float(tokens.mean())) * len(tokens) ** 0.5
        assert tokens.sum() == pytest.approx(asked, abs=spread + len(tokens))


def test_no_request_is_drawn_where_nothing_is_known() -> None:
    for kind, (begin_s, end_s) in {"windows": (1_200, 1_800), "recorded": (1_200, 1_500)}.items():
        found = KINDS[kind].requests(begin_s, end_s, 1.0, np.random.default_rng(4))
        assert len(found.t_s) == 0


def test_requests_are_sorted_whole_and_no_more_cached_than_asked(load: Workload) -> None:
    found = load.requests(100.5, 2_900.25, 0.7, np.random.default_rng(9))
    assert len({column.shape for column in columns(found)}) == 1
    assert {column.dtype.name for column in columns(found)} == {"float64"}
    assert (np.diff(found.t_s) >= 0).all()
    assert found.t_s[0] >= 100.5
    assert found.t_s[-1] < 2_900.25
    for tokens in columns(found)[1:]:
        assert (tokens == np.rint(tokens)).all()
    assert (found.input_tokens >= 1).all()
    assert (found.output_tokens >= 1).all()
    assert (found.cached_tokens >= 0).all()
    assert (found.cached_tokens <= found.input_tokens).all()


def test_a_seed_gives_the_same_requests_again(load: Workload) -> None:
    once, again, other = (
        load.requests(0.0, 1_000.0, 0.3, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert [c.tolist() for c in columns(once)] == [c.tolist() for c in columns(again)]
    assert once.t_s.tolist() != other.t_s.tolist()


def test_keeping_a_quarter_keeps_the_lengths(load: Workload) -> None:
    whole = load.requests(0.0, SPAN_S, 1.0, np.random.default_rng(1))
    kept = load.requests(0.0, SPAN_S, 0.25, np.random.default_rng(2))
    expected = len(whole.t_s) / 4
    assert len(kept.t_s) == pytest.approx(expected, abs=5 * expected**0.5)
    error = 5 * float(whole.input_tokens.std()) / len(kept.t_s) ** 0.5
    assert kept.input_tokens.mean() == pytest.approx(whole.input_tokens.mean(), abs=error)


@pytest.mark.parametrize("kind", PERIODIC)
def test_a_recording_begins_again_when_it_ends(kind: str) -> None:
    load = KINDS[kind]
    span_s = load.about.span_s
    assert span_s is not None
    # The cache of "cache switched" stays what it was switched to last.
    at = np.arange(1_800.0, 2_800.0, 10.0)
    for first, later in zip(
        columns(load.rates(at, 10.0)), columns(load.rates(at + 2 * span_s, 10.0)), strict=True
    ):
        np.testing.assert_allclose(first, later, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["generated", "lengths only"])
def test_a_load_without_an_end_goes_on(kind: str) -> None:
    found = KINDS[kind].rates(np.arange(1e7, 1e7 + 900.0))
    assert (found.rps > 0).all()


@pytest.mark.parametrize("at_s", [0.0, 1_000.0, 2_500.0, 90_000.0])
def test_a_shape_is_of_mean_one_and_ascends(load: Workload, at_s: float) -> None:
    for lengths in (load.lengths, load.shape(at_s)):
        for shape in (lengths.input, lengths.output):
            assert shape.shape == (NODES,)
            assert shape.mean() == pytest.approx(1.0)
            assert (np.diff(shape) >= 0).all()


def test_facts_are_plain_and_complete(load: Workload) -> None:
    found = facts(load)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert sorted(found) == [
        "cached_frac",
        "input_tokens",
        "kind",
        "known_frac",
        "lengths",
        "max_rps",
        "mean_rps",
        "min_rps",
        "name",
        "output_tokens",
        "requests",
        "scale",
        "span_s",
    ]
    assert found["name"] == load.name


def test_facts_of_windows_say_what_is_drawn_and_what_is_unknown() -> None:
    # 0.5 x (4, 6, hole, 0, 5) requests/s; 4 x 1000 + 6 x 400 + 5 x 800 over 15 is 693.3.
    assert dict(facts(KINDS["windows"])) == {
        "kind": "windows",
        "name": "windows",
        "requests": "resampled: Poisson arrivals, input and output lengths drawn apart",
        "lengths": "log-normal (assumed: no length quantiles)",
        "scale": 0.5,
        "span_s": 3_000.0,
        "known_frac": 0.8,
        "mean_rps": 1.875,
        "min_rps": 0.0,
        "max_rps": 3.0,
        "input_tokens": pytest.approx(10_400 / 15, rel=1e-5),
        "output_tokens": pytest.approx(3_200 / 15, rel=1e-5),
        "cached_frac": None,
    }


@pytest.mark.parametrize(
    ("kind", "requests", "cached_frac"),
    [
        pytest.param("generated", "generated", 0.3, id="generated"),
        pytest.param("requests", "recorded", None, id="requests of which no hits are recorded"),
        pytest.param("requests with cache", "recorded", 0.166, id="150 of 904 tokens hit"),
        pytest.param(
            "lengths only",
            "resampled: Poisson arrivals at 3 req/s, lengths of a row",
            None,
            id="lengths at the rate that was asked for",
        ),
    ],
)
def test_facts_say_where_requests_come_from(
    kind: str, requests: str, cached_frac: float | None
) -> None:
    found = facts(KINDS[kind])
    assert found["requests"] == requests
    assert found["cached_frac"] == pytest.approx(cached_frac, abs=0.01)
