"""S5, S10-S18 and L2 of two writes and of a soft scale-in, in every order of events."""

from __future__ import annotations

import pytest

from tests.core.pair_model import Rules, search

SOFT = {"soft": True, "things": 1}


@pytest.mark.parametrize(
    ("bounds", "at_least"),
    [
        pytest.param({}, 2_000, id="a pair, its rest or the way back, and one more try"),
        pytest.param({"most_turns": 1}, 9_000, id="a pair, frozen or only observed"),
        pytest.param(
            {"most_turns": 2, "most_attempts": 2}, 9_000, id="a pair, frozen and resumed"
        ),
        pytest.param({"most_outside": 1, "most_attempts": 2}, 6_000, id="a pair, changed outside"),
        pytest.param({"most_later": 1}, 2_000, id="a pair, and the next action"),
        pytest.param({**SOFT, "most_turns": 2}, 2_000, id="a soft scale-in, frozen and resumed"),
        pytest.param({"soft": True}, 1_000, id="a pair that begins as a soft scale-in"),
    ],
)
def test_no_order_of_events_breaks_a_rule(bounds: dict[str, int], at_least: int) -> None:
    found = search(Rules(**bounds))  # type: ignore[arg-type]
    assert not found.broken, str(found)
    assert found.states > at_least, "a model that does nothing breaks nothing"


@pytest.mark.parametrize(
    ("without", "rule", "last"),
    [
        pytest.param({"compares": False, "most_outside": 1}, "S13", "arrives", id="no versions"),
        pytest.param({"records_first": False}, "S10", "is sent", id="recorded after the call"),
        pytest.param({"looks_before_sending": False}, "S14, S16", "arrives", id="an old claim"),
        pytest.param(
            {"looks_before_the_rest": False},
            "S14, S16",
            "arrives: yes",
            id="an old claim of the other half",
        ),
        pytest.param(
            {"looks_between": False, "most_turns": 1},
            "S16: sent while frozen",
            "object 1 is asked",
            id="the freeze not asked before the second write",
        ),
        pytest.param({"looks_at_mode": False, "most_turns": 1}, "S17", "claims", id="no mode"),
        pytest.param(
            {"waits_before_undoing": False},
            "S14, S16",
            "object 1 arrives: yes",
            id="taken back without waiting for what is late",
        ),
        pytest.param(
            {"waits_before_sending_again": False}, "S14, S16", "arrives", id="sent again too soon"
        ),
        pytest.param(
            {"waits_where_changed": False},
            "S14, S16",
            "arrives: yes",
            id="ended for a change of one object while the write of the other is late",
        ),
        pytest.param(
            {"reads_after_deadline": False},
            "S15: called off",
            "called off",
            id="read before the deadline, believed after it",
        ),
        pytest.param({"reads_back": False}, "S15", "applied", id="no answer taken for a yes"),
        pytest.param(
            {"one_in_flight": False, "most_later": 1}, "S11", "recorded", id="two in flight"
        ),
        pytest.param({"undoes": False}, "S5", "half way", id="a half left where it is"),
        pytest.param({"in_order": False}, "S5", "object 1 arrives", id="the wrong half first"),
        pytest.param(
            {**SOFT, "fences": False}, "S16", "leave", id="asked to leave after they returned"
        ),
        pytest.param(
            {**SOFT, "brings_home": False}, "S16", "not back in time", id="somebody left out"
        ),
        pytest.param(
            {**SOFT, "heeds_return": False}, "S6", "arrives: yes", id="sent though they return"
        ),
    ],
)
def test_each_safeguard_taken_away_is_found(
    without: dict[str, object], rule: str, last: str
) -> None:
    found = search(Rules(**without))  # type: ignore[arg-type]
    assert found.broken.startswith(rule), str(found)
    assert last in found.trace[-1], str(found)
