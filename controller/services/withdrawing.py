"""Soft scale-in: those that are to go leave service discovery and are watched first (§9, S6, S23).

What is intended is recorded before anybody is taken out, and whoever is out bears the action's id,
so that whatever stops on the way, somebody finds them again: they go, or they return.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import F, Q
from django.db.models.functions import Now

from controller.core.lifecycle import IN_FLIGHT, ActionState, ProposalState
from controller.core.outlook_plain import from_plain
from controller.core.overrides import OverrideKind
from controller.core.policies import needs_no_metric
from controller.core.ports import (
    EFFECT_WITHIN_S,
    ActuatorError,
    Discovery,
    Going,
    RefusedError,
)
from controller.core.soft import (
    BACK_WITHIN_S,
    OUT_WITHIN_S,
    Soft,
    Step,
    over_goals,
    speaks_against,
)
from controller.core.types import Context, History, Instances, ServiceSpec
from controller.core.words import clean
from controller.models import Action, Proposal, ServiceStatus, holds
from controller.models.clock import database_now
from controller.services import actions, objections
from controller.services.actions import ActuatorOf
from controller.services.rows import order_of, steered
from inventory.models import Service

log = structlog.get_logger(__name__)

FENCE_S: Final = 1.5 * EFFECT_WITHIN_S
"""So long after nobody was to be taken out any more a request of before has arrived or never does.
"""

GONE_WITHIN_S: Final = 120.0
"""Who is there still so long after the count fell was not the one that went: it returns."""

DiscoveryOf = Callable[[Service], Discovery | None]
"""Who opens and closes the gates of a service; ``None`` where its cluster knows none."""

LoadOf = Callable[[Service, Sequence[str]], int | None]
"""How many requests instances still work on; ``None`` where nobody knows."""


def nobody_knows(_service: Service, _names: Sequence[str]) -> None:
    """Return that requests in flight are not known by instance."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Who acts on clusters, and how long instances are watched and may finish their work [s].

    ``max_age_s`` is how old the last look at a service may be.
    """

    actuator_of: ActuatorOf
    discovery_of: DiscoveryOf
    window_s: float
    drain_s: float
    max_age_s: float
    load_of: LoadOf = nobody_knows


def due() -> list[UUID]:
    """Return the actions for which somebody is out of service discovery, or may be; one query."""
    rows = Action.objects.filter(Q(state=ActionState.WITHDRAWN) | Q(is_out=True))
    return list(rows.order_by("recorded_at").values_list("pk", flat=True))


def run(pk: UUID, tools: Tools) -> ActionState:
    """Carry an action on by one step; safe to call again at any time (R05).

    One that takes instances away from where that can be done softly begins with that; any other
    is sent. Of one that has ended those return that are still out.
    """
    action = actions.find(pk)
    if action.state == ActionState.RECORDED and action.soft is None:
        return _begun(action, tools) or actions.run(pk, actuator_of=tools.actuator_of)
    if action.state == ActionState.WITHDRAWN:
        return _carried_on(action, tools)
    if action.is_out and action.state not in IN_FLIGHT:
        _bring_home(action, tools)
    return actions.run(pk, actuator_of=tools.actuator_of)


def _begun(action: Action, tools: Tools) -> ActionState | None:
    """Begin to take out who is to go; ``None`` where there is nobody, or nothing may be sent."""
    discovery = tools.discovery_of(action.service)
    if discovery is None or not _takes_away(action) or _why_not(action):
        return None
    going = _going(action, discovery)
    if isinstance(going, ActionState):
        return going
    said = clean(" ".join(going.said))
    if going.names:
        return _claimed(action, going.names, said, tools)
    Action.objects.filter(pk=action.pk, state=action.state).update(gone_at_once=said)
    return None


def _going(action: Action, discovery: Discovery) -> Going | ActionState:
    """Return who goes; where nobody can tell, it waits for the next look or has failed."""
    before = Instances(action.from_prefill, action.from_decode)
    order = order_of(action, action.service.slug)
    try:
        return discovery.going(order, before, now_s=database_now().timestamp())
    except RefusedError as fault:
        text = clean(f"Who is to go can't be told: {fault}")
        return actions.end(action, ActionState.FAILED, text)
    except ActuatorError as fault:
        text = clean(f"Who is to go can't be told yet: {fault}")
        Action.objects.filter(pk=action.pk, state=action.state).update(error=text)
        return ActionState.RECORDED


def _takes_away(action: Action) -> bool:
    return action.to_prefill < action.from_prefill or action.to_decode < action.from_decode


def _why_not(action: Action) -> str:
    if objections.has_moved_on(action):
        return "The nodes it was placed on have changed since."
    return objections.may_not_send(action)


def _claimed(action: Action, names: Sequence[str], said: str, tools: Tools) -> ActionState:
    """Record who is to leave, under the very conditions of a send, and take them out."""
    soft = Soft(
        tuple(names),
        asked_s=database_now().timestamp(),
        window_s=tools.window_s,
        drain_s=tools.drain_s,
        known=_known(action),
    )
    claimed = Action.objects.filter(
        *objections.conditions(action),
        *(Q(pk=action.pk), Q(state=ActionState.RECORDED), Q(attempts=action.attempts)),
    ).update(
        state=ActionState.WITHDRAWN,
        soft=soft.plain(),
        gone_at_once=said,
        is_out=True,
        attempts=F("attempts") + 1,
    )
    if not claimed:
        return actions.state_of(action.pk)
    return _taken_out(actions.find(action.pk), soft, tools)


def _known(action: Action) -> tuple[str, ...]:
    ctx = _context(action)
    return () if isinstance(ctx, str) else over_goals(ctx)


def _carried_on(action: Action, tools: Tools) -> ActionState:
    """Do what is next with those that are out: take out, wait, send, or let return."""
    soft = _soft_of(action)
    if soft is None:
        _put_back(action, tools)
        return actions.end(action, ActionState.FAILED, "What was kept of it can't be read.")
    if not soft.back and (against := _against(action, soft, tools)):
        return _returned(action, soft, against, tools)
    now_s = database_now().timestamp()
    step = soft.step(now_s)
    if step is Step.DRAIN:
        step = soft.step(now_s, tools.load_of(action.service, soft.names))
    return _STEPS[step](action, soft, tools)


def _soft_of(action: Action) -> Soft | None:
    """Return how far it is, ``None`` for a row gone wrong."""
    try:
        return Soft.from_plain(action.soft or {})
    except (KeyError, TypeError):
        return None


def _watched(_action: Action, _soft: Soft, _tools: Tools) -> ActionState:
    return ActionState.WITHDRAWN


def _given_up(action: Action, soft: Soft, tools: Tools) -> ActionState:
    text = f"They could not be taken out of service discovery in time. {action.error}"
    return _returned(action, soft, text, tools, failed=True)


def _sent(action: Action, soft: Soft, tools: Tools) -> ActionState:
    """Send it; what it rests on is what the signals say now."""
    if soft.over_s is None and not _kept(action, replace(soft, over_s=database_now().timestamp())):
        return actions.state_of(action.pk)
    return actions.run(action.pk, actuator_of=tools.actuator_of)


def _taken_out(action: Action, soft: Soft, tools: Tools) -> ActionState:
    """Take out whoever is not yet; asked once more before it, as a claim may be old (P02)."""
    discovery = tools.discovery_of(action.service)
    if discovery is None:
        return _returned(action, soft, "Its cluster is no longer acted on.", tools)
    if not _still(action):
        return actions.state_of(action.pk)
    try:
        discovery.take_out(
            action.service.slug,
            soft.names,
            action=str(action.pk),
            epoch=action.epoch,
            now_s=database_now().timestamp(),
        )
    except RefusedError as fault:
        text = f"They can't be taken out of service discovery: {fault}"
        return _returned(action, soft, text, tools, failed=True)
    except ActuatorError as fault:
        _kept(action, soft, error=f"Not all are out of service discovery yet: {fault}")
    else:
        _kept(action, replace(soft, out_s=database_now().timestamp()), error="")
    return actions.state_of(action.pk)


def _still(action: Action) -> bool:
    """Return whether a claim still holds: the last look before a pod is changed (S16)."""
    holding = Action.objects.filter(
        *objections.conditions(action),
        *(Q(pk=action.pk), Q(state=ActionState.WITHDRAWN), Q(attempts=action.attempts)),
    )
    return not (holds.by_environment() or holds.by_file()) and holding.exists()


def _returned(
    action: Action, soft: Soft, why: str, tools: Tools, *, failed: bool = False
) -> ActionState:
    """Note that they are to return, so that nobody sends it any more, and let them."""
    now_s = database_now().timestamp()
    text = why if why.endswith((".", "!")) else f"{why}."
    soft = soft.returning(clean(text), now_s, failed=failed)
    if not _kept(action, soft, attempts=F("attempts") + 1):
        return actions.state_of(action.pk)
    return _back(actions.find(action.pk), soft, tools)


def _back(action: Action, soft: Soft, tools: Tools) -> ActionState:
    """Let those return that are out; the action ends when they are back, or when that takes long.

    Who did not return by then is looked for as long as it takes (:func:`due`).
    """
    fault = _put_back(action, tools)
    late = database_now().timestamp() > (soft.back_s or 0.0) + BACK_WITHIN_S
    if fault and not late:
        _kept(action, soft, error=f"{soft.back} They are not all back yet: {fault}")
        return ActionState.WITHDRAWN
    if fault:
        text = f"{soft.back} They may still be out of service discovery: {fault}"
        return actions.end(action, ActionState.FAILED, text, ProposalState.STALE)
    state = ActionState.FAILED if soft.failed else ActionState.CANCELLED
    _settled(action)
    return actions.end(action, state, soft.back, ProposalState.STALE)


def _bring_home(action: Action, tools: Tools) -> None:
    """Let those return that an action that is over left out; forget them once nobody can be."""
    applied = action.applied_at
    if applied is not None and database_now() - applied < timedelta(seconds=GONE_WITHIN_S):
        return  # they are only about to go
    if fault := _put_back(action, tools):
        log.warning("somebody may be out still", action=str(action.pk), fault=fault)
    else:
        _settled(action)


def _put_back(action: Action, tools: Tools) -> str:
    """Let whoever bears the action's id serve again; returns what went wrong."""
    discovery = tools.discovery_of(action.service)
    if discovery is None:
        return ""
    now_s = database_now().timestamp()
    try:
        discovery.put_back(action.service.slug, action=str(action.pk), now_s=now_s)
    except ActuatorError as fault:
        return clean(str(fault))
    return ""


