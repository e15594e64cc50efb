"""What is sent to clusters: recorded first, sent once, read back before it counts (S10-S15).

An action is carried by a job that holds its id and nothing else; everything is read again here.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import django_rq
import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from controller.core import approval, phrases, soft
from controller.core.arrived import Arrived, arrived
from controller.core.decision_plain import stage_from, stage_plain
from controller.core.exchange import DRAIN_S, following
from controller.core.kube.writes import Between
from controller.core.lifecycle import IN_FLIGHT, ActionState, ProposalState, may_move
from controller.core.overrides import digest
from controller.core.placement.plan_plain import PlainPlacement
from controller.core.ports import (
    EFFECT_WITHIN_S,
    Actuator,
    ActuatorError,
    ConflictError,
    NotSentError,
    RefusedError,
    ScaleOrder,
    ScaleView,
)
from controller.core.reasons import Code
from controller.core.registration import InStep, PlainRule
from controller.core.starts import START_S
from controller.core.types import Instances, Mode, Role, Stage
from controller.models import Action, Proposal, Rearrangement, ServiceStatus, holds
from controller.models.clock import database_now
from controller.models.scopes import About, within
from controller.services import (
    approvers,
    audit,
    exchanges,
    leadership,
    objections,
    outside,
    queueing,
)
from controller.services.homes import homes_of
from controller.services.rows import basis_of, order_of, steered
from inventory.models import Service, Workload
from inventory.services import bindings

log = structlog.get_logger(__name__)

LONGEST_ACTOR: Final = 160
ANSWER_WITHIN_S = 90.0
"""Longer than a job may run: what is not answered by then is carried by nobody."""

READY_WITHIN_S = 900.0
REGISTERED_WITHIN_S = 60.0
"""How long after the last pause of registration everything is seen to serve."""

ActuatorOf = Callable[[Service], Actuator]


def enqueue(actions: Sequence[UUID]) -> None:
    """Ask workers to carry out recorded actions; the sweep finds them if nobody answers."""
    for action in actions:
        _enqueue("controller.tasks.run_action", str(action))


def enqueue_approved(pk: int) -> None:
    """Ask a worker to carry out the approved proposal; the sweep finds it if nobody answers."""
    _enqueue("controller.tasks.run_proposal", pk)


def _enqueue(task: str, argument: str | int) -> None:
    options = {"job_timeout": 60, "result_ttl": 60, "failure_ttl": 86_400}
    queueing.reach(
        lambda: django_rq.get_queue("actions").enqueue(task, argument, **options),
        "the sweep will send it",
        task=task,
    )


@dataclass(frozen=True, slots=True)
class Start:
    """What became of an approved proposal: the action to run, or why there is none."""

    action: UUID | None
    refused: str = ""


def start_approved(pk: int) -> Start:
    """Turn an approved proposal into a recorded action, if it may still run (S18).

    State, expiry, basis, freeze and the approver's right are checked here, at execution; the
    proposal becomes ``applying``, or ``stale`` or ``expired`` with the reason in words.
    """
    with transaction.atomic():
        proposal = (
            Proposal.objects.select_for_update(of=("self",))
            .select_related(
                "service__cluster", "service__slo", "service__policy", "decided_by", "rule"
            )
            .filter(pk=pk)
            .first()
        )
        if proposal is None:
            return Start(None, f"Proposal {pk} does not exist.")
        refused = _why_not(proposal)
        if refused is not None:
            _close(proposal, *refused)
            return Start(None, refused[1])
        proposal.state = ProposalState.APPLYING
        proposal.save(update_fields=["state"])
        return Start(_record(proposal))


Obstacle = tuple[ProposalState | None, str]
"""Why an approval can't be used: the state it leads to (``None``: leave it), and the words."""


def _why_not(proposal: Proposal) -> Obstacle | None:
    found = next(_obstacles(proposal), None)
    if found is not None and proposal.state != ProposalState.APPROVED:
        return None, found[1]  # what has ended stays as it ended (S18)
    return found


