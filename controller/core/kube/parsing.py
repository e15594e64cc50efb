"""Objects of a cluster's API as values; one that is not what its kind says it is spoils itself.

Which labels the pods of a kind carry, where its object names none:

- DynamoGraphDeployment: ``nvidia.com/dynamo-graph-deployment-name`` and
  ``nvidia.com/dynamo-component``, as the constants of its operator name them and its pods show.
  Pods of a component over several nodes carry ``grove.io/podcliquescalinggroup-replica-index``
  or, without Grove, the group index of a LeaderWorkerSet.
- RoleBasedGroup: ``rolebasedgroup.workloads.x-k8s.io/name`` and ``…/role`` up to v1alpha1,
  ``rbg.workloads.x-k8s.io/group-name`` and ``…/role-name`` from v1alpha2 on.
- LeaderWorkerSet: ``leaderworkerset.sigs.k8s.io/name``, with the group in ``…/group-index``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import (
    ACTION,
    BEFORE,
    COST,
    EPOCH,
    REGISTERED,
    SERVING,
    WANT,
    BadObjectError,
    PodSeen,
    PodState,
    WorkloadSeen,
    annotation_of,
)
from controller.core.words import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.core.kube.values import WorkloadRef

Object = Mapping[str, object]
Path = tuple[str, ...]

MOST: Final = 2**31 - 1
"""The largest count an object can hold."""
LONGEST_WHY: Final = 200
"""Characters of a message of the API that are kept."""

DYNAMO_NAME: Final = "nvidia.com/dynamo-graph-deployment-name"
DYNAMO_PART: Final = "nvidia.com/dynamo-component"
LWS_NAME: Final = "leaderworkerset.sigs.k8s.io/name"
_LWS_GROUP: Final = "leaderworkerset.sigs.k8s.io/group-index"
_RBG: Final = ("rolebasedgroup.workloads.x-k8s.io/name", "rolebasedgroup.workloads.x-k8s.io/role")
_RBG_LATER: Final = ("rbg.workloads.x-k8s.io/group-name", "rbg.workloads.x-k8s.io/role-name")
_RBG_FIRST: Final = "workloads.x-k8s.io/v1alpha1"
_INSTANCE: Final[Mapping[WorkloadKind, Path]] = {
    WorkloadKind.LEADER_WORKER_SET: (_LWS_GROUP,),
    WorkloadKind.DYNAMO: ("grove.io/podcliquescalinggroup-replica-index", _LWS_GROUP),
    WorkloadKind.ROLE_BASED_GROUP: (
        "rbg.workloads.x-k8s.io/role-instance-name",
        "instance.workloads.x-k8s.io/instance-name",
        _LWS_GROUP,
    ),
}
"""Labels that pods of one instance share, of which the first that is there counts."""
_ORDINAL: Final = re.compile(r"-(\d{1,9})\Z")
_PAIR: Final = re.compile(r"\s*([^=!,\s]+)\s*==?\s*([^=!,\s]*)\s*\Z")
_STUCK: Final = frozenset(
    (
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    )
)
"""What a container waits for that doesn't come by itself."""


def workload(ref: WorkloadRef, obj: Object, scale: Object | None = None) -> WorkloadSeen:
    """Return what a workload says of itself.

    ``obj`` is the object, or its scale subresource alone; ``scale`` is that subresource where the
    object doesn't hold its count in ``spec.replicas``. Raises :class:`BadObjectError` with the
    field that can't be used.
    """
    read = _Reader(obj)
    at = _where(ref, obj)
    counted = read if scale is None else _Reader(scale)
    where = at if scale is None else _PLAIN
    rollout, paused = _rollout(ref, read, at)
    return WorkloadSeen(
        uid=read.needed("metadata", "uid"),
        resource_version=read.text("metadata", "resourceVersion"),
        replicas=counted.count(where.replicas),
        current=counted.count((*where.status, "replicas"), absent=0),
        generation=read.count(("metadata", "generation"), absent=0),
        action=read.note(ACTION),
        epoch=_whole(read.note(EPOCH)) or 0,
        want=_whole(read.note(_of_part(WANT, ref, obj))),
        before=_whole(read.note(_of_part(BEFORE, ref, obj))),
        ready=counted.count((*where.status, "readyReplicas"), absent=0),
        by=_owner(read, where.replicas),
        rollout=rollout,
        selector=_selector(ref, read, counted),
        domains=_domains(read) if ref.about.has_template else {},
        paused=paused,
        size=_size(ref, read),
    )


