"""Fixed steps on TTFT and TBT and nothing else (HeteroScale §4.2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Final

from controller.core.types import Instances, Limits, Quality, Signal, Slo
from controller.simulator.references.checks import figure, within
from controller.simulator.references.port import Briefing, Param, Reference, Seen

SEVERE: Final = 1.20
MODERATE: Final = 1.10
RELAXED: Final = 0.95
KEEP: Final = 1.0
SLACK: Final = 1e-9
"""Shares that are no binary fractions must not round one instance up."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Thresholds on latency over its goal: alpha > beta > 1 > gamma."""

    alpha: float
    beta: float
    gamma: float

    def factor(self, signal: Signal, goal_s: float) -> float:
        """Return what both roles are multiplied by; a signal that isn't ok changes nothing."""
        if signal.value is None or signal.quality is not Quality.OK:
            return KEEP
        over = signal.value / goal_s
        if over > self.alpha:
            return SEVERE
        if over > self.beta:
            return MODERATE
        return RELAXED if over < self.gamma else KEEP


def stepped(count: int, factor: float) -> int:
    """Return a count times a factor: rounded up when it grows, down when it shrinks."""
    scaled = count * factor
    return ceil(scaled - SLACK) if factor > 1 else floor(scaled + SLACK)


@dataclass(slots=True)
class _LatencyOnly:
    steps: Steps
    slo: Slo
    limits: Limits
    cooldowns_s: tuple[float, float]
    _rests_until_s: float = 0.0

    def want(self, seen: Seen) -> Instances:
        desired = seen.state.desired
        factor = max(
            self.steps.factor(seen.signals["ttft_s"], self.slo.ttft_s),
            self.steps.factor(seen.signals["tbt_s"], self.slo.tbt_s),
        )
        if seen.now_s < self._rests_until_s:
            factor = KEEP
        wish = Instances(stepped(desired.prefill, factor), stepped(desired.decode, factor))
        wish = within(self.limits, wish)
        if wish != desired:
            out_s, in_s = self.cooldowns_s
            self._rests_until_s = seen.now_s + (out_s if factor > 1 else in_s)
        return wish


def _build(briefing: Briefing, params: Mapping[str, float]) -> _LatencyOnly:
    beta = figure(params, "beta", 1)
    steps = Steps(figure(params, "alpha", beta), beta, figure(params, "gamma", 0, 1))
    cooldowns_s = figure(params, "cooldown_out_s", 0), figure(params, "cooldown_in_s", 0)
    return _LatencyOnly(steps, briefing.slo, briefing.limits, cooldowns_s)


REFERENCE: Final = Reference(
    name="latency-only",
    summary="Fixed steps of both roles when TTFT or TBT is far from its goal, and nothing else.",
    source="HeteroScale §4.2 (arXiv 2508.19559); thresholds and cooldowns are this product's",
    build=_build,
    params={
        "alpha": Param(1.2, "latency over its goal from which both roles grow by 20 %"),
        "beta": Param(1.05, "latency over its goal from which both roles grow by 10 %"),
        "gamma": Param(0.7, "latency over its goal below which both roles shrink by 5 %"),
        "cooldown_out_s": Param(60, "no change for so long after growing [s]"),
        "cooldown_in_s": Param(300, "no change for so long after shrinking [s]"),
    },
)
