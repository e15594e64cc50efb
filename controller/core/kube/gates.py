"""What keeps a pod out of service discovery, as it says of itself and as it is changed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from controller.core.kube.kinds import Gate
from controller.core.kube.values import EPOCH, REGISTERED, SERVING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Object = Mapping[str, Any]

WITHDRAWN_BY: Final = "heteroscale.io/withdrawn-by"
"""The annotation of a pod that an action took out of service discovery: which one."""

_LEADER: Final = "leaderworkerset.sigs.k8s.io/worker-index"


def taken_by(pod: Object) -> str:
    """Return the action that took a pod out of service discovery, empty if none did."""
    return str(_below(pod, "metadata", "annotations").get(WITHDRAWN_BY, "") or "")


def epoch_of(pod: Object) -> int:
    """Return the epoch under which a pod was taken out last, 0 if it never was."""
    text = str(_below(pod, "metadata", "annotations").get(EPOCH, ""))
    return int(text) if text.isdecimal() else 0


def is_ending(pod: Object) -> bool:
    """Return whether a pod ends already: it returns nowhere."""
    return bool(_below(pod, "metadata").get("deletionTimestamp"))


def is_labelled_out(pod: Object) -> bool:
    """Return whether the label keeps a pod out."""
    return _below(pod, "metadata", "labels").get(SERVING) == "false"


def has_condition(pod: Object) -> bool:
    """Return whether a pod has our condition, whatever it says."""
    return _condition(pod) is not None


def bearers(gate: Gate, pods: Sequence[Object]) -> list[Object]:
    """Return the pods of one instance whose gate counts.

    A label is borne by those that a Service is to find: whose template has it, or the leader of a
    group, or the only one. A condition is one of each pod.
    """
    if gate is not Gate.LABEL or len(pods) == 1:
        return list(pods)
    bearing = [pod for pod in pods if SERVING in _below(pod, "metadata", "labels")]
    leaders = [pod for pod in pods if _below(pod, "metadata", "labels").get(_LEADER) == "0"]
    return bearing or leaders or list(pods)


def stamp(action: str, epoch: int) -> dict[str, str | None]:
    """Return the annotations that say who took a pod out."""
    return {WITHDRAWN_BY: action, EPOCH: str(epoch)}


UNSTAMPED: Final[Mapping[str, str | None]] = {WITHDRAWN_BY: None}


def labels(*, serving: bool) -> dict[str, str]:
    """Return the label that opens or closes the gate."""
    return {SERVING: "true" if serving else "false"}


def conditions(pod: Object, *, registered: bool, now_s: float) -> list[dict[str, Any]]:
    """Return all conditions of a pod with ours set; the others are kept as they are.

    A merge patch replaces a list whole, so it needs the ``resourceVersion`` they were read at.
    """
    present = _condition(pod)
    status = "True" if registered else "False"
    since = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if present is not None and present.get("status") == status:
        since = str(present.get("lastTransitionTime") or since)
    ours = {
        "type": REGISTERED,
        "status": status,
        "lastTransitionTime": since,
        "reason": "Registered" if registered else "Withdrawn",
    }
    others = [one for one in _conditions(pod) if one.get("type") != REGISTERED]
    return [*others, ours]


def is_registered(pod: Object) -> bool:
    """Return whether its condition says that a pod is registered."""
    found = _condition(pod)
    return found is not None and found.get("status") == "True"


def _condition(pod: Object) -> Mapping[str, Any] | None:
    return next((one for one in _conditions(pod) if one.get("type") == REGISTERED), None)


def _conditions(pod: Object) -> Iterable[dict[str, Any]]:
    found = _below(pod, "status").get("conditions")
    listed = found if isinstance(found, list) else []
    return [dict(one) for one in listed if isinstance(one, Mapping)]


def _below(pod: Object, *path: str) -> Mapping[str, Any]:
    """Return an object inside another, an empty one where it is absent or something else."""
    found: object = pod
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