def pod(ref: WorkloadRef, obj: Object, now_s: float) -> PodSeen:
    """Return how far a pod of a workload is. Times after ``now_s`` [s] count as now.

    Raises :class:`BadObjectError` with the field that can't be used.
    """
    read = _Reader(obj)
    name, labels = read.needed("metadata", "name"), read.labels("metadata", "labels")
    created_s = min(read.time("metadata", "creationTimestamp") or now_s, now_s)
    conditions = _conditions(read)
    state, why = _state(ref, read, conditions, labels)
    index, of = _instance(ref, name, labels)
    return PodSeen(
        name=name,
        uid=read.needed("metadata", "uid"),
        # What has ended holds nothing of its node any more.
        node="" if _ended(read) else read.text("spec", "nodeName"),
        state=state,
        since_s=min(_since(read, state, conditions) or created_s, now_s),
        created_s=created_s,
        why=why,
        index=index,
        of=of,
        cost=_whole(read.note(COST)) or 0,
        restarts=sum(each.count(("restartCount",), absent=0) for each in _containers(read)),
    )


def version_of(obj: Object) -> str:
    """Return the ``resourceVersion`` of an object. Raises :class:`BadObjectError`."""
    return _Reader(obj).needed("metadata", "resourceVersion")


def labels_of(obj: Object) -> Mapping[str, str]:
    """Return the labels of an object. Raises :class:`BadObjectError` where they are none."""
    return _Reader(obj).labels("metadata", "labels")


def matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a pod with these labels is meant; without a selector none is (S21)."""
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


@dataclass(frozen=True, slots=True)
class _Where:
    """Where an object of a kind holds its count, and where it reports."""

    replicas: Path
    status: Path


_PLAIN: Final = _Where(("spec", "replicas"), ("status",))


def _where(ref: WorkloadRef, obj: Object) -> _Where:
    """Return where the count is: of a graph in the map of its components."""
    if ref.kind is not WorkloadKind.DYNAMO or _is_adapter(obj):
        return _PLAIN
    part = ("services", ref.part)
    return _Where(("spec", *part, "replicas"), ("status", *part))


def _of_part(annotation: str, ref: WorkloadRef, obj: Object) -> str:
    return annotation_of(annotation, ref) if not _is_adapter(obj) else annotation


def _is_adapter(obj: Object) -> bool:
    """Return whether it scales one component of a graph, rather than being the graph."""
    spec = obj.get("spec")
    return isinstance(spec, Mapping) and "dgdRef" in spec


@dataclass(frozen=True, slots=True)
class _Reader:
    """An object, or a part of one; each reading names the field it could not use."""

    plain: Object
    at: str = ""

    def get(self, *path: str) -> object:
        """Return a value, ``None`` where it or anything before it is absent or null."""
        found: object = self.plain
        for number, key in enumerate(path):
            if found is None:
                return None
            if not isinstance(found, Mapping):
                raise BadObjectError(self._wrong(path[:number], found, "an object"))
            found = found.get(key)
        return found

    def text(self, *path: str) -> str:
        """Return a text, an empty one where it is absent."""
        found = self.get(*path)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise BadObjectError(self._wrong(path, found, "a text"))
        return _held(found)

    def needed(self, *path: str) -> str:
        """Return a text that must be there."""
        found = self.text(*path)
        if not found:
            raise BadObjectError(f"{self._name(path)} is missing")
        return found

    def count(self, path: Path, *, absent: int | None = None) -> int:
        """Return a whole number from 0 to ``MOST``; ``absent`` stands for one that isn't there.

        Nothing stands for the count that is asked for: what the server would make of none is not
        what the object says.
        """
        found = self.get(*path)
        if found is None and absent is not None:
            return absent
        is_whole = isinstance(found, int) and not isinstance(found, bool)
        if not is_whole or not isinstance(found, int) or not 0 <= found <= MOST:
            raise BadObjectError(self._wrong(path, found, f"a whole number from 0 to {MOST}"))
        return found

    def mapping(self, *path: str) -> Object:
        """Return an object in this one, an empty one where it is absent."""
        found = self.get(*path)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise BadObjectError(self._wrong(path, found, "an object"))
        return found

    def parts(self, *path: str) -> Sequence[_Reader]:
        """Return the objects of a list, none where it is absent."""
        found = self.get(*path)
        if found is None:
            return ()
        if not isinstance(found, list):
            raise BadObjectError(self._wrong(path, found, "a list"))
        name = self._name(path)
        for number, each in enumerate(found):
            if not isinstance(each, Mapping):
                raise BadObjectError(self._wrong((*path, str(number)), each, "an object"))
        return [_Reader(each, f"{name}[{number}].") for number, each in enumerate(found)]

    def labels(self, *path: str) -> Mapping[str, str]:
        """Return texts by their key."""
        found = self.mapping(*path)
        for key, value in found.items():
            if not isinstance(value, str):
                raise BadObjectError(self._wrong((*path, str(key)), value, "a text"))
        return {_held(str(key)): _held(str(value)) for key, value in found.items()}

    def note(self, key: str) -> str:
        """Return an annotation, an empty one where it is absent."""
        return self.text("metadata", "annotations", key)

    def flag(self, *path: str) -> bool:
        """Return whether a field is true; an absent one isn't."""
        found = self.get(*path)
        if found is not None and not isinstance(found, bool):
            raise BadObjectError(self._wrong(path, found, "true or false"))
        return found is True

    def time(self, *path: str) -> float | None:
        """Return a time [s since the epoch], ``None`` where it is absent."""
        found = self.text(*path)
        if not found:
            return None
        try:
            return datetime.fromisoformat(found).timestamp()
        except ValueError:
            raise BadObjectError(self._wrong(path, found, "a time")) from None

    def _name(self, path: Path) -> str:
        return self.at + ".".join(path)

    def _wrong(self, path: Path, found: object, wanted: str) -> str:
        shown = "null or missing" if found is None else _shown(found)
        return f"{self._name(path) or 'it'} is {shown}, which is not {wanted}"


def _held(text: str) -> str:
    """Return a text as rows can hold it; nearly all are as they come."""
    return text if text.isprintable() else clean(text)


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{clean(value[:40])}"'
    if isinstance(value, int | float):
        return clean(str(value)[:40])
    return "a list" if isinstance(value, list) else "an object"


def _whole(text: str) -> int | None:
    """Return the number an annotation holds, ``None`` for what is none."""
    return int(text) if re.match(r"-?\d{1,18}\Z", text) else None


def _selector(ref: WorkloadRef, read: _Reader, counted: _Reader) -> Mapping[str, str]:
    """Return the labels of a workload's pods: as chosen, as it says, or as its kind has them."""
    if ref.selector:
        return ref.selector
    usual = _usual_labels(ref, read)
    found = usual or read.labels("spec", "selector", "matchLabels") or _pairs(counted)
    if not found:
        raise BadObjectError(
            "it does not say which pods are its own; give the labels of its pods with the workload"
        )
    return found


