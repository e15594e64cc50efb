"""Moves and shrunk services: proposed by a cycle, decided by a person, carried out in steps."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from django.core.exceptions import ObjectDoesNotExist
from django.db import DataError, IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.lifecycle import IN_FLIGHT, ActionState, ProposalState
from controller.core.overrides import clock
from controller.core.placement.advice import Advice, services_of
from controller.core.placement.plan_plain import NOWHERE, PlainMove, PlainPlacement, nodes_of
from controller.core.words import clean
from controller.models import Action, Rearrangement, ServiceStatus, holds
from controller.models.clock import database_now
from controller.services import audit, leadership, moving, people, placing
from controller.services.actions import action_of
from controller.services.errors import ConflictError, MissingError
from controller.services.people import Person
from inventory.models import Service
from inventory.touched import touched

PENDING: Final = ProposalState.PENDING
OPEN_FOR: Final = timedelta(minutes=30)
KEPT_FOR: Final = timedelta(seconds=90)
"""What no cycle asks for any more is taken back after so long; a reader is not left in the air."""

REFUSED_FOR: Final = timedelta(hours=1)
"""What a person rejected is not asked again so soon."""

DONE_WITHIN: Final = timedelta(hours=1)
"""How long approved moves may take before what is left of them is given up (L2)."""

CHANGED: Final = "The nodes it was planned on have changed since."
TRIED_AGAIN_AFTER: Final = timedelta(minutes=10)
"""What failed by rule is a person's to decide for so long: no loop of writes."""

BROKEN: Final = (
    ArithmeticError,
    AttributeError,
    DataError,
    LookupError,
    ObjectDoesNotExist,
    TypeError,
    ValueError,
)
"""What a row that makes no sense leads to: it ends, and the others go on (S24)."""

BY_RULE: Final = "Carried out by rule: what a service in mode automatic lost is replaced."


def keep_up(found: Sequence[Advice], *, version: int) -> None:
    """Bring the open proposals in line with what a cycle advises; one open row for each key.

    The same body is confirmed, another one replaces it under a new version. What is decided is
    left. A pending one that nothing asks for any more is superseded after a while. What a service
    in mode automatic lost is replaced beside its partners by rule, without a person. What can't be
    replaced is told among what has ended, with the reason (I08).
    """
    now = database_now()
    with transaction.atomic():
        rows = {
            row.key: row
            for row in Rearrangement.objects.select_for_update().filter(
                state__in=(PENDING, ProposalState.APPROVED, ProposalState.APPLYING)
            )
        }
        services = Service.objects.in_bulk([one.service for one in found], field_name="slug")
        refused = _ended(ProposalState.REJECTED, decided_at__gt=now - REFUSED_FOR)
        failed = _ended(ProposalState.FAILED, closed_at__gt=now - TRIED_AGAIN_AFTER)
        for advice in found:
            row, service = rows.pop(advice.key, None), services.get(advice.service)
            if row is not None and row.state == PENDING:
                _refresh(row, advice, version, now)
            elif row is None and service and advice.asks and advice.key not in refused:
                row = _propose(advice, service, version, now)
            elif row is None and service and not advice.asks:
                _tell(advice, service, version, now)
            if row is not None and _goes_by_rule(row, advice, failed):
                _approve_by_rule(row, now)
        for row in rows.values():
            if row.state == PENDING:
                _lapse(row, now)


def _ended(state: ProposalState, **when: datetime) -> set[str]:
    """Return what was asked for and ended so lately."""
    return set(Rearrangement.objects.filter(state=state, **when).values_list("key", flat=True))


def _goes_by_rule(row: Rearrangement, advice: Advice, failed: Collection[str]) -> bool:
    """Return whether nobody is asked: a whole group moves only if a person says so (S18)."""
    return (
        row.state == PENDING
        and advice.is_repair
        and row.service is not None
        and row.service.mode == Service.Mode.AUTOMATIC
        and advice.key not in failed
        and not _frozen(row, by_rule=True)
        and not any(moving.obstacles(row))
    )


