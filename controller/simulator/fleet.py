"""Nodes and instances: where an instance goes, how it starts, fails, drains and lets go."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp, inf
from typing import Final, TypedDict

import numpy as np

from controller.core.types import InstanceRef, Instances, Role, RoleState
from controller.simulator.arrivals import stream_key
from controller.simulator.model import NodeSpec, ServiceModel

SCHEDULE_LAG_S: Final = (5.0, 30.0)
"""Between the wish for an instance and the start of loading."""

RETRY_S: Final = 5.0
"""How often an instance without a node looks for one."""

BACK_OFF_S: Final = (10.0, 300.0)
"""Wait after the first failed start, doubled each time up to the second figure."""


class InstanceRow(TypedDict):
    """An instance as plain values; ``until_s`` is ``None`` when nothing is due."""

    key: str
    role: str
    serial: int
    gpus: int
    phase: str
    since_s: float
    until_s: float | None
    tries: int
    nodes: dict[str, int]


class ServiceRow(TypedDict):
    """What a fleet remembers of a service, as plain values."""

    desired: tuple[int, int]
    version: int
    serial: int


class FleetState(TypedDict):
    """A fleet as plain values."""

    instances: list[InstanceRow]
    services: dict[str, ServiceRow]


class Phase(StrEnum):
    """Where an instance is between the wish for it and the release of its GPUs."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(slots=True)
class Instance:
    """One engine. ``until_s`` is when its phase may end, ``since_s`` when it began [running s]."""

    key: str
    role: Role
    serial: int
    gpus: int
    phase: Phase = Phase.PENDING
    since_s: float = 0.0
    until_s: float = 0.0
    tries: int = 0
    nodes: dict[str, int] = field(default_factory=dict)


