"""What circuit breakers are judged by, and those that are open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q

from controller.core.breaker import USUAL, Attempt, Sight, Thresholds, Trip, judge
from controller.core.cycle import Outcome
from controller.core.lifecycle import ActionState
from controller.core.types import Decision, Instances, Mode, Quality
from controller.models import Action, Breaker, ServiceStatus, Tick, holds
from controller.models.scopes import About, keys_of

DONE: Final = (ActionState.APPLIED, ActionState.READY, ActionState.FAILED)
LATE_PERIODS: Final = 2
"""An older tick says nothing of the one before: the loop stood still in between."""


def attempts(now: datetime, limits: Thresholds = USUAL) -> list[Attempt]:
    """Return the latest automatic actions, each since the last reset of its scope; two queries."""
    since = now - timedelta(
        seconds=max(limits.failed_s, limits.fleet_failed_s, limits.reversals_s)
    )
    reset = _resets(since)
    rows = Action.objects.filter(
        Q(proposal=None) | Q(proposal__rule__isnull=False),
        Q(rearrangement=None) | Q(rearrangement__decided_by=None),
        state__in=DONE,
        recorded_at__gt=since,
        recorded_at__lte=now,
    ).values_list(
        "service__slug",
        "recorded_at",
        "state",
        "from_prefill",
        "from_decode",
        "to_prefill",
        "to_decode",
    )
    return [
        Attempt(
            service=slug,
            at_s=at.timestamp(),
            delta=Instances(to_prefill - from_prefill, to_decode - from_decode),
            failed=state == ActionState.FAILED,
        )
        for slug, at, state, from_prefill, from_decode, to_prefill, to_decode in rows
        if at > max(reset.get(slug, since), reset.get("", since))
    ]


def _resets(since: datetime) -> dict[str, datetime]:
    """Return when breakers were last reset, by service; the fleet's under the empty name."""
    rows = Breaker.objects.filter(ended_at__gt=since).order_by("ended_at")
    return {slug or "": at for slug, at in rows.values_list("service__slug", "ended_at") if at}


def tripped(
    outcome: Outcome,
    stops: holds.Holds,
    now: datetime,
    *,
    tick_s: float,
    limits: Thresholds = USUAL,
) -> tuple[Trip, ...]:
    """Return what makes the controller stop itself, what it stopped already left aside.

    Four queries, none while the fleet's breaker is open.
    """
    if stops.breaker is not None:
        return ()
    states = {key: one.state for key, one in outcome.view.observations.items()}
    ready = {key: sum(state.ready) for key, state in states.items() if state is not None}
    found = judge(
        attempts(now, limits),
        sight_of(outcome.decisions, ready),
        sights_before(now, tick_s=tick_s, limits=limits),
        now_s=now.timestamp(),
        limits=limits,
    )
    found = (*found, *_fought_over(outcome))
    return tuple(trip for trip in found if trip.service not in stops.broken)


def _fought_over(outcome: Outcome) -> Iterator[Trip]:
    """Yield services that others scale as well: two hands never agree (K13).

    Of those the controller changes by itself: while a person decides, one hand is enough.
    """
    alone = {one.service for one in outcome.decisions if one.mode is Mode.AUTOMATIC}
    for service, rivals in sorted(outcome.view.rivals.items()):
        if service in alone and rivals:
            more = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
            yield Trip(
                service, f"Somebody else scales it: {rivals[0]}{more}.", {"rivals": list(rivals)}
            )


def sight_of(decisions: Sequence[Decision], ready: Mapping[str, int]) -> Sight:
    """Return what a tick sees; ``ready`` are instances by service."""
    fresh = [one for one in decisions if _is_fresh(one)]
    loads = {
        one.service: one.load * sum(one.current)
        for one in fresh
        if one.load is not None and ready.get(one.service)
    }
    return Sight(len(decisions), len(fresh), loads)


def _is_fresh(decision: Decision) -> bool:
    driver = decision.signals.get(decision.driver)
    return driver is not None and driver.quality is Quality.OK


def sights_before(now: datetime, *, tick_s: float, limits: Thresholds = USUAL) -> list[Sight]:
    """Return what the last ticks saw, the newest first, the loads of that one alone; two queries.

    A gap in the ticks ends them.
    """
    rows = Tick.objects.filter(finished_at__isnull=False, at__lt=now).order_by("-slot")
    found = list(_unbroken(list(rows[: limits.fresh_ticks]), now, tick_s))
    sights = [Sight(row.services, row.fresh) for row in found]
    if found:
        sights[0] = Sight(found[0].services, found[0].fresh, _loads(found[0].at))
    return sights


def _unbroken(rows: Sequence[Tick], now: datetime, tick_s: float) -> Iterator[Tick]:
    later = now
    for row in rows:
        if (later - row.at).total_seconds() > LATE_PERIODS * tick_s:
            return
        yield row
        later = row.at


def _loads(at: datetime) -> dict[str, float]:
    """Return the instances the load took at a tick, by service, as its decisions say."""
    rows = ServiceStatus.objects.filter(
        decision__last_at=at, decision__load__isnull=False
    ).values_list(
        "service__slug",
        "decision__load",
        "decision__current_prefill",
        "decision__current_decode",
    )
    return {slug: (load or 0.0) * (prefill + decode) for slug, load, prefill, decode in rows}


def open_of(about: About) -> Breaker | None:
    """Return the open breaker of exactly this scope."""
    return Breaker.objects.filter(**keys_of(about), ended_at=None).first()


def find(pk: int) -> Breaker | None:
    """Return the breaker, with what it holds for."""
    return Breaker.objects.select_related("service", "cluster", "region").filter(pk=pk).first()
