"""The legal states and moves of proposals and actions, as two tables."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class ProposalState(StrEnum):
    """Where a proposal stands on its way from a decision to an action."""

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
    """Where a write to a cluster stands.

    Recorded before it is sent; withdrawn while those that are to go are out of service discovery
    and only watched (HeteroScale §9); unknown when no answer came (S14); partly when one of its
    two writes is done (S5); applied once a read after the write returned the value (S15); ready
    once the instances serve.
    """

    RECORDED = "recorded"
    WITHDRAWN = "withdrawn"
    SENT = "sent"
    UNKNOWN = "unknown"
    PARTLY = "partly"
    APPLIED = "applied"
    READY = "ready"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SuggestionState(StrEnum):
    """Where a suggestion of another ratio and target stands: forming, open, or how it ended."""

    FORMING = "forming"
    OPEN = "open"
    ADOPTED = "adopted"
    DISMISSED = "dismissed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


_P = ProposalState
_A = ActionState

PROPOSAL_MOVES: Final[Mapping[ProposalState, frozenset[ProposalState]]] = {
    _P.PENDING: frozenset(
        {_P.APPROVED, _P.REJECTED, _P.EXPIRED, _P.SUPERSEDED, _P.WITHDRAWN},
    ),
    _P.APPROVED: frozenset(
        {_P.APPLYING, _P.STALE, _P.EXPIRED, _P.SUPERSEDED, _P.WITHDRAWN},
    ),
    _P.APPLYING: frozenset({_P.APPLIED, _P.FAILED, _P.STALE}),
    _P.APPLIED: frozenset(),
    _P.FAILED: frozenset(),
    _P.REJECTED: frozenset(),
    _P.EXPIRED: frozenset(),
    _P.SUPERSEDED: frozenset(),
    _P.WITHDRAWN: frozenset(),
    _P.STALE: frozenset(),
}

# sent -> recorded and unknown -> recorded: a read showed that the write did not arrive, so the
# same action is sent again under the same id (K05); it is withdrawn instead of recorded while its
# instances are out of service discovery. A conflict fails it instead: re-decide (K01).
# partly -> sent: the write that is left is sent under the same id, or the one that is done is
# undone, which ends as failed (K07).
ACTION_MOVES: Final[Mapping[ActionState, frozenset[ActionState]]] = {
    _A.RECORDED: frozenset({_A.WITHDRAWN, _A.SENT, _A.CANCELLED, _A.FAILED}),
    _A.WITHDRAWN: frozenset({_A.SENT, _A.CANCELLED, _A.FAILED}),
    _A.SENT: frozenset({_A.APPLIED, _A.UNKNOWN, _A.PARTLY, _A.FAILED, _A.RECORDED, _A.WITHDRAWN}),
    _A.UNKNOWN: frozenset({_A.APPLIED, _A.PARTLY, _A.FAILED, _A.RECORDED, _A.WITHDRAWN}),
    _A.PARTLY: frozenset({_A.SENT, _A.APPLIED, _A.UNKNOWN, _A.FAILED}),
    _A.APPLIED: frozenset({_A.READY, _A.FAILED}),
    _A.READY: frozenset(),
    _A.FAILED: frozenset(),
    _A.CANCELLED: frozenset(),
}

TERMINAL_PROPOSALS: Final = frozenset(s for s, moves in PROPOSAL_MOVES.items() if not moves)
OPEN_PROPOSALS: Final = frozenset(s for s, moves in PROPOSAL_MOVES.items() if moves)
TERMINAL_ACTIONS: Final = frozenset(s for s, moves in ACTION_MOVES.items() if not moves)
OPEN_ACTIONS: Final = frozenset(s for s, moves in ACTION_MOVES.items() if moves)
LIVE_SUGGESTIONS: Final = frozenset({SuggestionState.FORMING, SuggestionState.OPEN})
# At most one of these per service (S11).
IN_FLIGHT: Final = frozenset({_A.RECORDED, _A.WITHDRAWN, _A.SENT, _A.UNKNOWN, _A.PARTLY})


def may_move(present: ProposalState | ActionState, following: ProposalState | ActionState) -> bool:
    """Return whether ``following`` may come directly after ``present``; no move leaves a table."""
    if isinstance(present, ProposalState):
        return isinstance(following, ProposalState) and following in PROPOSAL_MOVES[present]
    return isinstance(following, ActionState) and following in ACTION_MOVES[present]