def _usual_labels(ref: WorkloadRef, read: _Reader) -> Mapping[str, str]:
    if ref.kind is WorkloadKind.LEADER_WORKER_SET:
        return {LWS_NAME: ref.name}
    if ref.kind is WorkloadKind.DYNAMO:
        return {DYNAMO_NAME: ref.name, DYNAMO_PART: ref.part}
    if ref.kind is WorkloadKind.ROLE_BASED_GROUP:
        name, role = _RBG if ref.api in ("", _RBG_FIRST) else _RBG_LATER
        target = read.needed("spec", "scaleTargetRef", "name")
        return {name: target, role: read.text("spec", "scaleTargetRef", "role") or ref.part}
    return {}


def _pairs(scale: _Reader) -> Mapping[str, str]:
    """Return the labels of a scale subresource's query, none where it asks for more than equality.

    The field is a text there, and an object elsewhere.
    """
    found = scale.get("status", "selector")
    if not isinstance(found, str) or not found:
        return {}
    pairs = [_PAIR.match(part) for part in found.split(",")]
    return {each[1]: each[2] for each in pairs if each} if all(pairs) else {}


def _size(ref: WorkloadRef, read: _Reader) -> int:
    """Return how many pods one instance is made of."""
    if ref.kind is WorkloadKind.LEADER_WORKER_SET:
        return max(read.count(("spec", "leaderWorkerTemplate", "size"), absent=1), 1)
    if ref.kind is WorkloadKind.DYNAMO:
        path = ("spec", "services", ref.part, "multinode", "nodeCount")
        return max(read.count(path, absent=1), 1)
    return 1


def _rollout(ref: WorkloadRef, read: _Reader, where: _Where) -> tuple[str, bool]:
    """Return what of a change of pods is under way, in words, and whether it was paused."""
    paused = read.flag("spec", "paused") if ref.kind is WorkloadKind.DEPLOYMENT else False
    status = read.mapping(*where.status)
    there = read.count((*where.status, "replicas"), absent=0)
    updated = read.count((*where.status, "updatedReplicas"), absent=0)
    taken_up = read.count(("status", "observedGeneration"), absent=0)
    generation = read.count(("metadata", "generation"), absent=0)
    # Objects that are none of Kubernetes' own need not report either; zeros are left out there.
    tells = ref.about.has_template
    if generation > taken_up and (tells or taken_up):
        return "its controller has not yet taken up the last change of it", paused
    if updated < there and (tells or "updatedReplicas" in status):
        return f"{updated} of {there} pods are of the newest version", paused
    return ("its rollout is paused" if paused else ""), paused


def _owner(read: _Reader, path: Path) -> str:
    """Return the manager that set the count last, empty where the object doesn't tell."""
    fields = tuple(f"f:{key}" for key in path)
    owners = [
        (each.text("time"), each.text("manager"))
        for each in read.parts("metadata", "managedFields")
        if isinstance(each.get("fieldsV1"), Mapping) and _owns(each, fields)
    ]
    return max(owners, default=("", ""))[1]


def _owns(entry: _Reader, fields: Path) -> bool:
    found = entry.get("fieldsV1")
    for key in fields:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found is not None


def _domains(read: _Reader) -> Mapping[str, Sequence[str]]:
    """Return the node labels that pods must have; of several alternatives nothing is said."""
    spec = ("spec", "template", "spec")
    found: dict[str, Sequence[str]] = {
        key: (value,) for key, value in read.labels(*spec, "nodeSelector").items()
    }
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    terms = read.parts(*spec, "affinity", "nodeAffinity", required, "nodeSelectorTerms")
    for each in terms[0].parts("matchExpressions") if len(terms) == 1 else ():
        values = each.get("values")
        if each.text("operator") == "In" and isinstance(values, list):
            found[each.text("key")] = tuple(str(value) for value in values)
    return found


def _conditions(read: _Reader) -> Mapping[str, _Reader]:
    return {each.text("type"): each for each in read.parts("status", "conditions")}


