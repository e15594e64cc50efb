"""StatefulSets (Kubernetes, "StatefulSets": "Deployment and Scaling Guarantees").

Pods have ordinals; the highest goes first, and a new template begins with the highest too.
"""

from __future__ import annotations

from tests.kube.controllers.world import World, count_of, hash_of, is_active, is_ready
from tests.kube.store import Object

REVISION = "controller-revision-hash"


def keep_statefulsets(world: World) -> None:
    """Bring pods of StatefulSets a round nearer to what is asked for."""
    for owner in world.all("StatefulSet"):
        if "deletionTimestamp" not in owner["metadata"]:
            _keep(world, owner)


def ordinal(pod: Object) -> int:
    """Return the number at the end of a pod's name."""
    return int(pod["metadata"]["name"].rpartition("-")[2])


def _keep(world: World, owner: Object) -> None:
    spec, name = owner["spec"], owner["metadata"]["name"]
    begin = (spec.get("ordinals") or {}).get("start", 0)
    wanted = range(begin, begin + count_of(owner))
    pods = {ordinal(pod): pod for pod in world.owned(owner)}
    revision = f"{name}-{hash_of(spec['template'])}"
    in_order = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    missing = [number for number in wanted if number not in pods]
    waits = in_order and not all(is_ready(pod) for pod in pods.values())
    for number in [] if waits else missing[: 1 if in_order else None]:
        labels = {
            "statefulset.kubernetes.io/pod-name": f"{name}-{number}",
            "apps.kubernetes.io/pod-index": str(number),
            REVISION: revision,
        }
        world.pod(owner, spec["template"], name=f"{name}-{number}", labels=labels)
    _shrink(world, pods, wanted, in_order=in_order)
    if not missing:
        _renew(world, pods, wanted, revision)
    _tell(world, owner, [pod for pod in pods.values() if is_active(pod)], revision)


def _shrink(world: World, pods: dict[int, Object], wanted: range, *, in_order: bool) -> None:
    """Take the highest away; in order: one after the other has gone."""
    leaving = sorted((number for number in pods if number not in wanted), reverse=True)
    for number in leaving[: 1 if in_order else None]:
        if is_active(pods[number]):
            world.delete(pods[number])


def _renew(world: World, pods: dict[int, Object], wanted: range, revision: str) -> None:
    """Replace the highest pod of another template, when all others are there and ready."""
    mine = {number: pod for number, pod in pods.items() if number in wanted}
    old = [n for n, pod in mine.items() if pod["metadata"]["labels"].get(REVISION) != revision]
    unready = [n for n, pod in mine.items() if not (is_active(pod) and is_ready(pod))]
    if old and set(unready) <= {max(old)}:
        world.delete(mine[max(old)])


def _tell(world: World, owner: Object, pods: list[Object], revision: str) -> None:
    labels = [pod["metadata"].get("labels") or {} for pod in pods]
    ready = sum(map(is_ready, pods))
    updated = sum(each.get(REVISION) == revision for each in labels)
    status = {
        "observedGeneration": owner["metadata"]["generation"],
        "replicas": len(pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "currentReplicas": len(pods) - updated if updated < len(pods) else len(pods),
        "updatedReplicas": updated,
        "updateRevision": revision,
    }
    world.update(owner, {"status": status})