def _obstacles(proposal: Proposal) -> Iterator[Obstacle]:
    now = database_now()
    status = ServiceStatus.objects.filter(service=proposal.service_id).first()
    try:
        spec = steered(proposal.service, now)
    except (ObjectDoesNotExist, KeyError, ValueError):
        yield ProposalState.STALE, "The service's configuration can't be read any more."
        return
    if Action.objects.filter(service=proposal.service_id, state__in=IN_FLIGHT).exists():
        yield None, "Another change of this service is under way."
    reason = approval.check_runnable(
        state=ProposalState(proposal.state),
        expires_at_s=proposal.expires_at.timestamp(),
        now_s=now.timestamp(),
        fingerprint_approved=proposal.fingerprint,
        basis=basis_of(spec, _desired(status), status.resource_version if status else ""),
        body=Instances(proposal.to_prefill, proposal.to_decode),
        then=proposal.then,
    )
    if reason is not None:
        late = reason.code is Code.EXPIRED
        yield (ProposalState.EXPIRED if late else ProposalState.STALE), reason.text
    stops = holds.read()
    over = stops.over if proposal.rule_id is None else stops.automatic_over
    hold = over(spec.key)
    if hold is not None:
        yield ProposalState.STALE, objections.frozen(hold)
    for words in approvers.objections(proposal, now):
        yield ProposalState.STALE, words


def _digest(service: Service) -> str:
    """Return what tells the overrides in force over a service from others."""
    return digest(steered(service, database_now()).overrides)


def _close(proposal: Proposal, refusal: ProposalState | None, text: str) -> None:
    if refusal is None:
        return
    proposal.state = refusal
    proposal.closed_at = database_now()
    proposal.closed_reason = text
    proposal.save(update_fields=["state", "closed_at", "closed_reason"])
    audit.record(
        actor="controller",
        verb=f"proposal {refusal}",
        obj=proposal,
        after={"state": refusal},
        reason=text,
    )
    if refusal is ProposalState.STALE:
        exchanges.end(proposal.service_id, text, second=proposal.pk)


def _record(proposal: Proposal) -> UUID:
    action = Action.objects.create(
        id=uuid.uuid4(),
        service=proposal.service,
        decision=proposal.decision,
        proposal=proposal,
        actor=approvers.names(proposal)[:LONGEST_ACTOR],
        epoch=leadership.current_epoch(),
        reason=proposal.sentence,
        from_prefill=proposal.from_prefill,
        from_decode=proposal.from_decode,
        to_prefill=proposal.to_prefill,
        to_decode=proposal.to_decode,
        resource_version=proposal.resource_version,
        placement=proposal.placement,
        in_step=_in_step(proposal),
        overrides=_digest(proposal.service),
        recorded_at=Now(),
    )
    return action.pk


def action_of(  # noqa: PLR0913 - what a step of moves is made of
    service: Service,
    moves: Rearrangement,
    counts: tuple[Mapping[str, int], Mapping[str, int]],
    *,
    placement: PlainPlacement,
    resource_version: str,
    epoch: int,
) -> Action:
    """Record one service's step of an approved set of moves; ``counts`` are before and after."""
    before, after = counts
    return Action.objects.create(
        id=uuid.uuid4(),
        service=service,
        rearrangement=moves,
        actor=moves.decided_by.get_username() if moves.decided_by else "controller",
        epoch=epoch,
        reason=moves.sentence,
        from_prefill=before["prefill"],
        from_decode=before["decode"],
        to_prefill=after["prefill"],
        to_decode=after["decode"],
        resource_version=resource_version,
        placement=placement,
        overrides=_digest(service),
        recorded_at=Now(),
    )


def _in_step(proposal: Proposal) -> PlainRule | None:
    """Return who waits to be registered, reckoned from now: a person took their time."""
    status = ServiceStatus.objects.filter(service=proposal.service_id).first() or ServiceStatus()
    forecast = (proposal.decision and proposal.decision.forecast) or {}
    rule = InStep.of(
        Instances(proposal.to_prefill, proposal.to_decode),
        Instances(status.prefill_ready, status.decode_ready),
        steered(proposal.service, database_now()),
        now_s=database_now().timestamp(),
        lead_s=forecast.get("lead_s", START_S),
    )
    return None if rule is None else rule.plain()


