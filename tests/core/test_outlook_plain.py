"""What is learnt survives its way through a row; a row edited by hand is nothing learnt."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.foresight import METHODS
from controller.core.outlook import (
    NOTHING_LEARNT,
    OUTRAN,
    Foreseen,
    Guess,
    Learnt,
    Outlook,
    Peak,
    Started,
)
from controller.core.outlook_plain import as_plain, from_plain

TIMES = st.floats(0.0, 1e12)
AMOUNTS = st.floats(0.0, 1e300)
COUNTS = st.integers(0, 10**6)
OF_A_ROLE = {
    "outran": st.just(()) | st.tuples(*[AMOUNTS] * (len(OUTRAN) + 1)),
    "errors": st.just(()) | st.tuples(*[AMOUNTS] * len(METHODS)),
    "slope": st.floats(-1e6, 1e6),
    "took_s": st.lists(st.floats(-1e6, 1e6), max_size=5).map(tuple),
    "waits": st.lists(st.builds(Started, TIMES, COUNTS), max_size=3).map(tuple),
    "wished": COUNTS,
    "ready": COUNTS,
}
LEARNT = st.builds(
    Learnt,
    **{field.name: OF_A_ROLE.get(field.name, AMOUNTS) for field in fields(Learnt)},  # type: ignore[arg-type]
)
PEAKS = st.lists(st.builds(Peak, TIMES, AMOUNTS, AMOUNTS), max_size=4).map(tuple)
NESTED = {
    "at_s": TIMES,
    "ratio": st.none() | AMOUNTS,
    "peaks": PEAKS,
    "foreseen": st.lists(st.builds(Foreseen, TIMES, AMOUNTS, AMOUNTS), max_size=4).map(tuple),
    "minutes": PEAKS,
    "hours": PEAKS,
    "guesses": st.lists(st.builds(Guess, TIMES, *[AMOUNTS] * 6), max_size=4).map(tuple),
    "prefill": LEARNT,
    "decode": LEARNT,
}
OUTLOOKS = st.builds(
    Outlook,
    **{field.name: NESTED.get(field.name, AMOUNTS) for field in fields(Outlook)},  # type: ignore[arg-type]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
SOME = Outlook(
    at_s=1_000_000.1,
    rps=0.1 + 0.2,
    ratio=1 / 3,
    peaks=(Peak(999_900.0, 2.5, 7.25),),
    foreseen=(Foreseen(1_000_120.0, 3.0, 8.0),),
    prefill=Learnt(took_s=(41.5,), waits=(Started(999_990.0, 2),), wished=5, ready=3),
)


@given(OUTLOOKS)
def test_every_outlook_comes_back_to_the_last_digit_s23(outlook: Outlook) -> None:
    assert from_plain(json.loads(json.dumps(as_plain(outlook)))) == outlook


@given(JSON)
def test_any_json_at_all_is_some_outlook(value: object) -> None:
    assert isinstance(from_plain(value), Outlook)


@given(st.sampled_from(sorted(as_plain(SOME))), JSON)
def test_any_json_in_any_field_is_some_outlook(name: str, value: object) -> None:
    assert isinstance(from_plain(as_plain(SOME) | {name: value}), Outlook)


def test_nothing_learnt_takes_no_room() -> None:
    assert as_plain(NOTHING_LEARNT) == {}
    assert from_plain({}) == NOTHING_LEARNT


def test_a_field_newer_than_the_row_has_its_default() -> None:
    plain = as_plain(SOME)
    del plain["ratio"]
    assert from_plain(plain) == replace(SOME, ratio=None)


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param({"rps": -1.0}, id="a negative rate"),
        pytest.param({"rps": float("nan")}, id="NaN"),
        pytest.param({"rps": float("inf")}, id="1e999 reads as infinity"),
        pytest.param({"rps": 10**400}, id="a whole number beyond any float"),
        pytest.param({"rps": True}, id="true is no 1"),
        pytest.param({"rps": "1"}, id="a number in quotes"),
        pytest.param({"at_s": None}, id="no time"),
        pytest.param({"peaks": {}}, id="an object for a list"),
        pytest.param({"peaks": [[1.0, 2.0]]}, id="a peak of one role"),
        pytest.param({"peaks": [[1.0, -2.0, 3.0]]}, id="a negative need"),
        pytest.param({"foreseen": [1.0, 2.0, 3.0]}, id="one row in place of rows"),
        pytest.param({"prefill": []}, id="a list for an object"),
        pytest.param({"prefill": {"outran": [1.0] * 16}}, id="16 counts for 17 bins"),
        pytest.param({"decode": {"waits": [[1.0, 2.5]]}}, id="half an instance"),
        pytest.param({"decode": {"ready": -1}}, id="fewer than none ready"),
    ],
)
def test_a_row_edited_by_hand_is_nothing_learnt(edited: dict[str, Any]) -> None:
    assert from_plain(as_plain(SOME) | edited) == NOTHING_LEARNT
