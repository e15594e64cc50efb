"""A timetable by time of day, learned once and repeated (HeteroScale §4.3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from controller.core.types import Counts, Floats, Instances
from controller.simulator.references.checks import figure, within
from controller.simulator.references.port import Briefing, Param, Reference, Seen
from controller.simulator.references.sizing import bins_s, needs

DAY_S: Final = 86_400.0
SHORT_S: Final = 1.5 * DAY_S
"""A load shorter than this is learned whole: it has no second day to prove the first on."""


def lesson_s(span_s: tuple[float, float]) -> tuple[float, float]:
    """Return the part of a span that is learned [s]: its first day, or all of a short one."""
    start_s, end_s = span_s
    return span_s if end_s - start_s < SHORT_S else (start_s, start_s + DAY_S)


@dataclass(frozen=True, slots=True)
class _Timetable:
    plan: Sequence[Instances]
    slot_s: float
    start_s: float

    def want(self, seen: Seen) -> Instances:
        return self.plan[int((self.start_s + seen.now_s) % DAY_S // self.slot_s)]


def _by_slot(need: Floats, slot: Counts, slots: int, percentile: float) -> Floats:
    """Return what each slot needs, shape ``(2, slots)``; one without load is as the one before."""
    rows = np.full((2, slots), np.nan)
    known = ~np.isnan(need[0])
    for at in np.unique(slot[known]):
        rows[:, at] = np.percentile(need[:, known & (slot == at)], percentile, axis=1)
    taught = np.flatnonzero(~np.isnan(rows[0]))
    before = np.searchsorted(taught, np.arange(slots), side="right") - 1
    return rows[:, taught[before]]


def _build(briefing: Briefing, params: Mapping[str, float]) -> _Timetable:
    slot_s = figure(params, "slot_s", 60, DAY_S)
    headroom = figure(params, "headroom", 0.01, 1000)
    percentile = figure(params, "percentile", 0, 100)
    begin_s = bins_s(lesson_s(briefing.span_s))
    slot = (begin_s % DAY_S // slot_s).astype(np.int64)
    slots = ceil(DAY_S / slot_s)
    need = headroom * _by_slot(needs(briefing, begin_s), slot, slots, percentile)
    plan = tuple(
        within(briefing.limits, Instances(ceil(prefill), ceil(decode)))
        for prefill, decode in need.T
    )
    return _Timetable(plan, slot_s, briefing.span_s[0])


REFERENCE: Final = Reference(
    name="periodic",
    summary="A timetable of counts by hour of the day, learned from the first day of the load.",
    source="HeteroScale §4.3 (arXiv 2508.19559); learning it is this product's",
    build=_build,
    params={
        "slot_s": Param(3600, "length of one entry of the timetable [s]"),
        "percentile": Param(95, "share of the minutes of an entry its counts carry [%]"),
        "headroom": Param(1.1, "counts are this multiple of what those minutes need"),
    },
)
