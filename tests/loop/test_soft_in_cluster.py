"""Soft scale-in on an API server with controllers: those that were watched are those that go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from controller.adapters.actuators.kubernetes import Known, Kubernetes
from controller.adapters.kube.api import Api
from controller.adapters.kube.discovery import KubeDiscovery
from controller.core.kube.access import Credentials
from controller.core.kube.gates import WITHDRAWN_BY
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import REGISTERED, SERVING, WorkloadRef
from controller.core.lifecycle import ActionState
from controller.core.types import Role
from controller.models import Action, ServiceStatus
from controller.services import registering, withdrawing
from controller.services.withdrawing import Tools
from inventory.touched import touched
from tests.adapters.kube.objects import a_ref
from tests.factories import a_placement
from tests.kube import Double, deployment, fleet, statefulset
from tests.loop.test_soft import Scene

pytestmark = pytest.mark.django_db
NAMESPACE = "prod"
MADE = {"deployment": deployment, "statefulset": statefulset}


class InCluster(Scene):
    """The scene of soft scale-in with prefill and decode as workloads of one kind."""

    def __init__(self, kind: str, gate: Gate, slug: str = "chat") -> None:
        self.kube, self.gate = Double(), gate
        self.kube.start()
        self.kube.put(*fleet(8))
        own: dict[str, Any] = {"gpus": 1}
        if gate is Gate.READINESS:
            own["gates"] = [REGISTERED]
        label = {SERVING: "false"} if gate is Gate.LABEL else {}
        for name, count in (("chat-prefill", 2), ("chat-decode", 4)):
            self.kube.put(MADE[kind](NAMESPACE, name, count, label, **own))
        self.refs = [
            a_ref(f"chat-{role}", WorkloadKind(kind), role=role, gate=gate) for role in Role
        ]
        self._opened: dict[int, Api] = {}
        self.kube.settle()
        super().__init__(slug=slug)
        version = self.actuator.read(slug, now_s=0.0).resource_version
        Action.objects.filter(pk=self.action.pk).update(resource_version=version)
        ServiceStatus.objects.filter(service=self.service).update(resource_version=version)
        self.look()

    @property
    def api(self) -> Api:
        # A fork must not share its parent's line to the server.
        if os.getpid() not in self._opened:
            credentials = Credentials(self.kube.address, token=self.kube.token)
            self._opened[os.getpid()] = Api(credentials)
        return self._opened[os.getpid()]

    def close(self) -> None:
        for api in self._opened.values():
            api.close()
        self.kube.close()

    @property
    def actuator(self) -> Kubernetes:
        return Kubernetes(lambda _: Known(self.api, self.refs))

    def discovery_of(self, _: object) -> KubeDiscovery:
        known: tuple[Api, list[WorkloadRef]] = self.api, self.refs
        return KubeDiscovery(lambda _: known)

    def run(self, **fields: Any) -> ActionState:
        tools = Tools(lambda _: self.actuator, self.discovery_of, 60.0, 300.0, 45.0, **fields)
        return withdrawing.run(self.action.pk, tools)

    def register(self) -> str:
        said = registering.register(self.service, self.discovery_of)
        self.kube.settle()
        return said

    @property
    def serving(self) -> set[str]:
        """The decode pods that are in service discovery."""
        of = self.discovery_of(None)
        found = of.serving("chat", now_s=0.0)
        return {one.name for one in found if one.role is Role.DECODE and one.is_in}

    @property
    def pods(self) -> set[str]:
        found = self.kube.all("pods", NAMESPACE, "app=chat-decode")
        return {pod["metadata"]["name"] for pod in found}


@pytest.fixture(
    params=[
        ("deployment", Gate.LABEL),
        ("deployment", Gate.READINESS),
        ("statefulset", Gate.LABEL),
        ("statefulset", Gate.READINESS),
    ],
    ids=lambda param: f"{param[0]} by {param[1]}",
)
def scene(request: pytest.FixtureRequest, db: None) -> Iterator[InCluster]:  # noqa: ARG001
    found = InCluster(*request.param)
    yield found
    found.close()


def planned(scene: InCluster) -> set[str]:
    """Plan two decode instances away, and return who can be: of ordinals the highest."""
    names = sorted(scene.pods)
    chosen = names[:2] if scene.refs[1].kind is WorkloadKind.DEPLOYMENT else names[2:]
    removals = [
        {"instance": name, "role": "decode", "group": "", "nodes": {}, "why": "youngest"}
        for name in names[:2]
    ]
    plan = a_placement() | {"removals": removals, "places": [], "touched": touched([])}
    Action.objects.filter(pk=scene.action.pk).update(placement=plan, is_bound=True)
    return set(chosen)


def test_new_instances_serve_once_they_are_registered(scene: InCluster) -> None:
    assert scene.serving == set()
    assert scene.register() == "6 registered"
    assert scene.serving == scene.pods


def test_those_that_were_watched_are_those_that_go(scene: InCluster) -> None:
    scene.register()
    leaving, everybody = planned(scene), scene.pods
    assert scene.run() == ActionState.WITHDRAWN
    scene.kube.settle()
    assert scene.serving == everybody - leaving
    assert scene.pods == everybody
    scene.pass_s(361)
    scene.look()
    assert scene.run() == ActionState.APPLIED
    scene.kube.settle()
    assert scene.pods == everybody - leaving
    scene.pass_s(121)
    scene.run()
    assert scene.row.is_out is False


def test_those_that_were_watched_return(scene: InCluster) -> None:
    scene.register()
    planned(scene)
    scene.run()
    scene.kube.settle()
    scene.look(ttft_s={"value": 1.3})
    assert scene.run() == ActionState.CANCELLED
    scene.kube.settle()
    assert scene.serving == scene.pods
    stamped = [
        pod
        for pod in scene.kube.all("pods", NAMESPACE)
        if WITHDRAWN_BY in pod["metadata"].get("annotations", {})
    ]
    assert stamped == []


def test_registering_lets_nobody_in_who_is_watched(scene: InCluster) -> None:
    scene.register()
    leaving = planned(scene)
    scene.run()
    scene.kube.settle()
    assert scene.register() == "0 registered"
    assert scene.serving == scene.pods - leaving
