"""Pods of a workload: listed, and marked as those that are to go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from controller.core.kube import parsing
from controller.core.kube.access import Res
from controller.core.kube.errors import ConflictError, ForbiddenError, MissingError
from controller.core.kube.kinds import WorkloadKind, adapter_of
from controller.core.kube.values import COST, BadObjectError
from controller.core.kube.victims import MARK, leaving

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from controller.adapters.kube.api import Api
    from controller.core.kube.values import PodSeen, WorkloadRef

PODS: Final = Res("v1", "pods")


def labels_of_pods(api: Api, ref: WorkloadRef, *, until: float) -> Mapping[str, str]:
    """Return the labels by which a workload's pods are known, read from it if not configured.

    Raises :class:`BadObjectError` where it does not say, and :class:`KubeError`.
    """
    if ref.selector:
        return ref.selector
    grouped = ref.kind is WorkloadKind.ROLE_BASED_GROUP
    name = adapter_of(ref.name, ref.part) if grouped else ref.name
    res = Res(ref.api, ref.plural)
    found = api.read(res, ref.namespace, name, until=until)
    scale = None
    if ref.kind is WorkloadKind.SCALE:
        scale = api.read(res, ref.namespace, name, until=until, subresource="scale")
    return parsing.workload(ref, found, scale).selector


def listed(
    api: Api, ref: WorkloadRef, labels: Mapping[str, str], *, until: float
) -> list[dict[str, Any]]:
    """Return the pods that bear these labels, as the API gives them.

    Raises :class:`BadObjectError` without labels: that would be every pod (S21).
    """
    if not labels:
        raise BadObjectError("it does not say which pods are its own")
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return [
        item
        for page in api.pages(PODS, ref.namespace, selector=selector, until=until)
        for item in page.items
    ]


def seen(ref: WorkloadRef, items: Sequence[Mapping[str, Any]], now_s: float) -> list[PodSeen]:
    """Return pods as values; one that can't be read is left out (K19)."""
    found = []
    for item in items:
        try:
            found.append(parsing.pod(ref, item, now_s))
        except BadObjectError:
            continue
    return found


def mark_victims(  # noqa: PLR0913 - who is there, how many stay, who is to go, until when
    api: Api,
    ref: WorkloadRef,
    pods: Sequence[PodSeen],
    count_after: int,
    leave: Collection[str],
    *,
    until: float,
) -> tuple[str, ...]:
    """Say to a cluster who is to go before a count falls to ``count_after``.

    ``leave`` are the instances a plan names. Returns in sentences what of it can't be so. Without
    the right to it nobody is marked, which is said as well. Raises :class:`KubeError` for whatever
    else goes wrong; it may be called again.
    """
    found = leaving(ref, pods, count_after, leave)
    notes = [(pod, str(MARK)) for pod in found.marks] + [(pod, None) for pod in found.resets]
    try:
        for pod, cost in notes:
            note(api, ref, pod, {COST: cost}, until=until)
    except ForbiddenError as fault:
        return (*found.said, f"Who of {ref.words} goes can't be chosen: {fault.text}")
    return found.said


def note(
    api: Api,
    ref: WorkloadRef,
    pod: PodSeen,
    annotations: Mapping[str, str | None],
    *,
    until: float,
) -> None:
    """Write annotations of a pod; one that is gone meanwhile needs none.

    The ``uid`` makes sure that it is this pod. Nothing of these annotations depends on what else
    it says of itself, so that no version of it is needed.
    """
    body = {"metadata": {"uid": pod.uid, "annotations": dict(annotations)}}
    try:
        api.merge(PODS, ref.namespace, pod.name, body, until=until)
    except (MissingError, ConflictError):
        # Another pod of that name is none of those that were meant.
        return
