"""Two Kubernetes autoscalers on GPU utilisation, one per role, that know nothing of each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.types import Instances, Role
from controller.simulator.references import hpa
from controller.simulator.references.checks import figure
from controller.simulator.references.port import Briefing, Param, Reference, Seen


@dataclass(frozen=True, slots=True)
class _ByUtilisation:
    share: hpa.Share
    scalers: Mapping[Role, hpa.Autoscaler]

    def want(self, seen: Seen) -> Instances:
        return Instances(self._next(seen, Role.PREFILL), self._next(seen, Role.DECODE))

    def _next(self, seen: Seen, role: Role) -> int:
        signal, state = seen.signals[f"{role}_util"], seen.state.of(role)
        pods = hpa.Pods(
            state.desired, state.ready, min(signal.reporting, state.ready), state.starting
        )
        mean = signal.value
        wish = None if mean is None else hpa.wish_for_share(pods, mean, self.share)
        return self.scalers[role].next(seen.now_s, state.desired, wish)


def _build(briefing: Briefing, params: Mapping[str, float]) -> _ByUtilisation:
    rules = hpa.behaviour(params)
    target = figure(params, "target", 0.01, 1)
    missing = figure(params, "missing_util", 0, 1)
    low, high = briefing.limits.minimum, briefing.limits.maximum
    return _ByUtilisation(
        hpa.Share(target, missing, rules.tolerance),
        {role: hpa.Autoscaler(rules, low.of(role), high.of(role)) for role in Role},
    )


REFERENCE: Final = Reference(
    name="hpa-util",
    summary="Kubernetes' own autoscaler on GPU utilisation, for each role alone.",
    source=hpa.SOURCE,
    build=_build,
    params={
        "target": Param(0.7, "GPU utilisation each role is held at [share]"),
        "missing_util": Param(1.0, "assumed of silent instances before shrinking [share]"),
        **hpa.PARAMS,
    },
)