def _settled(action: Action) -> None:
    """Note that nobody is out, once no request that takes somebody out can still arrive."""
    soft = _soft_of(action)
    if soft is None or database_now().timestamp() > _decided_s(soft) + FENCE_S:
        Action.objects.filter(pk=action.pk).update(is_out=False)


def _decided_s(soft: Soft) -> float:
    """Return from when on nobody was to be taken out any more [s]."""
    return soft.back_s or soft.over_s or soft.asked_s + OUT_WITHIN_S


def _kept(action: Action, soft: Soft, **fields: object) -> bool:
    """Note how far it is, unless somebody else moved it meanwhile."""
    return bool(
        Action.objects.filter(
            pk=action.pk, state=ActionState.WITHDRAWN, attempts=action.attempts
        ).update(soft=soft.plain(), **fields)
    )


def _against(action: Action, soft: Soft, tools: Tools) -> str:
    """Return why those who are out return: a person, a change outside, or what the signals say."""
    if why := _why_not(action):
        return why
    ctx = _context(action)
    if isinstance(ctx, str):
        return ctx
    if told := _moved(action, ctx, tools):
        return told
    told = speaks_against(ctx, soft.known, by_itself=_by_signals(action, ctx.spec))
    if told:
        # As long as after a scale-in nothing is taken away again, so that nobody swings.
        ServiceStatus.objects.filter(service=action.service_id).update(last_scale_in_at=Now())
    return told


