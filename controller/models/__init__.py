"""What the controller remembers."""

from controller.models.backtests import Backtest, Trace
from controller.models.loop import (
    ControllerLease,
    Decision,
    DecisionTally,
    PoolSample,
    Sample,
    ServiceStatus,
    Tick,
)
from controller.models.placement import Rearrangement
from controller.models.profiles import EngineProfile
from controller.models.simulated import SimulatedFleet, SimulatedService
from controller.models.steering import (
    Action,
    AuditEvent,
    Freeze,
    PolicySuggestion,
    Preference,
    Proposal,
    SavedView,
)

__all__ = [
    "Action",
    "AuditEvent",
    "Backtest",
    "ControllerLease",
    "Decision",
    "DecisionTally",
    "EngineProfile",
    "Freeze",
    "PolicySuggestion",
    "PoolSample",
    "Preference",
    "Proposal",
    "Rearrangement",
    "Sample",
    "SavedView",
    "ServiceStatus",
    "SimulatedFleet",
    "SimulatedService",
    "Tick",
    "Trace",
]
