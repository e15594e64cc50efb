"""The figures by name: values in, one Plotly figure as a plain dict out.

A new figure is one file and one line here. ``reads`` names the values it is built from, ``span``
the range it shows when nobody asks for another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controller.charts.backtest import backtest
from controller.charts.backtest_frontier import backtest_frontier
from controller.charts.capacity import capacity
from controller.charts.clock import Clock
from controller.charts.curation import curation_sweep
from controller.charts.decision_counts import decision_counts
from controller.charts.decision_steps import decision_steps
from controller.charts.decision_window import decision_window
from controller.charts.fleet_trend import fleet_trend
from controller.charts.fragmentation import fragmentation
from controller.charts.headroom import headroom
from controller.charts.override_timeline import override_timeline
from controller.charts.peak_forecast import peak_forecast
from controller.charts.placement_map import placement_map
from controller.charts.plot import Plot
from controller.charts.reversals import reversals
from controller.charts.service import service
from controller.charts.signals import signals
from controller.charts.slo_map import slo_map

# Each builder takes the values its ``reads`` promises, hence the open type.
Builder = Callable[[Any, Clock], Plot]


@dataclass(frozen=True, slots=True)
class Figure:
    """How one figure is made; ``needs`` are the parameters it cannot do without.

    A ``filtered`` one is of the decisions that the filters of their list keep.
    """

    build: Builder
    reads: str
    span: str = "3h"
    needs: tuple[str, ...] = ()
    filtered: bool = False


FIGURES: Final[Mapping[str, Figure]] = {
    "slo-map": Figure(slo_map, "slo_bins", "6h"),
    "capacity": Figure(capacity, "pools"),
    "fleet-trend": Figure(fleet_trend, "fleet_trend", "24h"),
    "fragmentation": Figure(fragmentation, "fits"),
    "headroom": Figure(headroom, "headroom"),
    "peak-forecast": Figure(peak_forecast, "peaks"),
    "overrides": Figure(override_timeline, "overrides", "12h"),
    "service": Figure(service, "service", needs=("service",)),
    "decision-steps": Figure(decision_steps, "decision", needs=("decision",)),
    "decision-window": Figure(decision_window, "decision_window", needs=("decision",)),
    "decision-counts": Figure(decision_counts, "decision_counts", "24h", filtered=True),
    "reversals": Figure(reversals, "reversals", "24h", filtered=True),
    "placement-map": Figure(placement_map, "placement_map", needs=("service",)),
    "signals": Figure(signals, "signals", "24h", needs=("service",)),
    "backtest": Figure(backtest, "backtest", needs=("backtest",)),
    "curation": Figure(curation_sweep, "backtest", needs=("backtest",)),
    "backtest-frontier": Figure(backtest_frontier, "backtest", needs=("backtest",)),
}
