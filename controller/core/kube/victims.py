"""Who goes when the count of a workload falls, and what of a plan its kind can't express."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from controller.core import phrases
from controller.core.kube.kinds import Gate, Victims
from controller.core.kube.values import PodSeen, PodState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from controller.core.kube.values import WorkloadRef

MARK: Final = -2_000_000_000
"""The deletion cost of those that are to go: below what anybody sets, and known as ours by it."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who goes: instances by name with all their pods; nobody is named where nobody can tell.

    ``marks`` are the pods whose cost is to be set before the count falls, ``resets`` those that
    bear our mark of an earlier plan. ``said`` tells what is not as planned.
    """

    names: tuple[str, ...] = ()
    pods: tuple[PodSeen, ...] = ()
    marks: tuple[PodSeen, ...] = ()
    resets: tuple[PodSeen, ...] = ()
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _One:
    """One instance with all its pods."""

    name: str
    pods: tuple[PodSeen, ...]

    @property
    def index(self) -> int:
        found = self.pods[0].index
        return -1 if found is None else found

    @property
    def created_s(self) -> float:
        return max(pod.created_s for pod in self.pods)


def instance_of(pod: PodSeen) -> str:
    """Return the instance a pod is, or is a part of."""
    return pod.of or pod.name


def leaving(
    ref: WorkloadRef, pods: Sequence[PodSeen], count_after: int, leave: Collection[str]
) -> Leaving:
    """Return who goes when the count of a workload falls to ``count_after``.

    ``leave`` are the instances a plan names, of any workload. Pods that go already are not counted
    once more.
    """
    there = _instances(pods)
    many = max(len(there) - count_after, 0)
    planned = [one.name for one in there if one.name in leave][:many]
    match ref.about.victims:
        case Victims.COST:
            return _by_cost(ref, there, many, leave)
        case Victims.ORDINAL:
            return _by_ordinal(ref, there, many, planned)
        case Victims.UNKNOWN:
            return Leaving(said=(_chooses_itself(ref, planned),) if many else ())


def _chooses_itself(ref: WorkloadRef, planned: Sequence[str]) -> str:
    instead = f", whatever is planned: {phrases.listed(planned)}" if planned else ""
    return f"Who of {ref.words} goes is chosen by its operator{instead}."


def _instances(pods: Sequence[PodSeen]) -> list[_One]:
    by_name = sorted((pod for pod in pods if pod.state is not PodState.DRAINING), key=instance_of)
    return [_One(name, tuple(own)) for name, own in groupby(by_name, key=instance_of)]


def _by_cost(
    ref: WorkloadRef, there: Sequence[_One], many: int, leave: Collection[str]
) -> Leaving:
    """Return those a ReplicaSet takes: who has no node or is not ready goes before any cost.

    Those that a plan names, then the newest, get the mark. (Kubernetes, ReplicaSet: scaling.)
    """
    wanted = sorted(
        there,
        key=lambda one: (
            one.name not in leave,
            bool(one.pods[0].node),
            _is_ready(ref, one),
            -one.created_s,
            one.name,
        ),
    )[:many]
    marked = {one.name for one in wanted}
    goes = sorted(
        there,
        key=lambda one: (
            bool(one.pods[0].node),
            _is_ready(ref, one),
            MARK if one.name in marked else _cost(one),
            -one.created_s,
            one.name,
        ),
    )[:many]
    names = {one.name for one in goes}
    stay = [one.name for one in wanted if one.name in leave and one.name not in names]
    first = sorted(names - marked)
    said = (
        f"Of {ref.words} what is not ready goes first: {phrases.listed(first)}, and so"
        f" {phrases.listed(sorted(stay))} stays, unlike planned."
    )
    return Leaving(
        names=tuple(one.name for one in goes),
        pods=tuple(pod for one in goes for pod in one.pods),
        marks=tuple(pod for one in wanted for pod in one.pods if pod.cost != MARK),
        resets=tuple(
            pod for one in there if one.name not in marked for pod in one.pods if pod.cost == MARK
        ),
        said=(said,) if stay else (),
    )


def _cost(one: _One) -> int:
    """Return what somebody else set; our mark of an earlier plan is taken off."""
    return 0 if one.pods[0].cost == MARK else one.pods[0].cost


def _is_ready(ref: WorkloadRef, one: _One) -> bool:
    """Return whether Kubernetes counts an instance as ready; a label keeps nobody from that."""
    ready = {PodState.READY, PodState.HELD} if ref.gate is Gate.LABEL else {PodState.READY}
    return all(pod.state in ready for pod in one.pods)


def _by_ordinal(
    ref: WorkloadRef, there: Sequence[_One], many: int, planned: Sequence[str]
) -> Leaving:
    """Return the highest ordinals: nothing else can be asked for."""
    goes = sorted(there, key=lambda one: (-one.index, one.name))[:many]
    names = [one.name for one in goes]
    stay = [name for name in planned if name not in names]
    said = (
        f"{ref.words} takes the highest ordinals, {phrases.listed(names)}, and so"
        f" {phrases.listed(stay)} stays, unlike planned."
    )
    return Leaving(
        names=tuple(names),
        pods=tuple(pod for one in goes for pod in one.pods),
        said=(said,) if stay else (),
    )
