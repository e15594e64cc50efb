"""What needs a person, worst first: at most a handful of lines, each with one thing to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Q
from django.urls import reverse

from controller.core import phrases, wording
from controller.core.lifecycle import ActionState, ProposalState
from controller.core.override_words import title_of
from controller.core.reasons import PASSING
from controller.core.types import Move
from controller.models import (
    Action,
    EndpointStatus,
    OutsideChange,
    Override,
    Proposal,
    Rearrangement,
)
from controller.selectors import outside
from controller.selectors.clusters import Connected, read_clusters
from controller.selectors.services import DecisionLine, Latency, ServiceRow
from controller.selectors.strip import FleetMode, StripState
from controller.selectors.suggestions import Card

MOST: Final = 7
FOUND_LATELY: Final = timedelta(minutes=3)
"""A loss that was not found again since has been replaced, or is no more."""

IN_PART_FOR: Final = timedelta(minutes=2)
"""So long an endpoint may answer in part before anybody is told."""

TOLD_FOR: Final = timedelta(hours=24)
"""How long the overview tells of a broken glass."""

QUALITY_WORDS: Final = {
    "stale": "has stale metrics",
    "missing": "has no metrics",
    "invalid": "has invalid metrics",
    "partial": "has partial metrics",
}


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves that wait or failed, and whether the reader may answer them."""

    row: Rearrangement
    may_decide: bool


@dataclass(frozen=True, slots=True)
class Silent:
    """An endpoint of metrics that does not answer, or only in part, and how many read from it."""

    row: EndpointStatus
    services: int


Other = Moves | Override | Proposal | OutsideChange | Silent | Connected
"""What is told beside the services and their suggestions."""

# Ranks of the sources, worst first.
_LOOP, _BREACH, _ACTION, _BLIND, _ASKS, _BLOCKED, _ENDING, _SUGGESTED, _FROZEN = range(9)


@dataclass(frozen=True, slots=True)
class Item:
    """One line: its rank and tone, whom it is about, what is so since when, and where to go."""

    rank: int
    tone: str
    subject: str
    sentence: str
    since: datetime | None
    address: str
    button: str


@dataclass(frozen=True, slots=True)
class Attention:
    """The lines shown, and how many more there are."""

    items: tuple[Item, ...]
    more: int
    services: int
    breaching: int
    unknown: int
    last_change_at: datetime | None

    @property
    def heading(self) -> str:
        """Whether anything is over its SLO, then how much there is; never calmer than known."""
        one = self.breaching == 1
        if self.breaching:
            return f"{_services(self.breaching)} {'is over its' if one else 'are over their'} SLO"
        count = len(self.items) + self.more
        things = "one thing needs" if count == 1 else f"{count} things need"
        return f"{self._slo}; {things} attention"

    @property
    def _slo(self) -> str:
        if not self.unknown:
            return "No service is over its SLO"
        keep = "keeps its" if self.unknown == 1 else "keep their"
        return f"Whether {_services(self.unknown).lower()} {keep} SLO is not known"


def _services(count: int) -> str:
    return "One service" if count == 1 else f"{count} services"


LOOKED_AT: Final = frozenset({ActionState.FAILED, ActionState.UNKNOWN, ActionState.PARTLY})
"""Actions of which somebody should know, while they are the newest of their service."""


@dataclass(frozen=True, slots=True)
class LatestAction:
    """The newest action of one service."""

    state: str
    error: str
    at: datetime


def read_latest_actions() -> Mapping[str, LatestAction]:
    """Return the newest action of every service, by slug, in one query."""
    rows = (
        Action.objects.order_by("service_id", "-recorded_at")
        .distinct("service_id")
        .values_list("service__slug", "state", "error", "recorded_at")
    )
    return {slug: LatestAction(state, error, at) for slug, state, error, at in rows}


