"""What people decide about a proposal: each transition is one conditional UPDATE."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from django.db import transaction
from django.db.models import Case, Value, When
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.approval import must_type
from controller.core.lifecycle import ProposalState
from controller.core.overrides import clock
from controller.core.words import capitalised
from controller.models import Proposal, ProposalComment, Verdict, holds, orders
from controller.models.clock import database_now
from controller.models.drift import drift
from controller.services import actions, approvers, audit, exchanges, people
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
    SteeringError,
)
from controller.services.people import Person

log = structlog.get_logger(__name__)

PENDING = ProposalState.PENDING
OPEN_TO_PEOPLE: Final = (PENDING, ProposalState.APPROVED)
CARRIED: Final = (
    ProposalState.APPROVED,
    ProposalState.APPLYING,
    ProposalState.APPLIED,
    ProposalState.FAILED,
)
"""States in which an approval has been given and used at most once."""


def approve(  # noqa: PLR0913 - what the person saw, said and asked for
    pk: int,
    *,
    user: Person,
    version: int,
    fingerprint: str,
    reason: str = "",
    break_glass: bool = False,
    typed_gpus: int | None = None,
) -> Proposal:
    """Let the proposal be carried out, as far as one person can; returns it.

    Counts only while the proposal waits unexpired, in exactly the ``version`` and with the
    ``fingerprint`` the person saw, and nothing is frozen. It is approved once as many people as
    it needs have done so; nobody counts twice, and nobody approves their own. ``break_glass``
    takes a right of its own and a reason, waits for nobody, and is announced (A11). It and a large
    step that takes away need ``typed_gpus``, exactly the GPUs that change hands, and a reason. The
    same person's second request changes nothing and returns the proposal. Raises
    :class:`ForbiddenError`, :class:`InvalidError`, :class:`ConflictError`, :class:`MissingError`.
    """
    proposal = _find(pk)
    people.require(user, people.BREAK_GLASS if break_glass else people.APPROVE, proposal)
    reason = people.reason_text(reason, needed=break_glass)
    if approvers.is_own(proposal, user) and not break_glass:
        raise _own(proposal, user)
    said = _Said(user, version, fingerprint, reason, break_glass, typed_gpus)
    if not (holds.by_environment() or holds.by_file()) and _count_in(pk, said):
        return _find(pk)
    found = _find(pk)
    # An approval of an older body is not an approval of what was approved since.
    same = found.fingerprint == fingerprint and found.version == version
    if same and found.state in CARRIED and _approved_by(found, user):
        return found
    raise _conflict(found, user, version=version, fingerprint=fingerprint)


@dataclass(frozen=True, slots=True)
class _Said:
    """One person's approval: of what, why, whether it waits for others, and the GPUs typed."""

    user: Person
    version: int
    fingerprint: str
    reason: str
    break_glass: bool
    typed_gpus: int | None


def _count_in(pk: int, said: _Said) -> bool:
    """Add the person's approval, and let the proposal through if it is the last one needed.

    The row is locked meanwhile, so that of many at once one completes it. Returns whether the
    proposal waited as it was seen.
    """
    with transaction.atomic():
        waiting = Proposal.objects.filter(
            ~holds.held(),
            pk=pk,
            state=PENDING,
            version=said.version,
            fingerprint=said.fingerprint,
            expires_at__gt=Now(),
        )
        row = waiting.select_for_update().first()
        if row is None or _drift(row):
            return False
        _require_typed(row, said)
        _, is_new = Verdict.objects.get_or_create(
            proposal=row,
            version=said.version,
            user=people.account_of(said.user),
            defaults={
                "fingerprint": said.fingerprint,
                "by_name": said.user.get_username(),
                "at": Now(),
                "reason": said.reason,
            },
        )
        lacking = row.needs - len(approvers.valid(row))
        if lacking > 0 and not said.break_glass:
            if is_new:
                _record(row, said.user, "gave one approval", said.reason, after=PENDING)
            return True
        let_through = waiting.update(
            state=ProposalState.APPROVED,
            decided_at=Now(),
            decided_by=people.account_of(said.user),
            decided_by_name=said.user.get_username(),
            decided_reason=said.reason,
            is_break_glass=lacking > 0,
        )
        if not let_through:  # frozen or expired since it was locked
            transaction.set_rollback(True)
            return False
        _announce(row, said, broke=lacking > 0)
        transaction.on_commit(lambda: actions.enqueue_approved(pk), robust=True)
        return True


def _drift(row: Proposal) -> tuple[str, ...]:
    """Return what changed since it was proposed: an approval would come to nothing (A03)."""
    return drift(row, orders.read_for(row.service), database_now().timestamp())


def _require_typed(row: Proposal, said: _Said) -> None:
    """Refuse what takes a second look and was not given it: the GPUs typed, and a reason."""
    change = row.change()
    if not (said.break_glass or must_type(change, row.needs)):
        return
    if said.typed_gpus != change.gpus:
        raise InvalidError("typed", f"Type the number of GPUs that change hands: {change.gpus}.")
    people.reason_text(said.reason, needed=True)