def _approve_by_rule(row: Rearrangement, now: datetime) -> None:
    row.state, row.decided_at, row.decided_reason = ProposalState.APPROVED, now, BY_RULE
    row.basis = moving.basis(row)
    row.save(update_fields=["state", "decided_at", "decided_reason", "basis"])
    audit.record(
        actor="controller",
        verb="approved",
        obj=row,
        after={"state": row.state, "body": row.body},
        reason=BY_RULE,
    )


def _lapse(row: Rearrangement, now: datetime) -> None:
    """Take back what nothing asks for any more, after a while."""
    if row.expires_at <= now:
        _close(row, ProposalState.EXPIRED, "Nobody decided before it expired.")
    elif now - row.evidence_at > KEPT_FOR:
        _close(row, ProposalState.SUPERSEDED, "No longer needed.")


def _propose(advice: Advice, service: Service, version: int, now: datetime) -> Rearrangement:
    row = _row(advice, service, version, now)
    row.save()
    audit.record(
        actor="controller",
        verb="proposed moves",
        obj=row,
        after={"state": row.state, "body": row.body},
        reason=row.sentence,
    )
    return row


def _tell(advice: Advice, service: Service, version: int, now: datetime) -> None:
    """Keep why nothing can be done, in one row an hour however often it is found."""
    row = Rearrangement.objects.filter(
        key=advice.key, state=ProposalState.WITHDRAWN, created_at__gt=now - REFUSED_FOR
    ).first()
    if row is not None:
        row.closed_reason, row.closed_at, row.evidence_at = advice.sentence, now, now
        row.save(update_fields=["closed_reason", "closed_at", "evidence_at"])
        return
    row = _row(advice, service, version, now)
    row.save()
    _close(row, ProposalState.WITHDRAWN, advice.sentence)


def _row(advice: Advice, service: Service, version: int, now: datetime) -> Rearrangement:
    return Rearrangement(
        kind=advice.kind,
        service=service,
        key=advice.key,
        body=advice.body,
        gain=dict(advice.gain),
        cost=dict(advice.cost),
        sentence=advice.sentence,
        inventory_version=version,
        touched=_touched(advice.body),
        created_at=now,
        evidence_at=now,
        expires_at=now + OPEN_FOR,
    )


def _refresh(row: Rearrangement, advice: Advice, version: int, now: datetime) -> None:
    if not advice.asks:
        _close(row, ProposalState.SUPERSEDED, f"Nothing can be moved any more. {advice.sentence}")
        return
    row.evidence_at, row.expires_at = now, now + OPEN_FOR
    digest = _touched(advice.body)
    if (row.body, row.touched) != (advice.body, digest):
        row.body, row.touched = advice.body, digest
        row.version += 1
    # What it would bring may have moved though the same instances would.
    row.sentence, row.gain, row.cost = advice.sentence, dict(advice.gain), dict(advice.cost)
    row.inventory_version = version
    row.save()


def _touched(body: Mapping[str, Any]) -> str:
    return touched(nodes_of(_placement(body["moves"])))


def approve(pk: int, *, user: Person, version: int, reason: str = "") -> Rearrangement:
    """Let the moves be made; returns the row as approved.

    Counts only while it waits unexpired in the ``version`` the person saw, nothing is frozen, no
    override or limit forbids it and one person may approve it, with the right over every service
    it changes. The same person's second request changes nothing. Raises :class:`ForbiddenError`,
    :class:`ConflictError`, :class:`MissingError`.
    """
    found = _find(pk)
    moving.require(user, found)
    reason = people.reason_text(reason, needed=False)
    refused = _frozen(found)
    if not refused and found.state == PENDING:
        refused = next(moving.obstacles(found), "")
    if refused:
        audit.too_late(found, user.get_username(), refused)
        raise ConflictError(refused)
    return _decide(found, ProposalState.APPROVED, user=user, version=version, reason=reason)


def reject(pk: int, *, user: Person, version: int, reason: str) -> Rearrangement:
    """Refuse the moves; returns the row as rejected.

    The same person's second request changes nothing. Raises :class:`InvalidError` without a
    reason, :class:`ForbiddenError`, :class:`ConflictError`, :class:`MissingError`.
    """
    found = _find(pk)
    people.require(user, people.APPROVE, found)
    reason = people.reason_text(reason, needed=True)
    return _decide(found, ProposalState.REJECTED, user=user, version=version, reason=reason)


