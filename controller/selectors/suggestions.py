"""Policy suggestions as the person who decides reads them: one card each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.db.models import Q, QuerySet

from controller.core.lifecycle import LIVE_SUGGESTIONS, SuggestionState
from controller.core.suggestion import Figures, told
from controller.models import PolicySuggestion
from inventory.models import Service

SHOWN_ENDED: Final = 50
WORDS: Final = {
    SuggestionState.OPEN: "waits for an answer",
    SuggestionState.ADOPTED: "adopted",
    SuggestionState.DISMISSED: "dismissed",
    SuggestionState.SUPERSEDED: "no longer wanted",
    SuggestionState.EXPIRED: "expired",
}
TONES: Final = {SuggestionState.OPEN: "busy", SuggestionState.ADOPTED: "ok"}
ICONS: Final = {
    SuggestionState.OPEN: "proposal",
    SuggestionState.DISMISSED: "frozen",
    SuggestionState.EXPIRED: "clock",
}


@dataclass(frozen=True, slots=True)
class Card:
    """One suggestion at ``now``; ``revision`` is the one in force, 0 where there is none."""

    suggestion: PolicySuggestion
    service: Service
    revision: int
    now: datetime

    @property
    def state(self) -> SuggestionState:
        """Where it stands; one that is overdue counts as expired before a tick closed it."""
        state = SuggestionState(self.suggestion.state)
        expires_at = self.suggestion.expires_at
        overdue = expires_at is not None and expires_at <= self.now
        return SuggestionState.EXPIRED if state == SuggestionState.OPEN and overdue else state

    @property
    def is_open(self) -> bool:
        """Whether a person may still decide."""
        return self.state == SuggestionState.OPEN

    @property
    def is_outdated(self) -> bool:
        """Whether another revision is in force than the one it was made from."""
        return self.revision != self.suggestion.revision

    @property
    def is_refreshed(self) -> bool:
        """Whether the figures moved since it was first suggested."""
        return self.suggestion.version > 1

    @property
    def measured_at(self) -> datetime | None:
        """When the look was that figures and sentence are of; ``None`` where it wasn't kept."""
        at_s = self.suggestion.evidence.get("at_s")
        return datetime.fromtimestamp(at_s, UTC) if isinstance(at_s, float) else None

    @property
    def change(self) -> str:
        """The figures before and after, in words."""
        row = self.suggestion
        before = Figures(row.from_pd_ratio, row.from_target)
        return told(before, Figures(row.pd_ratio, row.target), row.driver)

    @property
    def next_revision(self) -> int:
        """The revision that adopting it makes."""
        return self.suggestion.revision + 1

    @property
    def word(self) -> str:
        """The state in words."""
        return WORDS[self.state]

    @property
    def tone(self) -> str:
        """The colour of the state."""
        return TONES.get(self.state, "muted")

    @property
    def icon(self) -> str:
        """The icon of the state."""
        return ICONS.get(self.state, self.tone)

    @property
    def shown(self) -> tuple[object, ...]:
        """What the card is made of: it is sent again only when this differs."""
        row = self.suggestion
        return (row.pk, self.state, row.version, row.confirmed_at, self.revision)


def of_tab(tab: str, *, mine: Q, now: datetime) -> Sequence[Card]:
    """Return what a tab of the queue ("mine", "open" or "decided") shows; one query.

    ``mine`` are the suggestions I hold the right over.
    """
    if tab == "decided":
        ended = _rows().exclude(state__in=LIVE_SUGGESTIONS).order_by("-closed_at", "-pk")
        return [_card(row, now) for row in ended[:SHOWN_ENDED]]
    chosen = mine if tab == "mine" else Q()
    return [_card(row, now) for row in _open(now).filter(chosen).order_by("opened_at", "pk")]


def find(pk: int, *, now: datetime) -> Card | None:
    """Return the card of one suggestion that was ever open, ``None`` when there is none."""
    row = _rows().exclude(state=SuggestionState.FORMING).filter(pk=pk).first()
    return _card(row, now) if row else None


def open_of(service: Service, *, now: datetime) -> Card | None:
    """Return the card of the open suggestion of a service, ``None`` without one."""
    row = _open(now).filter(service=service).first()
    return _card(row, now) if row else None


def suggested(now: datetime) -> Mapping[str, Card]:
    """Return the cards of all open suggestions by the slug of their service; one query."""
    return {row.service.slug: _card(row, now) for row in _open(now)}


def _rows() -> QuerySet[PolicySuggestion]:
    return PolicySuggestion.objects.select_related(
        "service__cluster__region", "service__policy", "decided_by"
    )


def _open(now: datetime) -> QuerySet[PolicySuggestion]:
    return _rows().filter(state=SuggestionState.OPEN, expires_at__gt=now)


def _card(row: PolicySuggestion, now: datetime) -> Card:
    policy = getattr(row.service, "policy", None)
    return Card(row, row.service, policy.revision if policy else 0, now)
