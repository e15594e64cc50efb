"""What the loop carries from tick to tick: from rows when live, as values in a replay."""

from dataclasses import dataclass, field, replace
from typing import Final

from controller.core.exchange import lasts, stage_of
from controller.core.outlook import Outlook
from controller.core.reasons import Code
from controller.core.room import grows, shrinks
from controller.core.types import Decision, Gate, History, Instances, Slo, Stage, Wish

Identity = tuple[str, ...]

UNWATCHED_S: Final = 60.0
"""Longer without a decision is a break: as much as the stabilisation window forgives."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest decision of a service: its row, its number, what makes it equal, its time [s]."""

    row: int | None
    seq: int
    identity: Identity
    last_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything remembered of one service. Breach times [s] are since when latency was over.

    ``asked`` is what an action under way wants, which the cluster may not show yet.
    """

    history: History = field(default_factory=History)
    head: Head | None = None
    current: Instances | None = None
    asked: Instances | None = None
    resource_version: str = ""
    ttft_breach_since_s: float | None = None
    tbt_breach_since_s: float | None = None


def identity(decision: Decision) -> Identity:
    """Return what two decisions must share to be one row: everything but the measured figures."""
    return tuple(
        str(part)
        for part in (
            decision.move,
            decision.gate,
            decision.code,
            decision.current,
            decision.raw,
            decision.final,
            decision.then,
            decision.mode,
            decision.policy_version,
        )
    )


def joins(decision: Decision, head: Head | None) -> bool:
    """Return whether the decision is one more of the newest row.

    What is carried out never is, nor what comes after a stretch that nobody watched: a row stands
    for the time from its first to its last without a break, and scale-in rests on that.
    """
    return _continues(decision, head, identity(decision))


def _continues(decision: Decision, head: Head | None, mine: Identity) -> bool:
    return (
        head is not None
        and decision.gate is not Gate.ACT
        and decision.now_s - head.last_s <= UNWATCHED_S
        and head.identity == mine
    )


def breach_since(
    decision: Decision, signal: str, goal_s: float, since_s: float | None
) -> float | None:
    """Return since when the latency is over its goal; an unreadable latency changes nothing."""
    value = decision.signals[signal].value if signal in decision.signals else None
    if value is None:
        return since_s
    return (since_s if since_s is not None else decision.now_s) if value > goal_s else None


def breaches(memory: Memory, decision: Decision, slo: Slo) -> tuple[float | None, float | None]:
    """Return since when TTFT and TBT are over their goals [s], after this decision."""
    return (
        breach_since(decision, "ttft_s", slo.ttft_s, memory.ttft_breach_since_s),
        breach_since(decision, "tbt_s", slo.tbt_s, memory.tbt_breach_since_s),
    )


def learnt(memory: Memory, decision: Decision) -> Outlook:
    """Return what is learnt of a service after a decision; one made blindly teaches nothing."""
    return decision.outlook if decision.outlook.at_s else memory.history.outlook


def remember(
    memory: Memory, decision: Decision, *, slo: Slo, keep_s: float, acted: bool
) -> Memory:
    """Return the memory after a decision, as the rows would give it back (S23).

    ``keep_s`` is how long wishes matter [s]; ``acted`` says whether the change was carried out.
    """
    history, now_s = memory.history, decision.now_s
    if decision.code is not Code.CONFIG_INVALID:
        kept = (wish for wish in history.wishes if wish.at_s >= now_s - keep_s)
        history = replace(history, wishes=(*kept, Wish(now_s, decision.raw)))
    history = replace(history, outlook=learnt(memory, decision))
    history = replace(history, stage=_stage(history.stage, decision, acted=acted))
    if acted and grows(decision.final, decision.current):
        history = replace(history, last_scale_out_s=now_s)
    if acted and shrinks(decision.final, decision.current):
        history = replace(history, last_scale_in_s=now_s)
    head, mine = memory.head or Head(None, 0, ()), identity(decision)
    seq = head.seq if _continues(decision, memory.head, mine) else head.seq + 1
    ttft_s, tbt_s = breaches(memory, decision, slo)
    return Memory(
        history=history,
        head=Head(None, seq, mine, decision.now_s),
        current=decision.final if acted else decision.current,
        ttft_breach_since_s=ttft_s,
        tbt_breach_since_s=tbt_s,
    )


def _stage(stage: Stage | None, decision: Decision, *, acted: bool) -> Stage | None:
    """Return the half of an exchange that is still to come after a decision."""
    if acted and decision.then is not None:
        return stage_of(decision, stage)
    return stage if stage is not None and lasts(stage, decision) else None
