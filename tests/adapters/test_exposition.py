"""Exposition text: what is read of it, and how what is none is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.adapters import exposition
from controller.adapters.exposition import ExpositionError, read_exposition
from controller.core.readings.scrapes import Sample, Scrape


def read(text: str | bytes, *wanted: str) -> Scrape:
    body = text if isinstance(text, bytes) else text.encode()
    return read_exposition(body, 1_000.0, wanted or ("a", "a_total", "a_bucket"))


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        pytest.param("a 3", Sample({}, 3.0), id="no labels"),
        pytest.param('a{x="1",y="2"} 3.5', Sample({"x": "1", "y": "2"}, 3.5), id="labels"),
        pytest.param('a{x="q\\"b\\\\c\\nd",} 1e3', Sample({"x": 'q"b\\c\nd'}, 1e3), id="escapes"),
        pytest.param('a{x="} 9 # {"} 3', Sample({"x": "} 9 # {"}, 3.0), id="braces in a label"),
        pytest.param("a 3 1500", Sample({}, 3.0, 1.5), id="1500 ms is 1.5 s"),
        pytest.param("a\t3\r", Sample({}, 3.0), id="tab and carriage return"),
        pytest.param("a +Inf", Sample({}, math.inf), id="M05: +Inf is read"),
        pytest.param("a -Inf", Sample({}, -math.inf), id="M05: -Inf is read"),
        pytest.param("a 1e999", Sample({}, math.inf), id="M06: 1e999 is no number"),
        pytest.param(f"a {'9' * 400}", Sample({}, math.inf), id="M06: 400 digits"),
        pytest.param("a 1.5 1.5\n# EOF", Sample({}, 1.5, 1.5), id="OpenMetrics: 1.5 s"),
        pytest.param(
            'a 3 # {trace_id="1"} 0.67 1.5\n# EOF\n', Sample({}, 3.0), id="OpenMetrics: exemplar"
        ),
    ],
)
def test_a_sample_is_read_with_its_labels_and_its_time(text: str, sample: Sample) -> None:
    assert read(text).samples == {"a": [sample]}


def test_a_name_stays_as_the_exporter_has_it() -> None:
    text = "# HELP tgi_request_count Requests.\n# TYPE tgi_request_count counter\n"
    found = read(f"{text}tgi_request_count 3\n", "tgi_request_count")
    assert found.samples == {"tgi_request_count": [Sample({}, 3.0)]}


def test_m05_nan_is_read_as_it_is() -> None:
    assert math.isnan(read("a NaN").samples["a"][0].value)


def test_what_nobody_wants_is_named_and_not_read() -> None:
    found = read('b{x="1"} 0x10\n{"c.d"} 1\na 3\n')
    assert (set(found.samples), found.names) == ({"a"}, {"a", "b"})


def test_order_and_blank_lines_do_not_matter() -> None:
    assert read('a{x="1"} 1\n\nb 2\na{x="2"} 3').samples["a"] == [
        Sample({"x": "1"}, 1.0),
        Sample({"x": "2"}, 3.0),
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("b 1\na 0x10", "line 2: it can't be read: 'a 0x10'", id="M06: 0x10"),
        pytest.param("a ", "line 1: it is no sample of a metric: 'a'", id="M06: no value"),
        pytest.param("a null", "line 1: it can't be read: 'a null'", id="M06: null"),
        pytest.param('a ""', "line 1: it can't be read", id="M06: an empty string"),
        pytest.param('a{x="1} 3', "line 1: it can't be read", id="a label without its end"),
        pytest.param('a{x="1",x="2"} 3', "line 1: it can't be read", id="a label twice"),
        pytest.param("<html><body>Sign in", "line 1: it is no sample", id="M16: a login page"),
        pytest.param('{"status":"ok"}', "line 1: it is no sample", id="M16: JSON"),
        pytest.param("404 page not found", "line 1: it is no sample", id="not found"),
        pytest.param(b"b 1\na{x=\"\xff\"} 3", "line 2: it is not UTF-8", id="M16: invalid UTF-8"),
        pytest.param('b{x="' + "x" * 100_000 + '"} 1', "line 1: it is too long",
                     id="M16: a label of 100 kB"),
    ],
)  # fmt: skip
def test_what_is_no_exposition_is_refused_with_its_line(text: str | bytes, problem: str) -> None:
    with pytest.raises(ExpositionError) as fault:
        read(text)
    assert str(fault.value).startswith(problem)
    # It is shown to people: never more of it than fits a line.
    assert len(str(fault.value)) < 200


def test_m16_a_body_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "MOST_SAMPLES", 2)
    assert len(read("a 1\na 2\nb 3\nb 4").samples["a"]) == 2
    with pytest.raises(ExpositionError, match="line 3: it has more than 2 samples"):
        read("a 1\na 2\na 3")
    monkeypatch.setattr(exposition, "MOST_BYTES", 1024 * 1024)
    with pytest.raises(ExpositionError, match="it is longer than 1 MB"):
        read(b"a 1\n" * 300_000)


LINE = st.text(st.sampled_from('a{}="\\ #,1.eE+-\tNInf_le\n\x00é'), max_size=30)


@given(st.lists(LINE.map("a{}".format), max_size=3).map("\n".join))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    try:
        found = read(text)
    except ExpositionError as fault:
        found = Scrape(float(fault.line), {})
    assert found.at_s >= 1.0
    assert all(isinstance(s.value, float) for series in found.samples.values() for s in series)
