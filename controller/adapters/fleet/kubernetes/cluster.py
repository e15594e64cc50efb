"""One cluster as it is watched: its nodes, and the workloads and pods of known services."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from controller.adapters.fleet.kubernetes import projections
from controller.adapters.fleet.kubernetes.reflector import (
    NOT_LISTED,
    Feed,
    Pace,
    Reader,
    Reflector,
)
from controller.adapters.fleet.kubernetes.selecting import Selection
from controller.core.kube import parsing
from controller.core.kube.access import Res
from controller.core.kube.errors import ForbiddenError, InvalidError, MissingError
from controller.core.kube.flapping import Flaps
from controller.core.kube.kinds import DYNAMO_ADAPTERS, Gate, WorkloadKind, adapter_of
from controller.core.kube.rivals import Autoscaler, Hands, autoscaler_of, rivals
from controller.core.kube.values import (
    BadObjectError,
    PodSeen,
    ServiceSeen,
    WorkloadRef,
    WorkloadSeen,
)

if TYPE_CHECKING:
    from controller.adapters.fleet.kubernetes.mirror import Mirror, Object, Project

NODES: Final = Res("v1", "nodes")
PODS: Final = Res("v1", "pods")
AUTOSCALERS: Final = Res("autoscaling/v2", "horizontalpodautoscalers")

OLD_S: Final = 30.0
"""What was not known as a whole for so long is told as unknown [s]; a watch lasts half of it."""
SCALE_S: Final = 10.0
SKEW_S: Final = 2.0
"""Clocks that differ by less are taken for the same [s]."""

Refs = Mapping[str, Sequence[WorkloadRef]]
Place = tuple[Res, str | None]
Shown = tuple[WorkloadRef, WorkloadSeen | str]
Part = tuple[WorkloadRef, WorkloadSeen | str, tuple[PodSeen, ...]]


class Server(Reader, Protocol):
    """What a cluster's API server is asked besides lists and watches."""

    def read(
        self, res: Res, namespace: str, name: str, *, until: float, subresource: str = ""
    ) -> dict[str, Any]:
        """Return an object, or one of its subresources."""
        ...

    def clock_s(self) -> float | None:
        """Return what its clock shows now [s since the epoch]."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """A cluster at one look; times are monotonic [s].

    ``services`` is ``None`` until all of it was seen once, and so is ``current_at``, since when at
    the latest what is told of it was so. ``told`` are sentences on what does not answer.
    """

    services: Mapping[str, ServiceSeen] | None
    current_at: float | None
    told: tuple[str, ...]
    nodes: int
    pods: int
    is_dead: bool


class ClusterWatch:
    """Watches one cluster; each resource in a thread of its own, none of which waits for another.

    Without ``namespaces`` it looks at all of them at once, else at each by itself. One thread at a
    time may call its methods.
    """

    def __init__(self, server: Server, pace: Pace, namespaces: Sequence[str] = ()) -> None:
        self._server = server
        self._pace = pace
        self._namespaces = tuple(namespaces)
        self._refs: Refs = {}
        self._names: dict[Place, set[tuple[str, str]]] = {}
        self._selection = Selection()
        self._feeds: dict[Place, Reflector] = {}
        self._coming: dict[Place, Reflector] = {}
        self._objects = _Objects()
        self._pods = _Pods()
        self._hands = Hands()
        self._whole = False
        self._waits = False
        self._add(Feed(NODES, None, projections.node, needed=False))

    # What is watched.

    def follow(self, refs: Refs) -> None:
        """Watch these workloads of each service from now on; what is watched already goes on."""
        if refs == self._refs:
            return
        self._refs = refs
        wanted: dict[Place, set[tuple[str, str]]] = defaultdict(set)
        kinds: dict[Res, WorkloadKind] = {}
        for ref in (one for own in refs.values() for one in own):
            kinds[Res(ref.api, ref.plural)] = ref.kind
            for res, name in _objects_of(ref):
                wanted[res, self._where(ref.namespace)].add((ref.namespace, name))
        spaces = {self._where(ref.namespace) for own in refs.values() for ref in own}
        for (res, where), names in wanted.items():
            self._follow(res, where, names, kinds.get(res))
        for where in spaces:
            self._add(Feed(AUTOSCALERS, where, projections.autoscaler, needed=False))
        kept = {*wanted, (NODES, None), *((res, w) for w in spaces for res in (PODS, AUTOSCALERS))}
        for place in self._feeds.keys() - kept:
            self._feeds.pop(place).stop()
            self._names.pop(place, None)

    def stop(self) -> None:
        """End all watches as soon as what they wait for is over."""
        for one in (*self._feeds.values(), *self._coming.values()):
            one.stop()

    def _where(self, namespace: str) -> str | None:
        return namespace if self._namespaces else None

    def _follow(
        self, res: Res, where: str | None, names: set[tuple[str, str]], kind: WorkloadKind | None
    ) -> None:
        known = self._names.setdefault((res, where), names)
        known |= names
        if known is names:
            keep = projections.workload(names)
            if kind is WorkloadKind.SCALE:
                keep = _with_scale(self._server, res, names)
            needed = res.plural != DYNAMO_ADAPTERS
            self._add(Feed(res, where, keep, needed, chosen=lambda: frozenset(names)))

    def _add(self, feed: Feed) -> None:
        if (feed.res, feed.namespace) not in self._feeds:
            self._feeds[feed.res, feed.namespace] = self._begun(feed)

    def _begun(self, feed: Feed) -> Reflector:
        made = Reflector(self._server, feed, self._pace)
        made.start()
        return made

    def _complete(self) -> None:
        """List anew what is to hold more than it was listed for; until then the old one stays."""
        for place, one in self._feeds.items():
            fresh = self._coming.get(place)
            if fresh is not None and fresh.standing.current_at is not None:
                one.stop()
                self._feeds[place] = self._coming.pop(place)
            elif fresh is None and one.lacks(one.feed.chosen()):
                self._coming[place] = self._begun(one.feed)

    # What is seen.

    def look(self, now_s: float) -> Whole:
        """Return the cluster as it is known at ``now_s`` [s since the epoch, by our clock]."""
        now = time.monotonic()
        needed = [one for one in self._feeds.values() if one.feed.needed]
        # Without workloads it is the nodes that tell whether the cluster answers.
        judged = needed or list(self._feeds.values())
        times = [one.standing.current_at for one in judged]
        known = [at for at in times if at is not None]
        alive = any(one.standing.is_current(now, OLD_S) for one in judged)
        self._choose_pods()
        self._complete()
        self._waits = False
        services = self._services(now_s, now) if alive else None
        has_tried = all(map(_has_tried, self._feeds.values()))
        self._whole = self._whole or (bool(known) and has_tried and not self._waits)
        return Whole(
            services=services if self._whole else None,
            current_at=max(known, default=None) if self._whole else None,
            told=tuple(self._told(now)),
            nodes=len(self._feeds[NODES, None].mirror),
            pods=self._pods.total,
            is_dead=not alive and all(map(_has_tried, judged)),
        )

    def nodes(self) -> tuple[int, bytes] | None:
        """Return all nodes as ``kubectl get nodes -o json`` prints them, and their change number.

        ``None`` while they are not known as a whole.
        """
        one = self._feeds[NODES, None]
        if not one.standing.is_current(time.monotonic(), OLD_S):
            return None
        changes = one.mirror.changes
        return changes, b'{"kind":"List","items":[' + b",".join(one.mirror.bodies()) + b"]}"

    def skew_s(self, now_s: float) -> float | None:
        """Return how far its clock is ahead of ours [s], ``None`` before its first answer."""
        theirs = self._server.clock_s()
        return None if theirs is None else theirs - now_s

    def _told(self, now: float) -> list[str]:
        return [
            f"{one.feed.words} can't be watched: {one.standing.told}"
            for one in self._feeds.values()
            if one.standing.told
            and (one.standing.tries > 1 or not one.standing.is_current(now, OLD_S))
        ]

    def _choose_pods(self) -> None:
        """Keep the pods of all workloads whose labels are known; list anew for new ones."""
        chosen = [
            (ref.namespace, labels)
            for own in self._refs.values()
            for ref in own
            if (labels := _labels(ref, self._objects.of(ref, self._mirrors(ref))[1]))
        ]
        self._selection.set(chosen)
        for where in {self._where(namespace) for namespace, _ in self._selection.chosen()}:
            keep = projections.pod(self._selection)
            self._add(Feed(PODS, where, keep, chosen=self._selection.chosen_in(where)))

    def _services(self, now_s: float, now: float) -> dict[str, ServiceSeen]:
        self._pods.take([one.mirror for (res, _), one in self._feeds.items() if res == PODS])
        scalers = self._autoscalers()
        found = {}
        for slug, refs in self._refs.items():
            parts = [self._part(ref, now_s, now) for ref in refs]
            fights = [
                self._hands.fighting(ref, seen, now_s=now_s)
                for ref, seen, _ in parts
                if isinstance(seen, WorkloadSeen)
            ]
            named = [text for ref in refs for text in rivals(ref, scalers)]
            found[slug] = ServiceSeen(tuple(parts), (*named, *filter(None, fights)))
        self._pods.forget()
        return found

    def _part(self, ref: WorkloadRef, now_s: float, now: float) -> Part:
        """Return a workload with its pods, or why it can't be told."""
        shown, seen = self._objects.of(ref, self._mirrors(ref))
        unknown = self._unknown(ref, seen, now)
        if unknown or isinstance(seen, str):
            return shown, unknown or str(seen), ()
        self._hands.note(shown, seen, now_s=now_s)
        clock = Clock(now_s, self.skew_s(now_s))
        pods = self._pods.of(shown, _labels(ref, seen), clock)
        return (shown, pods, ()) if isinstance(pods, str) else (shown, seen, pods)

    def _unknown(self, ref: WorkloadRef, seen: WorkloadSeen | str, now: float) -> str:
        """Return what of a workload is not known now, empty if all is."""
        where = self._where(ref.namespace)
        res, name = _objects_of(ref)[0]
        pods = (ref.namespace, frozenset(_labels(ref, seen).items()))
        needs: list[tuple[Res, object]] = [(res, (ref.namespace, name))]
        needs += [(PODS, pods)] if isinstance(seen, WorkloadSeen) else []
        for kind, key in needs:
            if why := self._lacks(self._feeds.get((kind, where)), key, now):
                return why
        return ""

    def _lacks(self, one: Reflector | None, key: object, now: float) -> str:
        """Return why a feed does not tell of something, empty if it does."""
        if one is not None and one.standing.told and not one.standing.is_current(now, OLD_S):
            return f"{one.feed.words} can't be watched: {one.standing.told.removesuffix('.')}"
        if one is None or one.complete_for is None or one.lacks(frozenset((key,))):
            self._waits = True
            return NOT_LISTED
        if not one.standing.is_current(now, OLD_S):
            return f"{one.feed.words} do not answer"
        return ""

    def _mirrors(self, ref: WorkloadRef) -> list[tuple[Res, bytes]]:
        """Return what is kept of the objects that may hold the count of a workload."""
        where = self._where(ref.namespace)
        found = []
        for res, name in _objects_of(ref):
            one = self._feeds.get((res, where))
            body = one.mirror.get(ref.namespace, name) if one is not None else None
            if body is not None:
                found.append((res, body))
        return found

    def _autoscalers(self) -> list[Autoscaler]:
        bodies = (
            body
            for (res, _), one in self._feeds.items()
            if res == AUTOSCALERS
            for body in one.mirror.bodies()
        )
        found = (autoscaler_of(orjson.loads(body)) for body in bodies)
        return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class Clock:
    """Our time [s since the epoch], and how far the cluster's is ahead of it [s]."""

    now_s: float
    skew_s: float | None

    @property
    def ahead_s(self) -> float:
        """What is taken off the cluster's times; an answer tells its time in whole seconds."""
        return self.skew_s if self.skew_s is not None and abs(self.skew_s) >= SKEW_S else 0.0


