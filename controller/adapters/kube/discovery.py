"""Pods in and out of service discovery, by a label or a readiness gate."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controller.adapters.kube import pods as listing
from controller.core.kube import errors, gates, parsing
from controller.core.kube.access import Res
from controller.core.kube.finals import desired, finals
from controller.core.kube.kinds import Gate, Victims
from controller.core.kube.values import BadObjectError, PodState
from controller.core.kube.victims import instance_of, leaving
from controller.core.ports import (
    EFFECT_WITHIN_S,
    Going,
    Presence,
    RefusedError,
    UnreachableError,
)
from controller.core.types import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from controller.adapters.kube.api import Api
    from controller.core.kube.values import PodSeen, WorkloadRef, WorkloadSeen
    from controller.core.ports import ScaleOrder
    from controller.core.types import Instances, Role

    KnownOf = Callable[[str], tuple[Api, Sequence[WorkloadRef]]]

MARGIN_S: Final = 2.0
TRIES: Final = 3
"""So often a pod is changed anew because its status changed meanwhile."""

UP: Final = frozenset({PodState.READY, PodState.HELD})
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Instance:
    """One instance: its workload, its pods as they were read, and as the API gives them."""

    ref: WorkloadRef
    name: str
    pods: tuple[PodSeen, ...]
    items: tuple[Item, ...]

    @property
    def bearers(self) -> list[Item]:
        """The pods whose gate counts."""
        return [dict(item) for item in gates.bearers(self.ref.gate, self.items)]

    @property
    def is_up(self) -> bool:
        """Whether all its pods are up, in service discovery or not."""
        return all(pod.state in UP for pod in self.pods)

    @property
    def is_in(self) -> bool:
        """Whether it serves: of a label by one of its pods, else by all."""
        is_ready = (pod.state is PodState.READY for pod in self.pods)
        return any(is_ready) if self.ref.gate is Gate.LABEL else all(is_ready)

    @property
    def presence(self) -> Presence:
        """What service discovery has of it."""
        takers = filter(None, (gates.taken_by(item) for item in self.items))
        starting = [pod for pod in self.pods if pod.state is PodState.STARTING]
        return Presence(
            name=self.name,
            role=self.ref.role,
            created_s=max(pod.created_s for pod in self.pods),
            is_up=self.is_up,
            is_in=self.is_up and self.is_in,
            is_coming=bool(starting) and all(pod.node for pod in starting),
            taken_by=next(takers, ""),
        )


class KubeDiscovery:
    """Opens and closes the gates of a service's pods."""

    def __init__(self, known: KnownOf) -> None:
        """Take who says what a service is; it raises :class:`RefusedError` where it is nothing."""
        self._known = known

    def going(self, order: ScaleOrder, before: Instances, *, now_s: float) -> Going:
        """Return who goes by an order that takes instances of ``before`` away and serves now."""
        with self._looking(order.service, now_s) as look:
            return look.going(order, before)

    def take_out(
        self, service: str, names: Sequence[str], *, action: str, epoch: int, now_s: float
    ) -> None:
        """Take instances out of service discovery in the name of an action."""
        with self._looking(service, now_s) as look:
            for one in look.instances(look.gated):
                for item in one.bearers if one.name in names else ():
                    look.close(one.ref, item, action, epoch)

    def put_back(self, service: str, *, action: str, now_s: float) -> None:
        """Let all that an action took out serve again; those that end already do not return."""
        with self._looking(service, now_s) as look:
            for ref in look.refs:
                for item in look.items(ref):
                    if gates.taken_by(item) == action and not gates.is_ending(item):
                        look.open(ref, item, taken_by=action)

    def let_in(self, service: str, names: Sequence[str], *, now_s: float) -> None:
        """Register instances that nobody took out."""
        with self._looking(service, now_s) as look:
            for one in look.instances(look.gated):
                for item in one.bearers if one.name in names else ():
                    look.open(one.ref, item, taken_by="")

    def serving(self, service: str, *, now_s: float) -> Sequence[Presence]:
        """Return the instances of a service, whether gated or not."""
        with self._looking(service, now_s) as look:
            return [one.presence for one in look.instances(look.refs)]

    @contextmanager
    def _looking(self, service: str, now_s: float) -> Iterator[_Look]:
        """Give a look at a service; what a cluster answers comes out as the port names it."""
        until = time.monotonic() + EFFECT_WITHIN_S - MARGIN_S
        try:
            api, refs = self._known(service)
            yield _Look(api, refs, now_s, until)
        except BadObjectError as fault:
            raise RefusedError(str(fault)) from None
        except errors.KubeError as fault:
            raise _told(fault) from None


