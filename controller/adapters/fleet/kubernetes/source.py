"""What the watcher saw of services, as the counts and instances that decisions rest on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from controller.core.kube.counts import Counted, counted
from controller.core.kube.sight import FIRST_ROUNDS, ClusterStanding, Sights
from controller.core.ports import Pool, View
from controller.core.types import (
    ROLES,
    SIGNALS,
    Bar,
    Instances,
    Observation,
    ServiceSpec,
    ServiceState,
    Window,
)
from controller.core.words import seconds

if TYPE_CHECKING:
    from controller.core.counted_pools import Place

NOT_CHOSEN: Final = (
    "No workloads are chosen for it: choose the objects that hold its prefill and decode "
    "instances."
)
_NO_SAMPLES: Final = Window(
    np.zeros(0),
    np.zeros((len(SIGNALS), 0)),
    np.zeros((len(SIGNALS), 0), dtype=np.bool_),
    np.zeros((len(ROLES), 0), dtype=np.int64),
    np.zeros((len(ROLES), 0), dtype=np.int64),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Where sights are read, how old they may be [s], and what pools are left of what is held."""

    sights_of: Callable[[Collection[str], Collection[str]], Sights]
    pools_of: Callable[[Mapping[Place, int]], Sequence[Pool]]
    max_age_s: float


class KubernetesSource:
    """Tells counts by what the watcher noted; it asks no cluster itself."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return an observation of each service that is known now, and why others are not."""
        clusters = {spec.cluster for spec in services}
        sights = self._kept.sights_of([spec.key for spec in services], clusters)
        observations: dict[str, Observation] = {}
        failures: dict[str, str] = {}
        rivals: dict[str, tuple[str, ...]] = {}
        for spec in services:
            try:
                found = self._one(spec, sights, now_s)
            except Exception as fault:  # noqa: BLE001 - one odd row must not stop the others (S24)
                found = f"What was seen of it can't be counted: {type(fault).__name__}: {fault}"
            if isinstance(found, str):
                failures[spec.key] = found
                continue
            observations[spec.key] = found
            if named := sights.services[spec.key].rivals:
                rivals[spec.key] = named
        pools = self._kept.pools_of(_held(services, observations, sights))
        return View(observations, pools, failures, rivals=rivals)

    def _one(self, spec: ServiceSpec, sights: Sights, now_s: float) -> Observation | str:
        unknown = self._unknown(spec, sights, now_s)
        if unknown:
            return unknown
        standing = sights.clusters[spec.cluster]
        return _observation(counted(sights.services[spec.key]), standing, spec.cluster)

    def _unknown(self, spec: ServiceSpec, sights: Sights, now_s: float) -> str:
        """Return why nothing is known of a service now, empty if something is."""
        standing, seen = sights.clusters.get(spec.cluster), sights.services.get(spec.key)
        if spec.key not in sights.chosen:
            return NOT_CHOSEN
        if standing is None or standing.heard_s is None:
            return _never(spec.cluster, standing)
        age_s = now_s - standing.heard_s
        if abs(age_s) > self._kept.max_age_s:
            return _silent(spec.cluster, standing, age_s)
        unseen = f"It was not seen in cluster {spec.cluster} yet."
        return "" if seen is not None and seen.workloads else unseen


def _observation(found: Counted, standing: ClusterStanding, cluster: str) -> Observation | str:
    if found.state is None:
        return " ".join(found.problems)
    bar = found.bar
    if standing.rounds < FIRST_ROUNDS:
        bar = Bar(f"the watch of cluster {cluster} has only begun", growth=True)
    return Observation(_NO_SAMPLES, found.state, found.instances, bar=bar)


def _never(cluster: str, standing: ClusterStanding | None) -> str:
    if standing is None:
        return (
            f"Nobody looks at cluster {cluster}: give it an access, and let the watcher "
            "(manage.py watch) run."
        )
    return " ".join((f"Cluster {cluster} was never seen as a whole.", *standing.told[:1]))


def _silent(cluster: str, standing: ClusterStanding, age_s: float) -> str:
    if age_s < 0:
        return (
            f"Cluster {cluster} was heard {seconds(-age_s)} from now, by the clock of the rows: "
            "it was put back. Let the watcher (manage.py watch) run."
        )
    said = f"Nothing was heard of cluster {cluster} for {seconds(age_s)}."
    return " ".join((said, *standing.told[:1]))


def _held(
    services: Sequence[ServiceSpec], seen: Mapping[str, Observation], sights: Sights
) -> dict[Place, int]:
    """Return the GPUs instances hold: those seen, or where a service is not, those last known."""
    held: dict[Place, int] = {}
    for spec in services:
        state = seen[spec.key].state if spec.key in seen else None
        counts = _there(state) if state else sights.last.get(spec.key, Instances(0, 0))
        for role in ROLES:
            place = (spec.cluster, spec.hardware[role])
            gpus = counts.of(role) * spec.gpus_per_instance.of(role)
            held[place] = held.get(place, 0) + gpus
    return held


def _there(state: ServiceState) -> Instances:
    """Return what holds GPUs: what is asked for, and what has yet to end."""
    prefill, decode = (state.of(role).desired + state.of(role).draining for role in ROLES)
    return Instances(prefill, decode)
