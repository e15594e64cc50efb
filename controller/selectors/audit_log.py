"""The audit as people read it: filtered, page by page, and as a file."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet

from controller.core.spreadsheet import cell_text
from controller.models import (
    ApprovalRule,
    AuditEvent,
    Backtest,
    ChainCheck,
    OutsideChange,
    Override,
    PolicySuggestion,
    Proposal,
    Rearrangement,
)
from inventory.models import Cluster, HardwareType, ImportRun, Node, Region, Service

PAGE: Final = 50
MOST_EXPORTED: Final = 100_000
AT_ONCE: Final = 1_000
LARGEST_ID: Final = 2**63 - 1
LONGEST: Final = 160

_KNOWN: Final[Mapping[str, tuple[type[Model], tuple[str, ...]]]] = {
    "approvalrule": (ApprovalRule, ()),
    "backtest": (Backtest, ()),
    "cluster": (Cluster, ()),
    "hardwaretype": (HardwareType, ()),
    "importrun": (ImportRun, ()),
    "node": (Node, ("cluster",)),
    "outsidechange": (OutsideChange, ("service",)),
    "override": (Override, ()),
    "policysuggestion": (PolicySuggestion, ()),
    "proposal": (Proposal, ()),
    "region": (Region, ()),
    "rearrangement": (Rearrangement, ()),
    "service": (Service, ()),
    "user": (User, ()),
}
"""Objects that have a page or a name, and what it is made of beside their own row."""

_NAMES: Final = ("slug", "name", "username")

_WORDS: Final[Mapping[str, str]] = {
    "approvalrule": "rule",
    "auditevent": "audit",
    "hardwaretype": "hardware type",
    "importrun": "import",
    "outsidechange": "change from outside",
    "policysuggestion": "suggestion",
    "rearrangement": "moves",
    "group": "role",
    "name": "the name",
    "rolespec": "role of a service",
    "savedview": "saved view",
    "user": "account",
}
COLUMNS: Final = (
    *("id", "at", "actor", "verb", "object_type", "object_id", "service"),
    *("before", "after", "reason", "request_id", "address"),
)


@dataclass(frozen=True, slots=True)
class Filters:
    """What is shown; empty means all. ``begin`` counts, ``end`` does not."""

    actor: str = ""
    verb: str = ""
    kind: str = ""
    about: str = ""
    service: str = ""
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self._given())

    @property
    def typed(self) -> tuple[str, str]:
        """Begin and end as a form field has them, in the zone they were asked in."""
        begin, end = (f"{at:%Y-%m-%dT%H:%M}" if at else "" for at in (self.begin, self.end))
        return begin, end

    @property
    def words(self) -> str:
        """The filters in words, for the page that found nothing."""
        return ", ".join(f"{name} {value}" for name, value in self._given().items())

    def query(self, **more: str) -> str:
        """Return the address's query of these filters; times are absolute."""
        return urlencode(self._given() | {name: text for name, text in more.items() if text})

    def _given(self) -> dict[str, str]:
        given = {
            "actor": self.actor,
            "verb": self.verb,
            "object": f"{self.kind}:{self.about}" if self.about else self.kind,
            "service": self.service,
            "from": self.begin.isoformat() if self.begin else "",
            "to": self.end.isoformat() if self.end else "",
        }
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Row:
    """One event; ``address`` leads to its object, empty where it has no page."""

    event: AuditEvent
    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the log; ``after`` is the event it ends with when there are older ones."""

    rows: Sequence[Row]
    after: int | None
    services: Sequence[str]
    verbs: Sequence[str]
    has_any: bool


def listing(filters: Filters, after: int | None) -> Listing:
    """Return one page, newest first; the queries grow with the kinds of objects, not the rows."""
    found = _matching(filters)
    if after is not None:
        found = found.filter(pk__lt=after)
    events = list(found[: PAGE + 1])
    more = len(events) > PAGE
    events = events[:PAGE]
    return Listing(
        rows=_rows(events),
        after=events[-1].pk if more else None,
        services=list(Service.objects.order_by("slug").values_list("slug", flat=True)),
        verbs=list(AuditEvent.objects.order_by("verb").values_list("verb", flat=True).distinct()),
        has_any=bool(events) or AuditEvent.objects.exists(),
    )


@dataclass(frozen=True, slots=True)
class Chain:
    """How far the chain was verified; ``problem`` is what is wrong with it, in words."""

    records: int
    sealed_at: datetime | None
    checked_at: datetime | None
    whole_at: datetime | None
    problem: str
    problem_at: datetime | None


def chain() -> Chain:
    """Return what the last look at the chain showed; one query."""
    check = ChainCheck.objects.first() or ChainCheck()
    return Chain(
        check.checked_to,
        check.checked_seal_at,
        check.checked_at,
        check.whole_at,
        check.problem,
        check.problem_at,
    )


def as_csv(filters: Filters) -> Iterator[str]:
    """Yield the filtered events as CSV, newest first, in which no cell is a formula."""
    yield _line(COLUMNS)
    for event in _stretches(filters):
        yield _line([cell_text(_cell(getattr(event, name))) for name in COLUMNS])


def as_jsonl(filters: Filters) -> Iterator[str]:
    """Yield the filtered events, newest first, one JSON object a line."""
    for event in _stretches(filters):
        told = {name: _told(getattr(event, name)) for name in COLUMNS}
        yield f"{json.dumps(told, ensure_ascii=False)}\n"


def _stretches(filters: Filters) -> Iterator[AuditEvent]:
    """Yield at most :data:`MOST_EXPORTED` events, a bounded number of rows at a time."""
    left, before = MOST_EXPORTED, LARGEST_ID
    while left > 0:
        rows = list(_matching(filters).filter(pk__lt=before)[: min(left, AT_ONCE)])
        if not rows:
            return
        yield from rows
        left, before = left - len(rows), rows[-1].pk


def _matching(filters: Filters) -> QuerySet[AuditEvent]:
    wanted: dict[str, Any] = {
        "actor__icontains": filters.actor,
        "verb": filters.verb,
        "object_type": filters.kind,
        "object_id": filters.about,
        "service": filters.service,
        "at__gte": filters.begin,
        "at__lt": filters.end,
    }
    given = {name: value for name, value in wanted.items() if value}
    return AuditEvent.objects.filter(**given).order_by("-pk")


def _rows(events: Sequence[AuditEvent]) -> list[Row]:
    asked: dict[str, set[str]] = defaultdict(set)
    for event in events:
        asked[event.object_type].add(event.object_id)
    known = {
        (kind, str(row.pk)): row
        for kind, keys in asked.items()
        if kind in _KNOWN
        for row in _present(kind, keys)
    }
    return [_row(event, known.get((event.object_type, event.object_id))) for event in events]


def _present(kind: str, keys: Iterable[str]) -> QuerySet[Model]:
    model, beside = _KNOWN[kind]
    rows = model._default_manager.select_related(*beside)  # noqa: SLF001 - public by custom
    return rows.filter(pk__in=[key for key in keys if _is_key(model, key)])


def _is_key(model: type[Model], text: str) -> bool:
    try:
        model._meta.pk.to_python(text)  # noqa: SLF001 - public by custom
    except ValidationError:
        return False
    return True


def _row(event: AuditEvent, found: Model | None) -> Row:
    kind = _WORDS.get(event.object_type, event.object_type)
    named = next(filter(None, (getattr(found, name, "") for name in _NAMES)), "")
    known = named or (event.service if event.object_type == "service" else "") or event.object_id
    address = ""
    if found is not None and hasattr(found, "get_absolute_url"):
        address = found.get_absolute_url()
    return Row(event, f"{kind} {known}".strip(), address)


def _told(value: object) -> object:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return _told(value)


def _line(cells: Sequence[object]) -> str:
    text = StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue()
