"""A tick's outcome into rows: the tick, samples, decisions, statuses, proposals and actions.

Everything of one tick is one transaction under the lease: either all of it is there, or nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np
from django.db import transaction

from controller.core.breaker import Trip
from controller.core.decision_plain import stage_plain
from controller.core.exchange import lasts
from controller.core.memory import Head, joins, learnt
from controller.core.outlook_plain import as_plain
from controller.core.ports import View
from controller.core.types import Gate, Role
from controller.models import (
    Action,
    DecisionTally,
    Override,
    PoolSample,
    Sample,
    ServiceStatus,
    Tick,
)
from controller.models import Decision as DecisionRow
from controller.models.clock import database_now
from controller.services import (
    approval_rules,
    breakers,
    endpoint_status,
    leadership,
    outside,
    proposing,
    suggesting,
)
from controller.services.leadership import Lease
from controller.services.rows import (
    COUNTS,
    POOL_COLUMNS,
    SAMPLE_COLUMNS,
    Entry,
    action_row,
    decision_row,
    effects_of,
    forecast_of,
    inputs_of,
    instances_of,
    parts_of,
    pool_row,
    sample_row,
    signals_of,
    steps_of,
    terms_of,
)
from inventory.services import bulk
from inventory.snapshot import Snapshot

HEAD_COLUMNS: Final = (
    "last_at",
    "inventory_version",
    "load",
    "inputs",
    "steps",
    "forecast",
    "parts",
    "terms",
    "sentence",
)
STATUS_COLUMNS: Final = (
    "decision_id",
    "decision_seq",
    "failure",
    "observed_at",
    *(f"{role}_{part}" for role in Role for part in (*COUNTS, "failed")),
    "resource_version",
    "signals",
    "instances",
    "outlook",
    "ttft_breach_since",
    "tbt_breach_since",
)


@dataclass(frozen=True, slots=True)
class Page:
    """All that one tick leaves behind."""

    now: datetime
    snapshot: Snapshot
    view: View
    entries: Sequence[Entry]
    failures: Mapping[str, str]
    fresh: int
    trips: Sequence[Trip] = ()


def claim_slot(lease: Lease, *, tick_s: float) -> int | None:
    """Return the number of this tick, or ``None`` when one ran less than 0.6 periods ago.

    However often a tick is queued, one of them runs (P04): the lease row serialises the claims.
    """
    with transaction.atomic():
        leadership.confirm(lease)
        last = Tick.objects.order_by("-slot").values_list("slot", "at").first()
        slot = int(lease.now.timestamp() // tick_s)
        if last is not None:
            if (lease.now - last[1]).total_seconds() < 0.6 * tick_s:
                return None
            slot = max(slot, last[0] + 1)
        Tick.objects.create(slot=slot, at=lease.now, epoch=lease.epoch)
        return slot


def record(page: Page, *, lease: Lease, slot: int) -> list[UUID]:
    """Write the page; returns the actions that may now be sent: others wait for their GPUs.

    Raises :class:`NotLeadingError` when the lease is over: then nothing of it is written.
    """
    with transaction.atomic():
        leadership.confirm(lease)
        _welcome(page)
        bulk.copy(Sample, SAMPLE_COLUMNS, _sample_rows(page))
        bulk.copy(PoolSample, POOL_COLUMNS, _pool_rows(page))
        _note_endpoints(page)
        rows = _write_decisions(page, slot)
        # Proposals before statuses, as approving locks them: the other way round they deadlock.
        proposing.write(page.entries, rows, services=page.snapshot.services, now=page.now)
        approval_rules.let_through(page.entries, page.snapshot.services, page.now)
        suggesting.write(page.entries, services=page.snapshot.services, now=page.now)
        outside.note(page.entries, page.snapshot.services, page.now)
        _write_statuses(page, rows)
        _note_binding(page)
        _count(page)
        actions = _write_actions(page, rows, lease.epoch)
        opened = breakers.open_all(page.trips, page.now)
        Tick.objects.filter(slot=slot).update(
            finished_at=database_now(),
            services=len(page.entries),
            fresh=page.fresh,
            failures=dict(page.failures),
        )
    # Each on its own: a worker may hold an action and wait for what this tick wrote.
    breakers.call_off(opened)
    return actions


def _welcome(page: Page) -> None:
    """Give services that are seen for the first time a status row."""
    new = [entry.key for entry in page.entries if entry.memory.current is None]
    ServiceStatus.objects.bulk_create(
        [ServiceStatus(service_id=page.snapshot.services[key]) for key in new],
        ignore_conflicts=True,
    )


def note_stages(slot: int, stages_ms: Mapping[str, float]) -> None:
    """Add how long each stage took to the tick's row, recording included."""
    Tick.objects.filter(slot=slot).update(stages_ms=dict(stages_ms))


def _sample_rows(page: Page) -> list[tuple[object, ...]]:
    return [
        sample_row(page.snapshot.services[key], page.now, seen)
        for key, seen in page.view.observations.items()
        if seen.state is not None
    ]