def _moved(action: Action, ctx: Context, tools: Tools) -> str:
    """Return whether the service is not as it was decided on, or was not seen lately."""
    seen = action.service.status.observed_at
    if seen is None or (database_now() - seen).total_seconds() > tools.max_age_s:
        return "The service was not seen lately."
    if ctx.state.resource_version != action.resource_version:
        return f"Changed outside meanwhile: the cluster holds {ctx.state.desired}."
    return ""


def _by_signals(action: Action, spec: ServiceSpec) -> bool:
    """Return whether signals asked for the change, not a person or a schedule (S6)."""
    if action.rearrangement_id is not None or spec.override(OverrideKind.PIN) is not None:
        return False
    asked = action.proposal
    if asked is not None and asked.origin != Proposal.Origin.CONTROLLER:
        return False
    return not needs_no_metric(spec.policy, database_now().timestamp())


def _context(action: Action) -> Context | str:
    """Return the service as it was last seen, or why that can't be told."""
    now = database_now()
    try:
        spec = steered(action.service, now)
        status = action.service.status
        return Context(
            now_s=now.timestamp(),
            spec=spec,
            state=status.state,
            signals=status.read_signals(),
            history=History(outlook=from_plain(status.outlook)),
            hold=None,
            gpus_free={},
        )
    except (ObjectDoesNotExist, KeyError, TypeError, ValueError) as fault:
        return clean(f"The service can't be judged: {type(fault).__name__}: {fault}")


_STEPS: Final[Mapping[Step, Callable[[Action, Soft, Tools], ActionState]]] = {
    Step.TAKE_OUT: _taken_out,
    Step.GIVE_UP: _given_up,
    Step.WATCH: _watched,
    Step.DRAIN: _watched,
    Step.SEND: _sent,
    Step.RETURN: _back,
}
