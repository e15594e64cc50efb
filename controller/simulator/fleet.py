"""Nodes and instances: where an instance goes, how it starts, fails, drains and lets go."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import heappop, heappush
from itertools import count
from math import ceil, exp, inf
from statistics import NormalDist
from typing import Final, NotRequired, TypedDict

from controller.core.registration import InStep, PlainRule, Starts, registered
from controller.core.types import InstanceRef, Instances, Role, RoleState
from controller.simulator.arrivals import stream_key
from controller.simulator.model import NodeSpec, ServiceModel

SCHEDULE_LAG_S: Final = (5.0, 30.0)
"""Between the wish for an instance and the start of loading."""

RETRY_S: Final = 5.0
"""How long after GPUs came free an instance without a node looks for one."""

BACK_OFF_S: Final = (10.0, 300.0)
"""Wait after the first failed start, doubled each time up to the second figure."""


Where = tuple[str, str, str]
"""Cluster, S1 and S2 switch."""


PROBE_S: Final = 5.0
"""How often somebody looks whether a starting instance is ready."""

FAILURE, LAG, LOADING = range(3)
"""What luck decides of a start."""

_NORMAL: Final = NormalDist()
_MASK: Final = 2**64 - 1


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
    """What a fleet remembers of a service, as plain values; the rule ends in running time."""

    desired: tuple[int, int]
    version: int
    serial: int
    in_step: NotRequired[PlainRule]


class FleetState(TypedDict):
    """A fleet as plain values."""

    instances: list[InstanceRow]
    services: dict[str, ServiceRow]


class Phase(StrEnum):
    """Where an instance is between the wish for it and the release of its GPUs."""

    PENDING = "pending"
    STARTING = "starting"
    HELD = "held"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


_LEAVES_LAST: Final = {Phase.HELD: 1, Phase.READY: 2}
"""Who is up goes after those that are not, and who serves last."""


@dataclass(slots=True, eq=False)
class Instance:
    """One engine. ``until_s`` is when its phase may end, ``since_s`` when it began [running s].

    An instance that returns from draining serves since the time it left. A held one is up and
    kept out of service discovery, at most until ``until_s``.
    """

    key: str
    role: Role
    serial: int
    gpus: int
    phase: Phase = Phase.PENDING
    since_s: float = 0.0
    until_s: float = 0.0
    tries: int = 0
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How many serving instances of each role a service has under each S1.

    A fleet hands out the same object as long as the instances of the service stay as they are.
    """

    prefill: Mapping[Where, int]
    decode: Mapping[Where, int]


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
        self.in_step: dict[str, InStep] = {}
        self.next_event_s = inf
        self.newest_s = -inf
        self._seed = seed
        self._serials: dict[str, int] = {}
        self._order: dict[str, int] = {}
        self.room: dict[tuple[str, str], int] = defaultdict(int)
        self._usable = self._by_place()
        # Fewest GPUs found not to fit since any came free there: spares others the search.
        self._too_many: dict[tuple[str, str], int] = {}
        # Who waits for room looks again when some comes free, not every few seconds.
        self._parked: dict[tuple[str, str], dict[tuple[int, int], Instance]] = defaultdict(dict)
        self._freed: set[tuple[str, str]] = set()
        self._used: dict[str, Counter[str]] = defaultdict(Counter)
        self._counts: dict[tuple[str, Role], Counter[Phase]] = defaultdict(Counter)
        self._newest: dict[tuple[str, Role], float] = {}
        self._due: list[tuple[float, int, Instance]] = []
        self._pushed = count()
        self._refs: dict[str, tuple[InstanceRef, ...]] = {}
        self._where: dict[tuple[str, Role], Counter[Where]] = defaultdict(Counter)
        self._spreads: dict[str, Spread] = {}

    def _by_place(self) -> dict[tuple[str, str], list[NodeSpec]]:
        """Return the nodes that take instances by cluster and hardware; note their room."""
        found: dict[tuple[str, str], list[NodeSpec]] = defaultdict(list)
        for node in self.nodes.values():
            if node.usable:
                found[node.cluster, node.hardware].append(node)
                self.room[node.cluster, node.hardware] += node.gpus
        return found

    def add(self, service: ServiceModel, now_s: float) -> None:
        """Bring a new service up: initial instances are ready at once where nodes have room."""
        self._begin(service.key, service.initial, 1, 0)
        for role in Role:
            for instance in self._wanted(service, role, service.initial.of(role), now_s):
                if self._place(service, instance):
                    self._enter(instance, Phase.READY, inf)
                else:
                    self._park(service, instance)
        self._plan(now_s)

    def _begin(self, key: str, desired: Instances, version: int, serial: int) -> None:
        self._order[key] = len(self._order)
        self.instances[key] = []
        self.desired[key] = desired
        self.versions[key], self._serials[key] = version, serial

    def scale(
        self,
        service: ServiceModel,
        want: Instances,
        now_s: float,
        drain_s: Mapping[Role, float],
        in_step: InStep | None = None,
    ) -> None:
        """Start or drain instances until ``want`` of each role are ready or on their way.

        The youngest go first, those that don't serve yet before those that do; a serving one
        keeps its GPUs for ``drain_s`` of its role, and at least for the service's ``soft_s``.
        Within ``soft_s`` of leaving it returns to serving at once when the service grows; the
        last to leave returns first. The version moves when the counts change.

        Those that come up register as ``in_step`` allows, which ends in running time and replaces
        the rule before; whoever is held now is looked at again at the next step.
        """
        if want == self.desired[service.key]:
            return
        self.desired[service.key] = want
        self.versions[service.key] += 1
        self.in_step.pop(service.key, None)
        if in_step is not None:
            self.in_step[service.key] = in_step
        for role in Role:
            self._resize(service, role, now_s, drain_s[role])
        for instance in self._held(service.key):
            self._enter(instance, Phase.HELD, now_s)
        self._plan(now_s)

    def rest(self, rested_s: float, now_s: float) -> None:
        """Let ``rested_s`` pass for the rules of registration alone, which end by the clock."""
        for key, rule in self.in_step.items():
            self.in_step[key] = replace(rule, until_s=rule.until_s - rested_s)
            for instance in self._held(key):
                self._enter(instance, Phase.HELD, self.in_step[key].until_s)
        self._plan(now_s)

    def _resize(self, service: ServiceModel, role: Role, now_s: float, drain_s: float) -> None:
        mine = self.of(service.key, role)
        living = [i for i in mine if i.phase is not Phase.DRAINING]
        missing = self.desired[service.key].of(role) - len(living)
        soft = [
            i for i in mine if i.phase is Phase.DRAINING and now_s - i.since_s < service.soft_s
        ]
        soft.sort(key=lambda i: (-i.since_s, i.serial))
        back = soft[: max(missing, 0)]
        for instance in back:
            self._enter(instance, Phase.READY, inf)
            self.newest_s = max(self.newest_s, instance.since_s)
        for instance in self._wanted(service, role, missing - len(back), now_s):
            self._try(service, instance, now_s)
        leaving = sorted(living, key=lambda i: (_LEAVES_LAST.get(i.phase, 0), -i.serial))
        for instance in leaving[: max(-missing, 0)]:
            if instance.phase is Phase.READY:
                instance.since_s = now_s
                self._enter(instance, Phase.DRAINING, now_s + max(drain_s, service.soft_s))
            else:
                self._remove(instance)

    def advance(self, services: Mapping[str, ServiceModel], now_s: float) -> set[str]:
        """Let every phase end that is due by ``now_s``; return the services that changed."""
        if now_s < self.next_event_s:
            return set()
        due: dict[tuple[int, int], Instance] = {}
        while self._due and self._due[0][0] <= now_s:
            until_s, _, instance = heappop(self._due)
            if instance.until_s == until_s:
                due[self._order[instance.key], instance.serial] = instance
        # By service and serial, not by time: a change of the cut of time must not change who
        # gets the last free node.
        for place in sorted(due):
            self._end_phase(services[due[place].key], due[place], now_s)
        keys = {instance.key for instance in due.values()}
        for key in keys:
            self._register(key, now_s)
        self._plan(now_s)
        return keys

    def _end_phase(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        if instance.phase is Phase.DRAINING:
            self._remove(instance)
        elif instance.phase in {Phase.PENDING, Phase.FAILED}:
            self._try(service, instance, now_s)
        elif instance.phase is Phase.STARTING:
            self._end_start(service, instance, now_s)

    def _end_start(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        instance.since_s = now_s
        if self._luck(service, instance, FAILURE) < service.start_failure_frac:
            self._let_go(instance)
            back_off_s = min(BACK_OFF_S[0] * 2.0 ** (instance.tries - 1), BACK_OFF_S[1])
            self._enter(instance, Phase.FAILED, now_s + back_off_s)
        else:
            self._enter(instance, Phase.HELD, inf)

    def _held(self, key: str) -> list[Instance]:
        """Return who of a service is kept out of service discovery, oldest first."""
        if not any(self._counts[key, role][Phase.HELD] for role in Role):
            return []
        held = [i for i in self.instances[key] if i.phase is Phase.HELD]
        return sorted(held, key=lambda i: (i.since_s, i.serial))

    def _register(self, key: str, now_s: float) -> None:
        """Let those of the held join that may; the others wait until their rule ends."""
        held = self._held(key)
        if not held:
            return
        rule = self.in_step.get(key)
        until_s = inf if rule is None else rule.until_s
        serves = registered(self._starts(key), rule, now_s=now_s)
        room = {role: serves.of(role) - self._counts[key, role][Phase.READY] for role in Role}
        for instance in held:
            if room[instance.role] > 0:
                room[instance.role] -= 1
                instance.since_s = self.newest_s = now_s
                self._enter(instance, Phase.READY, inf)
            elif instance.until_s != until_s:
                self._enter(instance, Phase.HELD, until_s)

    def _starts(self, key: str) -> Starts:
        """Return how far the instances are; one without a node, or that failed, is not coming."""
        return Starts(
            *(
                Instances(*(self._counts[key, role][phase] for role in Role))
                for phase in (Phase.READY, Phase.HELD, Phase.STARTING)
            )
        )

    def _enter(self, instance: Instance, phase: Phase, until_s: float) -> None:
        counts = self._counts[instance.key, instance.role]
        counts[instance.phase] -= 1
        counts[phase] += 1
        if instance.phase is Phase.READY:
            self._serve(instance, -1)
        instance.phase, instance.until_s = phase, until_s
        if phase is Phase.READY:
            self._serve(instance, 1)
        self._moved(instance)

    def _serve(self, instance: Instance, more: int) -> None:
        """Count an instance in or out where it serves."""
        node = self.nodes[next(iter(instance.nodes))]
        self._where[instance.key, instance.role][node.cluster, node.s1, node.s2] += more
        self._spreads.pop(instance.key, None)

    def _moved(self, instance: Instance) -> None:
        """Note when the instance is due; forget what its service looked like."""
        self._expect(instance)
        self._refs.pop(instance.key, None)
        if instance.phase is Phase.READY:
            place = instance.key, instance.role
            self._newest[place] = max(self._newest.get(place, -inf), instance.since_s)

    def _expect(self, instance: Instance) -> None:
        if instance.until_s < inf:
            heappush(self._due, (instance.until_s, next(self._pushed), instance))

    def _try(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        """Take GPUs and begin loading, or look again in ``RETRY_S``."""
        if not self._place(service, instance):
            self._enter(instance, Phase.PENDING, inf)
            self._park(service, instance)
            return
        instance.tries += 1
        low_s, high_s = SCHEDULE_LAG_S
        lag_s = low_s + (high_s - low_s) * self._luck(service, instance, LAG)
        spread = _NORMAL.inv_cdf(self._luck(service, instance, LOADING))
        load_s = service.start_median_s * exp(service.start_sigma * spread)
        ready_s = ceil((now_s + lag_s + load_s) / PROBE_S) * PROBE_S
        instance.since_s = now_s
        self._enter(instance, Phase.STARTING, ready_s)

    def _park(self, service: ServiceModel, instance: Instance) -> None:
        place = service.cluster, service.profile(instance.role).hardware
        instance.until_s = inf
        self._parked[place][self._order[instance.key], instance.serial] = instance

    def _wake(self, now_s: float) -> None:
        """Have as many instances look for room as could find some where GPUs came free."""
        for place in sorted(self._freed):
            parked, room = self._parked[place], self.room[place]
            for number in sorted(parked):
                if room <= 0:
                    break
                instance = parked.pop(number)
                room -= instance.gpus
                instance.until_s = now_s + RETRY_S
                self._expect(instance)
        self._freed.clear()

    def _luck(self, service: ServiceModel, instance: Instance, what: int) -> float:
        """Return a number between 0 and 1 for one try of an instance, the same at any time."""
        role = tuple(Role).index(instance.role)
        key = stream_key(service.drawn_by)
        return _uniform(
            (self._seed, service.seed, key, role, instance.serial, instance.tries, what)
        )

    def _wanted(
        self, service: ServiceModel, role: Role, number: int, now_s: float
    ) -> list[Instance]:
        made = []
        for _ in range(number):
            self._serials[service.key] += 1
            serial = self._serials[service.key]
            instance = Instance(service.key, role, serial, service.profile(role).tp)
            instance.since_s = now_s
            made.append(instance)
            self._join(instance)
        return made

    def _join(self, instance: Instance) -> None:
        self.instances[instance.key].append(instance)
        self._counts[instance.key, instance.role][instance.phase] += 1
        if instance.phase is Phase.READY:
            self._serve(instance, 1)
        self._moved(instance)

    def _place(self, service: ServiceModel, instance: Instance) -> bool:
        nodes = self._fit(service, instance)
        if nodes:
            self._take(instance, nodes)
        return bool(nodes)

    def _take(self, instance: Instance, nodes: Mapping[str, int]) -> None:
        for name, gpus in nodes.items():
            self._give(self.nodes[name], -gpus)
        self._used[instance.key].update(nodes)
        instance.nodes = dict(nodes)

    def _give(self, node: NodeSpec, gpus: int) -> None:
        self.free[node.name] += gpus
        if node.usable:
            place = node.cluster, node.hardware
            self.room[place] += gpus
            if gpus > 0 and self._parked.get(place):
                self._freed.add(place)

    def _fit(self, service: ServiceModel, instance: Instance) -> dict[str, int]:
        """Choose nodes: near the service's others (S1, then S2), then the tightest fit, by name.

        An instance larger than a node takes whole free nodes under one S1.
        """
        place = service.cluster, service.profile(instance.role).hardware
        if instance.gpus >= self._too_many.get(place, inf):
            return {}
        near1, near2 = self._domains(service.key)

        def rank(node: NodeSpec) -> tuple[bool, bool, int, str]:
            return node.s1 not in near1, node.s2 not in near2, self.free[node.name], node.name

        nodes = self._usable[place]
        roomy = [node for node in nodes if self.free[node.name] >= instance.gpus]
        if roomy:
            return {min(roomy, key=rank).name: instance.gpus}
        whole = [node for node in nodes if self.free[node.name] == node.gpus > 0]
        found = _joined(sorted(whole, key=rank), instance.gpus)
        if not found:
            self._too_many[place] = instance.gpus
        return found

    def _domains(self, key: str) -> tuple[set[str], set[str]]:
        used = [self.nodes[name] for name in self._used[key]]
        return {node.s1 for node in used}, {node.s2 for node in used}

    def _let_go(self, instance: Instance) -> None:
        used = self._used[instance.key]
        for name, gpus in instance.nodes.items():
            node = self.nodes[name]
            self._give(node, gpus)
            used[name] -= gpus
            if not used[name]:
                del used[name]
            self._too_many.pop((node.cluster, node.hardware), None)
        instance.nodes = {}

    def _remove(self, instance: Instance) -> None:
        self._let_go(instance)
        self.instances[instance.key].remove(instance)
        self._counts[instance.key, instance.role][instance.phase] -= 1
        instance.until_s = inf
        if instance.phase is Phase.PENDING:
            for parked in self._parked.values():
                parked.pop((self._order[instance.key], instance.serial), None)
        self._moved(instance)

    def _plan(self, now_s: float) -> None:
        if self._freed:
            self._wake(now_s)
        while self._due and self._due[0][2].until_s != self._due[0][0]:
            heappop(self._due)
        self.next_event_s = self._due[0][0] if self._due else inf

    def all(self) -> Iterator[Instance]:
        """Every instance of every service."""
        for instances in self.instances.values():
            yield from instances

    def of(self, key: str, role: Role) -> list[Instance]:
        """Return the instances of one role."""
        return [i for i in self.instances[key] if i.role is role]

    def refs(self, key: str) -> tuple[InstanceRef, ...]:
        """Return the instances of a service by name; all of them are in its one group.

        Built when asked for, once per change.
        """
        if key not in self._refs:
            self._refs[key] = tuple(
                InstanceRef(
                    name=f"{key}-{i.role}-{i.serial}",
                    role=i.role,
                    group=f"{key}-g1",
                    node=",".join(i.nodes),
                    state=i.phase.value,
                )
                for i in self.instances[key]
            )
        return self._refs[key]

    def state(self, key: str, role: Role) -> RoleState:
        """Return the counts of one role; an instance without a node counts as starting."""
        counts = self._counts[key, role]
        return RoleState(
            desired=self.desired[key].of(role),
            ready=counts[Phase.READY],
            starting=counts[Phase.STARTING] + counts[Phase.PENDING],
            draining=counts[Phase.DRAINING],
            failed=counts[Phase.FAILED],
            held=counts[Phase.HELD],
        )

    def held_gpus(self, key: str) -> int:
        """Return the GPUs the instances of a service hold, from allocation to release."""
        return self._used[key].total()

    def young(self, key: str, role: Role, since_s: float) -> int:
        """Return how many instances became ready after ``since_s``."""
        if self._newest.get((key, role), -inf) <= since_s:
            return 0
        return sum(i.phase is Phase.READY and i.since_s > since_s for i in self.of(key, role))

    def spread(self, key: str) -> Spread:
        """Return where the serving instances of a service are; the same object until they move."""
        if key not in self._spreads:
            # A unary plus leaves out the places where nobody serves any more.
            self._spreads[key] = Spread(*(+self._where[key, role] for role in Role))
        return self._spreads[key]

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
            "services": {key: self._service_row(key) for key in self.desired},
        }

    def _service_row(self, key: str) -> ServiceRow:
        wanted = self.desired[key]
        row: ServiceRow = {
            "desired": (wanted.prefill, wanted.decode),
            "version": self.versions[key],
            "serial": self._serials[key],
        }
        if key in self.in_step:
            row["in_step"] = self.in_step[key].plain()
        return row

    def load(self, state: FleetState, services: Mapping[str, ServiceModel], now_s: float) -> None:
        """Take over a state by key, in a fleet without instances.

        Services that are gone give their GPUs back. An instance whose nodes are gone, or no
        longer fit its engine, is lost and looks for new ones.
        """
        for key in services:
            if key in state["services"]:
                self._begin_again(key, state["services"][key])
        for saved in state["instances"]:
            if saved["key"] in self.instances:
                self._adopt(services[saved["key"]], saved, now_s)
        self.newest_s = max(self._newest.values(), default=-inf)
        for instance in self.all():
            service = services[instance.key]
            if instance.phase is Phase.PENDING and instance.until_s == inf:
                self._park(service, instance)
                if self._fit(service, instance):
                    self._freed.add((service.cluster, service.profile(instance.role).hardware))
        self._plan(now_s)

    def _begin_again(self, key: str, row: ServiceRow) -> None:
        self._begin(key, Instances(*row["desired"]), row["version"], row["serial"])
        if "in_step" in row:
            self.in_step[key] = InStep.from_plain(row["in_step"])

    def _adopt(self, service: ServiceModel, row: InstanceRow, now_s: float) -> None:
        role = Role(row["role"])
        instance = Instance(service.key, role, row["serial"], service.profile(role).tp)
        instance.phase, instance.tries = Phase(row["phase"]), row["tries"]
        instance.since_s = row["since_s"]
        instance.until_s = inf if row["until_s"] is None else row["until_s"]
        if self._still_there(service, instance, row["nodes"]):
            self._take(instance, row["nodes"])
        elif instance.phase is Phase.DRAINING:
            return
        elif row["nodes"]:
            instance.phase, instance.since_s, instance.until_s = Phase.PENDING, now_s, now_s
        self._join(instance)

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


def _uniform(numbers: Sequence[int]) -> float:
    """Return a number strictly between 0 and 1 that depends on ``numbers`` only (SplitMix64)."""
    state = 0
    for number in numbers:
        state = (state ^ number) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state ^= state >> 27
    return ((state >> 11) + 0.5) / 2.0**53


def _joined(nodes: Sequence[NodeSpec], gpus: int) -> dict[str, int]:
    """Return the first whole nodes under one S1 that make ``gpus`` together, or none."""
    under: dict[str, dict[str, int]] = {}
    for node in nodes:
        taken = under.setdefault(node.s1, {})
        taken[node.name] = min(node.gpus, gpus - sum(taken.values()))
        if sum(taken.values()) == gpus:
            return taken
    return {}
