"""What a person makes of counts that somebody else wrote: keep them, go back, or stop."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.overrides import OverrideKind
from controller.models import Freeze, OutsideChange, Override, Proposal
from controller.models.clock import database_now
from controller.services import audit, freezes, manual, outside, overriding, people
from controller.services.errors import ConflictError, MissingError, SteeringError
from controller.services.people import Person

PINNED_FOR: Final = timedelta(hours=1)
"""How long counts that are kept are pinned: the policy is to be changed by then, or rules."""

_Answer = OutsideChange.Answer
RIGHTS: Final[Mapping[OutsideChange.Answer, str]] = {
    _Answer.ADOPTED: people.OVERRIDE,
    _Answer.RESTORED: people.PROPOSE,
    _Answer.FROZEN: people.FREEZE,
}
"""The right that each answer needs over the service."""

DONE: Final[Mapping[str, str]] = {
    _Answer.ADOPTED: "kept the new counts",
    _Answer.RESTORED: "proposed to go back",
    _Answer.FROZEN: "froze the service",
}


def adopt(pk: int, *, user: Person, reason: str) -> Override:
    """Keep the new counts for an hour by a pin; returns it.

    Raises what :func:`overriding.place` raises: a pin outside the limits is refused with the
    field. Like the other answers it raises :class:`MissingError`, :class:`ForbiddenError`,
    :class:`InvalidError` without a reason, and :class:`ConflictError` once it is answered.
    """
    row, reason = _opened(pk, _Answer.ADOPTED, user, reason)
    with _faster(row, user), transaction.atomic():
        _claim(row, _Answer.ADOPTED, user, reason)
        return overriding.place(
            OverrideKind.PIN,
            row.service,
            {"prefill": row.to_prefill, "decode": row.to_decode},
            ends_at=database_now() + PINNED_FOR,
            reason=reason,
            user=user,
        )


def restore(pk: int, *, user: Person, reason: str, look: manual.Look) -> Proposal:
    """Propose the counts from before; another person decides. Raises what a proposal raises."""
    row, reason = _opened(pk, _Answer.RESTORED, user, reason)
    before, _ = row.ends
    with _faster(row, user), transaction.atomic():
        # The proposal first, as a tick locks them: the other way round they deadlock.
        made = manual.propose(row.service, manual.Asked(before, reason), user=user, look=look)
        _claim(row, _Answer.RESTORED, user, reason)
        return made


def freeze(pk: int, *, user: Person, reason: str) -> Freeze:
    """Freeze the service until a person resumes it. Raises what a freeze raises."""
    row, reason = _opened(pk, _Answer.FROZEN, user, reason)
    with _faster(row, user):
        return freezes.freeze(
            about=row.service,
            user=user,
            reason=reason,
            also=lambda: _claim(row, _Answer.FROZEN, user, reason),
        )


@contextmanager
def _faster(row: OutsideChange, user: Person) -> Iterator[None]:
    """Tell a refusal as what it is, where somebody or something answered meanwhile."""
    try:
        yield
    except SteeringError:
        now = _find(row.pk)
        if now.answer == outside.OPEN:
            raise
        raise _late(now, user) from None


def _opened(
    pk: int, answer: OutsideChange.Answer, user: Person, reason: str
) -> tuple[OutsideChange, str]:
    """Return the change and the reason, if this person may give this answer to it still."""
    row = _find(pk)
    people.require(user, RIGHTS[answer], row.service)
    reason = people.reason_text(reason, needed=True)
    if row.answer != outside.OPEN:
        raise _late(row, user)
    return row, reason


def _find(pk: int) -> OutsideChange:
    rows = OutsideChange.objects.select_related("service__cluster__region")
    row = rows.filter(pk=pk).first()
    if row is None:
        raise MissingError(f"There is no change from outside {pk}.")
    return row


def _claim(row: OutsideChange, answer: OutsideChange.Answer, user: Person, reason: str) -> None:
    """Answer the change, if it is open still; raises :class:`ConflictError`."""
    if not OutsideChange.objects.filter(pk=row.pk, answer=outside.OPEN).update(
        answer=answer,
        answered_at=Now(),
        answered_by_name=user.get_username(),
        answer_reason=reason,
    ):
        raise ConflictError("It was answered meanwhile.")
    audit.record(
        actor=user.get_username(),
        verb=f"outside change {answer.value}",
        obj=row,
        before={"answer": outside.OPEN},
        after={"answer": answer.value, "counts": phrases.counts(*row.ends)},
        reason=reason,
    )


def _late(row: OutsideChange, user: Person) -> ConflictError:
    """Return in words who or what was faster, and record that this person was not."""
    since = phrases.ago((database_now() - (row.answered_at or row.seen_at)).total_seconds())
    if row.answer == _Answer.OVERTAKEN:
        text = f"It was overtaken {since}: {row.answer_reason}"
    else:
        who = "You" if row.answered_by_name == user.get_username() else row.answered_by_name
        text = f"{who} {DONE[row.answer]} {since}: {row.answer_reason}"
    audit.record(
        actor=user.get_username(),
        verb="was too late to decide",
        obj=row,
        after={"answer": row.answer},
        reason=text,
    )
    return ConflictError(text)
