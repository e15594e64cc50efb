"""What the strip on every page says: is the controller acting, and can its numbers be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.urls import reverse

from controller.core import phrases
from controller.core.lifecycle import ProposalState, SuggestionState
from controller.models import (
    Action,
    ChainCheck,
    PolicySuggestion,
    Rearrangement,
    SimulatedFleet,
    Tick,
    holds,
    orders,
)
from controller.selectors.freezes import OUTSTANDING, host_hold
from controller.selectors.overrides import Active, read_active
from controller.selectors.standing import waiting_for
from controller.selectors.stops import Stop, read_stops
from inventory.models import Cluster, Service

AMBER_PERIODS: Final = 2
STOPPED_PERIODS: Final = 4
NO_OVERRIDES: Final = Active(0)
Reader = User | AnonymousUser


class FleetMode(StrEnum):
    """What the controller is doing, in one word."""

    ACTING = "acting"
    ADVISORY = "advisory"
    FROZEN = "frozen"
    DEGRADED = "degraded"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class FleetFreeze:
    """Who stopped automatic change, why and since when; ``resume`` is where that is ended.

    Of a flag ``since`` is unknown, and no page ends it.
    """

    by: str
    reason: str
    since: datetime | None
    resume: str = ""


@dataclass(frozen=True, slots=True)
class LastTick:
    """The newest finished look at the fleet; ``fresh`` of ``services`` had a usable driver.

    ``tampering`` is what the newest look at the audit's chain found, empty when nothing.
    """

    at: datetime
    services: int
    fresh: int
    failures: int
    tampering: str = ""


@dataclass(frozen=True, slots=True)
class Simulation:
    """What is played instead of measured: the load's speed and trace, the history's progress."""

    speed: float
    trace: str
    history_frac: float | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Counts over the configured services, what waits for the reader among them."""

    services: int
    steered: int
    frozen: int
    breaching: int
    waiting: int
    steered_frozen: int = 0
    outstanding: int = 0
    stops: tuple[Stop, ...] = ()
    overrides: Active = NO_OVERRIDES

    @property
    def frozen_parts(self) -> str:
        """What is frozen below the fleet: "FROZEN cluster eu-1-a", or how many and the widest."""
        parts = [one.scope for one in self._below]
        if len(parts) > 1:
            return f"{len(parts)} freezes, widest: {parts[0]}"
        return f"FROZEN {parts[0]}" if parts else ""

    @property
    def breakers(self) -> str:
        """The open breakers below the fleet: "breaker open: chat", or how many there are."""
        found = self._parts_tripped
        if len(found) > 1:
            return f"{len(found)} breakers open"
        return f"breaker open: {found[0].scope}" if found else ""

    @property
    def breakers_page(self) -> str:
        """Where the open breaker is reset; of several the list that has a line for each."""
        found = self._parts_tripped
        return found[0].resume if len(found) == 1 else reverse("overview")

    @property
    def _parts_tripped(self) -> list[Stop]:
        return [one for one in self.stops if one.part != "fleet" and one.is_breaker]

    @property
    def all_frozen(self) -> str:
        """Why no steered service may act though the fleet is not frozen; empty while one may."""
        if not self.steered or self.steered_frozen < self.steered:
            return ""
        told = [f"{one.scope} by {one.by}: {one.reason}" for one in self._below]
        more = f"; and {phrases.plural(len(told) - 1, 'freeze')} more" if len(told) > 1 else ""
        return f"no service is left that may act: {told[0]}{more}" if told else ""

    @property
    def _below(self) -> list[Stop]:
        return [one for one in self.stops if one.part != "fleet" and not one.is_breaker]


