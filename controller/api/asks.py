"""What a figure's address asks for: each parameter checked, each refusal naming its fix."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from controller.selectors.decision_filters import NAMES, Filters, filters_of
from controller.selectors.ranges import (
    LONGEST,
    SHORTEST,
    BadAskError,
    length_of,
    time_of,
    zone_of,
)
from controller.selectors.series import Ask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from controller.charts import Figure

KNOWN: Final = NAMES | frozenset(
    {
        "hardware",
        "decision",
        "backtest",
        "runs",
        "range",
        "from",
        "to",
        "tz",
        "page",
        "format",
        "table",
    }
)
FORMATS: Final = ("json", "csv")
LARGEST_NUMBER: Final = 2**63 - 1

_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_PLACES: Final = re.compile(r"[0-9]{1,3}(,[0-9]{1,3}){0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a reader asks and in which zone, with the loop's times [s]."""

    now: datetime
    zone: ZoneInfo
    tick_s: float
    window_s: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """A checked request: what to read, in which zone, in which form, and whether it follows."""

    ask: Ask
    zone: ZoneInfo
    csv: bool
    table: bool
    live: bool


def wanted(given: Mapping[str, str], figure: Figure, moment: Moment) -> Wanted:
    """Return the checked request. Raises :class:`BadAskError`."""
    for name in given:
        if name not in KNOWN:
            raise BadAskError(name[:40], f"There is no such parameter: use {_words(KNOWN)}.")
    for name in figure.needs:
        if not given.get(name):
            raise BadAskError(name, f"This figure needs {name}: add {name}=… to the address.")
    zone = zone_of(given.get("tz", ""), moment.zone)
    since, until, live = _times(given, figure, moment, zone)
    form = given.get("format", "json")
    if form not in FORMATS:
        raise BadAskError("format", f"Use {_words(FORMATS)}.")
    ask = Ask(
        since=since,
        until=until,
        now=moment.now,
        tick_s=moment.tick_s,
        window_s=moment.window_s,
        service="" if figure.filtered else _slug(given, "service"),
        cluster="" if figure.filtered else _slug(given, "cluster"),
        hardware=_slug(given, "hardware"),
        decision=_number(given, "decision", 0),
        page=_number(given, "page", 1),
        backtest=_id(given.get("backtest", "")),
        runs=_places(given.get("runs", "")),
        filters=filters_of({name: [text] for name, text in given.items()})
        if figure.filtered
        else Filters(),
    )
    return Wanted(ask, zone, form == "csv", given.get("table") != "0", live)


def _times(
    given: Mapping[str, str], figure: Figure, moment: Moment, zone: ZoneInfo
) -> tuple[datetime, datetime, bool]:
    """Return begin, end and whether the range follows the clock."""
    ends = [name for name in ("from", "to") if given.get(name)]
    if ends and given.get("range"):
        raise BadAskError("range", "Give either range, or from and to, not both.")
    if not ends:
        length = length_of(given.get("range") or figure.span)
        # Ends on a tick, so that within one tick the answer is the same.
        tick_s = max(1.0, moment.tick_s)
        until = datetime.fromtimestamp(moment.now.timestamp() // tick_s * tick_s, UTC)
        return until - length, until, True
    if len(ends) == 1:
        missing = "to" if ends == ["from"] else "from"
        raise BadAskError(missing, f"A range has two ends: add {missing}=….")
    since, until = (time_of(given[name], name, zone) for name in ("from", "to"))
    if not SHORTEST <= until - since <= LONGEST:
        raise BadAskError("to", "The end must be 1 min to 14 days after the begin.")
    return since, until, False


def _slug(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "")
    if text and not _SLUG.fullmatch(text):
        what = "hardware type" if name == "hardware" else name
        raise BadAskError(name, f"Use the {what}'s slug: letters, digits, - and _.")
    return text


def _id(text: str) -> str:
    if text and not _ID.fullmatch(text):
        raise BadAskError("backtest", "Use the id in the address of the backtest's page.")
    return text


def _places(text: str) -> tuple[int, ...]:
    if not text:
        return ()
    if not _PLACES.fullmatch(text):
        raise BadAskError("runs", "Use places of policies from 0 on with commas: 0,2.")
    return tuple(int(part) for part in text.split(","))


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, "")
    if not text:
        return default
    if not _NUMBER.fullmatch(text) or int(text) > LARGEST_NUMBER:
        raise BadAskError(name, "Use a whole number from 1 on.")
    return int(text)


def _words(names: frozenset[str] | tuple[str, ...]) -> str:
    *most, last = sorted(names)
    return f"{', '.join(most)} or {last}"
