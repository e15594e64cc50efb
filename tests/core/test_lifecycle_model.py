"""S10-S18, L2 and L7 in every order of events, and that the search finds what is broken."""

from __future__ import annotations

import pytest

from controller.core.lifecycle import ACTION_MOVES, PROPOSAL_MOVES, ActionState, ProposalState
from tests.core.lifecycle_model import Rules, search


@pytest.mark.parametrize(
    ("bounds", "at_least"),
    [
        pytest.param(
            {"most_proposals": 1, "most_attempts": 2, "most_freezes": 2},
            3_000,
            id="one approval, sent twice, frozen and resumed, changed outside",
        ),
        pytest.param(
            {"most_proposals": 2},
            15_000,
            id="two approvals of the same or a later epoch, frozen, changed outside",
        ),
        pytest.param(
            {"most_proposals": 3, "most_freezes": 0, "most_outside": 0},
            3_000,
            id="three approvals of up to three epochs",
        ),
        pytest.param(
            {"most_proposals": 1, "most_flips": 2, "most_freezes": 0},
            800,
            id="one approval, only observed meanwhile and back",
        ),
    ],
)
def test_no_order_of_events_breaks_a_rule(bounds: dict[str, int], at_least: int) -> None:
    found = search(Rules(**bounds))  # type: ignore[arg-type]
    assert not found.broken, str(found)
    assert found.states > at_least, "a model that does nothing breaks nothing"


@pytest.mark.parametrize(
    ("without", "rule", "last"),
    [
        pytest.param({"compares": False}, "S13", "arrives: ok", id="no compare-and-set"),
        pytest.param({"records_first": False}, "S10", "is sent", id="recorded after the call"),
        pytest.param(
            {"looks_at_mode": False, "most_flips": 1, "most_freezes": 0},
            "S17",
            "claims",
            id="no look at the mode",
        ),
        pytest.param({"looks_at_freeze": False}, "S16", "claims", id="no look at the freeze"),
        pytest.param(
            {"waits_for_deadline": False},
            "S16",
            "arrives: ok",
            id="called off while a slow request is under way",
        ),
        pytest.param({"reads_back": False}, "S15", "as applied", id="no answer taken for a yes"),
        pytest.param({"one_in_flight": False}, "S11", "becomes action 1", id="two in flight"),
        pytest.param({"sweeps": False}, "L2", "dies", id="nobody looks after a dead worker"),
        pytest.param(
            {
                "proposals": {
                    **PROPOSAL_MOVES,
                    ProposalState.EXPIRED: frozenset({ProposalState.APPROVED}),
                }
            },
            "S18",
            "is approved",
            id="approved after its end",
        ),
        pytest.param(
            {"actions": {**ACTION_MOVES, ActionState.CANCELLED: frozenset({ActionState.SENT})}},
            "S18",
            "claims",
            id="sent after it was called off",
        ),
    ],
)
def test_each_safeguard_taken_away_is_found(
    without: dict[str, object], rule: str, last: str
) -> None:
    found = search(Rules(**without))  # type: ignore[arg-type]
    assert found.broken.startswith(rule), str(found)
    assert last in found.trace[-1], str(found)
    assert str(found).splitlines()[1].startswith(" 1. the tick proposes")