class _Objects:
    """Workloads as values, read anew only where what is kept of them changed."""

    def __init__(self) -> None:
        self._made: dict[WorkloadRef, tuple[list[tuple[Res, bytes]], Shown]] = {}

    def of(self, ref: WorkloadRef, bodies: list[tuple[Res, bytes]]) -> Shown:
        """Return what a workload's objects say, or why they can't be read."""
        known = self._made.get(ref)
        if known is None or known[0] != bodies:
            known = self._made[ref] = (bodies, _shown(ref, bodies))
        return known[1]


class _Pods:
    """Pods as values, read anew only where what is kept of them changed."""

    def __init__(self) -> None:
        self._flaps = Flaps()
        self._labels: dict[bytes, tuple[str, Mapping[str, str]]] = {}
        self._by_pair: dict[tuple[str, str, str], list[bytes]] = {}
        self._made: dict[tuple[bytes, WorkloadRef], PodSeen | str] = {}
        self._used: dict[tuple[bytes, WorkloadRef], PodSeen | str] = {}
        self._state: tuple[tuple[int, int], ...] = ()
        self.total = 0

    def take(self, mirrors: Sequence[Mirror]) -> None:
        """Take all pods as they are kept now."""
        state = tuple((id(one), one.changes) for one in mirrors)
        if state == self._state:
            return
        self._state = state
        bodies = [body for one in mirrors for body in one.bodies()]
        labels: dict[bytes, tuple[str, Mapping[str, str]]] = {}
        by_pair: dict[tuple[str, str, str], list[bytes]] = defaultdict(list)
        for body in bodies:
            known = labels[body] = self._labels.get(body) or _place_of(body)
            for key, value in known[1].items():
                by_pair[known[0], key, value].append(body)
        self._labels, self._by_pair, self.total = labels, dict(by_pair), len(bodies)

    def of(
        self, ref: WorkloadRef, chosen: Mapping[str, str], clock: Clock
    ) -> tuple[PodSeen, ...] | str:
        """Return the pods of a workload, or which of them can't be read."""
        if not chosen:
            return ()
        key = min(chosen)
        found = []
        for body in self._by_pair.get((ref.namespace, key, chosen[key]), ()):
            if not parsing.matches(chosen, self._labels[body][1]):
                continue
            one = self._pod(ref, body, clock)
            if isinstance(one, str):
                return one
            found.append(self._flaps.marked(one, now_s=clock.now_s))
        return tuple(found)

    def _pod(self, ref: WorkloadRef, body: bytes, clock: Clock) -> PodSeen | str:
        known = self._made.get((body, ref))
        if known is None:
            known = _pod_of(ref, body, clock)
            if isinstance(known, PodSeen):
                gated = ref.gate is Gate.READINESS
                self._flaps.note(known, now_s=clock.now_s, gated=gated)
        self._used[body, ref] = known
        return known

    def forget(self) -> None:
        """Forget pods that no workload has any more."""
        self._made, self._used = self._used, {}
        self._flaps.keep({one.uid for one in self._made.values() if isinstance(one, PodSeen)})