def run(pk: UUID, *, actuator_of: ActuatorOf) -> ActionState:
    """Carry out a recorded action and read it back; safe to call again at any time (R05).

    The send is claimed by one conditional update, so that of two workers one sends, and none once
    the service is frozen or in another mode: that cancels it. Returns the state it is in
    afterwards. One whose instances are out of service discovery is sent once that has lasted long
    enough, and never cancelled here: they return first.
    """
    action = find(pk)
    if not _is_unsent(action):
        return ActionState(action.state)
    refused, ends = objections.may_not_send(action), ProposalState.FAILED
    if not refused and objections.has_moved_on(action):
        refused, ends = "The nodes it was placed on have changed since.", ProposalState.STALE
    if refused:
        if not action.is_out:
            end(action, ActionState.CANCELLED, refused, ends)
        return ActionState(action.state)
    claimed = Action.objects.filter(
        *objections.conditions(action), pk=pk, state=action.state, attempts=action.attempts
    ).update(state=ActionState.SENT, sent_at=Now(), attempts=F("attempts") + 1)
    if not claimed:
        return state_of(pk)
    action.state, action.attempts = ActionState.SENT, action.attempts + 1
    return _claimed(action, actuator_of)


def _is_unsent(action: Action) -> bool:
    """Return whether an action waits to be sent and nobody is still to be waited for."""
    if action.state == ActionState.WITHDRAWN:
        return soft.is_over(action.soft)
    return action.state == ActionState.RECORDED


def _unsent(action: Action) -> ActionState:
    """Return where an action stands that nothing was sent for."""
    return ActionState.WITHDRAWN if action.is_out else ActionState.RECORDED


def _claimed(action: Action, actuator_of: ActuatorOf) -> ActionState:
    actuator = actuator_of(action.service)
    if not _may_be_sent(action):
        return _not_sent(action, actuator_of)
    return _send(action, actuator)


def _may_be_sent(action: Action, *, undo: bool = False) -> bool:
    """Return whether a claim still holds: the last look before a request leaves (S16, P02).

    A worker may have stood still since. Whatever it sends now takes effect before
    :func:`resolve` may give the claim up.
    """
    since = database_now() - timedelta(seconds=ANSWER_WITHIN_S - EFFECT_WITHIN_S)
    holding = Action.objects.filter(
        *_conditions(action, undo=undo),
        *(Q(pk=action.pk), Q(state=ActionState.SENT), Q(attempts=action.attempts)),
        sent_at__gt=since,
    )
    return not (holds.by_environment() or holds.by_file()) and holding.exists()


def _conditions(action: Action, *, undo: bool) -> tuple[Q | Exists, ...]:
    return objections.undo_conditions(action) if undo else objections.conditions(action)


def _not_sent(action: Action, actuator_of: ActuatorOf) -> ActionState:
    """Begin anew with a claim that nothing was sent for, unless somebody gave it up already."""
    log.warning("not sent: its claim is over", action=str(action.pk), attempt=action.attempts)
    if not move(action, _unsent(action)):
        return state_of(action.pk)
    return run(action.pk, actuator_of=actuator_of)


def state_of(pk: UUID) -> ActionState:
    """Return where an action stands now."""
    return ActionState(Action.objects.values_list("state", flat=True).get(pk=pk))


def find(pk: UUID) -> Action:
    """Return an action with whatever is asked before it is sent."""
    return Action.objects.select_related(
        "service__cluster",
        "decision",
        "proposal__decided_by",
        "proposal__rule",
        "rearrangement__decided_by",
    ).get(pk=pk)


def _send(action: Action, actuator: Actuator, *, undo: bool = False) -> ActionState:
    try:
        actuator.apply(_order(action, undo=undo), now_s=database_now().timestamp())
    except ActuatorError as fault:
        return _not_taken(action, actuator, fault)
    return _read_back(action, actuator)


def _not_taken(action: Action, actuator: Actuator, fault: ActuatorError) -> ActionState:
    match fault:
        case NotSentError():
            return _nothing_sent(action, actuator, fault)
        case ConflictError():
            text = f"Changed outside since it was decided: {fault}"
            return _cut_short(action, actuator, text)
        case RefusedError():
            return _cut_short(action, actuator, f"The cluster refused: {fault}")
        case _:
            move(action, ActionState.UNKNOWN, error=f"No answer yet: {fault}")
            return ActionState.UNKNOWN