def _told(fault: errors.KubeError) -> RefusedError | UnreachableError:
    no = (
        errors.UnauthorisedError,
        errors.ForbiddenError,
        errors.MissingError,
        errors.InvalidError,
    )
    return RefusedError(fault.text) if isinstance(fault, no) else UnreachableError(fault.text)


class _Look:
    """One service within one call: what is there, and what is changed of it."""

    def __init__(self, api: Api, refs: Sequence[WorkloadRef], now_s: float, until: float) -> None:
        self.refs = refs
        self._api = api
        self._now_s = now_s
        self._until = until

    @property
    def gated(self) -> list[WorkloadRef]:
        """The workloads whose pods can be kept out."""
        return [ref for ref in self.refs if ref.gate is not Gate.NONE]

    def items(self, ref: WorkloadRef) -> list[Item]:
        """Return the pods of a workload; one that is gone has none."""
        try:
            labels = listing.labels_of_pods(self._api, ref, until=self._until)
        except errors.MissingError:
            return []
        return listing.listed(self._api, ref, labels, until=self._until)

    def instances(self, refs: Sequence[WorkloadRef]) -> Iterator[_Instance]:
        """Give the instances of workloads, those that end already left out."""
        for ref in refs:
            yield from self._instances(ref, self.items(ref))

    def _instances(self, ref: WorkloadRef, items: Sequence[Item]) -> Iterator[_Instance]:
        parts: dict[str, list[tuple[PodSeen, Item]]] = defaultdict(list)
        for item in items:
            for pod in listing.seen(ref, [item], self._now_s):
                if pod.state is not PodState.DRAINING:
                    parts[instance_of(pod)].append((pod, item))
        for name, own in parts.items():
            pods, plain = zip(*own, strict=True)
            yield _Instance(ref, name, pods, plain)

    def going(self, order: ScaleOrder, before: Instances) -> Going:
        """Return who goes and serves, role by role."""
        names: list[str] = []
        said: list[str] = []
        for role in ROLES:
            if order.want.of(role) < before.of(role):
                found = self._going(role, order, before)
                names += found.names
                said += found.said
        return Going(tuple(names), tuple(said))

    def _going(self, role: Role, order: ScaleOrder, before: Instances) -> Going:
        refs = [ref for ref in self.refs if ref.role is role]
        unknown = [ref for ref in refs if ref.about.victims is Victims.UNKNOWN]
        if unknown:
            said = "is chosen by its operator: nobody can be taken out of service discovery first."
            return Going(said=tuple(f"Who of {ref.words} goes {said}" for ref in unknown))
        if all(ref.gate is Gate.NONE for ref in refs):
            said = "has nothing that keeps a pod out of service discovery: it goes at once."
            return Going(said=tuple(f"{ref.words} {said}" for ref in refs))
        held = [(ref, self._read(ref)) for ref in refs]
        if desired(held).of(role) != before.of(role):
            return Going()  # it will be refused as changed outside
        there = [list(self._instances(ref, self._items(ref, seen))) for ref, seen in held]
        leave = {at: sum(one.name in order.leave for one in own) for at, own in enumerate(there)}
        counts = finals(held, order, leave)
        return self._named(order, there, dict(enumerate(counts)))

    def _named(
        self,
        order: ScaleOrder,
        there: Sequence[Sequence[_Instance]],
        counts: Mapping[int, int],
    ) -> Going:
        names: list[str] = []
        said: list[str] = []
        for at, own in enumerate(there):
            if not own:
                continue
            ref, pods = own[0].ref, [pod for one in own for pod in one.pods]
            found = leaving(ref, pods, counts[at], order.leave)
            said += found.said
            if ref.gate is not Gate.NONE:
                serves = {one.name for one in own if one.presence.is_in}
                names += [name for name in found.names if name in serves]
        return Going(tuple(names), tuple(said))

    def _read(self, ref: WorkloadRef) -> WorkloadSeen:
        found = self._api.read(
            Res(ref.api, ref.plural), ref.namespace, ref.name, until=self._until
        )
        return parsing.workload(ref, found)

    def _items(self, ref: WorkloadRef, seen: WorkloadSeen) -> list[Item]:
        return listing.listed(self._api, ref, ref.selector or seen.selector, until=self._until)

    def close(self, ref: WorkloadRef, item: Item, action: str, epoch: int) -> None:
        """Close the gate of a pod; who did it is known before it is closed."""

        def change(pod: Item) -> None:
            if gates.epoch_of(pod) > epoch:
                newest = gates.epoch_of(pod)
                raise RefusedError(f"epoch {epoch} is over, epoch {newest} wrote last.")
            meta: Item = {"annotations": gates.stamp(action, epoch)}
            if ref.gate is Gate.LABEL:
                meta["labels"] = gates.labels(serving=False)
            pod = self._merge(ref, pod, {"metadata": meta})
            if ref.gate is Gate.READINESS:
                self._condition(ref, pod, registered=False)

        self._changed(ref, item, change)

    def open(self, ref: WorkloadRef, item: Item, *, taken_by: str) -> None:
        """Open whatever gate of ours a pod has, then forget who closed it.

        One that somebody else took out stays out, also if that was only just now.
        """

        def change(pod: Item) -> None:
            if gates.taken_by(pod) != taken_by:
                return
            if ref.gate is Gate.READINESS or gates.has_condition(pod):
                pod = self._condition(ref, pod, registered=True)
            meta: Item = {"annotations": dict(gates.UNSTAMPED)} if taken_by else {}
            if ref.gate is Gate.LABEL or gates.is_labelled_out(pod):
                meta["labels"] = gates.labels(serving=True)
            if meta:
                self._merge(ref, pod, {"metadata": meta})

        self._changed(ref, item, change)

    def _condition(self, ref: WorkloadRef, pod: Item, *, registered: bool) -> Item:
        if gates.is_registered(pod) is registered and gates.has_condition(pod):
            return pod
        found = gates.conditions(pod, registered=registered, now_s=self._now_s)
        return self._merge(ref, pod, {"status": {"conditions": found}}, subresource="status")

    def _merge(self, ref: WorkloadRef, pod: Item, body: Item, *, subresource: str = "") -> Item:
        meta = pod["metadata"]
        at = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        asked = {**body, "metadata": {**body.get("metadata", {}), **at}}
        return self._api.merge(
            listing.PODS,
            ref.namespace,
            meta["name"],
            asked,
            until=self._until,
            subresource=subresource,
        )

    def _changed(self, ref: WorkloadRef, item: Item, change: Callable[[Item], None]) -> None:
        """Change a pod, anew if something else of it changed meanwhile; one that is gone stays."""
        name, uid = item["metadata"]["name"], item["metadata"]["uid"]
        for attempt in range(TRIES):
            try:
                change(item)
            except errors.MissingError:
                return
            except errors.ConflictError:
                if attempt + 1 == TRIES:
                    raise
            else:
                return
            try:
                item = self._api.read(listing.PODS, ref.namespace, name, until=self._until)
            except errors.MissingError:
                return
            if item["metadata"]["uid"] != uid:
                return
