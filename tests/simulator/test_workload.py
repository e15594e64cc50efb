"""Offered load: generated, recorded, and read from files that may be broken."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.simulator import tracefile
from controller.simulator.arrivals import mean_lengths
from controller.simulator.workload import (
    NODES,
    Generator,
    LengthTrace,
    RequestTrace,
    TraceError,
    WindowTrace,
    companion_name,
    facts,
    read_trace,
)
from tests.simulator.loads import LENGTHS, QUANTILES, REQUESTS, WINDOWS

DAY = Generator("day", seed=5, low_rps=2, peak_rps=10, input_tokens=900, output_tokens=150)
CLIENTS = "t_s,rate_rps,active_clients,mean_input_tokens,mean_output_tokens\n"


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
    ("content", "rps"),
    [
        pytest.param(WINDOWS + "0,0,,\n600,4,9,9\n", 0.0, id="nobody counted clients: idle"),
        pytest.param(CLIENTS + "0,0,3,9,9\n600,4,5,9,9\n", 0.0, id="3 clients rounded to 0"),
        pytest.param(CLIENTS + "0,0,0,9,9\n600,4,5,9,9\n", None, id="no client seen: a gap"),
        pytest.param(CLIENTS + "0,0,,9,9\n600,4,5,9,9\n", None, id="clients unknown: a gap"),
    ],
)
def test_a_rate_of_zero_without_a_client_is_a_gap_of_the_collector(
    content: str, rps: float | None
) -> None:
    found = read_trace(content.encode(), "zero").rates(np.array([0.0, 600.0]), 600.0)
    assert found.rps.tolist() == pytest.approx([np.nan if rps is None else rps, 4], nan_ok=True)


def test_a_step_is_the_average_of_what_is_known_of_it() -> None:
    trace = read_trace((WINDOWS + "0,2,100,10\n600,4,400,40\n1200,,,\n").encode(), "three")
    found = trace.rates(np.array([0.0]), 1_800.0)
    # (2 + 4) / 2 requests/s; (2 x 100 + 4 x 400) / 6 = 300 and (2 x 10 + 4 x 40) / 6 = 30 tokens.
    assert (found.rps[0], found.input_tokens[0], found.output_tokens[0]) == (3, 300, 30)


def test_lengths_without_times_arrive_at_the_rate_that_is_said() -> None:
    text = (LENGTHS + "1000,1\n10,500\n").encode()
    assert facts(read_trace(text, "pairs"))["mean_rps"] == 1.0
    trace = read_trace(text, "pairs", 2.0, rate_rps=5.0)
    assert facts(trace)["mean_rps"] == 10.0
    found = trace.requests(0.0, 900.0, 1.0, np.random.default_rng(1))
    # A long prompt keeps its short answer.
    pairs = set(zip(found.input_tokens.tolist(), found.output_tokens.tolist(), strict=True))
    assert pairs == {(1000.0, 1.0), (10.0, 500.0)}


def test_a_request_has_a_token_at_least() -> None:
    trace = read_trace((REQUESTS + "0,0,0\n1,5,2\n").encode(), "nothing asked")
    found = trace.requests(0.0, 2.0, 1.0, np.random.default_rng(1))
    assert (found.input_tokens.tolist(), found.output_tokens.tolist()) == ([1, 5], [1, 2])


@pytest.mark.parametrize(
    ("name", "companion"),
    [
        ("servegen_m-large_10min.csv.gz", "servegen_m-large_length_quantiles.csv.gz"),
        ("own_10min.csv", "own_length_quantiles.csv"),
        ("azure_llm_2023_conv.csv.gz", None),
        ("own_10min.csv.zip", None),
        ("own_length_quantiles.csv.gz", None),
    ],
)
def test_windows_have_a_companion_with_length_quantiles(name: str, companion: str | None) -> None:
    assert companion_name(name) == companion


HOURS = WINDOWS + "".join(f"{600 * at},10,1000,100\n" for at in range(6 * 18))


def _hours(rows: str) -> WindowTrace:
    trace = read_trace(HOURS.encode(), "own_10min.csv", quantiles=(QUANTILES + rows).encode())
    assert isinstance(trace, WindowTrace)
    return trace


BOTH = "{0},input_tokens,0,1,{1},{1},{1},{1}\n{0},output_tokens,0,{1},{1},{1},{1},{1}\n"


def test_requests_have_the_lengths_of_their_time() -> None:
    # Until 6:00 all prompts are the same, then half of them are ten times the others.
    trace = _hours(
        "0,input_tokens,0,9,9,9,9,9\n0,output_tokens,0,9,9,9,9,9\n"
        "21600,input_tokens,0,100,100,100.1,1000,1000\n21600,output_tokens,0,9,9,9,9,9\n"
    )
    early, late = (
        trace.requests(at, at + 900, 1.0, np.random.default_rng(1)) for at in (20_000.0, 21_600.0)
    )
    assert set(early.input_tokens.tolist()) == {1000.0}
    assert set(early.output_tokens.tolist()) == {100.0}
    assert late.input_tokens.max() / late.input_tokens.min() == pytest.approx(10, rel=0.01)
    assert late.input_tokens.mean() == pytest.approx(1000, rel=0.05)
    assert trace.shape(21_599.0).input.tolist() == [1.0] * NODES
    assert trace.shape(21_600.0).input[-1] / trace.shape(21_600.0).input[0] == pytest.approx(10)
    # The next pass begins with the early shape again.
    assert trace.shape(trace.span_s).input.tolist() == [1.0] * NODES


def test_lengths_of_the_whole_are_the_mixture_by_requests() -> None:
    trace = _hours(BOTH.format(0, 9) + "21600,input_tokens,0,1,1,1,3,3\n" + BOTH.format(43200, 9))
    quiet, mixed = trace.shape(0.0).input, trace.shape(21_600.0).input
    assert quiet.std() < trace.lengths.input.std() < mixed.std()


@pytest.mark.parametrize(
    ("rows", "like", "says"),
    [
        pytest.param(
            BOTH.format(0, 9) + "21600,input_tokens,0,,,,,\n" + BOTH.format(43200, 5),
            0.0,
            "input quantiles of 2 of 3 windows, the nearest for the others; "
            "output quantiles of 2 of 3 windows, the nearest for the others",
            id="an empty window takes the one before, as near as the one after",
        ),
        pytest.param(
            BOTH.format(43200, 9),
            43_200.0,
            "input quantiles of 1 windows; output quantiles of 1 windows",
            id="before the first window its shape holds",
        ),
    ],
)
def test_a_window_without_quantiles_takes_the_nearest(rows: str, like: float, says: str) -> None:
    trace = _hours(rows)
    assert trace.shape(21_600.0).input.tolist() == trace.shape(like).input.tolist()
    assert facts(trace)["lengths"] == says


def test_without_quantiles_a_lognormal_is_assumed_and_said() -> None:
    trace = _hours("0,input_tokens,0,,,,,\n0,output_tokens,0,1,2,3,4,5\n")
    bare = read_trace(HOURS.encode(), "own_10min.csv")
    assert trace.lengths.input.tolist() == bare.lengths.input.tolist()
    assert facts(trace)["lengths"] == (
        "input log-normal (assumed: no window has quantiles); output quantiles of 1 windows"
    )
    assert facts(bare)["lengths"] == "log-normal (assumed: no length quantiles)"


@pytest.mark.parametrize(
    ("table", "line", "column", "says"),
    [
        pytest.param("a,b\n", 1, "window_start_s, field", "needs it", id="another table"),
        pytest.param("window_start_s,field,q0,q1\n", 1, None, "5 needed", id="two quantiles"),
        pytest.param(QUANTILES, None, None, "no window", id="header only"),
        pytest.param(
            QUANTILES + "0,input_tokens,0,1,2,2,1,9\n", 2, None, "descend", id="out of order"
        ),
        pytest.param(
            QUANTILES + "0,input_tokens,0,1,x,2,1,9\n", 2, "q0.25", "'x' is not", id="letters"
        ),
        pytest.param(
            QUANTILES + ",input_tokens,0,1,2,3,4,9\n", 2, "window_start_s", "empty", id="no time"
        ),
    ],
)
def test_a_broken_table_of_quantiles_is_named_by_line_and_column(
    table: str, line: int | None, column: str | None, says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        read_trace(HOURS.encode(), "own_10min.csv", quantiles=table.encode())
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith("own_length_quantiles.csv")


@pytest.mark.parametrize(
    ("content", "rate_rps", "quantiles", "says"),
    [
        pytest.param(REQUESTS + "0,5,1\n", 2.0, None, "use a scale", id="a rate for requests"),
        pytest.param(WINDOWS + "0,5,1,1\n", 2.0, None, "use a scale", id="a rate for windows"),
        pytest.param(LENGTHS + "5,1\n", 0.0, None, "positive rate", id="no rate at all"),
        pytest.param(LENGTHS + "5,1\n", np.nan, None, "positive rate", id="a rate of nothing"),
        pytest.param(REQUESTS + "0,5,1\n", None, b"", "are recorded", id="quantiles for requests"),
        pytest.param(LENGTHS + "5,1\n", None, b"", "are recorded", id="quantiles for lengths"),
    ],
)
def test_what_a_trace_has_no_use_for_is_refused(
    content: str, rate_rps: float | None, quantiles: bytes | None, says: str
) -> None:
    with pytest.raises(TraceError, match=says):
        read_trace(content.encode(), "trace.csv", rate_rps=rate_rps, quantiles=quantiles)


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


@pytest.mark.parametrize(
    ("file", "windows", "p50_over_mean", "p99_over_mean"),
    [
        # The first rows: 79 and 2,908 of a mean of 359.8 tokens, 59 and 19,617 of 1,054.2.
        pytest.param("servegen_m-large_10min.csv.gz", 56, 0.22, 8.08, id="m-large"),
        pytest.param("servegen_deepseek-r1_10min.csv.gz", 4, 0.056, 18.6, id="deepseek-r1"),
    ],
)
def test_windows_have_the_length_quantiles_of_their_source(
    file: str, windows: int, p50_over_mean: float, p99_over_mean: float, shared: Path
) -> None:
    directory = shared / "data/traces"
    quantiles = (directory / str(companion_name(file))).read_bytes()
    trace = read_trace((directory / file).read_bytes(), file, quantiles=quantiles)
    assert facts(trace)["lengths"] == (
        f"input quantiles of {windows} windows; output quantiles of {windows} windows"
    )
    shape = trace.shape(0.0).input
    found = (float(np.median(shape)), float(np.quantile(shape, 0.99)))
    assert found == pytest.approx((p50_over_mean, p99_over_mean), rel=0.15)


def test_lengths_have_the_figures_of_their_source(shared: Path) -> None:
    file = "lengths_arxiv_summarization.csv.gz"
    with (shared / "data/traces" / file).open("rb") as stream:
        trace = read_trace(stream, file, rate_rps=2.0)
    assert isinstance(trace, LengthTrace)
    assert len(trace.rows.input_tokens) == 28_257
    said = facts(trace)
    assert (said["mean_rps"], said["input_tokens"], said["output_tokens"]) == pytest.approx(
        (2.0, 2_588, 291), rel=0.002
    )


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
        pytest.param("0,5.5,1", 2, "input_tokens", "no whole number", id="half a token"),
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
            "a,b\n1,2\n",
            1,
            "t_s, input_tokens, output_tokens",
            "requests: t_s.*windows: t_s, rate_rps.*lengths only: input_tokens",
            id="another file: every layout is named",
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


def _examples() -> dict[str, str]:
    text = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```csv\n")[1:]]
    return {block.splitlines()[0]: block for block in blocks}


def test_the_documented_layouts_can_be_read() -> None:
    examples = _examples()
    tables = {head: text for head, text in examples.items() if head.startswith("window_start_s")}
    traces = {head: text for head, text in examples.items() if head not in tables}
    kinds = sorted(str(facts(read_trace(text.encode(), "x"))["kind"]) for text in traces.values())
    assert kinds == ["lengths", "requests", "windows"]
    windows = next(text for head, text in traces.items() if "rate_rps" in head)
    (table,) = tables.values()
    trace = read_trace(windows.encode(), "x_10min.csv", quantiles=table.encode())
    assert facts(trace)["known_frac"] == 0.75


STEADY = Generator("steady", 1, 2.0, 9.0, 900.0, 200.0)


def test_a_trace_without_length_is_refused() -> None:
    # It begins again when it ends: three requests in half a second would be six a second for ever.
    text = "t_s,input_tokens,output_tokens\n0,9,9\n0.2,9,9\n0.5,9,9\n"
    with pytest.raises(TraceError, match=r"line 4, column t_s: all requests come within 0\.5 s"):
        read_trace(text.encode(), "short.csv")


def test_a_trace_of_too_many_rows_is_refused_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracefile, "MOST_ROWS", 3)
    text = "t_s,input_tokens,output_tokens\n" + "".join(f"{at},9,9\n" for at in range(9))
    with pytest.raises(TraceError, match="line 5: more than 3 rows"):
        read_trace(text.encode(), "long.csv")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("low_rps", -5.0),
        ("peak_rps", float("nan")),
        ("input_tokens", -1000.0),
        ("output_tokens", float("inf")),
        ("day_s", 0.0),
        ("input_sigma", 900.0),
        ("cached_frac", 1.5),
    ],
)
def test_a_generator_names_the_figure_that_makes_no_load(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} is .*: enter a figure from"):
        replace(STEADY, **{field: value})


def test_lengths_of_a_load_nobody_asks_for_are_still_those_of_its_requests() -> None:
    idle = replace(STEADY, low_rps=0.0, peak_rps=0.0)
    # The means drift over the day by up to an eighth.
    assert mean_lengths(idle).input_tokens[0] == pytest.approx(STEADY.input_tokens, rel=0.02)