def _order(action: Action, *, undo: bool) -> ScaleOrder:
    """Return what is sent, with what has to hold between two writes (S5)."""
    spec = steered(action.service, database_now())
    return replace(
        order_of(action, action.service.slug),
        between=Between(
            spec.gpus_per_instance, spec.limits.max_gpus, (_from(action), _to(action))
        ),
        undo=undo,
        homes={} if undo else homes_of(action),
        may_go_on=partial(_may_be_sent, action, undo=undo),
    )


def _nothing_sent(action: Action, actuator: Actuator, fault: ActuatorError) -> ActionState:
    """Leave it for the sweep: the same action is sent again while it may be.

    What is half done stays half done.
    """
    found = _part_taken(action, actuator, f"What is left was not sent: {fault}")
    if found is None:
        move(action, _unsent(action), error=f"Nothing was sent: {fault}")
        return state_of(action.pk)
    return found


def _cut_short(action: Action, actuator: Actuator, text: str) -> ActionState:
    """End an action that the cluster said no to, unless a part of it was taken before (K07)."""
    found = _part_taken(action, actuator, text) if _has_parts(action) else None
    return end(action, ActionState.FAILED, text) if found is None else found


def _part_taken(action: Action, actuator: Actuator, text: str) -> ActionState | None:
    """Note that a part of an action was taken, or that nobody knows; ``None`` if nothing was."""
    try:
        seen = actuator.read(action.service.slug, now_s=database_now().timestamp())
    except ActuatorError as fault:
        if action.partly_at is not None:
            return _partly(action, text)
        move(action, ActionState.UNKNOWN, error=f"{text} Not read back yet: {fault}")
        return ActionState.UNKNOWN
    return _partly(action, text) if _arrived(action, seen) is Arrived.PART else None


def _partly(action: Action, text: str) -> ActionState:
    """Note that one of two writes is done; the clock of the pair runs from the first time on."""
    since = {} if action.partly_at is not None else {"partly_at": Now()}
    move(action, ActionState.PARTLY, error=text, **since)
    return state_of(action.pk)


def _arrived(action: Action, seen: ScaleView) -> Arrived:
    return arrived(
        seen,
        str(action.pk),
        before=_from(action),
        to=_to(action),
        version=action.resource_version,
    )


def _has_parts(action: Action) -> bool:
    """Return whether it takes several writes: both roles, or one role over several objects."""
    both = action.to_prefill != action.from_prefill and action.to_decode != action.from_decode
    return both or Workload.objects.filter(service=action.service_id).count() > len(Role)


def _read_back(action: Action, actuator: Actuator) -> ActionState:
    """Compare the cluster with the wish; only then does the action count as applied (S15)."""
    try:
        seen = actuator.read(action.service.slug, now_s=database_now().timestamp())
    except ActuatorError as fault:
        move(action, ActionState.UNKNOWN, error=f"Sent, not read back yet: {fault}")
        return ActionState.UNKNOWN
    if seen.desired == _to(action):
        return _applied(action, seen)
    if _arrived(action, seen) is Arrived.UNDONE:
        return _undone(action)
    text = f"Sent, but the cluster holds {seen.desired} instead of {_to(action)}."
    return end(action, ActionState.FAILED, text)


def _undone(action: Action) -> ActionState:
    why = action.error.removeprefix(objections.UNDOING)
    return end(action, ActionState.FAILED, f"Taken back, as only a part of it was done: {why}")


def _applied(action: Action, seen: ScaleView) -> ActionState:
    with transaction.atomic():
        if not move(action, ActionState.APPLIED, applied_at=Now(), error=""):
            return state_of(action.pk)
        Action.objects.filter(
            service=action.service_id, state=ActionState.APPLIED, ended_at__isnull=True
        ).exclude(pk=action.pk).update(
            ended_at=Now(), error="Overtaken by a later action before all of it was ready."
        )
        _close_proposal(action, ProposalState.APPLIED, "")
        # Before the status, as a tick locks them.
        outside.overtake(action.service_id, by=action.actor, why=_overtaking(action))
        ServiceStatus.objects.filter(service=action.service_id).update(
            prefill_desired=seen.desired.prefill,
            decode_desired=seen.desired.decode,
            resource_version=seen.resource_version,
            **_scaled_now(action),
            **_promised(action, seen),
        )
    return ActionState.APPLIED


def _overtaking(action: Action) -> str:
    return f"A change was applied since: {phrases.counts(_from(action), _to(action))}."


