"""Counts that somebody else wrote into a cluster: noted once, and until something comes after.

Of a service that is only observed every change is somebody else's: nobody is asked about those.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from controller.core.cycle import moved_from
from controller.core.lifecycle import IN_FLIGHT
from controller.models import Action, OutsideChange, ServiceStatus
from controller.services import audit
from controller.services.rows import Entry
from inventory.models import Service

OPEN: Final = ""
"""The answer of a change that nobody answered yet."""

_Answer = OutsideChange.Answer


def note(entries: Sequence[Entry], services: Mapping[str, UUID], now: datetime) -> None:
    """Write what somebody else changed since the last tick; no query where nobody did.

    Call it before the statuses are written. A newer change overtakes one that was not answered.
    """
    seen = [_row(entry, services[entry.key], now) for entry in entries]
    found = {row.service_id: row for row in seen if row is not None}
    for service in _written_by_us(list(found.values()), now):
        del found[service]
    if not found:
        return
    _overtake(found, by="somebody outside", why="The counts were changed from outside again.")
    known = Service.objects.in_bulk(found)
    rows = []
    for service, row in found.items():
        row.service = known[service]
        # The configured mode: under an override it is only observed for a while.
        if row.service.mode != Service.Mode.OBSERVE:
            rows.append(row)
    OutsideChange.objects.bulk_create(rows)
    audit.record_each(
        [(row, before._asdict(), after._asdict()) for row in rows for before, after in [row.ends]],
        actor="somebody outside",
        verb="changed from outside",
    )


def overtake(service: UUID, *, by: str, why: str) -> None:
    """End the open change of a service, if there is one: something came after it."""
    _overtake([service], by=by, why=why)


def _row(entry: Entry, service: UUID, now: datetime) -> OutsideChange | None:
    state = entry.state
    before = moved_from(entry.memory, state) if state is not None else None
    if state is None or before is None:
        return None
    return OutsideChange(
        service_id=service,
        seen_at=now,
        from_prefill=before.prefill,
        from_decode=before.decode,
        to_prefill=state.desired.prefill,
        to_decode=state.desired.decode,
        resource_version=state.resource_version,
    )


def _written_by_us(rows: Sequence[OutsideChange], now: datetime) -> set[UUID]:
    """Return the services that an action of ours changed after the tick had read its memory."""
    if not rows:
        return set()
    keys = [row.service_id for row in rows]
    versions = dict(
        ServiceStatus.objects.filter(service__in=keys).values_list("service", "resource_version")
    )
    since = Q(state__in=IN_FLIGHT) | Q(applied_at__gte=now)
    wanted = set(
        Action.objects.filter(since, service__in=keys).values_list(
            "service", "to_prefill", "to_decode"
        )
    )
    return {
        row.service_id
        for row in rows
        if row.resource_version == versions.get(row.service_id)
        or (row.service_id, row.to_prefill, row.to_decode) in wanted
    }


def _overtake(services: Sequence[UUID] | Mapping[UUID, object], *, by: str, why: str) -> None:
    rows = list(
        OutsideChange.objects.select_for_update(of=("self",))
        .select_related("service")
        .filter(service__in=list(services), answer=OPEN)
    )
    if not rows:
        return
    OutsideChange.objects.filter(pk__in=[row.pk for row in rows]).update(
        answer=_Answer.OVERTAKEN,
        answered_at=Now(),
        answered_by_name=by[:150],
        answer_reason=why,
    )
    audit.record_each(
        [(row, {"answer": OPEN}, {"answer": _Answer.OVERTAKEN.value}) for row in rows],
        actor=by,
        verb="outside change overtaken",
        reason=why,
    )