def _find(pk: int) -> Rearrangement:
    found = Rearrangement.objects.select_related("service", "decided_by").filter(pk=pk).first()
    if found is None:
        raise MissingError(f"There is no proposal of moves {pk}.")
    return found


def _decide(
    found: Rearrangement, state: ProposalState, *, user: Person, version: int, reason: str
) -> Rearrangement:
    further: dict[str, Any] = {}
    if state is ProposalState.APPROVED and found.state == PENDING:
        further = {"basis": moving.basis(found)}
    elif state is ProposalState.REJECTED:
        further = {
            "closed_at": Now(),
            "closed_reason": f"Rejected by {user.get_username()}: {reason}",
        }
    with transaction.atomic():
        waiting = Rearrangement.objects.filter(
            pk=found.pk, state=PENDING, version=version, expires_at__gt=Now()
        )
        if waiting.update(
            state=state,
            decided_at=Now(),
            decided_by=people.account_of(user),
            decided_reason=reason,
            **further,
        ):
            transaction.on_commit(placing.enqueue, robust=True)
            audit.record(
                actor=user.get_username(),
                verb=state.value,
                obj=found,
                before={"state": PENDING.value, "version": version, "body": found.body},
                after={"state": state.value, "version": version, "body": found.body},
                reason=reason,
            )
            return _find(found.pk)
    now = _find(found.pk)
    account = people.account_of(user)
    mine = account is not None and now.decided_by_id == account.pk
    if mine and now.version == version and (now.state == state or state != ProposalState.REJECTED):
        return now
    text = _conflict(now, version)
    audit.too_late(now, user.get_username(), text)
    raise ConflictError(text)


def _conflict(found: Rearrangement, version: int) -> str:
    if found.decided_at is not None:
        who = found.decided_by.get_username() if found.decided_by else "The controller"
        verb = phrases.VERBS.get(ProposalState(found.state), "decided on")
        since_s = (database_now() - found.decided_at).total_seconds()
        return f"{who} {verb} this {phrases.ago(since_s)}."
    if found.state != PENDING:
        return f"These moves are {found.state}. {found.closed_reason}".strip()
    if found.version != version:
        return "The controller changed the moves: look again."
    at_s, now_s = found.expires_at.timestamp(), database_now().timestamp()
    return f"Expired at {clock(at_s, now_s)}: look again."


def advance() -> None:
    """Begin what is approved, and record the next steps of what is under way.

    One change a service at a time; what may not begin any more ends as stale or expired, and what
    one step could not do ends the whole as failed: what was done stays, and is told. What is wrong
    with one stops no other (S24).
    """
    with transaction.atomic():
        rows = Rearrangement.objects.select_for_update(of=("self",)).filter(
            state__in=(ProposalState.APPROVED, ProposalState.APPLYING)
        )
        for row in rows.select_related("decided_by", "service").order_by("decided_at", "pk"):
            try:
                with transaction.atomic():
                    _carry_on(row)
            except BROKEN as fault:
                text = clean(f"It can't be carried on: {type(fault).__name__}: {fault}")
                _close(row, ProposalState.FAILED, text)


def _carry_on(row: Rearrangement) -> None:
    if row.state == ProposalState.APPROVED:
        _begin(row)
    if row.state == ProposalState.APPLYING:
        _step(row)


def _begin(row: Rearrangement) -> None:
    if row.expires_at <= database_now():
        _close(row, ProposalState.EXPIRED, "Approved, but not begun before it expired.")
        return
    said = _standing_in_the_way(row)
    if said:
        _close(row, ProposalState.STALE, said)
        return
    row.state = ProposalState.APPLYING
    row.save(update_fields=["state"])


def _frozen(row: Rearrangement, *, by_rule: bool = False) -> str:
    """Return what stops the moves; an open breaker stops those that nobody approved."""
    found = holds.read()
    over = found.automatic_over if by_rule else found.over
    for slug in services_of(row.body):
        hold = over(slug)
        if hold is not None and hold.is_breaker:
            return f"The circuit breaker of {hold.scope} is open: {hold.reason}"
        if hold is not None:
            return f"Frozen ({hold.scope}) by {hold.by}: {hold.reason}"
    return ""


