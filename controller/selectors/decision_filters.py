"""Which decisions a reader wants to see, as the address says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.db.models import F, Q

from controller.core import wording
from controller.core.reasons import Code
from controller.core.types import Gate, Mode, Move
from controller.selectors.ranges import LONGEST, SHORTEST, BadAskError, length_of, time_of, zone_of

UTC: Final = ZoneInfo("UTC")
USUAL_TEXT: Final = "24h"
USUAL: Final = length_of(USUAL_TEXT)
"""What figures show where nobody asks for a range."""

MOST: Final = 50
LONGEST_TEXT: Final = 100
SLUG: Final = re.compile(r"[-a-zA-Z0-9_]{1,63}", re.ASCII)
# Parameter -> (its word, the column, the values it may have: none means any slug).
LISTS: Final[Mapping[str, tuple[str, str, frozenset[str]]]] = {
    "service": ("service", "service__slug", frozenset()),
    "cluster": ("cluster", "service__cluster__slug", frozenset()),
    "move": ("move", "move", frozenset(Move)),
    "gate": ("outcome", "gate", frozenset(Gate)),
    "code": ("reason", "code", frozenset(Code)),
    "mode": ("mode", "mode", frozenset(Mode)),
}
GATES: Final[Mapping[str, str]] = {
    Gate.NONE: "nothing to do",
    Gate.RECORD: "recorded only",
    Gate.PROPOSE: "proposed",
    Gate.ACT: "carried out",
}
NAMES: Final = frozenset({*LISTS, "text", "changes"})
Chosen = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Span:
    """The times asked for: relative (``text``, such as ``3h``), or from and to, either open."""

    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    zone: str = ""

    def ends(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """Return both ends at ``now``, ``None`` where the range is open."""
        if self.text:
            return now - length_of(self.text), None
        return self.since, self.until

    def drawn(self, now: datetime) -> dict[str, str]:
        """Return the parameters of a figure of it: as much of its end as a figure can show."""
        if self.text or not (self.since or self.until):
            return {"range": self.text} if self.text else {}
        until = self.until or now
        since = self.since or until - USUAL
        since = min(max(since, until - LONGEST), until - SHORTEST)
        return {"from": written(since), "to": written(until)}

    def drawn_words(self, now: datetime, zone: ZoneInfo) -> str:
        """Return of which time the figures are."""
        shown = self.drawn(now)
        if "from" not in shown:
            return f"the last {self.text or USUAL_TEXT}"
        since, until = (time_of(shown[end], end, UTC) for end in ("from", "to"))
        zone = zone_of(self.zone, zone)
        return f"{wording.clock(since, zone, now)} to {wording.clock(until, zone, now)}"

    @property
    def params(self) -> Iterator[tuple[str, str]]:
        """What of the address it is."""
        if self.text:
            yield "range", self.text
        for name, at in (("from", self.since), ("to", self.until)):
            if at is not None:
                yield name, written(at)
        if self.zone:
            yield "tz", self.zone


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list shows; nothing chosen means all."""

    chosen: Chosen = ()
    text: str = ""
    changes: bool = False
    span: Span = Span()

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.query)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the values chosen of one parameter."""
        return dict(self.chosen).get(name, ())

    @property
    def params(self) -> list[tuple[str, str]]:
        """The filters as the address has them, in one order."""
        pairs = [(name, value) for name, values in self.chosen for value in values]
        pairs += [("text", self.text)] if self.text else []
        pairs += [("changes", "1")] if self.changes else []
        return [*pairs, *self.span.params]

    @property
    def query(self) -> str:
        """The filters as a query string."""
        return urlencode(self.params)

    @property
    def chips(self) -> list[tuple[str, str]]:
        """Each filter in words, with the query that is left without it."""
        shown = []
        for pair in self.params:
            rest = [one for one in self.params if one != pair]
            if not {name for name, _ in rest} & {"from", "to", "range"}:
                rest = [one for one in rest if one[0] != "tz"]
            if pair[0] != "tz":
                shown.append((told(*pair), urlencode(rest)))
        return shown

    @property
    def words(self) -> str:
        """The filters in words, for the page that found nothing."""
        return ", ".join(word for word, _ in self.chips)

    def absolute(self, now: datetime) -> str:
        """Return the query that shows the same later: a relative or open end becomes a time."""
        since, until = self.span.ends(now)
        return replace(self, span=Span("", since, until or now, self.span.zone)).query

    def drawn(self, now: datetime) -> str:
        """Return the query of the figures above the list."""
        pairs = {name: ",".join(values) for name, values in self.chosen}
        pairs |= {"text": self.text} if self.text else {}
        pairs |= {"changes": "1"} if self.changes else {}
        return urlencode(pairs | self.span.drawn(now))

    def where(self, now: datetime) -> Q:
        """Return the condition on decisions, the range included."""
        since, until = self.span.ends(now)
        found = self.what
        if since is not None:
            found &= Q(last_at__gte=since)
        return found & Q(first_at__lte=until) if until is not None else found

    @property
    def what(self) -> Q:
        """The condition on decisions of any time."""
        found = Q()
        for name, values in self.chosen:
            found &= Q(**{f"{LISTS[name][1]}__in": values})
        if self.text:
            found &= Q(sentence__icontains=self.text)
        if self.changes:
            found &= ~Q(current_prefill=F("final_prefill"), current_decode=F("final_decode"))
        return found


NONE: Final = Filters()
"""All decisions."""


def told(name: str, value: str) -> str:
    """Return one filter in words."""
    if name == "changes":
        return "changes only"
    if name == "range":
        return f"the last {value}"
    word = LISTS[name][0] if name in LISTS else name
    said = GATES.get(value, value) if name == "gate" else value
    return f"{word} {said.replace('_', '-') if name == 'move' else said}"


def written(at: datetime) -> str:
    """Return a time for an address: to the microsecond where it has any, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def filters_of(given: Mapping[str, Sequence[str]], zone: ZoneInfo = UTC) -> Filters:
    """Return the filters of an address; several values stand apart or with commas.

    Times without an offset are in ``tz``, or else in ``zone``. Raises
    :class:`controller.selectors.ranges.BadAskError`, which names the parameter.
    """
    chosen = [(name, _values(name, given.get(name, ()))) for name in LISTS]
    return Filters(
        chosen=tuple((name, values) for name, values in chosen if values),
        text=_text(_one(given, "text")),
        changes=_switch(_one(given, "changes")),
        span=_span(given, zone),
    )


