"""Two Kubernetes autoscalers on queue length, one per role, as KEDA sets them up."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from controller.core.types import Instances, Role
from controller.simulator.references import hpa
from controller.simulator.references.checks import figure
from controller.simulator.references.port import Briefing, Param, Reference, Seen


@dataclass(frozen=True, slots=True)
class _ByQueue:
    targets: Mapping[Role, float]
    scalers: Mapping[Role, hpa.Autoscaler]
    tolerance: float

    def want(self, seen: Seen) -> Instances:
        return Instances(self._next(seen, Role.PREFILL), self._next(seen, Role.DECODE))

    def _next(self, seen: Seen, role: Role) -> int:
        waiting, state = seen.signals[f"{role}_waiting"].value, seen.state.of(role)
        wish = None
        if waiting is not None:
            existing = state.ready + state.starting
            wish = hpa.wish_for_total(existing, waiting, self.targets[role], self.tolerance)
        return self.scalers[role].next(seen.now_s, state.desired, wish)


def _build(briefing: Briefing, params: Mapping[str, float]) -> _ByQueue:
    rules = hpa.behaviour(params)
    low, high = briefing.limits.minimum, briefing.limits.maximum
    return _ByQueue(
        {role: figure(params, f"{role}_target", 0.001) for role in Role},
        {role: hpa.Autoscaler(rules, low.of(role), high.of(role)) for role in Role},
        rules.tolerance,
    )


REFERENCE: Final = Reference(
    name="hpa-queue",
    summary="Kubernetes' own autoscaler on waiting requests per instance, for each role alone.",
    source=(
        f"{hpa.SOURCE}; target from vllm-project/production-stack 183a136,"
        " docs/source/use_cases/autoscaling-keda.rst"
    ),
    build=_build,
    params={
        "prefill_target": Param(5, "requests waiting for prefill per prefill instance"),
        "decode_target": Param(5, "requests waiting for decode per decode instance"),
        **hpa.PARAMS,
    },
)
