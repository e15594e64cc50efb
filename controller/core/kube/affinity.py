"""Which nodes the scheduler may put the pods of a deployment group on (HeteroScale §7).

A plan names nodes; what a workload can be told is a label that its nodes bear. That of the group's
domain keeps a group together. It stands in the pod template, and a changed template replaces every
pod there is: so it is written only into a workload that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.core.kube.values import WorkloadRef, WorkloadSeen

T = TypeVar("T")
LEVELS: Final = ("s1", "s2")
"""The levels that labels name, in the order of a cluster's label keys."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The label that the nodes of a group's domain bear, and what the domain is called."""

    key: str
    value: str
    domain: str

    @property
    def label(self) -> str:
        """The label as ``kubectl`` writes it."""
        return f"{self.key}={self.value}"


def wanted_of(
    level: str, domain: str, keys: Iterable[str], nodes: Iterable[Mapping[str, str]]
) -> Wanted | None:
    """Return the label that keeps a group in its domain, ``None`` where no label does.

    ``level`` is "s1" or "s2" (a whole cluster needs none), ``keys`` are the cluster's, nearest the
    node first, and ``nodes`` the labels of nodes of the domain: all must bear the same.
    """
    known = dict(zip(LEVELS, keys, strict=False))
    key = known.get(level, "")
    values = {labels.get(key, "") for labels in nodes} if key else set()
    if len(values) != 1 or "" in values:
        return None
    return Wanted(key, values.pop(), domain)


def of_group(found: Mapping[str, T], group: str) -> T | None:
    """Return what is known of a workload's group.

    Pods of a workload that names no group are all in one: where several are known it is not told
    in which.
    """
    if not group and len(found) == 1:
        return next(iter(found.values()))
    return found.get(group)


def is_kept(seen: WorkloadSeen, wanted: Wanted) -> bool:
    """Return whether the template keeps pods where they are wanted, and nowhere else."""
    return tuple(seen.domains.get(wanted.key, ())) == (wanted.value,)


def template_patch(
    ref: WorkloadRef, seen: WorkloadSeen, wanted: Wanted | None
) -> dict[str, Any] | None:
    """Return what is written into the template, together with the count; ``None`` if nothing is.

    It is a label of ``nodeSelector``, which a merge patch adds to those that are there. What the
    template says of this key already is somebody's and stays; so does the template of a workload
    that has pods, and one that is not ours to write.
    """
    has_pods = seen.current > 0 or seen.replicas > 0
    if wanted is None or not ref.about.has_template or has_pods or wanted.key in seen.domains:
        return None
    selector = {wanted.key: wanted.value}
    return {"spec": {"template": {"spec": {"nodeSelector": selector}}}}


def sentence(ref: WorkloadRef, seen: WorkloadSeen, wanted: Wanted | None) -> str:
    """Return where the scheduler may put new pods of a workload, in one sentence."""
    if not ref.about.has_template:
        said = (
            "its operator makes the pods, and the scheduler may put new ones on any node it finds;"
            " what keeps a group together must be set where they are made"
        )
    elif wanted is None:
        said = "no label of nodes names the domain of its group"
    else:
        said = _kept(seen, wanted)
    return f"{ref.words}: {said}."


def _kept(seen: WorkloadSeen, wanted: Wanted) -> str:
    if is_kept(seen, wanted):
        return f"its template keeps new pods in {wanted.domain} ({wanted.label})"
    if other := seen.domains.get(wanted.key):
        kept = f"keeps new pods to {wanted.key} in {', '.join(other)}"
        return f"its template {kept}, and its group is in {wanted.domain}"
    return (
        f"the scheduler may put new pods outside {wanted.domain}; to keep them in, add the node"
        f" selector {wanted.label} to its template, which replaces its pods one by one (it is"
        " added by itself when it grows from no pods)"
    )