@dataclass(frozen=True, slots=True)
class StripState:
    """Everything the strip shows. ``tone`` is the heartbeat's: ok, warn or crit.

    ``tampering`` is what the last look found wrong with the audit's chain, empty when nothing.
    """

    mode: FleetMode
    why: str
    tone: str
    tick: LastTick | None
    period_s: int
    freeze: FleetFreeze | None
    simulation: Simulation | None
    fleet: Fleet
    tampering: str = ""

    @property
    def fresh_frac(self) -> float | None:
        """Share of services whose driver was fresh at the last tick; unknown without a tick."""
        if self.tick is None or not self.tick.services:
            return None
        return self.tick.fresh / self.tick.services

    @property
    def worst(self) -> str:
        """The worst tone of the whole fleet, for the favicon: ok, warn, crit or muted."""
        if self.fleet.breaching or self.tampering or self.mode is FleetMode.STOPPED:
            return "crit"
        if self.fleet.breakers or self.mode in {FleetMode.FROZEN, FleetMode.DEGRADED}:
            return "warn"
        return "muted" if self.mode is FleetMode.ADVISORY else "ok"

    @property
    def title(self) -> str:
        """The prefix of a page's title: "(1) ✕ 1 breach — " or nothing when all is well."""
        words = {
            FleetMode.STOPPED: "✕ stopped",
            FleetMode.FROZEN: "■ frozen",
            FleetMode.DEGRADED: "! degraded",
        }
        breaches = self.fleet.breaching
        plural = "" if breaches == 1 else "es"
        word = f"✕ {breaches} breach{plural}" if breaches else words.get(self.mode, "")
        waiting = f"({self.fleet.waiting}) " if self.fleet.waiting else ""
        return f"{waiting}{word} — " if word else waiting


def strip_state(
    tick: LastTick | None,
    fleet: Fleet,
    *,
    freeze: FleetFreeze | None,
    simulation: Simulation | None,
    now: datetime,
) -> StripState:
    """Judge the fleet at ``now``: a stopped loop hides a freeze, a freeze hides a poor view."""
    period_s = settings.TICK_S
    age_s = None if tick is None else (now - tick.at).total_seconds()
    mode, why = _mode(tick, age_s, fleet, freeze)
    return StripState(
        mode=mode,
        why=why,
        tone=_tone(age_s, period_s),
        tick=tick,
        period_s=period_s,
        freeze=freeze,
        simulation=simulation,
        fleet=fleet,
        tampering=tick.tampering if tick else "",
    )


def _mode(
    tick: LastTick | None, age_s: float | None, fleet: Fleet, freeze: FleetFreeze | None
) -> tuple[FleetMode, str]:
    if tick is None or age_s is None:
        return FleetMode.STOPPED, "the loop has not run yet"
    if age_s >= STOPPED_PERIODS * settings.TICK_S:
        return FleetMode.STOPPED, f"no tick for {STOPPED_PERIODS} periods"
    frozen = freeze.reason if freeze else fleet.all_frozen
    if freeze is not None or frozen:
        return FleetMode.FROZEN, frozen
    return _tripped(fleet) or _sight(tick) or _intent(fleet)


def _tripped(fleet: Fleet) -> tuple[FleetMode, str] | None:
    found = next((one for one in fleet.stops if one.part == "fleet" and one.is_breaker), None)
    return None if found is None else (FleetMode.DEGRADED, f"breaker open: {found.reason}")


def _sight(tick: LastTick) -> tuple[FleetMode, str] | None:
    if tick.failures and tick.failures * 2 >= tick.services:
        return FleetMode.DEGRADED, f"{tick.failures} of {tick.services} services did not answer"
    if tick.fresh * 2 < tick.services:
        return FleetMode.DEGRADED, f"{tick.fresh} of {tick.services} services have fresh metrics"
    return None


def _intent(fleet: Fleet) -> tuple[FleetMode, str]:
    if not fleet.services:
        return FleetMode.ADVISORY, "no service is configured"
    if not fleet.steered:
        return FleetMode.ADVISORY, _watched(fleet.overrides.watched_until)
    return FleetMode.ACTING, ""


def _watched(until: datetime | None) -> str:
    if until is None:
        return "every service is watched only"
    return f"decided and shown, nothing is carried out before {until.astimezone(UTC):%H:%M} UTC"


