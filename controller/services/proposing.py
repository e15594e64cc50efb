"""The controller's side of proposals: made, refreshed, changed or superseded by a tick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import F, Q, QuerySet

from controller.core.approval import Basis, fingerprint
from controller.core.decision_plain import stage_from, stage_plain
from controller.core.exchange import approval_of, lasts
from controller.core.lifecycle import ProposalState
from controller.core.placement.plan_plain import what_matters
from controller.core.reasons import UNJUDGED, Code
from controller.core.types import Gate, Instances, Mode, Role
from controller.models import Proposal, ServiceStatus
from controller.services import approvals, audit
from controller.services.rows import Entry, basis_of, known, proposal_row
from inventory.services import bulk

BODY: Final = (
    "decision_id",
    "from_prefill",
    "from_decode",
    "to_prefill",
    "to_decode",
    "then_prefill",
    "then_decode",
    "sentence",
    "placement",
    "resource_version",
    "policy_revision",
    "fingerprint",
    "evidence_at",
    "expires_at",
)
"""What a changed body replaces; an approval of the old one no longer fits (S18)."""


CONFIRMED: Final = ("evidence_at", "decision_id", "sentence", "placement")
"""What a confirmed body brings up to date: other nodes of the same kind are no other body."""

KEPT_FOR: Final = timedelta(seconds=90)
"""A load that hovers at its limit must not take a proposal away from whoever reads it."""


SEVERAL: Final = 3
"""A change of so many instances is still the same with one more or less."""


def nearly_same(row: Proposal, wanted: Proposal, basis: Basis) -> bool:
    """Return whether two proposals from one basis differ by so little that neither is news.

    Then the one that people read stays as it is, and an approval of it still fits. ``basis`` is
    the present one.
    """
    body = Instances(row.to_prefill, row.to_decode)
    # What running it would find: another mode, policy or object makes an approval stale.
    same_basis = row.fingerprint == fingerprint(basis, body, row.then)
    halves = (row.then_prefill is None) == (wanted.then_prefill is None)
    return (
        same_basis
        and halves
        and all(
            _is_trifle(given, asked, now)
            for given, asked, now in (
                (row.to_prefill, wanted.to_prefill, row.from_prefill),
                (row.to_decode, wanted.to_decode, row.from_decode),
                *_second_halves(row, wanted),
            )
        )
    )


def _is_trifle(given: int, asked: int, now: int) -> bool:
    """Return whether a change to ``given`` may stand for one to ``asked``, both from ``now``.

    Within a tenth of the smaller change, one instance where that is of several; and a role never
    loses more than is asked now.
    """
    if given < min(asked, now):
        return False
    size = min(abs(given - now), abs(asked - now))
    return abs(given - asked) <= max(size // 10, 1 if size >= SEVERAL else 0)


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
    running it looks at the basis again. Only that of a second half goes with its exchange.
    ``decisions`` is (row, sequence) per service.
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
        if row is not None and _is_withdrawn(row, entry):
            reason = f"The exchange it belongs to has ended. {entry.decision.sentence}"
            changes.dropped.append((row.pk, now, reason))
            row = None
        if row is None or row.state == ProposalState.PENDING:
            _compare(row, entry, (service, decisions[entry.key][0], now), changes)
    _apply(changes)


def _compare(
    row: Proposal | None, entry: Entry, place: tuple[UUID, int, datetime], changes: _Changes
) -> None:
    service, decision, now = place
    if entry.decision.gate is not Gate.PROPOSE:
        if row is not None and not _is_passing(row, entry, now):
            reason = f"No longer wanted. {entry.decision.sentence}"
            changes.dropped.append((row.pk, now, reason))
        return
    wanted = proposal_row(entry, service=service, decision=decision, now=now)
    if row is None:
        changes.made.append(_approved_before(wanted, entry, now))
    elif row.fingerprint == wanted.fingerprint and _is_placed_alike(row, wanted):
        changes.confirmed.append((row.pk, now, decision, wanted.sentence, wanted.placement))
    elif row.fingerprint != wanted.fingerprint and nearly_same(row, wanted, _basis(entry)):
        changes.confirmed.append((row.pk, now, row.decision_id, row.sentence, row.placement))
    else:
        changes.changed.append((row.pk, *(getattr(wanted, name) for name in BODY)))


def _is_placed_alike(row: Proposal, wanted: Proposal) -> bool:
    """Return whether the change would go where people were told, or as good a place."""
    if row.placement is None or wanted.placement is None:
        return row.placement == wanted.placement
    return not what_matters(row.placement, wanted.placement)


def _is_withdrawn(row: Proposal, entry: Entry) -> bool:
    """Return whether the row is approved as the second half of an exchange that ends here."""
    stage = entry.memory.history.stage
    if stage is None or stage.second != row.pk or row.state != ProposalState.APPROVED:
        return False
    return not lasts(stage, entry.decision)


def _is_passing(row: Proposal, entry: Entry, now: datetime) -> bool:
    """Return whether a tick that asks for nothing leaves the proposal to whoever reads it.

    Not in another mode: an approval is of the mode, and would only end as stale.
    """
    decision = entry.decision
    if decision.mode != Mode.APPROVE:
        return False
    hovers = decision.code is Code.WITHIN_TOLERANCE and now - row.evidence_at < KEPT_FOR
    return decision.code in UNJUDGED or hovers


def _basis(entry: Entry) -> Basis:
    """Return what a proposal of this tick rests on."""
    spec, version = known(entry)
    return basis_of(spec, entry.decision.current, version)


def _approved_before(wanted: Proposal, entry: Entry, now: datetime) -> Proposal:
    """Return the second half of an exchange as approved by who approved both, else as it is.

    It goes the way of every approval: the basis, the mode, freezes and the approver's right are
    looked at when it runs. It lasts no longer than the exchange, and is made once.
    """
    decision, stage, state = entry.decision, entry.memory.history.stage, entry.state
    if stage is None or state is None or decision.mode != Mode.APPROVE:
        return wanted
    proposal = approval_of(stage, state, decision.final, decision.now_s)
    if proposal is None or not lasts(stage, decision) or not _still_waits(entry, wanted):
        return wanted
    first = (
        Proposal.objects.select_related("decided_by")
        .filter(pk=proposal, state=ProposalState.APPLIED)
        .first()
    )
    if first is not None:
        wanted.state, wanted.decided_by = ProposalState.APPROVED, first.decided_by
        wanted.decided_at = now
        wanted.decided_reason = f"The second half of proposal {first.pk}, approved with the first."
        until = datetime.fromtimestamp(stage.until_s, UTC)
        wanted.expires_at = min(wanted.expires_at, until)
    return wanted


def _still_waits(entry: Entry, wanted: Proposal) -> bool:
    """Return whether the exchange stands in its row as the tick read it, and keep it so.

    A freeze since then has ended it, and its approval with it.
    """
    stage = entry.memory.history.stage
    rows = ServiceStatus.objects.select_for_update().filter(
        service=wanted.service_id, exchange=stage and stage_plain(stage)
    )
    return rows.values_list("pk", flat=True).first() is not None


def _apply(changes: _Changes) -> None:
    bulk.update(Proposal, "id", ("closed_at", "closed_reason"), changes.dropped)
    _rows(changes.dropped).update(state=ProposalState.SUPERSEDED)
    bulk.update(Proposal, "id", CONFIRMED, changes.confirmed)
    bulk.update(Proposal, "id", BODY, changes.changed)
    _rows(changes.changed).update(version=F("version") + 1)
    Proposal.objects.bulk_create(changes.made, ignore_conflicts=True)
    _record_approved([row for row in changes.made if row.state == ProposalState.APPROVED])


def _record_approved(made: Sequence[Proposal]) -> None:
    """Audit second halves like approvals: nobody pressed, so it says whose approval they follow.

    One whose place was taken meanwhile was not made, and is not told.
    """
    if not made:
        return
    follow = Q()
    for row in made:
        follow |= Q(service=row.service_id, created_at=row.created_at)
    for row in Proposal.objects.select_related("service", "decided_by").filter(
        follow, state=ProposalState.APPROVED
    ):
        by = row.decided_by.get_username() if row.decided_by else "somebody"
        audit.record(
            actor="controller",
            verb="approved",
            obj=row,
            after={"state": ProposalState.APPROVED.value} | approvals.body_of(row),
            reason=f"Follows from the approval of both halves by {by}. {row.decided_reason}",
        )
        _note_used(row)


def _note_used(row: Proposal) -> None:
    """Keep with the exchange that this row used the approval of both halves."""
    status = ServiceStatus.objects.get(service=row.service_id)
    stage = stage_from(status.exchange)
    if stage is not None:
        ServiceStatus.objects.filter(service=row.service_id).update(
            exchange=stage_plain(replace(stage, second=row.pk))
        )


def _rows(cells: Sequence[tuple[object, ...]]) -> QuerySet[Proposal]:
    # They are locked since they were read, so that each still is in the state it was found in.
    return Proposal.objects.filter(pk__in=[row[0] for row in cells])