def _is_true(conditions: Mapping[str, _Reader], name: str) -> bool:
    return name in conditions and conditions[name].text("status") == "True"


def _containers(read: _Reader) -> Sequence[_Reader]:
    statuses = ("initContainerStatuses", "containerStatuses")
    return [each for name in statuses for each in read.parts("status", name)]


def _state(
    ref: WorkloadRef,
    read: _Reader,
    conditions: Mapping[str, _Reader],
    labels: Mapping[str, str],
) -> tuple[PodState, str]:
    """Return how far a pod is and, where that is not ready, why."""
    if read.text("metadata", "deletionTimestamp"):
        return PodState.DRAINING, ""
    if stuck := _stuck(read):
        return PodState.FAILED, stuck
    # What is not ready because of its gate has containers that are.
    up = "ContainersReady" if ref.gate is Gate.READINESS else "Ready"
    if _is_true(conditions, up) and not _is_open(ref.gate, conditions, labels):
        return PodState.HELD, ""
    ready = _is_true(conditions, "Ready")
    return (PodState.READY, "") if ready else (PodState.STARTING, _waits_for(read, conditions))


def _is_open(gate: Gate, conditions: Mapping[str, _Reader], labels: Mapping[str, str]) -> bool:
    if gate is Gate.LABEL:
        return labels.get(SERVING) == "true"
    return gate is Gate.NONE or _is_true(conditions, REGISTERED)


def _stuck(read: _Reader) -> str:
    """Return what a pod failed of, empty for one that may yet come up."""
    if _ended(read):
        reason = read.text("status", "reason") or read.text("status", "phase")
        return _short(reason, read.text("status", "message"))
    for each in _containers(read):
        reason = each.text("state", "waiting", "reason")
        if reason in _STUCK:
            return _short(reason, each.text("state", "waiting", "message"))
    return ""


def _ended(read: _Reader) -> bool:
    return read.text("status", "phase") in {"Failed", "Succeeded"}


def _waits_for(read: _Reader, conditions: Mapping[str, _Reader]) -> str:
    """Return what a pod waits for, as far as the API tells."""
    scheduled = conditions.get("PodScheduled")
    if scheduled is not None and scheduled.text("status") == "False":
        return _short(scheduled.text("reason"), scheduled.text("message"))
    reasons = (each.text("state", "waiting", "reason") for each in _containers(read))
    return _short(next(filter(None, reasons), ""), "")


def _short(reason: str, message: str) -> str:
    text = clean(": ".join(filter(None, (reason, message))))
    return text if len(text) <= LONGEST_WHY else f"{text[: LONGEST_WHY - 1].rstrip()}…"


def _since(read: _Reader, state: PodState, conditions: Mapping[str, _Reader]) -> float | None:
    """Return since when a pod is in its state [s], ``None`` where only its creation tells."""
    if state is PodState.DRAINING:
        # The time of deletion is when its grace ends.
        grace_s = read.count(("metadata", "deletionGracePeriodSeconds"), absent=0)
        ends_s = read.time("metadata", "deletionTimestamp")
        return None if ends_s is None else ends_s - grace_s
    name = "ContainersReady" if state is PodState.HELD else "Ready"
    return conditions[name].time("lastTransitionTime") if name in conditions else None


def _instance(ref: WorkloadRef, name: str, labels: Mapping[str, str]) -> tuple[int | None, str]:
    """Return the ordinal of a pod's instance, and its name where several pods are one."""
    for label in _INSTANCE.get(ref.kind, ()):
        value = labels.get(label, "")
        if value.isdecimal():
            return int(value), "-".join(filter(None, (ref.name, ref.part.lower(), value)))
        if value:
            return None, value
    ordinal = labels.get("apps.kubernetes.io/pod-index", "")
    if ordinal.isdecimal():
        return int(ordinal), ""
    match = _ORDINAL.search(name) if ref.kind is WorkloadKind.STATEFUL_SET else None
    return (int(match[1]) if match else None), ""
