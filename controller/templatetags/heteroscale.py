"""The tags of every template: icons, times that name their zone, and values with their units."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from django import template
from django.db.models import Model
from django.template import Context
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from lucide.templatetags.lucide import lucide

from controller.core import rights, wording
from controller.core.approval_rules import DAYS

register = template.Library()


class RatioBand(Protocol):
    """A ratio, its target and the band around it."""

    value: float | None
    target: float
    low: float
    high: float

    @property
    def usable(self) -> bool:
        """Whether there is a band to draw."""


class Event(Protocol):
    """Something audited: what it found and what it left."""

    before: dict[str, object]
    after: dict[str, object]


# What an icon stands for -> its drawing in the lucide package.
ICONS: Final = {
    "ok": "circle-check",
    "warn": "triangle-alert",
    "crit": "octagon-x",
    "busy": "square-play",
    "muted": "circle-question-mark",
    "frozen": "octagon-pause",
    "stopped": "octagon-x",
    "degraded": "triangle-alert",
    "acting": "square-play",
    "advisory": "eye",
    "proposal": "hand",
    "automatic": "square-play",
    "approve": "hand",
    "observe": "eye",
    "simulated": "flask-conical",
    "help": "keyboard",
    "person": "circle-user",
    "pause": "pause",
    "play": "play",
    "system": "sun-moon",
    "light": "sun",
    "dark": "moon",
    "clock": "clock",
    "search": "search",
    "more": "chevron-right",
}

# Attributes of each drawing that the class "i" sets.
_STYLED: Final = (
    ' fill="none"',
    ' stroke="currentColor"',
    ' stroke-width="2"',
    ' stroke-linecap="round"',
    ' stroke-linejoin="round"',
)

# The marks of the decision lane, the same in every table.
GLYPHS: Final = {
    "scale_out": "▲",
    "scale_in": "▼",
    "rebalance": "◇",
    "hold": "·",
    "blocked": "■",
    "propose": "◆",
    "failed": "✕",
}
MOVES: Final = {
    "scale_out": "scale-out",
    "scale_in": "scale-in",
    "rebalance": "rebalance",
    "hold": "hold",
    "blocked": "blocked",
    "propose": "proposed",
    "failed": "failed",
}

COUNTED: Final = {"overrides": "in force"}
"""What the counter of a link counts, where that is not what waits."""

for _filter in (
    wording.duration,
    wording.age,
    wording.coarse,
    wording.number,
    wording.rate,
    wording.latency,
    wording.against,
    wording.ratio,
    wording.percent,
):
    register.filter(_filter.__name__, _filter)


@register.simple_tag
def icon(name: str, size: int = 16) -> str:
    """Return a decorative icon by what it stands for; the word beside it carries the meaning."""
    return _drawn(name, size)


@cache
def _drawn(name: str, size: int) -> str:
    """Return the drawing without what the stylesheet says: a page has hundreds of them."""
    drawn: str = lucide(ICONS[name], size=size, aria_hidden="true", **{"class": "i"})
    for said in _STYLED:
        drawn = drawn.replace(said, "")
    return SafeString("".join(line.strip() for line in drawn.splitlines()))


@register.simple_tag
def favicon(worst: str = "") -> str:
    """Return the address of the favicon of a state."""
    return static(f"favicon-{worst or 'ok'}.svg")


@register.simple_tag(takes_context=True)
def may(context: Context, right: str, about: Model | None = None) -> bool:
    """Return whether the reader has a right over something, or over the whole fleet."""
    rights = getattr(context.get("chrome"), "rights", None)
    return rights is not None and bool(rights.may(right, about))


@register.simple_tag(takes_context=True)
def tab(context: Context, name: str, word: str, count: int | None = None) -> SafeString:
    """Return a link of the navigation, marked when the page is its own or one below it."""
    address = reverse(name)
    path = getattr(context.get("request"), "path", "")
    here = path == address or (address != "/" and path.startswith(address))
    return format_html(
        '<a href="{}"{}>{}{}</a>',
        address,
        format_html(' aria-current="{}"', "page") if here else "",
        word,
        "" if count is None else _counter(name, count),
    )


def _counter(name: str, count: int) -> SafeString:
    return format_html(
        ' <span class="count" data-count-of="{}"{}>{}<span class="unseen"> {}</span></span>',
        name,
        "" if count else " hidden",
        count,
        COUNTED.get(name, "waiting"),
    )


@register.filter
def next_theme(theme: str) -> str:
    """Return the theme the toggle switches to."""
    return {"system": "light", "light": "dark"}.get(theme, "system")


@register.filter
def clock_time(at: datetime, zone: ZoneInfo) -> str:
    """Return the time of day with its zone."""
    return wording.clock(at, zone, at)


@register.filter
def zone_word(at: datetime, zone: ZoneInfo) -> str:
    """Return the short name of the reader's zone at a time."""
    return wording.zone_name(at.astimezone(zone))


@register.simple_tag
def glyph(move: str) -> SafeString:
    """Return the mark of a decision with its word for those who do not see the mark."""
    return format_html(
        '<span class="glyph {}" aria-hidden="true">{}</span><span class="unseen">{}</span>',
        move,
        GLYPHS.get(move, "?"),
        MOVES.get(move, move),
    )


# The tick mark of a ratio: two octaves to either side of the policy's target.
_BAND_WIDTH: Final = 72
_OCTAVES: Final = 2.0