def _scaled_now(action: Action) -> dict[str, Now]:
    """Return what starts which cooldown: only a change that a cluster took."""
    grew = action.to_prefill > action.from_prefill or action.to_decode > action.from_decode
    shrank = action.to_prefill < action.from_prefill or action.to_decode < action.from_decode
    started = {"last_scale_out_at": grew, "last_scale_in_at": shrank}
    return {column: Now() for column, is_so in started.items() if is_so}


def _promised(action: Action, seen: ScaleView) -> dict[str, object]:
    """Return the second half of an exchange: it may wait from when a cluster took the first."""
    source, decision = action.proposal or action.decision, action.decision
    if source is None or decision is None or source.then is None:
        return {}
    now_s = database_now().timestamp()
    stage = Stage(
        before=_from(action),
        first=_to(action),
        then=source.then,
        since_s=now_s,
        until_s=now_s + DRAIN_S,
        policy_version=decision.policy_revision,
        mode=Mode(decision.mode),
        resource_version=seen.resource_version,
        proposal=action.proposal_id,
    )
    waiting = ServiceStatus.objects.filter(service=action.service_id)
    earlier = stage_from(waiting.values_list("exchange", flat=True).first())
    return {"exchange": stage_plain(following(stage, earlier))}


def move(action: Action, state: ActionState, **fields: object) -> bool:
    """Move an action on in one conditional update; returns whether it stood where it was read.

    What has ended stays as it ended, no move leaves the table (S18), and who made an earlier
    attempt moves nothing of a later one (P02).
    """
    present = ActionState(action.state)
    if present != state and not may_move(present, state):
        return False
    moved = Action.objects.filter(
        pk=action.pk, state=action.state, attempts=action.attempts
    ).update(state=state, **fields)
    if moved:
        action.state = state
    return bool(moved)


def call_off(action: Action, text: str) -> None:
    """Cancel a recorded action whose place is no longer what was decided (I01, S20).

    What a person approved for that place ends as stale; the next tick proposes anew.
    """
    end(action, ActionState.CANCELLED, text, ProposalState.STALE)


def call_off_within(about: About, text: str, *, approved: bool = True) -> None:
    """Cancel what is recorded in a scope and not sent; what was approved ends as stale.

    Without ``approved`` what a person approved stays. Those whose instances are out of service
    discovery are looked at at once: they end when their instances are back.
    """
    waiting = Action.objects.filter(within(about), state=ActionState.RECORDED)
    for action in waiting.select_related("proposal", "rearrangement").order_by("recorded_at"):
        if approved or objections.by_itself(action):
            end(action, ActionState.CANCELLED, text, ProposalState.STALE)
    out = Action.objects.filter(within(about), state=ActionState.WITHDRAWN)
    for pk in out.values_list("pk", flat=True):
        transaction.on_commit(partial(enqueue, [pk]), robust=True)


def end(
    action: Action,
    state: ActionState,
    text: str,
    proposal: ProposalState = ProposalState.FAILED,
) -> ActionState:
    """End an action with the reason why, unless somebody moved it meanwhile."""
    sending = action.state in IN_FLIGHT
    with transaction.atomic():
        if move(action, state, ended_at=Now(), error=text):
            bindings.release(action.pk, database_now())
            _close_proposal(action, proposal, text)
            if sending:  # what could not be carried out once is decided anew
                exchanges.end(action.service_id, text)
            audit.record(
                actor="controller",
                verb=f"action {state}",
                obj=action,
                after={"state": state},
                reason=text,
            )
    return ActionState(action.state)


def _close_proposal(action: Action, state: ProposalState, text: str) -> None:
    if action.proposal_id is not None:
        Proposal.objects.filter(pk=action.proposal_id, state=ProposalState.APPLYING).update(
            state=state, closed_at=Now(), closed_reason=text
        )


