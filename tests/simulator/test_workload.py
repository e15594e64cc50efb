"""Offered load: generated, recorded, and read from files that may be broken."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.simulator.workload import (
    Generator,
    RequestTrace,
    TraceError,
    WindowTrace,
    read_trace,
)

DAY = Generator("day", seed=5, low_rps=2, peak_rps=10, input_tokens=900, output_tokens=150)
REQUESTS = "t_s,input_tokens,output_tokens\n"
WINDOWS = "t_s,rate_rps,mean_input_tokens,mean_output_tokens\n"


def test_generated_load_is_a_function_of_seed_and_time() -> None:
    at = np.array([0.0, 1_800.0, 3_600.0, 5_400.0])
    once, again = DAY.rates(at), replace(DAY).rates(at[2:])
    assert once.rps[2:].tolist() == again.rps.tolist()
    assert once.input_tokens[2:].tolist() == again.input_tokens.tolist()
    assert replace(DAY, seed=6).rates(at).rps.tolist() != once.rps.tolist()


def test_generated_load_swings_between_night_and_day_with_bursts_on_top() -> None:
    rps = DAY.rates(np.arange(0.0, 14_400.0)).rps
    smooth = replace(DAY, bursts_per_day=0, noise_frac=0.0).rates(np.arange(0.0, 14_400.0)).rps
    assert smooth.min() == pytest.approx(2.0, abs=1e-4)
    assert smooth.max() == pytest.approx(10.0, abs=1e-4)
    assert 1.05 < (rps / smooth).max() < 1.0 + 0.45 + 0.1


def test_drawn_requests_have_the_rate_and_lengths_of_the_load() -> None:
    found = DAY.requests(1_000.0, 4_600.0, 1.0, np.random.default_rng(1))
    offered = DAY.rates(np.arange(1_000.0, 4_600.0))
    expected = offered.rps.sum()
    assert len(found.t_s) == pytest.approx(expected, abs=4 * expected**0.5)
    assert found.input_tokens.mean() == pytest.approx(offered.input_tokens.mean(), rel=0.05)
    assert (np.diff(found.t_s) >= 0).all()


def test_a_sped_up_trace_keeps_its_rate_and_lengths() -> None:
    rng = np.random.default_rng(2)
    text = REQUESTS + "".join(f"{t},{100 + t % 7},20\n" for t in range(2_000))
    trace = read_trace(text.encode(), "one a second")
    kept = trace.requests(0.0, 1_600.0, 1 / 8, rng)
    # 1,600 load seconds at 8 times the speed are 200 seconds of about one request each.
    assert len(kept.t_s) == pytest.approx(200, abs=4 * 200**0.5)
    assert kept.input_tokens.mean() == pytest.approx(103, abs=1)


@pytest.mark.parametrize(
    ("start_s", "end_s", "count"),
    [
        pytest.param(0.0, 4.0, 4, id="once through: requests at 0, 1, 2 and 3 s"),
        pytest.param(4.0, 8.0, 4, id="the second turn is the first again"),
        pytest.param(2.0, 7.0, 5, id="across the seam: 2, 3, 4, 5, 6 s"),
    ],
)
def test_a_trace_begins_again_when_it_ends(start_s: float, end_s: float, count: int) -> None:
    trace = read_trace((REQUESTS + "0,5,1\n1,5,1\n2,5,1\n3,5,1\n").encode(), "four")
    found = trace.requests(start_s, end_s, 1.0, np.random.default_rng(0))
    assert len(found.t_s) == count
    assert trace.rates(np.array([start_s]), end_s - start_s).rps[0] == count / (end_s - start_s)


def test_twice_the_scale_is_twice_the_requests_without_clumps() -> None:
    text = REQUESTS + "".join(f"{t},50,5\n" for t in range(1_000))
    double = read_trace(text.encode(), "double", scale=2.0)
    found = double.requests(0.0, 1_000.0, 1.0, np.random.default_rng(3))
    assert len(found.t_s) == 2_000
    assert len(np.unique(found.t_s)) > 1_990


def test_what_a_window_trace_does_not_know_is_missing_not_zero() -> None:
    text = WINDOWS + "0,4,100,10\n600,,,\n1200,0,,\n1800,8,120,12\n3600,6,100,10\n"
    trace = read_trace(text.encode(), "gaps")
    found = trace.rates(np.array([0.0, 700.0, 1_300.0, 1_900.0, 2_500.0, 3_700.0]))
    assert found.rps.tolist() == pytest.approx([4.0, np.nan, 0.0, 8.0, np.nan, 6.0], nan_ok=True)
    assert np.isnan(found.input_tokens[1])


@pytest.mark.parametrize(
    ("file", "rps", "input_tokens", "output_tokens"),
    [
        ("azure_llm_2023_conv.csv.gz", 5.53, 1_155, 211),
        ("mooncake_fast25_conversation.csv.gz", 3.40, 12_035, 343),
    ],
)
def test_recorded_requests_have_the_figures_of_their_source(
    file: str, rps: float, input_tokens: float, output_tokens: float, shared: Path
) -> None:
    with (shared / "data/traces" / file).open("rb") as stream:
        trace = read_trace(stream, file)
    assert isinstance(trace, RequestTrace)
    whole = trace.rates(np.array([0.0]), trace.span_s)
    found = whole.rps[0], whole.input_tokens[0], whole.output_tokens[0]
    assert found == pytest.approx((rps, input_tokens, output_tokens), rel=0.002)


@pytest.mark.parametrize(
    ("file", "days", "expect"),
    [
        ("servegen_deepseek-r1_10min.csv.gz", 1, (4.3, 13.3, 42.5)),
        ("servegen_m-large_10min.csv.gz", 14, (48, 187, 583)),
    ],
)
def test_windows_have_the_rates_of_their_source(
    file: str, days: int, expect: tuple[float, float, float], shared: Path
) -> None:
    with (shared / "data/traces" / file).open("rb") as stream:
        trace = read_trace(stream, file)
    assert isinstance(trace, WindowTrace)
    assert (trace.width_s, trace.span_s) == (600.0, days * 86_400.0)
    rps = trace.rates(np.arange(0.0, trace.span_s, 600.0)).rps
    assert (rps.min(), np.median(rps), rps.max()) == pytest.approx(expect, rel=0.01)


def test_mooncake_has_its_cache_hits(shared: Path) -> None:
    with (shared / "data/traces/mooncake_fast25_conversation.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "mooncake")
    assert trace.rates(np.array([0.0]), 3_537.0).cached_frac[0] == pytest.approx(0.374, abs=0.002)


@pytest.mark.parametrize(
    ("rows", "line", "column", "says"),
    [
        pytest.param("0,5,1\n1,x,1", 3, "input_tokens", "'x' is not a number", id="letters"),
        pytest.param("0,5,1\n1,5,-2", 3, "output_tokens", "'-2' is negative", id="negative"),
        pytest.param("0,5,inf", 2, "output_tokens", "not a finite number", id="infinite"),
        pytest.param("0,5,1\n2,5,1\n1,5,1", 4, "t_s", "1 comes after 2", id="time goes back"),
        pytest.param("0,,1", 2, "input_tokens", "is empty", id="no length"),
        pytest.param("0,5", 2, None, "2 cells where the header has 3", id="short row"),
        pytest.param("", None, None, "no rows", id="header only"),
    ],
)
def test_a_broken_row_is_named_by_line_and_column(
    rows: str, line: int | None, column: str | None, says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        read_trace((REQUESTS + rows).encode(), "broken.csv")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith("broken.csv")


@pytest.mark.parametrize(
    ("content", "line", "column", "says"),
    [
        pytest.param(
            "t_s,input_tokens\n0,5\n", 1, "output_tokens", "needs it", id="a column is missing"
        ),
        pytest.param(
            "t_s,rate_rps\n0,5\n",
            1,
            "mean_input_tokens, mean_output_tokens",
            "windows needs it",
            id="windows without lengths",
        ),
        pytest.param(
            "a,b\n1,2\n", 1, "t_s, input_tokens, output_tokens", "needs it", id="other file"
        ),
        pytest.param(
            "t_s,input_tokens,output_tokens,cached_tokens_ideal\n0,5,1,6\n",
            2,
            "cached_tokens_ideal",
            "6 cached tokens of 5",
            id="more hits than tokens",
        ),
        pytest.param(WINDOWS + "0,1,9,9\n0,1,9,9\n", 3, "t_s", "there twice", id="window twice"),
        pytest.param("", None, None, "empty", id="nothing"),
        pytest.param("\n\n", None, None, "empty", id="blank lines"),
    ],
)
def test_a_broken_trace_is_named_by_line_and_column(
    content: str, line: int | None, column: str | None, says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        read_trace(content.encode(), "broken.csv")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith("broken.csv")


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        pytest.param(b"t_s,x\n\xff\xfe", "t.csv", "line 2: not UTF-8", id="neither text nor gzip"),
        pytest.param(b"t_s,x\n", "t.csv.gz", "not gzip", id="plain text named .gz"),
        pytest.param(gzip.compress(REQUESTS.encode() * 99)[:-20], "t.gz", "damaged", id="cut off"),
    ],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, name: str, says: str) -> None:
    with pytest.raises(TraceError, match=says):
        read_trace(content, name)