def _one(given: Mapping[str, Sequence[str]], name: str) -> str:
    values: Any = given.get(name) or ("",)
    return str(values[-1]).strip()


def _values(name: str, given: Sequence[str]) -> tuple[str, ...]:
    parts = dict.fromkeys(part for text in given for part in text.split(",") if part)
    word, _, known = LISTS[name]
    if len(parts) > MOST:
        raise BadAskError(name, f"Name at most {MOST} values.")
    for part in parts:
        if known and part not in known:
            raise BadAskError(name, f"No {word} is called {part[:40]}: use {_list(known)}.")
        if not SLUG.fullmatch(part):
            raise BadAskError(name, f"Use the {word}'s slug: letters, digits, - and _.")
    return tuple(parts)


def _list(known: frozenset[str]) -> str:
    *most, last = sorted(known)
    return f"{', '.join(most)} or {last}"


def _text(text: str) -> str:
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise BadAskError("text", f"Use at most {LONGEST_TEXT} printable characters.")
    return text


def _switch(text: str) -> bool:
    if text not in ("", "1"):
        raise BadAskError("changes", "Use 1, or leave it out.")
    return text == "1"


def _span(given: Mapping[str, Sequence[str]], default: ZoneInfo) -> Span:
    named = _one(given, "tz")
    zone = zone_of(named, default)
    text = _one(given, "range")
    ends = {name: _one(given, name) for name in ("from", "to")}
    if text and any(ends.values()):
        raise BadAskError("range", "Give either range, or from and to, not both.")
    if text:
        length_of(text)
    since, until = (time_of(at, name, zone) if at else None for name, at in ends.items())
    if since is not None and until is not None and since > until:
        raise BadAskError("to", "The end must not be before the begin.")
    return Span(text, since, until, named)