class Fleet:
    """Every node and instance of a world; GPUs count from allocation to release.

    An instance holds its GPUs while it loads; a failed start gives them back until the next try.
    """

    def __init__(self, nodes: Sequence[NodeSpec], seed: int) -> None:
        self.nodes: Mapping[str, NodeSpec] = {node.name: node for node in nodes}
        self.free: dict[str, int] = {node.name: node.gpus for node in nodes}
        self.instances: dict[str, list[Instance]] = {}
        self.desired: dict[str, Instances] = {}
        self.versions: dict[str, int] = {}
        self._serials: dict[str, int] = {}
        self._seed = seed
        self.next_event_s = inf
        self.newest_s = -inf

    def add(self, service: ServiceModel, now_s: float) -> None:
        """Bring a new service up: initial instances are ready at once where nodes have room."""
        self.instances[service.key] = []
        self.desired[service.key] = service.initial
        self.versions[service.key] = 1
        self._serials[service.key] = 0
        for role in Role:
            for instance in self._wanted(service, role, service.initial.of(role), now_s):
                if self._place(service, instance):
                    instance.phase, instance.until_s = Phase.READY, inf
        self._plan()

    def scale(
        self, service: ServiceModel, want: Instances, now_s: float, drain_s: Mapping[Role, float]
    ) -> None:
        """Start or drain instances until ``want`` of each role are ready or on their way.

        The youngest go first, those that don't serve yet before those that do; a serving one
        keeps its GPUs for ``drain_s`` of its role. The version moves when the counts change.
        """
        if want == self.desired[service.key]:
            return
        self.desired[service.key] = want
        self.versions[service.key] += 1
        for role in Role:
            self._resize(service, role, now_s, drain_s[role])
        self._plan()

    def _resize(self, service: ServiceModel, role: Role, now_s: float, drain_s: float) -> None:
        living = [i for i in self.of(service.key, role) if i.phase is not Phase.DRAINING]
        extra = len(living) - self.desired[service.key].of(role)
        for instance in self._wanted(service, role, -extra, now_s):
            self._try(service, instance, now_s)
        leaving = sorted(living, key=lambda i: (i.phase is Phase.READY, -i.serial))
        for instance in leaving[: max(extra, 0)]:
            if instance.phase is Phase.READY:
                instance.phase, instance.since_s = Phase.DRAINING, now_s
                instance.until_s = now_s + drain_s
            else:
                self._remove(instance)

    def advance(self, services: Mapping[str, ServiceModel], now_s: float) -> set[str]:
        """Let every phase end that is due by ``now_s``; return the services that changed."""
        if now_s < self.next_event_s:
            return set()
        changed: set[str] = set()
        for instance in [i for i in self.all() if i.until_s <= now_s]:
            changed.add(instance.key)
            self._end_phase(services[instance.key], instance, now_s)
        self._plan()
        return changed

    def _end_phase(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        if instance.phase is Phase.DRAINING:
            self._remove(instance)
        elif instance.phase is not Phase.STARTING:
            self._try(service, instance, now_s)
        elif self._rng(service, instance).random(3)[2] < service.start_failure_frac:
            self._let_go(instance)
            back_off_s = min(BACK_OFF_S[0] * 2.0 ** (instance.tries - 1), BACK_OFF_S[1])
            instance.phase, instance.since_s = Phase.FAILED, now_s
            instance.until_s = now_s + back_off_s
        else:
            instance.phase, instance.since_s, instance.until_s = Phase.READY, now_s, inf
            self.newest_s = now_s

    def _try(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        """Take GPUs and begin loading, or look again in ``RETRY_S``."""
        if not self._place(service, instance):
            instance.phase, instance.until_s = Phase.PENDING, now_s + RETRY_S
            return
        instance.tries += 1
        rng = self._rng(service, instance)
        low_s, high_s = SCHEDULE_LAG_S
        lag_s = low_s + (high_s - low_s) * float(rng.random(3)[0])
        load_s = service.start_median_s * exp(service.start_sigma * float(rng.standard_normal()))
        instance.phase, instance.since_s = Phase.STARTING, now_s
        instance.until_s = now_s + lag_s + load_s

    def _rng(self, service: ServiceModel, instance: Instance) -> np.random.Generator:
        """Return the luck of one try of one instance: the same whenever it is asked."""
        role = tuple(Role).index(instance.role)
        return np.random.default_rng(
            [
                self._seed,
                service.seed,
                stream_key(service.key),
                role,
                instance.serial,
                instance.tries,
            ]
        )

    def _wanted(
        self, service: ServiceModel, role: Role, count: int, now_s: float
    ) -> list[Instance]:
        made = []
        for _ in range(count):
            self._serials[service.key] += 1
            serial = self._serials[service.key]
            made.append(
                Instance(service.key, role, serial, service.profile(role).tp, since_s=now_s)
            )
        self.instances[service.key].extend(made)
        return made

    def _place(self, service: ServiceModel, instance: Instance) -> bool:
        nodes = self._fit(service, instance)
        for name, gpus in nodes.items():
            self.free[name] -= gpus
        instance.nodes = nodes
        return bool(nodes)

    def _fit(self, service: ServiceModel, instance: Instance) -> dict[str, int]:
        """Choose nodes: near the service's others (S1, then S2), then the tightest fit, by name.

        An instance larger than a node takes whole free nodes under one S1.
        """
        profile = service.profile(instance.role)
        nodes = [
            node
            for node in self.nodes.values()
            if (node.cluster, node.hardware) == (service.cluster, profile.hardware)
            and node.usable
            and self.free[node.name]
        ]
        near1, near2 = self._domains(service.key)
        nodes.sort(key=lambda n: (n.s1 not in near1, n.s2 not in near2, self.free[n.name], n.name))
        for node in nodes:
            if self.free[node.name] >= profile.tp:
                return {node.name: profile.tp}
        whole: dict[str, dict[str, int]] = {}
        for node in nodes:
            if profile.tp > node.gpus == self.free[node.name]:
                taken = whole.setdefault(node.s1, {})
                taken[node.name] = min(node.gpus, profile.tp - sum(taken.values()))
                if sum(taken.values()) == profile.tp:
                    return taken
        return {}

    def _domains(self, key: str) -> tuple[set[str], set[str]]:
        used = [self.nodes[name] for i in self.instances[key] for name in i.nodes]
        return {node.s1 for node in used}, {node.s2 for node in used}

    def _let_go(self, instance: Instance) -> None:
        for name, gpus in instance.nodes.items():
            self.free[name] += gpus
        instance.nodes = {}

    def _remove(self, instance: Instance) -> None:
        self._let_go(instance)
        self.instances[instance.key].remove(instance)

    def _plan(self) -> None:
        self.next_event_s = min((i.until_s for i in self.all()), default=inf)

    def all(self) -> Iterator[Instance]:
        """Every instance of every service."""
        for instances in self.instances.values():
            yield from instances

    def of(self, key: str, role: Role) -> list[Instance]:
        """Return the instances of one role."""
        return [i for i in self.instances[key] if i.role is role]

    def refs(self, key: str) -> tuple[InstanceRef, ...]:
        """Return the instances of a service by name; all of them are in its one group."""
        return tuple(
            InstanceRef(
                name=f"{key}-{i.role}-{i.serial}",
                role=i.role,
                group=f"{key}-g1",
                node=",".join(i.nodes),
                state=i.phase.value,
            )
            for i in self.instances[key]
        )

    def state(self, key: str, role: Role) -> RoleState:
        """Return the counts of one role; an instance without a node counts as starting."""
        phases = [i.phase for i in self.of(key, role)]
        return RoleState(
            desired=self.desired[key].of(role),
            ready=phases.count(Phase.READY),
            starting=phases.count(Phase.STARTING) + phases.count(Phase.PENDING),
            draining=phases.count(Phase.DRAINING),
            failed=phases.count(Phase.FAILED),
        )

    def young(self, key: str, role: Role, since_s: float) -> int:
        """Return how many instances became ready after ``since_s``."""
        return sum(i.phase is Phase.READY and i.since_s > since_s for i in self.of(key, role))

    def placement_factor(self, key: str) -> float:
        """Return the mean of 1 / bandwidth factor over pairs of prefill and decode instances.

        A pair under one S1 has the full bandwidth, under one S2 0.95, across S2 0.8 of it.
        """
        sources, targets = (self._where(key, role) for role in Role)
        pairs = sources.total() * targets.total()
        cost = sum(
            _pair_cost(source, target) * here * there
            for source, here in sources.items()
            for target, there in targets.items()
        )
        return cost / pairs if pairs else 1.0

    def _where(self, key: str, role: Role) -> Counter[tuple[str, str]]:
        """Return how many serving instances of a role there are under each (S1, S2)."""
        serving = (i for i in self.of(key, role) if i.phase is Phase.READY and i.nodes)
        nodes = (self.nodes[next(iter(i.nodes))] for i in serving)
        return Counter((node.s1, node.s2) for node in nodes)

    def dump(self) -> FleetState:
        """Return the state as plain values."""
        return {
            "instances": [
                {
                    "key": i.key,
                    "role": i.role.value,
                    "serial": i.serial,
                    "gpus": i.gpus,
                    "phase": i.phase.value,
                    "since_s": i.since_s,
                    "until_s": None if i.until_s == inf else i.until_s,
                    "tries": i.tries,
                    "nodes": dict(i.nodes),
                }
                for i in self.all()
            ],
            "services": {
                key: {
                    "desired": (wanted.prefill, wanted.decode),
                    "version": self.versions[key],
                    "serial": self._serials[key],
                }
                for key, wanted in self.desired.items()
            },
        }

    def load(self, state: FleetState, services: Mapping[str, ServiceModel], now_s: float) -> None:
        """Take over a state by key, in a fleet without instances.

        Services that are gone give their GPUs back. An instance whose nodes are gone, or no
        longer fit its engine, is lost and looks for new ones.
        """
        for key in services:
            if key not in state["services"]:
                continue
            row = state["services"][key]
            self.instances[key] = []
            self.desired[key] = Instances(*row["desired"])
            self.versions[key], self._serials[key] = row["version"], row["serial"]
        for saved in state["instances"]:
            if saved["key"] in self.instances:
                self._adopt(services[saved["key"]], saved, now_s)
        ready = (i.since_s for i in self.all() if i.phase is Phase.READY)
        self.newest_s = max(ready, default=-inf)
        self._plan()

    def _adopt(self, service: ServiceModel, row: InstanceRow, now_s: float) -> None:
        until_s = inf if row["until_s"] is None else row["until_s"]
        role = Role(row["role"])
        gpus = service.profile(role).tp
        instance = Instance(service.key, role, row["serial"], gpus)
        instance.phase, instance.tries = Phase(row["phase"]), row["tries"]
        instance.since_s, instance.until_s = row["since_s"], until_s
        self.instances[service.key].append(instance)
        if self._still_there(service, instance, row["nodes"]):
            instance.nodes = dict(row["nodes"])
            for name, taken in row["nodes"].items():
                self.free[name] -= taken
        elif instance.phase is Phase.DRAINING:
            self.instances[service.key].remove(instance)
        elif row["nodes"]:
            instance.phase, instance.since_s, instance.until_s = Phase.PENDING, now_s, now_s

    def _still_there(
        self, service: ServiceModel, instance: Instance, nodes: Mapping[str, int]
    ) -> bool:
        place = (service.cluster, service.profile(instance.role).hardware)
        return sum(nodes.values()) == instance.gpus and all(
            name in self.nodes
            and (self.nodes[name].cluster, self.nodes[name].hardware) == place
            and self.free[name] >= taken
            for name, taken in nodes.items()
        )


def _pair_cost(source: tuple[str, str], target: tuple[str, str]) -> float:
    """Return 1 / bandwidth factor between two places, each an (S1, S2)."""
    if source == target:
        return 1.0
    return 1 / 0.95 if source[1] == target[1] else 1 / 0.8
