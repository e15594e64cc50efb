"""Proposals of moves as the person who decides reads them: one card each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Q, QuerySet

from controller.core.lifecycle import OPEN_PROPOSALS, ProposalState
from controller.core.types import Role
from controller.models import Action, Rearrangement
from controller.selectors.proposals import ICONS, TONES, WORDS

SHOWN_DECIDED: Final = 50
TITLES: Final = {
    Rearrangement.Kind.ROOM: "Make room for {}",
    Rearrangement.Kind.TOGETHER: "Bring P and D of {} together",
    Rearrangement.Kind.REPLACE: "Replace instances of {}",
    Rearrangement.Kind.SHRINK: "Shrink lower priorities for {}",
}
EFFECTS: Final = {
    Rearrangement.Kind.ROOM: "Nothing moves; the service stays as it is until there is room.",
    Rearrangement.Kind.TOGETHER: "Nothing moves; the pairs stay apart.",
    Rearrangement.Kind.REPLACE: "What is lost stays lost; nothing replaces it.",
    Rearrangement.Kind.SHRINK: "Nobody shrinks; the service stays as it is until there is room.",
}


@dataclass(frozen=True, slots=True)
class MoveLine:
    """One instance: where it is and where it would go, as nodes with GPUs."""

    service: str
    instance: str
    role: str
    group: str
    cluster: str
    before: Sequence[tuple[str, int]]
    after: Sequence[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class ShrinkLine:
    """One service that gives way: counts before and after, and who goes."""

    service: str
    before: str
    after: str
    gone: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class RoomLine:
    """One common shape of instances: how many fit before and after, and the largest group."""

    shape: str
    fits: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Card:
    """One proposal of moves at ``now``, with the steps taken so far."""

    row: Rearrangement
    now: datetime
    steps: Sequence[Action]

    @property
    def state(self) -> ProposalState:
        """Where it stands; one that is overdue counts as expired before anybody closed it."""
        state = ProposalState(self.row.state)
        overdue = self.row.expires_at <= self.now
        return ProposalState.EXPIRED if state == ProposalState.PENDING and overdue else state

    @property
    def is_pending(self) -> bool:
        """Whether a person may still decide."""
        return self.state == ProposalState.PENDING

    @property
    def title(self) -> str:
        """What it is for, in one line."""
        return TITLES[Rearrangement.Kind(self.row.kind)].format(self.service)

    @property
    def service(self) -> str:
        """Who gains by it."""
        return self.row.service.slug if self.row.service else "the fleet"

    @property
    def if_nothing(self) -> str:
        """What happens if nobody decides."""
        return EFFECTS[Rearrangement.Kind(self.row.kind)]

    @property
    def moves(self) -> list[MoveLine]:
        """Who would change place."""
        return [
            MoveLine(
                one["service"],
                one["instance"],
                one["role"],
                one["group"],
                one["cluster"],
                sorted(one["from_nodes"].items()),
                sorted(one["to_nodes"].items()),
            )
            for one in self.row.body["moves"]
        ]

    @property
    def shrinks(self) -> list[ShrinkLine]:
        """Who would give way."""
        return [
            ShrinkLine(
                one["service"], _counts(one["before"]), _counts(one["after"]), one["removals"]
            )
            for one in self.row.body["shrinks"]
        ]

    @property
    def disturbed(self) -> str:
        """How many instances of whom it disturbs."""
        counted = Counter(one["service"] for one in self.row.body["moves"])
        for one in self.row.body["shrinks"]:
            counted[one["service"]] += len(one["removals"])
        told = (f"{count} of {service}" for service, count in sorted(counted.items()))
        return ", ".join(told) or "nobody"

    @property
    def shapes(self) -> list[RoomLine]:
        """What else would fit before and after, by common shape; empty where it stays the same."""
        lines = []
        for one in self.row.gain.get("shapes", ()):
            nodes = f" on {one['nodes']} nodes" if one["nodes"] > 1 else ""
            shape = f"{one['gpus']} × {' or '.join(one['hardware'])}{nodes}"
            fits, largest = one["fits"], one["largest"]
            line = RoomLine(
                shape, (fits["before"], fits["after"]), (largest["before"], largest["after"])
            )
            if len(set(line.fits)) > 1 or len(set(line.largest)) > 1:
                lines.append(line)
        return lines

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
        steps = tuple((step.pk, step.state) for step in self.steps)
        return (self.row.pk, self.state, self.row.version, self.row.evidence_at, steps)


def _counts(told: Mapping[str, int]) -> str:
    return ", ".join(f"{role.value} {told[role.value]}" for role in Role)


def of_tab(tab: str, *, mine: Q, now: datetime) -> Sequence[Card]:
    """Return what a tab of the queue ("mine", "open" or "decided") shows; two queries.

    ``mine`` are the moves I hold the right over.
    """
    if tab == "decided":
        ended = _rows().exclude(state__in=OPEN_PROPOSALS).order_by("-closed_at", "-pk")
        return [_card(row, now) for row in ended[:SHOWN_DECIDED]]
    if tab == "mine":
        waiting = _rows().filter(mine, state=ProposalState.PENDING, expires_at__gt=now)
        return [_card(row, now) for row in waiting.order_by("created_at")]
    live = _rows().filter(state__in=OPEN_PROPOSALS).order_by("created_at")
    return [card for card in (_card(row, now) for row in live) if card.state in OPEN_PROPOSALS]


def find(pk: int, *, now: datetime) -> Card | None:
    """Return one card, ``None`` when there is none."""
    row = _rows().filter(pk=pk).first()
    return _card(row, now) if row else None


def _rows() -> QuerySet[Rearrangement]:
    return Rearrangement.objects.select_related("service", "decided_by").prefetch_related(
        "actions__service"
    )


def _card(row: Rearrangement, now: datetime) -> Card:
    return Card(row, now, sorted(row.actions.all(), key=lambda step: step.recorded_at))