@register.inclusion_tag("controller/_ratio_band.html")
def ratio_band(band: RatioBand | None) -> dict[str, object]:
    """Return a small axis with the allowed band and the present ratio, in octaves."""
    # A policy row gone wrong draws nothing, and costs no other service its row.
    if band is None or not band.usable:
        return {"band": band, "drawn": False}
    low, high = _place(band.low, band.target), _place(band.high, band.target)
    return {
        "band": band,
        "drawn": True,
        "width": _BAND_WIDTH,
        "axis_end": _BAND_WIDTH - 2,
        "low": f"{low:.1f}",
        "span": f"{high - low:.1f}",
        "at": None if band.value is None else f"{_place(band.value, band.target):.1f}",
    }


def _place(value: float, target: float) -> float:
    octaves = math.log2(value / target) if 0 < value < math.inf else -_OCTAVES
    inside = max(-_OCTAVES, min(_OCTAVES, octaves))
    return 2 + (_BAND_WIDTH - 4) * (inside + _OCTAVES) / (2 * _OCTAVES)


@register.filter
def tone_word(tone: str) -> str:
    """Return the tone of an icon in a word, for those who do not see it."""
    return {"crit": "critical", "warn": "warning", "muted": "unknown", "busy": "waiting"}.get(
        tone, tone
    )


@register.filter
def move_word(move: str) -> str:
    """Return a move in words."""
    return MOVES.get(move, move)


@register.simple_tag(takes_context=True)
def moment(context: Context, at: datetime | None) -> SafeString | str:
    """Return a time of day in the reader's zone, which it names."""
    if at is None:
        return wording.UNKNOWN
    return format_html(
        '<time datetime="{}">{}</time>',
        at.isoformat(timespec="seconds"),
        wording.clock(at, _zone(context), _now(context)),
    )


@register.simple_tag(takes_context=True)
def hour(context: Context, at: datetime | None) -> SafeString | str:
    """Return hours and minutes in the reader's zone, which it names; the day unless it is now."""
    if at is None:
        return wording.UNKNOWN
    return format_html(
        '<time datetime="{}">{}</time>',
        at.isoformat(timespec="seconds"),
        wording.hour(at, _zone(context), _now(context)),
    )


@register.simple_tag(takes_context=True)
def ago(context: Context, at: datetime | None) -> SafeString | str:
    """Return how long ago a time was; it counts up on the page, its title is the time itself."""
    return _relative(context, at, "ago", wording.age)


@register.simple_tag(takes_context=True)
def since(context: Context, at: datetime | None) -> SafeString | str:
    """Return how long something has lasted: "5 min"."""
    return _relative(context, at, "since", wording.coarse)


@register.simple_tag(takes_context=True)
def until(context: Context, at: datetime | None) -> SafeString | str:
    """Return how long until a time, counting down; 0 s once it has passed."""
    if at is None:
        return wording.UNKNOWN
    left_s = (at - _now(context)).total_seconds()
    return _time(context, at, "until", wording.duration(left_s))


def _relative(context: Context, at: datetime | None, kind: str, word: object) -> SafeString | str:
    if at is None or not callable(word):
        return wording.UNKNOWN
    return _time(context, at, kind, word((_now(context) - at).total_seconds()))


def _time(context: Context, at: datetime, kind: str, text: str) -> SafeString:
    return format_html(
        '<time datetime="{}" data-count="{}" title="{}">{}</time>',
        at.isoformat(timespec="seconds"),
        kind,
        wording.clock(at, _zone(context), _now(context)),
        text,
    )


def _now(context: Context) -> datetime:
    now = context.get("now")
    return now if isinstance(now, datetime) else timezone.now()


def _zone(context: Context) -> ZoneInfo:
    zone = getattr(context.get("chrome"), "zone", None)
    return zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC")


@register.filter
def changes(event: Event) -> list[tuple[str, str, str]]:
    """Return field, before and after of what an audited event changed, in words."""
    before, after = event.before, event.after
    return [
        (name.replace("_", " "), _told(name, before.get(name)), _told(name, after.get(name)))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


LONG: Final = 40
"""Characters of one word after which it is cut: a digest tells nobody more."""


@register.simple_tag
def long(text: str) -> SafeString:
    """Return a value whose longest words are cut, with all of it in its title."""
    shown = " ".join(
        word if len(word) <= LONG else f"{word[: LONG // 2]}…" for word in text.split(" ")
    )
    return (
        format_html("{}", text)
        if shown == text
        else format_html('<span title="{}">{}</span>', text, shown)
    )


register.filter("did", rights.refused)


@register.filter
def words(value: object) -> str:
    """Return a name of the records, or a value of theirs, as people read it."""
    return value.replace("_", " ") if isinstance(value, str) else _told("", value)


def _told(name: str, value: object) -> str:
    if name == "days" and isinstance(value, list):
        return ", ".join(DAYS[day] for day in sorted(value)) or "every day"
    if isinstance(value, dict):
        return ", ".join(f"{key}={_told(key, value[key])}" for key in sorted(value)) or "none"
    if isinstance(value, list):
        return "; ".join(_told("", one) for one in value) or "none"
    return "—" if value in {None, ""} else _told_text(name, str(value))


def _told_text(name: str, text: str) -> str:
    if name.endswith("state"):
        # The words of states; a name keeps its underscores.
        return text.replace("_", " ")
    if name.endswith("_at"):
        with suppress(ValueError):
            return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return text
