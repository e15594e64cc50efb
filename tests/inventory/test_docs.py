"""The page about imports is true: its examples are read as what they stand under."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroscale_site.configuration import BASE_DIR
from inventory.domains import derive
from inventory.export import write
from inventory.importers.detect import FORMATS
from inventory.importers.found import RefusedError
from tests.inventory.files import codes, found

PAGE = (BASE_DIR / "docs" / "imports.md").read_text()
SOURCES = (
    *(BASE_DIR / "inventory" / "importers").glob("*.py"),
    BASE_DIR / "inventory" / "domains.py",
)


def example(form: str) -> str:
    """Return the first block under a format's heading that is no command."""
    section = re.split(r"\n(?:### `|## )", PAGE.split(f"\n### `{form}`\n")[1])[0]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)
    return next(text for kind, text in blocks if kind != "sh")


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_has_an_example_that_is_read_without_a_word(form: str) -> None:
    answer = found(example(form))
    assert (answer.format, answer.faults) == (form, ())
    assert answer.nodes
    assert not codes(answer) - {"no_s1"}


@settings(max_examples=60, deadline=None)
@given(
    cut=st.floats(0, 1),
    length=st.integers(0, 20),
    put=st.text('[]{}",;:-=#\n\t 0a\x1b', max_size=6),
    form=st.sampled_from(sorted(FORMATS)),
)
def test_an_example_with_a_mistake_in_it_is_read_or_refused(
    cut: float, length: int, put: str, form: str
) -> None:
    text = example(form)
    place = round(cut * len(text))
    try:
        answer = found(text[:place] + put + text[place + length :], form=form)
    except RefusedError:
        return
    derive(answer)
    # What is read at all is fit to be kept: it comes through the export, whose reading checks it.
    assert found(write(answer), form="yaml").faults == ()


def stated(source: Path) -> set[str]:
    """Return the codes a module refuses files with."""
    return set(re.findall(r"RefusedError\(\s*\"(\w+)\"", source.read_text()))


def test_every_code_of_a_refusal_is_named() -> None:
    used = set().union(*(stated(source) for source in SOURCES))
    assert len(used) > 10
    assert sorted(code for code in used if f"`{code}`" not in PAGE) == []


def test_every_code_of_a_finding_is_named_and_no_other() -> None:
    text = (BASE_DIR / "inventory" / "domains.py").read_text()
    used = set(re.findall(r"(?:_say|Finding)\(\s*\"(\w+)\"", text))
    table = PAGE.split("## Domains")[1].split("## Formats")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == used