def _announce(row: Proposal, said: _Said, *, broke: bool) -> None:
    """Record who let it through; one who waited for nobody is told of loudly (A11)."""
    verb = "broke the glass" if broke else "approved"
    _record(row, said.user, verb, said.reason, after=ProposalState.APPROVED)
    if broke:
        log.warning(
            "glass broken", proposal=row.pk, by=said.user.get_username(), reason=said.reason
        )


def _own(proposal: Proposal, user: Person) -> ForbiddenError:
    """Return the answer to a person who approves what they asked for, after recording it."""
    account = people.account_of(user)
    asked = proposal.requested_by_id == (account.pk if account else None)
    by_hand = proposal.origin != Proposal.Origin.CONTROLLER or account is not None
    did = "asked for this change" if asked and by_hand else "set an override that shaped this"
    text = (
        f"{user.get_username()} {did}: another person approves it, or it is let through by "
        "breaking the glass."
    )
    audit.record(
        actor=user.get_username(), verb="was refused their own", obj=proposal, reason=text
    )
    return ForbiddenError(text)


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
            decided_by_name=user.get_username(),
            decided_reason=reason,
            closed_at=Now(),
            closed_reason=f"Rejected by {user.get_username()}: {reason}",
        ):
            _record(proposal, user, "rejected", reason, after=ProposalState.REJECTED)
            exchanges.end(proposal.service_id, f"Rejected by {user.get_username()}: {reason}")
            return _find(pk)
    found = _find(pk)
    if found.state == ProposalState.REJECTED and found.decider == user.get_username():
        return found
    raise _conflict(found, user, version=version, fingerprint=found.fingerprint)


def withdraw(pk: int, *, user: Person, version: int, reason: str) -> Proposal:
    """Take back what a person proposed, before it is carried out; returns it as withdrawn.

    Its requester may, and whoever may approve it. Raises :class:`ConflictError` for one of the
    controller, which is rejected instead, and when it is too late; :class:`InvalidError` without
    a reason, :class:`ForbiddenError`, :class:`MissingError`.
    """
    proposal = _find(pk)
    if not (approvers.is_own(proposal, user) and user.is_active):
        people.require(user, people.APPROVE, proposal)
    reason = people.reason_text(reason, needed=True)
    if proposal.origin == Proposal.Origin.CONTROLLER:
        raise ConflictError("The controller proposed this: reject it instead.")
    words = f"Withdrawn by {user.get_username()}: {reason}"
    with transaction.atomic():
        if Proposal.objects.filter(pk=pk, state__in=OPEN_TO_PEOPLE, version=version).update(
            state=ProposalState.WITHDRAWN, closed_at=Now(), closed_reason=words
        ):
            _record(proposal, user, "withdrew", reason, after=ProposalState.WITHDRAWN)
            return _find(pk)
    found = _find(pk)
    if found.state == ProposalState.WITHDRAWN and found.closed_reason == words:
        return found
    raise _conflict(found, user, version=version, fingerprint=found.fingerprint)


def comment(pk: int, *, user: Person, text: str) -> ProposalComment:
    """Say something about a proposal without deciding; also when it is closed.

    Raises :class:`InvalidError` for no text or too long a one, :class:`ForbiddenError`,
    :class:`MissingError`.
    """
    proposal = _find(pk)
    people.require(user, people.PROPOSE, proposal)
    said = people.reason_text(text, needed=True)
    with transaction.atomic():
        made = ProposalComment.objects.create(
            proposal=proposal,
            user=people.account_of(user),
            by_name=user.get_username(),
            at=Now(),
            text=said,
        )
        audit.record(actor=user.get_username(), verb="commented", obj=proposal, reason=said)
    made.refresh_from_db()
    return made


