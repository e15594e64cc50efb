"""LeaderWorkerSets: groups of a leader and its workers (lws.sigs.k8s.io, "Concepts", "Labels").

The leader of group 2 of ``x`` is ``x-2``, its workers ``x-2-1`` and so on. An instance is a
group: it is ready when all of it is, and the highest group goes first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from tests.kube.controllers.world import (
    World,
    count_of,
    hash_of,
    is_active,
    is_ready,
    with_conditions,
)
from tests.kube.store import Object

OWN = "leaderworkerset.sigs.k8s.io"
NAME, GROUP, WORKER, SIZE = (
    f"{OWN}/{word}" for word in ("name", "group-index", "worker-index", "size")
)
REVISION = f"{OWN}/template-revision-hash"


def keep_leaderworkersets(world: World) -> None:
    """Bring groups of LeaderWorkerSets a round nearer to what is asked for."""
    for owner in world.all("LeaderWorkerSet"):
        if "deletionTimestamp" not in owner["metadata"]:
            _keep(world, owner)


def _keep(world: World, owner: Object) -> None:
    about = owner["spec"]["leaderWorkerTemplate"]
    size, revision = about.get("size", 1), hash_of(about)
    groups: dict[int, dict[int, Object]] = defaultdict(dict)
    for pod in world.owned(owner):
        labels = pod["metadata"]["labels"]
        groups[int(labels[GROUP])][int(labels[WORKER])] = pod
    wanted = count_of(owner)
    for group in range(wanted):
        for worker in range(size):
            if worker not in groups[group]:
                _create(world, owner, (group, worker), revision)
    for pod in [pod for at, pods in groups.items() if at >= wanted for pod in pods.values()]:
        if is_active(pod):
            world.delete(pod)
    _renew(world, {at: pods for at, pods in groups.items() if at < wanted}, size, revision)
    _tell(world, owner, groups, revision)


def _create(world: World, owner: Object, place: tuple[int, int], revision: str) -> None:
    group, worker = place
    name = owner["metadata"]["name"]
    about = owner["spec"]["leaderWorkerTemplate"]
    leader = f"{name}-{group}"
    template = about["workerTemplate"]
    if worker == 0:
        template = about.get("leaderTemplate") or template
    notes = {SIZE: str(about.get("size", 1))}
    if worker:
        notes[f"{OWN}/leader-name"] = leader
    world.pod(
        owner,
        template,
        name=f"{leader}-{worker}" if worker else leader,
        labels={
            NAME: name,
            GROUP: str(group),
            WORKER: str(worker),
            f"{OWN}/group-key": hash_of({"group": leader}),
            REVISION: revision,
        },
        annotations=notes,
    )


def _renew(
    world: World, groups: Mapping[int, Mapping[int, Object]], size: int, revision: str
) -> None:
    """Replace the highest group of another template, when all others are ready."""
    old = [
        at for at, pods in groups.items() if any(not _is_of(p, revision) for p in pods.values())
    ]
    unready = {at for at, pods in groups.items() if not _is_whole(pods, size)}
    if old and unready <= {max(old)}:
        for pod in groups[max(old)].values():
            if is_active(pod):
                world.delete(pod)


def _is_of(pod: Object, revision: str) -> bool:
    return bool(pod["metadata"]["labels"].get(REVISION) == revision)


def _is_whole(pods: Mapping[int, Object], size: int) -> bool:
    return len(pods) == size and all(is_active(pod) and is_ready(pod) for pod in pods.values())


def _tell(
    world: World, owner: Object, groups: Mapping[int, Mapping[int, Object]], revision: str
) -> None:
    size = owner["spec"]["leaderWorkerTemplate"].get("size", 1)
    # The leader stands for its group.
    present = {at: pods for at, pods in groups.items() if 0 in pods and is_active(pods[0])}
    ready = sum(_is_whole(pods, size) for pods in present.values())
    updated = sum(all(_is_of(p, revision) for p in pods.values()) for pods in present.values())
    name = owner["metadata"]["name"]
    available = {
        "type": "Available",
        "status": str(ready >= count_of(owner)),
        "reason": "AllGroupsReady" if ready >= count_of(owner) else "GroupsProgressing",
    }
    status = {
        "observedGeneration": owner["metadata"]["generation"],
        "replicas": len(present),
        "readyReplicas": ready,
        "updatedReplicas": updated,
        "hpaPodSelector": f"{NAME}={name},{WORKER}=0",
        "conditions": with_conditions(owner, world.objects.now(), available),
    }
    world.update(owner, {"status": status})