def attention(
    rows: Iterable[ServiceRow],
    actions: Mapping[str, LatestAction],
    suggestions: Mapping[str, Card],
    strip: StripState,
    others: Iterable[Other] = (),
) -> Attention:
    """Judge what needs a person; pure, so every source has its own test.

    ``others`` are moves that wait or failed, overrides that end soon, broken glass, changes from
    outside, and clusters and endpoints that don't answer.
    """
    rows = tuple(rows)
    found = [*_loop(strip), *_tampering(strip), *map(_other, others), *_stops(strip)]
    for row in rows:
        found.extend(_service(row, actions.get(row.slug)))
        if row.slug in suggestions:
            found.append(_suggested(row.slug, suggestions[row.slug]))
    found.sort(key=lambda item: (item.tone != "crit", item.rank, item.subject))
    changes = [row.last_change_at for row in rows if row.last_change_at]
    return Attention(
        items=tuple(found[:MOST]),
        more=max(0, len(found) - MOST),
        services=len(rows),
        breaching=sum(any(each.tone == "crit" for each in row.latencies) for row in rows),
        unknown=sum(any(each.tone == "muted" for each in row.latencies) for row in rows),
        last_change_at=max(changes, default=None),
    )


def _loop(strip: StripState) -> Iterator[Item]:
    since = strip.tick.at if strip.tick else None
    tone = {FleetMode.STOPPED: "crit", FleetMode.DEGRADED: "warn"}.get(strip.mode)
    if tone:
        yield Item(
            _LOOP, tone, "The loop", f"is {strip.mode}: {strip.why}.", since, "/readyz", "Check"
        )


def _tampering(strip: StripState) -> Iterator[Item]:
    if strip.tampering:
        sentence = f"has a broken chain: {strip.tampering}"
        yield Item(_LOOP, "crit", "The audit", sentence, None, reverse("audit"), "Open")


def _stops(strip: StripState) -> Iterator[Item]:
    """Return what stops more than one service in a line of its own, and every open breaker.

    A freeze of the whole fleet is told by the strip.
    """
    for stop in strip.fleet.stops:
        subject, address = stop.subject, stop.resume
        if stop.is_breaker:
            sentence = f"is stopped: its circuit breaker opened. {stop.reason}"
            yield Item(_ACTION, "crit", subject, sentence, stop.since, address, "Reset…")
        elif stop.part in {"region", "cluster"}:
            sentence = f"is frozen by {stop.by}: {stop.reason}."
            yield Item(_FROZEN, "frozen", subject, sentence, stop.since, address, "Resume…")


def _service(row: ServiceRow, action: LatestAction | None) -> Iterator[Item]:
    breach = _breach(row)
    if breach:
        yield breach
    elif row.proposal:
        yield _about(row, _ASKS, "busy", _asks(row), row.proposal.created_at)
    if action and action.state in LOOKED_AT:
        yield _about(row, _ACTION, "crit", _action(action), action.at)
    if row.unregistered and not row.stale:
        yield _about(row, _ACTION, "warn", _unregistered(row.unregistered), row.observed_at)
    blind = _blind(row)
    if blind:
        since = row.observed_at if row.stale else row.metrics.measured_at
        yield _about(row, _BLIND, "muted", blind, since)
    elif row.decision and _is_stuck(row.decision) and not row.freeze:
        yield _about(row, _BLOCKED, "warn", row.decision.sentence, row.decision.first_at)
    if row.freeze and row.freeze.is_own and not row.freeze.is_breaker:
        sentence = f"is frozen by {row.freeze.by}: {row.freeze.reason}."
        yield _about(row, _FROZEN, "frozen", sentence, row.freeze.since)


def _suggested(service: str, card: Card) -> Item:
    row = card.suggestion
    sentence = f"could have another policy: {card.change} is suggested."
    address = reverse("suggestion", args=[row.pk])
    return Item(_SUGGESTED, "busy", service, sentence, row.opened_at, address, "Review…")


