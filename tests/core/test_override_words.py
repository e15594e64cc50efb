"""Overrides in words: values, and what one would change now."""

from __future__ import annotations

from typing import Any

import pytest

from controller.core.consequences import Standing, Steps, consequence
from controller.core.override_words import ABOUT, TITLES, title_of, values_words
from controller.core.overrides import OverrideKind
from controller.core.types import Instances, Mode

NOW = Standing(
    "chat", Mode.APPROVE, Instances(2, 5), Instances(1, 1), Instances(8, 40), Steps(2, 0.5, 0.25)
)


@pytest.mark.parametrize("kind", OverrideKind)
def test_every_kind_has_a_name_and_a_sentence(kind: OverrideKind) -> None:
    assert TITLES[kind]
    assert ABOUT[kind].endswith(".")
    assert isinstance(values_words(kind, {}), str)
    assert isinstance(values_words(kind, None), str)


def test_a_kind_nobody_knows_is_told_as_it_stands() -> None:
    assert (title_of("whim"), values_words("whim", {"a": 1})) == ("whim", "")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("pin", {"decode": 4, "prefill": 2}, "decode 4, prefill 2"),
        ("bounds", {"decode_min": 2, "decode_max": 9}, "decode 2–9"),
        ("bounds", {"decode_max": 9, "prefill_min": 2}, "decode at most 9, prefill at least 2"),
        ("ratio", {"min": 0.25, "max": 0.4}, "0.25 to 0.4 prefill per decode"),
        ("exclude", {"what": "s1", "name": "s1-07"}, "S1 domain s1-07"),
        ("out_only", {}, ""),
    ],
)
def test_values_are_told_in_words(kind: str, values: dict[str, Any], words: str) -> None:
    assert values_words(kind, values) == words


@pytest.mark.parametrize(
    ("begin", "end", "steps"),
    [
        pytest.param(5, 5, 0, id="nothing to do"),
        pytest.param(5, 4, 1, id="max(2, ceil(1.25)) = 2 down"),
        pytest.param(5, 8, 1, id="max(2, ceil(2.5)) = 3 up"),
        pytest.param(5, 12, 2, id="5 + 3 = 8, 8 + 4 = 12"),
        pytest.param(12, 6, 2, id="12 - ceil(3) = 9, 9 - ceil(2.25) = 6"),
    ],
)
def test_steps_are_counted_as_the_guard_takes_them(begin: int, end: int, steps: int) -> None:
    assert NOW.steps.count(begin, end) == steps


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        pytest.param(
            "pin",
            {"prefill": 2, "decode": 4},
            "Pinned to decode 4, prefill 2: decode 5 → 4 in one step, prefill stays 2; proposed"
            " for approval because the service is in mode approve.",
            id="the change goes through the mode",
        ),
        pytest.param(
            "pin",
            {"prefill": 2, "decode": 5},
            "Pinned to decode 5, prefill 2: decode stays 5, prefill stays 2.",
            id="as it is",
        ),
        pytest.param(
            "bounds",
            {"decode_max": 3},
            "Limits become decode 1–3, prefill 1–8: decode 5 → 3 in one step, prefill stays 2;"
            " proposed for approval because the service is in mode approve.",
            id="5 is above 3",
        ),
        pytest.param(
            "bounds",
            {"decode_max": 400},
            "Limits become decode 1–40, prefill 1–8: nothing changes now.",
            id="bounds never widen 40",
        ),
        pytest.param(
            "ratio",
            {"min": 0.3, "max": 0.5},
            "Nothing changes now: 0.4 prefill per decode is inside 0.3–0.5.",
            id="2/5 = 0.4 is inside",
        ),
        pytest.param(
            "ratio",
            {"min": 0.5, "max": 0.6},
            "0.4 prefill per decode is outside 0.5–0.6: the next decision corrects it, proposed"
            " for approval because the service is in mode approve.",
            id="2/5 = 0.4 is below 0.5",
        ),
        pytest.param(
            "exclude",
            {"what": "rack", "name": "r01"},
            "Nothing new is placed on rack r01; nothing is moved.",
            id="exclusion",
        ),
    ],
)
def test_what_would_change_is_told_before_it_is_set(
    kind: str, values: dict[str, Any], said: str
) -> None:
    assert consequence(OverrideKind(kind), values, NOW) == said


def test_a_pin_beyond_the_limits_says_where_it_is_held() -> None:
    told = consequence(OverrideKind.PIN, {"prefill": 9, "decode": 5}, NOW)
    assert told.endswith("Prefill 9 is outside its limits and held at 8.")
