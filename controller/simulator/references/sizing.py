"""How many instances a known load needs: for references whose rule includes knowing the load."""

from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.capacity import Capacity, Demand, TooSlowError, per_instance_capacity
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
    columns = (offered.rps, offered.input_tokens, offered.output_tokens, offered.cached_frac)
    load = np.stack(columns, axis=1)
    known = ~np.isnan(load).any(axis=1)
    if not known.any():
        raise ValueError(
            f"the load of '{briefing.workload.name}' is unknown from {begin_s[0]:g} to"
            f" {begin_s[-1] + BIN_S:g} s: choose a span_s with load"
        )
    found = np.full((2, len(begin_s)), np.nan)
    for at in np.flatnonzero(known):
        rps, input_tokens, output_tokens, cached_frac = (float(value) for value in load[at])
        tokens = max(input_tokens, 1.0), max(output_tokens, 1.0)
        spreads = briefing.demand.spread, briefing.demand.output_spread
        demand = Demand(*tokens, cached_frac, *spreads)
        capacity = _capacity(briefing, demand)
        found[:, at] = rps / capacity.prefill_rps, rps / capacity.decode_rps
    return found


def _capacity(briefing: Briefing, demand: Demand) -> Capacity:
    """Return the capacity, at the pace of a sequence alone where even that misses the goal."""
    engines = briefing.prefill, briefing.decode
    try:
        return per_instance_capacity(*engines, demand, tbt_goal_s=briefing.slo.tbt_s)
    except TooSlowError:
        context = demand.input_tokens + demand.output_tokens
        alone_s = float(briefing.decode.step_s(1.0, context))
        return per_instance_capacity(*engines, demand, tbt_goal_s=alone_s)