@dataclass(frozen=True, slots=True)
class Item:
    """A proposal as a person saw it in a list."""

    pk: int
    version: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one of several: done, or why not."""

    pk: int
    is_done: bool
    text: str


def bulk(items: Iterable[Item], *, user: Person, verb: str, reason: str) -> list[Result]:
    """Approve, reject or withdraw several, each for itself; returns what became of each.

    By number, each in a transaction of its own: one that is refused keeps no other. ``verb`` is
    "approve", "reject" or "withdraw". Raises :class:`InvalidError` for another.
    """
    if verb not in _VERBS:
        raise InvalidError("verb", f"{verb!r} is none; choose from {', '.join(_VERBS)}.")
    return [
        _one_of_many(item, _VERBS[verb], user, reason)
        for item in sorted(items, key=lambda one: one.pk)
    ]


def _one_of_many(
    item: Item, decide: Callable[[Item, Person, str], Proposal], user: Person, reason: str
) -> Result:
    try:
        done = decide(item, user, reason)
    except SteeringError as refusal:
        return Result(item.pk, is_done=False, text=str(refusal))
    if done.state == PENDING:
        given = len(approvers.valid(done))
        return Result(item.pk, is_done=True, text=f"{given} of {done.needs} approvals are given.")
    return Result(item.pk, is_done=True, text=f"{ProposalState(done.state).value.capitalize()}.")


_VERBS: Final[Mapping[str, Callable[[Item, Person, str], Proposal]]] = {
    "approve": lambda one, user, reason: approve(
        one.pk, user=user, version=one.version, fingerprint=one.fingerprint, reason=reason
    ),
    "reject": lambda one, user, reason: reject(
        one.pk, user=user, version=one.version, reason=reason
    ),
    "withdraw": lambda one, user, reason: withdraw(
        one.pk, user=user, version=one.version, reason=reason
    ),
}


def expire_due(now: datetime) -> int:
    """Close what waited or stood approved past its time; returns how many.

    ``now`` is the tick's time. The database's clock must agree, so that a host whose clock runs
    ahead ends nothing early.
    """
    overdue = Proposal.objects.filter(
        state__in=(PENDING, ProposalState.APPROVED), expires_at__lte=now
    ).filter(expires_at__lte=Now())
    with transaction.atomic():
        rows = list(overdue.select_for_update(of=("self",)).select_related("service"))
        if not rows:
            return 0
        Proposal.objects.filter(pk__in=[row.pk for row in rows]).update(
            closed_reason=Case(
                When(state=PENDING, then=Value(_LEFT)), default=Value(_LEFT_APPROVED)
            ),
            closed_at=now,
            state=ProposalState.EXPIRED,
        )
        record_closed(
            [(row, _LEFT if row.state == PENDING else _LEFT_APPROVED) for row in rows],
            ProposalState.EXPIRED,
        )
    return len(rows)


_LEFT: Final = "Nobody decided before it expired."
_LEFT_APPROVED: Final = "It was approved, but not carried out before it expired."


def record_closed(closed: Iterable[tuple[Proposal, str]], state: ProposalState) -> None:
    """Add an event for each that the controller closed, with why, in one statement.

    The rows are as they were before, read with their service.
    """
    audit.record_each(
        (
            (row, {"state": row.state} | body_of(row), {"state": state.value, "why": why})
            for row, why in closed
        ),
        actor="controller",
        verb=state.value,
    )


def _find(pk: int) -> Proposal:
    found = (
        Proposal.objects.select_related("service__cluster", "decided_by", "rule")
        .filter(pk=pk)
        .first()
    )
    if found is None:
        raise MissingError(f"There is no proposal {pk}.")
    return found


def _approved_by(found: Proposal, user: Person) -> bool:
    account = people.account_of(user)
    return any(one.user == account for one in approvers.of(found))


def body_of(proposal: Proposal) -> dict[str, Any]:
    """Return what the audit keeps of a proposal that was decided."""
    return {
        "version": proposal.version,
        "fingerprint": proposal.fingerprint,
        "from": {"prefill": proposal.from_prefill, "decode": proposal.from_decode},
        "to": {"prefill": proposal.to_prefill, "decode": proposal.to_decode},
        "then": None if proposal.then is None else proposal.then._asdict(),
    }


def _record(
    proposal: Proposal, user: Person, verb: str, reason: str, *, after: ProposalState
) -> None:
    body = body_of(proposal)
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=proposal,
        before={"state": proposal.state} | body,
        after={"state": after.value} | body,
        reason=reason,
    )


def _conflict(found: Proposal, user: Person, *, version: int, fingerprint: str) -> ConflictError:
    """Return the answer in words for a transition that found no row, after recording it."""
    text = _decided_words(found) or _open_words(found, version, fingerprint)
    audit.too_late(found, user.get_username(), text)
    return ConflictError(text)


def too_late(pk: int, user: Person, *, version: int) -> str:
    """Return in words why a proposal can't be decided on in this version, after recording it."""
    found = _find(pk)
    return str(_conflict(found, user, version=version, fingerprint=found.fingerprint))


def _decided_words(found: Proposal) -> str:
    state = ProposalState(found.state)
    if state in phrases.VERBS and found.decided_at is not None:
        who = _decider(found)
        since_s = (database_now() - found.decided_at).total_seconds()
        return f"{who} {phrases.VERBS[state]} this {phrases.ago(since_s)}."
    if state == ProposalState.SUPERSEDED:
        return f"A newer proposal took the place of this one. {found.closed_reason}".strip()
    if state in {ProposalState.WITHDRAWN, ProposalState.STALE}:
        return f"This proposal is {state.value}. {found.closed_reason}".strip()
    return ""


def _decider(found: Proposal) -> str:
    rejected = found.state == ProposalState.REJECTED
    return (found.decider if rejected else approvers.names(found)) or "Someone"


def _open_words(found: Proposal, version: int, fingerprint: str) -> str:
    if found.state == ProposalState.EXPIRED or found.expires_at <= database_now():
        at_s, now_s = found.expires_at.timestamp(), database_now().timestamp()
        return f"This proposal expired at {clock(at_s, now_s)}."
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
    changed = "; ".join(_drift(found))
    nothing = f"{capitalised(changed)}: an approval would come to nothing. Look again."
    return nothing if changed else "It changed while you pressed: look again."
