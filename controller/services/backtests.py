"""Backtests as people steer them: asked for once, within limits, and cancelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from controller.core.backtest_states import Source, State
from controller.models import Backtest, Trace
from controller.services import audit, backtest_jobs, caps, people
from controller.services.errors import ConflictError, MissingError, TooManyError
from controller.services.people import Person
from inventory.models import Service

CURATED: Final = "curate"
"""Where a backtest keeps for how many GPUs a ratio is to be found, and the share to be kept."""

MOST_QUEUED: Final = 20
MOST_QUEUED_EACH: Final = 5


@dataclass(frozen=True, slots=True)
class Load:
    """What is played: exactly one of a trace, a service's recording or a generator."""

    source: Source
    name: str
    trace: Trace | None = None
    service: Service | None = None
    since: datetime | None = None
    until: datetime | None = None
    generator: Mapping[str, str | float] | None = None


def ask(key: UUID, *, asked: Mapping[str, Any], load: Load, user: Person) -> Backtest:
    """Queue a backtest and return it; ``key`` is its id, so the same form makes one only.

    Raises :class:`ForbiddenError`, :class:`TooManyError`, and :class:`ConflictError` when the
    key is somebody else's or asked for something else.
    """
    people.require(user, people.BACKTEST)
    with transaction.atomic():
        caps.one_at_a_time()
        found = Backtest.objects.filter(pk=key).first()
        if found is not None:
            return _again(found, asked, user)
        _check_caps(user)
        made = Backtest.objects.create(
            id=key,
            created_at=Now(),
            created_by=people.account_of(user),
            asked=dict(asked),
            source=load.source,
            load_name=load.name[:200],
            trace=load.trace,
            service=load.service,
            recorded_since=load.since,
            recorded_until=load.until,
            generator=None if load.generator is None else dict(load.generator),
        )
        audit.record(
            actor=user.get_username(),
            verb=f"started a {_kind(made)}",
            obj=made,
            after={"state": State.QUEUED.value, "load": made.load_name, "asked": dict(asked)},
        )
        transaction.on_commit(lambda: backtest_jobs.enqueue(key), robust=True)
    made.refresh_from_db()
    return made


def cancel(pk: UUID, *, user: Person) -> Backtest:
    """End a queued backtest at once, and ask the worker of a running one to stop.

    A second request changes nothing. Raises :class:`ForbiddenError`, :class:`MissingError`, and
    :class:`ConflictError` when it has ended already.
    """
    people.require(user, people.BACKTEST)
    by = {"cancel_requested_at": Now(), "cancel_requested_by": people.account_of(user)}
    with transaction.atomic():
        # Locked: a run that is queued again meanwhile would be neither the one nor the other.
        found = Backtest.objects.select_for_update().filter(pk=pk).first()
        if found is None:
            raise MissingError(f"There is no backtest {pk}.")
        if found.state in {State.DONE, State.FAILED}:
            raise ConflictError(f"It was {found.state} before it could be cancelled.")
        mine = Backtest.objects.filter(pk=pk, cancel_requested_at=None)
        asked = backtest_jobs.move(
            mine.filter(state=State.QUEUED), State.CANCELLED, finished_at=Now(), **by
        ) or mine.filter(state=State.RUNNING).update(**by)
        return _cancelled(pk, user, State(found.state)) if asked else found


def _cancelled(pk: UUID, user: Person, before: State) -> Backtest:
    found = Backtest.objects.get(pk=pk)
    audit.record(
        actor=user.get_username(),
        verb=f"cancelled a {_kind(found)}",
        obj=found,
        before={"state": before.value},
        after={"state": found.state, "cancel_requested": True},
    )
    return found


def _kind(row: Backtest) -> str:
    return "curation" if CURATED in row.asked else "backtest"


def _again(found: Backtest, asked: Mapping[str, Any], user: Person) -> Backtest:
    account = people.account_of(user)
    if account is None or found.created_by_id != account.pk:
        raise ConflictError("This form was sent by somebody else: send it again to ask anew.")
    if found.asked != dict(asked):
        raise ConflictError(
            "This form was sent before with other values, and that backtest stays as it is: "
            "send it again to start another one."
        )
    return found


def _check_caps(user: Person) -> None:
    queued = Backtest.objects.filter(state=State.QUEUED)
    if (waiting := queued.count()) >= MOST_QUEUED:
        raise TooManyError(
            f"{waiting} backtests wait already, and {MOST_QUEUED} may: try again when one is done."
        )
    mine = queued.filter(created_by=people.account_of(user)).count()
    if mine >= MOST_QUEUED_EACH:
        raise TooManyError(
            f"{mine} of your backtests wait already, and {MOST_QUEUED_EACH} may: "
            "cancel one, or try again when one is done."
        )
