"""Overrides as people read them: in force, to come and over, and what each does now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from django.db.models import Count, Min, Q, QuerySet

from controller.core import wording
from controller.core.override_words import title_of, values_words
from controller.core.overrides import OverrideKind
from controller.models import AuditEvent, Freeze, Override, ServiceStatus
from controller.models.scopes import About, chain_of, name_of
from controller.selectors.series import Ask
from inventory.models import Service

TABS: Final = ("active", "upcoming", "past")
SHOWN: Final = 100
HISTORY: Final = 50
IDLE: Final = timedelta(hours=1)
"""An override that no tick felt for longer may be forgotten."""
SOON: Final = timedelta(minutes=15)
ROLES: Final = ("decode", "prefill")


@dataclass(frozen=True, slots=True)
class Active:
    """How many overrides are in force, when the next ends, and the next that only observes."""

    count: int
    ends_at: datetime | None = None
    watched_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Felt:
    """What one override did to the last decision of one service."""

    service: str
    binding: bool
    words: str
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One override as it stands at ``now``; ``felt`` are the services it holds for now."""

    override: Override
    now: datetime
    felt: tuple[Felt, ...] = ()

    @property
    def tab(self) -> str:
        """Active, upcoming or past."""
        row = self.override
        if row.ended_at is not None or row.ends_at <= self.now:
            return "past"
        return "upcoming" if row.starts_at > self.now else "active"

    @property
    def title(self) -> str:
        """Its kind in words."""
        return title_of(self.override.kind)

    @property
    def values(self) -> str:
        """Its values in words; empty where the kind has none."""
        return values_words(self.override.kind, self.override.values)

    @property
    def over_at(self) -> datetime:
        """When it ended, or will."""
        return self.override.ended_at or self.override.ends_at

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        row = self.override
        if row.ended_at is None:
            return "ended by itself"
        return f"ended by {row.ended_by_name}: {row.end_reason}"

    @property
    def is_ending(self) -> bool:
        """Whether it ends within a quarter of an hour."""
        return self.tab == "active" and self.override.ends_at - self.now < SOON

    @property
    def binding(self) -> tuple[Felt, ...]:
        """The services it changes something for now."""
        return tuple(one for one in self.felt if one.binding)

    @property
    def is_frozen(self) -> bool:
        """Whether a freeze holds what it asks for."""
        return any(one.frozen for one in self.felt)

    @property
    def quiet_for(self) -> timedelta:
        """How long no tick has felt it."""
        return self.now - (self.override.bound_at or self.override.starts_at)

    @property
    def is_idle(self) -> bool:
        """Whether it is asked if it is still needed; a freeze need not bind to be wanted."""
        if self.tab != "active" or self.override.kind == OverrideKind.FREEZE:
            return False
        return not self.binding and not self.is_frozen and self.quiet_for >= IDLE

    @property
    def effect(self) -> str:
        """What it does now, in words."""
        fixed = {"past": self.ending, "upcoming": "not yet in force"}.get(self.tab, "")
        return fixed or self._felt

    @property
    def _felt(self) -> str:
        if self.binding:
            return _binding(self.binding)
        if self.override.kind == OverrideKind.FREEZE:
            return "holds back every change"
        if self.is_frozen:
            return "in force; what it asks for is frozen"
        return f"not binding for {wording.coarse(self.quiet_for.total_seconds())}"

    @property
    def about(self) -> About:
        """What it holds for."""
        return self.override.about

    @property
    def shown(self) -> tuple[object, ...]:
        """What a list shows of it, ages left out."""
        return (self.override.pk, self.override.version, self.tab, self.felt, self.is_idle)


def _binding(found: Sequence[Felt]) -> str:
    if len(found) == 1:
        return f"binding: {found[0].words}"
    return f"binding for {len(found)} services: " + "; ".join(
        f"{one.service} {one.words}" for one in found[:3]
    )


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; ``scope`` is a key as "cluster:eu-1-a" and ``about`` it."""

    tab: str = "active"
    kind: str = ""
    scope: str = ""
    about: About = None

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the tab is chosen."""
        return bool(self.kind or self.scope)

    @property
    def query(self) -> str:
        """The kind and scope as a query string."""
        given = {"kind": self.kind, "scope": self.scope}
        return urlencode({name: value for name, value in given.items() if value})

    @property
    def words(self) -> str:
        """What is chosen, in words."""
        told = [f"kind: {title_of(self.kind)}"] if self.kind else []
        return ", ".join([*told, *([f"for {name_of(self.about)}"] if self.scope else [])])


@dataclass(frozen=True, slots=True)
class Listing:
    """One tab of the list, with how many each tab has."""

    rows: tuple[Row, ...]
    counts: Mapping[str, int]
    filters: Filters

    @property
    def ever(self) -> int:
        """How many there are in all tabs together."""
        return sum(self.counts.values())

    @property
    def shown(self) -> tuple[object, ...]:
        """What the list is made of."""
        return (self.filters, *self.counts.values(), *(row.shown for row in self.rows))


def _of_tab(tab: str, now: datetime) -> Q:
    if tab == "past":
        return Q(ended_at__isnull=False) | Q(ends_at__lte=now)
    alive = Q(ended_at=None, ends_at__gt=now)
    return alive & (Q(starts_at__gt=now) if tab == "upcoming" else Q(starts_at__lte=now))


def rows() -> QuerySet[Override]:
    """Return overrides with what they hold for."""
    return Override.objects.select_related("region", "cluster", "service")


