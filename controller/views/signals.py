"""The signals tab of a service: which of them follow its load, by its own samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import isfinite, isinf
from typing import Final
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from controller.core import wording
from controller.core.signal_study import (
    AS_GOOD,
    FOLLOWS,
    LEAST_GAIN,
    LOAD,
    LOOSELY,
    READ_FRAC,
    Quarters,
    Studied,
)
from controller.core.types import SIGNAL_INDEX, SIGNALS, Role
from controller.selectors import service_page
from controller.selectors.signal_samples import StudyOf, study_of
from controller.views import shell

RANGES: Final = {
    "1h": ("1 h", timedelta(hours=1)),
    "6h": ("6 h", timedelta(hours=6)),
    "24h": ("24 h", timedelta(hours=24)),
    "7d": ("7 d", timedelta(days=7)),
}
DEFAULT: Final = "24h"


@dataclass(frozen=True, slots=True)
class Line:
    """One signal in words; ``tone`` is how close it follows."""

    label: str
    badge: str
    tone: str
    verdict: str
    r_load: str
    r_tokens: str
    noise: str
    read: str
    quiet: str
    busy: str
    swing: str


@shell.page("GET")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the study over the range the address names."""
    service = service_page.find(slug)
    if service is None:
        raise Http404(f"There is no service {slug}.")
    chosen = request.GET.get("range", DEFAULT)
    chosen = chosen if chosen in RANGES else DEFAULT
    now = timezone.now()
    found = study_of(service, now - RANGES[chosen][1], now)
    values = {
        "service": service,
        "now": now,
        "range": chosen,
        "range_word": RANGES[chosen][0],
        "ranges": [(name, word) for name, (word, _) in RANGES.items()],
        "params": urlencode({"service": slug, "range": chosen}),
        "study": found.found,
        "window_min": found.found.window_s / 60,
        "windows": len(found.found.starts_s),
        "lines": [_line(each, found) for each in found.found.signals],
        "advice": advice(found),
        "drifts": _drifts(found),
        "load": _load(found),
        "coverage": wording.percent(found.coverage_frac),
        "least": {
            "follows": FOLLOWS,
            "loosely": LOOSELY,
            "gain": LEAST_GAIN,
            "read": wording.percent(READ_FRAC),
        },
    }
    return render(request, "controller/signals.html", values)


def advice(found: StudyOf) -> str:
    """Return in one sentence which driver to use and why, empty where the data don't say."""
    study, best = found.found, found.found.advised(found.driver)
    if study.lacking:
        return ""
    if best is None:
        return (
            f"No signal that grows with the load follows it closely enough (r of {FOLLOWS:g}, "
            f"read in {READ_FRAC:.0%} of samples): {_stay(found)}."
        )
    noise = f", moves {_times(best.noise)} as far as it scatters" if best.noise > 0 else ""
    why = f"it follows the requests with r = {best.r_load:.2f}{noise}"
    read = f"was read in {wording.percent(best.read_frac)} of samples"
    if best.kind.name == found.driver:
        no_better = f"no other that may drive has an r more than {AS_GOOD:g} higher"
        return f"Keep {best.kind.label}, the driver in force: {why} and {read}; {no_better}."
    return f"Use {best.kind.label}: {why} and {read}; {_in_force(found)}."


def _stay(found: StudyOf) -> str:
    label = _label(found.driver)
    return f"{label} stays, unless a longer time says more" if label else "choose a longer time"


def _in_force(found: StudyOf) -> str:
    now = next((each for each in found.found.signals if each.kind.name == found.driver), None)
    if now is None:
        return "no driver is in force" if not found.driver else f"{found.driver} is in force"
    told = f"{now.kind.label}, the driver in force, has {_r(now.r_load)}"
    if not isfinite(now.r_load):
        return told
    unfit = "" if now.kind.linear else " and is not in proportion to the load"
    tone, word = _verdict(now)
    return f"{told}{unfit}" if tone == "ok" else f"{told}{unfit} ({word})"


def _label(name: str) -> str:
    return SIGNALS[SIGNAL_INDEX[name]].label if name in SIGNAL_INDEX else name


def _r(value: float) -> str:
    return f"r = {value:.2f}" if isfinite(value) else "no r, because it never moves or is not read"


def _line(each: Studied, found: StudyOf) -> Line:
    tone, verdict = _verdict(each)
    return Line(
        label=each.kind.label,
        badge=_badge(each, found),
        tone=tone,
        verdict=verdict,
        r_load=_figure(each.r_load),
        r_tokens="itself" if _is_itself(each) else _figure(each.r_tokens),
        noise=_times(each.noise),
        read=f"{_share(each.read_frac)}, {_share(each.covered_frac)}",
        quiet=_quantity(each.quarters.quiet, each.kind.unit),
        busy=_quantity(each.quarters.busy, each.kind.unit),
        swing=_swing(each.quarters, each.load),
    )


def _badge(each: Studied, found: StudyOf) -> str:
    if each.kind.name == found.driver:
        return "driver"
    return "" if each.kind.linear else "not a driver"


def _verdict(each: Studied) -> tuple[str, str]:
    if each.read_frac == 0.0 or not isfinite(each.read_frac):
        return "muted", "not read"
    if not isfinite(each.r_load):
        return "muted", "never moves"
    if each.read_frac >= READ_FRAC and each.follows:
        return "ok", "follows"
    if each.read_frac < READ_FRAC:
        word = "read too seldom"
    elif each.r_load >= FOLLOWS:
        word = "hardly rises"
    else:
        word = "follows loosely" if each.r_load >= LOOSELY else "does not follow"
    return "warn", word


def _is_itself(each: Studied) -> bool:
    return each.kind.name in {"decode_tps", "prefill_tps_uncached"}


def _figure(value: float) -> str:
    return f"{value:.2f}".replace("-", "−") if isfinite(value) else wording.UNKNOWN


def _times(value: float) -> str:
    if isinf(value):
        return "no scatter"
    return f"{value:.1f} ×" if isfinite(value) else wording.UNKNOWN


def _share(value: float) -> str:
    return wording.percent(value) if isfinite(value) else wording.UNKNOWN


def _quantity(value: float, unit: str) -> str:
    if not isfinite(value):
        return wording.UNKNOWN
    if unit == "share":
        return wording.percent(value)
    return wording.latency(value) if unit == "s" else wording.number(value)


def _swing(own: Quarters, load: Quarters) -> str:
    if not isfinite(own.swing) or not isfinite(load.swing):
        return wording.UNKNOWN
    return f"{own.swing:.2f} of {load.swing:.2f} ×"


def _load(found: StudyOf) -> str:
    """Return how many requests there were in words, empty where nobody knows."""
    means = found.found.means[LOAD]
    known = means[[isfinite(each) for each in means]]
    if not len(known):
        return ""
    return f"{wording.number(float(known.min()))} to {wording.number(float(known.max()))} req/s"


def _drifts(found: StudyOf) -> Sequence[tuple[str, str, bool]]:
    """Return tokens per request in words, and whether they moved much, where they are known."""
    words = {Role.PREFILL: "Computed prompt", Role.DECODE: "Answer"}
    told = []
    for role, drift in found.found.tokens.items():
        if isfinite(drift.middle):
            low, middle, high = (
                wording.number(each) for each in (drift.low, drift.middle, drift.high)
            )
            text = f"{middle} tokens a request, {low} to {high} in eight of ten windows"
            told.append((words[role], text, drift.is_large))
    return told
