"""Rules by which people let small changes through in advance."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from controller.core.approval import Change
from controller.core.types import ROLES

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Direction(StrEnum):
    """Which way a change goes."""

    OUT = "out"
    IN = "in"
    ANY = "any"


class Within(StrEnum):
    """The network domain that what is added may not leave; empty: any."""

    ANYWHERE = ""
    S1 = "s1"
    S2 = "s2"


@dataclass(frozen=True, slots=True)
class Rule:
    """What passes: each limit that is given must hold.

    ``most_gpus`` is of the GPUs that change, ``most_frac`` of what a role has before, relative.
    The time of day runs from ``begin`` to ``end`` in ``time_zone``, over midnight where it ends
    no later than it begins; ``days`` are those on which it begins, Monday is 0, and none are all.
    ``within`` is the domain in which each group that gains an instance stays together.
    """

    direction: Direction = Direction.OUT
    most_gpus: int | None = None
    most_frac: float | None = None
    days: tuple[int, ...] = ()
    begin: time | None = None
    end: time | None = None
    time_zone: str = "UTC"
    within: Within = Within.ANYWHERE

    @property
    def is_sized(self) -> bool:
        """Whether it limits how much may change at once."""
        return self.most_gpus is not None or self.most_frac is not None


@dataclass(frozen=True, slots=True)
class Facts:
    """What a rule is held against beside the change itself.

    ``is_beyond_budget`` is whether a person was asked because the fleet gave up all it may.
    ``levels`` are how near each added instance is to its group: "s1", "s2" or "cluster".
    """

    change: Change
    needs: int = 1
    breaker_open: bool = False
    is_beyond_budget: bool = False
    levels: tuple[str, ...] = ()


def passes(rule: Rule, facts: Facts, now: datetime) -> bool:
    """Return whether a rule lets a change through at ``now``, an aware time (product: approvals).

    Never what takes two people, what is beyond the fleet's removal budget (S4), scale-in while
    the service is over its SLO, or anything while a circuit breaker is open.
    """
    return (
        not _is_for_people(facts)
        and _is_its_way(rule.direction, facts.change)
        and _is_small(rule, facts.change)
        and _is_near(rule.within, facts)
        and is_its_time(rule, now)
    )


def _is_for_people(facts: Facts) -> bool:
    shrinks_in_breach = facts.change.is_breaching and facts.change.shrinks
    return facts.needs > 1 or facts.breaker_open or facts.is_beyond_budget or shrinks_in_breach


def _is_its_way(direction: Direction, change: Change) -> bool:
    """Return whether no role goes the other way; an exchange goes both."""
    if direction is Direction.OUT:
        return not change.shrinks
    return direction is Direction.ANY or not change.grows


def _is_small(rule: Rule, change: Change) -> bool:
    if rule.most_gpus is not None and change.gpus > rule.most_gpus:
        return False
    if rule.most_frac is None:
        return True
    return all(change.moved(r) <= rule.most_frac * change.before.of(r) for r in ROLES)


def _is_near(within: Within, facts: Facts) -> bool:
    """Return whether nothing leaves the domain; what nobody placed is not known to stay in it."""
    if within is Within.ANYWHERE or not facts.change.grows:
        return True
    near = {Within.S1: {"s1"}, Within.S2: {"s1", "s2"}}[within]
    return bool(facts.levels) and set(facts.levels) <= near


def is_its_time(rule: Rule, now: datetime) -> bool:
    """Return whether a rule lets anything through at this time of the week."""
    local = now.astimezone(ZoneInfo(rule.time_zone))
    if rule.begin is None or rule.end is None:
        return _is_its_day(rule, local)
    clock = local.time()
    if rule.begin < rule.end:
        return rule.begin <= clock < rule.end and _is_its_day(rule, local)
    if clock >= rule.begin:
        return _is_its_day(rule, local)
    return clock < rule.end and _is_its_day(rule, local - timedelta(days=1))


def _is_its_day(rule: Rule, local: datetime) -> bool:
    return not rule.days or local.weekday() in rule.days