def _tone(age_s: float | None, period_s: int) -> str:
    if age_s is None or age_s >= STOPPED_PERIODS * period_s:
        return "crit"
    return "warn" if age_s >= AMBER_PERIODS * period_s else "ok"


def read_strip(reader: Reader, now: datetime, *, mine: Q | None = None) -> StripState:
    """Return the strip for one reader; eight queries whatever the size of the fleet.

    ``mine`` are the proposals the reader may decide; without it those of a right everywhere.
    """
    if mine is None:
        mine = Q() if reader.has_perm("controller.approve_proposal") else Q(pk__in=())
    fleet = _fleet(reader, now, mine)
    return strip_state(
        _last_tick(),
        fleet,
        freeze=fleet_freeze(fleet.stops),
        simulation=_simulation(),
        now=now,
    )


def fleet_freeze(stops: Iterable[Stop]) -> FleetFreeze | None:
    """Return who froze the whole fleet; a person's freeze is told before the setting."""
    found = next((one for one in stops if one.part == "fleet" and not one.is_breaker), None)
    if found is not None:
        return FleetFreeze(found.by, found.reason, found.since, found.resume)
    hold = host_hold()
    return FleetFreeze(hold.by, hold.reason, None) if hold else None


def _last_tick() -> LastTick | None:
    # What was found about the audit's chain comes with it: this is asked by every page.
    found = Subquery(ChainCheck.objects.values("problem")[:1])
    finished = Tick.objects.filter(finished_at__isnull=False).annotate(tampering=found)
    row = finished.order_by("-slot").first()
    if row is None:
        return None
    return LastTick(row.at, row.services, row.fresh, len(row.failures), row.tampering or "")


def _fleet(reader: Reader, now: datetime, decides: Q) -> Fleet:
    suggested = PolicySuggestion.objects.filter(
        service=OuterRef("pk"), state=SuggestionState.OPEN, expires_at__gt=now
    )
    breach = Q(status__ttft_breach_since__isnull=False) | Q(status__tbt_breach_since__isnull=False)
    # A service has one open proposal at most, so those that wait are counted by service.
    asked = waiting_for(reader, decides, now).filter(service=OuterRef("pk"))
    marked = Service.objects.annotate(
        held=holds.held("pk"),
        advised=orders.advisory("pk"),
        suggested_to=Exists(suggested),
        asked_of=Exists(asked),
    )
    steered = ~Q(mode=Service.Mode.OBSERVE) & Q(advised=False)
    counts = marked.aggregate(
        services=Count("pk"),
        steered=Count("pk", filter=steered),
        steered_frozen=Count("pk", filter=steered & Q(held=True)),
        frozen=Count("pk", filter=Q(held=True)),
        breaching=Count("pk", filter=breach),
        suggested=Count("pk", filter=Q(suggested_to=True)),
        changes=Count("pk", filter=Q(asked_of=True)),
    )
    changes = counts.pop("changes")
    suggestions = counts.pop("suggested")
    mine = suggestions if reader.has_perm("inventory.change_policy") else 0
    return Fleet(
        **counts,
        waiting=mine + changes + _moves_for(decides, now),
        stops=read_stops(),
        outstanding=Action.objects.filter(OUTSTANDING).count(),
        overrides=read_active(now),
    )


def _moves_for(decides: Q, now: datetime) -> int:
    waits = {"state": ProposalState.PENDING, "expires_at__gt": now}
    return Rearrangement.objects.filter(decides, **waits).count()


def _simulation() -> Simulation | None:
    if not Cluster.objects.filter(kind=Cluster.Kind.SIMULATED).exists():
        return None
    row = SimulatedFleet.objects.defer("state", "trace_body", "receipts").first()
    if row is None:
        return Simulation(1.0, "", None)
    done = row.history == SimulatedFleet.History.DONE
    return Simulation(row.speed, row.trace_label, None if done else row.history_frac)
