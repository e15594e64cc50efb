"""Ranges of host names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inventory.importers.hostlist import HostListError, expand, fold, sections

NAMES = st.builds(
    lambda stem, number, width, end: f"{stem}{number:0{width}d}{end}",
    st.sampled_from(["gpu", "a-b", "rack1-n", ""]),
    st.integers(0, 120),
    st.integers(1, 4),
    st.sampled_from(["", "-c", ".local"]),
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param("gpu01", ["gpu01"], id="no range is one name"),
        pytest.param("gpu[1-3]", ["gpu1", "gpu2", "gpu3"], id="1 to 3"),
        pytest.param("gpu[08-10]", ["gpu08", "gpu09", "gpu10"], id="the width of the first stays"),
        pytest.param("[1101-1102]", ["1101", "1102"], id="no stem"),
        pytest.param("g[1,5-6],h2", ["g1", "g5", "g6", "h2"], id="commas in and out"),
        pytest.param("r[1-2]n[1-2]", ["r1n1", "r1n2", "r2n1", "r2n2"], id="two ranges: 2 x 2"),
        pytest.param("g[1-2].lan", ["g1.lan", "g2.lan"], id="a range in the middle"),
    ],
)
def test_a_list_stands_for_names(text: str, names: list[str]) -> None:
    assert expand(text) == names


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("gpu[1-", "brackets", id="open"),
        pytest.param("gpu]1[", "brackets", id="closed first"),
        pytest.param("gpu[[1-2]]", "brackets", id="nested"),
        pytest.param("gpu[9-1]", "counts down", id="down"),
        pytest.param("gpu[a-c]", "no range", id="letters"),
        pytest.param("gpu[]", "no range", id="empty"),
        pytest.param("a,,b", "missing", id="two commas"),
        pytest.param("g[0-999999999]", "1,000,000,000 names", id="10^9 is refused by arithmetic"),
        pytest.param("g[1-999][1-999]", "998,001 names", id="999 x 999"),
    ],
)
def test_what_is_no_list_is_refused_in_words(text: str, why: str) -> None:
    with pytest.raises(HostListError, match=why.replace("^", r"\^")):
        expand(text)


@given(st.lists(NAMES, max_size=40))
def test_folded_names_expand_to_themselves(names: list[str]) -> None:
    assert [name for one in fold(names) for name in expand(one)] == names


def test_neighbours_fold_into_one_range() -> None:
    assert fold(["gpu008", "gpu009", "gpu010", "gpu012"]) == ["gpu[008-010]", "gpu012"]


def test_a_file_of_many_hosts_is_cut_where_it_says() -> None:
    text = "### gpu1\na\nb\n### gpu2\nc\n"
    assert sections(text, "all.txt") == [("gpu1", 1, "a\nb\n"), ("gpu2", 4, "c\n")]


def test_a_file_without_hosts_is_of_the_one_it_is_named_after() -> None:
    assert sections("a\n", "dir/gpu7.local.csv") == [("gpu7.local", 0, "a\n")]
