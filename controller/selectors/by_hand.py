"""What a change by hand is judged by, read from the rows when a person asks for one."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction

from controller.core.by_hand import OLD_S, Ground, Judged, judge
from controller.core.engine import Mix
from controller.core.lifecycle import IN_FLIGHT, OPEN_PROPOSALS
from controller.core.pairs import larger
from controller.core.placement.preview import Situation
from controller.core.types import (
    NO_INSTANCES,
    ROLES,
    Context,
    Forecast,
    History,
    Hold,
    Instances,
    ServiceSpec,
)
from controller.models import Action, PoolSample, Proposal, ServiceStatus, holds, orders
from controller.models.clock import database_now
from controller.selectors import profiles
from controller.selectors.situation import refused_in_a_row, situation
from controller.simulator.profiles import PROFILES
from inventory.models import RoleSpec, Service
from inventory.snapshot import service_spec

log = structlog.get_logger(__name__)

OLD: Final = timedelta(seconds=OLD_S)


def preview(service: Service, want: Instances) -> Judged:
    """Return what would become of a wish now; raises :class:`LookupError` like :func:`ground`."""
    return judge(want, ground(service))


def ground(service: Service) -> Ground:
    """Read everything a change of this service by hand is judged by.

    Raises :class:`LookupError` with a sentence when the service was never seen, or when its
    configuration can't be read: nobody can say then what a change would start from.
    """
    status = ServiceStatus.objects.select_related("decision").filter(service=service).first()
    if status is None or status.observed_at is None:
        raise LookupError(f"The cluster has not shown {service.slug} yet.")
    now = database_now()
    spec = orders.read_for(service).steer(_spec(service), now.timestamp())
    ctx = Context(
        now_s=now.timestamp(),
        spec=spec,
        state=status.state,
        signals=status.read_signals(),
        history=History(in_flight=_in_flight(service)),
        hold=_hold(service),
        gpus_free=_free(service, now),
        forecast=_forecast(status),
        gpus_left=_left(service),
    )
    return Ground(
        ctx=ctx,
        seen_s=status.observed_at.timestamp(),
        situation=_situation(service),
        refused=refused_in_a_row().get(service.slug, 0),
        is_breaching=bool(status.ttft_breach_since or status.tbt_breach_since),
    )


def _spec(service: Service) -> ServiceSpec:
    names = set(
        RoleSpec.objects.filter(service=service)
        .exclude(profile="")
        .values_list("profile", flat=True)
    )
    known = {**profiles.readable(names - PROFILES.keys()), **PROFILES}
    try:
        return service_spec(service, known)
    except (ObjectDoesNotExist, KeyError, ValueError) as fault:
        raise LookupError(f"The configuration of {service.slug} can't be read.") from fault


def _in_flight(service: Service) -> str | None:
    rows = Action.objects.filter(service=service, state__in=IN_FLIGHT)
    found = rows.values_list("pk", flat=True).first()
    return None if found is None else str(found)


def _hold(service: Service) -> Hold | None:
    return holds.read().over(service.slug)


def _free(service: Service, now: datetime) -> dict[str, int]:
    """Return the free GPUs of the cluster by hardware, of its newest sample if it is of now."""
    rows = PoolSample.objects.filter(cluster=service.cluster_id)
    newest = rows.filter(at__gt=now - OLD).order_by("-at").values_list("at", flat=True).first()
    return dict(rows.filter(at=newest).values_list("hardware__slug", "free")) if newest else {}


def _forecast(status: ServiceStatus) -> Forecast | None:
    """Return the measured mix and requests of the last decision: what latency follows from."""
    kept = (status.decision.forecast if status.decision is not None else None) or {}
    mix = kept.get("mix")
    if mix is None:
        return None
    nothing = (None, None)
    return Forecast(
        lead_s=kept["lead_s"],
        needs=nothing,
        peaks=nothing,
        margins=(0.0, 0.0),
        mix=Mix(**mix),
        rps=kept.get("rps"),
    )


def _left(service: Service) -> int | None:
    """Return the GPUs the fleet's budget leaves (S2); ``None`` without a budget.

    What is proposed for other services counts: it may be approved at any moment.
    """
    if not settings.MAX_GPUS:
        return None
    per: dict[object, dict[str, int]] = {}
    for key, role, gpus in RoleSpec.objects.values_list("service_id", "role", "gpus_per_instance"):
        per.setdefault(key, {})[role] = gpus
    asked = _asked(service)
    held = sum(
        _held(row, asked.get(row.service_id, NO_INSTANCES), per.get(row.service_id, {}))
        for row in ServiceStatus.objects.all()
    )
    return int(settings.MAX_GPUS) - held


def _held(row: ServiceStatus, asked: Instances, per: Mapping[str, int]) -> int:
    """Return the GPUs a service holds or was promised, those that drain included."""
    wished = larger(Instances(row.prefill_desired, row.decode_desired), asked)
    draining = Instances(row.prefill_draining, row.decode_draining)
    return sum((wished.of(role) + draining.of(role)) * per.get(role, 0) for role in ROLES)


def _asked(service: Service) -> dict[object, Instances]:
    """Return the most that open proposals and actions under way ask for, by service."""
    found: dict[object, Instances] = {}
    columns = ("service_id", "to_prefill", "to_decode")
    open_ones = Proposal.objects.filter(state__in=OPEN_PROPOSALS).exclude(service=service)
    under_way = Action.objects.filter(state__in=IN_FLIGHT)
    for rows in (open_ones, under_way):
        for key, *pair in rows.values_list(*columns):
            found[key] = larger(found.get(key, NO_INSTANCES), Instances(*pair))
    return found


def _situation(service: Service) -> Situation | None:
    """Return where everything is; ``None`` if the service's instances need no place.

    Raises :class:`LookupError` where that can't be told: nothing is promised blindly (S24).
    """
    try:
        with transaction.atomic():
            found = situation()
    except Exception as fault:
        log.exception("where a change by hand would go can't be told")
        raise LookupError(f"Where instances of {service.slug} would go can't be told.") from fault
    return found if found.knows(service.slug) else None
