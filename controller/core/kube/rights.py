"""Which rights a cluster has to give us: the manifest and the check are made of this one list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.core.kube.access import Res
from controller.core.kube.kinds import DYNAMO_ADAPTERS, KINDS, Gate, Victims, WorkloadKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

NODES: Final = Res("v1", "nodes")
PODS: Final = Res("v1", "pods")
AUTOSCALERS: Final = Res("autoscaling/v2", "horizontalpodautoscalers")
LOOK: Final = ("get", "list", "watch")
USUAL: Final = (WorkloadKind.DEPLOYMENT, WorkloadKind.STATEFUL_SET)
"""What is asked for while nobody has said which workloads there are."""


@dataclass(frozen=True, slots=True)
class Right:
    """What we do with a resource, what for, and what there is not without it.

    ``everywhere`` holds for what is in no namespace. What ``acts`` is not needed to look on.
    """

    verbs: tuple[str, ...]
    res: Res
    why: str
    without: str
    subresource: str = ""
    everywhere: bool = False
    acts: bool = False

    @property
    def what(self) -> str:
        """The resource as rules name it: ``deployments/scale``."""
        return f"{self.res.plural}/{self.subresource}" if self.subresource else self.res.plural

    @property
    def words(self) -> str:
        """The resource as ``kubectl`` calls it: ``deployments.apps/scale``."""
        below = f"/{self.subresource}" if self.subresource else ""
        return f"{self.res.words}{below}"


@dataclass(frozen=True, slots=True)
class Used:
    """A kind of workload that holds instances, and what keeps them out of discovery."""

    kind: WorkloadKind
    res: Res
    gate: Gate = Gate.NONE


@dataclass(frozen=True, slots=True)
class Excess:
    """A right that we never use, and what it would let somebody do who has our token."""

    verb: str
    res: Res
    danger: str
    subresource: str = ""
    everywhere: bool = False


EXCESSES: Final = (
    Excess("get", Res("v1", "secrets"), "read secrets"),
    Excess("create", Res("v1", "pods"), "run pods of its own"),
    Excess("create", Res("v1", "pods"), "run commands in pods", "exec"),
    Excess("delete", Res("apps/v1", "deployments"), "delete deployments"),
    Excess("delete", NODES, "delete nodes", everywhere=True),
)
"""Signs of an account that may do far more than it needs."""


def usual(kinds: Iterable[WorkloadKind] = USUAL, gate: Gate = Gate.NONE) -> tuple[Used, ...]:
    """Return kinds as they are used where nothing else is said."""
    return tuple(Used(kind, Res(KINDS[kind].api, KINDS[kind].plural), gate) for kind in kinds)


def wanted(used: Collection[Used], *, acts: bool = True) -> tuple[Right, ...]:
    """Return the rights that workloads of these kinds take, each resource once.

    Without ``acts`` only those that it takes to look on.
    """
    every = (*_looking(used), *_acting(used))
    return tuple(dict.fromkeys(right for right in every if acts or not right.acts))


def _looking(used: Collection[Used]) -> Iterator[Right]:
    yield Right(
        LOOK,
        NODES,
        "Which machines and GPUs there are, and where.",
        "Nodes do not come into the inventory: bring them by a file.",
        everywhere=True,
    )
    yield Right(
        LOOK,
        PODS,
        "How many instances are ready, starting or failing, and on which node.",
        "Instances are unknown, so nothing is decided for their services.",
    )
    yield Right(
        LOOK,
        AUTOSCALERS,
        "Whether somebody else scales the same workloads.",
        "An autoscaler on the same workload shows only when it has undone a change.",
    )
    for res in _objects(used):
        yield Right(
            LOOK,
            res,
            "How many instances are asked for.",
            "The counts are unknown, so nothing is decided for these services.",
        )
    for each in _scales(used):
        yield Right(
            ("get",),
            each.res,
            "How many instances are asked for, where the object itself does not say.",
            "The counts are unknown, so nothing is decided for these services.",
            subresource="scale",
        )


def _acting(used: Collection[Used]) -> Iterator[Right]:
    for res in _objects(used):
        yield Right(
            ("patch",),
            res,
            "To write the number of instances, and who wrote it, in one write.",
            "Looking on works; no change of these workloads can be applied.",
            acts=True,
        )
    for each in _scales(used):
        yield Right(
            ("patch",),
            each.res,
            "To write the number of instances.",
            "Looking on works; no change of these workloads can be applied.",
            subresource="scale",
            acts=True,
        )
    yield from _of_pods(used)


def _of_pods(used: Collection[Used]) -> Iterator[Right]:
    costs = any(KINDS[each.kind].victims is Victims.COST for each in used)
    if costs or any(each.gate is Gate.LABEL for each in used):
        yield Right(
            ("patch",),
            PODS,
            "To mark which pods go first, and to take pods out of service discovery.",
            "Counts can be changed, but the cluster chooses which pods go, and none is taken out "
            "of service before.",
            acts=True,
        )
    if any(each.gate is Gate.READINESS for each in used):
        yield Right(
            ("patch",),
            PODS,
            "To set the readiness gate heteroscale.io/registered.",
            "Pods with that gate never become ready.",
            subresource="status",
            acts=True,
        )


def _objects(used: Collection[Used]) -> Iterator[Res]:
    yield from dict.fromkeys(each.res for each in used)
    for each in dict.fromkeys(e.res.api for e in used if e.kind is WorkloadKind.DYNAMO):
        yield Res(each, DYNAMO_ADAPTERS)


def _scales(used: Collection[Used]) -> tuple[Used, ...]:
    return tuple(each for each in used if each.kind is WorkloadKind.SCALE)
