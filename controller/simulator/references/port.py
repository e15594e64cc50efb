"""What a reference policy is: another system's rules, played on the same engines as ours."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from controller.core.types import Instances, Limits, ServiceState, Signals, Slo
from controller.simulator.capacity import Demand
from controller.simulator.profiles import Profile
from controller.simulator.workload import Workload


@dataclass(frozen=True, slots=True)
class Briefing:
    """What a reference is set up with before the run begins.

    ``demand`` is the mean request of the load's first day. ``workload`` and ``span_s`` (load
    time, from and to) are for those whose rule includes knowing the load; others leave it alone.
    ``tick_s`` is the period in which it is asked.
    """

    slo: Slo
    limits: Limits
    prefill: Profile
    decode: Profile
    demand: Demand
    workload: Workload
    span_s: tuple[float, float]
    tick_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What it sees at one time: the signals and counts our own policies see.

    ``now_s`` counts from the start of the run [s].
    """

    now_s: float
    signals: Signals
    state: ServiceState


class Controller(Protocol):
    """One reference at work; it may remember what it saw."""

    def want(self, seen: Seen) -> Instances:
        """Return the counts wished for now; ``seen.state.desired`` to change nothing."""
        ...


class Build(Protocol):
    """How a reference is set up; ``params`` holds a figure for each of its parameters."""

    def __call__(self, briefing: Briefing, params: Mapping[str, float]) -> Controller:
        """Return the reference ready to run. Raises ``ValueError`` for figures it can't use."""
        ...


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a reference: its default and its meaning with the unit."""

    default: float
    meaning: str


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference policy as it is offered: what it does in a sentence, and where it is from."""

    name: str
    summary: str
    source: str
    build: Build
    params: Mapping[str, Param] = field(default_factory=dict)
