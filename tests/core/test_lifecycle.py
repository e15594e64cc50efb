"""Which state may follow which."""

from collections.abc import Iterable

import pytest

from controller.core.lifecycle import (
    ACTION_MOVES,
    IN_FLIGHT,
    OPEN_ACTIONS,
    OPEN_PROPOSALS,
    PROPOSAL_MOVES,
    TERMINAL_ACTIONS,
    TERMINAL_PROPOSALS,
    ActionState,
    ProposalState,
    may_move,
)


def test_every_state_has_a_row() -> None:
    assert set(PROPOSAL_MOVES) == set(ProposalState)
    assert set(ACTION_MOVES) == set(ActionState)


def test_terminal_states_have_no_successors_s18() -> None:
    assert {
        ProposalState.APPLIED,
        ProposalState.FAILED,
        ProposalState.REJECTED,
        ProposalState.EXPIRED,
        ProposalState.SUPERSEDED,
        ProposalState.WITHDRAWN,
        ProposalState.STALE,
    } == TERMINAL_PROPOSALS
    assert {ActionState.READY, ActionState.FAILED, ActionState.CANCELLED} == TERMINAL_ACTIONS
    assert not TERMINAL_PROPOSALS & OPEN_PROPOSALS
    assert not TERMINAL_ACTIONS & OPEN_ACTIONS
    assert {
        ActionState.RECORDED,
        ActionState.WITHDRAWN,
        ActionState.SENT,
        ActionState.UNKNOWN,
        ActionState.PARTLY,
    } == IN_FLIGHT


@pytest.mark.parametrize("start", [*sorted(OPEN_PROPOSALS), *sorted(OPEN_ACTIONS)])
def test_every_open_state_can_end_l2_l7(start: ProposalState | ActionState) -> None:
    def after(state: ProposalState | ActionState) -> Iterable[ProposalState | ActionState]:
        if isinstance(state, ProposalState):
            return PROPOSAL_MOVES[state]
        return ACTION_MOVES[state]

    reached, new = {start}, {start}
    while new:
        new = {following for state in new for following in after(state)} - reached
        reached |= new
    assert reached & (TERMINAL_PROPOSALS | TERMINAL_ACTIONS)


@pytest.mark.parametrize(
    ("present", "following", "legal"),
    [
        (ProposalState.PENDING, ProposalState.APPROVED, True),
        (ProposalState.PENDING, ProposalState.APPLYING, False),
        (ProposalState.APPROVED, ProposalState.REJECTED, False),
        (ProposalState.APPROVED, ProposalState.STALE, True),
        (ProposalState.APPLIED, ProposalState.APPLYING, False),
        (ActionState.SENT, ActionState.UNKNOWN, True),
        (ActionState.UNKNOWN, ActionState.RECORDED, True),
        (ActionState.RECORDED, ActionState.APPLIED, False),
        (ActionState.SENT, ActionState.CANCELLED, False),
        (ProposalState.APPLYING, ActionState.APPLIED, False),
        (ActionState.SENT, ProposalState.APPLIED, False),
    ],
)
def test_moves(
    present: ProposalState | ActionState,
    following: ProposalState | ActionState,
    legal: bool,  # noqa: FBT001
) -> None:
    assert may_move(present, following) is legal
