"""What is known of a service's workloads and pods in a cluster of Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import DYNAMO_ADAPTERS, KINDS, Gate, Kind, WorkloadKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from controller.core.types import Role

EPOCH: Final = "heteroscale.io/epoch"
ACTION: Final = "heteroscale.io/action"
WANT: Final = "heteroscale.io/want"
BEFORE: Final = "heteroscale.io/before"
"""Annotations of a workload, written with its count: who wrote it last, to what, from what.

The last two bear the part's name behind a dot where one object holds the counts of several.
"""

SERVING: Final = "heteroscale.io/serving"
"""The label of a pod that is in service discovery if it is "true", where a Service selects it."""

REGISTERED: Final = "heteroscale.io/registered"
"""The condition of a pod that is its readiness gate."""

COST: Final = "controller.kubernetes.io/pod-deletion-cost"
MANAGER: Final = "heteroscale"
"""The field manager of our writes."""


@dataclass(frozen=True, slots=True)
class WorkloadRef:
    """An object that holds instances of one role; ``group`` is their deployment group."""

    role: Role
    kind: WorkloadKind
    api: str
    plural: str
    namespace: str
    name: str
    part: str = ""
    group: str = ""
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    gate: Gate = Gate.NONE

    @property
    def about(self) -> Kind:
        """What its kind can express."""
        return KINDS[self.kind]

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        part = f" ({self.part})" if self.part else ""
        return f"{self.about.words} {self.namespace}/{self.name}{part}"


def annotation_of(annotation: str, ref: WorkloadRef) -> str:
    """Return the key of an annotation about one workload: an object may hold several parts."""
    shares = ref.kind is WorkloadKind.DYNAMO and ref.plural != DYNAMO_ADAPTERS
    return f"{annotation}.{ref.part}" if shares else annotation


@dataclass(frozen=True, slots=True)
class WorkloadSeen:
    """What a workload said of itself when it was last read.

    ``replicas`` is the count asked for, ``current`` how many there are; ``by`` is the manager that
    set the count last, where the object tells. ``rollout`` says in words what of a change of its
    pods is still under way. ``selector`` are the labels of its pods.
    """

    uid: str
    resource_version: str
    replicas: int
    current: int = 0
    generation: int = 0
    action: str = ""
    epoch: int = 0
    want: int | None = None
    before: int | None = None
    ready: int = 0
    by: str = ""
    rollout: str = ""
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    domains: Mapping[str, Sequence[str]] = field(default_factory=dict, hash=False)
    """Node labels its pods must have by their template: key to values."""
    paused: bool = False
    size: int = 1
    """Pods that make one instance, where the object says so."""


class PodState(StrEnum):
    """How far an instance is, in the words of the controller."""

    READY = "ready"
    HELD = "held"
    STARTING = "starting"
    FAILED = "failed"
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One pod: where it is, how far, and since when [s since the epoch].

    ``why`` is what keeps it from being ready. ``index`` is its ordinal, or the index of its group
    where several pods are one instance (``of`` names that instance; empty: the pod is one).
    """

    name: str
    uid: str
    node: str
    state: PodState
    since_s: float
    created_s: float
    why: str = ""
    index: int | None = None
    of: str = ""
    cost: int = 0
    restarts: int = 0
    flaps: int = 0
    """How often it was seen to lose and regain readiness within the last minutes."""


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """All of one service in a cluster: each workload with its pods, or why one can't be read.

    ``rivals`` are others that scale the same objects, each in words.
    """

    workloads: tuple[tuple[WorkloadRef, WorkloadSeen | str, tuple[PodSeen, ...]], ...]
    rivals: tuple[str, ...] = ()


class BadObjectError(ValueError):
    """An object is not what its kind says it is; the text names the field."""