def resolve(pk: UUID, *, actuator_of: ActuatorOf) -> ActionState:
    """Find out what became of an action whose answer is missing, and finish it (S14, K04, K05).

    Reads first. If the cluster still stands where the action found it once no request can arrive
    any more, the same order is sent again, which the cluster takes once; if it moved elsewhere,
    the action has failed. Of a pair that is half done the other half is sent, or the first is
    taken back (S5, K07).
    """
    action = find(pk)
    if action.state not in (ActionState.SENT, ActionState.UNKNOWN, ActionState.PARTLY):
        return ActionState(action.state)
    # Before the read: what arrives between the two would be missed.
    may_come = _may_still_arrive(action)
    try:
        seen = actuator_of(action.service).read(
            action.service.slug, now_s=database_now().timestamp()
        )
    except ActuatorError as fault:
        return _unanswered(action, fault, may_come=may_come)
    if may_come and _arrived(action, seen) not in (Arrived.ALL, Arrived.UNDONE):
        return _may_come(action)
    return _as_arrived(action, seen, actuator_of)


def _as_arrived(action: Action, seen: ScaleView, actuator_of: ActuatorOf) -> ActionState:
    found = _arrived(action, seen)
    if found is Arrived.ALL:
        return _applied(action, seen)
    if found is Arrived.PART:
        return _half_way(action, seen, actuator_of)
    if found is Arrived.NOTHING:
        return _once_more(action, actuator_of)
    text = f"Changed outside meanwhile: the cluster holds {seen.desired}."
    return _undone(action) if found is Arrived.UNDONE else end(action, ActionState.FAILED, text)


def _unanswered(action: Action, fault: ActuatorError, *, may_come: bool) -> ActionState:
    if action.state == ActionState.PARTLY:
        if objections.is_late(action, 2.0):
            text = f"Stopped half way, and it can't be read: {fault} {action.error}"
            end(action, ActionState.FAILED, text)
        return state_of(action.pk)
    if isinstance(fault, RefusedError) and not may_come:
        return end(action, ActionState.FAILED, f"Sent, and it can't be read back: {fault}")
    move(action, ActionState.UNKNOWN, error=f"No answer yet: {fault}")
    return state_of(action.pk)


def _half_way(action: Action, seen: ScaleView, actuator_of: ActuatorOf) -> ActionState:
    """Send the half that is missing, take back the one that is done, or wait for either.

    While the service is frozen or only observed neither is sent (S16, S17); it ends where it
    stands once it is late.
    """
    if action.state != ActionState.PARTLY:
        return _partly(action, action.error or "Only a part of it arrived.")
    still = objections.must_stand_still(action)
    if objections.is_late(action, 2.0 if not still else 1.0):
        text = f"Stopped half way: the cluster holds {seen.desired}. {still or action.error}"
        return end(action, ActionState.FAILED, text)
    if not still:
        return _other_half(action, objections.why_undo(action), actuator_of)
    return ActionState.PARTLY


def _may_come(action: Action) -> ActionState:
    move(action, ActionState.UNKNOWN, error="No answer yet, and it may still arrive.")
    return state_of(action.pk)


def _other_half(action: Action, undoing: str, actuator_of: ActuatorOf) -> ActionState:
    """Claim an action that is half done, and send what is missing or take back what is done."""
    error = undoing or action.error
    claimed = Action.objects.filter(
        *_conditions(action, undo=bool(undoing)),
        *(Q(pk=action.pk), Q(state=ActionState.PARTLY), Q(attempts=action.attempts)),
    ).update(state=ActionState.SENT, sent_at=Now(), attempts=F("attempts") + 1, error=error)
    if not claimed:
        return state_of(action.pk)
    action.state, action.attempts, action.error = ActionState.SENT, action.attempts + 1, error
    actuator = actuator_of(action.service)
    if not _may_be_sent(action, undo=bool(undoing)):
        return _partly(action, error)
    return _send(action, actuator, undo=bool(undoing))


def _once_more(action: Action, actuator_of: ActuatorOf) -> ActionState:
    """Send an order that never arrived again under its id, if it still may and still fits."""
    if action.state == ActionState.PARTLY:
        return end(action, ActionState.FAILED, f"Nothing of it is left. {action.error}")
    move(action, _unsent(action))
    return run(action.pk, actuator_of=actuator_of)


