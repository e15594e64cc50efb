"""Texts that fit and are clean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drawings.svg import clean, finished, fit, how_many, root, sub, width_of
from tests.drawings.fleets import parsed, unhurried


@pytest.mark.parametrize(
    ("text", "width", "expect"),
    [
        pytest.param("gpu-01", 100.0, "gpu-01", id="fits"),
        pytest.param("a-very-long-name-0042", 80.0, "a-very…-0042", id="its end stays"),
        pytest.param("long-name-07", 36.0, "l…-07", id="three of its end stay in any case"),
        pytest.param("long", 0.0, "…", id="no room"),
    ],
)
def test_a_name_is_cut_in_its_middle(text: str, width: float, expect: str) -> None:
    assert fit(text, width, 12) == expect


@unhurried
@given(st.text(), st.floats(20, 300))
def test_what_is_cut_fits(text: str, width: float) -> None:
    assert width_of(fit(text, width)) <= width


@pytest.mark.parametrize(
    ("width", "count"),
    [
        pytest.param(0, 0, id="none"),
        pytest.param(20, 1, id="one"),
        pytest.param(1000, 3, id="all"),
    ],
)
def test_how_many_pieces_fit(width: float, count: int) -> None:
    assert how_many(("ab", "cd", "ef"), ", ", width, 12) == count


@unhurried
@given(st.text())
def test_any_text_is_well_formed(text: str) -> None:
    drawing = root(10, 10, aria_label=text)
    sub(drawing, "text", text, data_of=text)
    written = parsed(finished(drawing))
    assert (written.findtext("text") or "") == clean(text)
    assert written.attrib["aria-label"] == clean(text)
