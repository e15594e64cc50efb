"""The controller's side of proposals: made, refreshed, changed or superseded by a tick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import F, QuerySet

from controller.core.exchange import is_second_half
from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code
from controller.core.types import Gate, Instances, Mode, Role
from controller.models import Proposal
from controller.services import bulk
from controller.services.rows import Entry, proposal_row

BODY: Final = (
    "decision_id",
    "from_prefill",
    "from_decode",
    "to_prefill",
    "to_decode",
    "then_prefill",
    "then_decode",
    "sentence",
    "resource_version",
    "policy_revision",
    "fingerprint",
    "evidence_at",
    "expires_at",
)
"""What a changed body replaces; an approval of the old one no longer fits (S18)."""


UNJUDGED: Final = frozenset(
    {
        Code.METRIC_MISSING,
        Code.METRIC_STALE,
        Code.METRIC_PARTIAL,
        Code.METRIC_INVALID,
        Code.EXECUTOR_ERROR,
    }
)
"""A tick that could not judge the service says nothing against what it wanted before."""


KEPT_FOR: Final = timedelta(seconds=90)
"""A load that hovers at its limit must not take a proposal away from whoever reads it."""


def nearly_same(row: Proposal, wanted: Proposal) -> bool:
    """Return whether two proposals from one basis differ by so little that neither is news.

    By at most one instance or a tenth in each role, in the same direction: then the one that
    people read stays as it is, and an approval of it still fits.
    """
    same_basis = all(
        getattr(row, name) == getattr(wanted, name)
        for name in ("from_prefill", "from_decode", "resource_version", "policy_revision")
    )
    halves = (row.then_prefill is None) == (wanted.then_prefill is None)
    return (
        same_basis
        and halves
        and all(
            abs(given - asked) <= max(1, given // 10) and (given > now) == (asked > now)
            for given, asked, now in (
                (row.to_prefill, wanted.to_prefill, row.from_prefill),
                (row.to_decode, wanted.to_decode, row.from_decode),
                *_second_halves(row, wanted),
            )
        )
    )


def _second_halves(row: Proposal, wanted: Proposal) -> list[tuple[int, int, int]]:
    then, asked = row.then, wanted.then
    if then is None or asked is None:
        return []
    now = Instances(row.from_prefill, row.from_decode)
    return [(then.of(role), asked.of(role), now.of(role)) for role in Role]


@dataclass(slots=True)
class _Changes:
    made: list[Proposal] = field(default_factory=list)
    confirmed: list[tuple[object, ...]] = field(default_factory=list)
    changed: list[tuple[object, ...]] = field(default_factory=list)
    dropped: list[tuple[object, ...]] = field(default_factory=list)


def write(
    entries: Sequence[Entry],
    decisions: Mapping[str, tuple[int, int]],
    *,
    services: Mapping[str, UUID],
    now: datetime,
) -> None:
    """Bring the open proposals in line with a tick's decisions, at most one a service.

    The same body is confirmed, another body replaces it under a new version, and one that is no
    longer wanted is superseded. An approved one is left: it is bound to its fingerprint, and
    running it looks at the basis again. ``decisions`` is (row, sequence) per service.
    """
    found = {
        row.service_id: row
        for row in Proposal.objects.select_for_update().filter(
            state__in=(ProposalState.PENDING, ProposalState.APPROVED, ProposalState.APPLYING)
        )
    }
    changes = _Changes()
    for entry in entries:
        service = services[entry.key]
        row = found.get(service)
        if row is None or row.state == ProposalState.PENDING:
            _compare(row, entry, (service, decisions[entry.key][0], now), changes)
    _apply(changes)


def _compare(
    row: Proposal | None, entry: Entry, place: tuple[UUID, int, datetime], changes: _Changes
) -> None:
    service, decision, now = place
    if entry.decision.gate is not Gate.PROPOSE:
        passing = entry.decision.code in UNJUDGED or (
            entry.decision.code is Code.WITHIN_TOLERANCE
            and row is not None
            and now - row.evidence_at < KEPT_FOR
        )
        if row is not None and not passing:
            reason = f"No longer wanted. {entry.decision.sentence}"
            changes.dropped.append((row.pk, now, reason))
        return
    wanted = proposal_row(entry, service=service, decision=decision, now=now)
    if row is None:
        changes.made.append(_approved_before(wanted, entry, now))
    elif row.fingerprint == wanted.fingerprint:
        changes.confirmed.append((row.pk, now, decision, wanted.sentence))
    elif nearly_same(row, wanted):
        changes.confirmed.append((row.pk, now, row.decision_id, row.sentence))
    else:
        changes.changed.append((row.pk, *(getattr(wanted, name) for name in BODY)))


def _approved_before(wanted: Proposal, entry: Entry, now: datetime) -> Proposal:
    """Return the second half of an exchange as approved by who approved both, else as it is.

    It goes the way of every approval: the basis, the mode, freezes and the approver's right are
    looked at when it runs.
    """
    decision, stage = entry.decision, entry.memory.history.stage
    if stage is None or stage.proposal is None or decision.mode is not Mode.APPROVE:
        return wanted
    if decision.then is not None or not is_second_half(
        stage, decision.current, decision.final, decision.now_s
    ):
        return wanted
    first = Proposal.objects.filter(pk=stage.proposal, state=ProposalState.APPLIED).first()
    if first is not None:
        wanted.state, wanted.decided_by_id = ProposalState.APPROVED, first.decided_by_id
        wanted.decided_at = now
        wanted.decided_reason = f"The second half of proposal {first.pk}, approved with the first."
    return wanted


def _apply(changes: _Changes) -> None:
    bulk.update(Proposal, "id", ("closed_at", "closed_reason"), changes.dropped)
    _rows(changes.dropped).update(state=ProposalState.SUPERSEDED)
    bulk.update(Proposal, "id", ("evidence_at", "decision_id", "sentence"), changes.confirmed)
    bulk.update(Proposal, "id", BODY, changes.changed)
    _rows(changes.changed).update(version=F("version") + 1)
    Proposal.objects.bulk_create(changes.made, ignore_conflicts=True)


def _rows(cells: Sequence[tuple[object, ...]]) -> QuerySet[Proposal]:
    return Proposal.objects.filter(pk__in=[row[0] for row in cells], state=ProposalState.PENDING)
