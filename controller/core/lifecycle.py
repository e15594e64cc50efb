"""The life of a proposal and of an action: which state may follow which, as one table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ProposalState(StrEnum):
    """Where a proposal stands."""

    PENDING = "pending"
    APPROVED = "approved"
    APPLYING = "applying"
    APPLIED = "applied"
    FAILED = "failed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    STALE = "stale"


class ActionState(StrEnum):
    """Where an action stands; ``unknown`` means sent without an answer."""

    RECORDED = "recorded"
    SENT = "sent"
    UNKNOWN = "unknown"
    APPLIED = "applied"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


_P = ProposalState
PROPOSAL_MOVES: Final[Mapping[ProposalState, frozenset[ProposalState]]] = {
    _P.PENDING: frozenset(
        {_P.APPROVED, _P.REJECTED, _P.EXPIRED, _P.SUPERSEDED, _P.WITHDRAWN}
    ),
    _P.APPROVED: frozenset(
        {_P.APPLYING, _P.STALE, _P.EXPIRED, _P.SUPERSEDED, _P.WITHDRAWN}
    ),
    _P.APPLYING: frozenset({_P.APPLIED, _P.FAILED, _P.STALE}),
    **{
        end: frozenset()
        for end in (
            _P.APPLIED,
            _P.FAILED,
            _P.REJECTED,
            _P.EXPIRED,
            _P.SUPERSEDED,
            _P.WITHDRAWN,
            _P.STALE,
        )
    },
}

_A = ActionState
ACTION_MOVES: Final[Mapping[ActionState, frozenset[ActionState]]] = {
    _A.RECORDED: frozenset({_A.SENT, _A.CANCELLED, _A.FAILED}),
    _A.SENT: frozenset({_A.APPLIED, _A.UNKNOWN, _A.FAILED}),
    _A.UNKNOWN: frozenset({_A.APPLIED, _A.FAILED, _A.SENT}),
    _A.APPLIED: frozenset({_A.READY, _A.FAILED}),
    _A.READY: frozenset(),
    _A.FAILED: frozenset(),
    _A.CANCELLED: frozenset(),
}

OPEN_PROPOSAL: Final = (_P.PENDING, _P.APPROVED, _P.APPLYING)
IN_FLIGHT: Final = (_A.RECORDED, _A.SENT, _A.UNKNOWN)
TERMINAL_PROPOSAL: Final = tuple(
    state for state, after in PROPOSAL_MOVES.items() if not after
)
TERMINAL_ACTION: Final = tuple(
    state for state, after in ACTION_MOVES.items() if not after
)


def may_follow(
    before: ProposalState | ActionState, after: ProposalState | ActionState
) -> bool:
    """Return whether ``after`` is a legal next state of ``before``."""
    if isinstance(before, ProposalState):
        return after in PROPOSAL_MOVES[before]
    return after in ACTION_MOVES[before]
