"""A change that a person proposes: judged like the controller's own, then decided by another."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.approval import fingerprint, lasts_s
from controller.core.by_hand import Ground, Judged, furthest, judge
from controller.core.lifecycle import OPEN_PROPOSALS, ProposalState
from controller.core.reasons import Code
from controller.core.sentences import arrows
from controller.core.types import Instances
from controller.core.words import capitalised, counts
from controller.models import Action, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.services import approvals, audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from controller.services.rows import basis_columns, basis_of, needs_of
from inventory.models import Service

Look = Callable[[Service], Ground]
"""Reads what a change is judged by; raises :class:`LookupError` with a sentence if it can't."""

OF_NOW: Final = frozenset({Code.ADVISORY_ONLY, Code.FROZEN, Code.IN_PROGRESS, Code.UNCHANGED})
"""Refusals that no other counts would escape."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person asks for and why.

    ``seen`` is the version of the cluster's object they saw, empty where they saw none;
    ``answers`` the proposal this is made instead of, ``undoes`` the action it would roll back.
    """

    want: Instances
    reason: str
    origin: Proposal.Origin = Proposal.Origin.PERSON
    seen: str = ""
    answers: int | None = None
    undoes: UUID | None = None


def propose(service: Service, asked: Asked, *, user: Person, look: Look) -> Proposal:
    """Propose a change by hand; returns it as it waits for another person.

    It takes the place of what the controller proposed. Raises :class:`ForbiddenError`;
    :class:`InvalidError` without a reason and for counts that can't be, naming the most that can;
    :class:`ConflictError` while the service is frozen, only observed or under change, when it
    moved since the person looked, and when another person's proposal or an approved one is open.
    """
    people.require(user, people.PROPOSE, service)
    reason = people.reason_text(asked.reason, needed=True)
    ground, judged = _judged(service, asked, look)
    with transaction.atomic():
        open_one = _open_of(service)
        if open_one is not None:
            _take_place_of(open_one, judged, user, reason)
        return _write(service, asked, (ground, judged), user=user, reason=reason)


def counter(  # noqa: PLR0913 - what the person saw, and what they want instead
    pk: int, *, user: Person, version: int, want: Instances, reason: str, look: Look
) -> Proposal:
    """Propose other counts instead of a proposal that waits; returns the new one.

    The first is superseded in the same transaction; whoever proposes instead may not approve it.
    Raises what :func:`propose` raises, and :class:`MissingError`.
    """
    first = Proposal.objects.select_related("service__cluster__region").filter(pk=pk).first()
    if first is None:
        raise MissingError(f"There is no proposal {pk}.")
    people.require(user, people.PROPOSE, first)
    reason = people.reason_text(reason, needed=True)
    asked = Asked(want, reason, Proposal.Origin.COUNTER, answers=pk)
    ground, judged = _judged(first.service, asked, look)
    with transaction.atomic():
        if _supersede(first, judged, user, reason, version=version):
            return _write(first.service, asked, (ground, judged), user=user, reason=reason)
    raise ConflictError(approvals.too_late(pk, user, version=version))


def roll_back(
    action: UUID, *, user: Person, reason: str, look: Look, anyway: bool = False
) -> Proposal:
    """Propose to go back to where an action found its service; returns the proposal.

    As far as one step may (S3): the same again goes on from there.
    Refused when something was applied after it, unless ``anyway``: going back would undo that
    too. Raises what :func:`propose` raises, and :class:`MissingError`.
    """
    row = Action.objects.select_related("service__cluster__region").filter(pk=action).first()
    if row is None:
        raise MissingError(f"There is no action {action}.")
    people.require(user, people.PROPOSE, row)
    if row.applied_at is None:
        raise ConflictError("This was never applied: there is nothing to roll back.")
    later = _applied_after(row, row.applied_at)
    if later is not None and not anyway:
        raise ConflictError(later)
    asked = Asked(
        Instances(row.from_prefill, row.from_decode),
        reason,
        Proposal.Origin.ROLL_BACK,
        undoes=action,
    )
    return propose(row.service, asked, user=user, look=look)


def _applied_after(row: Action, at: datetime) -> str | None:
    """Return in words what was applied to the service since, ``None`` if nothing was."""
    later = Action.objects.filter(service=row.service_id, applied_at__gt=at).exclude(
        proposal__undoes=row
    )
    newest = later.order_by("-applied_at").first()
    if newest is None or newest.applied_at is None:
        return None
    change = phrases.counts(
        (newest.from_prefill, newest.from_decode), (newest.to_prefill, newest.to_decode)
    )
    since_s = (database_now() - newest.applied_at).total_seconds()
    return (
        f"{newest.actor} changed {change} after it, {phrases.ago(since_s)}: going back would undo "
        "that too. Roll that back first, or ask for it anyway."
    )


