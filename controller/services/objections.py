"""Why an action may not be sent, or not any more: asked before every request (S16-S18)."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Exists, OuterRef, Q

from controller.core.lifecycle import ProposalState
from controller.core.overrides import OverrideKind, digest
from controller.core.placement.plan_plain import PlainPlacement, nodes_of
from controller.core.types import Hold
from controller.models import Action, Proposal, holds, orders
from controller.models.clock import database_now
from controller.services import approvers, moving
from controller.services.rows import steered
from inventory.models import Policy, Service
from inventory.touched import touched

SEND_WITHIN_S: Final = approvers.EVIDENCE_S
PAIR_WITHIN_S: Final = 120.0
"""So long the second write of a pair is tried; then the first is undone (S5, K07)."""

UNDOING: Final = "It is taken back: "
PLACED: Final = Q(placement__isnull=True) | Q(is_bound=True)
"""Actions whose GPUs are promised, or of which nobody knows where they go."""


def conditions(action: Action) -> tuple[Q | Exists, ...]:
    """Return what has to hold in the very statement that claims an action."""
    in_mode = Service.objects.filter(pk=OuterRef("service"), mode__in=_modes(action))
    return *undo_conditions(action), Exists(in_mode), PLACED


def undo_conditions(action: Action) -> tuple[Q | Exists, ...]:
    """Return what has to hold in the very statement that claims it to be taken back (S16, S17)."""
    acts = Service.objects.filter(pk=OuterRef("service")).exclude(mode=Service.Mode.OBSERVE)
    stopped = holds.held() | holds.tripped() if by_itself(action) else holds.held()
    return ~stopped, ~orders.advisory(), Exists(acts)


def may_not_send(action: Action) -> str:
    """Return why the action must not be sent now, or nothing: asked before every send (S16-S18).

    Between recording and sending anything may have happened: a freeze, another mode or policy, an
    approval that expired or whose approver lost the right.
    """
    return next(_objections(action), "")


def _objections(action: Action) -> Iterator[str]:
    service, now = action.service, database_now()
    stops = holds.read()
    over = stops.automatic_over if by_itself(action) else stops.over
    hold = over(service.slug)
    if hold is not None:
        yield frozen(hold)
    since, what = _rests_on(action, now)
    if now - since > timedelta(seconds=SEND_WITHIN_S):
        never = "It never arrived" if action.attempts else "Not sent"
        yield f"{never} within {SEND_WITHIN_S:.0f} s of {what}: decided anew instead."
    yield from _changed_since(action)


def _rests_on(action: Action, now: datetime) -> tuple[datetime, str]:
    """Return when what an action rests on was last looked at, and what that was.

    While its instances are out of service discovery the signals are looked at all the time.
    """
    soft = action.soft
    if not soft:
        return action.recorded_at, "being recorded"
    over_s = soft["over_s"]
    return (now if over_s is None else datetime.fromtimestamp(over_s, UTC)), "the last look at it"


def _changed_since(action: Action) -> Iterator[str]:
    """Yield what an action rests on and is no longer so."""
    service, now = action.service, database_now()
    if service.mode not in _modes(action):
        yield f"The service is in mode {service.mode} now."
    yield from _overridden(action)
    revision = Policy.objects.filter(service=service).values_list("revision", flat=True).first()
    basis = action.decision or action.proposal
    if basis is not None and basis.policy_revision != revision:
        yield f"The policy is at revision {revision} now."
    if action.proposal is not None:
        looked_at = _rests_on(action, now)[0] if action.soft else None
        yield from approvers.objections(action.proposal, now, looked_at)
    moves = action.rearrangement
    if moves is not None and moves.state != ProposalState.APPLYING:
        yield f"The moves it belongs to are {moves.state}."
    if moves is not None:
        yield from moving.objections(moves)


def _overridden(action: Action) -> Iterator[str]:
    """Yield what speaks against an action by the overrides in force now (S17, A03)."""
    try:
        spec = steered(action.service, database_now())
    except (ObjectDoesNotExist, KeyError, ValueError):
        yield "The service's configuration can't be read any more."
        return
    advisory = spec.override(OverrideKind.ADVISORY)
    if advisory is not None:
        yield f"{advisory.by} lets the service only be observed: {advisory.reason}"
    if digest(spec.overrides) != action.overrides:
        yield "The overrides of the service have changed since it was decided."


def has_moved_on(action: Action) -> bool:
    """Return whether the nodes an action got GPUs of are not as they were then (S20)."""
    placement: PlainPlacement | None = action.placement
    if not action.is_bound or not placement:
        return False
    return placement["touched"] != touched(nodes_of(placement))


def _modes(action: Action) -> tuple[str, ...]:
    """Return the mode an action was decided under, the only one it may be sent in.

    An approval carries an automatic service too where the fleet's budget made the proposal, and
    where a person asked for the change. Nothing is ever sent of a service that is only observed.
    """
    if action.rearrangement is not None:
        rule = action.rearrangement.decided_by is None
        return (
            (Service.Mode.AUTOMATIC,) if rule else (Service.Mode.APPROVE, Service.Mode.AUTOMATIC)
        )
    if action.proposal is None:
        return (Service.Mode.AUTOMATIC,)
    if action.proposal.origin != Proposal.Origin.CONTROLLER:
        return (Service.Mode.APPROVE, Service.Mode.AUTOMATIC)
    decided = action.decision.mode if action.decision is not None else Service.Mode.APPROVE
    return (decided,) if decided != Service.Mode.OBSERVE else ()


def by_itself(action: Action) -> bool:
    """Return whether no person approved the action: an open breaker stops such ones alone."""
    if action.rearrangement is not None:
        return action.rearrangement.decided_by_id is None
    return action.proposal is None or action.proposal.rule_id is not None


def frozen(hold: Hold) -> str:
    """Return what is stopped, by whom and why."""
    if hold.is_breaker:
        return f"The circuit breaker of {hold.scope} is open: {hold.reason}"
    return f"Frozen ({hold.scope}) by {hold.by}: {hold.reason}"


def must_stand_still(action: Action) -> str:
    """Return why nothing at all may be sent of an action that is half done (S16, S17)."""
    stops, slug = holds.read(), action.service.slug
    hold = (stops.automatic_over if by_itself(action) else stops.over)(slug)
    if hold is not None:
        return frozen(hold)
    if action.service.mode == Service.Mode.OBSERVE:
        return "The service is only observed now."
    try:
        spec = steered(action.service, database_now())
    except (ObjectDoesNotExist, KeyError, ValueError):
        return "The service's configuration can't be read any more."
    advisory = spec.override(OverrideKind.ADVISORY)
    return f"{advisory.by} lets it only be observed: {advisory.reason}" if advisory else ""


def why_undo(action: Action) -> str:
    """Return why the half that is done is taken back, or nothing: then the other one is sent."""
    if action.error.startswith(UNDOING):
        return action.error
    changed = next(_changed_since(action), "")
    if is_late(action):
        changed = f"The other half was not taken within {PAIR_WITHIN_S:.0f} s. {action.error}"
    return f"{UNDOING}{changed}" if changed else ""


def is_late(action: Action, times: float = 1.0) -> bool:
    """Return whether an action has been half done for so many times what a pair may take."""
    since = action.partly_at
    within = timedelta(seconds=times * PAIR_WITHIN_S)
    return since is not None and database_now() - since > within
