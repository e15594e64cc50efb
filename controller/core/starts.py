"""Start-up times, from the counts of a role seen tick by tick."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from controller.core.outlook import Learnt, Outlook, Started
from controller.core.types import Context, Role, RoleState

START_S: Final = 120.0
"""Start-up time until some starts have been seen."""

KEPT: Final = 20
SLOW_FRAC: Final = 0.9
"""Of start-up times the percentile that is planned with."""

LONGEST_LEAD_S: Final = 1800.0

OVERDUE_TIMES: Final = 2.0
"""A start that takes this many times as long as they usually do is not counted on,"""

OVERDUE_S: Final = 300.0
"""if it has taken at least this long [s]."""


def counted(past: Learnt, state: RoleState, now_s: float, limit_s: float) -> Learnt:
    """Return what the counts of one role say about start-up times, first in first out.

    A start is seen when more instances are coming than before, and its end when more are up;
    times are as fine as the ticks. Where fewer are coming than are waited for, starts were taken
    back or have failed: the newest are forgotten. A start that took longer than ``limit_s`` (see
    :func:`limit_s`) counts as that long: it waited for a node more than it loaded.
    """
    wished = state.up + state.coming
    if wished == past.wished and state.up == past.ready and not past.waits:
        return past
    first_look = not past.wished and not past.ready
    waits = list(past.waits)
    took = _ended(waits, 0 if first_look else state.up - past.ready, now_s)
    more = state.coming - sum(each.instances for each in waits)
    if more > 0:
        waits.append(Started(now_s, more))
    else:
        _take_back(waits, -more)
    kept = [*past.took_s, *(min(s, limit_s) for s in took)][-KEPT:]
    return replace(past, took_s=tuple(kept), waits=tuple(waits), wished=wished, ready=state.up)


def _ended(waits: list[Started], came: int, now_s: float) -> list[float]:
    """Take ``came`` instances off the oldest starts; returns how long each took [s]."""
    took = []
    while came > 0 and waits:
        first = waits[0]
        some = min(came, first.instances)
        took.extend([now_s - first.at_s] * min(some, KEPT))
        came -= some
        waits[0] = Started(first.at_s, first.instances - some)
        if not waits[0].instances:
            del waits[0]
    return took


def _take_back(waits: list[Started], count: int) -> None:
    """Take ``count`` instances off the newest starts."""
    while count > 0 and waits:
        last = waits.pop()
        if last.instances > count:
            waits.append(Started(last.at_s, last.instances - count))
        count -= last.instances


def limit_s(lead_s: float) -> float:
    """Return how long a start may take [s] before it is not counted on, by the usual time."""
    return max(OVERDUE_TIMES * lead_s, OVERDUE_S)


def overdue(learnt: Learnt, state: RoleState, now_s: float, limit_s: float) -> int:
    """Return the wished instances of a role that have failed or start for over ``limit_s``."""
    late = sum(each.instances for each in learnt.waits if now_s - each.at_s > limit_s)
    return state.lost + min(late, state.coming)


def lead_s(ctx: Context, outlook: Outlook) -> float:
    """Return how long a start takes [s]: the operator's figure, or the slower role's own.

    A role that has not been seen starting takes what starts on its hardware take other services,
    ``Context.usual_start_s``; ``START_S`` where nobody's are known.
    """
    given, others = ctx.spec.policy.lead_s, ctx.usual_start_s
    if given is not None:
        return given
    known = []
    for role, learnt in ((Role.PREFILL, outlook.prefill), (Role.DECODE, outlook.decode)):
        own_s = slow_s(learnt)
        known.append(others.get(ctx.spec.hardware[role]) if own_s is None else own_s)
    return min(max((s for s in known if s is not None), default=START_S), LONGEST_LEAD_S)


def slow_s(learnt: Learnt) -> float | None:
    """Return the 90th percentile of the start-up times seen [s], ``None`` before the first."""
    return _slow(learnt.took_s)


def usual(seen: Iterable[tuple[str, Learnt]]) -> Mapping[str, float]:
    """Return the 90th percentile of start-up times [s] by hardware, over all of these roles.

    ``seen`` is (hardware, what was learnt of a role on it).
    """
    by_hardware: dict[str, list[float]] = {}
    for hardware, learnt in seen:
        if learnt.took_s:
            by_hardware.setdefault(hardware, []).extend(learnt.took_s)
    return {kind: s for kind, took in by_hardware.items() if (s := _slow(took)) is not None}


def _slow(took_s: Sequence[float]) -> float | None:
    if not took_s:
        return None
    times = sorted(took_s)
    return times[min(int(SLOW_FRAC * len(times)), len(times) - 1)]