def _objects_of(ref: WorkloadRef) -> list[tuple[Res, str]]:
    """Return the objects that may hold the count of a workload; of those there are the last."""
    res = Res(ref.api, ref.plural)
    if ref.kind is WorkloadKind.ROLE_BASED_GROUP:
        return [(res, adapter_of(ref.name, ref.part))]
    if ref.kind is WorkloadKind.DYNAMO:
        return [(res, ref.name), (Res(ref.api, DYNAMO_ADAPTERS), adapter_of(ref.name, ref.part))]
    return [(res, ref.name)]


def _labels(ref: WorkloadRef, seen: WorkloadSeen | str) -> Mapping[str, str]:
    """Return the labels of a workload's pods, none while they are not known."""
    return ref.selector or (seen.selector if isinstance(seen, WorkloadSeen) else {})


def _shown(ref: WorkloadRef, bodies: Sequence[tuple[Res, bytes]]) -> Shown:
    """Return what a workload says; an adapter stands for the part of a graph it scales."""
    if not bodies:
        return ref, "there is no such object"
    read = [_seen(replace(ref, plural=res.plural), body) for res, body in bodies]
    shown, seen = replace(ref, plural=bodies[-1][0].plural), read[-1]
    whole = read[0]
    if isinstance(seen, WorkloadSeen) and isinstance(whole, WorkloadSeen):
        # How many pods an instance is made of, and what rolls out, the graph alone tells.
        seen = replace(seen, size=whole.size, rollout=seen.rollout or whole.rollout)
    return shown, seen


