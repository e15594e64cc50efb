"""The controller's side of proposals: made, refreshed, changed or superseded by a tick."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Q, QuerySet

from controller.core.approval import Basis, fingerprint
from controller.core.decision_plain import stage_from, stage_plain
from controller.core.exchange import approval_of, lasts
from controller.core.lifecycle import ProposalState
from controller.core.placement.plan_plain import what_matters
from controller.core.reasons import UNJUDGED, Code
from controller.core.types import Gate, Instances, Mode, Role
from controller.models import Override, Proposal, ServiceStatus, Verdict
from controller.services import approvals, approvers, audit
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
    "predicted",
    "needs",
    "needs_why",
    "requested_by_id",
    "requesters",
    "resource_version",
    "policy_revision",
    "mode",
    "overrides",
    "fingerprint",
    "evidence_at",
    "expires_at",
)
"""What a changed body replaces; an approval of the old one no longer fits (S18)."""


CONFIRMED: Final = (
    "evidence_at",
    "decision_id",
    "sentence",
    "placement",
    "predicted",
    "needs",
    "needs_why",
)
"""What a confirmed body brings up to date: other nodes of the same kind are no other body.

A breach that began meanwhile takes a second approver.
"""

KEPT_FOR: Final = timedelta(seconds=90)
"""A load that hovers at its limit must not take a proposal away from whoever reads it."""


ASKED: Final = ("requested_by_id", "requesters")
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
    followed: dict[UUID, Proposal] = field(default_factory=dict)
    """The approved proposals that made ones are the second halves of, by service."""
    confirmed: list[tuple[object, ...]] = field(default_factory=list)
    changed: list[tuple[Any, ...]] = field(default_factory=list)
    dropped: list[tuple[int, datetime, str]] = field(default_factory=list)


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
    running it looks at the basis again. Only that of a second half goes with its exchange. What a
    person proposed is left to people, and closed once it rests on what is no longer so.
    ``decisions`` is (row, sequence) per service.
    """
    found = {
        row.service_id: row
        for row in Proposal.objects.select_for_update(of=("self",))
        .select_related("service")
        .filter(state__in=(ProposalState.PENDING, ProposalState.APPROVED, ProposalState.APPLYING))
    }
    changes = _Changes()
    for entry in entries:
        service = services[entry.key]
        row = found.get(service)
        if row is not None and _is_withdrawn(row, entry):
            reason = f"The exchange it belongs to has ended. {entry.decision.sentence}"
            changes.dropped.append((row.pk, now, reason))
            row = None
        if row is not None and row.origin != Proposal.Origin.CONTROLLER:
            if row.state == ProposalState.PENDING and not _stands(row, entry):
                changes.dropped.append((row.pk, now, _OVERTAKEN))
        elif row is None or row.state == ProposalState.PENDING:
            _compare(row, entry, (service, decisions[entry.key][0], now), changes)
    _tell(changes, {row.pk: row for row in found.values()})
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
    wanted.requested_by_id, wanted.requesters = _asked_by(entry)
    if row is None:
        first = _first_half(wanted, entry)
        if first is not None:
            changes.followed[service] = first
            _follow(wanted, entry, first, now)
        changes.made.append(wanted)
    elif row.fingerprint == wanted.fingerprint and _is_placed_alike(row, wanted):
        changes.confirmed.append(_confirmed(row, wanted, now))
    elif row.fingerprint != wanted.fingerprint and nearly_same(row, wanted, _basis(entry)):
        # The one that people read stays, but for a second approver it takes since.
        for name in ("decision_id", "sentence", "placement", "predicted"):
            setattr(wanted, name, getattr(row, name))
        changes.confirmed.append(_confirmed(row, wanted, now))
    else:
        changes.changed.append((row.pk, *(getattr(wanted, name) for name in BODY)))


_OVERTAKEN: Final = (
    "The counts, the policy, the mode, an override or the cluster's object changed since it was "
    "proposed."
)


def _stands(row: Proposal, entry: Entry) -> bool:
    """Return whether what a person proposed still rests on what is so now, as far as is known."""
    if entry.spec is None or entry.state is None:
        return True
    body = Instances(row.to_prefill, row.to_decode)
    return row.fingerprint == fingerprint(_basis(entry), body, row.then)


def _confirmed(row: Proposal, wanted: Proposal, now: datetime) -> tuple[object, ...]:
    return (row.pk, now, *(getattr(wanted, name) for name in CONFIRMED[1:]))