def _may_still_arrive(action: Action) -> bool:
    """Return whether the last request of an action may be under way, so that nothing ends it.

    Ended too early, a slow one would take effect after the freeze was shown as complete, or beside
    what somebody else wrote. Of what is half done all requests were answered.
    """
    sent_at = action.sent_at
    if sent_at is None or action.state == ActionState.PARTLY:
        return False
    within = timedelta(seconds=ANSWER_WITHIN_S)
    return database_now() - sent_at < within


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep found to do: proposals to start, actions to run and to resolve."""

    approved: list[int]
    recorded: list[UUID]
    unanswered: list[UUID]
    cluster_of: Mapping[UUID, UUID]


def due(now: datetime) -> Due:
    """Return everything accepted that nobody carries at ``now``: nothing accepted is lost.

    What goes to clusters that owe no answer comes first, so that one that is slow keeps nobody
    waiting (K06).
    """
    late = now - timedelta(seconds=ANSWER_WITHIN_S)
    waits = Q(state=ActionState.RECORDED, recorded_at__lt=now - timedelta(seconds=3))
    unanswered = Q(state__in=(ActionState.UNKNOWN, ActionState.PARTLY))
    unanswered |= Q(state=ActionState.SENT, sent_at__lt=late)
    owes = Action.objects.filter(
        service__cluster=OuterRef("service__cluster"),
        state__in=(ActionState.SENT, ActionState.UNKNOWN),
    )
    found = list(
        Action.objects.filter(waits | unanswered)
        .annotate(owed=Exists(owes))
        .order_by("owed", "recorded_at")
        .values_list("pk", "state", "service__cluster")
    )
    return Due(
        approved=list(
            Proposal.objects.filter(state=ProposalState.APPROVED).values_list("pk", flat=True)
        ),
        recorded=[pk for pk, state, _ in found if state == ActionState.RECORDED],
        unanswered=[pk for pk, state, _ in found if state != ActionState.RECORDED],
        cluster_of={pk: cluster for pk, _, cluster in found},
    )


def follow(now: datetime) -> None:
    """Close applied actions whose instances are ready, and those that never became so (L2)."""
    applied = Action.objects.filter(
        state=ActionState.APPLIED, ended_at__isnull=True
    ).select_related("service__status")
    for action in applied:
        try:
            _followed(action, now)
        except (KeyError, TypeError, ValueError):
            log.exception("an applied action can't be followed", action=str(action.pk))


def _followed(action: Action, now: datetime) -> None:
    status = getattr(action.service, "status", None) or ServiceStatus()
    if action.applied_at is None:
        return
    observed_at = status.observed_at
    is_seen = observed_at and observed_at > action.applied_at
    if is_seen and _is_ready(status, _to(action)) and _have_moved(status, action.placement):
        move(action, ActionState.READY, ready_at=observed_at, ended_at=Now())
    elif now > _ready_by(action, action.applied_at):
        end(action, ActionState.FAILED, _not_ready(status, _to(action)))


def _ready_by(action: Action, applied_at: datetime) -> datetime:
    """Return when all must serve; nobody is late who was to wait for the other role."""
    latest = applied_at + timedelta(seconds=READY_WITHIN_S)
    try:
        rule = order_of(action, action.service.slug).in_step
    except (KeyError, TypeError, ValueError):  # a row gone wrong, which makes nobody wait
        return latest
    if rule is None:
        return latest
    until = datetime.fromtimestamp(rule.until_s + REGISTERED_WITHIN_S, UTC)
    return max(latest, until)


def _is_ready(status: ServiceStatus, want: Instances) -> bool:
    return (
        Instances(status.prefill_ready, status.decode_ready) == want
        and status.prefill_draining + status.decode_draining == 0
    )


def _have_moved(status: ServiceStatus, placement: PlainPlacement | None) -> bool:
    """Return whether nobody is left where a change moved them from."""
    moves = placement.get("moves", []) if placement else []
    leaving = {move["instance"] for move in moves}
    return leaving.isdisjoint(one["name"] for one in status.instances)


def _not_ready(status: ServiceStatus, want: Instances) -> str:
    lacking = [
        f"{getattr(status, f'{role}_ready')} of {want.of(role)} {role} instances are ready"
        for role in Role
    ]
    return f"After {READY_WITHIN_S / 60:.0f} min {' and '.join(lacking)}."


def _from(action: Action) -> Instances:
    return Instances(action.from_prefill, action.from_decode)


def _to(action: Action) -> Instances:
    return Instances(action.to_prefill, action.to_decode)


def _desired(status: ServiceStatus | None) -> Instances:
    if status is None:
        return Instances(0, 0)
    return Instances(status.prefill_desired, status.decode_desired)
