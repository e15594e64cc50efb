"""What a person decides about a proposal: each transition is one conditional UPDATE."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.lifecycle import ProposalState
from controller.models import Proposal, holds
from controller.models.clock import database_now
from controller.services import actions, audit, exchanges, people
from controller.services.errors import ConflictError, MissingError
from controller.services.people import Person

PENDING = ProposalState.PENDING


def approve(
    pk: int, *, user: Person, version: int, fingerprint: str, reason: str = ""
) -> Proposal:
    """Let the proposal be carried out; returns it as approved.

    Counts only while the proposal waits unexpired, in exactly the ``version`` and with the
    ``fingerprint`` the person saw, and nothing is frozen. The same person's second request
    changes nothing and returns the proposal. Raises :class:`ForbiddenError`,
    :class:`ConflictError`, :class:`MissingError`.
    """
    proposal = _find(pk)
    people.require(user, people.APPROVE, proposal)
    reason = people.reason_text(reason, needed=False)
    if holds.by_environment() or holds.by_file():
        raise _conflict(proposal, user, version=version, fingerprint=fingerprint)
    with transaction.atomic():
        waiting = Proposal.objects.filter(
            ~holds.held(),
            pk=pk,
            state=PENDING,
            version=version,
            fingerprint=fingerprint,
            expires_at__gt=Now(),
        )
        if waiting.update(
            state=ProposalState.APPROVED,
            decided_at=Now(),
            decided_by=people.account_of(user),
            decided_reason=reason,
        ):
            _record(proposal, user, "approved", reason)
            transaction.on_commit(lambda: actions.enqueue_approved(pk), robust=True)
            return _find(pk)
    found = _find(pk)
    # An approval of an older body is not an approval of what was approved since.
    same = found.fingerprint == fingerprint and found.version == version
    if same and _decided_by(found, user) and found.state != ProposalState.REJECTED:
        return found
    raise _conflict(found, user, version=version, fingerprint=fingerprint)


def reject(pk: int, *, user: Person, version: int, reason: str) -> Proposal:
    """Refuse the proposal for good; returns it as rejected.

    The same person's second request changes nothing and returns the proposal. Raises
    :class:`InvalidError` without a reason, :class:`ForbiddenError`, :class:`ConflictError`,
    :class:`MissingError`.
    """
    proposal = _find(pk)
    people.require(user, people.APPROVE, proposal)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        waiting = Proposal.objects.filter(
            pk=pk, state=PENDING, version=version, expires_at__gt=Now()
        )
        if waiting.update(
            state=ProposalState.REJECTED,
            decided_at=Now(),
            decided_by=people.account_of(user),
            decided_reason=reason,
            closed_at=Now(),
            closed_reason=f"Rejected by {user.get_username()}: {reason}",
        ):
            _record(proposal, user, "rejected", reason)
            exchanges.end(proposal.service_id, f"Rejected by {user.get_username()}: {reason}")
            return _find(pk)
    found = _find(pk)
    if found.state == ProposalState.REJECTED and _decided_by(found, user):
        return found
    raise _conflict(found, user, version=version, fingerprint=found.fingerprint)


def expire_due(now: datetime) -> int:
    """Close what waited or stood approved past its time; returns how many.

    ``now`` is the tick's time. The database's clock must agree, so that a host whose clock runs
    ahead ends nothing early.
    """
    overdue = Proposal.objects.filter(
        state__in=(PENDING, ProposalState.APPROVED), expires_at__lte=now
    ).filter(expires_at__lte=Now())
    return overdue.update(
        closed_reason=Case(
            When(state=PENDING, then=Value("Nobody decided before it expired.")),
            default=Value("It was approved, but not carried out before it expired."),
        ),
        closed_at=now,
        state=ProposalState.EXPIRED,
    )


def _find(pk: int) -> Proposal:
    found = Proposal.objects.select_related("service", "decided_by").filter(pk=pk).first()
    if found is None:
        raise MissingError(f"There is no proposal {pk}.")
    return found


def _decided_by(found: Proposal, user: Person) -> bool:
    account = people.account_of(user)
    return account is not None and found.decided_by_id == account.pk


def body_of(proposal: Proposal) -> dict[str, Any]:
    """Return what the audit keeps of a proposal that was decided."""
    return {
        "version": proposal.version,
        "fingerprint": proposal.fingerprint,
        "from": {"prefill": proposal.from_prefill, "decode": proposal.from_decode},
        "to": {"prefill": proposal.to_prefill, "decode": proposal.to_decode},
        "then": None if proposal.then is None else proposal.then._asdict(),
    }


def _record(proposal: Proposal, user: Person, verb: str, reason: str) -> None:
    body = body_of(proposal)
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=proposal,
        before={"state": PENDING.value} | body,
        after={"state": verb} | body,
        reason=reason,
    )


def _conflict(found: Proposal, user: Person, *, version: int, fingerprint: str) -> ConflictError:
    """Return the answer in words for a transition that found no row, after recording it."""
    text = _decided_words(found) or _open_words(found, version, fingerprint)
    audit.too_late(found, user.get_username(), text)
    return ConflictError(text)


def _decided_words(found: Proposal) -> str:
    state = ProposalState(found.state)
    if state in phrases.VERBS and found.decided_at is not None:
        who = found.decided_by.get_username() if found.decided_by else "Someone"
        since_s = (database_now() - found.decided_at).total_seconds()
        return f"{who} {phrases.VERBS[state]} this {phrases.ago(since_s)}."
    if state == ProposalState.SUPERSEDED:
        return f"A newer proposal took the place of this one. {found.closed_reason}".strip()
    if state in {ProposalState.WITHDRAWN, ProposalState.STALE}:
        return f"This proposal is {state.value}. {found.closed_reason}".strip()
    return ""


def _open_words(found: Proposal, version: int, fingerprint: str) -> str:
    if found.state == ProposalState.EXPIRED or found.expires_at <= database_now():
        return f"This proposal expired at {found.expires_at:%H:%M} UTC."
    if (found.version, found.fingerprint) != (version, fingerprint):
        change = phrases.halves(
            (found.from_prefill, found.from_decode),
            (found.to_prefill, found.to_decode),
            found.then,
        )
        return f"The controller changed it to {change}: look again."
    hold = holds.read().over(found.service.slug)
    if hold is not None:
        return (
            f"{hold.by} froze {hold.scope}: nothing is carried out until someone resumes. "
            f"Reason given: {hold.reason}"
        )
    return "It changed while you pressed: look again."