def _asked_by(entry: Entry) -> tuple[int | None, list[int | None]]:
    """Return the account whose pin a decision carries out, and all whose overrides shaped it.

    None of them approves it themselves (A04).
    """
    bound = [one for one in entry.decision.steps if one.override is not None]
    if not bound:
        return None, []
    rows = Override.objects.filter(pk__in={one.override for one in bound})
    accounts = dict(rows.values_list("pk", "by_id"))
    pins = [one.override for one in bound if one.code is Code.PINNED]
    pinned_by = accounts.get(pins[0]) if pins and pins[0] is not None else None
    return pinned_by, list(dict.fromkeys(accounts.values()))


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


def _first_half(wanted: Proposal, entry: Entry) -> Proposal | None:
    """Return the first half of an exchange of which people approved both, if this is the second.

    It goes the way of every approval: the basis, the mode, freezes and the approvers' rights are
    looked at when it runs.
    """
    decision, stage, state = entry.decision, entry.memory.history.stage, entry.state
    if stage is None or state is None or decision.mode != Mode.APPROVE:
        return None
    proposal = approval_of(stage, state, decision.final, decision.now_s)
    if proposal is None or not lasts(stage, decision) or not _still_waits(entry, wanted):
        return None
    return (
        Proposal.objects.select_related("decided_by")
        .filter(pk=proposal, state=ProposalState.APPLIED)
        .first()
    )


def _follow(wanted: Proposal, entry: Entry, first: Proposal, now: datetime) -> None:
    """Let the second half be approved as the first was, once, and no longer than the exchange."""
    wanted.state, wanted.decided_by = ProposalState.APPROVED, first.decided_by
    wanted.decided_at, wanted.decided_by_name = now, first.decided_by_name
    wanted.decided_reason = f"The second half of proposal {first.pk}, approved with the first."
    for name in ("needs", "needs_why", "is_break_glass", "rule_id", *ASKED):
        setattr(wanted, name, getattr(first, name))
    if entry.memory.history.stage is not None:
        until = datetime.fromtimestamp(entry.memory.history.stage.until_s, UTC)
        wanted.expires_at = min(wanted.expires_at, until)


def _still_waits(entry: Entry, wanted: Proposal) -> bool:
    """Return whether the exchange stands in its row as the tick read it, and keep it so.

    A freeze since then has ended it, and its approval with it.
    """
    stage = entry.memory.history.stage
    rows = ServiceStatus.objects.select_for_update().filter(
        service=wanted.service_id, exchange=stage and stage_plain(stage)
    )
    return rows.values_list("pk", flat=True).first() is not None


def _tell(changes: _Changes, rows: Mapping[int, Proposal]) -> None:
    """Audit what the controller takes away: a proposal, or the approvals of an older body."""
    if changes.dropped:
        told = [(rows[cells[0]], str(cells[-1])) for cells in changes.dropped]
        approvals.record_closed(told, ProposalState.SUPERSEDED)
    if not changes.changed:
        return
    given: dict[int, list[str]] = defaultdict(list)
    of_now = Verdict.objects.filter(
        proposal__in=[cells[0] for cells in changes.changed], version=F("proposal__version")
    )
    for pk, name in of_now.order_by("pk").values_list("proposal", "by_name"):
        given[pk].append(name)
    audit.record_each(
        (
            (
                rows[pk],
                {"approvals": names} | approvals.body_of(rows[pk]),
                {"approvals": [], "version": rows[pk].version + 1},
            )
            for pk, names in given.items()
        ),
        actor="controller",
        verb="changed what was approved",
        reason="An approval is of what was seen: the new figures take new ones.",
    )


def _apply(changes: _Changes) -> None:
    bulk.update(Proposal, "id", ("closed_at", "closed_reason"), changes.dropped)
    _rows(changes.dropped).update(state=ProposalState.SUPERSEDED)
    bulk.update(Proposal, "id", CONFIRMED, changes.confirmed)
    bulk.update(Proposal, "id", BODY, changes.changed)
    _rows(changes.changed).update(version=F("version") + 1)
    Proposal.objects.bulk_create(changes.made, ignore_conflicts=True)
    _record_approved(
        [row for row in changes.made if row.state == ProposalState.APPROVED], changes.followed
    )


def _record_approved(made: Sequence[Proposal], firsts: Mapping[UUID, Proposal]) -> None:
    """Audit second halves like approvals: nobody pressed, so it says whose approval they follow.

    One whose place was taken meanwhile was not made, and is not told.
    """
    if not made:
        return
    follow = Q()
    for row in made:
        follow |= Q(service=row.service_id, created_at=row.created_at)
    for row in Proposal.objects.select_related("service", "decided_by", "rule").filter(
        follow, state=ProposalState.APPROVED
    ):
        approvers.pass_on(firsts[row.service_id], row)
        by = approvers.names(row) or "somebody"
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
