"""Ratio gating: who of the newly started joins service discovery, and who waits (§4.5).

Instances behind a gate start outside. Nothing is held back but by the order that started them, and
only while that is in force: what waits for nothing joins at once.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import django_rq
import structlog
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q

from controller.core.lifecycle import IN_FLIGHT
from controller.core.pairs import larger
from controller.core.ports import Presence, RefusedError
from controller.core.registration import InStep, Starts, registered
from controller.core.types import ROLES, Instances, Mode, Role
from controller.core.words import clean
from controller.models import Action, holds
from controller.models.clock import database_now
from controller.services import queueing
from controller.services.rows import steered
from inventory.models import Cluster, Service

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from controller.services.withdrawing import DiscoveryOf

log = structlog.get_logger(__name__)


def due() -> list[Service]:
    """Return the services that were seen to have instances outside; one query."""
    somebody = Q(status__prefill_held__gt=0) | Q(status__decode_held__gt=0)
    rows = Service.objects.filter(somebody, cluster__kind=Cluster.Kind.KUBERNETES)
    return list(rows.select_related("cluster").order_by("slug"))


def enqueue() -> None:
    """Ask a worker to register whoever may join, where anybody waits; the sweep does it too."""
    if not due():
        return
    options = {"job_timeout": 60, "result_ttl": 60, "failure_ttl": 86_400}
    queueing.reach(
        lambda: django_rq.get_queue("actions").enqueue("controller.tasks.register", **options),
        "the sweep will register",
    )


def register(service: Service, discovery_of: DiscoveryOf) -> str:
    """Let those join that may, and those return that an action left out; says what was done.

    Safe to call again at any time. Of a service that is only observed nothing is written (S17).
    Under a freeze nobody waits for anybody: to let in what is up finishes what began before, and
    takes nothing away (S16). Raises :class:`UnreachableError` where it is unknown what was done.
    """
    discovery = discovery_of(service)
    if discovery is None:
        return "its cluster has no gates"
    if _is_observed(service):
        return "it is only observed"
    now_s = database_now().timestamp()
    try:
        present = discovery.serving(service.slug, now_s=now_s)
        for action in _left_out(present):
            discovery.put_back(service.slug, action=action, now_s=now_s)
        names = joining(present, _rule(service), now_s=now_s)
        if names:
            discovery.let_in(service.slug, names, now_s=now_s)
    except RefusedError as fault:
        log.warning("not registered", service=service.slug, fault=str(fault))
        return clean(str(fault))
    return f"{len(names)} registered"


def joining(present: Sequence[Presence], rule: InStep | None, *, now_s: float) -> list[str]:
    """Return who of those that wait may join now, the oldest of each role first."""
    starts = _starts(present)
    may = registered(starts, rule, now_s=now_s)
    names: list[str] = []
    for role in ROLES:
        waiting = sorted(
            (one for one in present if one.role is role and _waits(one)),
            key=lambda one: (one.created_s, one.name),
        )
        free = may.of(role) - starts.serving.of(role)
        names += [one.name for one in waiting[: max(free, 0)]]
    return names


def _waits(one: Presence) -> bool:
    return one.is_up and not one.is_in and not one.taken_by


def _starts(present: Sequence[Presence]) -> Starts:
    def count(test: Callable[[Presence], bool]) -> Instances:
        return Instances(*(sum(test(one) for one in present if one.role is role) for role in Role))

    return Starts(
        serving=count(lambda one: one.is_in),
        held=count(_waits),
        coming=count(lambda one: one.is_coming),
    )


def _rule(service: Service) -> InStep | None:
    """Return what the newest order says of who waits; ``None`` where nobody does.

    As many as served before it always may: who comes back after a crash takes nobody's turn.
    """
    if holds.read().over(service.slug) is not None:
        return None
    sent = Action.objects.filter(service=service, sent_at__isnull=False)
    newest = sent.order_by("-sent_at").first()
    if newest is None or not newest.in_step:
        return None
    try:
        rule = InStep.from_plain(newest.in_step)
    except (KeyError, TypeError):
        return None
    before = Instances(newest.from_prefill, newest.from_decode)
    return replace(rule, floor=larger(rule.floor, before))


def _left_out(present: Sequence[Presence]) -> list[str]:
    """Return the actions that took somebody out and are over, or that nobody knows.

    Those that are known to have somebody out are looked after by :mod:`withdrawing`.
    """
    takers = {one.taken_by for one in present if one.taken_by}
    keep = Q(state__in=IN_FLIGHT) | Q(is_out=True)
    rows = Action.objects.filter(keep, pk__in=[one for one in takers if _is_id(one)])
    kept = {str(pk) for pk in rows.values_list("pk", flat=True)}
    return sorted(takers - kept)


def _is_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _is_observed(service: Service) -> bool:
    """Return whether nothing may be written, by its mode or by an override over it."""
    try:
        return steered(service, database_now()).mode is Mode.OBSERVE
    except (ObjectDoesNotExist, KeyError, ValueError):
        return service.mode == Service.Mode.OBSERVE
