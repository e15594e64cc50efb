"""Pods that lose and regain readiness, remembered for as long as nothing may be taken (K15)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from controller.core.kube.counts import FLAP_S
from controller.core.kube.values import PodState

if TYPE_CHECKING:
    from collections.abc import Collection

    from controller.core.kube.values import PodSeen

_LOST = (PodState.STARTING, PodState.FAILED)


@dataclass(slots=True)
class Flaps:
    """When pods regained readiness, by uid. Those that left of their own will did not lose it."""

    _ready_since_s: dict[str, float] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _regained_s: dict[str, list[float]] = field(default_factory=dict)

    def note(self, pod: PodSeen, *, now_s: float, gated: bool) -> None:
        """Take what a pod looks like now.

        A pod that was ready at two looks, and since later at the second, lost it in between;
        of one whose gate is a condition (``gated``) that may be the gate's doing.
        """
        uid, since_s = pod.uid, self._ready_since_s.get(pod.uid)
        if pod.state in _LOST and since_s is not None:
            self._lost.add(uid)
        if pod.state is not PodState.READY:
            return
        between = since_s is not None and pod.since_s > since_s and not gated
        if uid in self._lost or between:
            self._regained_s.setdefault(uid, []).append(now_s)
        self._lost.discard(uid)
        self._ready_since_s[uid] = pod.since_s

    def marked(self, pod: PodSeen, *, now_s: float) -> PodSeen:
        """Return the pod with how often it regained readiness within the last minutes."""
        times = self._regained_s.get(pod.uid)
        if times is None:
            return pod
        recent = [at for at in times if now_s - at < FLAP_S]
        if recent:
            self._regained_s[pod.uid] = recent
            return replace(pod, flaps=len(recent))
        del self._regained_s[pod.uid]
        return pod

    def keep(self, uids: Collection[str]) -> None:
        """Forget pods that are no more."""
        for known in (self._ready_since_s, self._regained_s):
            for uid in known.keys() - set(uids):
                del known[uid]
        self._lost.intersection_update(uids)
