"""What an override would change now, in a sentence a person reads before setting it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

from controller.core.override_words import values_words
from controller.core.overrides import OverrideKind
from controller.core.phrases import plural
from controller.core.types import Instances, Mode, Role
from controller.core.words import DECODE_FIRST, capitalised, number

MOST_STEPS: Final = 99


@dataclass(frozen=True, slots=True)
class Steps:
    """The largest step of one action: instances, and shares of a role when it grows or shrinks."""

    least: int
    out_frac: float
    in_frac: float

    def count(self, begin: int, end: int) -> int:
        """Return how many actions lead from one count to another, at most ``MOST_STEPS``."""
        at, taken = begin, 0
        while at != end and taken < MOST_STEPS:
            share = self.out_frac if end > at else self.in_frac
            step = max(self.least, ceil(share * at), 1)
            at = min(end, at + step) if end > at else max(end, at - step)
            taken += 1
        return taken


@dataclass(frozen=True, slots=True)
class Standing:
    """A service as it stands: counts wished for, limits [instances], largest step, mode.

    ``advisory`` is who lets it only be observed, until when and why; empty where nobody does.
    """

    service: str
    mode: Mode
    current: Instances
    minimum: Instances
    maximum: Instances
    steps: Steps
    advisory: str = ""


HOW: Final[Mapping[Mode, str]] = {
    Mode.AUTOMATIC: "carried out by the next ticks",
    Mode.APPROVE: "proposed for approval because the service is in mode approve",
    Mode.OBSERVE: "recorded only because the service only observes",
}


def consequence(kind: OverrideKind, values: Mapping[str, Any], now: Standing) -> str:
    """Return what an override with usable values changes now; never raises for any limits."""
    if kind in MOVING:
        return MOVING[kind](values, now)
    if kind is OverrideKind.EXCLUDE:
        return f"Nothing new is placed on {values_words(kind, values)}; nothing is moved."
    if kind is OverrideKind.ADVISORY and now.mode is Mode.OBSERVE:
        return "Nothing changes: it only observes already."
    return STILL[kind]


STILL: Final[Mapping[OverrideKind, str]] = {
    OverrideKind.FREEZE: "No new change is started; what was sent already runs to its end.",
    OverrideKind.OUT_ONLY: "Nothing changes now; nothing is removed while it holds.",
    OverrideKind.IN_ONLY: (
        "Nothing changes now; nothing is added while it holds, except up to the minimum."
    ),
    OverrideKind.ADVISORY: "Decisions are recorded and none is carried out or proposed.",
}


def _pinned(values: Mapping[str, Any], now: Standing) -> str:
    asked = Instances(int(values["prefill"]), int(values["decode"]))
    want = _within(asked, now.minimum, now.maximum)
    cut = [
        f"{role.value} {asked.of(role)} is outside its limits and held at {want.of(role)}"
        for role in DECODE_FIRST
        if asked.of(role) != want.of(role)
    ]
    said = f"Pinned to decode {want.decode}, prefill {want.prefill}: {_way(want, now)}."
    return " ".join([said, *(f"{capitalised(one)}." for one in cut)])


def _bounded(values: Mapping[str, Any], now: Standing) -> str:
    low, high = (
        Instances(
            *(
                _bound(values.get(f"{role.value}_{end}"), limit.of(role), now, role)
                for role in Role
            )
        )
        for end, limit in (("min", now.minimum), ("max", now.maximum))
    )
    want = _within(now.current, low, high)
    room = ", ".join(f"{role.value} {low.of(role)}–{high.of(role)}" for role in DECODE_FIRST)
    if want == now.current:
        return f"Limits become {room}: nothing changes now."
    return f"Limits become {room}: {_way(want, now)}."


def _bound(given: Any, limit: int, now: Standing, role: Role) -> int:  # noqa: ANN401 - JSON
    # Bounds narrow and never widen.
    if given is None:
        return limit
    return min(max(int(given), now.minimum.of(role)), now.maximum.of(role))


def _in_ratio(values: Mapping[str, Any], now: Standing) -> str:
    low, high = float(values["min"]), float(values["max"])
    band = f"{number(low)}–{number(high)}"
    ratio = now.current.pd_ratio
    if ratio is None:
        return f"Prefill per decode is kept in {band}; there is no decode instance now."
    if low <= ratio <= high:
        return f"Nothing changes now: {number(ratio)} prefill per decode is inside {band}."
    return (
        f"{number(ratio)} prefill per decode is outside {band}: the next decision corrects it, "
        f"{_how(now)}."
    )


def _how(now: Standing) -> str:
    """Return what becomes of a change: what the mode says, unless somebody lets it only watch."""
    if now.advisory and now.mode is not Mode.OBSERVE:
        return f"recorded only: it is advisory only, set by {now.advisory}"
    return HOW[now.mode]


def _way(want: Instances, now: Standing) -> str:
    """Return the change role by role: "decode 5 → 4 in one step, prefill stays 2; …"."""
    told = []
    for role in DECODE_FIRST:
        before, after = now.current.of(role), want.of(role)
        steps = now.steps.count(before, after)
        if not steps:
            told.append(f"{role.value} stays {before}")
        else:
            words = "one step" if steps == 1 else plural(steps, "step")
            told.append(f"{role.value} {before} → {after} in {words}")
    changed = want != now.current
    return ", ".join(told) + (f"; {_how(now)}" if changed else "")


def _within(want: Instances, low: Instances, high: Instances) -> Instances:
    return Instances(*(min(max(want.of(r), low.of(r)), high.of(r)) for r in Role))


MOVING: Final[Mapping[OverrideKind, Callable[[Mapping[str, Any], Standing], str]]] = {
    OverrideKind.PIN: _pinned,
    OverrideKind.BOUNDS: _bounded,
    OverrideKind.RATIO: _in_ratio,
}
"""The kinds that may change counts at once."""
