"""What real controllers make of objects, a round at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.kube.controllers.deployments import keep_deployments
from tests.kube.controllers.groups import keep_graphs, keep_groups
from tests.kube.controllers.kubelet import Kubelet
from tests.kube.controllers.leaderworkersets import keep_leaderworkersets
from tests.kube.controllers.scheduler import place
from tests.kube.controllers.statefulsets import keep_statefulsets
from tests.kube.controllers.world import World, controller_of
from tests.kube.kinds import Kind
from tests.kube.objects import Objects

ROUNDS = (
    keep_groups,
    keep_graphs,
    keep_deployments,
    keep_statefulsets,
    keep_leaderworkersets,
    place,
)


@dataclass
class Controllers:
    """All controllers, the scheduler and the kubelets of a cluster."""

    objects: Objects
    kinds: list[Kind]
    kubelet: Kubelet = field(default_factory=Kubelet)

    def step(self) -> int:
        """Let each look at the world once; how many writes that made."""
        before = self.objects.store.version
        collect(self._world())
        for look in ROUNDS:
            look(self._world())
        self.kubelet.run(self._world())
        return self.objects.store.version - before

    def _world(self) -> World:
        return World(self.objects, self.kinds)


def collect(world: World) -> None:
    """Delete what belongs to an object that is no more (Kubernetes, "Garbage Collection")."""
    kinds = [kind for kind in world.objects.store.kinds() if kind.namespaced]
    bodies = [each.body for kind in kinds for each in world.objects.store.all(kind)]
    alive = {body["metadata"]["uid"] for body in bodies}
    for body in bodies:
        owner = controller_of(body)
        if owner and owner["uid"] not in alive and "deletionTimestamp" not in body["metadata"]:
            world.delete(body)
