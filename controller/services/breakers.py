"""The controller stops itself, and a person lets it go on."""

from collections.abc import Callable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.breaker import Trip
from controller.core.types import Hold
from controller.models import Breaker
from controller.models.clock import database_now
from controller.models.holds import BY_ITSELF, Holds
from controller.models.scopes import FLEET, keys_of
from controller.services import actions, audit, overriding, people
from controller.services.errors import ConflictError, MissingError
from controller.services.people import Person
from inventory.models import Service


def with_trips(stops: Holds, trips: Sequence[Trip], now_s: float) -> Callable[[str], Hold | None]:
    """Return what holds services once the breakers of a tick are open, before there are rows."""
    opened = {
        trip.service: Hold(trip.service or FLEET, BY_ITSELF, trip.cause, now_s, is_breaker=True)
        for trip in trips
    }

    def over(service: str) -> Hold | None:
        return stops.automatic_over(service) or opened.get(None) or opened.get(service)

    return over


def open_all(trips: Sequence[Trip], now: datetime) -> list[Breaker]:
    """Open the breakers of a tick, one a scope; call it inside the transaction of the tick."""
    services = Service.objects.in_bulk(
        [trip.service for trip in trips if trip.service], field_name="slug"
    )
    opened = []
    for trip in trips:
        about = services.get(trip.service) if trip.service else None
        if trip.service and about is None:
            continue
        row, is_new = Breaker.objects.get_or_create(
            **keys_of(about),
            ended_at=None,
            defaults={"opened_at": now, "cause": trip.cause, "evidence": dict(trip.evidence)},
        )
        if is_new:
            opened.append(row)
            audit.record(
                actor="controller",
                verb="opened a breaker",
                obj=about,
                after={"breaker": row.pk, "scope": row.scope, "evidence": row.evidence},
                reason=trip.cause,
            )
    return opened


def call_off(opened: Sequence[Breaker]) -> None:
    """Cancel what is recorded in the scopes and not sent, and that no person approved."""
    for row in opened:
        text = f"The circuit breaker of {row.scope} is open: {row.cause}"
        actions.call_off_within(row.about, text, approved=False)


def reset(pk: int, *, user: Person, reason: str, watch_first: bool = True) -> Breaker:
    """Let the controller act by itself again; returns the breaker as ended.

    With ``watch_first`` the scope is only observed for a while, from the same moment on (A09).
    Raises :class:`ConflictError` naming who was faster, :class:`ForbiddenError`,
    :class:`MissingError`, and :class:`InvalidError` without a reason.
    """
    found = Breaker.objects.select_related("service", "cluster", "region").filter(pk=pk).first()
    if found is None:
        raise MissingError(f"There is no breaker {pk}.")
    people.require(user, people.RESUME, found.about)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        if Breaker.objects.filter(pk=pk, ended_at=None).update(
            ended_at=Now(), ended_by_name=user.get_username(), end_reason=reason
        ):
            audit.record(
                actor=user.get_username(),
                verb="reset a breaker",
                obj=found.about,
                before={"breaker": pk, "scope": found.scope, "cause": found.cause},
                after={"breaker": pk, "open": False},
                reason=reason,
            )
            if watch_first:
                overriding.watch(found.about, after="Breaker reset", user=user, reason=reason)
            found.refresh_from_db()
            return found
    found.refresh_from_db()
    ended_at = found.ended_at or database_now()
    ago = phrases.ago((database_now() - ended_at).total_seconds())
    raise ConflictError(f"{found.ended_by_name} reset the breaker of {found.scope} {ago}.")
