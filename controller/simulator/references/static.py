"""Fixed counts, sized once for the whole load: the peak of it, or its mean with a margin."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from controller.core.types import Floats, Instances
from controller.simulator.references.checks import figure, within
from controller.simulator.references.port import Briefing, Param, Reference, Seen
from controller.simulator.references.sizing import bins_s, needs


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The same counts at any time, whatever is seen."""

    counts: Instances

    def want(self, seen: Seen) -> Instances:
        del seen
        return self.counts


def _sized(briefing: Briefing, summary: Callable[[Floats], Floats]) -> _Fixed:
    """Return the counts that ``summary`` makes of what the bins of the span need, by role."""
    need = needs(briefing, bins_s(briefing.span_s))
    prefill, decode = summary(need[:, ~np.isnan(need[0])])
    return _Fixed(within(briefing.limits, Instances(ceil(prefill), ceil(decode))))


def _peak(briefing: Briefing, params: Mapping[str, float]) -> _Fixed:
    percentile = figure(params, "percentile", 0, 100)
    return _sized(briefing, lambda need: np.percentile(need, percentile, axis=1))


def _mean(briefing: Briefing, params: Mapping[str, float]) -> _Fixed:
    factor = figure(params, "factor", 0.01, 1000)
    return _sized(briefing, lambda need: np.asarray(factor * need.mean(axis=1)))


_SOURCE: Final = "usual practice; per-instance capacity as in HeteroScale §4.6"

PEAK: Final = Reference(
    name="static-peak",
    summary="Fixed counts that carry the load of nearly every minute, known beforehand.",
    source=_SOURCE,
    build=_peak,
    params={"percentile": Param(99.5, "share of minutes each role carries [%]")},
)

MEAN: Final = Reference(
    name="static-mean",
    summary="Fixed counts for the mean load, known beforehand, with a margin.",
    source=_SOURCE,
    build=_mean,
    params={"factor": Param(1.5, "margin: counts are this multiple of the mean need")},
)
