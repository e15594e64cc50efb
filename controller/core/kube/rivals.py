"""Who else scales a service's workloads: autoscalers that name them, managers that write (K13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import KINDS, WorkloadKind, adapter_of
from controller.core.kube.values import MANAGER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from controller.core.kube.values import WorkloadRef, WorkloadSeen

WITHIN_S: Final = 600.0
OFTEN: Final = 2
"""So many foreign changes of a count within ``WITHIN_S`` are a fight, one is a correction."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """A HorizontalPodAutoscaler and what it scales; ``keda`` is the ScaledObject that made it."""

    namespace: str
    name: str
    api: str
    kind: str
    target: str
    keda: str = ""

    @property
    def words(self) -> str:
        """Who it is, in a sentence."""
        made = f", made by KEDA's ScaledObject {self.keda}" if self.keda else ""
        return f"the HorizontalPodAutoscaler {self.namespace}/{self.name}{made}"

    def scales(self, ref: WorkloadRef) -> bool:
        """Return whether it scales a workload: the object itself or the adapter of its part."""
        if self.namespace != ref.namespace:
            return False
        if ref.kind is WorkloadKind.SCALE:
            return (self.api, self.target) == (ref.api, ref.name)
        parts = {KINDS[ref.kind].words: ref.name}
        if ref.kind is WorkloadKind.ROLE_BASED_GROUP:
            parts = {KINDS[ref.kind].words: adapter_of(ref.name, ref.part)}
        if ref.kind is WorkloadKind.DYNAMO:
            parts["DynamoGraphDeploymentScalingAdapter"] = adapter_of(ref.name, ref.part)
        return parts.get(self.kind) == self.target


def autoscaler_of(plain: Mapping[str, object]) -> Autoscaler | None:
    """Return an autoscaler from what was kept of it, ``None`` for one that names no target."""
    target = plain.get("target")
    if not isinstance(target, Mapping):
        return None
    texts = [
        *(plain.get(key) for key in ("namespace", "name")),
        *(target.get(key) for key in ("apiVersion", "kind", "name")),
        plain.get("keda", ""),
    ]
    known = [one for one in texts if isinstance(one, str)]
    return Autoscaler(*known) if len(known) == len(texts) else None


Place = tuple[str, str, str, str]


@dataclass(slots=True)
class Hands:
    """Who changed the counts of workloads, and when, as far as objects tell."""

    _last: dict[tuple[Place, str], int] = field(default_factory=dict)
    _foreign: dict[tuple[Place, str], list[tuple[float, str]]] = field(default_factory=dict)

    def note(self, ref: WorkloadRef, seen: WorkloadSeen, *, now_s: float) -> None:
        """Take what a workload looks like now. An object made anew begins anew (K11)."""
        key = ((ref.namespace, ref.plural, ref.name, ref.part), seen.uid)
        before = self._last.get(key)
        self._last[key] = seen.replicas
        if before in (None, seen.replicas) or seen.by in ("", MANAGER):
            return
        # The operator of a graph writes there what an adapter holds, and that may be ours.
        if ref.kind is not WorkloadKind.DYNAMO:
            self._foreign.setdefault(key, []).append((now_s, seen.by))

    def fighting(self, ref: WorkloadRef, seen: WorkloadSeen, *, now_s: float) -> str:
        """Return who changed the count too often of late, in words; empty if nobody did."""
        key = ((ref.namespace, ref.plural, ref.name, ref.part), seen.uid)
        recent = [one for one in self._foreign.get(key, ()) if now_s - one[0] < WITHIN_S]
        if recent:
            self._foreign[key] = recent
        else:
            self._foreign.pop(key, None)
        if len(recent) < OFTEN:
            return ""
        by = " and ".join(sorted({one for _, one in recent}))
        return f"{by}, which set the count of {ref.words} several times within 10 min"


def rivals(ref: WorkloadRef, autoscalers: Iterable[Autoscaler]) -> list[str]:
    """Return the autoscalers of a workload in words."""
    return [f"{one.words}, which scales {ref.words}" for one in autoscalers if one.scales(ref)]