def _judged(service: Service, asked: Asked, look: Look) -> tuple[Ground, Judged]:
    try:
        ground = look(service)
    except LookupError as fault:
        raise ConflictError(str(fault)) from fault
    if asked.seen and asked.seen != ground.ctx.state.resource_version:
        raise ConflictError(_moved(service, ground.ctx.state.desired))
    want = asked.want if asked.undoes is None else furthest(asked.want, ground.ctx)
    judged = judge(want, ground)
    for refusal in judged.refusals:
        text = f"{capitalised(refusal.text)}."
        if refusal.code in OF_NOW:
            raise ConflictError(text)
        raise InvalidError("want", text)
    return ground, judged


def _moved(service: Service, current: Instances) -> str:
    now = phrases.counts(current, current)
    return f"{service.slug} was changed meanwhile and stands at {now} now: look again."


def _open_of(service: Service) -> Proposal | None:
    rows = Proposal.objects.select_for_update(of=("self",)).select_related("requested_by")
    return rows.filter(service=service, state__in=OPEN_PROPOSALS).first()


def _take_place_of(row: Proposal, judged: Judged, user: Person, reason: str) -> None:
    """Supersede what the controller proposed; raises :class:`ConflictError` for all else."""
    waits = row.state == ProposalState.PENDING
    if not waits or row.origin != Proposal.Origin.CONTROLLER:
        raise ConflictError(_taken(row))
    _supersede(row, judged, user, reason, version=row.version)


def _taken(row: Proposal) -> str:
    change = phrases.halves(
        (row.from_prefill, row.from_decode), (row.to_prefill, row.to_decode), row.then
    )
    who = "The controller"
    if row.origin != Proposal.Origin.CONTROLLER:
        who = row.requested_by.get_username() if row.requested_by else "The command line"
    return (
        f"{who} proposed {change} (proposal {row.pk}, {row.state}): one change of a service at a "
        "time. Decide on that first."
    )


def _supersede(row: Proposal, judged: Judged, user: Person, reason: str, *, version: int) -> bool:
    """Close a proposal that waits in this version in favour of a person's; returns whether."""
    instead = f"{user.get_username()} proposed {arrows(judged.current, judged.want)} instead"
    closed = Proposal.objects.filter(pk=row.pk, state=ProposalState.PENDING, version=version)
    if not closed.update(
        state=ProposalState.SUPERSEDED, closed_at=Now(), closed_reason=f"{instead}: {reason}"
    ):
        return False
    audit.record(
        actor=user.get_username(),
        verb="superseded",
        obj=row,
        before={"state": row.state} | approvals.body_of(row),
        after={"state": ProposalState.SUPERSEDED.value},
        reason=f"{instead}: {reason}",
    )
    return True


def _write(
    service: Service,
    asked: Asked,
    found: tuple[Ground, Judged],
    *,
    user: Person,
    reason: str,
) -> Proposal:
    ground, judged = found
    row = _row(service, asked, ground, judged)
    row.requested_by, row.requested_reason = people.account_of(user), reason
    row.sentence = _sentence(judged, user, reason)
    if asked.undoes is not None and furthest(asked.want, ground.ctx) != asked.want:
        row.sentence += (
            f" One step goes no further back: roll back again for {counts(asked.want)}."
        )
    if not _still_stands(service, judged.current, row.resource_version):
        raise ConflictError(_moved(service, judged.current))
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raced = _open_of(service)
        raise ConflictError(_taken(raced) if raced else "Somebody was faster.") from None
    audit.record(
        actor=user.get_username(),
        verb="proposed",
        obj=row,
        after={"state": ProposalState.PENDING.value, "origin": row.origin}
        | approvals.body_of(row),
        reason=reason,
    )
    return row


def _row(service: Service, asked: Asked, ground: Ground, judged: Judged) -> Proposal:
    spec, version = ground.ctx.spec, ground.ctx.state.resource_version
    now, basis = database_now(), basis_of(spec, judged.current, version)
    return Proposal(
        service=service,
        origin=asked.origin,
        answers_id=asked.answers,
        undoes_id=asked.undoes,
        **_counts(judged.current, judged.want),
        placement=judged.placement,
        predicted=judged.predicted,
        **basis_columns(basis),
        fingerprint=fingerprint(basis, judged.want),
        **needs_of(judged.change),
        created_at=now,
        evidence_at=now,
        expires_at=now + timedelta(seconds=lasts_s(judged.change, spec.policy)),
    )


def _counts(current: Instances, want: Instances) -> Mapping[str, int]:
    return {
        "from_prefill": current.prefill,
        "from_decode": current.decode,
        "to_prefill": want.prefill,
        "to_decode": want.decode,
    }


def _sentence(judged: Judged, user: Person, reason: str) -> str:
    said = f"Proposes {arrows(judged.current, judged.want)}. {user.get_username()} asked for it: "
    return " ".join([f"{said}{reason}".rstrip(".") + ".", *judged.warnings])


def _still_stands(service: Service, current: Instances, version: str) -> bool:
    """Return whether the service still is as it was when the change was judged."""
    return ServiceStatus.objects.filter(
        service=service,
        prefill_desired=current.prefill,
        decode_desired=current.decode,
        resource_version=version,
    ).exists()