def read_active(now: datetime) -> Active:
    """Return how many are in force and when the next ends; one query."""
    found = Override.objects.filter(_of_tab("active", now)).aggregate(
        count=Count("pk"),
        # Before the next line takes the name of the column.
        watched_until=Min("ends_at", filter=Q(kind=OverrideKind.ADVISORY)),
        ends_at=Min("ends_at"),
    )
    return Active(**found)


def listing(filters: Filters, now: datetime) -> Listing:
    """Return one tab of the list, soonest end first, the past latest first; three queries."""
    chosen = Q(kind=filters.kind) if filters.kind else Q()
    if filters.scope:
        chosen &= chain_of(filters.about).covering
    counts = Override.objects.aggregate(
        **{tab: Count("pk", filter=_of_tab(tab, now)) for tab in TABS}
    )
    order = ("-ends_at", "-pk") if filters.tab == "past" else ("ends_at", "pk")
    found = rows().filter(chosen, _of_tab(filters.tab, now)).order_by(*order)[:SHOWN]
    felt = read_felt() if filters.tab == "active" else {}
    return Listing(tuple(Row(one, now, felt.get(one.pk, ())) for one in found), counts, filters)


def find(pk: int, now: datetime) -> Row | None:
    """Return one override with what it does now, ``None`` without it; two queries."""
    found = rows().filter(pk=pk).first()
    return Row(found, now, read_felt().get(pk, ())) if found else None


def of_service(service: Service, now: datetime) -> tuple[Row, ...]:
    """Return what is in force for a service, read with its cluster; two queries."""
    found = list(rows().filter(_of_tab("active", now), chain_of(service).covering))
    felt = read_felt(service) if found else {}
    return tuple(Row(one, now, felt.get(one.pk, ())) for one in found)


def ending_soon(now: datetime) -> list[Override]:
    """Return those that end within a quarter of an hour; one query."""
    return list(rows().filter(_of_tab("active", now), ends_at__lt=now + SOON))


def history(pk: int) -> Sequence[AuditEvent]:
    """Return what people did to an override, the newest first."""
    return list(AuditEvent.objects.filter(object_type="override", object_id=str(pk))[:HISTORY])


def read_felt(service: Service | None = None) -> dict[int, tuple[Felt, ...]]:
    """Return by override what the last decisions felt of it, for one service or all; one query."""
    found = ServiceStatus.objects.filter(decision__terms__has_key="overrides")
    if service is not None:
        found = found.filter(service=service)
    felt: dict[int, list[Felt]] = {}
    told = found.order_by("service__slug").values_list("service__slug", "decision__terms")
    for slug, terms in told:
        for one in terms["overrides"]:
            felt.setdefault(int(one["id"]), []).append(
                Felt(slug, bool(one.get("binding")), _wanted(one), bool(one.get("frozen")))
            )
    return {pk: tuple(found) for pk, found in felt.items()}


def _wanted(one: Mapping[str, Any]) -> str:
    """Return "wanted decode 31, held 24" of the roles that differ."""
    wanted, held = one.get("wanted"), one.get("held")
    if not isinstance(wanted, Mapping) or not isinstance(held, Mapping):
        return "in force"
    told = [
        f"{role} wanted {wanted[role]}, held {held[role]}"
        for role in ROLES
        if role in wanted and role in held and wanted[role] != held[role]
    ]
    return "; ".join(told) or "in force"


@dataclass(frozen=True, slots=True)
class Span:
    """One override or freeze on a time axis; ``until_s`` is absent while a freeze lasts."""

    label: str
    scope: str
    kind: str
    by: str
    reason: str
    since_s: float
    until_s: float | None
    state: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Overrides and freezes between two times [s], widest scope first."""

    spans: tuple[Span, ...]
    since_s: float
    until_s: float
    now_s: float
    left_out: int = 0


MOST_SPANS: Final = 40


def read_timeline(ask: Ask) -> Timeline:
    """Return what held in the range and what will hold, as far ahead as back; two queries."""
    since, now, until = ask.since, ask.now, ask.until + (ask.until - ask.since)
    alive = Q(ended_at=None) | Q(ended_at__gt=since)
    timed = rows().filter(alive, ends_at__gt=since, starts_at__lt=until).order_by("-ends_at")
    freezes = Freeze.objects.select_related("region", "cluster", "service").filter(alive)
    spans = [
        *(_span(Row(one, now)) for one in timed[: MOST_SPANS + 1]),
        *(_freeze(one) for one in freezes[: MOST_SPANS + 1]),
    ]
    spans.sort(key=lambda one: (one.state == "past", one.scope != "the fleet", one.scope))
    kept = spans[:MOST_SPANS]
    ends = [one.until_s for one in kept if one.until_s is not None]
    return Timeline(
        tuple(kept),
        since.timestamp(),
        min(until.timestamp(), max([now.timestamp() + 3600, *ends])),
        now.timestamp(),
        len(spans) - len(kept),
    )


def _span(row: Row) -> Span:
    one = row.override
    return Span(
        label=f"{row.title} {row.values}".strip(),
        scope=one.scope,
        kind=one.kind,
        by=one.by_name,
        reason=one.reason,
        since_s=one.starts_at.timestamp(),
        until_s=row.over_at.timestamp(),
        state=row.tab,
    )


def _freeze(one: Freeze) -> Span:
    return Span(
        label="Frozen until resumed",
        scope=one.scope,
        kind="freeze",
        by=one.by_name,
        reason=one.reason,
        since_s=one.since.timestamp(),
        until_s=one.ended_at.timestamp() if one.ended_at else None,
        state="past" if one.ended_at else "active",
    )
