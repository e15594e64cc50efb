"""How far a decision has come: each milestone with its time and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from controller.core import phrases, words
from controller.core.lifecycle import ActionState, ProposalState
from controller.core.registration import InStep
from controller.core.soft import Soft
from controller.models import Action, Decision, Proposal
from inventory.models import Service, Workload


@dataclass(frozen=True, slots=True)
class Milestone:
    """One point on the way; ``at`` is absent while it lies ahead, ``took_s`` without a before."""

    word: str
    at: datetime | None
    took_s: float | None = None
    note: str = ""
    tone: str = "ok"

    @property
    def icon(self) -> str:
        """The icon of the milestone."""
        return "clock" if self.at is None else self.tone


def milestones(proposal: Proposal | None, action: Action | None) -> tuple[Milestone, ...]:
    """Return the way of an approved change; empty while nobody has approved it."""
    points = [*_verdict(proposal), *_sending(action, proposal)]
    return _timed(points)


@dataclass(frozen=True, slots=True)
class Waits:
    """The P/D ratios within which what a change starts is registered, and until when it waits.

    ``is_over`` says that the time is past or the change ended before.
    """

    low: float
    high: float
    until: datetime
    is_over: bool


def waits_of(action: Action | None, now: datetime, service: Service) -> Waits | None:
    """Return how an action of a service keeps its roles in step, ``None`` where nobody waits.

    One query for a service of a cluster of Kubernetes: there is nobody to wait without a gate.
    """
    if action is None or not action.in_step or _has_no_gate(service):
        return None
    rule = InStep.from_plain(action.in_step)
    until = datetime.fromtimestamp(rule.until_s, UTC)
    is_over = action.ended_at is not None or until <= now
    return Waits(rule.least_ratio, rule.most_ratio, until, is_over)


def _has_no_gate(service: Service) -> bool:
    gated = Workload.objects.filter(service=service).exclude(gate=Workload.Gating.NONE)
    return service.cluster.chooses_places and not gated.exists()


def outcome(
    decision: Decision, proposal: Proposal | None, action: Action | None
) -> tuple[Milestone, ...]:
    """Return the way of a decision: decided, proposed, approved, sent, applied, ready.

    In the order of time: a decision may confirm a proposal that was there before it.
    """
    alike = f"the first of {decision.count} ticks alike" if decision.count > 1 else ""
    points = [Milestone("decided", decision.first_at, note=alike)]
    if proposal is not None:
        points.append(Milestone("proposed", proposal.created_at))
        points += _verdict(proposal) or _ending(proposal)
    return _timed([*points, *_sending(action, proposal)])


def _verdict(proposal: Proposal | None) -> list[Milestone]:
    if proposal is None or proposal.decided_at is None:
        return []
    who = "" if proposal.rule_id else proposal.decider
    rejected = proposal.state == ProposalState.REJECTED
    reason = f": {proposal.decided_reason}" if proposal.decided_reason else ""
    points = [
        Milestone(
            "rejected" if rejected else "approved",
            proposal.decided_at,
            note=f"by {who}{reason}" if who else proposal.decided_reason,
            tone="muted" if rejected else "ok",
        )
    ]
    return points if rejected else points + _ending(proposal)


def _ending(proposal: Proposal) -> list[Milestone]:
    # A proposal that ended without an action says how; one with an action is told by the action.
    told = {ProposalState.EXPIRED, ProposalState.SUPERSEDED, ProposalState.WITHDRAWN}
    if proposal.state not in told | {ProposalState.STALE}:
        return []
    return [
        Milestone(
            proposal.get_state_display(),
            proposal.closed_at,
            note=proposal.closed_reason,
            tone="muted",
        )
    ]


def _sending(action: Action | None, proposal: Proposal | None) -> list[Milestone]:
    if action is None:
        awaited = proposal is not None and proposal.state in {
            ProposalState.APPROVED,
            ProposalState.APPLYING,
        }
        return [Milestone(word, None) for word in _STEPS] if awaited else []
    points = [
        Milestone("recorded", action.recorded_at),
        *_softly(action),
        Milestone("sent", action.sent_at),
        *_half(action),
        Milestone("applied", action.applied_at, note="read back from the cluster"),
        Milestone("ready", action.ready_at),
    ]
    if action.state not in {ActionState.FAILED, ActionState.CANCELLED}:
        return _starting(action, points)
    reached = [point for point in points if point.at is not None]
    tone = "crit" if action.state == ActionState.FAILED else "muted"
    return [*reached, Milestone(action.state, action.ended_at, note=action.error, tone=tone)]


SOFT_WORDS: Final = ("withdrawn", "not watched first")


def _softly(action: Action) -> list[Milestone]:
    """Return that those that are to go left service discovery first, or why some did not."""
    at_once = action.gone_at_once
    try:
        soft = Soft.from_plain(action.soft) if action.soft else None
    except (KeyError, TypeError):
        return []
    if soft is None:
        return [Milestone(SOFT_WORDS[1], action.recorded_at, note=at_once)] if at_once else []
    names = phrases.listed(soft.names)
    note = f"{names} out of service discovery"
    is_now = action.state == ActionState.WITHDRAWN
    if is_now and soft.back:
        note = f"{names} return: {soft.back}"
    elif is_now and soft.until_s is not None and soft.latest_s is not None:
        note += (
            f": watched for {words.seconds(soft.window_s)}, then sent as soon as nothing is in"
            f" flight, at the latest after {words.seconds(soft.drain_s)} more"
        )
    if at_once:
        note += f". {at_once}"
    at = datetime.fromtimestamp(soft.asked_s, UTC)
    return [Milestone(SOFT_WORDS[0], at, note=note, tone="busy" if is_now else "ok")]


def _half(action: Action) -> list[Milestone]:
    """Return that one of two writes was done alone, if it was."""
    if action.partly_at is None:
        return []
    is_now = action.state == ActionState.PARTLY
    note = action.error if is_now else "one of its two writes was done before the other"
    return [Milestone("half done", action.partly_at, note=note, tone="warn" if is_now else "ok")]


_STEPS = ("recorded", "sent", "applied", "ready")


def _starting(action: Action, points: Sequence[Milestone]) -> list[Milestone]:
    if action.state != ActionState.APPLIED:
        return list(points)
    grows = action.to_prefill > action.from_prefill or action.to_decode > action.from_decode
    word, note = ("starting", "instances start") if grows else ("draining", "instances finish")
    under_way = Milestone(word, action.applied_at, note=note, tone="busy")
    return [*points[:-1], under_way, points[-1]]


def _timed(points: Sequence[Milestone]) -> tuple[Milestone, ...]:
    done: list[Milestone] = []
    last: datetime | None = None
    reached = [(point.at, point) for point in points if point.at is not None]
    in_order = [point for _, point in sorted(reached, key=lambda each: each[0])]
    for point in [*in_order, *(point for point in points if point.at is None)]:
        took_s = (point.at - last).total_seconds() if point.at and last else None
        done.append(Milestone(point.word, point.at, took_s, point.note, point.tone))
        last = point.at or last
    return tuple(done)
