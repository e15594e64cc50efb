"""Placement carried out: recorded actions get their GPUs, or end with the reason why not.

One cycle at a time computes on the fleet as it is then; that no GPU has two owners is the
database's rule besides (S19, I07).
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from uuid import UUID

import django_rq
import structlog
from django.db import IntegrityError, connection, transaction

from controller.core.lifecycle import ActionState
from controller.core.placement.plan_plain import (
    NOWHERE,
    PlainPlace,
    PlainPlacement,
    asked_of,
    nodes_of,
    placement_of,
    what_matters,
)
from controller.core.placement.preview import Situation
from controller.core.placement.values import Plan, Request
from controller.core.placement.weaker import trimmed
from controller.core.types import Instances
from controller.core.words import clean
from controller.models import Action
from controller.models.clock import database_now
from controller.services import actions, queueing
from inventory.services.bindings import NoLongerFreeError, Place, bind
from inventory.services.locks import lock_for_binding
from inventory.snapshot import newest_version
from inventory.touched import touched

log = structlog.get_logger(__name__)

CYCLE_LOCK: Final = 6_020_250
"""The advisory lock under which one placement cycle runs at a time."""

LONGEST: Final = 100
"""Characters of what a place is called."""

TRIES: Final = 3
"""A cycle is computed so often while the inventory is edited under it."""

ReadSituation = Callable[[], Situation]


def enqueue() -> None:
    """Ask a worker for a placement cycle; the sweep runs one if nobody answers."""
    options = {"job_timeout": 60, "result_ttl": 60, "failure_ttl": 86_400}
    queueing.reach(
        lambda: django_rq.get_queue("placement").enqueue("controller.tasks.place", **options),
        "the sweep will place",
    )


def place_due(read: ReadSituation) -> list[UUID]:
    """Promise GPUs to the recorded actions that have none yet; returns those that have them now.

    The cycle is computed again on the fleet as it is. Where that differs from what was decided or
    approved so that it matters, the action is called off and decided anew. A cycle during which
    the inventory was edited is computed again (I01); after ``TRIES`` the sweep takes it up.
    """
    for _ in range(TRIES):
        try:
            with transaction.atomic():
                return _cycle(read)
        except _EditedError as fault:
            log.info("the inventory changed during a cycle", was=fault.was, now=fault.now)
    return []


class _EditedError(Exception):
    """The inventory is at another version than the one a cycle started from."""

    def __init__(self, was: int, now: int) -> None:
        super().__init__(f"inventory version {was} has become {now}")
        self.was, self.now = was, now


def _cycle(read: ReadSituation) -> list[UUID]:
    _alone()
    lock_for_binding()
    waiting = list(
        Action.objects.select_for_update(of=("self",))
        .filter(state=ActionState.RECORDED, is_bound=False, placement__isnull=False)
        .select_related("service__cluster", "proposal__decided_by", "decision")
        .order_by("recorded_at", "pk")
    )
    if not waiting:
        return []
    situation = read()
    moves = [action for action in waiting if action.rearrangement_id is not None]
    bound = [action.pk for action in moves if _is_settled(action, Plan(), situation)]
    if bound:
        # Where moves go was approved by name: the others are placed around them.
        situation = replace(read(), version=situation.version)
    chosen = [action for action in waiting if action.rearrangement_id is None]
    plan = situation.plan([_request(action) for action in chosen])
    bound += [action.pk for action in chosen if _is_settled(action, plan, situation)]
    # The nodes that were bound are locked by now: whoever edits them later changes the digest.
    now = newest_version()
    if now != situation.version:
        raise _EditedError(situation.version, now)
    return bound


def _alone() -> None:
    """Wait until no other cycle runs; this one keeps others waiting while it lasts."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CYCLE_LOCK])


def _request(action: Action) -> Request:
    placement: PlainPlacement = action.placement or NOWHERE
    asked = asked_of(action.placement)
    change = _change(action) if asked is None else asked
    return Request(action.service.slug, change, placement.get("refused", 0))


def _change(action: Action) -> Instances:
    return Instances(
        action.to_prefill - action.from_prefill, action.to_decode - action.from_decode
    )


def _is_settled(action: Action, plan: Plan, situation: Situation) -> bool:
    """Settle one action; what is wrong with it stops no other (S24)."""
    try:
        with transaction.atomic():
            return _settle(action, plan, situation)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as fault:
        log.exception("action can't be placed", action=str(action.pk))
        actions.call_off(action, clean(f"It can't be placed: {type(fault).__name__}: {fault}"))
        return False


def _settle(action: Action, plan: Plan, situation: Situation) -> bool:
    """Promise an action its GPUs, or call it off; returns whether it has them."""
    decided: PlainPlacement = action.placement or NOWHERE
    if action.rearrangement_id is not None:
        # Who goes where was approved by name: there is nothing to choose anew.
        found, said = decided, _moved_on(decided)
    else:
        found = _found(action, plan, situation)
        said = what_matters(decided, found)
    said = said or _promise(action, found)
    if said:
        actions.call_off(action, said)
        return False
    found["touched"] = touched(nodes_of(found))
    action.placement, action.is_bound = found, True
    action.save(update_fields=["placement", "is_bound"])
    return True


def _moved_on(decided: PlainPlacement) -> str:
    """Return why moves planned for these nodes may no longer be made there, if so (S20)."""
    same = decided["touched"] == touched(nodes_of(decided))
    return "" if same else "The nodes it was planned on have changed since."


def _found(action: Action, plan: Plan, situation: Situation) -> PlainPlacement:
    """Return what a plan gives an action, of other hardware no more than its counts allow."""
    service, asked = action.service.slug, asked_of(action.placement)
    if asked is not None and service in situation.tenants:
        plan = trimmed(plan, situation.tenants[service], _change(action))
    found = placement_of(plan, service, version=situation.version, touched="")
    if asked is not None:
        found["asked"] = {"prefill": asked.prefill, "decode": asked.decode}
    return found


def _promise(action: Action, found: PlainPlacement) -> str:
    """Bind the GPUs of a placement; returns why that can't be, if it can't."""
    try:
        with transaction.atomic():
            bind(action.service_id, places_of(found), action.pk, database_now())
    except NoLongerFreeError as fault:
        return f"What it was placed on is taken: {fault}"
    except IntegrityError:
        return "What it was placed on was promised to another change at the same time."
    return ""


def places_of(placement: PlainPlacement) -> list[Place]:
    """Return what a placement takes, as it is bound; those that change place come after."""
    # Pods of one instance are one place: its cluster reports it by all its nodes.
    pods: dict[str, list[PlainPlace]] = defaultdict(list)
    for one in placement["places"]:
        pods[one["instance"]].append(one)
    new = [
        Place(
            name=name,
            role=first["role"],
            group=first["group"],
            cluster=first["cluster"],
            nodes=dict(sum((Counter(one["nodes"]) for one in own), Counter())),
            level=first["level"],
            domain=first["domain"],
        )
        for name, own in pods.items()
        for first in own[:1]
    ]
    moved = [
        Place(
            # Clusters tell long names apart at their end.
            name=f"{one['instance']} moved"[-LONGEST:],
            role=one["role"],
            group=one["group"],
            cluster=one["cluster"],
            nodes=one["to_nodes"],
        )
        for one in placement.get("moves", ())
    ]
    return new + moved