def _seen(ref: WorkloadRef, body: bytes) -> WorkloadSeen | str:
    plain = orjson.loads(body)
    told = plain.get("unread")
    if told:
        return str(told)
    try:
        return parsing.workload(ref, plain, plain.get("scale"))
    except BadObjectError as fault:
        return str(fault)


def _pod_of(ref: WorkloadRef, body: bytes, clock: Clock) -> PodSeen | str:
    ahead_s = clock.ahead_s
    try:
        one = parsing.pod(ref, orjson.loads(body), clock.now_s + ahead_s)
    except BadObjectError as fault:
        return f"one of its pods: {fault}"
    if not ahead_s:
        return one
    return replace(one, since_s=one.since_s - ahead_s, created_s=one.created_s - ahead_s)


def _place_of(body: bytes) -> tuple[str, Mapping[str, str]]:
    metadata = orjson.loads(body)["metadata"]
    labels = {key: str(value) for key, value in (metadata.get("labels") or {}).items()}
    return str(metadata.get("namespace", "")), labels


def _with_scale(server: Server, res: Res, names: set[tuple[str, str]]) -> Project:
    """Return what keeps objects together with their scale subresource, which holds their count."""
    keep = projections.workload(names)

    def project(each: Object) -> bytes | None:
        if keep(each) is None:
            return None
        kept = projections.reduced(each)
        metadata = kept["metadata"]
        at = metadata if isinstance(metadata, dict) else {}
        try:
            kept["scale"] = server.read(
                res,
                str(at.get("namespace", "")),
                str(at.get("name", "")),
                until=time.monotonic() + SCALE_S,
                subresource="scale",
            )
        except (MissingError, ForbiddenError, InvalidError) as fault:
            kept["unread"] = fault.text
        return orjson.dumps(kept)

    return project


def _has_tried(one: Reflector) -> bool:
    return one.standing.current_at is not None or bool(one.standing.tries)