def _other(row: Other) -> Item:  # noqa: PLR0911 - one for each kind
    match row:
        case Override():
            return _ending(row)
        case Proposal():
            return _glass(row)
        case OutsideChange():
            return _outside(row)
        case Silent():
            return _silent(row)
        case Connected():
            return _dark(row)
        case Moves():
            return _moves(row.row, may_decide=row.may_decide)


def _outside(row: OutsideChange) -> Item:
    """Return that somebody else changed counts, and nobody said what is to become of it."""
    sentence = f"was changed by somebody else: {outside.Row(row).words}."
    address = row.get_absolute_url()
    return Item(_ASKS, "warn", row.service.slug, sentence, row.seen_at, address, "Answer…")


def _silent(silent: Silent) -> Item:
    """Return that an endpoint does not answer: what reads from it holds."""
    row = silent.row
    what = "" if row.endpoint.kind == "scrape" else "Prometheus "
    why = f" {row.told[0]}" if row.told else ""
    one = silent.services == 1
    held = f"{_services(silent.services)} {'holds' if one else 'hold'}"
    failed = row.state == EndpointStatus.State.FAILED
    end = f" {held}." if failed else f" {_services(silent.services)} may lack figures."
    sentence = f"{row.get_state_display()}.{why}{end}"
    address = row.endpoint.get_absolute_url()
    tone = "crit" if failed else "warn"
    return Item(_BLIND, tone, f"{what}{row.endpoint.slug}", sentence, row.since, address, "Open")


def read_silent(now: datetime) -> list[Silent]:
    """Return the endpoints that services read from and that don't answer as they should.

    One failure alone is asked again at the next tick and not told; one query.
    """
    failed = Q(state=EndpointStatus.State.FAILED, failures__gte=2)
    partly = Q(state=EndpointStatus.State.PARTIAL, since__lt=now - IN_PART_FOR)
    rows = EndpointStatus.objects.filter(failed | partly, endpoint__enabled=True)
    counted = rows.annotate(readers=Count("endpoint__uses")).filter(readers__gt=0)
    return [
        Silent(row, row.readers)
        for row in counted.select_related("endpoint").order_by("endpoint__slug")
    ]


def _dark(row: Connected) -> Item:
    """Return that a cluster does not answer: what runs there is not known and counts as it was."""
    why = f" {row.told[0]}" if row.told else ""
    end = " Nothing is decided for its services." if row.tone == "crit" else ""
    address = reverse("cluster", args=[row.cluster.slug])
    sentence = f"{row.word}.{why}{end}"
    since = row.sight.since if row.sight and not row.is_stale else row.heard_at
    return Item(_BLIND, row.tone, f"Cluster {row.cluster.slug}", sentence, since, address, "Open")


def read_dark(now: datetime) -> list[Connected]:
    """Return the clusters that are watched and don't answer as they should; one query."""
    return [each for each in read_clusters(now) if each.is_down]


def _ending(row: Override) -> Item:
    """Return that an override ends soon: automatic change goes on then."""
    sentence = (
        f"is under an override by {row.by_name} that ends within 15 min: {title_of(row.kind)}."
    )
    subject = row.scope[0].upper() + row.scope[1:] if row.service is None else row.scope
    return Item(
        _ENDING, "warn", subject, sentence, row.starts_at, row.get_absolute_url(), "Extend…"
    )


def _glass(row: Proposal) -> Item:
    """Return that somebody let a change through without waiting for others (A11)."""
    who = row.decider or "the command line"
    sentence = f"was let through by {who} without waiting for others: {row.decided_reason}."
    address = row.get_absolute_url()
    return Item(_ACTION, "warn", row.service.slug, sentence, row.decided_at, address, "Open")


def read_broken_glass(now: datetime) -> list[Proposal]:
    """Return what somebody let through alone within a day; one query."""
    alone = Proposal.objects.filter(is_break_glass=True, decided_at__gt=now - TOLD_FOR)
    return list(alone.select_related("service", "decided_by").order_by("-decided_at"))


