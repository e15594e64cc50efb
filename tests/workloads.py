"""A service of each kind of workload on the double: what is put there, and what it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from controller.adapters.actuators.kubernetes import Known, Kubernetes
from controller.adapters.kube.api import Api, Credentials
from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.values import WorkloadRef
from controller.core.ports import ScaleOrder
from controller.core.types import Instances, Role
from tests import kube as double
from tests.kube.kinds import Kind as ServedKind
from tests.kube.kinds import Scale

if TYPE_CHECKING:
    from tests.kube import Double

NAMESPACE = "prod"
ENGINES = ServedKind(
    "engines.example/v1",
    "engines",
    "Engine",
    scale=Scale(wanted=("spec", "size", "pods"), selector=("status", "labels")),
)


@dataclass(frozen=True)
class Laid:
    """One kind as a service has it: objects for prefill and decode, and where its counts are."""

    kind: WorkloadKind
    make: Callable[[int, int], Sequence[dict[str, Any]]]
    names: tuple[str, str]
    parts: tuple[str, str] = ("", "")
    api: str = ""
    plural: str = ""
    written: tuple[str, str] = ("", "")
    """Plural and names of what is written to, where that is not the workload itself."""

    def refs(self) -> tuple[WorkloadRef, WorkloadRef]:
        about = KINDS[self.kind]
        prefill, decode = (
            WorkloadRef(
                role,
                self.kind,
                self.api or about.api,
                self.plural or about.plural,
                NAMESPACE,
                name,
                part,
                "chat-g1",
                {"app": name} if self.kind is WorkloadKind.SCALE else {},
            )
            for role, name, part in zip(Role, self.names, self.parts, strict=True)
        )
        return prefill, decode

    def put(self, kube: Double, prefill: int = 2, decode: int = 4) -> None:
        kube.put(*self.make(prefill, decode))


def _engine(name: str, pods: int) -> dict[str, Any]:
    return {
        "apiVersion": ENGINES.api,
        "kind": ENGINES.name,
        "metadata": {"namespace": NAMESPACE, "name": name},
        "spec": {"size": {"pods": pods}},
        "status": {"labels": f"app={name}"},
    }


APART = ("chat-prefill", "chat-decode")
LAID = {
    "deployment": Laid(
        WorkloadKind.DEPLOYMENT,
        lambda p, d: [
            double.deployment(NAMESPACE, name, n) for name, n in zip(APART, (p, d), strict=True)
        ],
        APART,
    ),
    "statefulset": Laid(
        WorkloadKind.STATEFUL_SET,
        lambda p, d: [
            double.statefulset(NAMESPACE, name, n) for name, n in zip(APART, (p, d), strict=True)
        ],
        APART,
    ),
    "leaderworkerset": Laid(
        WorkloadKind.LEADER_WORKER_SET,
        lambda p, d: [
            double.leaderworkerset(NAMESPACE, name, n)
            for name, n in zip(APART, (p, d), strict=True)
        ],
        APART,
    ),
    "rolebasedgroup": Laid(
        WorkloadKind.ROLE_BASED_GROUP,
        lambda p, d: [
            double.rolebasedgroup(NAMESPACE, "chat", {"prefill": p, "decode": d}),
            double.rolebasedgroup_adapter(NAMESPACE, "chat", "prefill", p),
            double.rolebasedgroup_adapter(NAMESPACE, "chat", "decode", d),
        ],
        ("chat", "chat"),
        ("prefill", "decode"),
    ),
    "dynamo": Laid(
        WorkloadKind.DYNAMO,
        lambda p, d: [
            double.dynamo(NAMESPACE, "chat", {"Frontend": 1, "prefill": p, "decode": d})
        ],
        ("chat", "chat"),
        ("prefill", "decode"),
    ),
    "dynamo by adapters": Laid(
        WorkloadKind.DYNAMO,
        lambda p, d: [
            double.dynamo(
                NAMESPACE,
                "chat",
                {"Frontend": 1, "prefill": p, "decode": d},
                adapters=("prefill", "decode"),
            ),
            double.dynamo_adapter(NAMESPACE, "chat", "prefill", p),
            double.dynamo_adapter(NAMESPACE, "chat", "decode", d),
        ],
        ("chat", "chat"),
        ("prefill", "decode"),
    ),
    "scale": Laid(
        WorkloadKind.SCALE,
        lambda p, d: [_engine(name, n) for name, n in zip(APART, (p, d), strict=True)],
        APART,
        api=ENGINES.api,
        plural=ENGINES.plural,
    ),
}


def served() -> tuple[ServedKind, ...]:
    """Return the kinds the double serves here: its own, and one that nobody knows."""
    return (*double.kinds.KINDS, ENGINES)


Act = Callable[..., Kubernetes]
"""Gives an actuator of one service laid out on the double; ``token`` is as whom it acts."""


@pytest.fixture
def act(kube: Double) -> Iterator[Act]:
    """Give actuators on the double, and close their lines afterwards."""
    opened: list[Api] = []

    def make(laid: Laid, token: str = "") -> Kubernetes:
        opened.append(Api(Credentials(server=kube.address, token=token or kube.token)))
        api = opened[-1]
        return Kubernetes(lambda _: Known(api, laid.refs()))

    yield make
    for api in opened:
        api.close()


def order(
    acting: Kubernetes, want: tuple[int, int], *, action: str = "a1", epoch: int = 7, **fields: Any
) -> ScaleOrder:
    """Return an order that rests on what the cluster holds now."""
    seen = acting.read("chat", now_s=0.0)
    given = {"resource_version": seen.resource_version} | fields
    return ScaleOrder(action, "chat", epoch, Instances(*want), **given)
