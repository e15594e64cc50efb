"""What sentences are made of."""

from __future__ import annotations

import pytest

from controller.core.phrases import listed


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", ""),
        ("a", "a"),
        ("abc", "a, b and c"),
        ("abcde", "a, b, c, d and e"),
        ("abcdefg", "a, b, c, d, e and 2 more"),
    ],
)
def test_of_many_names_the_first_are_told(names: str, said: str) -> None:
    assert listed(list(names)) == said
