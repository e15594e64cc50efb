"""Where an import stands and which moves are legal, as one table."""

from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet

from inventory.models import ImportRun

State = ImportRun.State

# planning -> queued and applying -> asked: the worker died, and it begins again.
# applying -> planned: the inventory changed meanwhile, and the plan is to be looked at again.
MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.PLANNING, State.CANCELLED}),
    State.PLANNING: frozenset({State.PLANNED, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.PLANNED: frozenset({State.QUEUED, State.ASKED, State.CANCELLED}),
    State.ASKED: frozenset({State.APPLYING, State.CANCELLED}),
    State.APPLYING: frozenset(
        {State.APPLIED, State.PLANNED, State.FAILED, State.CANCELLED, State.ASKED}
    ),
    State.APPLIED: frozenset({State.REVERTED}),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.REVERTED: frozenset(),
}


def move(rows: QuerySet[ImportRun], following: State, **fields: Any) -> int:  # noqa: ANN401
    """Take runs to the state that follows, where the table allows it; returns how many."""
    before = [state for state in State if following in MOVES[state]]
    return rows.filter(state__in=before).update(state=following, **fields)
