"""Counts that somebody else changed: one with what became of it, and those nobody answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.core import phrases
from controller.models import OutsideChange
from inventory.models import Service

TOLD_FOR: Final = timedelta(hours=24)
"""How long the overview asks about one; its service's page goes on until it is answered."""


@dataclass(frozen=True, slots=True)
class Row:
    """One change from outside as a page tells it."""

    change: OutsideChange

    @property
    def is_open(self) -> bool:
        """Whether nobody answered it and nothing came after it."""
        return not self.change.answer

    @property
    def is_overtaken(self) -> bool:
        """Whether something came after it before anybody answered."""
        return self.change.answer == OutsideChange.Answer.OVERTAKEN

    @property
    def words(self) -> str:
        """The change in words: "decode 5 → 4"."""
        return phrases.counts(*self.change.ends)

    @property
    def back(self) -> str:
        """The way back in words: "decode 4 → 5"."""
        before, after = self.change.ends
        return phrases.counts(after, before)


def find(slug: str, pk: int) -> Row | None:
    """Return the change of that service and number."""
    rows = OutsideChange.objects.select_related("service__cluster__region")
    found = rows.filter(service__slug=slug, pk=pk).first()
    return None if found is None else Row(found)


def open_of(service: Service) -> Row | None:
    """Return what somebody changed of the service and nobody answered."""
    found = OutsideChange.objects.filter(service=service, answer="").first()
    if found is None:
        return None
    found.service = service
    return Row(found)


def read_open(now: datetime) -> list[OutsideChange]:
    """Return what was changed within a day and nobody answered, the newest first; one query."""
    rows = OutsideChange.objects.filter(answer="", seen_at__gt=now - TOLD_FOR)
    return list(rows.select_related("service"))
