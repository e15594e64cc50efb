"""How many instances a known load needs: for references whose rule includes knowing the load."""

from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.capacity import instances_needed
from controller.simulator.references.port import Briefing

BIN_S: Final = 60.0
"""Bins of the load [s]: about what an instance takes to start."""


def bins_s(span_s: tuple[float, float]) -> Floats:
    """Return where the bins of a span begin, shape ``(n,)``. Raises ``ValueError`` if empty."""
    start_s, end_s = span_s
    if not end_s > start_s:
        raise ValueError(f"span_s is {start_s:g} to {end_s:g} s: let it end after it begins")
    return np.arange(start_s, end_s, BIN_S)


def needs(briefing: Briefing, begin_s: Floats) -> Floats:
    """Return the instances (prefill, decode) each bin needs, unrounded, shape ``(2, n)``.

    Mean lengths are those of the bin. Where the load is unknown the figures are NaN. Raises
    ``ValueError`` when it is unknown everywhere.
    """
    offered = briefing.workload.rates(begin_s, BIN_S)
    if np.isnan(offered.rps).all():
        raise ValueError(
            f"the load of '{briefing.workload.name}' is unknown from {begin_s[0]:g} to"
            f" {begin_s[-1] + BIN_S:g} s: choose a span_s with load"
        )
    engines = briefing.prefill, briefing.decode
    return instances_needed(engines, offered, briefing.demand, tbt_goal_s=briefing.slo.tbt_s)