def _standing_in_the_way(row: Rearrangement) -> str:
    """Return why approved moves, or the rest of them, must not go on, if so (S18, A03, A04)."""
    frozen = _frozen(row, by_rule=row.decided_by is None)
    if frozen:
        return frozen
    if row.decided_by is None:
        mode = row.service.mode if row.service and row.decided_reason == BY_RULE else ""
        if mode != Service.Mode.AUTOMATIC:
            return "The service is no longer in mode automatic."
    if row.touched != _touched(row.body):
        return CHANGED
    return next(moving.objections(row), "")


def _step(row: Rearrangement) -> None:
    actions = {action.service.slug: action for action in row.actions.select_related("service")}
    lost = [
        one for one in actions.values() if one.state in (ActionState.FAILED, ActionState.CANCELLED)
    ]
    if lost:
        text = f"{lost[0].service.slug}: {lost[0].error} What was moved before stays so."
        _close(row, ProposalState.FAILED, text)
        return
    wanted = services_of(row.body)
    if row.decided_at and database_now() - row.decided_at > DONE_WITHIN:
        left = ", ".join(slug for slug in wanted if slug not in actions) or "some steps"
        text = f"Not done within {DONE_WITHIN.total_seconds() / 60:.0f} min: {left} had no turn."
        _close(row, ProposalState.FAILED, text)
        return
    if all(slug in actions and _is_done(actions[slug]) for slug in wanted):
        _close(row, ProposalState.APPLIED, "")
        return
    busy = set(
        Action.objects.filter(
            Q(state__in=IN_FLIGHT) | Q(state=ActionState.APPLIED, ended_at=None),
            service__slug__in=wanted,
        ).values_list("service__slug", flat=True)
    )
    _begin_steps(row, [slug for slug in wanted if slug not in actions and slug not in busy])


def _begin_steps(row: Rearrangement, due: Sequence[str]) -> None:
    said = _standing_in_the_way(row) if due else ""
    if said:
        _close(row, ProposalState.STALE, f"{said} What was moved before stays so.")
        return
    for slug in due:
        said = _record(row, slug)
        if said:
            _close(row, ProposalState.FAILED, said)
            return


def _is_done(step: Action) -> bool:
    """Return whether a step has come to its end; a later change of the service may overtake it."""
    overtaken = step.state == ActionState.APPLIED and step.ended_at is not None
    return overtaken or step.state == ActionState.READY


def _record(row: Rearrangement, slug: str) -> str:
    """Record the step of one service; returns why it can't be taken, if it can't."""
    service = Service.objects.get(slug=slug)
    status = ServiceStatus.objects.filter(service=service).first() or ServiceStatus()
    now = {"prefill": status.prefill_desired, "decode": status.decode_desired}
    moves = [move for move in row.body["moves"] if move["service"] == slug]
    shrunk = next((one for one in row.body["shrinks"] if one["service"] == slug), None)
    want = shrunk["after"] if shrunk else now
    if shrunk and now != shrunk["before"]:
        return f"{slug} stands at prefill {now['prefill']}, decode {now['decode']} now."
    there = {one["name"] for one in status.instances}
    gone = sorted(move["instance"] for move in moves if move["instance"] not in there)
    if gone:
        return f"{', '.join(gone)} of {slug} is no longer there."
    placement: PlainPlacement = _placement(moves)
    placement["touched"] = touched(nodes_of(placement))
    placement["removals"] = shrunk["removals"] if shrunk else []
    # That no other change is in flight is the database's rule (S11): then its turn comes later.
    with suppress(IntegrityError), transaction.atomic():
        action_of(
            service,
            row,
            (now, want),
            placement=placement,
            resource_version=status.resource_version,
            epoch=leadership.current_epoch(),
        )
    return ""


def _placement(moves: Sequence[PlainMove]) -> PlainPlacement:
    return {**NOWHERE, "moves": list(moves)}


def _close(row: Rearrangement, state: ProposalState, text: str) -> None:
    row.state, row.closed_reason, row.closed_at = state, text, database_now()
    row.save(update_fields=["state", "closed_reason", "closed_at"])
    audit.record(
        actor="controller",
        verb=f"moves {state.value}",
        obj=row,
        after={"state": state.value},
        reason=text,
    )
