"""What the controller remembers."""

from controller.models.backtests import Backtest, Trace
from controller.models.chain import ChainCheck, Removal, Seal, ToSeal
from controller.models.identities import Identity
from controller.models.loop import (
    ControllerLease,
    Decision,
    DecisionTally,
    PoolSample,
    Sample,
    ServiceStatus,
    Tick,
)
from controller.models.measured import Detected, EndpointStatus, ScrapeMark
from controller.models.overriding import Breaker, Grant, OutsideChange, Override
from controller.models.placement import Rearrangement
from controller.models.profiles import EngineProfile
from controller.models.seen import ClusterSight, ServiceSight
from controller.models.sign_in import RecoveryCode, SecondFactor, Session, SignInTries
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
from controller.models.verdicts import ApprovalRule, ProposalComment, Verdict

__all__ = [
    "Action",
    "ApprovalRule",
    "AuditEvent",
    "Backtest",
    "Breaker",
    "ChainCheck",
    "ClusterSight",
    "ControllerLease",
    "Decision",
    "DecisionTally",
    "Detected",
    "EndpointStatus",
    "EngineProfile",
    "Freeze",
    "Grant",
    "Identity",
    "OutsideChange",
    "Override",
    "PolicySuggestion",
    "PoolSample",
    "Preference",
    "Proposal",
    "ProposalComment",
    "Rearrangement",
    "RecoveryCode",
    "Removal",
    "Sample",
    "SavedView",
    "ScrapeMark",
    "Seal",
    "SecondFactor",
    "ServiceSight",
    "ServiceStatus",
    "Session",
    "SignInTries",
    "SimulatedFleet",
    "SimulatedService",
    "Tick",
    "ToSeal",
    "Trace",
    "Verdict",
]