def _moves(row: Rearrangement, *, may_decide: bool) -> Item:
    """Return moves that wait for an answer, or why nothing replaces what a service lost."""
    name = row.service.slug if row.service else "The fleet"
    if row.state == ProposalState.PENDING:
        rank, tone, sentence = _ASKS, "busy", f"asks for moves: {row.sentence}"
        address, button = row.get_absolute_url(), "Decide…" if may_decide else "Look…"
    else:
        rank, tone, sentence = _ACTION, "crit", f"lost instances. {row.closed_reason}"
        address, button = reverse("service-placement", args=[name]), "Open"
    return Item(rank, tone, name, sentence, row.created_at, address, button)


def read_moves(now: datetime) -> list[Rearrangement]:
    """Return the moves that wait, and the losses found lately that nothing replaces; one query."""
    waits = Q(state=ProposalState.PENDING, expires_at__gt=now)
    told = Q(
        state=ProposalState.WITHDRAWN,
        kind=Rearrangement.Kind.REPLACE,
        evidence_at__gt=now - FOUND_LATELY,
    )
    return list(Rearrangement.objects.filter(waits | told).select_related("service__cluster"))


def _is_stuck(decision: DecisionLine) -> bool:
    return decision.move == Move.BLOCKED and decision.code not in PASSING


def _about(row: ServiceRow, rank: int, tone: str, sentence: str, since: datetime | None) -> Item:
    if row.proposal and rank in {_BREACH, _ASKS}:
        address = reverse("approval", args=[row.proposal.pk])
        return Item(rank, tone, row.slug, sentence, since, address, "Review…")
    address = reverse("service", args=[row.slug])
    return Item(rank, tone, row.slug, sentence, since, address, "Open")


def _breach(row: ServiceRow) -> Item | None:
    over = [each for each in row.latencies if each.tone == "crit"]
    if not over:
        return None
    words = " and ".join(_over(each) for each in over)
    proposed = f" {_asks(row).capitalize()}" if row.proposal else ""
    started = min((each.breach_since for each in over if each.breach_since), default=None)
    return _about(row, _BREACH, "crit", f"{words}.{proposed}", started)


def _over(latency: Latency) -> str:
    value, goal = wording.latency(latency.value_s), wording.latency(latency.goal_s)
    return f"{latency.name} p95 {value} against {goal}"


def _asks(row: ServiceRow) -> str:
    return f"{row.proposal.change} is proposed." if row.proposal else ""


def _action(action: LatestAction) -> str:
    if action.state == ActionState.UNKNOWN:
        return "has a change that was sent and not answered: its outcome is unknown."
    if action.state == ActionState.PARTLY:
        why = f" {action.error}" if action.error else ""
        return f"has a change of which one half is done: it is finished or taken back.{why}"
    return f"could not be changed: {action.error or 'no reason was given'}."


def _unregistered(count: int) -> str:
    many = phrases.plural(count, "instance")
    verb = "is" if count == 1 else "are"
    return (
        f"has {many} that {verb} up and out of service discovery: while it is only observed nobody"
        " registers them."
    )


def _blind(row: ServiceRow) -> str:
    if row.failure:
        return f"cannot be observed: {row.failure.rstrip('.')}."
    if row.stale:
        return "has not been observed for two ticks; its numbers are old."
    return _poorly_measured(row)


def _poorly_measured(row: ServiceRow) -> str:
    metrics = row.metrics
    if metrics.quality == "partial":
        return f"has partial metrics: {metrics.reporting} of {metrics.expected} instances report."
    if not metrics.trusted:
        return f"{QUALITY_WORDS.get(metrics.quality, 'has no metrics')}; scale-in is held."
    unknown = [each.name for each in row.latencies if each.tone == "muted"]
    return f"{' and '.join(unknown)} cannot be judged: not measured." if unknown else ""