def _pool_rows(page: Page) -> list[tuple[object, ...]]:
    known = page.snapshot
    return [
        pool_row(pool, known, page.now)
        for pool in page.view.pools
        if pool.cluster in known.clusters and pool.hardware in known.hardware
    ]


def _write_decisions(page: Page, slot: int) -> dict[str, tuple[int, int]]:
    """Write new decisions and lengthen equal ones; returns (row, sequence) per service."""
    fresh: list[DecisionRow] = []
    longer: list[tuple[object, ...]] = []
    rows: dict[str, tuple[int, int]] = {}
    for entry in page.entries:
        head, decision = entry.memory.head, entry.decision
        if head is not None and head.row is not None and joins(decision, head):
            rows[entry.key] = (head.row, head.seq)
            longer.append(_longer(head, entry, page))
        else:
            fresh.append(
                decision_row(
                    entry,
                    page.snapshot,
                    seq=(head.seq if head else 0) + 1,
                    at=page.now,
                    slot=slot,
                )
            )
    slugs = {pk: slug for slug, pk in page.snapshot.services.items()}
    bulk.create(DecisionRow, fresh)
    for row in fresh:
        rows[slugs[row.service_id]] = (row.pk, row.seq)
    bulk.update(DecisionRow, "id", HEAD_COLUMNS, longer, also={"count": "t.count + 1"})
    return rows


def _note_endpoints(page: Page) -> None:
    outcomes = page.view.endpoints
    jitters = np.random.default_rng().random(len(outcomes)).tolist()
    spread = dict(zip(outcomes, jitters, strict=True))
    endpoint_status.note(outcomes, page.view.marks, jitters=spread)


def _longer(head: Head, entry: Entry, page: Page) -> tuple[object, ...]:
    decision = entry.decision
    return (
        head.row,
        page.now,
        page.snapshot.inventory_version,
        decision.load,
        inputs_of(decision, entry.told_by),
        steps_of(decision),
        forecast_of(decision),
        parts_of(decision),
        terms_of(entry),
        decision.sentence,
    )


def _write_statuses(page: Page, rows: Mapping[str, tuple[int, int]]) -> None:
    seen: list[tuple[object, ...]] = []
    blind: list[tuple[object, ...]] = []
    for entry in page.entries:
        service, state = page.snapshot.services[entry.key], entry.state
        failure = page.failures.get(entry.key, "")[:300]
        if state is None:
            blind.append((service, *rows[entry.key], failure))
            continue
        seen.append(
            (
                service,
                *rows[entry.key],
                failure,
                page.now,
                *(getattr(state.of(role), part) for role in Role for part in (*COUNTS, "failed")),
                state.resource_version,
                signals_of(entry.decision.signals),
                instances_of(page.view.observations[entry.key].instances),
                as_plain(learnt(entry.memory, entry.decision)),
                *(_moment(since) for since in entry.breach),
            )
        )
    _end_exchanges(page)
    bulk.update(ServiceStatus, "service_id", STATUS_COLUMNS, seen)
    bulk.update(ServiceStatus, "service_id", STATUS_COLUMNS[:3], blind)


def _end_exchanges(page: Page) -> None:
    """Forget second halves that no longer wait; one begun since the tick read stays."""
    for entry in page.entries:
        stage = entry.memory.history.stage
        if stage is not None and not lasts(stage, entry.decision):
            ServiceStatus.objects.filter(
                service=page.snapshot.services[entry.key], exchange=stage_plain(stage)
            ).update(exchange={})


def _note_binding(page: Page) -> None:
    """Note which overrides changed anything in this tick."""
    felt = {one["id"] for entry in page.entries for one in effects_of(entry) if one["binding"]}
    if felt:
        Override.objects.filter(pk__in=felt).update(bound_at=page.now)


def _count(page: Page) -> None:
    seen = Counter((str(entry.decision.move), str(entry.decision.code)) for entry in page.entries)
    if seen:
        bulk.add(DecisionTally, ("move", "code"), "total", [(*key, n) for key, n in seen.items()])


def _write_actions(page: Page, rows: Mapping[str, tuple[int, int]], epoch: int) -> list[UUID]:
    """Record what automatic services will do, before anything is sent (S10)."""
    due = [entry for entry in page.entries if entry.decision.gate is Gate.ACT]
    actions = [
        action_row(entry, service=page.snapshot.services[entry.key], now=page.now, epoch=epoch)
        for entry in due
    ]
    for entry, action in zip(due, actions, strict=True):
        action.decision_id = rows[entry.key][0]
    # One in flight per service is the database's rule (S11): an approval that was started while
    # this tick decided keeps its place, and the tick of all other services goes on (S24).
    Action.objects.bulk_create(actions, ignore_conflicts=True)
    taken = set(
        Action.objects.filter(pk__in=[action.pk for action in actions]).values_list(
            "pk", flat=True
        )
    )
    return [action.pk for action in actions if action.pk in taken and action.placement is None]


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
