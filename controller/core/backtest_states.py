"""Where a backtest stands, where its load comes from, and which moves are legal, as one table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a backtest stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


# running -> queued: the worker died, and the run begins again.
MOVES: Final[Mapping[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.DONE, State.FAILED, State.CANCELLED, State.QUEUED}),
    State.DONE: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
ENDED: Final = tuple(state for state, following in MOVES.items() if not following)


class Source(StrEnum):
    """Where the load of a backtest comes from."""

    TRACE = "trace"
    RECORDED = "recorded"
    GENERATED = "generated"
